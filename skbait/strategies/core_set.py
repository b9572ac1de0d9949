# SPDX-License-Identifier: BSD-3-Clause
"""Choose centres of the pool: k-centre greedy."""

from __future__ import annotations

import torch

from skbait.numerics.distances import nearest_distances
from skbait.numerics.k_center import distances_to_mean, farthest_first
from skbait.numerics.ranking import largest
from skbait.strategies.base import BaseQuery

__all__ = ["CoreSetQuery"]


class CoreSetQuery(BaseQuery):
    """Query the rows farthest from everything labelled (core-set, k-centre greedy).

    Repeatedly takes the row whose feature vector h has the largest Euclidean distance to the
    nearest labelled or chosen row. It needs features only: without an estimator the rows of X are
    the features, and there need be no label at all. The first choice is then the row nearest to
    the mean of the pool. Rows that are equally far come in the order of the pool.

    Parameters
    ----------
    estimator : estimator, default=None
        Classifier whose last-layer features to use, see `BaitQuery`. `fit` fits a clone; a
        :class:`~sklearn.frozen.FrozenEstimator` is used as it is. None fits nothing: the features
        are X itself.
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
    BadgeQuery : Query by D² sampling of gradients, which tells uncertain rows from certain ones.

    Notes
    -----
    With m(x) the smallest distance of h(x) to the features of labelled and chosen rows, each step
    takes the largest m and then lowers m to ``min(m(x), ‖h(x) - h(s)‖)``, s the row taken. The
    largest m at the end is at most twice what the best choice of n rows reaches. Utilities are m
    before any choice; without a label, minus the distance to the mean.

    With N pool rows, L labelled ones and D features, time is O((L + n)·N·D), a step one pass over
    the pool; memory O(N·D).

    Public codes hold all N × L distances, and compute distances by a matrix product, which gives
    duplicates of labelled rows a distance above 0; once no distance is left they choose one row
    again and again. Here distances are sums of squared differences in float64, the same whatever
    the chunks and threads, and rows are always distinct.

    The robust variant of [1]_, a mixed-integer program that leaves out outliers, is not here.

    References
    ----------
    .. [1] O. Sener, S. Savarese. Active Learning for Convolutional Neural Networks: A Core-Set
       Approach. ICLR 2018, arXiv:1708.00489, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skbait.strategies.core_set import CoreSetQuery
    >>> X = np.array([[0.0], [1.0], [2.0], [9.0], [10.0]])
    >>> CoreSetQuery().fit(X[:1], ["cat"]).query(X, 3).tolist()
    [4, 2, 1]

    Without a label it begins in the middle:

    >>> CoreSetQuery().fit(X).query(X, 2).tolist()
    [2, 4]
    """

    _needs = frozenset({"features"})

    def __init__(
        self,
        estimator=None,
        *,
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

    def _select(self, view, n):
        features = view.pool.features
        if view.n_labeled > 0:
            nearest = view.pool_rows(  # (N,)
                ("core_set", "nearest labelled"),
                lambda pool: nearest_distances(pool.features, view.labeled.features),
            )
            return farthest_first(features, n, nearest), nearest
        central = -distances_to_mean(features)  # (N,)
        first = largest(central, 1)
        nearest = nearest_distances(features, features[first])
        nearest[first] = -torch.inf
        others = farthest_first(features, n - 1, nearest)
        return torch.cat([first.cpu(), others]), central
