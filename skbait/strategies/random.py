# SPDX-License-Identifier: BSD-3-Clause
"""Choose at random: what every other strategy has to beat."""

from __future__ import annotations

import numpy as np

from skbait.strategies.base import BaseQuery

__all__ = ["RandomQuery"]


class RandomQuery(BaseQuery):
    """Query at random, each set of rows with the same probability.

    It needs no model and fits none; labels may be left out in `fit`.

    Parameters
    ----------
    estimator : estimator, default=None
        Not used; here so that one strategy can be exchanged for another.
    subset_size : int, float or None, default=None
        Choose from a random sub-pool of this many rows (float: this fraction of the pool).
    random_state : int, RandomState instance or None, default=None
        Seeds the choice. An int makes every query of the same pool choose the same rows.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes among the labels.
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
    MarginQuery : Query by the margin between the two most probable classes.

    Examples
    --------
    >>> import numpy as np
    >>> from skbait import RandomQuery
    >>> X = np.arange(20.0).reshape(10, 2)
    >>> chosen = RandomQuery(random_state=0).fit(X[:2]).query(X[2:], 3)
    >>> chosen.shape, chosen.dtype
    ((3,), dtype('int64'))
    """

    _stochastic = True

    def __init__(self, estimator=None, *, subset_size=None, random_state=None):
        super().__init__(estimator, subset_size=subset_size, random_state=random_state)

    def _select(self, view, n):
        utilities = view.rng.random_sample(view.n_pool)  # (N,), in [0, 1)
        return np.argsort(-utilities, kind="stable")[:n], utilities
