# SPDX-License-Identifier: BSD-3-Clause
"""Least confidence, entropy, BALD and FALCUN against their formulas."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import entr, expit, softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbait import _backend
from skbait.numerics.ranking import first_of_largest, largest
from skbait.representation import Head
from skbait.strategies.bald import BaldQuery, mutual_information
from skbait.strategies.entropy import EntropyQuery
from skbait.strategies.falcun import FalcunQuery, sampling_probabilities
from skbait.strategies.least_confidence import LeastConfidenceQuery
from skbait.strategies.margin import MarginQuery
from skbait.utils.estimator_checks import parametrize_with_query_checks

FORMULAS = {
    LeastConfidenceQuery: lambda p: 1 - p.max(axis=1),
    EntropyQuery: lambda p: entr(p).sum(axis=1),
    MarginQuery: lambda p: 1 - np.diff(np.sort(p, axis=1)[:, -2:], axis=1)[:, 0],
}


def choose(strategy, p, n, seed=0):
    """Choose from rows of given probabilities."""
    view = SimpleNamespace(pool_probabilities=torch.from_numpy(p), rng=np.random.RandomState(seed))
    positions, utilities = strategy._select(view, n)
    return positions.tolist(), utilities.numpy()


def make_probabilities(rng, n_pool=60, n_classes=5):
    """Return probabilities with certain rows, even rows and duplicates among them."""
    p = rng.dirichlet(np.full(n_classes, 0.3), n_pool)
    p[::7] = np.eye(n_classes)[rng.integers(n_classes, size=len(p[::7]))]
    p[::11] = 1 / n_classes
    p[40:50] = p[30:40]
    return p


@parametrize_with_checks(
    [LeastConfidenceQuery(), EntropyQuery(), FalcunQuery(), BaldQuery(n_samples=5)]
)
def test_sklearn_checks(estimator, check):
    check(estimator)


@parametrize_with_query_checks(
    [
        LeastConfidenceQuery(),
        EntropyQuery(),
        EntropyQuery(RandomForestClassifier(5, random_state=0)),
        FalcunQuery(),
        BaldQuery(n_samples=10),
        BaldQuery(posterior="dropout", n_samples=10),
        BaldQuery(batch="power", n_samples=10),
    ]
)
def test_query_checks(strategy, check):
    check(strategy)


# ------------------------------------------------------------------------ ranking


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_ties_go_to_the_first_row(levels, seed):
    levels = np.array(levels, dtype=float)
    rng = np.random.default_rng(seed)
    expected = np.argsort(-levels, kind="stable")
    for noise in (0.0, 1e-14 * np.abs(levels).max()):  # rounding is relative
        scores = torch.from_numpy(levels + noise * rng.uniform(size=len(levels)))
        for n in {1, (len(levels) + 1) // 2, len(levels)}:
            assert largest(scores, n).tolist() == expected[:n].tolist()
    assert first_of_largest(torch.from_numpy(levels)) == expected[0]


def test_scores_of_any_scale_are_ranked(rng):
    scores = rng.normal(size=100)
    expected = np.argsort(-scores)
    for scale in (1e-300, 1.0, 1e300):
        assert largest(torch.from_numpy(scale * scores), 100).tolist() == expected.tolist()


def test_the_first_of_scores_that_overflow():
    scores = torch.tensor([-torch.inf, 1.0, torch.inf, torch.inf], dtype=torch.float64)
    assert first_of_largest(scores) == 2
    assert first_of_largest(torch.full((3,), -torch.inf, dtype=torch.float64)) == 0


# -------------------------------------------------- functions of the probabilities


@pytest.mark.parametrize("cls", FORMULAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_utilities_are_the_formula(cls, dtype, rng):
    p = make_probabilities(rng).astype(dtype)
    chosen, utilities = choose(cls(), p, 20)
    expected = FORMULAS[cls](p.astype(np.float64))
    np.testing.assert_allclose(utilities, expected, rtol=1e-12, atol=1e-15)
    assert chosen == np.argsort(-np.round(expected, 10), kind="stable")[:20].tolist()


@pytest.mark.parametrize("cls", FORMULAS)
def test_the_order_of_the_classes_breaks_no_tie(cls, rng):
    p = np.sort(rng.dirichlet(np.ones(12)))
    pool = np.array([rng.permutation(p) for _ in range(50)])
    assert choose(cls(), pool, 50)[0] == list(range(50))


def test_queries_go_by_the_model(rng):
    X, y = rng.normal(size=(60, 3)), np.arange(12) % 4
    p = LogisticRegression().fit(X[:12], y).predict_proba(X)
    for cls, formula in FORMULAS.items():
        expected = np.argsort(-formula(p))[:10]
        assert cls().fit(X[:12], y).query(X, 10).tolist() == expected.tolist()


# ------------------------------------------------------------------------- FALCUN


def falcun_by_eye(p, n, gamma, seed):
    """Choose as FALCUN does, with logarithms of the powers."""
    rng = np.random.RandomState(seed)
    relevance, chosen = FORMULAS[MarginQuery](p), []
    for _ in range(n):
        is_open = ~np.isin(np.arange(len(p)), chosen)
        if relevance[is_open].max() > 0:
            with np.errstate(divide="ignore"):
                weights = np.where(is_open, softmax(gamma * np.log(relevance * is_open)), 0)
        else:
            weights = is_open / is_open.sum()
        total = np.cumsum(weights)
        chosen.append(int(np.argmax(total > rng.random_sample() * total[-1])))
        relevance = np.minimum(relevance, np.abs(p - p[chosen[-1]]).sum(axis=1))
    return chosen


@pytest.mark.parametrize("gamma", [0.5, 1, 10, 300.0])
def test_falcun_samples_as_by_eye(gamma, rng):
    p = make_probabilities(rng)
    for seed in range(5):
        chosen, utilities = choose(FalcunQuery(gamma=gamma), p, 60, seed)
        assert chosen == falcun_by_eye(p, 60, gamma, seed)
        np.testing.assert_allclose(utilities, FORMULAS[MarginQuery](p), rtol=1e-12, atol=1e-15)


def test_falcun_spreads_over_the_probabilities():
    p = np.array([[0.5, 0.5, 0]] * 20 + [[0, 0.6, 0.4]] * 20 + [[0.3, 0, 0.7]] * 20)
    for seed in range(10):
        chosen, _ = choose(FalcunQuery(), p, 3, seed)
        assert {row // 20 for row in chosen} == {0, 1, 2}


def test_powers_of_small_relevances_do_not_underflow():
    relevance = torch.tensor([0.0, 1e-200, 2e-200, 1e-250], dtype=torch.float64)
    is_open = torch.ones(4, dtype=torch.bool)
    found = sampling_probabilities(relevance, is_open, 10.0)
    torch.testing.assert_close(found[:3], torch.tensor([0.0, 1 / 1025, 1024 / 1025]).to(found))
    found = sampling_probabilities(torch.zeros_like(relevance), ~is_open | (relevance > 0), 10.0)
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0, 1.0, 1.0]).to(found) / 3)


def test_falcun_takes_probabilities_that_sum_to_more_than_one():
    p = np.array([[1.0000001, 0.0], [0.0, 1.0], [0.6, 0.4]], dtype=np.float32)
    for gamma in (10.0, 0.5):
        chosen, _ = choose(FalcunQuery(gamma=gamma), p, 3)
        assert chosen[0] == 2
        assert sorted(chosen) == [0, 1, 2]


# --------------------------------------------------------------------------- BALD


def random_heads(rng, n_samples, n_logits, n_features, link, spread=1.0):
    weights = rng.normal(size=(n_logits, n_features))
    weights = weights + spread * rng.normal(size=(n_samples, n_logits, n_features))
    return [Head(w, 0.1 * np.arange(n_logits, dtype=float), link) for w in weights]


@pytest.mark.parametrize("link, n_logits", [("softmax", 4), ("ovr", 3), ("sigmoid", 1)])
def test_information_is_the_difference_of_entropies(link, n_logits, rng, monkeypatch):
    heads = random_heads(rng, 7, n_logits, 3, link)
    h = rng.normal(size=(50, 3)) * rng.choice([0, 1, 1e3], size=(50, 1))
    logits = np.array([h @ head.weight.numpy().T + head.bias.numpy() for head in heads])
    if link == "softmax":
        p = softmax(logits, axis=2)
    elif link == "ovr":
        p = expit(logits)
        total = p.sum(axis=2, keepdims=True)
        p = np.divide(p, total, out=np.full_like(p, 1 / 3), where=total > 0)
    else:
        p = np.concatenate([expit(-logits), expit(logits)], axis=2)
    expected = entr(p.mean(axis=0)).sum(axis=1) - entr(p).sum(axis=2).mean(axis=0)
    found = mutual_information(torch.from_numpy(h), heads)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-14)
    assert (found >= 0).all()
    assert (found <= np.log(p.shape[2])).all()
    monkeypatch.setattr(_backend, "CHUNK_BYTES", 1)
    torch.testing.assert_close(mutual_information(torch.from_numpy(h), heads), found)


def test_little_information_keeps_its_digits(rng):
    # KL(p_s ‖ p̄) ~ ½ Σ_k (p_s - p̄)²/p̄; a difference of entropies has no digit of 1e-18 left
    heads = random_heads(rng, 5, 3, 4, "softmax", spread=1e-9)
    h = rng.normal(size=(20, 4))
    w = np.array([head.weight.numpy() for head in heads])
    p = softmax(h @ w.mean(axis=0).T + heads[0].bias.numpy(), axis=1)  # (N, K)
    f = np.einsum("nd,skd->snk", h, w - w.mean(axis=0))  # (S, N, K)
    change = p * (f - (p * f).sum(axis=2, keepdims=True))
    expected = 0.5 * (change**2 / p).sum(axis=2).mean(axis=0)
    found = mutual_information(torch.from_numpy(h), heads).numpy()
    assert expected.max() < 1e-16
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert (mutual_information(torch.from_numpy(h), heads[:1] * 5) < 1e-30).all()


def make_model(weight, bias, n_features):
    model = LogisticRegression()
    model.coef_, model.intercept_ = np.atleast_2d(weight), np.atleast_1d(bias)
    model.classes_, model.n_features_in_ = np.arange(max(2, len(model.coef_))), n_features
    return FrozenEstimator(model)


def test_laplace_is_the_integral_over_the_posterior(rng):
    # one logit: f ~ N(μ·h, hᵀ Σ h), and the information is an integral over f
    X, y = rng.normal(size=(10, 2)), np.arange(10) % 2
    query = BaldQuery(
        make_model([1.0, -2.0], [0.5], 2), n_samples=4000, prior_precision=0.5, random_state=0
    ).fit(X, y)
    pool = 2 * rng.normal(size=(30, 2))
    _, utilities = query.query(pool, 1, return_utilities=True)
    one = np.hstack([X, np.ones((10, 1))])
    covariance = np.linalg.inv(0.5 * np.eye(3) + one.T @ one)
    h = np.hstack([pool, np.ones((30, 1))])
    mean, variance = h @ [1.0, -2.0, 0.5], np.einsum("nd,de,ne->n", h, covariance, h)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    p = expit(mean[:, None] + np.sqrt(variance)[:, None] * nodes)  # (N, 80)
    weights = weights / weights.sum()
    average = p @ weights
    expected = entr(average) + entr(1 - average) - (entr(p) + entr(1 - p)) @ weights
    np.testing.assert_allclose(utilities, expected, rtol=0.15, atol=4e-3)


def test_bald_tells_what_is_unknown_from_what_is_noise():
    # both rows have p = ½; no labelled row says anything of the second feature
    X, y = np.array([[1.0, 0.0], [-1.0, 0.0]] * 20), np.array([1, 0] * 20)
    query = BaldQuery(make_model([0.0, 0.0], [0.0], 2), random_state=0).fit(X, y)
    chosen, utilities = query.query(np.array([[1.0, 0.0], [0.0, 1.0]]), 2, return_utilities=True)
    assert chosen.tolist() == [1, 0]
    assert utilities[1] > 5 * utilities[0]


def test_a_head_without_bias_is_not_given_one():
    X, y = np.array([[1.0], [-1.0]]), np.array([1, 0])
    pool = np.array([[0.0], [1.0]])
    without = BaldQuery(make_model([2.0], [0.0], 1), random_state=0).fit(X, y)
    assert without.query(pool, 2, return_utilities=True)[1][0] == 0
    with_one = BaldQuery(make_model([2.0], [0.1], 1), random_state=0).fit(X, y)
    assert with_one.query(pool, 2, return_utilities=True)[1][0] > 0


@pytest.mark.parametrize("rate", [0.25, 0.5])
def test_dropout_masks_features_of_all_classes_at_once(rate, rng):
    weight = rng.normal(size=(3, 200))
    head = Head(weight, np.ones(3))
    view = SimpleNamespace(head=head, rng=np.random.RandomState(0))
    heads = BaldQuery(posterior="dropout", dropout=rate, n_samples=300)._draw_heads(view)
    masks = np.array([h.weight.numpy() / weight for h in heads]).round(12)
    assert (masks == masks[:, :1]).all()
    kept = 1 / (1 - rate)
    np.testing.assert_allclose(np.unique(masks), [0, kept])
    assert abs(masks.mean() - 1) < 5 * np.sqrt(rate * kept / (300 * 200))
    assert all(torch.equal(h.bias, head.bias) for h in heads)


def test_dropout_masks_do_not_depend_on_the_default_dtype(rng):
    head = Head(rng.normal(size=(3, 20)), np.ones(3))
    before, found = torch.get_default_dtype(), []
    for dtype in (torch.float32, torch.float64):
        view = SimpleNamespace(head=head, rng=np.random.RandomState(0))
        torch.set_default_dtype(dtype)
        try:
            heads = BaldQuery(posterior="dropout")._draw_heads(view)
        finally:
            torch.set_default_dtype(before)
        found.append(torch.stack([h.weight for h in heads]))
    assert torch.equal(*found)


def test_power_batches_are_drawn_by_powers_of_the_utility(rng, monkeypatch):
    utilities = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.0], dtype=torch.float64)
    monkeypatch.setattr("skbait.strategies.bald.mutual_information", lambda *_: utilities)
    monkeypatch.setattr(BaldQuery, "_draw_heads", lambda *_: None)
    draws = 1000
    for coldness in (1.0, 3.0):
        strategy = BaldQuery(batch="power", coldness=coldness)
        firsts = np.zeros(5)
        for seed in range(draws):
            view = SimpleNamespace(
                pool=SimpleNamespace(features=None), rng=np.random.RandomState(seed)
            )
            chosen = strategy._select(view, 5)[0].tolist()
            assert chosen[3:] == [0, 4], "what has no information comes last, in pool order"
            firsts[chosen[0]] += 1
        expected = utilities.numpy() ** coldness
        expected /= expected.sum()
        assert (np.abs(firsts / draws - expected) <= 5 * np.sqrt(expected / draws)).all()


def test_rows_go_through_the_heads_in_blocks():
    sizes = []

    class Counting(Head):
        def probabilities(self, features):
            sizes.append(len(features))
            return super().probabilities(features)

    heads = [Counting(w, torch.zeros(10)) for w in torch.zeros(100, 10, 2)]
    mutual_information(torch.zeros(5000, 2), heads)
    assert sum(sizes) == 5000 * 100
    assert 8 * max(sizes) * 100 * 10 < _backend.CHUNK_BYTES


@pytest.mark.parametrize("params, words", [
    ({"posterior": "ensemble"}, "'posterior'.*'ensemble'"),
    ({"n_samples": 1}, "'n_samples'.*Got 1"),
    ({"prior_precision": 0}, "'prior_precision'.*Got 0"),
    ({"dropout": 1.0}, "'dropout'.*Got 1.0"),
    ({"batch": "random"}, "'batch'.*'random'"),
    ({"coldness": 0.0}, "'coldness'.*Got 0.0"),
])  # fmt: skip
def test_bad_parameters(params, words, rng):
    X, y = rng.normal(size=(10, 2)), np.arange(10) % 2
    with pytest.raises(ValueError, match=words):
        BaldQuery(**params).fit(X, y)
    with pytest.raises(ValueError, match=r"'gamma'.*Got 0"):
        FalcunQuery(gamma=0).fit(X, y)


def test_models_without_a_head(rng):
    X, y = rng.normal(size=(30, 2)), np.arange(30) % 2
    for posterior in ("laplace", "dropout"):
        query = BaldQuery(CalibratedClassifierCV(LogisticRegression(), cv=2), posterior=posterior)
        with pytest.raises(
            TypeError, match=r"BaldQuery needs a linear head.*CalibratedClassifier"
        ):
            query.fit(X, y)
    assert BaldQuery()._needs > BaldQuery(posterior="dropout")._needs
