# SPDX-License-Identifier: BSD-3-Clause
"""AlfaMix against its formula, one row and one anchor at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbait import _backend
from skbait.representation import Head
from skbait.strategies import View
from skbait.strategies.alfamix import AlfaMixQuery, changed_by_mixing, class_means, loss_gradient
from skbait.utils.estimator_checks import parametrize_with_query_checks

LINKS = ["softmax", "sigmoid", "ovr"]


@parametrize_with_checks([AlfaMixQuery()])
def test_sklearn_checks(estimator, check):
    check(estimator)


@parametrize_with_query_checks(
    [
        AlfaMixQuery(),
        AlfaMixQuery(make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss")), eps=0.5),
    ]
)
def test_query_checks(strategy, check):
    check(strategy)


def make_head(rng, link, width, scale=1.0):
    n_logits = 1 if link == "sigmoid" else 4
    weight, bias = scale * rng.normal(size=(n_logits, width)), 0.1 * rng.normal(size=n_logits)
    return Head(torch.from_numpy(weight), torch.from_numpy(bias), link)


def predict(head, h):
    logits = head.logits(h)  # probabilities lose the order of certain predictions
    return int(logits > 0) if head.link == "sigmoid" else int(logits.argmax())


def mix_reference(features, head, anchors, eps):
    """Mix every row with every anchor by the closed form, elementwise."""
    changed = []
    for h in features:
        label = predict(head, h)
        h = h.clone().requires_grad_()
        p = head.probabilities(h)
        others = torch.arange(len(p)) != label
        loss = torch.log1p(p[others].sum() / p[label])  # -log p[label], also where that is 1
        g = torch.autograd.grad(loss, h)[0]
        h = h.detach()
        flips = False
        for anchor in anchors:
            size = eps / math.sqrt(len(h)) * torch.linalg.norm(anchor - h)
            alpha = size * g / (torch.linalg.norm(g) * (anchor - h))
            flips = flips or predict(head, (1 - alpha) * h + alpha * anchor) != label
        changed.append(flips)
    return np.array(changed)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("eps", [0.05, 0.2, 0.5])
def test_changes_agree_with_the_formula(link, eps, rng):
    features = torch.from_numpy(rng.normal(size=(120, 5)))
    anchors = torch.from_numpy(rng.normal(size=(3, 5)))
    head = make_head(rng, link, 5)
    found = changed_by_mixing(features, head, anchors, eps)
    expected = mix_reference(features, head, anchors, eps)
    np.testing.assert_array_equal(found, expected)
    assert 0 < expected.mean() < 1
    farther = torch.cat([anchors, 3 * anchors[:1]])
    assert (changed_by_mixing(features, head, farther, eps) >= found).all()


@given(
    link=st.sampled_from(LINKS),
    n_anchors=st.integers(1, 4),
    width=st.integers(2, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_changes_of_any_problem(link, n_anchors, width, seed):
    rng = np.random.default_rng(seed)
    features = torch.from_numpy(rng.normal(size=(8, width)))
    anchors = torch.from_numpy(rng.normal(size=(n_anchors, width)))
    head = make_head(rng, link, width, scale=rng.uniform(0.1, 5))
    eps = rng.uniform(0.05, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_backend, "CHUNK_BYTES", int(rng.choice([1, 2**23])))
        found = changed_by_mixing(features, head, anchors, eps)
    np.testing.assert_array_equal(found, mix_reference(features, head, anchors, eps))


@pytest.mark.parametrize("link", LINKS)
def test_loss_gradient(link, rng):
    head = make_head(rng, link, 3)
    for h in torch.from_numpy(rng.normal(size=(20, 3))):
        label = torch.tensor([predict(head, h)])
        logits = head.logits(h)
        if link == "sigmoid":  # the two logits that give the same probabilities
            logits = torch.cat([torch.zeros(1, dtype=torch.float64), logits])
        logits = logits.clone().requires_grad_()
        if link == "ovr":
            p = torch.sigmoid(logits) / torch.sigmoid(logits).sum()
        else:
            p = torch.softmax(logits, dim=0)
        torch.testing.assert_close(p.detach(), head.probabilities(h))
        (expected,) = torch.autograd.grad(-torch.log(p[label[0]]), logits)
        found = loss_gradient(logits.detach()[None], label, link)[0]
        torch.testing.assert_close(found, expected / expected.abs().max())


@pytest.mark.parametrize("link", ["softmax", "ovr"])
@pytest.mark.parametrize("size", [40.0, 300.0, 1e4])
def test_gradient_of_certain_predictions(link, size):
    """Where 1 - p is lost to rounding, or p of all other classes is 0."""
    logits = size * torch.tensor([[1.0, -1.0, -1.5]], dtype=torch.float64)
    found = loss_gradient(logits, torch.tensor([0]), link)
    assert torch.isfinite(found).all()
    if link == "softmax":
        assert found.sum().abs() < 1e-12
    assert float(found.abs().max()) in (0.0, 1.0)


def test_zero_gradients_change_nothing():
    """Equal weights for all classes, rows of zeros, rows on the anchor: no NaN, no change."""
    features = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3e5, -1e5]])
    weight = torch.ones(3, 2)
    for anchors in (features[:1].double(), features.double()):
        for bias in (torch.zeros(3), torch.arange(3.0)):
            found = changed_by_mixing(features, Head(weight, bias), anchors, 0.2)
            assert not found.any()
    one_anchor = features[1:2].double()
    head = Head(torch.eye(3)[:, :2], torch.zeros(3))
    assert not changed_by_mixing(features[1:2], head, one_anchor, 100.0).any()


def test_a_coordinate_that_agrees_moves_by_the_limit(rng):
    """Where the closed form is 0/0 the change is that of an anchor ever so little aside."""
    features = torch.from_numpy(rng.normal(size=(60, 4)))
    features[:, 2] = 0.0
    anchors = torch.from_numpy(rng.normal(size=(2, 4)))
    anchors[:, 2] = 0.0
    head = make_head(rng, "softmax", 4)
    found = changed_by_mixing(features, head, anchors, 0.5)
    anchors[:, 2] = 1e-7
    np.testing.assert_array_equal(found, mix_reference(features, head, anchors, 0.5))


def test_class_means():
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]], dtype=torch.float32)
    for y in (np.array([1, 0, 1]), np.array(["b", "a", "b"]), np.array([9, 2, 9], dtype=object)):
        expected = torch.tensor([[3.0, 4.0], [3.0, 5.5]], dtype=torch.float64)
        torch.testing.assert_close(class_means(features, y), expected)
    assert class_means(features[:0], np.array([])).shape == (0, 2)


@pytest.fixture
def problem(seed):
    X, y = make_blobs(200, centers=5, n_features=6, cluster_std=4.0, random_state=seed)
    model = FrozenEstimator(LogisticRegression(max_iter=5000, C=0.1).fit(X / 10, y))
    return X / 10, y, model


def candidates_of(model, X, y, pool, eps=0.2):
    view = View(pool, X, y, estimator=model, needs=frozenset({"features", "head"}))
    anchors = class_means(view.labeled.features, view.y_labeled)
    return changed_by_mixing(view.pool.features, view.head, anchors, eps).cpu().numpy()


@pytest.mark.parametrize("labels", [[0], [1, 3], [0, 1, 2, 3, 4]])
def test_classes_without_labels(labels, problem):
    """Anchors are the classes that have labels; nothing is NaN for the others."""
    X, y, model = problem
    labeled = np.flatnonzero(np.isin(y, labels))[:10]
    query = AlfaMixQuery(model, random_state=0).fit(X[labeled], y[labeled])
    chosen = query.query(X, 20)
    assert len(set(chosen)) == 20
    means = class_means(torch.from_numpy(X[labeled]), y[labeled])
    assert means.shape == (len(set(y[labeled])), 6)
    assert torch.isfinite(means).all()
    changes = candidates_of(model, X[labeled], y[labeled], X)
    assert changes[chosen].sum() == min(20, changes.sum())


def test_no_labels_at_all(problem):
    X, _, model = problem
    query = AlfaMixQuery(model, random_state=0).fit(X[:10], np.full(10, -1))
    assert len(set(query.query(X, 20))) == 20


def test_candidates_come_first(problem):
    X, y, model = problem
    fitted = AlfaMixQuery(model, eps=0.5, random_state=0).fit(X[:20], y[:20])
    changes = candidates_of(model, X[:20], y[:20], X, eps=0.5)
    n_candidates = int(changes.sum())
    assert 5 < n_candidates < 200
    for n in (1, 5, n_candidates, n_candidates + 7, 200):
        chosen = fitted.query(X, n)
        assert changes[chosen[: min(n, n_candidates)]].all()


@pytest.mark.parametrize("eps", [0, -1.0, "auto"])
def test_bad_eps(eps, problem):
    X, y, model = problem
    with pytest.raises(ValueError, match="'eps' parameter of AlfaMixQuery"):
        AlfaMixQuery(model, eps=eps).fit(X, y)
