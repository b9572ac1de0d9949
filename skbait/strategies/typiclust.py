# SPDX-License-Identifier: BSD-3-Clause
"""TypiClust: the most typical row of each of the largest clusters without labels."""

from __future__ import annotations

import heapq
from numbers import Integral

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from skbait._backend import EXACT
from skbait._sklearn import Interval
from skbait.numerics.distances import nearest_distances
from skbait.numerics.ranking import first_of_largest
from skbait.strategies._clusters import draw_seed, k_means
from skbait.strategies.base import BaseQuery

__all__ = ["TypiClustQuery"]

# As in the public code: clusters with fewer rows come last, and density is that of 20 neighbours.
_MIN_CLUSTER_SIZE = 5
_MAX_NEIGHBORS = 20


class TypiClustQuery(BaseQuery):
    """Query the most typical row of each of the largest clusters that have no label yet.

    k-means puts labelled and pool rows into clusters. In turn, the cluster with the fewest
    labels gives its most typical row, the one in the densest place, away from what is labelled
    or chosen in the same cluster [1]_.

    With features alone it needs no model and no labels, and so can choose the first rows of all.

    Parameters
    ----------
    estimator : estimator, default=None
        Classifier whose last-layer features are clustered: a skorch net, a linear scikit-learn
        classifier with probabilities, `MLPClassifier`, a pipeline or search around one. `fit`
        fits a clone; a :class:`~sklearn.frozen.FrozenEstimator` is used as it is. None fits
        nothing: the rows of X are the features, and `fit` needs no labels.
    n_clusters : int or None, default=None
        Number of clusters. None is that of the labelled and the `n` rows together, at most 500.
    subset_size : int, float or None, default=None
        Choose from a random sub-pool of this many rows (float: this fraction of the pool).
    last_layer : str or None, default=None
        Name of the last linear layer of a net, where there is a choice.
    device : str or torch.device, default="auto"
        Where a model computes the features; clusters are found on the CPU.
    random_state : int, RandomState instance or None, default=None
        Seeds the clone of `estimator`, `subset_size` and k-means.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator, where there is one.
    classes_ : ndarray of shape (n_classes,)
        The classes of `estimator_`, else those among the labels.
    X_labeled_ : object
        The labelled rows.
    y_labeled_ : ndarray of shape (n_labeled,)
        Their labels.
    n_features_in_ : int
        Number of features seen in `fit`, where X is a table.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features seen in `fit`, where X has them.

    See Also
    --------
    ProbCoverQuery : Cover the pool with balls of one radius.

    Notes
    -----
    **Which cluster.** Clusters with at least 5 rows come before smaller ones, then those with
    the fewest labelled and chosen rows, then the largest. `n` may be larger than the number of
    clusters: they are visited again, in the same order.

    **Which row.** Typicality is 1 over the mean squared distance to the nearest rows of the
    cluster, labelled ones included: 20, or half of the cluster. Where the cluster has labelled or
    chosen rows, typicality is multiplied by the squared distance to the nearest of these: a row
    counts by how many of its own neighbourhoods it is away from them. Neither duplicates of a
    chosen row nor its neighbours follow it, and in a normal cluster in D dimensions the second
    row is √D standard deviations from the first. A mean squared distance of zero (duplicates) is
    taken as 1e-10 of the cluster's variance.

    With L labelled and N pool rows, D features, k clusters and n to choose, time is
    O((N+L)·D·k·log k) to begin k-means and O((N+L)·D·k) a step (at most 100; five passes over
    the rows in mini-batches where (N+L)·k is above five million), and O(m²·D) for each cluster of
    m rows that is chosen from; memory is O((N+L)·D).

    The paper has a cluster for each labelled and each new row, at most 500, and always a cluster
    without labels to choose from. One public version goes on with any cluster when all have
    labels, and so is nearly random beyond 500 labels; here, as in the authors' code, clusters
    with the fewest labels are next, by size. The authors' code and this one take squared distances
    for typicality, though the paper writes distances, and neither keeps several rows of one
    cluster apart.

    References
    ----------
    .. [1] G. Hacohen, A. Dekel, D. Weinshall. Active Learning on a Budget: Opposite Strategies
       Suit High and Low Budgets. ICML 2022, arXiv:2202.02794.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skbait.strategies.typiclust import TypiClustQuery
    >>> X, y = load_digits(return_X_y=True)
    >>> query = TypiClustQuery(random_state=0).fit(X[:3])  # not a single label
    >>> query.query(X, 10).shape
    (10,)
    """

    _needs = frozenset({"features"})

    _stochastic = True

    _parameter_constraints = {
        **BaseQuery._parameter_constraints,
        "n_clusters": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        estimator=None,
        *,
        n_clusters=None,
        subset_size=None,
        last_layer=None,
        device="auto",
        random_state=None,
    ):
        super().__init__(
            estimator,
            subset_size=subset_size,
            last_layer=last_layer,
            device=device,
            random_state=random_state,
        )
        self.n_clusters = n_clusters

    def _select(self, view, n):
        n_labeled = view.n_labeled
        n_clusters = min(n_labeled + n, 500) if self.n_clusters is None else int(self.n_clusters)
        rows = torch.cat([part.features.to(EXACT) for part in (view.labeled, view.pool)])
        rows = centered(rows).cpu().numpy()  # (L + N, D), the labelled rows first
        labels, _ = k_means(rows, n_clusters, draw_seed(view.rng))
        return choose_typical(rows, labels, n_labeled, n), None


