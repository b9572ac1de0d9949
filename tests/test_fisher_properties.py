# SPDX-License-Identifier: BSD-3-Clause
"""What must hold for every selection problem, the nasty ones first (hypothesis)."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import torch
from fisher_problems import Rows
from fisher_problems import one_thread as one_thread  # autouse
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from skbait.fisher import select

FORMS = ["dense", "factored"]


@st.composite
def rows_and_options(draw, *, duplicates=True, scale=True):
    """Draw a selection problem and options: tiny, and as degenerate as real pools can be."""
    n_pool = draw(st.integers(1, 24))
    n_labeled = draw(st.integers(0, 6))
    n_features = draw(st.integers(1, 5))
    n_classes = draw(st.integers(2, 5))
    n_rows = n_pool + n_labeled
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    h = torch.randn(n_rows, n_features, generator=generator, dtype=torch.float64)
    h += draw(st.sampled_from([0.0, 0.0, 10.0]))  # far from centred
    logit_scale = draw(st.sampled_from([0.1, 1.0, 10.0, 100.0]))
    logits = torch.randn(n_rows, n_classes, generator=generator, dtype=torch.float64)
    p = torch.softmax(logit_scale * logits, dim=1)

    def some_rows():
        return torch.rand(n_rows, generator=generator) < draw(st.sampled_from([0.0, 0.3, 0.9]))

    h[some_rows()] = 0.0
    certain = some_rows()
    p[certain] = torch.eye(n_classes, dtype=torch.float64)[0]
    if scale:
        h *= draw(st.sampled_from([1e-3, 1.0, 1e3]))
    if duplicates and draw(st.booleans()):
        again = torch.randint(n_rows, (n_rows,), generator=generator)
        h, p = h[again], p[again]
    rows = Rows(h[:n_pool], p[:n_pool], h[n_pool:], p[n_pool:])
    if n_labeled == 0 and draw(st.booleans()):
        rows = Rows(rows.h, rows.p, None, None)
    options = {
        "variant": draw(st.sampled_from(["exact", "exp", "binary"])),
        "top_c": draw(st.integers(1, n_classes)),
        "weighting": draw(st.sampled_from(["posterior", "original"])),
        "oversample": draw(st.sampled_from([1.0, 2.0, 3.0])),
    }
    return rows, draw(st.integers(1, n_pool)), options


def solve(rows, n, options):
    """The reference's selection, or none where no row has information that means anything.

    Where all rows with features are certain to twenty digits, what is left of 1 − p̂ is underflow:
    any n distinct rows will do.
    """
    problem = rows.problem(n, **options)
    if np.trace(problem.F) <= 1e-20 * float((rows.h**2).sum(dim=1).max()):
        return None
    return reference.select(problem, n, oversample=options["oversample"])


def checked(rows, n, options, solved, **how):
    """Select, compare with the reference's selection of the same problem, return positions."""
    selection = select(*rows.args, n, **options, **how)
    positions = selection.positions.tolist()
    assert len(set(positions)) == n
    assert not selection.gains.isnan().any()
    assert (selection.gains >= 0).all()
    if solved is not None:
        reference.assert_same_picks(
            positions, solved.problem, n, oversample=options["oversample"], reference=solved
        )
    return positions


@settings(max_examples=4 * settings.default.max_examples)
@given(rows_and_options(), st.sampled_from([None, 1, 5]))
def test_dense_and_factored_and_reference_agree(drawn, chunk_size):
    rows, n, options = drawn
    solved = solve(rows, n, options)
    for form in FORMS:
        checked(rows, n, options, solved, form=form, chunk_size=chunk_size)


@settings(max_examples=4 * settings.default.max_examples)
@given(rows_and_options(), st.sampled_from([1e-4, 1e-2, 1.0, 100.0]))
def test_agreement_with_an_absolute_regularization(drawn, regularization):
    rows, n, options = drawn
    options = {**options, "regularization": regularization}
    every = rows.h if rows.h_labeled is None else torch.cat([rows.h, rows.h_labeled])
    largest = every.abs().max().clamp_min(1e-30)
    rows = rows.features(lambda h: h / largest)
    solved = solve(rows, n, options)
    for form in FORMS:
        checked(rows, n, options, solved, form=form)


