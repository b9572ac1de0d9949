# SPDX-License-Identifier: BSD-3-Clause
"""Choose by the margin between the two most probable classes."""

from __future__ import annotations

import torch

from skbait.numerics.ranking import largest
from skbait.strategies.base import BaseQuery

__all__ = ["MarginQuery"]


class MarginQuery(BaseQuery):
    """Query the rows whose two most probable classes are closest to each other.

    A row's utility is ``1 - (p₁ - p₂)``, with p₁ and p₂ the largest two probabilities that the
    model gives it. Rows of equal utility come in the order of the pool.

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
    BaitQuery : Query by Fisher information of the last layer.
    RandomQuery : Query at random.

    References
    ----------
    .. [1] T. Scheffer, C. Decomain, S. Wrobel. Active Hidden Markov Models for Information
       Extraction. IDA 2001.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbait import MarginQuery
    >>> X, y = load_iris(return_X_y=True)
    >>> query = MarginQuery().fit(X[::10], y[::10])
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
        best = torch.topk(p, 2, dim=1).values  # (N, 2)
        utilities = 1 - (best[:, 0] - best[:, 1])  # (N,)
        return largest(utilities, n), utilities
