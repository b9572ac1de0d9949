# SPDX-License-Identifier: BSD-3-Clause
"""What strategies that cluster share: k-means by scikit-learn, and the rows in the middle.

k-means here is the same to the last bit whatever the number of threads, and gives no warning for
duplicates. Where several rows are equally good, the first in the pool is taken.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from sklearn.cluster import KMeans, MiniBatchKMeans
from threadpoolctl import ThreadpoolController

from skbait.numerics.kernels import unit_rows

# Rows times clusters from which on k-means works on mini-batches. Over 50,000 rows of 384 features
# with 500 clusters these take a third of the time, for an inertia that is 2 % larger.
_LARGE = 5_000_000

# Rows whose projections differ by less, relative to the largest, count as one when clusters are
# bounded by the number of distinct rows: k-means tells rows apart from about 2e-8 of their norm.
_SAME = 1e-7


def draw_seed(rng: np.random.RandomState) -> int:
    """Return a seed drawn from a generator."""
    return int(rng.randint(np.iinfo(np.int32).max))


def projection(rows: np.ndarray) -> np.ndarray:
    """Return one number a row, (M,), that differs where rows differ: a fixed random projection.

    Equal rows have equal numbers, and a row has the same number wherever it stands.
    """
    direction = np.random.RandomState(0).normal(size=rows.shape[1])
    return np.einsum("md,d->m", rows, direction)  # not a BLAS product: no blocks of rows


def k_means(rows: np.ndarray, n_clusters: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cluster rows, by k-means++ and Lloyd's algorithm from a single start.

    Parameters
    ----------
    rows : ndarray of shape (M, D), float64
        The rows.
    n_clusters : int
        How many clusters; as many as there are distinct rows where these are fewer.
    seed : int
        Seeds k-means++ and the mini-batches of large problems.

    Returns
    -------
    labels : ndarray of int of shape (M,)
        The cluster of each row.
    centers : ndarray of shape (k, D)
        The centres, k <= n_clusters.
    """
    n_clusters = min(n_clusters, _number_of_distinct(rows))
    settings = {"n_clusters": n_clusters, "n_init": 1, "random_state": seed}
    if len(rows) * n_clusters > _LARGE:
        # A fixed number of steps: the sums that would stop it earlier depend on the threads.
        model = MiniBatchKMeans(
            **settings, batch_size=4096, max_iter=5, max_no_improvement=None, reassignment_ratio=0
        )
        threads = _threadpools().limit(limits=1, user_api="blas")
    else:
        # Lloyd's threads add up their centres in the order in which they finish: one thread.
        model = KMeans(**settings, max_iter=100)
        threads = _threadpools().limit(limits=1)
    with threads:
        model.fit(rows)
    return model.labels_, model.cluster_centers_


def most_central(rows: np.ndarray, labels: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Return the position of the row nearest to the centre of each cluster, largest cluster first.

    Parameters
    ----------
    rows : ndarray of shape (M, D)
        The rows.
    labels : ndarray of int of shape (M,)
        The cluster of each row.
    centers : ndarray of shape (k, D)
        The centres.

    Returns
    -------
    ndarray of int of shape (k',)
        One row of each cluster that has any; clusters of equal size in the order of these rows.
    """
    distances = np.square(rows - centers[labels]).sum(axis=1)  # (M,), squared
    least = np.full(len(centers), np.inf)
    np.minimum.at(least, labels, distances)
    # Two rows are equally far from the mean of both, but for rounding.
    tied = np.flatnonzero(distances <= (least * (1 + 1e-9) + 1e-14)[labels])
    found, first = np.unique(labels[tied], return_index=True)
    positions = tied[first]
    sizes = np.bincount(labels, minlength=len(centers))[found]
    return positions[np.lexsort((positions, -sizes))]


def spread_choice(
    features: torch.Tensor, candidates: np.ndarray, n: int, rng: np.random.RandomState
) -> np.ndarray:
    """Choose n rows: one in the middle of each of n clusters of candidates, filled up at random.

    Parameters
    ----------
    features : torch.Tensor of shape (N, D)
        Features of the pool; they are clustered by direction, each row scaled to norm 1.
    candidates : ndarray of int of shape (M,)
        Positions of the rows to cluster, ascending.
    n : int
        How many to choose, at most N.
    rng : RandomState instance
        Seeds the clustering, and draws what is missing: from the candidates where these have
        fewer than n distinct directions, then from the rest of the pool.

    Returns
    -------
    ndarray of int64 of shape (n,)
        Distinct positions in the pool: those from large clusters first, or all candidates in
        random order, then what was drawn.
    """
    seed = draw_seed(rng)
    if len(candidates) > n:
        index = torch.from_numpy(candidates).to(features.device)
        rows = unit_rows(features.index_select(0, index)).cpu().numpy()  # (M, D)
        chosen = candidates[most_central(rows, *k_means(rows, n, seed))]
    else:
        chosen = rng.permutation(candidates)
    for source in (candidates, np.arange(len(features))):
        if len(chosen) < n:
            left = np.setdiff1d(source, chosen)
            chosen = np.concatenate([chosen, rng.permutation(left)[: n - len(chosen)]])
    return chosen


def _number_of_distinct(rows: np.ndarray) -> int:
    """Return a lower bound, nearly always tight, of the number of different rows."""
    numbers = np.sort(projection(rows))
    return 1 + int((np.diff(numbers) > _SAME * np.abs(numbers[[0, -1]]).max()).sum())


@cache
def _threadpools() -> ThreadpoolController:
    """Return what knows the thread pools of this process: looking for them takes 10 ms."""
    return ThreadpoolController()
