# SPDX-License-Identifier: BSD-3-Clause
"""F from products in float32: how far it is off is known, and no pick depends on it."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from fisher_problems import DEVICES, random_rows
from fisher_problems import one_thread as one_thread  # autouse
from torch.utils._python_dispatch import TorchDispatchMode

from skbait.fisher import dense, forward, select
from skbait.fisher.factors import factor
from skbait.fisher.matrices import mean_fisher, mirror, rounded_fisher
from skbait.fisher.rows import Rows

KINDS = ["gauss", "shifted", "scaled", "constant", "positive", "rounded"]


def problem(kind, seed, n_pool=1500, n_features=40, n_labeled=20):
    """Rows in float32 whose sums of products round well or badly."""
    rows = random_rows(
        seed=seed,
        n_pool=n_pool,
        n_labeled=n_labeled,
        n_features=n_features,
        n_classes=5,
        logit_scale=0.3,
    )
    change = {
        "gauss": lambda h: h,
        "shifted": lambda h: h + 10.0,
        "scaled": lambda h: h * 10.0 ** torch.linspace(-2, 2, h.shape[1]).to(h),
        "constant": lambda h: torch.cat([h[:, 1:], torch.full_like(h[:, :1], 0.1)], dim=1),
        "positive": lambda h: h.relu(),
        "rounded": lambda h: (4 * h).round() / 4,
    }[kind]
    return rows.features(change).map(lambda t: t.to(torch.float32))


@pytest.fixture
def sharpened(monkeypatch):
    """A list that grows by one wherever F is made in float64 after all."""
    happened = []
    right = dense.DenseForm.sharpen

    def sharpen(state):
        done = right(state)
        happened.extend([1] * done)
        return done

    monkeypatch.setattr(dense.DenseForm, "sharpen", sharpen)
    return happened


@pytest.mark.parametrize("kind", KINDS)
def test_what_signs_measure_bounds_the_rounding_of_scores(kind, seed):
    """Of zᵀFz for the z = M⁻¹v that scores are made of, however F is conditioned."""
    rows = problem(kind, seed, n_pool=4000)
    make = partial(factor, variant="binary", top_c=2)
    pool, labeled = Rows(rows.h, rows.p, make), Rows(rows.h_labeled, rows.p_labeled, make)
    size = pool.n_features
    exact, rounded, precision = (torch.zeros(size, size, dtype=torch.float64) for _ in range(3))
    mean_fisher(pool, 1.0 / len(pool), exact)
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (size, dense.SIGNS), generator=generator) * 2.0 - 1.0
    off = rounded_fisher(pool, 1.0 / len(pool), rounded, signs)
    mean_fisher(labeled, 1.0, precision)
    exact, rounded, precision = (mirror(matrix, 1) for matrix in (exact, rounded, precision))
    precision.diagonal().add_(0.1 * exact.trace() / size)
    h, a = pool.exact(slice(None))
    z = torch.linalg.solve(precision, (h * a[:, 0]).T)
    change = ((z * ((rounded - exact) @ z)).sum(0)).abs()
    bound = dense.CAUTION * off / float(exact.trace()) * (exact.diagonal() @ z.square())
    relevant = bound > 1e-20
    assert (change[relevant] <= bound[relevant]).all()
    assert 0.0 < off < 1e-5 * float(exact.trace())  # it is float32's rounding, and it is seen


def test_what_is_added_to_does_not_count_as_rounding(seed):
    """The labelled rows are added to what the pool gave."""
    rows = problem("gauss", seed, n_pool=5000)
    pool = Rows(rows.h, rows.p, partial(factor, variant="binary", top_c=2))
    size = pool.n_features
    signs = torch.ones(size, 2)
    fresh = torch.zeros(size, size, dtype=torch.float64)
    more = torch.full_like(fresh, 3e3)
    off = rounded_fisher(pool, 1.0, fresh, signs)
    assert rounded_fisher(pool, 1.0, more, signs) == pytest.approx(off, rel=1e-6)
    torch.testing.assert_close(torch.triu(more - 3e3), torch.triu(mirror(fresh, 1)))


class OutOfMemoryOnce(TorchDispatchMode):
    """Raises in place of the k-th operation that makes a tensor."""

    def __init__(self, k):
        super().__init__()
        self.k = k

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Count what allocates."""
        makes = not func._schema.is_mutable and not func.is_view
        self.k -= makes
        if makes and self.k == 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return func(*args, **(kwargs or {}))


def test_no_row_counts_twice_where_memory_runs_out(seed, monkeypatch):
    rows = problem("gauss", seed, n_pool=100)
    pool = Rows(rows.h, rows.p, partial(factor, variant="binary", top_c=2), chunk_size=40)
    size = pool.n_features
    expected = torch.zeros(size, size, dtype=torch.float64)
    mean_fisher(pool, 1.0, expected)
    failed = 0
    right = pool.for_chunks
    for k in range(1, 200):
        found, mode = torch.zeros_like(expected), OutOfMemoryOnce(k)

        def failing(*args, mode=mode):
            with mode:
                right(*args)

        monkeypatch.setattr(pool, "for_chunks", failing)
        rounded_fisher(pool, 1.0, found, torch.ones(size, 2))
        failed += mode.k <= 0
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert failed > 30


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kappa", [0.1, 1e-6])
@pytest.mark.parametrize("kind", KINDS)
def test_no_pick_depends_on_the_rounding(kind, kappa, device, seed, monkeypatch):
    args = problem(kind, seed).map(lambda t: t.to(device)).args
    options = {"variant": "binary", "form": "dense", "kappa": kappa}
    expected = select(*args, 50, **options)
    monkeypatch.setattr(dense, "LONG", 0)
    got = select(*args, 50, **options)
    assert got.positions.tolist() == expected.positions.tolist()
    torch.testing.assert_close(got.gains, expected.gains, rtol=1e-3, atol=1e-3)