def centered(rows: torch.Tensor) -> torch.Tensor:
    """Return rows (M, D) less their mean, of numbers of size 1; the rows given are written to.

    The sizes of numbers cost digits in distances, and squares of large ones would overflow.
    Scaling is by powers of two, which rounds nothing.
    """
    for _ in range(2):  # before the mean, whose sum would overflow too, and after it
        rows /= torch.frexp(rows.abs().max()).exponent.sub(1).to(EXACT).exp2()
        rows -= rows.mean(dim=0)
    return rows


def choose_typical(rows: np.ndarray, labels: np.ndarray, n_labeled: int, n: int) -> np.ndarray:
    """Choose n rows: the cluster with the fewest labels gives its most typical row, in turn.

    Parameters
    ----------
    rows : ndarray of shape (L + N, D), float64
        Features, centred; the labelled rows first.
    labels : ndarray of int of shape (L + N,)
        The cluster of each row.
    n_labeled : int
        Number of labelled rows, L.
    n : int
        How many to choose, at most N.

    Returns
    -------
    ndarray of int64 of shape (n,)
        Positions among the N rows.
    """
    order = np.argsort(labels, kind="stable")  # labelled rows first in each cluster
    sizes = np.bincount(labels)
    n_taken = np.bincount(labels[:n_labeled], minlength=len(sizes))
    starts = np.cumsum(sizes) - sizes
    # the next cluster is the smallest tuple; that of fewer rows than 5, then of labels, then size
    queue = [
        (bool(size < _MIN_CLUSTER_SIZE), int(taken), -int(size), int(order[start]), cluster)
        for cluster, (size, taken, start) in enumerate(zip(sizes, n_taken, starts, strict=True))
        if size > taken
    ]
    heapq.heapify(queue)
    opened = {}
    chosen = []
    while len(chosen) < n:
        small, taken, minus_size, first, cluster = heapq.heappop(queue)
        if cluster not in opened:
            members = order[starts[cluster] : starts[cluster] + sizes[cluster]]
            opened[cluster] = _Cluster(rows, members, taken)
        chosen.append(opened[cluster].choose() - n_labeled)
        if taken + 1 < sizes[cluster]:
            heapq.heappush(queue, (small, taken + 1, minus_size, first, cluster))
    return np.array(chosen, dtype=np.int64)


class _Cluster:
    """A cluster that rows are chosen from.

    Parameters
    ----------
    rows : ndarray of shape (L + N, D)
        All rows.
    members : ndarray of int of shape (m,)
        Those of the cluster, the labelled ones first.
    n_labeled : int
        How many of these are labelled.
    """

    def __init__(self, rows, members, n_labeled):
        self.rows, self.members = rows, members
        own = torch.from_numpy(rows[members])  # (m, D)
        self.scores = torch.from_numpy(typicality(own.numpy()))  # (m,)
        self.away = torch.full((len(members),), torch.inf, dtype=EXACT)  # (m,), squared
        if n_labeled:
            self.away = nearest_distances(own, own[:n_labeled]).square()
        self.left = torch.arange(len(members)) >= n_labeled

    def choose(self) -> int:
        """Return the best row that is left, the first of equal ones."""
        unheeded = torch.isinf(self.away[0])  # nothing is labelled or chosen yet
        scores = self.scores if unheeded else self.scores * self.away
        best = first_of_largest(torch.where(self.left, scores, -1.0))
        own = torch.from_numpy(self.rows[self.members])
        distances = nearest_distances(own, own[best : best + 1]).square()
        self.away = torch.minimum(self.away, distances)
        self.left[best] = False
        return int(self.members[best])


def typicality(rows: np.ndarray) -> np.ndarray:
    """Return 1 over the mean squared distance to the nearest other rows of a cluster, (m,)."""
    n_neighbors = min(_MAX_NEIGHBORS, len(rows) // 2)
    rows = rows - rows.mean(axis=0)
    variance = np.square(rows).sum(axis=1).mean()
    if n_neighbors == 0 or variance == 0:  # a single row, or all alike
        return np.ones(len(rows))
    nearest = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(rows)
    distances, _ = nearest.kneighbors()  # (m, n_neighbors), a row is no neighbour of its own
    return 1 / np.maximum(np.square(distances).mean(axis=1), 1e-10 * variance)
