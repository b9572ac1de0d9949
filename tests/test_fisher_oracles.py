# SPDX-License-Identifier: BSD-3-Clause
"""What the Fisher information is, from sources that have never heard of BAIT."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference
import torch
from fisher_problems import Rows, random_rows
from fisher_problems import one_thread as one_thread  # autouse
from sklearn._loss.loss import HalfMultinomialLoss
from sklearn.linear_model._linear_loss import LinearModelLoss

from skbait.fisher import select
from skbait.fisher.factors import contrast_basis, exact_factor

FORMS = ["dense", "factored"]


def softmax_layer(seed=0, n_pool=30, n_labeled=6, n_features=3, n_classes=3):
    """Draw weights and rows whose probabilities they give."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(n_classes, n_features, generator=generator, dtype=torch.float64)
    h = torch.randn(n_pool + n_labeled, n_features, generator=generator, dtype=torch.float64)
    p = torch.softmax(h @ weights.T, dim=1)
    return weights, Rows(h[:n_pool], p[:n_pool], h[n_pool:], p[n_pool:])


def mean_fisher(rows):
    """The mean Fisher information of all rows from skbait's own factor, (K·D, K·D)."""
    h, p = torch.cat([rows.h, rows.h_labeled]), torch.cat([rows.p, rows.p_labeled])
    A = exact_factor(p) @ contrast_basis(p.shape[1], p.device).T
    V = torch.einsum("xik,xd->xikd", A, h).flatten(2)
    return torch.einsum("xip,xiq->pq", V, V) / len(h)


def gains_from(F, rows, lam):
    """First-step gains of the posterior objective with another's F, one inverse a candidate."""
    p, h = rows.p.numpy(), rows.h.numpy()

    def information(p_x, h_x):
        return np.kron(np.diag(p_x) - np.outer(p_x, p_x), np.outer(h_x, h_x))

    M = lam * np.eye(len(F))
    for p_x, h_x in zip(rows.p_labeled.numpy(), rows.h_labeled.numpy(), strict=True):
        M += information(p_x, h_x)
    before = np.trace(np.linalg.solve(M, F))
    return np.array(
        [
            before - np.trace(np.linalg.solve(M + information(p_x, h_x), F))
            for p_x, h_x in zip(p, h, strict=True)
        ]
    )


def hessian_of(function, at):
    # reverse mode twice: torch.func.hessian has forward mode, which warns while it is loaded
    return torch.func.jacrev(torch.func.jacrev(function))(at)


def gauss_newton_of_torch(weights, rows):
    """Mean Gauss-Newton Hessian Jᵀ (∂²loss/∂logits²) J of the layer's cross-entropy."""
    h = torch.cat([rows.h, rows.h_labeled])

    def loss_of_logits(logits):
        return torch.nn.functional.cross_entropy(logits, torch.tensor(0))

    def one(h_x):
        jacobian = torch.func.jacrev(lambda w: w.reshape(weights.shape) @ h_x)(weights.flatten())
        curvature = hessian_of(loss_of_logits, weights @ h_x)
        return jacobian.T @ curvature @ jacobian

    return torch.stack([one(h_x) for h_x in h]).mean(dim=0)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_mean_fisher_is_the_gauss_newton_hessian_of_torch(n_classes):
    weights, rows = softmax_layer(n_classes=n_classes)
    torch.testing.assert_close(mean_fisher(rows), gauss_newton_of_torch(weights, rows))


