# SPDX-License-Identifier: BSD-3-Clause
"""MaxHerding: choose rows that cover the pool in the sense of a Gaussian kernel."""

from __future__ import annotations

from numbers import Real

import torch

from skbait._sklearn import Interval
from skbait.numerics.coverage import coverage_by, greedy_coverage
from skbait.numerics.kernels import unit_rows
from skbait.strategies.base import BaseQuery

__all__ = ["MaxHerdingQuery"]


class MaxHerdingQuery(BaseQuery):
    """Query rows such that every row of the pool has one like it among the labelled (MaxHerding).

    Greedily chooses the rows S that maximise the generalised coverage [1]_, the mean over the rows
    j of the pool of ``max_{i in labelled or S} k(h_i, h_j)``, with a Gaussian kernel k between the
    features h, scaled to unit norm. It needs features only: without an estimator the rows of X are
    the features, and there need be no label at all.

    Parameters
    ----------
    estimator : estimator, default=None
        Classifier whose last-layer features to use, see `BaitQuery`. `fit` fits a clone; a
        :class:`~sklearn.frozen.FrozenEstimator` is used as it is. None fits nothing: the features
        are X itself.
    length_scale : float, default=1.0
        The σ of the kernel ``exp(-‖h - z‖² / σ²)``. Rows of unit norm are at most 2 apart.
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
    UncertaintyHerdingQuery : The same with weights for uncertain rows.

    Notes
    -----
    With m_j the present coverage of row j, the largest k(h_i, h_j) over labelled and chosen rows
    i, each step takes the row of the largest gain::

        g_i = mean over the pool rows j of relu( k(h_i, h_j) - m_j )

    whose value before the first choice is the utility. Gains that are equal up to rounding go to
    the row that comes first in the pool. The objective is submodular, so the coverage that is
    added is at least 1 - 1/e of the largest that n rows could add.

    **Difference from the public code.** That of dal-toolbox compares k(h_i, h_j) with m_i, the
    coverage of the candidate, where the definition has m_j, that of the row to be covered. It
    keeps all N² kernels and goes through them at each step, and may choose a row again.

    **Cost.** With N pool rows, L labelled ones, D features and n choices: N·L·D + N²·D/2
    multiply-adds and N²/2 exponentials in the beginning, then N·D for each row that is evaluated
    again, a few dozen a choice (and several times N in all where there is no label yet); see
    `skbait.numerics.coverage`. Memory is O(N·D): kernels are never stored. For pools of more than
    some 100,000 rows there is `subset_size`.

    References
    ----------
    .. [1] W. Bae, J. Noh, D. Sutherland. Generalized Coverage for More Robust Low-Budget Active
       Learning. ECCV 2024, arXiv:2407.12212.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skbait import MaxHerdingQuery
    >>> X, y = load_digits(return_X_y=True)
    >>> query = MaxHerdingQuery(length_scale=0.5).fit(X[:3])  # not a single label
    >>> chosen, utilities = query.query(X, 10, return_utilities=True)
    >>> bool(utilities[chosen[0]] == utilities.max())
    True
    """

    _needs = frozenset({"features"})

    _parameter_constraints = {
        **BaseQuery._parameter_constraints,
        "length_scale": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        estimator=None,
        *,
        length_scale=1.0,
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
        self.length_scale = length_scale

    def _select(self, view, n):
        return herd(view, n, float(self.length_scale))


def herd(view, n: int, length_scale: float, weights: torch.Tensor | None = None):
    """Choose rows of a view by the coverage that they add to that of the labelled rows.

    Parameters
    ----------
    view : View
        The view; with "features".
    n : int
        How many to choose.
    length_scale : float
        σ of the kernel.
    weights : torch.Tensor of shape (N,) or None, default=None
        What covering each row is worth; None: 1.

    Returns
    -------
    positions : torch.Tensor of shape (n,), int64
        The choice in order.
    gains : torch.Tensor of shape (N,), float64
        The gain of each row before the first choice.
    """
    gamma = length_scale**-2

    def coverage_of(pool):
        return coverage_by(unit_rows(pool.features), labeled_unit_rows(view), gamma)

    return greedy_coverage(
        view.pool_rows("herding: unit rows", lambda pool: unit_rows(pool.features)),
        n,
        gamma=gamma,
        coverage=view.pool_rows(("herding: coverage", gamma), coverage_of),
        weights=weights,
    )


def labeled_unit_rows(view) -> torch.Tensor:
    """Return the features of the labelled rows, scaled to unit norm.

    Parameters
    ----------
    view : View
        The view; with "features".

    Returns
    -------
    torch.Tensor of shape (L, D), float64
        The rows; rows of zeros stay as they are.
    """
    return view.once("herding: labelled rows", lambda: unit_rows(view.labeled.features))
