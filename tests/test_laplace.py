# SPDX-License-Identifier: BSD-3-Clause
"""The Laplace posterior against dense references: covariance, updates, evidence, predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from skbait.laplace import evidence, sample_heads
from skbait.laplace.likelihood import class_probabilities, response
from skbait.laplace.newton import newton
from skbait.laplace.posterior import Posterior, posterior_of_head
from skbait.laplace.prediction import mean_field_logits, monte_carlo_probabilities
from skbait.laplace.updates import first_order, second_order

EXACT = torch.float64
KINDS = [("shared", "gaussian"), ("shared", "categorical"), ("full", "categorical")]


def random_rows(rng, n, n_features, n_classes, scale=1.0):
    features = torch.as_tensor(scale * rng.normal(size=(n, n_features)))
    codes = torch.as_tensor(rng.integers(n_classes, size=n))
    return features, torch.nn.functional.one_hot(codes, n_classes).to(EXACT)


def random_posterior(
    rng, kind, *, n=12, n_features=4, n_classes=3, link="softmax", bias=True, lam=1.0
):
    covariance, likelihood = kind
    mean = torch.as_tensor(rng.normal(size=(n_classes, n_features + bias)))
    features, _ = random_rows(rng, n, n_features, n_classes)
    return posterior_of_head(
        mean,
        features,
        covariance=covariance,
        likelihood=likelihood,
        prior_precision=lam,
        link=link,
        has_bias=bias,
    )


def information_of(posterior, row, logits):
    """What one row adds to the precision, by the definition."""
    outer = torch.outer(row, row)
    if posterior.blocks == 1:
        if posterior.likelihood == "gaussian":
            return outer
        top = class_probabilities(logits, posterior.link).max()
        return top * (1 - top) * outer
    r = response(logits, posterior.link)
    soft = posterior.link == "softmax"
    return torch.kron(
        torch.diag(r) - torch.outer(r, r) if soft else torch.diag(r * (1 - r)), outer
    )


def reference_second_order(posterior, features, targets, step, weights=None):
    """One row after the other, with the whole precision inverted for each."""
    mean, precision = posterior.mean, posterior.precision
    weights = [1.0] * len(features) if weights is None else weights
    for row, target, weight in zip(posterior.rows(features), targets, weights, strict=True):
        logits = mean @ row
        residual = weight * (target - response(logits, posterior.link))
        precision = precision + weight * information_of(posterior, row, logits)
        covariance = torch.linalg.inv(precision)
        if posterior.blocks == 1:
            mean = mean + step * torch.outer(residual, covariance @ row)
        else:
            mean = mean + step * (covariance @ torch.kron(residual, row)).reshape(mean.shape)
    return mean, precision, torch.linalg.inv(precision)


def negative_log_posterior(prior, features, targets):
    """Return it as a function of the flat weights."""
    rows = prior.rows(features)
    block = torch.block_diag(*[prior.precision] * prior.copies)

    def value(weights):
        moved = weights - prior.mean.flatten()
        logits = rows @ weights.reshape(prior.mean.shape).T
        if prior.link == "softmax":
            fit = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
        else:
            fit = torch.nn.functional.binary_cross_entropy_with_logits(
                logits, targets, reduction="sum"
            )
        return 0.5 * moved @ block @ moved + fit

    return value


def hessian_of(function):
    # reverse mode twice: torch.func.hessian has forward mode, which warns while it is loaded
    return torch.func.jacrev(torch.func.jacrev(function))


def assert_consistent(posterior, tolerance=1e-8):
    """The covariance is the inverse of the precision, and positive definite."""
    expected = torch.linalg.inv(posterior.precision)
    torch.testing.assert_close(
        posterior.covariance,
        expected,
        rtol=tolerance,
        atol=tolerance * float(expected.abs().max()),
    )
    assert torch.linalg.eigvalsh(posterior.covariance).min() > 0
    assert torch.linalg.cholesky_ex(posterior.precision).info == 0


# ---------------------------------------------------------------------------- construction


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("link", ["softmax", "ovr"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_training_row_is_in_the_precision(kind, link, bias, rng):
    mean = torch.as_tensor(rng.normal(size=(3, 5 + bias)))
    features, _ = random_rows(rng, 37, 5, 3)
    weights = torch.as_tensor(rng.uniform(size=37))
    found = posterior_of_head(
        mean,
        features,
        covariance=kind[0],
        likelihood=kind[1],
        prior_precision=0.3,
        link=link,
        has_bias=bias,
        weights=weights,
    )
    expected = 0.3 * torch.eye(len(found.precision), dtype=EXACT)
    for row, weight in zip(found.rows(features), weights, strict=True):
        expected = expected + weight * information_of(found, row, mean @ row)
    torch.testing.assert_close(found.precision, expected, rtol=1e-12, atol=1e-12)
    assert_consistent(found)


@pytest.mark.parametrize("link", ["softmax", "ovr"])
def test_the_full_covariance_is_the_inverse_of_autograds_hessian(link, rng):
    posterior = random_posterior(rng, ("full", "categorical"), n=9, link=link, lam=0.7)
    features, targets = random_rows(rng, 15, 4, 3)
    found = posterior_of_head(
        posterior.mean, features, covariance="full", prior_precision=0.7, link=link
    )
    prior = Posterior.prior(posterior.mean, covariance="full", prior_precision=0.7, link=link)
    value = negative_log_posterior(prior, features, targets)
    hessian = hessian_of(value)(posterior.mean.flatten())
    torch.testing.assert_close(found.covariance, torch.linalg.inv(hessian), rtol=1e-9, atol=1e-12)


def test_features_in_float32_are_computed_with_in_float64(rng):
    features, targets = random_rows(rng, 20, 4, 3, scale=30.0)
    mean = torch.as_tensor(rng.normal(size=(3, 5)))
    narrow = features.float()
    one = second_order(posterior_of_head(mean, narrow), narrow[:7], targets[:7], 2.0)
    other = second_order(
        posterior_of_head(mean, narrow.double()), narrow[:7].double(), targets[:7], 2.0
    )
    assert torch.equal(one.mean, other.mean)
    assert torch.equal(one.covariance, other.covariance)


def test_a_prior_too_small_for_the_features_is_named(rng):
    features = torch.as_tensor(1e9 * rng.normal(size=(3, 8)))
    with pytest.raises(ArithmeticError, match="prior_precision is too small"):
        posterior_of_head(torch.zeros(2, 9, dtype=EXACT), features, prior_precision=1e-9)


# ---------------------------------------------------------------------------- second order


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("link", ["softmax", "ovr"])
@pytest.mark.parametrize("kind", KINDS)
def test_second_order_against_inverting_for_every_row(kind, link, bias, rng):
    posterior = random_posterior(rng, kind, link=link, bias=bias, lam=0.5)
    features, targets = random_rows(rng, 11, 4, 3, scale=2.0)
    features[3] = features[2]  # a duplicate
    features[5] = 0.0
    found = second_order(posterior, features, targets, 3.0)
    mean, precision, covariance = reference_second_order(posterior, features, targets, 3.0)
    torch.testing.assert_close(found.mean, mean, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.precision, precision, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.covariance, covariance, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_equals_its_rows_one_by_one(kind, rng):
    """Also across the blocks in which a long batch is worked on."""
    posterior = random_posterior(rng, kind, n_features=3)
    features, targets = random_rows(rng, 150, 3, 3)
    whole = second_order(posterior, features, targets, 1.5)
    parts = posterior
    for i in range(len(features)):
        parts = second_order(parts, features[i : i + 1], targets[i : i + 1], 1.5)
    torch.testing.assert_close(whole.mean, parts.mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(whole.covariance, parts.covariance, rtol=1e-9, atol=1e-12)


def test_certain_rows_add_no_information(rng):
    posterior = random_posterior(rng, ("shared", "categorical"))
    posterior = replace(posterior, mean=posterior.mean * 1e4)
    features, _ = random_rows(rng, 5, 4, 3, scale=10.0)
    targets = class_probabilities(posterior.logits(features), "softmax").round()
    found = second_order(posterior, features, targets, 1.0)
    torch.testing.assert_close(found.covariance, posterior.covariance)
    torch.testing.assert_close(found.mean, posterior.mean)


def test_first_order_moves_the_mean_only(rng):
    posterior = random_posterior(rng, ("shared", "gaussian"))
    features, targets = random_rows(rng, 6, 4, 3)
    found = first_order(posterior, features, targets, 0.01)
    mean = posterior.mean
    for row, target in zip(posterior.rows(features), targets, strict=True):
        mean = mean + 0.01 * torch.outer(target - torch.softmax(mean @ row, 0), row)
    torch.testing.assert_close(found.mean, mean, rtol=1e-12, atol=1e-14)
    assert found.covariance is posterior.covariance


@pytest.mark.parametrize("update", [second_order, first_order, newton])
def test_an_update_writes_to_no_tensor_of_before(update, rng):
    posterior = random_posterior(rng, ("shared", "gaussian"))
    before = {
        name: getattr(posterior, name).clone() for name in ("mean", "precision", "covariance")
    }
    features, targets = random_rows(rng, 6, 4, 3)
    update(posterior, features, targets, 10)
    for name, tensor in before.items():
        assert torch.equal(getattr(posterior, name), tensor)


# ---------------------------------------------------------------------------- Newton


@pytest.mark.parametrize("link", ["softmax", "ovr"])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_rows(kind, link, rng):
    """A weight multiplies residual and curvature; for Newton a row of weight 3 is three rows."""
    posterior = random_posterior(rng, kind, n_features=5, link=link, lam=0.3)
    features, targets = random_rows(rng, 6, 5, 3)
    weights = torch.tensor([1.0, 3.0, 0.0, 2.0, 0.25, 1.0], dtype=EXACT)
    found = second_order(posterior, features, targets, 1.5, weights)
    expected = reference_second_order(posterior, features, targets, 1.5, weights)
    for one, other in zip((found.mean, found.precision, found.covariance), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)
    moved = first_order(posterior, features[1:2], targets[1:2], 0.1, weights[1:2])
    same = first_order(posterior, features[1:2], targets[1:2], 0.3)
    torch.testing.assert_close(moved.mean, same.mean)
    whole = torch.tensor([1, 3, 0, 2, 1, 1])
    repeated = [t.repeat_interleave(whole, dim=0) for t in (features, targets)]
    for n_more in (0, 40):  # fewer rows than weights of the head, and more
        more, labels = random_rows(rng, n_more, 5, 3)
        one = newton(
            posterior,
            torch.cat([features, more]),
            torch.cat([targets, labels]),
            50,
            torch.cat([whole.to(EXACT), torch.ones(n_more, dtype=EXACT)]),
        )
        other = newton(
            posterior, torch.cat([repeated[0], more]), torch.cat([repeated[1], labels]), 50
        )
        torch.testing.assert_close(one.mean, other.mean, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(one.precision, other.precision, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(one.covariance, other.covariance, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("n", [3, 60], ids=["fewer rows than weights", "more rows"])
@pytest.mark.parametrize("link", ["softmax", "ovr"])
@pytest.mark.parametrize("kind", KINDS)
def test_newton_finds_the_mode_and_takes_the_curvature_there(kind, link, n, rng):
    prior = random_posterior(rng, kind, n_features=5, link=link, lam=0.1)
    features, targets = random_rows(rng, n, 5, 3, scale=3.0)
    if n > 3:
        features[7] = features[8]
    found = newton(prior, features, targets, 50)
    gradient = torch.func.grad(negative_log_posterior(prior, features, targets))
    assert gradient(found.mean.flatten()).abs().max() < 1e-8 * (1 + float(prior.precision.max()))
    expected = prior.precision
    for row in found.rows(features):
        expected = expected + information_of(found, row, found.mean @ row)
    torch.testing.assert_close(found.precision, expected, rtol=1e-10, atol=1e-10)
    assert_consistent(found)


@pytest.mark.parametrize("covariance", ["shared", "full"])
@pytest.mark.parametrize("lam", [0.05, 2.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_newton_from_no_data_is_logistic_regression(covariance, lam, classes):
    X, y = load_iris(return_X_y=True)
    X, y = X[y < classes], y[y < classes]
    X = np.c_[X, np.ones(len(X))]  # so that the bias is penalised there, too
    # of two classes scikit-learn fits w = w_1 - w_0: λ (‖w/2‖² + ‖-w/2‖²) = λ/2 ‖w‖²
    C = 1 / lam if classes > 2 else 2 / lam
    expected = LogisticRegression(C=C, fit_intercept=False, tol=1e-9, max_iter=10_000).fit(X, y)
    prior = Posterior.prior(
        torch.zeros(classes, 5), covariance=covariance, prior_precision=lam, has_bias=True
    )
    targets = torch.nn.functional.one_hot(torch.as_tensor(y)).to(EXACT)
    found = newton(prior, torch.as_tensor(X[:, :-1]), targets, 50).mean.numpy()
    if classes == 2:
        np.testing.assert_allclose(found[0], -found[1], atol=1e-9)
        found = found[1:] - found[:1]
    np.testing.assert_allclose(found, expected.coef_, rtol=2e-4, atol=2e-5)


@given(st.integers(0, 10_000), st.sampled_from(KINDS))
def test_newton_does_not_depend_on_the_order_of_the_rows(case, kind):
    rng = np.random.default_rng(case)
    prior = random_posterior(rng, kind, lam=0.2)
    features, targets = random_rows(rng, int(rng.integers(1, 12)), 4, 3, scale=2.0)
    order = torch.as_tensor(rng.permutation(len(features)))
    one, other = (
        newton(prior, f, t, 50)
        for f, t in ((features, targets), (features[order], targets[order]))
    )
    torch.testing.assert_close(one.mean, other.mean, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(one.covariance, other.covariance, rtol=1e-7, atol=1e-10)


def test_newton_with_one_step_is_one_step(rng):
    prior = random_posterior(rng, ("full", "categorical"))
    features, targets = random_rows(rng, 2, 4, 3, scale=0.1)
    value = negative_log_posterior(prior, features, targets)
    start = prior.mean.flatten()
    hessian, gradient = hessian_of(value)(start), torch.func.grad(value)(start)
    expected = start - torch.linalg.solve(hessian, gradient)
    # the linear system is solved to the accuracy that a rough step deserves
    found = newton(prior, features, targets, 1).mean.flatten()
    assert (found - expected).norm() < 0.02 * (start - expected).norm()


# ---------------------------------------------------------------------------- accumulation


@given(st.integers(0, 10_000), st.sampled_from(KINDS), st.booleans())
def test_the_covariance_is_the_inverse_after_any_updates(case, kind, bias):
    rng = np.random.default_rng(case)
    n_features = int(rng.integers(1, 6))
    posterior = random_posterior(
        rng,
        kind,
        n=int(rng.integers(1, 8)),
        n_features=n_features,
        bias=bias,
        lam=float(10 ** rng.uniform(-2, 2)),
    )
    information = posterior.precision.clone()
    for _ in range(rng.integers(1, 12)):
        if kind[0] == "shared" and rng.uniform() < 0.1:
            posterior = posterior.with_classes(torch.arange(posterior.n_classes + 1))
        n_rows = int(rng.integers(1, 10))
        scale = 10 ** rng.uniform(-1, 1)
        rows = random_rows(rng, n_rows, n_features, posterior.n_classes, scale)
        if rng.uniform() < 0.3:
            rows[0][:] = rows[0][0].clone()  # all alike
        update = [second_order, newton, first_order][rng.choice(3, p=[0.6, 0.3, 0.1])]
        before = posterior
        posterior = update(posterior, *rows, 30 if update is newton else 1.0)
        if update is newton:
            for row in posterior.rows(rows[0]):
                information = information + information_of(posterior, row, posterior.mean @ row)
        elif update is second_order:
            mean = before.mean
            _, precision, _ = reference_second_order(replace(before, mean=mean), *rows, 1.0)
            information = information + precision - before.precision
        torch.testing.assert_close(
            posterior.precision, information, rtol=1e-8, atol=1e-8 * float(information.max())
        )
        assert_consistent(posterior)


@given(st.integers(0, 10_000))
def test_the_gaussian_covariance_does_not_depend_on_the_order(case):
    rng = np.random.default_rng(case)
    posterior = random_posterior(rng, ("shared", "gaussian"))
    features, targets = random_rows(rng, 9, 4, 3)
    order = torch.as_tensor(rng.permutation(9))
    one = second_order(posterior, features, targets, 2.0)
    other = second_order(posterior, features[order], targets[order], 2.0)
    torch.testing.assert_close(one.covariance, other.covariance, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    "kind, n_batches", [(("shared", "gaussian"), 180), (("full", "categorical"), 30)]
)
def test_thousands_of_updates_leave_it_positive_definite(kind, n_batches, rng):
    """10,000 for the default; rows of very different lengths, the same ones again and again."""
    posterior = random_posterior(rng, kind, n_features=8, lam=1e-3)
    features, targets = random_rows(rng, 50, 8, 3)
    features = features * torch.logspace(-2, 2, 50, dtype=EXACT)[:, None]
    for _ in range(20):
        for i in range(50):
            posterior = second_order(posterior, features[i : i + 1], targets[i : i + 1], 1e-3)
    for _ in range(n_batches):
        posterior = second_order(posterior, features, targets, 1e-3)
    assert torch.isfinite(posterior.mean).all()
    assert_consistent(posterior)


# ---------------------------------------------------------------------------- new classes


@pytest.mark.parametrize("kind", KINDS)
def test_classes_that_come_later_start_at_the_prior(kind, rng):
    posterior = random_posterior(rng, kind, lam=0.25)
    order = torch.tensor([0, 3, 1, 2])  # the new one comes second
    found = posterior.with_classes(order)
    assert found.blocks in (1, 4)
    torch.testing.assert_close(found.mean[[0, 2, 3]], posterior.mean)
    assert not found.mean[1].any()
    assert_consistent(found)
    features, targets = random_rows(rng, 8, 4, 4)
    if kind[0] == "shared":
        torch.testing.assert_close(found.covariance, posterior.covariance)
    else:
        blocks = found.covariance.view(4, 5, 4, 5)
        old = blocks[[0, 2, 3]][:, :, [0, 2, 3]]
        torch.testing.assert_close(old.reshape(15, 15), posterior.covariance)
        torch.testing.assert_close(blocks[1, :, 1], torch.eye(5, dtype=EXACT) / 0.25)
        assert not blocks[1][:, [0, 2, 3]].any()
    mean, _, covariance = reference_second_order(found, features, targets, 1.0)
    updated = second_order(found, features, targets, 1.0)
    torch.testing.assert_close(updated.mean, mean)
    torch.testing.assert_close(updated.covariance, covariance)


# ---------------------------------------------------------------------------- evidence


@pytest.mark.parametrize("copies", [1, 3])
def test_the_best_prior_precision_has_the_largest_evidence(copies, rng):
    rows = torch.as_tensor(rng.normal(size=(6, 9)))
    information = rows.T @ rows  # of rank 6 of 9
    mean = torch.as_tensor(rng.normal(size=(3, 9 // (3 if copies == 1 else 1))))
    found = evidence.best_prior_precision(information, mean)
    values = {
        factor: float(evidence.log_evidence(found * factor, information, mean))
        for factor in (0.2, 0.9, 0.999, 1.0, 1.001, 1.1, 5.0)
    }
    assert max(values, key=values.get) == 1.0


def test_the_evidence_is_that_of_the_definition(rng):
    """Of a model linear in its weights it is exact: log N(y | 0, I + X Xᵀ / λ)."""
    X = torch.as_tensor(rng.normal(size=(7, 4)))
    y = torch.as_tensor(rng.normal(size=7))

    def exact(lam):
        covariance = torch.eye(7, dtype=EXACT) + X @ X.T / lam
        return torch.distributions.MultivariateNormal(torch.zeros(7, dtype=EXACT), covariance)

    def approximation(lam):
        mean = torch.linalg.solve(X.T @ X + lam * torch.eye(4, dtype=EXACT), X.T @ y)
        fit = -0.5 * (y - X @ mean).square().sum()
        return fit + evidence.log_evidence(lam, X.T @ X, mean[None])

    difference = exact(0.3).log_prob(y) - exact(4.0).log_prob(y)
    torch.testing.assert_close(approximation(0.3) - approximation(4.0), difference)


def test_the_best_prior_precision_follows_the_scale_of_the_features(rng):
    features, _ = random_rows(rng, 30, 5, 3)
    mean = torch.as_tensor(rng.normal(size=(3, 5)))
    options = {"prior_precision": "auto", "has_bias": False}
    one = posterior_of_head(mean, features, **options)
    other = posterior_of_head(mean / 10, features * 10, **options)
    assert other.prior_precision == pytest.approx(100 * one.prior_precision)
    assert_consistent(one)


def test_the_best_prior_precision_is_finite_where_nothing_decides():
    assert evidence.best_prior_precision(torch.zeros(3, 3), torch.ones(2, 3)) == 1.0
    low, high = (bound * 2.0 for bound in evidence.BOUNDS)
    found = evidence.best_prior_precision(2 * torch.eye(3, dtype=EXACT), torch.zeros(2, 3))
    assert found == pytest.approx(high)
    found = evidence.best_prior_precision(2 * torch.eye(3, dtype=EXACT), torch.full((2, 3), 1e9))
    assert found == pytest.approx(low)


# ---------------------------------------------------------------------------- predictions


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_field_divides_by_the_spread_of_each_logit(kind, rng):
    posterior = random_posterior(rng, kind)
    features, _ = random_rows(rng, 40, 4, 3)
    found = mean_field_logits(posterior, features)
    # under a softmax with a full covariance: of the logits less their mean
    contrast = torch.eye(3, dtype=EXACT)
    if kind[0] == "full" and posterior.link == "softmax":
        contrast -= 1 / 3
    for row, logits in zip(posterior.rows(features), found, strict=True):
        spread = torch.block_diag(row, row, row)  # what makes the logits of the weights
        if kind[0] == "full":
            covariance = contrast @ spread @ posterior.covariance @ spread.T @ contrast
        else:
            covariance = (row @ posterior.covariance @ row) * contrast
        mean = contrast @ (posterior.mean @ row)
        expected = mean / (1 + torch.pi / 8 * covariance.diagonal()).sqrt()
        torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(
        mean_field_logits(posterior, features, factor=0.0), posterior.logits(features)
    )


@pytest.mark.parametrize("n_classes", [2, 3, 10])
@pytest.mark.parametrize("prior_precision", [1.0, 0.01])
def test_the_mean_field_of_a_full_covariance_is_near_that_of_many_heads(
    n_classes, prior_precision, rng
):
    """Whatever the prior of what the logits have in common; and that does not count."""
    truth = torch.as_tensor(rng.normal(size=(8, n_classes)))
    rows = torch.as_tensor(rng.normal(size=(200, 8)))
    posterior = posterior_of_head(
        truth.T,
        rows[:100],
        covariance="full",
        likelihood="categorical",
        prior_precision=prior_precision,
        has_bias=False,
    )
    found = torch.softmax(mean_field_logits(posterior, rows), dim=1)
    sampled = monte_carlo_probabilities(
        posterior, rows, n_samples=2000, generator=torch.Generator().manual_seed(0)
    )
    assert float((found - sampled).abs().mean()) < 0.03
    shifted = replace(posterior, mean=posterior.mean + torch.as_tensor(rng.normal(size=8)))
    again = torch.softmax(mean_field_logits(shifted, rows), dim=1)
    torch.testing.assert_close(again, found)


@pytest.mark.parametrize("kind", KINDS)
def test_monte_carlo_is_the_mean_over_the_drawn_heads(kind, rng):
    posterior = random_posterior(rng, kind)
    features, _ = random_rows(rng, 6, 4, 3)

    def draw(rows):
        return monte_carlo_probabilities(
            posterior, rows, n_samples=20, generator=torch.Generator().manual_seed(3)
        )

    heads = posterior.sample(20, torch.Generator().manual_seed(3))
    logits = torch.einsum("np,skp->nsk", posterior.rows(features), heads)
    torch.testing.assert_close(draw(features), torch.softmax(logits, 2).mean(1))
    torch.testing.assert_close(draw(features)[2:3], draw(features[2:3]))


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_mean_and_the_covariance(kind, rng, seed):
    posterior = random_posterior(rng, kind, n_features=2)
    heads = posterior.sample(40_000, torch.Generator().manual_seed(seed))
    assert heads.shape == (40_000, 3, 3)
    torch.testing.assert_close(heads.mean(0), posterior.mean, rtol=0, atol=0.05)
    flat = (heads - posterior.mean).reshape(40_000, -1)
    expected = torch.block_diag(*[posterior.covariance] * posterior.copies)
    torch.testing.assert_close(flat.T @ flat / 40_000, expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("likelihood", ["gaussian", "categorical"])
@pytest.mark.parametrize("n_logits", [1, 4])
def test_sample_heads_draws_from_the_shared_posterior(likelihood, n_logits, rng, seed):
    weight, bias = torch.as_tensor(rng.normal(size=(n_logits, 2))), torch.zeros(n_logits)
    features, _ = random_rows(rng, 10, 2, 2)
    p = torch.softmax(torch.as_tensor(rng.normal(size=(10, max(2, n_logits)))), 1)
    weights, biases = sample_heads(
        weight.float(),
        bias,
        features.float(),
        n_samples=40_000,
        prior_precision=0.5,
        likelihood=likelihood,
        probabilities=p,
        generator=torch.Generator().manual_seed(seed),
    )
    assert weights.shape == (40_000, n_logits, 2)
    assert biases.shape == (40_000, n_logits)
    top = p.max(1).values
    m = torch.ones(10, dtype=EXACT) if likelihood == "gaussian" else top * (1 - top)
    rows = torch.cat([features, torch.ones(10, 1, dtype=EXACT)], 1)
    expected = torch.linalg.inv(0.5 * torch.eye(3, dtype=EXACT) + (rows.T * m) @ rows)
    drawn = torch.cat([weights - weight, (biases - bias)[..., None]], 2)[:, -1]
    torch.testing.assert_close(drawn.T @ drawn / 40_000, expected, rtol=0, atol=0.08)


def test_sample_heads_without_labels_or_bias():
    weights, biases = sample_heads(
        torch.zeros(2, 3),
        None,
        torch.zeros(0, 3),
        n_samples=5,
        generator=torch.Generator().manual_seed(0),
    )
    assert weights.shape == (5, 2, 3)
    assert not biases.any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_a_cuda_device_gives_the_same(kind, rng):
    posterior = random_posterior(rng, kind)
    features, targets = random_rows(rng, 9, 4, 3)
    tensors = {
        name: getattr(posterior, name).cuda() for name in ("mean", "precision", "covariance")
    }
    there = replace(posterior, **tensors)
    for update in (second_order, newton, first_order):
        found = update(there, features.cuda(), targets.cuda(), 5)
        expected = update(posterior, features, targets, 5)
        torch.testing.assert_close(found.mean.cpu(), expected.mean)
        torch.testing.assert_close(found.covariance.cpu(), expected.covariance)
    found = mean_field_logits(there, features.cuda()).cpu()
    torch.testing.assert_close(found, mean_field_logits(posterior, features))
    heads = there.sample(3, torch.Generator().manual_seed(0)).cpu()
    torch.testing.assert_close(heads, posterior.sample(3, torch.Generator().manual_seed(0)))
