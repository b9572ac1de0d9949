# SPDX-License-Identifier: BSD-3-Clause
"""How an active-learning cycle starts: the labels of the first fit."""

from __future__ import annotations

import numbers
import reprlib
import warnings

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from skbait.utils.data import num_rows, take_rows
from skbait.utils.finite import check_finite
from skbait.utils.introspection import takes_nan


def start(X, oracle, *, initial, budget, batch_size, estimator, seeds):
    """Ask for the labels of the first fit: all, or with a budget what `initial` says.

    Parameters
    ----------
    X : data
        All rows.
    oracle : Oracle
        Answers for them.
    initial, budget, batch_size, estimator
        Parameters of `ActiveLearner`.
    seeds : Seeds
        Where the randomness comes from.

    Returns
    -------
    int
        How many labels may be asked for in all.
    """
    available = len(oracle.answerable)
    if not available:
        raise ValueError("y holds no label: a fit needs labelled rows.")
    if budget is None:
        oracle.ask(oracle.answerable)
        classes = np.unique(oracle.labels)
        if len(classes) == 1 and oracle.n_unlabeled and classes.dtype.kind in "if":
            warnings.warn(
                f"y holds {classes[0]} and -1 only, and -1 marks a row without a label: one class "
                "is left. If -1 is a class of yours, give it another name.",
                UserWarning,
                stacklevel=4,  # the line that calls fit, behind its decorator
            )
        return available
    if budget > available:
        warnings.warn(
            f"budget={budget} is more than the {available} rows that have a label: "
            "every one of them will be labelled.",
            UserWarning,
            stacklevel=4,
        )
    limit = min(budget, available)
    rng = np.random.RandomState(seeds.draw("start", 0))
    if hasattr(initial, "query"):
        pool = oracle.answerable
        n = min(batch_size, limit)
        first = pool[_choose_unseen(initial, X, pool, n, estimator, seeds)]
    elif isinstance(initial, numbers.Real):
        first = _drawn_rows(initial, oracle.answerable, budget, rng)
    else:
        first = _given_rows(initial, num_rows(X), oracle.answerable, budget)
    oracle.ask(first)
    # More rows one at a time, in random order, until there is something to tell apart.
    further = rng.permutation(oracle.unasked())
    for position in further[: limit - len(first)]:
        if len(np.unique(oracle.labels)) > 1:
            break
        oracle.ask(np.array([position]))
    seen = np.unique(oracle.labels).tolist()
    if len(seen) < 2:
        raise ValueError(
            f"A classifier needs two classes, but {len(oracle.asked)} labels (n_samples = "
            f"{len(oracle.asked)}) show {len(seen)} class: {seen}. No more may be looked at, with "
            f"budget={budget} and {available} rows that have a label "
            f"({oracle.n_unlabeled} have none: -1, None or NaN)."
        )
    return limit


def _choose_unseen(strategy, X, pool, n, estimator, seeds):
    """Return what a strategy that needs no model chooses where nothing has a label."""
    needs = getattr(strategy, "_needs", frozenset())
    if needs - {"features"}:
        raise ValueError(
            f"initial={strategy!r} needs a model ({', '.join(sorted(needs))}), and before the "
            "first labels there is none: give a number of rows, or a strategy that needs features "
            "at most, such as RandomQuery or TypiClustQuery."
        )
    own = strategy.get_params(deep=False).get("estimator")
    if needs and own is not None and not isinstance(own, FrozenEstimator):
        raise ValueError(
            f"initial={strategy!r} has to fit {type(own).__name__}, and before the first labels "
            "there is nothing to fit it on: pass FrozenEstimator(trained model) as its estimator, "
            "or leave that out, so that the rows themselves are the features."
        )
    if needs and own is None:
        check_finite(
            take_rows(X, pool),
            owner=f"initial={strategy!r}",
            positions=pool,
            advice="it sees the rows themselves, not what a Pipeline makes of them: leave such "
            "rows out, or fill in what is missing beforehand"
            + (", or begin with a number of rows" if takes_nan(estimator) else ""),
        )
    strategy = seeds.settle(clone(strategy), "start", 1)
    if not needs and strategy.get_params(deep=False).get("estimator", strategy) is None:
        strategy.set_params(estimator=estimator)  # not fitted: it says whether X may hold NaN
    return strategy.fit(take_rows(X, pool[:1])).query(take_rows(X, pool), n)


def number_drawn(initial, n_rows) -> int:
    """Return how many rows a number or a fraction of them is."""
    if isinstance(initial, numbers.Integral):
        return int(initial)
    return max(1, round(initial * n_rows))


def _drawn_rows(initial, pool, budget, rng):
    """Return a number or fraction of the rows, drawn at random."""
    n = number_drawn(initial, len(pool))
    if n > budget:
        rows = "" if n == initial else f" of {len(pool)} rows, that is {n},"
        raise ValueError(f"initial={initial}{rows} is more than budget={budget} labels.")
    return rng.permutation(pool)[:n]


def _given_rows(initial, n_rows, pool, budget):
    """Return `initial` as checked positions."""
    positions = np.asarray(initial)
    if positions.ndim != 1 or positions.dtype.kind not in "iu" or not len(positions):
        raise ValueError(
            f"initial={reprlib.repr(initial)} has to be a number of rows, a fraction of them, a "
            "list of positions in X (integers; np.flatnonzero(mask) where you have a mask) or a "
            "query strategy that needs no model."
        )
    positions = positions.astype(np.int64)
    outside = positions[(positions < 0) | (positions >= n_rows)]
    if len(outside):
        raise ValueError(f"initial holds position {outside[0]}, and X has {n_rows} rows.")
    if len(np.unique(positions)) < len(positions):
        raise ValueError(f"initial={initial!r} holds a position more than once.")
    unlabeled = np.setdiff1d(positions, pool)
    if len(unlabeled):
        raise ValueError(f"initial holds position {unlabeled[0]}, whose row has no label in y.")
    if len(positions) > budget:
        raise ValueError(f"initial holds {len(positions)} positions, and budget={budget}.")
    return positions