@settings(max_examples=4 * settings.default.max_examples)
@given(rows_and_options())
def test_float32_input(drawn):
    rows, n, options = drawn
    rows = rows.map(lambda t: t.float())
    solved = solve(rows, n, options)
    for form in FORMS:
        checked(rows, n, options, solved, form=form)


@pytest.mark.parametrize("form", [*FORMS, "auto"])
@given(drawn=rows_and_options(), scale=st.sampled_from([1e-3, 1e3, 1e-6, 1e6]))
def test_scale_of_features_changes_nothing(form, drawn, scale):
    """The default λ follows the features; probabilities stay as they are."""
    rows, n, options = drawn
    solved = solve(rows, n, {**options, "weighting": "posterior"})
    assume(solved is not None)
    options = {**options, "weighting": "posterior"}
    scaled = rows.features(lambda h: scale * h)
    before = checked(rows, n, options, solved, form=form)
    after = checked(scaled, n, options, solved, form=form)
    if solved.gap > reference.TIE:
        assert after == before


@pytest.mark.parametrize("form", FORMS)
@given(drawn=rows_and_options(), seed=st.integers(0, 1000))
def test_a_permuted_pool_permutes_the_picks(form, drawn, seed):
    rows, n, options = drawn
    order = torch.randperm(len(rows.h), generator=torch.Generator().manual_seed(seed))
    solved = solve(rows, n, options)
    assume(solved is not None)
    before = checked(rows, n, options, solved, form=form)
    after = select(*rows.pool(order).args, n, **options, form=form).positions
    after = order[after].tolist()
    reference.assert_same_picks(
        after, solved.problem, n, oversample=options["oversample"], reference=solved
    )
    if solved.gap > reference.TIE:
        assert after == before


@pytest.mark.parametrize("form", FORMS)
@given(drawn=rows_and_options(), seed=st.integers(0, 1000))
def test_a_permutation_of_the_classes_leaves_the_picks(form, drawn, seed):
    rows, n, options = drawn
    n_classes = rows.p.shape[1]
    order = torch.randperm(n_classes, generator=torch.Generator().manual_seed(seed))
    solved = solve(rows, n, options)
    assume(solved is not None)
    checked(rows.classes(order), n, options, solved, form=form)


@pytest.mark.parametrize("form", FORMS)
@given(drawn=rows_and_options(), seed=st.integers(0, 1000))
def test_a_rotation_of_the_features_leaves_the_picks(form, drawn, seed):
    rows, n, options = drawn
    generator = torch.Generator().manual_seed(seed)
    n_features = rows.h.shape[1]
    square = torch.randn(n_features, n_features, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(square).Q
    solved = solve(rows, n, options)
    assume(solved is not None)
    checked(rows.features(lambda h: h @ rotation), n, options, solved, form=form)


@pytest.mark.parametrize("form", FORMS)
@given(drawn=rows_and_options())
def test_labelled_rows_in_any_order(form, drawn):
    rows, n, options = drawn
    assume(rows.h_labeled is not None)
    solved = solve(rows, n, options)
    assume(solved is not None)
    flipped = Rows(rows.h, rows.p, rows.h_labeled.flip(0), rows.p_labeled.flip(0))
    checked(flipped, n, options, solved, form=form)


@given(rows_and_options())
def test_a_class_that_never_occurs_leaves_the_picks_of_an_absolute_lambda(drawn):
    """A column of zeros adds parameters that no row knows anything about."""
    rows, n, options = drawn
    solved = solve(rows, n, options)
    assume(solved is not None)
    options = {**options, "regularization": solved.problem.lam}

    def widen(p):
        return torch.cat([p, torch.zeros_like(p[:, :1])], dim=1)

    labeled = None if rows.p_labeled is None else widen(rows.p_labeled)
    wide = Rows(rows.h, widen(rows.p), rows.h_labeled, labeled)
    for form in FORMS:
        checked(wide, n, options, solved, form=form)


@example(seed=0, n=1)
@given(seed=st.integers(0, 1000), n=st.integers(1, 12))
def test_the_objective_never_rises_with_more_labels(seed, n):
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(24, 3, generator=generator, dtype=torch.float64)
    p = torch.softmax(torch.randn(24, 3, generator=generator, dtype=torch.float64), dim=1)
    rows = Rows(h[:20], p[:20], h[20:], p[20:])
    problem = rows.problem(n)
    picks = select(*rows.args, n).positions.tolist()
    assert problem.objective(picks) < problem.objective(picks[:-1])
