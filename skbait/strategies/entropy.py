# SPDX-License-Identifier: BSD-3-Clause
"""Choose by the entropy of the predicted probabilities."""

from __future__ import annotations

import torch

from skbait.numerics.ranking import largest
from skbait.strategies.base import BaseQuery

__all__ = ["EntropyQuery"]


class EntropyQuery(BaseQuery):
    """Query the rows whose predicted probabilities have the largest entropy.

    A row's utility is ``-Σ_k p_k log p_k``, from 0 to log K. Rows of equal utility come in the
    order of the pool.

    Parameters
    ----------
    estimator : estimator, default=None
        Any classifier with `predict_proba`. `fit` fits a clone; a
        :class:`~sklearn.frozen.FrozenEstimator` is used as it is. None means
        :class:`~sklearn.linear_model.LogisticRegression`, and X is the embedding itself.
    subset_size : int, float or None, default=None
        Choose from a random sub-pool of this many rows (float: this fraction of the pool).
    device : str or torch.device, default="auto"
        Where to compute; "auto" follows the net, else takes CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds the clone of `estimator` and `subset_size`.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.
    classes_ : ndarray of shape (n_classes,)
        The classes of `estimator_`.
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
    LeastConfidenceQuery : Query by the probability of the predicted class.
    MarginQuery : Query by the margin between the two most probable classes.

    Notes
    -----
    With N rows and K classes time is O(N·K). Probabilities of 0 add nothing, without a constant
    inside the logarithm as many codes have it. Utilities that agree to 1e-12 are equal, so that
    the order of the classes, in which the sum is rounded, does not order rows.

    References
    ----------
    .. [1] B. Settles. Active Learning Literature Survey. University of Wisconsin-Madison,
       Computer Sciences Technical Report 1648, 2009.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbait.strategies.entropy import EntropyQuery
    >>> X, y = load_iris(return_X_y=True)
    >>> query = EntropyQuery().fit(X[::10], y[::10])
    >>> chosen, utilities = query.query(X, 2, return_utilities=True)
    >>> bool(utilities[chosen[0]] == utilities.max())
    True
    """

    _needs = frozenset({"probabilities"})

    def __init__(self, estimator=None, *, subset_size=None, device="auto", random_state=None):
        super().__init__(
            estimator, subset_size=subset_size, device=device, random_state=random_state
        )

    def _select(self, view, n):
        p = view.pool_probabilities.to(torch.float64)  # (N, K)
        utilities = torch.special.entr(p).sum(dim=1)  # (N,)
        return largest(utilities, n), utilities
