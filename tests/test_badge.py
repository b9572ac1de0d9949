# SPDX-License-Identifier: BSD-3-Clause
"""BadgeQuery and D² sampling against embeddings that are formed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch import NeuralNetClassifier
from torch import nn

from skbait import _backend
from skbait.numerics import distances
from skbait.numerics.seeding import (
    GradientSeeding,
    draw,
    gradient_coefficients,
    k_means_plus_plus,
)
from skbait.strategies.badge import BadgeQuery
from skbait.utils.estimator_checks import parametrize_with_query_checks


def embeddings(p, h):
    """Form (p - e_ŷ) ⊗ h in extended precision, (N, K·D)."""
    a = p.astype(np.longdouble) - np.eye(p.shape[1])[p.argmax(axis=1)]
    return (a[:, :, None] * h[:, None, :].astype(np.longdouble)).reshape(len(p), -1)


def sampling_by_eye(g, chosen):
    """Return the probability of each row to be next: D², or the largest norm at first."""
    norms = (g**2).sum(axis=1)
    if not chosen:
        return (np.arange(len(g)) == np.argmax(norms >= norms.max() * (1 - 1e-12))).astype(float)
    D2 = ((g[:, None, :] - g[None, chosen, :]) ** 2).sum(axis=2).min(axis=1)
    if D2.max() == 0:
        D2 = ~np.isin(np.arange(len(g)), chosen)
    return (D2 / D2.sum()).astype(float)


def badge_by_eye(p, h, n, seed):
    """Choose as BADGE does; return the rows and the probabilities at every step."""
    g, rng = embeddings(p, h), np.random.RandomState(seed)
    chosen, history = [], []
    for _ in range(n):
        probabilities = sampling_by_eye(g, chosen)
        total = np.cumsum(probabilities)
        chosen.append(int(np.argmax(total > rng.random_sample() * total[-1])))
        history.append(probabilities)
    return chosen, np.array(history)


def ours(p, h, n, seed):
    a, h = gradient_coefficients(torch.from_numpy(p)), torch.from_numpy(h)
    chosen, _ = k_means_plus_plus(a, h, n, np.random.RandomState(seed))
    seeding, history = GradientSeeding(a, h), []
    for row in chosen.tolist():
        history.append(seeding.probabilities().numpy())
        seeding.add(row)
    return chosen.tolist(), np.array(history)


@st.composite
def problems(draw_):
    """Probabilities and features, with duplicates, certain predictions and zero features."""
    n_pool, n_classes = draw_(st.integers(1, 10)), draw_(st.integers(2, 4))
    rng = np.random.default_rng(draw_(st.integers(0, 2**32 - 1)))
    p = rng.dirichlet(np.full(n_classes, 0.5), size=n_pool)
    h = rng.normal(size=(n_pool, draw_(st.integers(1, 4))))
    rows = st.lists(st.integers(0, n_pool - 1), max_size=n_pool)
    for row in draw_(rows):
        p[row] = np.eye(n_classes)[rng.integers(n_classes)]
    for row in draw_(rows):
        h[row] = 0
    copies = draw_(rows)
    p[: len(copies)], h[: len(copies)] = p[copies], h[copies]
    return p, h


def random_problem(rng, n_pool, n_classes, n_features):
    return rng.dirichlet(np.ones(n_classes), n_pool), rng.normal(size=(n_pool, n_features))


@parametrize_with_checks([BadgeQuery()])
def test_sklearn_checks(estimator, check):
    check(estimator)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.last = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, X):
        return self.last(torch.relu(self.hidden(X)))


def make_net():
    return NeuralNetClassifier(
        Net,
        criterion=nn.CrossEntropyLoss,
        max_epochs=2,
        train_split=None,
        classes=range(3),
        verbose=0,
    )


def make_rows(n, seed=0):
    X = np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)
    return X, np.arange(n) % 3


@parametrize_with_query_checks([BadgeQuery()])
def test_query_checks(strategy, check):
    check(strategy)


@parametrize_with_query_checks(
    [BadgeQuery(make_net())], data=(*make_rows(24), make_rows(40, seed=1)[0])
)
def test_query_checks_on_a_net(strategy, check):
    check(strategy)


@given(problems(), st.integers(0, 1000))
def test_the_sampling_is_that_of_formed_embeddings(problem, seed):
    p, h = problem
    n = len(p)
    expected, history = badge_by_eye(p, h, n, seed)
    chosen, probabilities = ours(p, h, n, seed)
    assert chosen == expected
    np.testing.assert_allclose(probabilities, history, rtol=1e-6, atol=1e-13)
    assert sorted(chosen) == list(range(n))


@pytest.mark.parametrize("shape", [(60, 3, 5), (40, 10, 2), (30, 2, 20)])
def test_the_picks_are_those_of_formed_embeddings(shape, rng):
    p, h = random_problem(rng, *shape)
    for seed in range(5):
        expected, history = badge_by_eye(p, h, 20, seed)
        chosen, probabilities = ours(p, h, 20, seed)
        assert chosen == expected
        np.testing.assert_allclose(probabilities, history, rtol=1e-9, atol=1e-15)


def test_the_query_samples_by_the_model(rng):
    X, y = rng.normal(size=(80, 5)), np.arange(20) % 4
    query = BadgeQuery(random_state=3).fit(X[:20], y)
    chosen, utilities = query.query(X[20:], 15, return_utilities=True)
    p, h = LogisticRegression().fit(X[:20], y).predict_proba(X[20:]), X[20:]
    norms = (embeddings(p, h) ** 2).sum(axis=1).astype(float)
    np.testing.assert_allclose(utilities, norms, rtol=1e-6)
    assert chosen[0] == norms.argmax()
    firsts = {tuple(query.set_params(random_state=s).query(X[20:], 2)) for s in range(30)}
    assert {first for first, _ in firsts} == {norms.argmax()}
    assert len(firsts) > 5


def test_distances_of_nearly_equal_gradients_keep_their_digits(rng):
    p, h = random_problem(rng, 20, 6, 7)
    for size in (1e-3, 1e-6, 1e-9, 1e-12):
        p2 = p + size * rng.normal(size=p.shape) * p
        h2 = h + size * rng.normal(size=h.shape)
        g = embeddings(np.vstack([p, p2]), np.vstack([h, h2]))
        exact = ((g[:20] - g[20:]) ** 2).sum(axis=1).astype(float)
        a = gradient_coefficients(torch.from_numpy(np.vstack([p, p2])))
        seeding = GradientSeeding(a, torch.from_numpy(np.vstack([h, h2])))
        found = np.array([float(seeding.squared_distances(20 + i)[i]) for i in range(20)])
        np.testing.assert_allclose(found, exact, rtol=max(1e-9, 1e-14 / size))


def test_duplicates_are_at_zero_and_drawn_last(rng):
    p, h = random_problem(rng, 6, 4, 50)
    order = rng.permutation(np.repeat(np.arange(6), 5))
    for seed in range(5):
        chosen, probabilities = ours(p[order], h[order] + 1e4, 30, seed)
        assert len(set(order[chosen[:6]])) == 6, "every content before any is taken twice"
        assert sorted(chosen) == list(range(30))
        left = probabilities[6:]
        assert ((left > 0).sum(axis=1) == np.arange(24, 0, -1)).all()
        np.testing.assert_allclose(left.max(axis=1), 1 / np.arange(24, 0, -1))


def test_without_any_gradient_rows_are_equally_probable():
    p, h = np.eye(3)[[0, 1, 2, 0]], np.ones((4, 2))
    seconds = set()
    for seed in range(40):
        chosen, probabilities = ours(p, h, 4, seed)
        assert chosen[0] == 0
        assert sorted(chosen) == [0, 1, 2, 3]
        np.testing.assert_allclose(probabilities[1], [0, 1 / 3, 1 / 3, 1 / 3])
        seconds.add(chosen[1])
    assert seconds == {1, 2, 3}


def test_equal_norms_go_to_the_first_row():
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.6, 0.4], [0.4, 0.6]])
    assert ours(p, np.ones((4, 1)), 1, 0)[0] == [1]


@pytest.mark.parametrize("uniform, row", [
    (0.0, 1), (0.2499, 1), (0.25, 3), (0.74, 3), (0.75, 4), (1 - 2**-53, 4)
])  # fmt: skip
def test_draws_invert_the_cumulative_sum(uniform, row):
    class Fixed:
        def random_sample(self):
            return uniform

    for scale in (1.0, 4.0, 0.3, 1e-300, 1e300):
        weights = scale * torch.tensor([0, 0.25, 0, 0.5, 0.25, 0], dtype=torch.float64)
        if scale in (1.0, 4.0):
            assert draw(weights, Fixed()) == row
        assert weights[draw(weights, Fixed())] > 0


def test_scale_and_precision_do_not_matter(rng, monkeypatch):
    p, h = random_problem(rng, 300, 5, 16)
    narrow = h.astype(np.float32)
    expected, probabilities = ours(p, narrow.astype(np.float64), 40, 0)
    for scale in (1.0, 2.0**-60, 2.0**60):
        chosen, found = ours(p, narrow * np.float32(scale), 40, 0)
        assert chosen == expected
        assert (found == probabilities).all(), "to the last bit"
    monkeypatch.setattr(_backend, "CHUNK_BYTES", 1)
    monkeypatch.setattr(distances, "WIDE_BYTES", 0)
    chosen, found = ours(p, narrow, 40, 0)
    assert chosen == expected
    np.testing.assert_allclose(found, probabilities, rtol=1e-14)


def test_coefficients():
    p = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.2, 0.5, 0.3]])
    before = p.clone()
    a = gradient_coefficients(p)
    assert a.dtype == torch.float64
    expected = [[-0.5, 0.5, 0.0], [0.0, 0.0, 0.0], [0.2, -0.5, 0.3]]
    torch.testing.assert_close(a, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-7)
    exact = p.to(torch.float64)
    gradient_coefficients(exact)
    assert torch.equal(p, before)
    assert torch.equal(exact, before.to(torch.float64)), "float64 input is not written to"


def test_models_without_features(rng):
    X, y = rng.normal(size=(20, 3)), np.arange(20) % 2
    with pytest.raises(TypeError, match=r"BadgeQuery needs last-layer features.*RandomForest"):
        BadgeQuery(RandomForestClassifier()).fit(X, y)