def test_float64_is_asked_for_only_where_a_choice_needs_it(monkeypatch, sharpened):
    monkeypatch.setattr(dense, "LONG", 0)
    select(*problem("gauss", 0, n_pool=4000).args, 5, variant="binary", form="dense")
    assert not sharpened


def test_choices_closer_than_the_rounding_are_made_in_float64(seed, monkeypatch, sharpened):
    """A row is there again, longer by less than the rounding of F can tell."""
    rows = problem("gauss", seed)
    options = {"variant": "binary", "form": "dense"}
    first = int(select(*rows.args, 1, **options).positions[0])
    again = rows.pool(torch.cat([torch.arange(len(rows.h)), torch.tensor([first])]))
    again.h[-1] *= 1.0 + 3e-7
    expected = select(*(t.double() for t in again.args), 1, oversample=1.0, **options)
    monkeypatch.setattr(dense, "LONG", 0)
    # the last choice of all is the only one, so one more is asked for
    got = select(*again.args, 2, oversample=1.0, **options)
    assert int(got.positions[0]) == int(expected.positions[0]) == len(rows.h)
    assert sharpened


def test_removals_closer_than_the_rounding_are_made_in_float64(seed, monkeypatch, sharpened):
    """All of the pool is chosen, and two of its rows cost nearly the same to remove."""
    rows = problem("gauss", seed, n_pool=30)
    options = {"variant": "binary", "form": "dense"}
    kept = select(*rows.args, 29, oversample=2.0, **options).positions.tolist()
    (cheapest,) = set(range(30)) - set(kept)
    again = rows.pool(torch.cat([torch.arange(30), torch.tensor([cheapest])]))
    again.h[-1] *= 1.0 + 3e-7
    monkeypatch.setattr(dense, "BLURRED", 1.0)
    expected = select(*(t.double() for t in again.args), 30, **options).positions.tolist()
    monkeypatch.setattr(dense, "LONG", 0)
    assert select(*again.args, 30, **options).positions.tolist() == expected
    assert sharpened


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_only_long_sums_of_float32_are_rounded(dtype, monkeypatch):
    seen = []
    right = dense.rounded_fisher
    monkeypatch.setattr(dense, "rounded_fisher", lambda *args: seen.append(1) or right(*args))
    rows = problem("gauss", 0).map(lambda t: t.to(dtype))
    total = (1500 + 20) * 40**2
    for long, rounded in [(total, dtype == torch.float32), (total + 1, False)]:
        seen.clear()
        monkeypatch.setattr(dense, "LONG", long)
        select(*rows.args, 5, variant="binary", form="dense")
        assert bool(seen) == rounded


def test_scores_that_turn_out_unsure_on_the_way_are_made_anew(monkeypatch, sharpened):
    """The rounding of F may say more about later rows than about those looked at first."""
    args = problem("gauss", 0).args
    options = {"variant": "binary", "form": "dense"}
    expected = select(*args, 40, **options).positions.tolist()
    monkeypatch.setattr(dense, "LONG", 0)
    right = dense.DenseForm.course

    def course(state, rows):
        found = right(state, rows)
        if state.rounds and len(state.chosen) > 20:
            state.blur = 0.5
        return found

    monkeypatch.setattr(dense.DenseForm, "course", course)
    assert select(*args, 40, **options).positions.tolist() == expected
    assert sharpened


def test_a_best_row_whose_score_was_lost_in_float32_is_found(seed, monkeypatch):
    """As where all of it cancels: the others' scores alone do not tell."""
    args = problem("gauss", seed, n_pool=200).args
    expected = select(*args, 20, variant="binary").positions.tolist()
    right = forward.Forward._start

    def start(state):
        right(state)
        if state._in_float32():
            best = int(state.gains.argmax())
            state.c[best] = 0.0
            state.sizes[1][:, best] *= 1e7
            state._score()

    monkeypatch.setattr(forward.Forward, "_start", start)
    assert select(*args, 20, variant="binary").positions.tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("n_pool", [40, 41])
def test_probabilities_of_half_precision(n_pool, dtype, seed):
    rows = problem("gauss", seed, n_pool=n_pool)
    h, p, h_labeled, p_labeled = rows.args
    h, p = torch.cat([h, h[:3]]), torch.cat([p, p[:3]])  # equal rows are looked for
    got = select(h, p.to(dtype), h_labeled, p_labeled.to(dtype), 10, variant="binary")
    exact = [t.to(dtype).double() for t in (p, p_labeled)]
    expected = select(h, exact[0], h_labeled, exact[1], 10, variant="binary")
    assert got.positions.tolist() == expected.positions.tolist()
