# SPDX-License-Identifier: BSD-3-Clause
"""FALCUN: choose uncertain rows whose probabilities differ."""

from __future__ import annotations

from numbers import Real

import torch

from skbait._sklearn import Interval
from skbait.numerics.distances import nearest_distances
from skbait.numerics.seeding import draw, uniform
from skbait.strategies.base import BaseQuery

__all__ = ["FalcunQuery"]


class FalcunQuery(BaseQuery):
    """Query by sampling in the space of probabilities (FALCUN).

    Each row begins with a relevance of one minus its margin. Rows are drawn with a probability
    proportional to a power of the relevance, and each draw lowers that of all rows to, at most,
    how much their probabilities differ from those of the drawn one. So uncertainty decides at
    first, and diversity more and more.

    Parameters
    ----------
    estimator : estimator, default=None
        Any classifier with `predict_proba`. `fit` fits a clone; a
        :class:`~sklearn.frozen.FrozenEstimator` is used as it is. None means
        :class:`~sklearn.linear_model.LogisticRegression`, and X is the embedding itself.
    gamma : float, default=10.0
        The power. Large values all but take the most relevant row, small ones draw nearly evenly.
    subset_size : int, float or None, default=None
        Choose from a random sub-pool of this many rows (float: this fraction of the pool).
    device : str or torch.device, default="auto"
        Where to compute; "auto" follows the net, else takes CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds the clone of `estimator`, `subset_size` and the sampling.

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
    BadgeQuery : Sampling in the space of gradients, which takes features into account.
    MarginQuery : Query by the margin alone.

    Notes
    -----
    With p the probabilities of a row, p₁ and p₂ the largest two, and s the row drawn last::

        r(x) = 1 - (p₁ - p₂)                  at the beginning; the utilities
        P(x) ∝ r(x)^γ                         among rows not drawn yet
        r(x) ← min(r(x), Σ_k |p_k(x) - p_k(s)|)

    Where all r are 0, rows that are not drawn are equally probable. With N rows and K classes time
    is O(n·N·K), memory O(N·K). The power is taken of r over its largest value: powers of r itself,
    as in the public code, all underflow when r is small. The public code also goes through the
    rows in a Python loop at every step, and draws from NumPy's global random state.

    References
    ----------
    .. [1] S. Gilhuber, A. Beer, Y. Ma, T. Seidl. FALCUN: A Simple and Efficient Deep Active
       Learning Strategy. ECML PKDD 2024.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbait.strategies.falcun import FalcunQuery
    >>> X, y = load_iris(return_X_y=True)
    >>> query = FalcunQuery(random_state=0).fit(X[::10], y[::10])
    >>> query.query(X, 5).shape
    (5,)
    """

    _needs = frozenset({"probabilities"})
    _stochastic = True

    _parameter_constraints = {
        **BaseQuery._parameter_constraints,
        "gamma": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        estimator=None,
        *,
        gamma=10.0,
        subset_size=None,
        device="auto",
        random_state=None,
    ):
        super().__init__(
            estimator, subset_size=subset_size, device=device, random_state=random_state
        )
        self.gamma = gamma

    def _select(self, view, n):
        p = view.pool_probabilities.to(torch.float64)  # (N, K)
        best = torch.topk(p, 2, dim=1).values  # (N, 2)
        utilities = 1 - (best[:, 0] - best[:, 1])  # (N,)
        relevance = utilities.clamp_min(0.0)  # probabilities may sum to a little more than 1
        is_open = torch.ones(len(p), dtype=torch.bool, device=p.device)
        chosen: list[int] = []
        for _ in range(n):
            if chosen:
                last = chosen[-1]
                torch.minimum(relevance, nearest_distances(p, p[[last]], p=1), out=relevance)
                relevance[last], is_open[last] = 0.0, False
            chosen.append(draw(sampling_probabilities(relevance, is_open, self.gamma), view.rng))
        return torch.tensor(chosen), utilities


def sampling_probabilities(relevance, is_open, gamma):
    """Return the probability of every row to be drawn next.

    Parameters
    ----------
    relevance : torch.Tensor of shape (N,), float64
        r, 0 for rows drawn already.
    is_open : torch.Tensor of shape (N,), bool
        Which rows are not drawn yet.
    gamma : float
        The power.

    Returns
    -------
    torch.Tensor of shape (N,), float64
        The probabilities.
    """
    top = relevance.max()
    if not top > 0:
        return uniform(is_open)
    weights = (relevance / top) ** gamma  # at least one of them is 1
    return weights / weights.sum()
