# SPDX-License-Identifier: BSD-3-Clause
"""What an active learner refuses before anything is trained."""

from __future__ import annotations

from sklearn.base import is_regressor

from skbait._cycle import as_seen_by
from skbait._sklearn import InvalidParameterError
from skbait.laplace import LaplaceClassifier
from skbait.strategies import BaseQuery, BossQuery
from skbait.strategies._checks import size_of_subset
from skbait.utils.finite import check_finite
from skbait.utils.introspection import check_refits, takes_nan
from skbait.utils.nets import predicts_outputs


def check_classifier(estimator):
    """Refuse what cannot predict classes.

    Parameters
    ----------
    estimator : object
        What the learner is to fit clones of.

    Raises
    ------
    InvalidParameterError
        If it is a regressor or a plain net of skorch, or has no `predict` and can get none.
    ValueError
        If it is a search that keeps no best estimator, or around one.
    TypeError
        If it is a `LaplaceClassifier` of something without a linear last layer.
    """
    if _is_regressor(estimator):
        raise InvalidParameterError(
            f"The 'estimator' parameter of ActiveLearner must be a classifier. Got the "
            f"regressor {type(estimator).__name__}."
        )
    kind = type(estimator)
    may_come = hasattr(kind, "predict") or hasattr(kind, "__getattr__")  # some once fitted
    if not (hasattr(estimator, "predict") or may_come):
        raise InvalidParameterError(
            f"The 'estimator' parameter of ActiveLearner must have fit and predict. Got "
            f"{type(estimator).__name__}, which does not predict."
        )
    if predicts_outputs(estimator):
        raise InvalidParameterError(
            "The 'estimator' parameter of ActiveLearner must be a classifier. Got "
            f"{type(estimator).__name__} with skorch's NeuralNet, whose predict gives the outputs "
            "of the module: use NeuralNetClassifier(module, criterion=...) instead."
        )
    check_refits(estimator)
    if isinstance(estimator, LaplaceClassifier):
        estimator._check_estimator(estimator._own_estimator())


def _is_regressor(estimator):
    try:
        return is_regressor(estimator)
    except AttributeError:  # it has no tags of scikit-learn's
        return False


def check_strategy(strategy, estimator):
    """Refuse a strategy that cannot use an estimator.

    Parameters
    ----------
    strategy : query strategy
        What is to choose; one that is none of skbait's is let pass.
    estimator : estimator
        What it sees where its own `estimator` is None.
    """
    if isinstance(strategy, BaseQuery):
        as_seen_by(strategy, estimator)._check_settings()


def check_batches(strategy, oracle, limit, batch_size, X_val):
    """Refuse what will not do for the choices to come.

    Parameters
    ----------
    strategy : query strategy
        What is to choose.
    oracle : Oracle
        Which rows have a label, and which were asked for.
    limit : int
        How many labels may be asked for in all.
    batch_size : int
        Number of rows chosen in a round.
    X_val : data or None
        Held-out rows.
    """
    if isinstance(strategy, BossQuery) and X_val is None and len(oracle.asked) < limit:
        raise ValueError(
            f"query_strategy={type(strategy).__name__} judges batches on held-out rows: with "
            "a budget, give X_val and y_val to fit."
        )
    subset_size = strategy.subset_size if isinstance(strategy, BaseQuery) else None
    for asked in range(len(oracle.asked), limit, batch_size):
        left = len(oracle.answerable) - asked
        size_of_subset(subset_size, left, min(batch_size, limit - asked))


def check_values(estimator, X, positions=None, *, name="X"):
    """Refuse NaN and infinite numbers: a network would learn them without a word.

    Parameters
    ----------
    estimator : estimator
        What learns from the rows; some take NaN.
    X : data
        The rows.
    positions : ndarray of int64 or None, default=None
        Where they are in what the user gave, for the message.
    name : str, default="X"
        What the user knows them by.
    """
    if not takes_nan(estimator):
        check_finite(X, name=name, owner="ActiveLearner", positions=positions)
