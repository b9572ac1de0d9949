# SPDX-License-Identifier: BSD-3-Clause
"""Products with factors that are never formed, and first scores from matrices or kernels."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from fisher_problems import DEVICES, random_rows
from fisher_problems import one_thread as one_thread  # autouse

from skbait.fisher import cost, factored, forward, select
from skbait.fisher import rows as rows_module
from skbait.fisher.blocks import by_numbers, downdate, gain, pairwise
from skbait.fisher.factors import factor
from skbait.fisher.kernels import kernel
from skbait.fisher.linalg import semidefinite_root
from skbait.fisher.matrices import mean_fisher, mirror, panels, quadratic, squared_norms
from skbait.fisher.rows import Rows, adjoint, explicit, padded, project


def rows_of(seed, dtype, variant="exp", device="cpu", n_rows=21):
    """Some rows in `dtype`, and their V as rows (N, r, P)."""
    problem = random_rows(seed=seed, n_pool=n_rows, n_features=5, n_classes=4)
    problem = problem.map(lambda t: t.to(device))
    make_factor = partial(factor, variant=variant, top_c=2)
    rows = Rows(problem.h.to(dtype), problem.p, make_factor, chunk_size=8)
    v = explicit(rows.features, rows.coefficients).T
    return rows, v.reshape(n_rows, rows.rank, rows.size)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("m", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("variant", ["exp", "exact", "binary"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_are_those_of_explicit_factors(dtype, variant, m, device, seed, monkeypatch):
    """Whatever BLAS is given instead: more columns, sums of products of few rows."""
    rows, v = rows_of(seed, dtype, variant, device)
    monkeypatch.setattr(rows_module, "MANY", 10)
    directions = torch.randn(rows.size, m, dtype=dtype, device=device)
    out = torch.empty(len(rows), rows.rank, m, dtype=dtype, device=device)
    seen = []
    project(rows, directions, lambda chunk, values: seen.append(values.clone()), out=out)
    torch.testing.assert_close(out, v @ directions)
    torch.testing.assert_close(torch.cat(seen), out)
    for batched in (4, 512):
        monkeypatch.setattr(rows_module, "BATCHED", batched)
        chunk = slice(3, 20)
        back = adjoint(rows, chunk, out[chunk])
        expected = torch.einsum("nrp,nrm->pm", v[chunk], out[chunk])
        torch.testing.assert_close(back, expected)


@pytest.mark.parametrize("variant", ["exp", "exact", "binary"])
def test_kernels_are_those_of_explicit_factors(variant, seed):
    rows, v = rows_of(seed, torch.float64, variant)
    some, others = slice(0, 4), slice(4, 21)
    h, a = rows.features, rows.coefficients
    expected = v[some].flatten(0, 1) @ v[others].flatten(0, 1).T
    found = kernel(h[some], a[some], h[others], a[others])
    torch.testing.assert_close(found, expected)
    out = torch.empty_like(expected)
    assert kernel(h[some], a[some], h[others], a[others], out=out) is out
    torch.testing.assert_close(out, expected)
    assert kernel(h[:0], a[:0], h, a).shape == (0, 21 * rows.rank)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [1, 2, 12, 13, 16, 17, 30, 48])
def test_padding_adds_columns_of_zeros(width, dtype):
    columns = torch.randn(3, width, dtype=dtype)
    assert padded(columns, 100) is columns
    found = padded(columns, 10_000)
    assert torch.equal(found[:, :width], columns)
    assert not found[:, width:].any()
    by_width = {1: (1, 1), 2: (16, 12), 12: (16, 12), 13: (16, 24), 16: (16, 24)}
    by_width |= {17: (24, 24), 30: (32, 36), 48: (48, 48)}
    assert found.shape[1] == by_width[width][dtype == torch.float64]


@pytest.mark.parametrize("n_features", [1, 2, 3, 5, 9])
@pytest.mark.parametrize(("variant", "n_classes"), [("exp", 4), ("exact", 3), ("binary", 3)])
def test_matrices_by_halves_are_the_whole_ones(variant, n_classes, n_features, seed):
    problem = random_rows(seed=seed, n_pool=20, n_features=n_features, n_classes=n_classes)
    rows = Rows(problem.h, problem.p, partial(factor, variant=variant, top_c=2), chunk_size=7)
    v = explicit(rows.features, rows.coefficients)  # (P, N·r)
    out = torch.zeros(rows.size, rows.size, dtype=torch.float64)
    mean_fisher(rows, 0.5, out)
    torch.testing.assert_close(mirror(out, rows.n_columns), 0.5 * v @ v.T)
    rounded = torch.zeros_like(out)
    mean_fisher(rows, 0.5, rounded, torch.float32)
    off = (mirror(rounded, rows.n_columns) - out).abs().max()
    assert off <= 1e-6 * out.trace()
    assert rows.n_columns == 1 or off > 0.0
    matrix = torch.randn(rows.size, rows.size, dtype=torch.float64)
    matrix = matrix + matrix.T
    by_row = v.T.reshape(len(rows), rows.rank, -1)
    blocks, sizes = quadratic(rows, matrix)
    torch.testing.assert_close(blocks, by_row @ matrix @ by_row.mT)
    # the sums t of features alone, then what their sums over classes are made of
    inner = torch.einsum("nd,kdle,ne->nkl", rows.features, _in_blocks(matrix, rows), rows.features)
    a = rows.coefficients.abs()
    torch.testing.assert_close(sizes, torch.einsum("nik,nkl,nil->ni", a, inner.abs(), a))
    assert bool((sizes >= (1.0 - 1e-9) * blocks.diagonal(dim1=1, dim2=2).abs()).all())


def _in_blocks(matrix, rows):
    return matrix.view(rows.n_columns, rows.n_features, rows.n_columns, rows.n_features)


@pytest.mark.parametrize("rank", [1, 4, 9])
@pytest.mark.parametrize("n_features", [1, 3, 9])
def test_squared_norms_are_quadratic_forms(n_features, rank, seed):
    """From triangular roots, of singular matrices too."""
    problem = random_rows(seed=seed, n_pool=20, n_features=n_features, n_classes=3)
    rows = Rows(problem.h, problem.p, partial(factor, variant="binary", top_c=2))
    generator = torch.Generator().manual_seed(seed)
    matrices, roots = [], []
    for _ in range(2):
        half = torch.randn(n_features, rank, generator=generator, dtype=torch.float64)
        matrices.append(half @ half.T)
        roots.append(semidefinite_root(matrices[-1]))
        torch.testing.assert_close(roots[-1], torch.tril(roots[-1]))
        torch.testing.assert_close(roots[-1] @ roots[-1].T, matrices[-1])
    expected = torch.stack([((rows.features @ m) * rows.features).sum(1) for m in matrices])
    torch.testing.assert_close(
        squared_norms(rows, torch.stack(roots)), expected.double(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("n_features", [1, 3, 4, 5, 17, 256])
def test_panels_cover_every_column_once(n_features):
    columns = [i for panel in panels(n_features) for i in range(panel.start, panel.stop)]
    assert columns == list(range(n_features))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["gauss", "cnn", "unit"])
@pytest.mark.parametrize("n_labeled", [0, 1, 100])
@pytest.mark.parametrize("variant", ["exp", "exact", "binary"])
def test_scores_from_a_matrix_or_from_kernels(variant, n_labeled, kind, dtype, seed, monkeypatch):
    """The two ways to first scores of the factored form."""
    rows = random_rows(
        seed=seed, n_pool=100, n_labeled=n_labeled, n_features=20, n_classes=5, kind=kind
    ).map(lambda t: t.to(dtype))
    picks, gains = [], []
    for largest in [0, 2**29]:
        monkeypatch.setattr(cost, "MATRIX_BYTES", largest)
        monkeypatch.setattr(cost, "scores_by_kernels", lambda problem: 1e300)
        got = select(*rows.args, 15, variant=variant, form="factored")
        picks.append(got.positions.tolist())
        gains.append(got.gains)
    assert picks[0] == picks[1]
    tolerance = 1e-7 if dtype == torch.float64 else 1e-3
    torch.testing.assert_close(*gains, rtol=tolerance, atol=tolerance * float(gains[0].max()))


def test_a_matrix_that_lost_its_digits_gives_way_to_kernels(monkeypatch):
    rows = random_rows(seed=5, n_pool=60, n_labeled=10, n_features=10)
    expected = select(*rows.args, 10, form="factored").positions.tolist()
    right = factored.FactoredForm._sandwich
    monkeypatch.setattr(cost, "scores_by_kernels", lambda problem: 1e300)
    monkeypatch.setattr(factored.FactoredForm, "_sandwich", lambda self: 1.01 * right(self))
    states = []
    start = forward.Forward._start
    monkeypatch.setattr(
        forward.Forward, "_start", lambda self: (states.append(self.state), start(self))[1]
    )
    assert select(*rows.args, 10, form="factored").positions.tolist() == expected
    assert not states[-1].by_matrix


@pytest.mark.parametrize(("off", "refined"), [(1e-6, False), (1e-3, True), (1e-2, True)])
def test_a_rounded_matrix_is_made_again_where_it_shows(off, refined, monkeypatch):
    """In float64 then; the passes stay in float32."""
    rows = random_rows(seed=6, n_pool=200, n_labeled=10, n_features=24).map(lambda t: t.float())
    expected = select(*rows.args, 4, form="factored").positions.tolist()
    right = factored.FactoredForm._sandwich

    def sandwich(state):
        return (1.0 + off * state.rounds) * right(state)

    monkeypatch.setattr(cost, "scores_by_kernels", lambda problem: 1e300)
    monkeypatch.setattr(factored.FactoredForm, "_sandwich", sandwich)
    states = []
    start = forward.Forward._start
    monkeypatch.setattr(
        forward.Forward, "_start", lambda self: (states.append(self.state), start(self))[1]
    )
    assert select(*rows.args, 4, form="factored").positions.tolist() == expected
    assert len(states) == 1 + refined
    assert states[-1].by_matrix
    assert states[-1].rounds is not refined
    assert states[-1].pool.features.dtype == torch.float32


@pytest.mark.parametrize("form", ["dense", "factored"])
def test_rows_of_little_information_do_not_speak_for_the_best(form, seed, monkeypatch):
    """Most of their digits cancel; that is known, and no reason to make all scores anew."""
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(1700, 24, generator=generator).relu() / torch.arange(1, 25)
    logits = (h - h.mean(0)) @ torch.randn(24, 20, generator=generator)
    p = torch.softmax(0.3 * logits / logits.std(), dim=1)
    h *= torch.rand(len(h), 1, generator=generator) ** 2
    rows = [h[200:], p[200:], h[:200], p[:200]]
    exact = select(*(t.double() for t in rows), 10, form=form)
    monkeypatch.setattr(cost, "scores_by_kernels", lambda problem: 1e300)
    seen = []
    run = forward.Forward.run

    def look(state, n_steps):
        every = torch.arange(len(state.gains))
        assert state.renewals == 0
        assert form == "dense" or state.state.rounds
        seen.append((state.gains.clone(), state.floor * state._amplification(every)))
        return run(state, n_steps)

    monkeypatch.setattr(forward.Forward, "run", look)
    found = select(*rows, 10, form=form)
    assert found.positions.tolist() == exact.positions.tolist()
    ((gains, believed),) = seen
    off = (gains - exact.gains).abs() / exact.gains
    best = gains.topk(20).indices
    assert off.max() > 5.0 * off[best].median()
    assert bool((off <= 5.0 * believed).all())
    assert believed[best].median() < 1e-3
    assert believed[best].median() < 0.2 * believed.max()


@pytest.mark.parametrize("form", ["dense", "factored"])
@pytest.mark.parametrize("variant", ["exp", "exact", "binary"])
def test_a_choice_by_a_score_further_off_than_believed_is_made_again(
    variant, form, seed, monkeypatch
):
    """Of two rows that differ by 2e-4 the worse one seems better by as much, unsuspected."""
    problem = random_rows(seed=seed, n_pool=100, n_labeled=10, n_features=8, n_classes=4)
    options = {"variant": variant, "form": form, "oversample": 1.0}
    best = int(select(*problem.args, 2, **options).positions[0])
    h, p, *labeled = problem.args
    args = [torch.cat([h, h[best, None] * (1.0 - 1e-4)]), torch.cat([p, p[best, None]]), *labeled]
    args = [t.float() for t in args]
    expected = select(*(t.double() for t in args), 3, **options).positions.tolist()
    assert expected[0] == best
    start, trust = forward.Forward._start, forward.Forward._trust
    answers = []

    def mislead(state):
        start(state)
        if state.chosen or not state._in_float32():
            return
        state.floor = state.error = 1e-9
        state.c[-1] *= 1.0 + 4e-4
        state._score()
        assert int(state.gains.argmax()) == 100

    def answer(*args):
        answers.append(trust(*args))
        return answers[-1]

    monkeypatch.setattr(forward.Forward, "_start", mislead)
    monkeypatch.setattr(forward.Forward, "_trust", answer)
    assert select(*args, 3, **options).positions.tolist() == expected
    assert answers[0] is False


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_blocks_that_rounding_left_indefinite_say_nothing(rank):
    a = torch.diag_embed(torch.tensor([[-12.0, 3.0, 3.0], [2.0, 3.0, 4.0], [-1.0, -1.0, 1.0]]))
    a = a[:, :rank, :rank].double()
    c = torch.eye(rank, dtype=torch.float64).expand(3, rank, rank)
    size = pairwise(torch.ones(3, rank, dtype=torch.float64))
    spread = gain(a, c, (size, size))[1]
    assert torch.isinf(spread[0])
    assert 0.0 < float(spread[1]) <= 2.0 * rank
    assert torch.isinf(spread[2])


@pytest.mark.parametrize(
    ("variant", "form", "n_features", "n_classes", "n", "seed"),
    [
        ("exp", "factored", 2, 2, 3, 3),
        ("exp", "dense", 3, 2, 5, 2),
        ("exact", "dense", 3, 3, 5, 1),
    ],
)
def test_a_choice_after_blocks_became_indefinite(variant, form, n_features, n_classes, n, seed):
    """In float32, of rows that few choices explain to a millionth."""
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(100, n_features, generator=generator)
    p = torch.softmax(torch.randn(100, n_classes, generator=generator), dim=1)
    options = {"variant": variant, "form": form, "kappa": 1e-6, "oversample": 1.0}
    found = select(h, p, None, None, n, **options).positions.tolist()
    assert found == select(h.double(), p, None, None, n, **options).positions.tolist()


@pytest.mark.parametrize("form", ["dense", "factored"])
@pytest.mark.parametrize("kappa", [1e-9, 1e-6, 1e-5])
@pytest.mark.parametrize("variant", ["exp", "exact", "binary"])
def test_more_choices_than_directions_of_a_small_prior(variant, kappa, form, seed):
    """Most scores are rounding then; whatever is chosen, it ends and rows are distinct."""
    for i in range(10):
        generator = torch.Generator().manual_seed(100 * seed + i)
        h = torch.randn(100, 2 + i % 2, generator=generator)
        p = torch.softmax(torch.randn(100, 2 + i % 3, generator=generator), dim=1)
        chosen = select(h, p, None, None, 20, variant=variant, form=form, kappa=kappa).positions
        assert len(set(chosen.tolist())) == 20


@pytest.mark.parametrize("size", [1e-170, 1.0, 1e160])
def test_sizes_of_pairs(size):
    sizes = size * torch.tensor([[4.0, 9.0]], dtype=torch.float64)
    expected = size * torch.tensor([[4.0], [9.0], [6.0]], dtype=torch.float64)
    torch.testing.assert_close(pairwise(sizes), expected, rtol=1e-14, atol=0.0)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_spreads_bound_how_far_gains_change(rank, seed):
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    def blocks(scales):
        half = torch.randn(200, rank, rank, generator=generator, dtype=torch.float64)
        return scales[:, :, None] * (half @ half.mT) * scales[:, None, :]

    def change(size):
        x = 2.0 * uniform(200, rank, rank) - 1.0
        x = torch.triu(x) + torch.triu(x, 1).mT
        if rank < 3:
            return x * (size[:, :, None] * size[:, None, :]).sqrt()
        return x * (size.sum(1) / torch.linalg.matrix_norm(x, "nuc"))[:, None, None]

    a = blocks(10.0 ** (4.0 * uniform(200, rank) - 2.0))
    c = blocks(10.0 ** (3.0 * uniform(200, rank) - 3.0))
    sizes = 1.0 + 10.0 * uniform(200, rank), 10.0 ** (3.0 * uniform(200, rank) - 2.0)
    found, spread = gain(a, c, tuple(map(pairwise, sizes)))
    g = torch.linalg.inv(torch.eye(rank, dtype=torch.float64) + a)
    torch.testing.assert_close(found, (g * c).sum((1, 2)))
    torch.testing.assert_close(gain(a, c)[0], found)
    most = torch.linalg.matrix_norm(g, 2) * (sizes[1] + found[:, None] * sizes[0]).sum(1)
    assert bool((spread <= most * (1.0 + 1e-9) * (1.0 if rank < 3 else rank)).all())
    small = 1e-7
    for _ in range(20):
        changes = small * change(sizes[0]), small * change(sizes[1])
        off = (gain(a + changes[0], c + changes[1])[0] - found).abs()
        # to first order
        assert bool((off <= small * spread * (1.0 + 1e-3) + 1e-14).all())
    if rank < 3:  # one with the signs of G moves the gain by all that is said
        worst = (sizes[1][:, :, None] * sizes[1][:, None, :]).sqrt() * g.sign()
        by_c = gain(a, c, (pairwise(0.0 * sizes[0]), pairwise(sizes[1])))[1]
        torch.testing.assert_close(gain(a, c + worst)[0] - found, by_c)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["shifted", "scaled", "cnn", "few"])
@pytest.mark.parametrize("variant", ["exp", "exact"])
def test_a_rounded_matrix_changes_no_pick(variant, kind, device, seed, monkeypatch):
    problem = random_rows(
        seed=seed, n_pool=400, n_labeled=3 if kind == "few" else 60, n_features=16, n_classes=4
    )
    generator = torch.Generator().manual_seed(seed)
    by = torch.logspace(-2, 2, 16)[torch.randperm(16, generator=generator)]
    change = {"shifted": lambda h: h + 30.0, "scaled": lambda h: h * by, "cnn": torch.relu}
    problem = problem.features(change.get(kind, lambda h: h)).map(lambda t: t.float())
    monkeypatch.setattr(cost, "scores_by_kernels", lambda problem: 1e300)
    options = {"variant": variant, "form": "factored"}
    expected = select(*problem.map(lambda t: t.double()).args, 25, **options).positions
    found = select(*problem.map(lambda t: t.to(device)).args, 25, **options).positions
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("layout", [by_numbers, torch.clone])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_blocks_change_as_their_formulas_say(rank, dtype, layout, seed):
    """In whatever order their numbers lie; nothing else of the memory is written to."""
    generator = torch.Generator().manual_seed(seed)
    a, c, p, q = torch.randn(4, 9, rank, rank, generator=generator, dtype=torch.float64)
    g, s = torch.randn(2, rank, rank, generator=generator, dtype=torch.float64)
    a, c, g, s = (each + each.mT for each in (a, c, g, s))
    products = torch.cat([p, q], dim=2).to(dtype)
    p, q = products.to(torch.float64).chunk(2, dim=2)
    after_a = a - p @ g @ p.mT
    after_c = c - p @ g @ q.mT - q @ g @ p.mT + p @ g @ s @ g @ p.mT
    before = a.clone(), c.clone()
    found_a, found_c, given = layout(a), layout(c), layout(products)
    given_before = given.clone()
    some = slice(2, 7)
    downdate(found_a[some], found_c[some], *given[some].chunk(2, dim=2), g, s)
    tolerance = {"rtol": 1e-12, "atol": 1e-12}
    if dtype == torch.float32:
        tolerance = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(found_a[some], after_a[some], **tolerance)
    torch.testing.assert_close(found_c[some], after_c[some], **tolerance)
    for found, old in zip((found_a, found_c), before, strict=True):
        assert torch.equal(found[:2], old[:2])
        assert torch.equal(found[7:], old[7:])
    assert torch.equal(given, given_before)
