# SPDX-License-Identifier: BSD-3-Clause
"""Uncertainty Herding: cover the rows of the pool of which the model is uncertain."""

from __future__ import annotations

from numbers import Real

import torch

from skbait._backend import EXACT
from skbait._sklearn import Interval, StrOptions
from skbait.numerics.kernels import smallest_distance
from skbait.strategies._temperature import cross_validated_temperature, with_two_columns
from skbait.strategies.base import BaseQuery
from skbait.strategies.max_herding import herd, labeled_unit_rows

__all__ = ["UncertaintyHerdingQuery"]


class UncertaintyHerdingQuery(BaseQuery):
    """Query rows that cover the uncertain part of the pool (Uncertainty Herding).

    Greedily chooses the rows S that maximise the uncertainty coverage [1]_, the mean over the rows
    j of the pool of ``u_j · max_{i in labelled or S} k(h_i, h_j)``: u is how uncertain the model
    is, at a temperature at which it is calibrated, and k a Gaussian kernel between the features h,
    scaled to unit norm. With few labels all rows count nearly alike and kernels are wide, so it
    does what `MaxHerdingQuery` does; with many, kernels are narrow, and it does what `MarginQuery`
    does without taking a row twice.

    Parameters
    ----------
    estimator : estimator, default=None
        Classifier with a linear last layer, see `BaitQuery`. `fit` fits a clone; a
        :class:`~sklearn.frozen.FrozenEstimator` is used as it is. None means
        :class:`~sklearn.linear_model.LogisticRegression`, and X is the embedding itself.
    length_scale : "auto" or float, default="auto"
        The σ of the kernel ``exp(-‖h - z‖² / σ²)``. "auto" is the distance between the two closest
        labelled rows that are no duplicates, and 1 where there are no two such rows.
    temperature : "auto" or float, default="auto"
        What the logits are divided by. "auto" is found by cross-validation on the labelled rows,
        among 1.0, 1.1, ..., 20.0.
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
    MaxHerdingQuery : The same without weights, and without a model.
    MarginQuery : Query by uncertainty alone.

    Notes
    -----
    With m_j the present coverage of row j, the largest k(h_i, h_j) over labelled and chosen rows
    i, each step takes the row of the largest gain::

        g_i = mean over the pool rows j of u_j · relu( k(h_i, h_j) - m_j ),     u_j = 1 - (p₁ - p₂)

    whose value before the first choice is the utility; p₁ and p₂ are the two largest of the
    probabilities ``softmax(logits / temperature)`` of row j. Gains that are equal up to rounding
    go to the row that comes first in the pool. Where the logits of a model do not give its
    probabilities by a softmax (one against rest, calibrated) their logarithms stand for them.

    **The temperature** is the one with the least expected calibration error (15 bins) of held-out
    predictions, from 5 folds. On them only a last layer is trained, a logistic regression on the
    features: to train a whole net five times would cost more than everything else. Its
    regularisation is the one for which it is as confident on the labelled rows as the model is,
    so that both are as far from calibration. Classes with a single label are left out, at most
    1,000 rows are used, and with fewer than 10 the temperature is 1. Nothing in it is random.

    **Difference from the public code.** That of dal-toolbox weighs with u_i and compares with m_i,
    those of the candidate, where the definition has u_j and m_j, those of the row to be covered;
    the smallest distance is 0 where two labelled rows are duplicates, and then replaced by 1; and
    the temperature comes from a single random split, for which the whole model is trained anew.

    **Cost.** That of `MaxHerdingQuery`, O(N·K) for the weights, O(L²·D) for the length scale and
    some ten logistic regressions of at most 1,000 rows for the temperature.

    References
    ----------
    .. [1] W. Bae, G. Oliveira, D. Sutherland. Uncertainty Herding: One Active Learning Method for
       All Label Budgets. ICLR 2025, arXiv:2412.20644.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skbait import UncertaintyHerdingQuery
    >>> X, y = load_digits(return_X_y=True)
    >>> query = UncertaintyHerdingQuery(LogisticRegression(C=0.01)).fit(X[:50], y[:50])
    >>> query.query(X[50:], 5).shape
    (5,)
    """

    _needs = frozenset({"features", "probabilities"})

    _parameter_constraints = {
        **BaseQuery._parameter_constraints,
        "length_scale": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "temperature": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        estimator=None,
        *,
        length_scale="auto",
        temperature="auto",
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
        self.temperature = temperature

    def _select(self, view, n):
        length_scale, temperature = self.length_scale, self.temperature
        if length_scale == "auto":
            length_scale = view.once(
                "herding: length scale", lambda: smallest_distance(labeled_unit_rows(view)) or 1.0
            )
        if temperature == "auto":
            temperature = view.once("herding: temperature", lambda: _temperature_of(view))
        temperature = float(temperature)
        has_softmax = view.once("herding: softmax", lambda: softmax_gives(view.labeled))

        def uncertainty_of(pool):
            logits = with_two_columns(pool.logits) if has_softmax else _logarithms(pool)
            return uncertainty(logits / temperature)

        weights = view.pool_rows(("herding: uncertainty", temperature), uncertainty_of)
        return herd(view, n, float(length_scale), weights)


def uncertainty(logits: torch.Tensor) -> torch.Tensor:
    """Return how uncertain a model is.

    Parameters
    ----------
    logits : torch.Tensor of shape (N, K), float64
        The logits, K >= 2.

    Returns
    -------
    torch.Tensor of shape (N,), float64
        1 less the margin between the two largest probabilities, from 0 to 1.
    """
    p = torch.softmax(logits, dim=1)
    others = p.scatter_(1, p.argmax(dim=1, keepdim=True), 0.0)  # (N, K)
    return others.sum(dim=1) + others.amax(dim=1)  # 1 - p₁ cancels where p₁ is nearly 1


def softmax_gives(seen) -> bool:
    """Tell whether the probabilities of some rows are the softmax of their logits.

    Parameters
    ----------
    seen : Representation
        The rows.

    Returns
    -------
    bool
        False too where there are no logits, or no rows.
    """
    if seen.logits is None or not len(seen.logits):
        return False
    found = torch.softmax(with_two_columns(seen.logits), dim=1)
    return torch.allclose(found, seen.probabilities.to(found), atol=1e-3)


def _logarithms(seen):
    """Return the logarithms (N, K) of probabilities, finite where these are 0."""
    tiny = torch.finfo(seen.probabilities.dtype).tiny
    return seen.probabilities.clamp(min=tiny).to(EXACT).log()


def _temperature_of(view):
    labeled = view.labeled
    return cross_validated_temperature(labeled.features, view.y_labeled, labeled.probabilities)
