# SPDX-License-Identifier: BSD-3-Clause
"""The next choice is guessed, so that two passes over the pool are one: it changes nothing."""

from __future__ import annotations

from functools import partial

import pytest
import reference
import torch
from fisher_problems import DEVICES, VARIANTS, Rows, random_rows
from fisher_problems import one_thread as one_thread  # autouse
from test_fisher_forms import problem_of, written_out
from test_fisher_rounding import OutOfMemoryOnce

from skbait.fisher import factored, select
from skbait.fisher import rows as fisher_rows
from skbait.fisher.cost import shares_pass
from skbait.fisher.dense import DenseForm
from skbait.fisher.factored import FactoredForm
from skbait.fisher.factors import factor
from skbait.fisher.forward import Forward

GUESSES = ["as it comes", "always wrong", "never", "by turns"]


@pytest.fixture(params=GUESSES)
def guesses(request, monkeypatch):
    """Let the factored form guess on pools of any size; give what came of the guesses."""
    monkeypatch.setattr(factored, "shares_pass", lambda pool: True)
    following, couple = Forward._following, FactoredForm.couple
    found: list[tuple[int | None, int]] = []

    def guess(state, s, *args):
        right = following(state, s, *args)
        wrong = int(state.gains.masked_fill(state.gains.isinf(), torch.inf).argmin())
        if request.param == "by turns":
            return [right, wrong, None][len(state.chosen) % 3]
        return {"as it comes": right, "always wrong": wrong, "never": None}[request.param]

    def look(state, row):
        found.append((state.known and state.known.position, row))
        return couple(state, row)

    monkeypatch.setattr(Forward, "_following", guess)
    monkeypatch.setattr(FactoredForm, "couple", look)
    return found


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", [DenseForm, FactoredForm])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("variant", "top_c"), VARIANTS)
def test_what_a_choice_does_to_all_rows(variant, top_c, dtype, form, device, seed):
    """Row after row, guessed rightly, wrongly or not, with P and Q by matrices written out."""
    problem, precision, fisher = problem_of(seed, variant, top_c, 5, device, dtype)
    state, rank, v = form(problem), problem.pool.rank, written_out(problem.pool)
    state.blocks()
    out = torch.empty(30, rank, 2 * rank, dtype=dtype, device=device)
    few = torch.tensor([29, 3, 11], device=device)
    exactly = {"rtol": 1e-9, "atol": 1e-11}
    rounded = exactly if dtype == torch.float64 else {"rtol": 2e-4, "atol": 2e-5}
    for row, following in [(4, 7), (7, 1), (29, None), (0, 13), (13, None)]:
        inverse = torch.linalg.inv(precision)
        v_s = v[:, row * rank : (row + 1) * rank]
        for found, matrix in zip(
            state.couple(row), (inverse, inverse @ fisher @ inverse), strict=True
        ):
            # c comes of the pass in the factored form
            torch.testing.assert_close(found, v_s.T @ matrix @ v_s, **rounded)
        p = (v.T @ inverse @ v_s).view(30, rank, rank)
        q = (v.T @ inverse @ fisher @ inverse @ v_s).view(30, rank, rank)
        if form is FactoredForm:
            for found, expected in zip(state.couplings(few), (p, q), strict=True):
                torch.testing.assert_close(found.to(p), expected[few], **rounded)
        g = torch.linalg.inv(torch.eye(rank, dtype=p.dtype, device=device) + v_s.T @ inverse @ v_s)
        following = following if form is FactoredForm else None
        state.add(g, v_s.T @ inverse @ fisher @ inverse @ v_s, out, following)
        torch.testing.assert_close(out.to(p), torch.cat([p, q], dim=2), **rounded)
        precision = precision + v_s @ v_s.T


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fisher_samples", [None, 25])
@pytest.mark.parametrize("kind", ["gauss", "cnn", "clusters"])
@pytest.mark.parametrize(("variant", "top_c"), VARIANTS)
def test_guesses_change_no_pick(guesses, variant, top_c, kind, fisher_samples, dtype, seed):
    rows = random_rows(seed=seed, n_pool=60, n_features=5, n_classes=4, kind=kind)
    top_c = 4 if top_c == "K" else top_c
    rows = rows.map(lambda t: t.to(dtype))

    def pick(form):
        generator = torch.Generator().manual_seed(seed)
        drawn = {"fisher_samples": fisher_samples, "generator": generator}
        options = {"variant": variant, "top_c": top_c, "chunk_size": 23}
        return select(*rows.args, 12, form=form, **options, **drawn).positions.tolist()

    assert pick("factored") == pick("dense")
    assert guesses


