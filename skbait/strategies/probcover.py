# SPDX-License-Identifier: BSD-3-Clause
"""ProbCover: cover as much of the pool as possible with balls of one radius."""

from __future__ import annotations

import math
from itertools import pairwise
from numbers import Integral, Real

import numpy as np
import torch

from skbait._backend import for_chunks, rows_per_chunk
from skbait._sklearn import Interval, StrOptions
from skbait.numerics.kernels import unit_rows
from skbait.strategies._clusters import k_means, projection
from skbait.strategies.base import BaseQuery

__all__ = ["ProbCoverQuery"]

# Columns of a block of closenesses: with the rows of `rows_per_chunk` it stays in the caches.
_BLOCK_COLUMNS = 1024

# What closenesses may be off by rounding, with room to spare. A ball holds rows that are farther
# from its centre by this little.
_ROUNDING = 1e-12

# Rows nearer than this to a chosen one are its duplicates. At any larger distance f a ball of
# radius f/2 leaves the row out, `_ROUNDING` included: (3/8) f² has to be above that.
_SAME = 2e-6


class ProbCoverQuery(BaseQuery):
    """Query the rows whose balls cover the most of the pool.

    Around each row lies a ball of radius δ, between features scaled to norm 1. The balls of
    labelled rows are covered. In turn, the row is chosen whose ball holds the most rows that no
    ball covers yet [1]_.

    With features alone it needs no model and no labels, and so can choose the first rows of all.

    Parameters
    ----------
    estimator : estimator, default=None
        Classifier whose last-layer features are covered: a skorch net, a linear scikit-learn
        classifier with probabilities, `MLPClassifier`, a pipeline or search around one. `fit`
        fits a clone; a :class:`~sklearn.frozen.FrozenEstimator` is used as it is. None fits
        nothing: the rows of X are the features, and `fit` needs no labels.
    delta : "auto" or float, default="auto"
        The radius δ, above 0 and at most 2. "auto" is the largest for which balls are pure
        enough, see `purity`.
    purity : float, default=0.95
        With ``delta="auto"``: share of the balls in which all rows have the label of the centre,
        with the clusters of k-means for labels.
    n_classes : int or None, default=None
        With ``delta="auto"``: number of these clusters. None is the number of classes of the
        model; without a model that of the labels so far, but at least 10.
    subset_size : int, float or None, default=None
        Choose from a random sub-pool of this many rows (float: this fraction of the pool).
    last_layer : str or None, default=None
        Name of the last linear layer of a net, where there is a choice.
    device : str or torch.device, default="auto"
        Where to compute; "auto" follows the net, else takes CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds the clone of `estimator` and `subset_size`.

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
    TypiClustQuery : The densest place of each cluster.

    Notes
    -----
    The utility of a row is how many uncovered rows its ball holds, ``#{j uncovered : ‖h_i - h_j‖
    <= δ}``, before any is chosen. Rows of equal counts come in the order of the pool.

    **The radius.** With r_i the distance of a row to the nearest one of another cluster, a ball
    is pure if ``δ < r_i``, so that the largest δ is a quantile of r, found without a search. The
    clusters of k-means (from a fixed start, over the rows in an order of their own) do not depend
    on the order of the pool or on `random_state`.
    Where clusters touch, a share of 0.95 leaves balls little wider than the distance to the
    nearest row; a lower `purity` (0.5) or a `delta` of one's own is better then.

    **When all is covered,** δ becomes half the largest distance of a row to the nearest labelled
    or chosen one, the rows outside these smaller balls are uncovered again, and so on: finer
    details of the pool are covered next. What is left in the end are duplicates of chosen rows;
    they come in the order of the pool.

    No ball is stored. Each row is covered once, and then leaves the counts of all rows around it:
    computing these distances again costs at most what it took to count. With N pool rows, L
    labelled ones and D features time is O(N·(N+L)·D), for each radius that is passed through,
    and as much for "auto"; memory is O((N+L)·D) whatever δ. The public code stores every pair of
    rows within δ, up to N² of them, and has nothing left to choose by once all is covered.

    References
    ----------
    .. [1] O. Yehuda, A. Dekel, G. Hacohen, D. Weinshall. Active Learning Through a Covering Lens.
       NeurIPS 2022, arXiv:2205.11320.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skbait.strategies.probcover import ProbCoverQuery
    >>> X, y = load_digits(return_X_y=True)
    >>> query = ProbCoverQuery(n_classes=10).fit(X[:3])  # not a single label
    >>> chosen, utilities = query.query(X, 10, return_utilities=True)
    >>> bool(utilities[chosen[0]] == utilities.max())
    True
    """

    _needs = frozenset({"features"})

    _parameter_constraints = {
        **BaseQuery._parameter_constraints,
        "delta": [StrOptions({"auto"}), Interval(Real, 0, 2, closed="right")],
        "purity": [Interval(Real, 0, 1, closed="right")],
        "n_classes": [Interval(Integral, 2, None, closed="left"), None],
    }

    def __init__(
        self,
        estimator=None,
        *,
        delta="auto",
        purity=0.95,
        n_classes=None,
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
        self.delta = delta
        self.purity = purity
        self.n_classes = n_classes

    def _select(self, view, n):
        rows = unit_rows(view.pool.features)  # (N, D)
        if self.delta == "auto":
            delta = pure_radius(rows, self._number_of_classes(view), float(self.purity))
        else:
            delta = float(self.delta)
        return cover(rows, unit_rows(view.labeled.features), n, delta)

    def _number_of_classes(self, view):
        if self.n_classes is not None:
            return int(self.n_classes)
        if view.pool.probabilities is not None:
            return view.pool.probabilities.shape[1]
        return max(10, len(view.classes))


def pure_radius(rows: torch.Tensor, n_classes: int, purity: float) -> float:
    """Return the largest radius at which enough balls hold rows of one cluster only.

    Parameters
    ----------
    rows : torch.Tensor of shape (N, D), float64
        Rows of norm 1 (or 0).
    n_classes : int
        Number of clusters.
    purity : float
        Share of the balls that hold rows of the cluster of their centre only.

    Returns
    -------
    float
        The radius; 2, which covers everything, where there is one cluster.
    """
    host = rows.cpu().numpy()
    order = np.argsort(projection(host), kind="stable")  # one that permuting the rows leaves
    labels, _ = k_means(host[order], n_classes, seed=0)
    by_label = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    rows = rows.index_select(0, torch.from_numpy(order[by_label]).to(rows.device))
    radii = _distances_between(rows, sizes.tolist()).sort().values  # (N,)
    n_impure = math.floor((1 - purity) * len(rows) + 1e-9)
    smallest = float(radii[min(n_impure, len(rows) - 1)])
    # The ball whose radius this is must not reach the other row, whatever the rounding.
    return min(2.0, smallest * (1 - 1e-6))


def cover(
    rows: torch.Tensor, labeled: torch.Tensor, n: int, delta: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose rows whose balls cover the most, one after the other.

    Parameters
    ----------
    rows : torch.Tensor of shape (N, D), float64
        Rows of the pool, of norm 1 (or 0).
    labeled : torch.Tensor of shape (L, D), float64
        Labelled rows, whose balls are covered.
    n : int
        How many to choose, at most N.
    delta : float
        The radius to begin with.

    Returns
    -------
    positions : torch.Tensor of int64 of shape (n,)
        Positions of the rows chosen.
    counts : torch.Tensor of int64 of shape (N,)
        How many uncovered rows each ball held in the beginning.
    """
    nearest = _closest(rows, labeled)  # (N,), closeness to the nearest centre so far
    level = _level(delta)
    uncovered = nearest < level
    counts = _count_uncovered(rows, uncovered, level)
    initial = counts.clone()
    left = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    chosen = []
    while len(chosen) < n:
        if not uncovered.any():
            farthest = _distance(nearest.min())
            if farthest < _SAME:
                break
            level = _level(farthest / 2)
            uncovered = nearest < level
            counts = _count_uncovered(rows, uncovered, level)
        best = int(torch.where(left, counts, -1).argmax())
        chosen.append(best)
        left[best] = False
        closeness = _closeness(rows, rows[best : best + 1])[:, 0]
        closeness[best] = torch.inf
        nearest = torch.maximum(nearest, closeness)
        newly = torch.nonzero(uncovered & (nearest >= level))[:, 0]
        uncovered[newly] = False
        counts -= _count(rows, newly, level)
    positions = torch.tensor(chosen, dtype=torch.int64, device=rows.device)
    return torch.cat([positions, torch.nonzero(left)[: n - len(chosen), 0]]), initial


def _closeness(rows, others):
    """Return ``-‖x - z‖² / 2`` for all pairs of rows of norm 1 or 0, (rows, others)."""
    found = rows @ others.T
    found -= _half_squares(rows)[:, None]
    found -= _half_squares(others)
    return found


def _half_squares(rows):
    """Return half the squared norms: 1/2 or, for rows of zeros, 0."""
    return rows.any(dim=1).to(rows.dtype) / 2


def _distance(closeness):
    return float((-2 * closeness).clamp(min=0).sqrt())


def _level(radius):
    """Return the closeness from which on a row is in a ball."""
    return -(radius**2) / 2 - _ROUNDING


def _blocks(start, stop):
    edges = [*range(start, stop, _BLOCK_COLUMNS), stop]
    return [slice(*pair) for pair in pairwise(edges)]


def _chunk(n_rows, device):
    return rows_per_chunk(8 * _BLOCK_COLUMNS, max(1, n_rows), device=device)


def _closest(rows, others):
    """Return the closeness of each row to the nearest of others, -inf where there are none."""
    found = rows.new_full((len(rows),), -torch.inf)

    def measure(part):
        for block in _blocks(0, len(others)):
            near = _closeness(rows[part], others[block]).amax(dim=1)
            found[part] = torch.maximum(found[part], near)

    for_chunks(measure, len(rows), _chunk(len(rows), rows.device))
    return found


def _count(rows, among, level):
    """Return how many of some rows, given by position, are in the ball of each row, (N,)."""
    counts = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)

    def count(part):
        some = rows.index_select(0, among[part])
        found = [(_closeness(some, rows[b]) >= level).sum(dim=0) for b in _blocks(0, len(rows))]
        counts.add_(torch.cat(found))

    for_chunks(count, len(among), _chunk(len(among), rows.device))
    return counts


def _count_uncovered(rows, uncovered, level):
    """Return how many uncovered rows are in the ball of each row, (N,).

    Each pair of them is looked at once, for both sides.
    """
    order = torch.cat([torch.nonzero(uncovered)[:, 0], torch.nonzero(~uncovered)[:, 0]])
    rows = rows.index_select(0, order)
    n_uncovered = int(uncovered.sum())
    ordered = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)

    def count(part):
        others = []
        own = ordered.new_zeros(part.stop - part.start)
        for block in _blocks(part.start, len(rows)):
            inside = _closeness(rows[part], rows[block]) >= level  # (part, block)
            others.append(inside.sum(dim=0))
            later = slice(*(max(0, i - block.start) for i in (part.stop, n_uncovered)))
            own += inside[:, later].sum(dim=1)
        ordered[part.start :] += torch.cat(others)
        ordered[part] += own

    for_chunks(count, n_uncovered, _chunk(n_uncovered, rows.device))
    return torch.empty_like(ordered).scatter_(0, order, ordered)


def _distances_between(rows, sizes):
    """Return the distance of each row to the nearest one of another group, inf without one.

    Rows come group after group; `sizes` are the numbers of rows of the groups.
    """
    best = rows.new_full((len(rows),), -torch.inf)
    start = 0
    for size in sizes:
        end = start + size  # this group against all that come later, for both sides

        def measure(part, start=start, end=end):
            part = slice(start + part.start, start + part.stop)
            for later in _blocks(end, len(rows)):
                near = _closeness(rows[part], rows[later])
                best[part] = torch.maximum(best[part], near.amax(dim=1))
                best[later] = torch.maximum(best[later], near.amax(dim=0))

        for_chunks(measure, size, _chunk(size, rows.device))
        start = end
    return (-2 * best).clamp(min=0).sqrt()
