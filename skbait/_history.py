# SPDX-License-Identifier: BSD-3-Clause
"""What a learner remembers of its rounds, and the scores on held-out data in it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import check_scoring
from sklearn.utils.metaestimators import available_if

from skbait.utils.data import num_rows
from skbait.utils.state import asking
from skbait.utils.targets import as_vector, has_label, label_kind, tidy


@dataclass(frozen=True)
class Round:
    """One round of a learner: rows chosen and labelled, then a fit on everything labelled."""

    n_labels: int
    positions: np.ndarray | None  # None where the learner did not choose
    query_time: float
    fit_time: float
    scores: dict[str, float] = field(default_factory=dict)


def as_table(rounds):
    """Return rounds as a dict of columns, ready for ``pandas.DataFrame``.

    Parameters
    ----------
    rounds : sequence of Round
        What happened, oldest first.

    Returns
    -------
    dict of str to ndarray or list
        `n_labels`, `positions` (a list of int64 arrays or None), `query_time`, `fit_time`, and a
        column for each score, NaN in the rounds without held-out data.
    """
    table = {
        "n_labels": np.array([each.n_labels for each in rounds], dtype=np.int64),
        "positions": [each.positions for each in rounds],
        "query_time": np.array([each.query_time for each in rounds], dtype=np.float64),
        "fit_time": np.array([each.fit_time for each in rounds], dtype=np.float64),
    }
    names = dict.fromkeys(name for each in rounds for name in each.scores)
    for name in names:
        table[name] = np.array([each.scores.get(name, np.nan) for each in rounds])
    return table


class HeldOut:
    """Held-out rows on which every fitted model of a learner is scored.

    Parameters
    ----------
    X : data or None
        Held-out rows; None: nothing is scored.
    y : array-like or None
        Their labels, every one of them known.
    estimator : estimator
        The kind of estimator that will be scored.
    scoring : None, str, callable, list, tuple, set or dict
        As in `sklearn.metrics.check_scoring`; None: the estimator's own `score`.
    score_params : dict
        Further arguments of the scorer.
    """

    def __init__(self, X, y, *, estimator, scoring, score_params):
        if (X is None) != (y is None):
            given, missing = ("X_val", "y_val") if y is None else ("y_val", "X_val")
            raise ValueError(f"{given} was given without {missing}: scoring needs both.")
        self._scorer = None
        if scoring is not None:  # without held-out rows it may still be used by `score`
            check_scoring(estimator, scoring=scoring)
        if X is None:
            return
        labels = as_vector(y, num_rows(X), name="y_val")
        unlabeled = len(labels) - int(has_label(labels).sum())
        if unlabeled:
            raise ValueError(
                f"y_val has {unlabeled} rows without a label (-1, None or NaN): "
                "held-out rows need one each."
            )
        self._X, self._y = X, tidy(labels, name="y_val")
        self._scorer = TolerantScorer(estimator, scoring)
        self._score_params = score_params

    def check_labels(self, y):
        """Raise if the held-out labels are not of the kind of those of the training."""
        if self._scorer is None:
            return
        given, trained = label_kind(self._y), label_kind(y)
        binary = all(np.isin(labels, [0, 1]).all() for labels in (self._y, y))
        if {given, trained} == {"boolean", "numeric"} and binary:
            return  # 0 and 1 for False and True
        if given != trained:
            raise ValueError(
                f"y_val has {given} labels {np.unique(self._y)[:3].tolist()}..., but y has "
                f"{trained} labels {np.unique(y)[:3].tolist()}...: give both in the same form."
            )

    def scores(self, estimator):
        """Return the scores of a fitted estimator by the name of their column."""
        if self._scorer is None:
            return {}
        with asking(estimator, self._X) as X:
            result = self._scorer(estimator, X, self._y, **self._score_params)
        if isinstance(result, dict):
            return {f"score_{name}": float(value) for name, value in result.items()}
        return {"score": float(result)}


class TolerantScorer:
    """Scores, NaN where a metric is undefined for a model that does not know all classes yet.

    Parameters
    ----------
    estimator : estimator
        The kind of estimator that will be scored.
    scoring : None, str, callable, list, tuple, set or dict
        As in `sklearn.metrics.check_scoring`.
    """

    def __init__(self, estimator, scoring):
        self._strict = check_scoring(estimator, scoring=scoring)
        self._warned = False
        self._each = None  # tells failures as text, and the scores that can be had
        if isinstance(scoring, (list, tuple, set, dict)):
            self._each = check_scoring(estimator, scoring=scoring, raise_exc=False)

    def __call__(self, estimator, X, y, **params):
        """Return the score, or a dict of several, as the scorer of scikit-learn does.

        Parameters
        ----------
        estimator : estimator
            A fitted classifier.
        X, y : data and ndarray
            The rows and their labels.
        **params : dict
            Of the scorer.

        Returns
        -------
        float or dict of str to float
            The scores.
        """
        try:
            return self._strict(estimator, X, y, **params)
        except ValueError as error:
            if not _lacks_classes(estimator, y):
                raise
            cause = error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # raises where it was not for want of classes
            self._strict(_KnowsAll(estimator, y), X, y, **params)
        found = np.nan
        if self._each is not None:
            found = self._each(estimator, X, y, **params)
            failed = [value for value in found.values() if isinstance(value, str)]
            if not all(_is_value_error(text) for text in failed):
                raise ValueError(f"scoring failed: {' '.join(failed)}") from cause
            found = {n: np.nan if isinstance(v, str) else v for n, v in found.items()}
        if not self._warned:  # once is enough for the rounds of a fit
            warnings.warn(
                f"scoring failed ({type(cause).__name__}: {cause}) for a model that does not know "
                "all classes of the held-out labels yet; NaN stands for such scores.",
                stacklevel=6,  # the line that calls fit, behind its decorator
            )
        self._warned = True
        return found


class _KnowsAll(ClassifierMixin, BaseEstimator):
    """A fitted model as if it knew further classes, none of which it ever predicts."""

    def __init__(self, model, labels):
        self.model = model
        self.classes_ = np.union1d(model.classes_, labels)

    def __getattr__(self, name):
        return getattr(self.__dict__["model"], name)

    @available_if(lambda self: hasattr(self.model, "predict_proba"))
    def predict_proba(self, X):
        return self._widened(self.model.predict_proba(X), 0.0)

    @available_if(lambda self: hasattr(self.model, "predict_log_proba"))
    def predict_log_proba(self, X):
        return self._widened(self.model.predict_log_proba(X), -np.inf)

    @available_if(lambda self: hasattr(self.model, "decision_function"))
    def decision_function(self, X):
        found = np.asarray(self.model.decision_function(X))
        found = np.column_stack([-found, found]) if found.ndim == 1 else found
        return self._widened(found, found.min(initial=0.0) - 1.0)

    def _widened(self, columns, fill):
        columns = np.asarray(columns)
        wide = np.full((len(columns), len(self.classes_)), fill, dtype=columns.dtype)
        wide[:, np.searchsorted(self.classes_, self.model.classes_)] = columns
        return wide


def _is_value_error(traceback):
    """Tell whether the text of a failure is that of a ValueError."""
    return "\nValueError: " in f"\n{traceback}"


def _lacks_classes(estimator, y):
    """Tell whether a model knows some of the classes in y, but not all."""
    needed = set(np.asarray(y).tolist())
    known = set(np.asarray(getattr(estimator, "classes_", y)).tolist())
    return bool(needed & known) and not needed <= known