def test_guesses_are_right_as_a_rule(guesses, request, seed):
    rows = random_rows(seed=seed, n_pool=300, n_features=8, n_classes=5)
    select(*rows.args, 20, form="factored")
    rate = sum(guess == row for guess, row in guesses) / len(guesses)
    how = request.node.callspec.params["guesses"]
    assert rate > 0.7 if how == "as it comes" else rate < 0.5


@pytest.mark.parametrize("n", [1, 2, 15, 30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_guesses_among_equal_rows_and_to_the_end_of_the_pool(guesses, n, dtype, seed):
    few = random_rows(seed=seed, n_pool=10, n_features=4, n_classes=3)
    rows = Rows(few.h.repeat(3, 1), few.p.repeat(3, 1), few.h_labeled, few.p_labeled)
    problem = rows.map(lambda t: t.to(dtype)).problem(n, variant="exp", top_c=2)
    args = rows.map(lambda t: t.to(dtype)).args
    found = select(*args, n, form="factored").positions.tolist()
    reference.assert_same_picks(found, problem, n)


def test_guessing_ends_where_it_fails(monkeypatch, seed):
    """The best rows have more near copies than rows are looked at, worth little after them."""
    monkeypatch.setattr(factored, "shares_pass", lambda pool: True)
    following, guesses = Forward._following, []
    monkeypatch.setattr(
        Forward, "_following", lambda *args: guesses.append(following(*args)) or guesses[-1]
    )
    generator = torch.Generator().manual_seed(seed)
    rows = random_rows(seed=seed, n_pool=30, n_features=40, n_classes=3)
    h, p = rows.h.repeat_interleave(40, dim=0), rows.p.repeat_interleave(40, dim=0)
    h += 1e-4 * torch.randn(h.shape, generator=generator, dtype=h.dtype)
    args = h, p, rows.h_labeled, rows.p_labeled
    found = select(*args, 15, form="factored").positions.tolist()
    assert len(guesses) == factored.MISSES
    assert found == select(*args, 15, form="dense").positions.tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("variant", ["exp", "exact", "binary"])
def test_a_choice_where_memory_runs_out(variant, dtype, seed):
    """Passes go on in halves: nothing is written twice, and P is not lost before it was read."""
    failed = 0
    for k in range(1, 200):
        problem, *_ = problem_of(seed, variant, 2, 5, "cpu", dtype)
        expected, found = (torch.empty(30, r, 2 * r, dtype=dtype) for r in 2 * [problem.pool.rank])
        for out, mode in ((expected, None), (found, OutOfMemoryOnce(k))):
            state = FactoredForm(problem)
            state.blocks()
            state.couple(4)
            if mode is None:
                state.add(None, None, out, 7)
                expected_blocks = state.couple(7)
                continue
            right = problem.pool.for_chunks

            def failing(*args, mode=mode, right=right):
                with mode:
                    right(*args)

            problem.pool.for_chunks = failing
            state.add(None, None, out, 7)
            blocks = state.couple(7)
        failed += mode.k <= 0
        exactly = {"rtol": 1e-9, "atol": 1e-11}
        rounded = exactly if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
        torch.testing.assert_close(found, expected, **rounded)
        torch.testing.assert_close(blocks, expected_blocks, **rounded)
    assert failed > 10


def test_guesses_are_made_where_they_were_measured_to_pay():
    """(variant, N, D, K): not for small pools, many classes, or what is one column."""
    for variant, n_pool, n_features, n_classes, expected in (
        ("exp", 10_000, 384, 10, True),
        ("exp", 50_000, 384, 10, True),
        ("exp", 10_000, 384, 20, True),
        ("exp", 10_000, 384, 3, True),
        ("exp", 10_000, 384, 40, False),
        ("exp", 10_000, 64, 10, False),
        ("exp", 4000, 384, 10, False),
        ("exact", 10_000, 384, 10, False),
        ("exact", 10_000, 384, 2, False),
        ("binary", 10_000, 384, 10, False),
    ):
        features = torch.ones(1, 1).expand(n_pool, n_features)
        probabilities = torch.full((1, 1), 1.0 / n_classes).expand(n_pool, n_classes)
        make_factor = partial(factor, variant=variant, top_c=2)
        pool = fisher_rows.Rows(features, probabilities, make_factor)
        assert shares_pass(pool) is expected, (variant, n_pool, n_features, n_classes)
