# SPDX-License-Identifier: BSD-3-Clause
"""One run of a comparison: split a data set, play the cycle, keep the history."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import clone

from skbait.model_selection.records import Record
from skbait.utils.data import num_rows, take_rows
from skbait.utils.nets import as_nets_take
from skbait.utils.targets import as_vector, has_label, tidy


@dataclass(frozen=True)
class DataSet:
    """A named data set, with the rows on which models are scored where it brings its own.

    Parameters
    ----------
    name : str
        Its name.
    X, y : data and ndarray
        Rows and labels.
    X_test, y_test : data and ndarray or None
        Test rows and labels; None: they are split off X and y.
    """

    name: str
    X: Any
    y: np.ndarray
    X_test: Any = None
    y_test: np.ndarray | None = None

    @classmethod
    def of(cls, name, parts):
        """Make a data set of ``(X, y)`` or ``(X, y, X_test, y_test)``, checked."""
        if not isinstance(parts, (tuple, list)) or len(parts) not in (2, 4):
            raise ValueError(
                f"data set {name!r} has to be (X, y) or (X, y, X_test, y_test), got "
                f"{type(parts).__name__}"
                + (f" of {len(parts)}." if isinstance(parts, (tuple, list)) else ".")
            )
        X, y = parts[:2]
        X_test, y_test = parts[2:] or (None, None)
        if (X_test is None) != (y_test is None):
            missing = "X_test" if X_test is None else "y_test"
            raise ValueError(f"data set {name!r} has no {missing}: give both test parts, or none.")
        y = as_vector(y, num_rows(X), owner=f"data set {name!r}")
        if X_test is not None:
            y_test = as_vector(y_test, num_rows(X_test), name="y_test")
            if not has_label(y_test).all():
                raise ValueError(
                    f"data set {name!r}: y_test has rows without a label (-1, None or NaN); test "
                    "rows need one each."
                )
            y_test = tidy(y_test, name="y_test")
        return cls(name, X, y, X_test, y_test)


@dataclass(frozen=True)
class Sizes:
    """How many rows go where: numbers, or fractions of the labelled rows of a data set.

    Parameters
    ----------
    test, val, pool : int, float or None
        Of rows for scoring, for oracles, and to choose from. None: no rows for oracles, and all
        others to choose from.
    """

    test: int | float
    val: int | float | None
    pool: int | float | None

    def split(self, dataset, seed):
        """Return positions of the pool, of rows for oracles and of test rows, by a seed.

        Parameters
        ----------
        dataset : DataSet
            What to split.
        seed : int
            Decides who goes where.

        Returns
        -------
        pool, val, test : ndarray of int64
            Positions in the X of the data set; no test rows where it brings its own.
        """
        known = np.flatnonzero(has_label(dataset.y))
        order = np.random.RandomState(seed).permutation(known)
        n_test = 0 if dataset.X_test is not None else _count(self.test, "test_size", known)
        n_val = _count(self.val, "val_size", known)
        n_pool = len(known) - n_test - n_val
        if self.pool is not None:
            wanted = _count(self.pool, "pool_size", known)
            if wanted > n_pool:
                raise ValueError(
                    f"pool_size={self.pool} asks for {wanted} rows, and {n_pool} of the "
                    f"{len(known)} labelled rows of data set {dataset.name!r} are left for the "
                    "pool: make it or the other sizes smaller."
                )
            n_pool = wanted
        if n_pool < 1:
            raise ValueError(
                f"test_size={self.test} and val_size={self.val} leave none of the {len(known)} "
                f"labelled rows of data set {dataset.name!r} to choose from: make them smaller."
            )
        test, val, rest = np.split(order, [n_test, n_test + n_val])
        return np.sort(rest[:n_pool]), val, test


@dataclass(frozen=True)
class Run:
    """A run to be made.

    Parameters
    ----------
    setting : str
        Fingerprint of all that it depends on.
    dataset : DataSet
        On what.
    name : str
        The name of the strategy.
    seed : int
        Seeds the split and the learner.
    learner : ActiveLearner
        Unfitted, with the strategy in it.
    sizes : Sizes
        How the data set is split.
    scorer : callable
        Gives the scores on test rows.
    """

    setting: str
    dataset: DataSet
    name: str
    seed: int
    learner: Any
    sizes: Sizes
    scorer: Any

    def play(self, *, on_error):
        """Make the run; return its Record.

        Parameters
        ----------
        on_error : {"raise", "record"}
            Whether an error of the run is raised, with what failed in the message, or recorded.

        Returns
        -------
        Record
            What happened.
        """
        key = (self.setting, self.dataset.name, self.name, self.seed)
        try:
            history = self._history()
        except Exception as error:
            notes = [f"({note})" for note in getattr(error, "__notes__", ())]
            text = " ".join([f"{type(error).__name__}: {error}", *notes])
            if on_error == "record":
                return Record(*key, error=text)
            raise RuntimeError(
                f"strategy {self.name!r} failed on data set {self.dataset.name!r} with seed "
                f"{self.seed}: {text}"
            ) from error
        columns = {n: np.asarray(v).tolist() for n, v in history.items() if n != "positions"}
        return Record(*key, columns)

    def _history(self):
        data = self.dataset
        pool, val, test = self.sizes.split(data, self.seed)
        X_test, y_test = data.X_test, data.y_test
        if X_test is None:
            X_test, y_test = take_rows(data.X, test), tidy(data.y[test])
        # Strategies that look at held-out labels get rows of their own: whoever chose by the test
        # rows would be scored too high on them.
        X_val, y_val = X_test, y_test
        if is_oracle(self.learner.query_strategy):
            X_val, y_val = take_rows(data.X, val), tidy(data.y[val])
        learner = clone(self.learner).set_params(
            scoring=ScoreOnTestRows(self.scorer, X_test, y_test), random_state=self.seed
        )
        learner.fit(take_rows(data.X, pool), data.y[pool], X_val=X_val, y_val=y_val)
        return learner.history_


class ScoreOnTestRows:
    """A scorer that scores on the test rows, whatever rows it is given."""

    def __init__(self, scorer, X, y):
        self.scorer, self.X, self.y = scorer, X, y

    def __call__(self, estimator, X, y):
        """Return what the scorer gives for the test rows."""
        return self.scorer(estimator, as_nets_take(estimator, self.X), self.y)


def is_oracle(strategy):
    """Tell whether a strategy looks at labels of the pool and of held-out rows."""
    return "pool labels" in getattr(strategy, "_needs", ())


def _count(size, name, known):
    """Return a number of rows, given as such or as a fraction of the labelled ones."""
    if size is None:
        return 0
    if isinstance(size, Integral) and not isinstance(size, bool) and size >= 1:
        return int(size)
    if isinstance(size, Real) and 0 < size < 1:
        return max(1, round(size * len(known)))
    raise ValueError(f"{name}={size!r} has to be a number of rows or a fraction between 0 and 1.")
