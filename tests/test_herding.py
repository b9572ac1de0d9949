# SPDX-License-Identifier: BSD-3-Clause
"""Herding: greedy coverage against the definition, and the two strategies made of it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier
from torch import nn

from skbait import _backend
from skbait.numerics import coverage as coverage_module
from skbait.numerics.coverage import _Greedy, coverage_by, greedy_coverage
from skbait.numerics.kernels import SAME, rbf_kernel, rounding, smallest_distance, unit_rows
from skbait.strategies import MarginQuery, View, uncertainty_herding
from skbait.strategies.max_herding import MaxHerdingQuery
from skbait.strategies.uncertainty_herding import UncertaintyHerdingQuery, uncertainty
from skbait.utils.estimator_checks import parametrize_with_query_checks

# ------------------------------------------------------------------ the definition


def kernels_by_loops(rows, gamma):
    """The kernels, from the differences of the coordinates."""
    rows = rows.numpy()
    return np.exp(-gamma * ((rows[:, None, :] - rows[None, :, :]) ** 2).sum(axis=2))


def gains_by_loops(kernels, m, u):
    """Mean over the covered rows j of u_j relu(k_ij - m_j)."""
    n_rows = len(kernels)
    gains = np.zeros(n_rows)
    for i in range(n_rows):
        for j in range(n_rows):
            gains[i] += u[j] * max(kernels[i, j] - m[j], 0.0) / n_rows
    return gains


def fast_gains(kernels, m, u):
    return np.maximum(kernels - m, 0.0) @ u / len(m)


def wrong_gains(kernels, m, u):
    """What the public code maximises: m and u of the candidate."""
    return u * np.maximum(kernels - m[:, None], 0.0).mean(axis=1)


def greedy(kernels, n, m, u, gains_of=fast_gains):
    """Greedy choice; return the picks and the coverage that they reach."""
    picks, m = [], m.copy()
    for _ in range(n):
        gains = gains_of(kernels, m, u)
        gains[picks] = -np.inf
        picks.append(int(gains.argmax()))
        m = np.maximum(m, kernels[picks[-1]])
    return picks, float(u @ m) / len(m)


def assert_greedy(picks, kernels, m, u):
    """Assert that each pick has the largest gain, and is the first that has it."""
    m = m.copy()
    for t, pick in enumerate(picks):
        gains = fast_gains(kernels, m, u)
        gains[picks[:t]] = -np.inf
        assert gains[pick] >= gains.max() - 1e-9 * u.max()
        assert (gains[:pick] < gains[pick]).all()  # or the earlier row had been taken
        m = np.maximum(m, kernels[pick])
    assert len(set(picks)) == len(picks)


def problem(seed, n_rows=None, kind=None):
    """Return rows, the coverage of labelled ones, weights and γ."""
    rng = np.random.default_rng(seed)
    n_rows = n_rows or int(rng.integers(1, 60))
    n_features = int(rng.integers(1, 12))
    X = rng.normal(size=(n_rows, n_features))
    kind = kind or rng.choice(["plain", "duplicates", "zeros", "clusters"])
    if kind == "duplicates":
        X = X[rng.integers(n_rows, size=n_rows)] * rng.uniform(0.1, 10, size=(n_rows, 1))
    elif kind == "zeros":
        X[rng.uniform(size=n_rows) < 0.3] = 0
    elif kind == "clusters":
        X = X[rng.integers(n_rows, size=n_rows)] + 0.01 * X
    rows = unit_rows(torch.from_numpy(X))
    gamma = float(10 ** rng.uniform(-2, 2))
    labeled = unit_rows(torch.from_numpy(rng.normal(size=(int(rng.integers(0, 4)), n_features))))
    u = rng.uniform(size=n_rows)
    if rng.uniform() < 0.3:
        u[rng.uniform(size=n_rows) < 0.5] = 0
    if rng.uniform() < 0.3:
        u = np.ones(n_rows)
    return rows, coverage_by(rows, labeled, gamma), u, gamma


@pytest.fixture(params=["float64", "float32"])
def bounds(request, monkeypatch):
    """Have the bounds of small pools made in either dtype."""
    if request.param == "float32":
        monkeypatch.setattr(coverage_module, "SMALL", 0)
        monkeypatch.setattr(coverage_module, "COARSE", 1.0)


@given(st.integers(0, 10**6))
def test_choices_are_greedy(bounds, seed):
    rows, m, u, gamma = problem(seed)
    kernels = kernels_by_loops(rows, gamma)
    n = 1 + seed % len(rows)
    picks, gains = greedy_coverage(rows, n, gamma=gamma, coverage=m, weights=torch.from_numpy(u))
    assert_greedy(picks.tolist(), kernels, m.numpy(), u)
    np.testing.assert_allclose(gains, gains_by_loops(kernels, m.numpy(), u), atol=1e-5)
    assert gains[picks[0]] == gains.max()


def test_picks_and_coverage_of_brute_force(bounds, rng):
    better = []
    for trial in range(8):
        X = rng.normal(size=(80, 5)) + 2 * rng.normal(size=(8, 5))[rng.integers(8, size=80)]
        rows = unit_rows(torch.from_numpy(X))
        u = rng.uniform(size=80)
        m = coverage_by(rows, rows[: trial % 3], 2.0)
        kernels = kernels_by_loops(rows, 2.0)
        expected, reached = greedy(kernels, 15, m.numpy(), u)
        picks, _ = greedy_coverage(rows, 15, gamma=2.0, coverage=m, weights=torch.from_numpy(u))
        assert picks.tolist() == expected
        after = np.maximum(m.numpy(), kernels[picks].max(axis=0))
        assert u @ after / 80 == pytest.approx(reached, abs=1e-14)
        better.append(reached - greedy(kernels, 15, m.numpy(), u, wrong_gains)[1])
    assert np.mean(better) > 0.005
    assert np.min(better) > -0.001


@given(st.integers(0, 10**6))
def test_at_least_63_percent_of_the_best(seed):
    rows, m, u, gamma = problem(seed, n_rows=9)
    kernels = kernels_by_loops(rows, gamma)
    m = m.numpy()
    picks, _ = greedy_coverage(
        rows, 3, gamma=gamma, coverage=torch.from_numpy(m), weights=torch.from_numpy(u)
    )

    def added(chosen):
        return u @ (np.maximum(m, kernels[list(chosen)].max(axis=0)) - m)

    best = max(added(chosen) for chosen in combinations(range(9), 3))
    assert added(picks.tolist()) >= (1 - 1 / np.e) * best - 1e-12


def test_weights_belong_to_the_covered_row():
    """A certain row amid uncertain ones covers them all, and is the best choice."""
    angles = np.r_[0, np.linspace(-0.5, 0.5, 8), 3.0]
    rows = torch.from_numpy(np.c_[np.cos(angles), np.sin(angles)])
    u = torch.ones(10, dtype=torch.float64)
    u[0] = 0.0
    picks, _ = greedy_coverage(rows, 2, gamma=1.0, weights=u)
    assert picks.tolist() == [0, 9]
    kernels = kernels_by_loops(rows, 1.0)
    wrong, _ = greedy(kernels, 9, np.zeros(10), u.numpy(), wrong_gains)
    assert 0 not in wrong


# ------------------------------------------------------------------ ties and rounding


def test_duplicates_come_in_the_order_of_the_pool(bounds, rng):
    X = rng.normal(size=(20, 6))
    rows = unit_rows(torch.from_numpy(np.concatenate([X, X, 7 * X])))
    picks, _ = greedy_coverage(rows, 60, gamma=3.0)
    assert sorted(picks[:20].tolist()) == list(range(20))
    assert picks[20:].tolist() == list(range(20, 60))  # nothing is left to be covered


def test_pairs_that_cover_nothing_else_are_tied(bounds):
    """Their gains are both 1 + k, and the first row is taken, whatever rounding prefers."""
    rng = np.random.default_rng(0)
    angles = np.repeat(np.arange(12) * 0.5, 2)
    angles[1::2] += rng.uniform(0.01, 0.02, size=12)
    order = rng.permutation(24)
    rows = torch.from_numpy(np.c_[np.cos(angles), np.sin(angles)])[order]
    picks, _ = greedy_coverage(rows, 12, gamma=2000.0)
    for pick in picks.tolist():
        other = np.flatnonzero(order == (order[pick] ^ 1))[0]
        assert pick < other


@pytest.mark.parametrize("n_rows", [40, 1500])
def test_chunks_do_not_matter(monkeypatch, n_rows):
    rows, m, u, _ = problem(3, n_rows=n_rows, kind="clusters")
    for gamma in (0.3, 4.0, 60.0):
        options = {"gamma": gamma, "coverage": m, "weights": torch.from_numpy(u)}
        picks, gains = greedy_coverage(rows, 30, **options)
        for name, value in (("WIDTH", 7), ("BATCH", 1), ("BATCH_BYTES", 1), ("SMALL", 0)):
            with monkeypatch.context() as patch:
                patch.setattr(coverage_module, name, value)
                patch.setattr(_backend, "CHUNK_BYTES", 1 if n_rows < 100 else 2**16)
                if name == "WIDTH" and n_rows > 100:
                    patch.setattr(coverage_module, name, 700)
                again, same = greedy_coverage(rows, 30, **options)
            assert torch.equal(picks, again)
            torch.testing.assert_close(gains, same, rtol=1e-4, atol=1e-9)


def test_lowered_matmul_precision_does_not_matter():
    rows, m, u, _ = problem(5, n_rows=1200, kind="clusters")
    options = {"gamma": 2.0, "coverage": m, "weights": torch.from_numpy(u)}
    picks, _ = greedy_coverage(rows, 15, **options)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert torch.equal(greedy_coverage(rows, 15, **options)[0], picks)
    finally:
        torch.set_float32_matmul_precision(before)


def test_many_equally_good_rows_are_not_evaluated_again_and_again(monkeypatch, rng):
    """Kernels that reach no other row: all gains are 1, and stay so."""
    rows = unit_rows(torch.from_numpy(rng.normal(size=(1300, 50))))
    evaluated = []
    make_exact = _Greedy._make_exact

    def counting(self, batch, excess):
        evaluated.extend(batch.tolist())
        return make_exact(self, batch, excess)

    monkeypatch.setattr(_Greedy, "_make_exact", counting)
    picks, _ = greedy_coverage(rows, 40, gamma=1e4)
    assert picks.tolist() == list(range(40))
    assert len(evaluated) <= 1300


def test_weights_of_any_size(rng):
    rows, m, u, gamma = problem(11, n_rows=50, kind="plain")
    u = torch.from_numpy(u)
    picks, gains = greedy_coverage(rows, 20, gamma=gamma, coverage=m, weights=u)
    for scale in (1e-30, 1e20):
        again, scaled = greedy_coverage(rows, 20, gamma=gamma, coverage=m, weights=scale * u)
        assert torch.equal(picks, again)
        torch.testing.assert_close(scaled / scale, gains)
    picks, gains = greedy_coverage(rows, 50, gamma=gamma, weights=torch.zeros(50))
    assert picks.tolist() == list(range(50))
    assert not gains.any()


# ------------------------------------------------------------------------- kernels


def test_unit_rows():
    rows = unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-20, 0.0]]))
    torch.testing.assert_close(rows, torch.tensor([[0.6, 0.8], [0, 0], [1, 0]]).double())
    extreme = unit_rows(torch.tensor([[1e200, 0.0], [1e-200, 1e-200]], dtype=torch.float64))
    torch.testing.assert_close(extreme, torch.tensor([[1, 0], [0.5**0.5] * 2]).double())
    assert unit_rows(torch.empty(0, 3)).shape == (0, 3)


@given(st.integers(0, 10**6))
def test_kernels_and_their_rounding(bounds, seed):
    rows, _, _, gamma = problem(seed)
    expected = kernels_by_loops(rows, gamma)
    found = rbf_kernel(rows, rows, gamma)
    error = rounding(torch.float64, gamma, rows.shape[1])
    np.testing.assert_allclose(found, expected, rtol=2 * error)
    assert found.max() <= 1
    state = _Greedy(rows, gamma, None, None)
    raised, totals = state._excess(torch.arange(len(rows)))  # above 0, as nothing is covered
    assert (raised.double() >= found * (1 - 1e-14) - 1e-37).all()
    assert (totals >= found.sum(dim=1)).all()
    np.testing.assert_allclose(raised, expected, rtol=8 * state.error, atol=1e-37)


@given(st.integers(0, 10**6))
def test_bounds_are_bounds(bounds, seed):
    """Before every choice no bound is below the gain, and what counts as exact is the gain."""
    rows, m, u, gamma = problem(seed, n_rows=40)
    kernels = kernels_by_loops(rows, gamma)
    state = _Greedy(rows, gamma, m, torch.from_numpy(u))
    state.start()
    m = m.numpy()
    chosen = []
    for _ in range(40):
        gains = 40 * fast_gains(kernels, m, u) / state.unit
        left = np.setdiff1d(np.arange(40), chosen)
        found = state.bounds.numpy()
        assert (found[left] >= gains[left] - 1e-10).all()
        exact = state.is_exact.numpy()
        np.testing.assert_allclose(found[exact], gains[exact], atol=1e-10)
        chosen.append(state.best())
        state.add(chosen[-1])
        m = np.maximum(m, kernels[chosen[-1]])
        np.testing.assert_allclose(state.m[u > 0], m[u > 0], atol=1e-12)
    assert sorted(chosen) == list(range(40))


def test_coverage_by_labelled_rows(rng):
    rows, centers = (unit_rows(torch.from_numpy(rng.normal(size=(n, 4)))) for n in (30, 5))
    expected = np.zeros(30)
    for j in range(30):
        expected[j] = max(float(torch.exp(-2 * ((rows[j] - c) ** 2).sum())) for c in centers)
    np.testing.assert_allclose(coverage_by(rows, centers, 2.0), expected, rtol=1e-13)
    assert not coverage_by(rows, centers[:0], 2.0).any()


def test_smallest_distance(rng):
    rows = unit_rows(torch.from_numpy(rng.normal(size=(40, 3))))
    pairs = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    expected = float(pairs[pairs > 0].min())
    assert smallest_distance(rows) == pytest.approx(expected, rel=1e-9)
    again = torch.cat([rows, rows * (1 + 1e-8), rows[:3]])
    assert smallest_distance(again) == pytest.approx(expected, rel=1e-9)
    for one in (rows[:0], rows[:1], rows[[2, 2, 2]], torch.zeros(4, 3).double()):
        assert smallest_distance(one) is None
    turned = rows[0] + SAME / 10 * rows[1]
    assert smallest_distance(torch.stack([rows[0], turned / turned.norm()])) is None


# ---------------------------------------------------------------------- strategies


def make_module():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def make_binary_module():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1), nn.Flatten(0))


def make_net():
    return NeuralNetClassifier(
        make_module,
        criterion=nn.CrossEntropyLoss,
        max_epochs=2,
        train_split=None,
        classes=range(3),
        verbose=0,
    )


def make_binary_net():
    return NeuralNetBinaryClassifier(make_binary_module, max_epochs=2, train_split=None, verbose=0)


@parametrize_with_checks(
    [MaxHerdingQuery(), MaxHerdingQuery(LogisticRegression()), UncertaintyHerdingQuery()]
)
def test_sklearn_checks(estimator, check):
    check(estimator)


@parametrize_with_query_checks(
    [
        MaxHerdingQuery(),
        MaxHerdingQuery(length_scale=0.2),
        MaxHerdingQuery(LogisticRegression()),
        UncertaintyHerdingQuery(),
        UncertaintyHerdingQuery(length_scale=0.5, temperature=2),
    ]
)
def test_query_checks(strategy, check):
    check(strategy)


@pytest.fixture
def tables():
    X, y = make_blobs(n_samples=160, centers=3, n_features=4, cluster_std=4.0, random_state=1)
    return X[:40] / 10, y[:40], X[40:] / 10


def expected_picks(X, pool, n, gamma, u):
    rows, labeled = (unit_rows(torch.from_numpy(part)) for part in (pool, X))
    m = coverage_by(rows, labeled, gamma).numpy()
    return greedy(kernels_by_loops(rows, gamma), n, m, u)[0]


def test_max_herding(tables):
    X, y, pool = tables
    for length_scale in (1.0, 0.4):
        query = MaxHerdingQuery(length_scale=length_scale).fit(X, y)
        chosen, utilities = query.query(pool, 12, return_utilities=True)
        picks = expected_picks(X, pool, 12, length_scale**-2, np.ones(len(pool)))
        kernels = kernels_by_loops(unit_rows(torch.from_numpy(pool)), length_scale**-2)
        rows, labeled = (unit_rows(torch.from_numpy(part)) for part in (pool, X))
        m = coverage_by(rows, labeled, length_scale**-2).numpy()
        assert_greedy(chosen.tolist(), kernels, m, np.ones(len(pool)))
        assert chosen[0] == picks[0]
        np.testing.assert_allclose(utilities, fast_gains(kernels, m, np.ones(len(pool))))


def test_max_herding_starts_from_nothing(tables):
    _, _, pool = tables
    for query in (MaxHerdingQuery().fit(pool[:3]), MaxHerdingQuery().fit(pool[:3], [-1] * 3)):
        chosen = query.query(pool, 10)
        kernels = kernels_by_loops(unit_rows(torch.from_numpy(pool)), 1.0)
        assert chosen.tolist() == greedy(kernels, 10, np.zeros(len(pool)), np.ones(len(pool)))[0]


def test_permuting_the_pool_permutes_the_choice(rng):
    """The check of all strategies leaves it out, as its data have pairs with equal gains."""
    X = np.r_[rng.normal(size=(60, 5)), 4 + rng.normal(size=(60, 5))]
    order = rng.permutation(120)
    query = MaxHerdingQuery(length_scale=2.0).fit(X[:1])
    chosen, utilities = query.query(X, 10, return_utilities=True)
    permuted, permuted_utilities = query.query(X[order], 10, return_utilities=True)
    np.testing.assert_array_equal(order[permuted], chosen)
    np.testing.assert_allclose(permuted_utilities, utilities[order], rtol=1e-12)


def test_max_herding_uses_the_features_of_a_model(tables):
    X, y, pool = tables
    net = make_net().fit(X.astype(np.float32), y)
    query = MaxHerdingQuery(FrozenEstimator(net)).fit(X.astype(np.float32), y)
    chosen = query.query(pool.astype(np.float32), 10)
    with torch.no_grad():
        h, h_pool = (
            net.module_[:2](torch.from_numpy(part.astype(np.float32))) for part in (X, pool)
        )
    by_rows = MaxHerdingQuery().fit(h.numpy(), y).query(h_pool.numpy(), 10)
    np.testing.assert_array_equal(chosen, by_rows)


def test_uncertainty_herding(tables):
    X, y, pool = tables
    model = LogisticRegression(C=100).fit(X, y)
    query = UncertaintyHerdingQuery(FrozenEstimator(model), temperature=3.0).fit(X, y)
    chosen = query.query(pool, 12)
    logits = model.decision_function(pool) / 3
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    u = 1 - (np.sort(p)[:, -1] - np.sort(p)[:, -2])
    rows = X / np.linalg.norm(X, axis=1, keepdims=True)
    pairs = [np.linalg.norm(a - b) for a, b in combinations(rows, 2)]
    assert chosen.tolist() == expected_picks(X, pool, 12, min(pairs) ** -2, u)


def test_limits(tables):
    """Hot and wide it is MaxHerding; cool and narrow it is the margin."""
    X, y, pool = tables
    model = FrozenEstimator(LogisticRegression().fit(X, y))
    hot = UncertaintyHerdingQuery(model, length_scale=0.7, temperature=1e30).fit(X, y)
    plain = MaxHerdingQuery(model, length_scale=0.7).fit(X, y)
    kernels = kernels_by_loops(unit_rows(torch.from_numpy(pool)), 0.7**-2)
    rows, labeled = (unit_rows(torch.from_numpy(part)) for part in (pool, X))
    m = coverage_by(rows, labeled, 0.7**-2).numpy()
    assert_greedy(hot.query(pool, 10).tolist(), kernels, m, np.ones(len(pool)))
    np.testing.assert_array_equal(hot.query(pool, 3), plain.query(pool, 3))
    cool = UncertaintyHerdingQuery(model, length_scale=1e-4, temperature=1).fit(X, y)
    margin = MarginQuery(model).fit(X, y)
    np.testing.assert_array_equal(cool.query(pool, 20), margin.query(pool, 20))


def test_automatic_parameters(tables, monkeypatch):
    X, y, pool = tables
    model = FrozenEstimator(LogisticRegression(C=1e4, max_iter=5000).fit(X, y))
    asked = []

    def temperature(features, labels, probabilities):
        asked.append((features, labels, probabilities))
        return 4.0

    monkeypatch.setattr(uncertainty_herding, "cross_validated_temperature", temperature)
    automatic = UncertaintyHerdingQuery(model).fit(X, y)
    length_scale = smallest_distance(unit_rows(torch.from_numpy(X)))
    given = UncertaintyHerdingQuery(model, length_scale=length_scale, temperature=4).fit(X, y)
    np.testing.assert_array_equal(automatic.query(pool, 10), given.query(pool, 10))
    features, labels, probabilities = asked[0]
    np.testing.assert_array_equal(features.cpu(), X)
    np.testing.assert_array_equal(labels, y)
    np.testing.assert_allclose(probabilities.cpu(), model.predict_proba(X))
    one = UncertaintyHerdingQuery(model).fit(X[:1], y[:1])
    same = UncertaintyHerdingQuery(model, length_scale=1.0).fit(X[:1], y[:1])
    np.testing.assert_array_equal(one.query(pool, 5), same.query(pool, 5))


def test_sub_views_share_what_is_costly(tables, monkeypatch):
    X, y, pool = tables
    calls = {"temperature": 0, "coverage": 0}
    real = uncertainty_herding.cross_validated_temperature

    def temperature(*args):
        calls["temperature"] += 1
        return real(*args)

    monkeypatch.setattr(uncertainty_herding, "cross_validated_temperature", temperature)
    model = LogisticRegression(C=100).fit(X, y)
    needs = frozenset({"features", "probabilities"})
    view = View(pool, X, y, estimator=model, rng=0, needs=needs)
    strategies = [MaxHerdingQuery(), UncertaintyHerdingQuery()]
    for seed in range(4):
        rows = np.random.RandomState(seed).permutation(len(pool))[:50]
        for strategy in strategies:
            chosen, _ = strategy._choose(view.take(rows).with_rng(seed), 6)
            alone = strategy.__class__(FrozenEstimator(model)).fit(X, y)
            np.testing.assert_array_equal(chosen, alone.query(pool[rows], 6))
    assert calls["temperature"] == 1 + 4  # once for all sub-views


def test_uncertainty_of_certain_rows():
    logits = torch.tensor([[60.0, 0.0, 0.0], [50.0, 0.0, 0.0], [0.0, 0.0, -9.0]]).double()
    u = uncertainty(logits)
    assert u[0] == pytest.approx(3 * np.exp(-60.0), rel=1e-12)
    assert u[0] < u[1]
    assert u[2] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("model", [
    LogisticRegression(),
    SGDClassifier(loss="log_loss", random_state=0),
    SGDClassifier(loss="modified_huber", random_state=0),
    CalibratedClassifierCV(LogisticRegression(), cv=3),
    make_net(),
    make_binary_net(),
], ids=lambda model: type(model).__name__)  # fmt: skip
def test_at_temperature_1_the_model_is_as_uncertain_as_it_says(model, tables, monkeypatch):
    """Whatever its logits are: the weights are the margins of its probabilities."""
    X, y, pool = tables
    X, pool = X.astype(np.float32), pool.astype(np.float32)
    if isinstance(model, NeuralNetBinaryClassifier):
        y = y % 2
    weights = []

    def herd(view, n, length_scale, u):
        weights.append(u.cpu())
        return torch.arange(n), None

    monkeypatch.setattr(uncertainty_herding, "herd", herd)
    query = UncertaintyHerdingQuery(model, temperature=1, random_state=0).fit(X, y)
    query.query(pool)
    query.set_params(temperature=1e6).query(pool)
    best = np.sort(query.estimator_.predict_proba(pool).astype(np.float64), axis=1)
    np.testing.assert_allclose(weights[0], 1 - (best[:, -1] - best[:, -2]), atol=1e-6)
    np.testing.assert_allclose(weights[1], 1, atol=1e-3)


@pytest.mark.parametrize("params, words", [
    ({"length_scale": 0}, "'length_scale'.*Got 0"),
    ({"length_scale": "wide"}, "'length_scale'.*'wide'"),
    ({"temperature": -1.0}, r"'temperature'.*Got -1\.0"),
])  # fmt: skip
def test_bad_parameters(params, words, tables):
    X, y, _ = tables
    with pytest.raises(ValueError, match=words):
        UncertaintyHerdingQuery(**params).fit(X, y)
    if "length_scale" in params:
        with pytest.raises(ValueError, match=words):
            MaxHerdingQuery(**params).fit(X, y)


def test_it_covers_the_classes_of_digits():
    """On real data: 40 rows chosen from nothing reach classes that as many at random miss."""
    X, y = load_digits(return_X_y=True)
    chosen = MaxHerdingQuery(length_scale=0.5).fit(X[:1]).query(X, 40)
    assert len(np.unique(y[chosen])) == 10
    kernels = kernels_by_loops(unit_rows(torch.from_numpy(X[::3])), 4.0)
    _, right = greedy(kernels, 40, np.zeros(len(kernels)), np.ones(len(kernels)))
    _, wrong = greedy(kernels, 40, np.zeros(len(kernels)), np.ones(len(kernels)), wrong_gains)
    assert right > 1.01 * wrong
