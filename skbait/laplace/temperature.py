# SPDX-License-Identifier: BSD-3-Clause
"""Temperature scaling by cross-validation, from the first few labels on."""

from __future__ import annotations

import math
from dataclasses import replace
from numbers import Integral

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from skbait._backend import EXACT
from skbait._sklearn import HasMethods, Interval, check_method_params, fit_context
from skbait.laplace.wrapper import WrapsClassifier
from skbait.representation import Head, Representation
from skbait.representation import probabilities as probabilities_of
from skbait.representation.base import classes_of, represent_adapter
from skbait.utils.data import num_rows, on_host, take_rows
from skbait.utils.fitting import fit_clone
from skbait.utils.nets import find_nets
from skbait.utils.state import asking, read_only_arrays_allowed
from skbait.utils.validation import same_on_failure, seed_from

__all__ = ["TemperatureClassifier"]

_LARGEST = 100.0  # temperatures are sought between this and one over it
_GRID = 41  # so many are looked at first, a quarter apart from each other


class TemperatureClassifier(WrapsClassifier):
    """A classifier whose probabilities are made as certain as they turn out to be right.

    The logits are divided by one number, the temperature, that is found on labelled rows held out
    by cross-validation. The predicted classes stay those of the estimator, which may have a
    decision threshold of its own.

    Parameters
    ----------
    estimator : classifier, default=None
        Any classifier with probabilities, a skorch net included. `fit` trains a clone on all
        rows, and one a fold for the temperature. A :class:`~sklearn.frozen.FrozenEstimator` is
        used as it is, and the rows given to `fit` have to be rows that it was not trained on.
        None stands for `LogisticRegression()`.
    cv : int, default=5
        Number of folds, at least 2. The rows of each class are spread over them.
    random_state : int, RandomState instance or None, default=None
        Seeds the folds and the clones.

    Attributes
    ----------
    estimator_ : estimator
        The clone fitted on all rows.
    temperature_ : float
        What the logits are divided by: above 1 where the estimator is too certain.
    classes_ : ndarray of shape (n_classes,)
        The classes of `estimator_`.
    n_features_in_ : int
        Number of columns of X, where X is a table.
    feature_names_in_ : ndarray of str
        Names of the columns, where X is a data frame whose columns are all strings.

    See Also
    --------
    sklearn.calibration.CalibratedClassifierCV : With ``method="temperature"`` the same for larger
        data; it refuses labels of which some class has fewer than the number of folds.

    Notes
    -----
    The temperature T minimises ``½ (log T)² - Σ_i log p_i(y_i; T)`` over the held-out rows i, with
    p(T) the softmax of log(p) / T, which is that of the logits over T. The first term weighs
    about as much as one row. It keeps T near 1 where few rows are held out; without it a handful
    of rows that are all predicted rightly would ask for T = 0. A row whose class is not among the
    other folds says nothing about T and is left out. With fewer than two or three labels a class
    little is left, and T no better than 1.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skbait.laplace import TemperatureClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> model = TemperatureClassifier(LogisticRegression(C=1e-4, max_iter=1000), random_state=0)
    >>> model.fit(X[:80], y[:80]).temperature_ < 1  # so much regularised it is too uncertain
    True
    """

    _parameter_constraints = {
        "estimator": [HasMethods(["fit"]), None],
        "cv": [Interval(Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(self, estimator=None, *, cv=5, random_state=None):
        self.estimator = estimator
        self.cv = cv
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, **fit_params):
        """Fit a clone of the estimator, and find the temperature by cross-validation.

        Parameters
        ----------
        X : {array-like, tensor, data frame, sparse matrix, dict, Dataset} of n_rows rows
            The rows: whatever the estimator takes.
        y : array-like of shape (n_rows,)
            Their labels.
        **fit_params : dict
            For the estimator's `fit`; what has an entry for each row is cut to those of a fold.
            Weights are for the training, not for the temperature.

        Returns
        -------
        self : TemperatureClassifier
            The fitted classifier. Where an error is raised it is as it was.
        """
        with same_on_failure(self):
            estimator = self._own_estimator()
            X = self._check_rows(X, reset=True)
            y = self._check_labels(y, num_rows(X))
            rng = np.random.RandomState(seed_from(self.random_state))
            fit_params = self._for_estimator(fit_params)
            # the folds are drawn in any case; seeds of the estimator's own stay without a seed
            seeds = None if self.random_state is None else rng
            self.estimator_ = fit_clone(estimator, X, y, random_state=seeds, **fit_params)
            if isinstance(estimator, FrozenEstimator):
                held_out = [_held_out(self.estimator_, X, y)]
            else:
                held_out = self._cross_validate(estimator, X, y, rng, seeds, fit_params)
            self.temperature_ = _best_temperature(held_out)
            self.classes_ = classes_of(self.estimator_, X)
        return self

    def predict(self, X):
        """Predict the classes of rows, as the estimator does.

        Parameters
        ----------
        X : {array-like, tensor, data frame, sparse matrix, dict, Dataset} of n_rows rows
            The rows.

        Returns
        -------
        ndarray of shape (n_rows,)
            Predicted classes.
        """
        check_is_fitted(self)
        X = self._check_rows(X)
        model = self.estimator_
        X = X if find_nets(model) else on_host(X)
        with read_only_arrays_allowed(), asking(model, X) as X:
            return model.predict(X)

    def predict_proba(self, X):
        """Predict the probability of every class.

        Parameters
        ----------
        X : {array-like, tensor, data frame, sparse matrix, dict, Dataset} of n_rows rows
            The rows.

        Returns
        -------
        ndarray of float64 of shape (n_rows, n_classes)
            Probabilities, in the order of `classes_`.
        """
        check_is_fitted(self)
        found, _ = probabilities_of(self.estimator_, self._check_rows(X))
        return _scaled(found, self.temperature_).cpu().numpy()

    def _cross_validate(self, estimator, X, y, rng, seeds, fit_params):
        """Return what `_held_out` does for the folds that a model can be trained without."""
        # the rows class after class, dealt out like cards
        order = rng.permutation(len(y))
        order = order[np.unique(y[order], return_inverse=True)[1].argsort(kind="stable")]
        fold = np.empty(len(y), dtype=np.int64)
        fold[order] = np.arange(len(y)) % self.cv
        found = []
        for k in range(min(self.cv, len(y))):
            train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
            if len(np.unique(y[train])) < 2:
                continue
            model = fit_clone(
                estimator,
                take_rows(X, train),
                y[train],
                random_state=seeds,
                classes=np.unique(y),
                **check_method_params(y, fit_params, train),
            )
            found.append(_held_out(model, take_rows(X, test), y[test]))
        return found


def _held_out(model, X, y):
    """Return logarithms of probabilities (n, K) and column numbers of the labels known to it."""
    p, classes = probabilities_of(model, X)
    known = np.flatnonzero(np.isin(y, classes))
    column = {label: k for k, label in enumerate(classes.tolist())}
    codes = torch.tensor([column[label] for label in y[known].tolist()], dtype=torch.int64)
    return _log(p.cpu()[torch.as_tensor(known)]), codes


def _best_temperature(held_out) -> float:
    """Return the temperature under which held-out labels are most probable."""

    def cost(log_temperature):
        value = 0.5 * log_temperature**2
        for log_p, codes in held_out:
            scaled = log_p / math.exp(log_temperature)
            value += float(torch.nn.functional.cross_entropy(scaled, codes, reduction="sum"))
        return value

    # where logits are tiny there may be two valleys: the deepest of a coarse look is gone down
    limit = math.log(_LARGEST)
    grid = np.linspace(-limit, limit, _GRID)
    lowest = int(np.argmin([cost(value) for value in grid]))
    bounds = grid[max(lowest - 1, 0)], grid[min(lowest + 1, _GRID - 1)]
    found = minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return math.exp(found.x)


def _log(p):
    """Return the logarithm of probabilities in float64, finite also where they are zero."""
    return p.to(EXACT).clamp_min(torch.finfo(EXACT).tiny).log()


def _scaled(p, temperature):
    return torch.softmax(_log(p) / temperature, dim=1)


@represent_adapter.register(TemperatureClassifier)
def _(estimator, X, *, last_layer, device) -> Representation:
    """Divide the head of the estimator inside by the temperature."""
    check_is_fitted(estimator)
    found = represent_adapter(estimator.estimator_, X, last_layer=last_layer, device=device)
    temperature, head = estimator.temperature_, found.head
    if head is not None:  # the sum of sigmoids is no softmax: that head has no such divisor
        weight, bias = head.weight / temperature, head.bias / temperature
        head = None if head.link == "ovr" else Head(weight, bias, head.link)
    return replace(
        found,
        probabilities=_scaled(found.probabilities, temperature),
        logits=None if found.logits is None else found.logits / temperature,
        head=head,
    )
