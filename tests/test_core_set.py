# SPDX-License-Identifier: BSD-3-Clause
"""CoreSetQuery and the k-centre numerics against a choice by all pairwise distances."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbait import _backend
from skbait.numerics import distances
from skbait.numerics.distances import nearest_distances
from skbait.numerics.k_center import distances_to_mean, farthest_first
from skbait.strategies import View, core_set
from skbait.strategies.core_set import CoreSetQuery
from skbait.utils.estimator_checks import parametrize_with_query_checks


def pairwise(X, Z):
    """All distances, from the differences in extended precision."""
    difference = X[:, None, :].astype(np.longdouble) - Z[None, :, :]
    return np.sqrt((difference**2).sum(axis=2))


def k_center_by_eye(X, centres, n):
    """Choose as CoreSet does, from all distances at every step; ties to the first row."""
    chosen = []
    for _ in range(n):
        if len(centres) + len(chosen) == 0:
            near = pairwise(X, X.mean(axis=0, keepdims=True))[:, 0]
            chosen.append(int(np.argmax(near <= near.min() + 1e-12 * near.max())))
            continue
        m = pairwise(X, np.vstack([centres, X[chosen]])).min(axis=1)
        m[chosen] = -1
        chosen.append(int(np.argmax(m >= m.max() * (1 - 1e-12))))
    return chosen


@st.composite
def problems(draw):
    """Rows and centres, few or of few different values: duplicates and ties are frequent."""
    n_pool, n_labeled = draw(st.integers(1, 12)), draw(st.integers(0, 12))
    seed, kind = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from(["normal", "grid", "same"]))
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_pool + n_labeled, draw(st.integers(1, 3))))
    if kind == "grid":
        X = np.round(X)
    elif kind == "same":
        X[:] = X[0]
    return X[:n_pool], X[n_pool:]


@parametrize_with_checks([CoreSetQuery(), CoreSetQuery(LogisticRegression())])
def test_sklearn_checks(estimator, check):
    check(estimator)


@parametrize_with_query_checks([CoreSetQuery(), CoreSetQuery(LogisticRegression())])
def test_query_checks(strategy, check):
    check(strategy)


@given(problems(), st.integers(1, 12))
def test_the_choice_is_that_of_all_distances(problem, n):
    X, centres = problem
    n = min(n, len(X))
    y = np.where(np.arange(len(X) + len(centres)) < len(X), -1, 1)
    query = CoreSetQuery().fit(np.vstack([X, centres]), y)
    assert query.query(X, n).tolist() == k_center_by_eye(X, centres, n)


@given(problems(), st.integers(1, 4))
def test_the_radius_is_at_most_twice_the_best(problem, n):
    X, _ = problem
    n = min(n, len(X))
    D = pairwise(X, X)
    best = min(D[:, list(rows)].min(axis=1).max() for rows in combinations(range(len(X)), n))
    chosen = CoreSetQuery().fit(X).query(X, n)
    assert D[:, chosen].min(axis=1).max() <= 2 * best * (1 + 1e-12)


def test_duplicates_of_labelled_rows_are_at_zero(rng):
    # by a product, ‖x‖² + ‖z‖² - 2 x·z, they are not, and far from the origin nothing is right
    X = rng.normal(size=(40, 30)) + 1e6
    y = np.arange(5) % 2
    query = CoreSetQuery().fit(X[:5], y)
    pool = np.vstack([X[:5], X[5:]])
    chosen, utilities = query.query(pool, 40, return_utilities=True)
    assert (utilities[:5] == 0).all()
    np.testing.assert_allclose(utilities, pairwise(pool, X[:5]).min(axis=1), rtol=1e-12)
    assert chosen.tolist() == k_center_by_eye(pool, X[:5], 40)
    assert chosen[-5:].tolist() == [0, 1, 2, 3, 4]


def test_rows_are_distinct_where_no_distance_is_left():
    X = np.repeat(np.eye(3), 4, axis=0)
    chosen = CoreSetQuery().fit(X[:1], [0]).query(X, 12)
    assert sorted(chosen) == list(range(12))
    assert chosen[:2].tolist() == [4, 8]
    assert chosen[2:].tolist() == [row for row in range(12) if row not in (4, 8)]


def test_the_first_row_without_a_label_is_central_in_any_order(rng):
    X = rng.normal(size=(50, 3))
    order = rng.permutation(50)
    query = CoreSetQuery().fit(X)
    assert query.n_features_in_ == 3
    chosen, utilities = query.query(X, 8, return_utilities=True)
    np.testing.assert_allclose(-utilities, np.linalg.norm(X - X.mean(axis=0), axis=1))
    assert utilities.argmax() == chosen[0]
    assert order[query.query(X[order], 8)].tolist() == chosen.tolist()


def test_rows_of_any_kind_are_features(rng):
    images = rng.normal(size=(20, 2, 3)).astype(np.float32)
    flat = images.reshape(20, -1)
    expected = k_center_by_eye(flat.astype(np.float64), flat[:2].astype(np.float64), 6)
    y = ["a", "b"]
    assert CoreSetQuery().fit(images[:2], y).query(images, 6).tolist() == expected
    assert CoreSetQuery().fit(flat[:2], y).query(flat, 6).tolist() == expected
    rows = sparse.csr_matrix(flat)
    assert CoreSetQuery().fit(rows[:2], y).query(rows, 6).tolist() == expected


def test_a_model_gives_the_features(rng):
    X, y = rng.normal(size=(30, 4)), np.arange(30) % 3
    expected = k_center_by_eye(X, X[:9], 5)
    model = LogisticRegression()
    assert CoreSetQuery(model).fit(X[:9], y[:9]).query(X, 5).tolist() == expected
    frozen = FrozenEstimator(model.fit(X, y))
    assert CoreSetQuery(frozen).fit(X[:9]).query(X, 5).tolist() == k_center_by_eye(X, X[:0], 5)
    with pytest.raises(TypeError, match=r"CoreSetQuery.*LinearSVC.*leave estimator=None"):
        CoreSetQuery(LinearSVC()).fit(X, y)


def test_views_share_the_distances_to_labelled_rows(rng, monkeypatch):
    X, y = rng.normal(size=(60, 4)), np.arange(10) % 2
    calls = []

    def counting(features, others):
        calls.append(len(others))
        return nearest_distances(features, others)

    monkeypatch.setattr(core_set, "nearest_distances", counting)
    query = CoreSetQuery().fit(X[:10], y)
    view = View(X[10:], X[:10], y, classes=np.arange(2), needs={"features"}, rng=0)
    for seed in range(5):
        rows = np.random.default_rng(seed).permutation(50)[:20]
        chosen, _ = query._choose(view.take(rows), 4)
        assert chosen.tolist() == k_center_by_eye(X[10:][rows], X[:10], 4)
    assert calls == [10]


@pytest.mark.parametrize("kind", ["normal", "far", "tight", "equal", "huge"])
def test_the_nearest_of_many_is_found_by_differences(kind, rng, monkeypatch):
    X, Z = rng.normal(size=(200, 20)), rng.normal(size=(60, 20))
    if kind == "far":
        X, Z = X + 1e8, Z + 1e8
    elif kind == "tight":  # a product cannot tell them apart
        Z = Z[0] + 1e-9 * Z
    elif kind == "equal":
        Z[:] = X[3]
    elif kind == "huge":
        X[:50] *= 1e100
    Z[7:20] = X[:13]
    X, Z = torch.from_numpy(X), torch.from_numpy(Z)
    found = nearest_distances(X, Z)
    assert (found[:13] == 0).all()
    monkeypatch.setattr(distances, "MANY", 1000)
    assert torch.equal(nearest_distances(X, Z), found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_distances_are_the_same_to_the_last_bit(dtype, rng, monkeypatch):
    X = torch.from_numpy(rng.normal(size=(333, 37))).to(dtype)
    near, mean = nearest_distances(X, X[:9]), distances_to_mean(X)
    chosen = farthest_first(X, 40, near)
    np.testing.assert_allclose(
        near, pairwise(X.double().numpy(), X[:9].double().numpy()).min(axis=1), rtol=1e-13
    )
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(nearest_distances(X, X[:9]), near)
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setattr(_backend, "CHUNK_BYTES", 1)
    monkeypatch.setattr(distances, "WIDE_BYTES", 0)
    assert torch.equal(nearest_distances(X, X[:9]), near)
    assert torch.equal(farthest_first(X, 40, near), chosen)
    torch.testing.assert_close(distances_to_mean(X), mean, rtol=1e-13, atol=0)
    parts = [nearest_distances(X, X[i, None]) for i in range(9)]
    assert torch.equal(torch.stack(parts).amin(dim=0), near)


def test_nothing_is_written_to(rng):
    X = torch.from_numpy(rng.normal(size=(20, 3)))
    near = nearest_distances(X, X[:2])
    before = X.clone(), near.clone()
    farthest_first(X, 20, near)
    assert torch.equal(X, before[0])
    assert torch.equal(near, before[1])
