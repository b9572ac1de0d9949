# SPDX-License-Identifier: BSD-3-Clause
"""TypiClust and ProbCover, which look at where rows lie, and the clustering that is shared."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import threadpoolctl
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbait import RandomQuery, _backend
from skbait.strategies import _clusters
from skbait.strategies._clusters import k_means, most_central, spread_choice, unit_rows
from skbait.strategies.probcover import ProbCoverQuery, _distances_between, cover, pure_radius
from skbait.strategies.typiclust import TypiClustQuery, choose_typical, typicality
from skbait.utils.estimator_checks import parametrize_with_query_checks


@parametrize_with_checks([TypiClustQuery(), ProbCoverQuery()])
def test_sklearn_checks(estimator, check):
    check(estimator)


@parametrize_with_query_checks(
    [
        TypiClustQuery(),
        TypiClustQuery(make_pipeline(StandardScaler(), LogisticRegression()), n_clusters=4),
        ProbCoverQuery(),
        ProbCoverQuery(make_pipeline(StandardScaler(), LogisticRegression()), delta=0.3),
    ]
)
def test_query_checks(strategy, check):
    check(strategy)


def grids(max_rows, max_columns=3, min_rows=1):
    """Small tables of small integers: full of duplicates, zeros and equal distances."""
    numbers = st.integers(-2, 2)
    return st.integers(1, max_columns).flatmap(
        lambda width: st.lists(
            st.lists(numbers, min_size=width, max_size=width),
            min_size=min_rows,
            max_size=max_rows,
        ).map(lambda rows: np.array(rows, dtype=float))
    )


# -------------------------------------------------------------------------- clustering


def test_unit_rows():
    rows = torch.tensor(
        [[3.0, 4.0], [0.0, 0.0], [1e200, 0.0], [0.0, -1e-200]], dtype=torch.float64
    )
    expected = [[0.6, 0.8], [0.0, 0.0], [1.0, 0.0], [0.0, -1.0]]
    torch.testing.assert_close(unit_rows(rows), torch.tensor(expected, dtype=torch.float64))
    assert unit_rows(torch.tensor([[3, 4]])).dtype == torch.float64


@given(rows=grids(30), n_clusters=st.integers(1, 12), large=st.booleans())
def test_k_means_gives_no_warning(rows, n_clusters, large):
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("error")
        if large:
            patch.setattr(_clusters, "_LARGE", 0)
        labels, centers = k_means(rows, n_clusters, seed=0)
    assert len(centers) <= min(n_clusters, len(np.unique(rows, axis=0)))
    assert labels.shape == (len(rows),)
    for row in np.unique(rows, axis=0):
        assert len(np.unique(labels[(rows == row).all(axis=1)])) == 1


@pytest.mark.parametrize("gap", [0.0, 1e-9, 1.5e-8, 1e-6])
def test_k_means_of_near_duplicates_gives_no_warning(gap, rng):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(10):
            rows = rng.normal(size=(8, 3))
            labels, _ = k_means(np.vstack([rows, rows + gap]), 16, seed=0)
            assert len(np.unique(labels)) >= 8


@pytest.mark.parametrize("large", [False, True])
def test_k_means_whatever_the_threads(large, monkeypatch):
    """On a grid, where many rows are equally far from several centres."""
    if large:
        monkeypatch.setattr(_clusters, "_LARGE", 0)
    axis = np.arange(12.0) / 3
    rows = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    found = []
    for n_threads in (1, 2, 4, 2):
        with threadpoolctl.threadpool_limits(limits=n_threads):
            found.append(k_means(rows, 40, seed=0))
    for labels, centers in found[1:]:
        np.testing.assert_array_equal(labels, found[0][0])
        np.testing.assert_array_equal(centers, found[0][1])


def test_k_means_finds_clusters(seed, monkeypatch):
    rows, y = make_blobs(300, centers=6 * np.eye(6), cluster_std=0.3, random_state=seed)
    for limit in (_clusters._LARGE, 0):
        monkeypatch.setattr(_clusters, "_LARGE", limit)
        labels, centers = k_means(rows, 6, seed=seed)
        agree = [len(np.unique(y[labels == cluster])) for cluster in range(6)]
        assert sum(n == 1 for n in agree) >= 4  # one start may miss a cluster
        assert centers.shape == (6, 6)


@given(rows=grids(20), n_clusters=st.integers(1, 6))
def test_most_central(rows, n_clusters):
    labels, centers = k_means(rows, n_clusters, seed=1)
    found = most_central(rows, labels, centers)
    expected = []
    for cluster in np.unique(labels):
        members = np.flatnonzero(labels == cluster)
        distances = ((rows[members] - centers[cluster]) ** 2).sum(axis=1)
        nearest = members[distances <= distances.min() + 1e-9]
        expected.append((-len(members), nearest[0]))
    np.testing.assert_array_equal(found, [position for _, position in sorted(expected)])


def test_the_first_of_a_pair_is_central():
    rows = np.array([[0.1, 0.7], [0.30000000000000004, 0.1], [9, 9], [9.1, 9], [9.2, 9]])
    labels = np.array([0, 0, 1, 1, 1])
    centers = np.stack([rows[:2].mean(axis=0), rows[2:].mean(axis=0)])
    for order in ([0, 1, 2, 3, 4], [1, 0, 2, 3, 4]):
        np.testing.assert_array_equal(most_central(rows[order], labels, centers), [3, 0])


@given(rows=grids(25), data=st.data())
def test_spread_choice(rows, data):
    candidates = np.flatnonzero(
        data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    )
    n = data.draw(st.integers(1, len(rows)))
    features = torch.from_numpy(rows)
    chosen = spread_choice(features, candidates, n, np.random.RandomState(0))
    assert len(set(chosen.tolist())) == len(chosen) == n
    from_candidates = np.isin(chosen, candidates)
    assert from_candidates.sum() == min(n, len(candidates))
    assert (np.diff(from_candidates.astype(int)) <= 0).all(), "candidates come first"
    again = spread_choice(features, candidates, n, np.random.RandomState(0))
    np.testing.assert_array_equal(again, chosen)


def test_spread_choice_takes_one_row_of_each_direction(rng):
    """Clusters of 40, 30, 20 and 10 rows, told apart by their directions only."""
    y = np.repeat(np.arange(4), [40, 30, 20, 10])
    rows = np.eye(4)[y] + 0.05 * rng.normal(size=(100, 4))
    rows *= rng.uniform(0.1, 50, size=(100, 1))
    features = torch.from_numpy(rows)
    complete = 0
    for seed in range(5):
        chosen = spread_choice(features, np.arange(100), 4, np.random.RandomState(seed))
        complete += y[chosen].tolist() == [0, 1, 2, 3]
    assert complete >= 3  # k-means has a single start


# --------------------------------------------------------------------------- TypiClust


def typical_reference(rows, labels, n_labeled, n):
    """One choice after the other, everything computed anew."""
    taken = list(range(n_labeled))
    for _ in range(n):
        clusters = []
        for cluster in np.unique(labels):
            members = np.flatnonzero(labels == cluster)
            n_taken = np.isin(members, taken).sum()
            if n_taken < len(members):
                clusters.append((len(members) < 5, n_taken, -len(members), members[0], cluster))
        members = np.flatnonzero(labels == min(clusters)[-1])
        between = ((rows[members, None] - rows[None, members]) ** 2).sum(axis=2)
        variance = ((rows[members] - rows[members].mean(axis=0)) ** 2).sum(axis=1).mean()
        n_neighbors = min(20, len(members) // 2)
        near = np.sort(between + np.diag(np.full(len(members), np.inf)), axis=1)[:, :n_neighbors]
        scores = np.ones(len(members))
        if n_neighbors and variance > 1e-20:
            scores = 1 / np.maximum(near.mean(axis=1), 1e-10 * variance)
        gone = np.isin(members, taken)
        if gone.any():
            scores = scores * between[:, gone].min(axis=1)
        scores[gone] = -1
        best = np.flatnonzero(scores >= scores.max() - 1e-11 * abs(scores.max()))[0]
        taken.append(int(members[best]))
    return np.array(taken[n_labeled:]) - n_labeled


@given(rows=grids(24), data=st.data())
def test_choose_typical_agrees_with_the_reference(rows, data):
    n_labeled = data.draw(st.integers(0, len(rows) - 1))
    n = data.draw(st.integers(1, len(rows) - n_labeled))
    size = st.integers(0, data.draw(st.integers(0, 4)))
    labels = np.array(data.draw(st.lists(size, min_size=len(rows), max_size=len(rows))))
    labels = np.unique(labels, return_inverse=True)[1]
    found = choose_typical(rows, labels, n_labeled, n)
    np.testing.assert_array_equal(found, typical_reference(rows, labels, n_labeled, n))


def test_choose_typical_on_real_numbers(rng):
    rows = rng.normal(size=(150, 3))
    rows[40:60] = rows[60:80]  # duplicates, some of them of labelled rows
    rows[100:110] = rows[5]
    labels = rng.integers(5, size=150)
    found = choose_typical(rows, labels, 50, 100)
    np.testing.assert_array_equal(found[:40], typical_reference(rows, labels, 50, 40))
    np.testing.assert_array_equal(np.sort(found), np.arange(100))


def test_typicality_is_density(rng):
    rows = np.concatenate([0.1 * rng.normal(size=(50, 2)), 5 + 3 * rng.normal(size=(50, 2))])
    scores = typicality(rows)
    assert scores[:50].min() > scores[50:].max()
    np.testing.assert_array_equal(typicality(rows[:1]), [1.0])
    np.testing.assert_array_equal(typicality(np.ones((7, 2))), np.ones(7))


def test_rows_of_one_cluster_avoid_each_other(rng):
    """A dense spot in a wide cluster: typicality alone would choose nothing else."""
    rows = np.concatenate([0.01 * rng.normal(size=(40, 2)), rng.normal(size=(160, 2))])
    one_cluster = np.zeros(200, dtype=int)
    assert np.argsort(-typicality(rows))[:5].max() < 40
    chosen = choose_typical(rows, one_cluster, 0, 5)
    assert chosen[0] < 40
    assert (chosen[1:] >= 40).all()
    # the same where the spot has a label already, be it at its edge
    assert (choose_typical(rows, one_cluster, 1, 5) >= 39).sum() >= 4


def make_regions(rng, n_labeled_rows):
    """Dense regions with labels, dense regions without, and a sparse background without.

    Returns labelled rows, pool, and for each row of the pool its dense region without labels
    or -1.
    """
    centers = rng.uniform(-10, 10, size=(30, 5))
    of_label = rng.integers(20, size=n_labeled_rows)
    of_pool = np.repeat(np.arange(30), 100)
    labeled = centers[of_label] + 0.3 * rng.normal(size=(n_labeled_rows, 5))
    dense = centers[of_pool] + 0.3 * rng.normal(size=(3000, 5))
    sparse = rng.uniform(-12, 12, size=(1000, 5))
    region = np.concatenate([np.where(of_pool >= 20, of_pool, -1), np.full(1000, -1)])
    order = rng.permutation(4000)
    return labeled, np.concatenate([dense, sparse])[order], region[order]


def test_dense_regions_without_labels_after_2000_labels(rng):
    labeled, pool, region = make_regions(rng, 2000)
    chosen = TypiClustQuery(random_state=0).fit(labeled, np.zeros(2000)).query(pool, 10)
    assert (region[chosen] >= 0).sum() >= 9
    assert len(set(region[chosen])) >= 8
    at_random = RandomQuery(random_state=0).fit(labeled, np.zeros(2000)).query(pool, 1000)
    assert (region[at_random] >= 0).mean() < 0.35


def test_more_rows_than_clusters(rng):
    labeled, pool, _ = make_regions(rng, 30)
    chosen = TypiClustQuery(n_clusters=7, random_state=0).fit(labeled).query(pool, 50)
    assert len(set(chosen)) == 50
    gaps = np.linalg.norm(pool[chosen][:, None] - pool[chosen][None], axis=2)
    assert gaps[np.triu_indices(50, 1)].min() > 0.5  # rows of one region are 0.3 apart


def test_typiclust_at_any_scale(rng):
    """Squares of these numbers overflow or vanish."""
    X = rng.normal(size=(60, 3))
    expected = TypiClustQuery(n_clusters=4, random_state=0).fit(X[:5]).query(X[5:], 20)
    for scale in (2.0**1022, 2.0**600, 2.0**-600, 2.0**-900):
        rows = scale * X / 4
        found = TypiClustQuery(n_clusters=4, random_state=0).fit(rows[:5]).query(rows[5:], 20)
        np.testing.assert_array_equal(found, expected)


def test_n_clusters(rng):
    """One cluster for each labelled and each new row, 500 at most."""
    asked = []

    def spy(rows, n_clusters, seed):
        asked.append(n_clusters)
        return np.zeros(len(rows), dtype=int), rows[:1]

    rows = rng.normal(size=(640, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skbait.strategies.typiclust.k_means", spy)
        for n_labeled, n, params in [(30, 5, {}), (600, 5, {}), (30, 5, {"n_clusters": 9})]:
            strategy = TypiClustQuery(**params).fit(rows[:n_labeled], np.zeros(n_labeled))
            strategy.query(rows[n_labeled:], n)
    assert asked == [35, 500, 9]


# --------------------------------------------------------------------------- ProbCover


def distances(rows, others):
    return np.sqrt(((rows[:, None] - others[None]) ** 2).sum(axis=2))


def cover_reference(rows, labeled, n, delta):
    """All distances at once, and every count anew."""
    between = distances(rows, rows)
    nearest = np.concatenate(
        [np.full((len(rows), 1), np.inf), distances(rows, labeled)], axis=1
    ).min(axis=1)
    chosen, first_counts = [], None
    while len(chosen) < n:
        uncovered = nearest**2 / 2 > delta**2 / 2 + 1e-12
        counts = (between**2 / 2 <= delta**2 / 2 + 1e-12)[:, uncovered].sum(axis=1)
        first_counts = counts if first_counts is None else first_counts
        if uncovered.any():
            chosen.append(int(counts.argmax()))
            nearest = np.minimum(nearest, between[chosen[-1]])
        elif nearest.max() > 2e-6:
            delta = nearest.max() / 2
        else:
            chosen += [i for i in range(len(rows)) if i not in chosen]
    return chosen[:n], first_counts


@given(rows=grids(16), data=st.data())
def test_cover_agrees_with_the_reference(rows, data):
    n = data.draw(st.integers(1, len(rows)))
    n_labeled = data.draw(st.integers(0, 3))
    delta = data.draw(st.sampled_from([0.05, 0.5, 1.0, 2**0.5, 2.0]) | st.floats(0.01, 2))
    pool = unit_rows(torch.from_numpy(rows))
    labeled = unit_rows(torch.from_numpy(np.roll(rows, 1, axis=1)[:n_labeled]))
    with pytest.MonkeyPatch.context() as patch:
        if data.draw(st.booleans()):
            patch.setattr("skbait.strategies.probcover._BLOCK_COLUMNS", 3)
            patch.setattr("skbait.strategies.probcover._chunk", lambda n_rows, device: 2)
        positions, counts = cover(pool, labeled, n, delta)
    expected, expected_counts = cover_reference(pool.numpy(), labeled.numpy(), n, delta)
    np.testing.assert_array_equal(positions, expected)
    if expected_counts is not None:
        np.testing.assert_array_equal(counts, expected_counts)


@pytest.mark.parametrize("delta", [0.3, 0.7, 2.0])
def test_cover_of_many_rows(delta, rng, monkeypatch):
    rows = unit_rows(torch.from_numpy(rng.normal(size=(300, 4))))
    labeled = unit_rows(torch.from_numpy(rng.normal(size=(9, 4))))
    expected, counts = cover_reference(rows.numpy(), labeled.numpy(), 300, delta)
    for block, chunk_bytes in [(1024, 2**23), (37, 1)]:
        monkeypatch.setattr("skbait.strategies.probcover._BLOCK_COLUMNS", block)
        monkeypatch.setattr(_backend, "CHUNK_BYTES", chunk_bytes)
        positions, initial = cover(rows, labeled, 300, delta)
        np.testing.assert_array_equal(positions, expected)
        np.testing.assert_array_equal(initial, counts)


@pytest.mark.parametrize("gap", [1e-8, 1e-6, 1.3e-6, 1.6e-6, 1.9e-6, 2.1e-6, 1e-5, 1e-3])
def test_cover_of_all_but_duplicates(gap):
    """Every row once, be it a rounding error or a hair from another."""
    rows = unit_rows(torch.tensor([[1, 0], [1, gap], [0, 1], [1, -gap]], dtype=torch.float64))
    expected, _ = cover_reference(rows.numpy(), rows[:0].numpy(), 4, 0.5)
    positions, _ = cover(rows, rows[:0], 4, 0.5)
    assert positions.tolist() == expected
    assert sorted(expected) == [0, 1, 2, 3]


@given(rows=grids(15), n_groups=st.integers(1, 4), data=st.data())
def test_distances_between_groups(rows, n_groups, data):
    of_group = st.integers(0, n_groups - 1)
    groups = np.sort(data.draw(st.lists(of_group, min_size=len(rows), max_size=len(rows))))
    rows = unit_rows(torch.from_numpy(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skbait.strategies.probcover._BLOCK_COLUMNS", 4)
        patch.setattr("skbait.strategies.probcover._chunk", lambda n_rows, device: 3)
        found = _distances_between(rows, np.bincount(groups).tolist())
    between = distances(rows.numpy(), rows.numpy())
    between[groups[:, None] == groups[None]] = np.inf
    np.testing.assert_allclose(found, between.min(axis=1), atol=1e-7)


@pytest.mark.parametrize("purity", [0.5, 0.95, 1.0])
def test_pure_radius(purity, rng):
    """Clusters so clear that k-means finds them: the radius by trying."""
    y = np.repeat(np.arange(3), [50, 80, 70])
    rows = unit_rows(torch.from_numpy(3 * np.eye(3)[y] + 0.3 * rng.normal(size=(200, 3))))
    order = rng.permutation(200)
    radius = pure_radius(rows[order], 3, purity)
    between = distances(rows.numpy(), rows.numpy())

    def share_of_pure(delta):
        return np.mean(((between <= delta) <= (y[:, None] == y[None])).all(axis=1))

    assert share_of_pure(radius) >= purity - 1e-9
    assert share_of_pure(radius * (1 + 2e-6)) < purity
    assert pure_radius(rows, 3, purity) == radius


def test_pure_radius_of_few_rows():
    same = torch.ones(5, 3, dtype=torch.float64) / 3**0.5
    assert pure_radius(same, 4, 0.95) == 2.0
    assert pure_radius(same[:1], 4, 0.95) == 2.0
    assert pure_radius(torch.zeros(4, 3, dtype=torch.float64), 2, 0.95) == 2.0
    own_clusters = pure_radius(torch.eye(3, dtype=torch.float64), 10, 0.95)
    assert own_clusters == pytest.approx(2**0.5, rel=2e-6)


def test_probcover_takes_the_largest_clusters_first(rng):
    y = np.repeat(np.arange(4), [40, 30, 20, 10])
    rows = np.eye(4)[y] + 0.02 * rng.normal(size=(100, 4))
    order = rng.permutation(100)
    for strategy in (ProbCoverQuery(n_classes=4), ProbCoverQuery(delta=0.5)):
        chosen = strategy.fit(rows[:1], [0]).query(rows[order], 3)  # one has a label
        np.testing.assert_array_equal(y[order][chosen], [1, 2, 3])


def test_probcover_permuted_pool(rng):
    """Stars of different sizes: a centre, and rows near it that are farther from each other."""
    sizes = [3, 7, 5]
    rows = [np.eye(10)[star] for star in range(3)]
    rows += [np.eye(10)[s] + 0.3 * np.eye(10)[3 + i] for s in range(3) for i in range(sizes[s])]
    rows = np.array(rows)
    strategy = ProbCoverQuery(delta=0.35).fit(rows[:1], [-1])
    for _ in range(5):
        order = rng.permutation(len(rows))
        chosen, counts = strategy.query(rows[order], 3, return_utilities=True)
        np.testing.assert_array_equal(order[chosen], [1, 2, 0])
        np.testing.assert_array_equal(counts[chosen], [8, 6, 4])
        strategy.set_params(delta="auto")
        found = strategy.query(rows[order], 18, return_utilities=True)[1]
        expected = strategy.query(rows, 18, return_utilities=True)[1][order]
        np.testing.assert_array_equal(found, expected)
        strategy.set_params(delta=0.35)


def test_probcover_number_of_classes(rng):
    """That of the parameter, else of the model, else of the labels, but at least ten."""
    X, y = make_blobs(300, centers=15, n_features=4, random_state=0)
    model = FrozenEstimator(LogisticRegression().fit(X, y % 4))
    asked = []

    def spy(rows, n_classes, purity):
        asked.append(n_classes)
        return 0.5

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skbait.strategies.probcover.pure_radius", spy)
        ProbCoverQuery(n_classes=3).fit(X, y).query(X)
        ProbCoverQuery(model).fit(X, y % 4).query(X)
        ProbCoverQuery().fit(X, y).query(X)
        ProbCoverQuery().fit(X, y % 4).query(X)
        ProbCoverQuery().fit(X).query(X)
    assert asked == [3, 4, 15, 10, 10]


@pytest.mark.parametrize(
    "params", [{"delta": 0.0}, {"delta": 2.5}, {"delta": "all"}, {"purity": 0}, {"n_classes": 1}]
)
def test_probcover_bad_parameters(params, rng):
    (name,) = params
    with pytest.raises(ValueError, match=f"'{name}' parameter of ProbCoverQuery"):
        ProbCoverQuery(**params).fit(rng.normal(size=(5, 2)))


@pytest.mark.parametrize("strategy", [TypiClustQuery(random_state=0), ProbCoverQuery(n_classes=4)])
def test_over_a_model_its_features_count(strategy, rng):
    """A pipeline that scales: without it the first column would be all there is."""
    X = rng.normal(size=(80, 3)) * [1000, 1, 1]
    y = (X[:, 1] > 0).astype(int)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    scaled = model[0].transform(X)
    plain = strategy.fit(X[:10], y[:10]).query(X[10:], 6)
    expected = strategy.fit(scaled[:10], y[:10]).query(scaled[10:], 6)
    assert not np.array_equal(plain, expected)
    strategy = clone(strategy).set_params(estimator=FrozenEstimator(model)).fit(X[:10], y[:10])
    np.testing.assert_array_equal(strategy.query(X[10:], 6), expected)
