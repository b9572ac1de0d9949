# SPDX-License-Identifier: BSD-3-Clause
"""Choose by the probability of the predicted class."""

from __future__ import annotations

import torch

from skbait.numerics.ranking import largest
from skbait.strategies.base import BaseQuery

__all__ = ["LeastConfidenceQuery"]


class LeastConfidenceQuery(BaseQuery):
    """Query the rows whose predicted class is least probable.

    A row's utility is ``1 - p₁``, with p₁ the largest probability that the model gives it. Rows of
    equal utility come in the order of the pool.

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
    EntropyQuery : Query by the entropy of all probabilities.
    MarginQuery : Query by the margin between the two most probable classes.

    Notes
    -----
    With N rows and K classes time is O(N·K). Utilities that agree to 1e-12 are equal, so that
    the rounding of the model's probabilities does not order them.

    References
    ----------
    .. [1] D. Lewis, W. Gale. A Sequential Algorithm for Training Text Classifiers. SIGIR 1994.
    .. [2] A. Culotta, A. McCallum. Reducing Labeling Effort for Structured Prediction Tasks.
       AAAI 2005.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbait.strategies.least_confidence import LeastConfidenceQuery
    >>> X, y = load_iris(return_X_y=True)
    >>> query = LeastConfidenceQuery().fit(X[::10], y[::10])
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
        utilities = 1 - view.pool_probabilities.to(torch.float64).amax(dim=1)  # (N,)
        return largest(utilities, n), utilities