@pytest.mark.parametrize("n_classes", [3, 5])
def test_mean_fisher_is_the_hessian_of_scikit_learn(n_classes):
    weights, rows = softmax_layer(n_classes=n_classes)
    h = torch.cat([rows.h, rows.h_labeled]).numpy()
    loss = LinearModelLoss(HalfMultinomialLoss(n_classes=n_classes), fit_intercept=False)
    y = np.arange(len(h), dtype=np.float64) % n_classes  # the Hessian does not depend on it
    coef = np.asfortranarray(weights.numpy())
    hessian = loss.gradient_hessian(coef, h, y)[1]
    n_features = h.shape[1]
    # there the classes of one feature are neighbours, here the features of one class
    hessian = hessian.reshape(n_features, n_classes, n_features, n_classes)
    hessian = hessian.transpose(1, 0, 3, 2).reshape(n_classes * n_features, -1)
    np.testing.assert_allclose(mean_fisher(rows).numpy(), hessian, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n_classes", [2, 4])
def test_gains_follow_from_the_hessian_of_torch(n_classes, form):
    """The whole objective of ``select``, with F and λ = 0.1·tr(F)/P taken from torch.func."""
    weights, rows = softmax_layer(n_classes=n_classes)
    F = gauss_newton_of_torch(weights, rows).numpy()
    gains = select(*rows.args, 1, variant="exact", form=form).gains
    np.testing.assert_allclose(gains, gains_from(F, rows, 0.1 * np.trace(F) / len(F)), rtol=1e-8)


@pytest.mark.parametrize("form", FORMS)
def test_the_precision_is_that_of_a_penalised_fit(form):
    """One addition under ``weighting="posterior"`` adds the Hessian of one more row's loss."""
    weights, rows = softmax_layer(seed=1)
    lam = 0.3

    def hessian(h):
        def penalised(w):
            logits = h @ w.reshape(weights.shape).T
            y = torch.zeros(len(h), dtype=torch.int64)
            loss = torch.nn.functional.cross_entropy(logits, y, reduction="sum")
            return loss + 0.5 * lam * (w**2).sum()

        return hessian_of(penalised, weights.flatten())

    F = gauss_newton_of_torch(weights, rows)
    before = torch.linalg.solve(hessian(rows.h_labeled), F).trace()
    gains = [
        before - torch.linalg.solve(hessian(torch.cat([rows.h_labeled, h_x[None]])), F).trace()
        for h_x in rows.h
    ]
    got = select(*rows.args, 1, variant="exact", regularization=lam, form=form).gains
    torch.testing.assert_close(got, torch.stack(gains), rtol=1e-8, atol=0.0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weighting", ["posterior", "original"])
@pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
def test_brute_force_over_single_additions(variant, weighting, form):
    """The first pick and every gain, from one inverse for each candidate."""
    rows = random_rows(seed=2, n_pool=15, n_labeled=4)
    options = {"variant": variant, "weighting": weighting}
    problem = rows.problem(1, **options)
    brute = problem.gains_by_inverse([])
    selection = select(*rows.args, 1, form=form, oversample=1.0, **options)
    assert selection.positions.tolist() == [int(np.argmax(brute))]
    np.testing.assert_allclose(selection.gains, brute, rtol=1e-8)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
def test_brute_force_over_pairs(variant, form):
    """Greedy never beats the best of all pairs, and comes near it."""
    rows = random_rows(seed=3, n_pool=14, n_labeled=4)
    problem = rows.problem(2, variant=variant)
    best = min(problem.objective(list(pair)) for pair in itertools.combinations(range(14), 2))
    got = problem.objective(
        select(*rows.args, 2, variant=variant, form=form, oversample=7.0).positions.tolist()
    )
    assert best * (1 - 1e-12) <= got <= 1.25 * best


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
def test_forward_selection_is_monotone(variant, form):
    """The objective falls with each addition; a longer selection begins with the shorter one."""
    rows = random_rows(seed=5, n_pool=30)
    problem = rows.problem(12, variant=variant)
    picks = select(*rows.args, 12, variant=variant, form=form, oversample=1.0).positions.tolist()
    objectives = [problem.objective(picks[:t]) for t in range(13)]
    assert (np.diff(objectives) < 0).all()
    for n in [1, 5, 11]:
        fewer = select(*rows.args, n, variant=variant, form=form, oversample=1.0)
        assert fewer.positions.tolist() == picks[:n]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["gauss", "clusters", "unit", "cnn"])
@pytest.mark.parametrize("variant", ["exact", "exp", "binary"])
def test_better_than_random_subsets(variant, kind, form):
    rows = random_rows(seed=6, n_pool=50, kind=kind)
    problem = rows.problem(6, variant=variant)
    picks = select(*rows.args, 6, variant=variant, form=form).positions.tolist()
    rng = np.random.default_rng(0)
    random = [problem.objective(rng.choice(50, 6, replace=False)) for _ in range(200)]
    assert problem.objective(picks) < min(random)


def test_the_reference_scores_by_the_definition():
    """The formula that the reference scores with, against one inverse for each candidate."""
    for variant in ["exact", "exp", "binary"]:
        for weighting in ["posterior", "original"]:
            problem = random_rows(seed=8, n_pool=20).problem(
                3, variant=variant, weighting=weighting
            )
            for chosen in [[], [3, 7, 1]]:
                np.testing.assert_allclose(
                    problem.gains(chosen), problem.gains_by_inverse(chosen), rtol=1e-9
                )
            naive = reference.select(problem, 3, naive=True)
            assert naive.picks == reference.select(problem, 3).picks
