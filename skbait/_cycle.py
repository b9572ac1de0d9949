# SPDX-License-Identifier: BSD-3-Clause
"""The steps of the active-learning cycle: start, choose rows, fit on what is labelled."""

from __future__ import annotations

import numbers
import reprlib
import time
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from skbait._history import Round
from skbait._oracle import join
from skbait.laplace import LaplaceClassifier
from skbait.utils.data import concatenate_rows, kind_of, num_rows, take_rows
from skbait.utils.fitting import fit_clone
from skbait.utils.nets import find_nets


class Seeds:
    """Independent seeds for the parts of a learner, all from its `random_state`.

    The seed of a part depends on the round only, so that a cycle played by `fit` and the same
    cycle played by hand with `query` and `teach` choose the same rows.

    Parameters
    ----------
    random_state : int, RandomState instance or None
        None takes fresh entropy from the operating system: the global state of NumPy is left
        alone. A RandomState instance is drawn from once.

    Attributes
    ----------
    overrides : bool
        Whether a seed was given. If so it replaces every `random_state` of the parts; if not,
        those that a part brings with it stay.
    """

    _PARTS = ("start", "fit", "query")

    def __init__(self, random_state):
        self.overrides = random_state is not None
        if random_state is None:
            self._entropy = np.random.SeedSequence().entropy
        elif isinstance(random_state, numbers.Integral):
            self._entropy = int(random_state)
        else:
            self._entropy = int(random_state.randint(np.iinfo(np.int32).max))

    def draw(self, part, round_number):
        """Return the seed of a part in a round, below 2**32."""
        key = [self._entropy, self._PARTS.index(part), round_number]
        return int(np.random.SeedSequence(key).generate_state(1)[0])

    def settle(self, estimator, part, round_number):
        """Set the `random_state` parameters of an unfitted estimator, nested ones included."""
        rng = np.random.RandomState(self.draw(part, round_number))
        values = estimator.get_params(deep=True)
        for name in sorted(values):
            if name == "random_state" or name.endswith("__random_state"):
                seed = rng.randint(np.iinfo(np.int32).max)  # drawn even where it is not set
                if self.overrides or values[name] is None:
                    estimator.set_params(**{name: seed})
        return estimator


class Extras:
    """Arguments of a `fit` besides X and y, of which some have an entry for each row.

    Parameters
    ----------
    params : dict
        The arguments.
    n_rows : int
        Number of rows of X. An argument with as many entries is cut with X, as in
        scikit-learn's cross-validation.
    like : Extras or None, default=None
        Those of an earlier call. What was a single thing there is one here, whatever its length.
    """

    def __init__(self, params, n_rows, like=None):
        self.params = params
        self.by_row = {
            name
            for name, value in params.items()
            if _entries(value) == n_rows
            and (like is None or like.params.get(name) is None or name in like.by_row)
        }

    def take(self, positions):
        """Return the arguments for some of the rows."""
        taken = copy(self)
        taken.params = {
            name: take_rows(value, positions) if name in self.by_row else value
            for name, value in self.params.items()
        }
        return taken

    def extended(self, other):
        """Return the arguments for these rows and further ones."""
        if self.by_row != other.by_row:
            name = min(self.by_row ^ other.by_row)
            where = "fit" if name in self.by_row else "teach"
            raise ValueError(
                f"{name} has an entry for each row of {where} only: give it to both fit and "
                "teach, or to neither."
            )
        joined = copy(self)
        joined.params = self.params | other.params
        for name in self.by_row:
            parts = [self.params[name], other.params[name]]
            if kind_of(parts[0]) != kind_of(parts[1]):  # a series, then a list
                parts = [np.asarray(part) for part in parts]
            joined.params[name] = concatenate_rows(parts)
        return joined


def _entries(value):
    """Return the number of entries of an argument, None if it is a single thing."""
    if isinstance(value, (str, bytes, Mapping)):
        return None
    try:
        return num_rows(value)
    except TypeError:
        return None


@dataclass(frozen=True)
class Memory:
    """What a learner knows: labelled rows with what belongs to them, and how they came.

    Parameters
    ----------
    X : data
        The labelled rows.
    y : ndarray
        Their labels.
    fit_params, query_params : Extras
        Arguments for these rows of the `fit` of the estimator, and of the query strategy.
    positions : ndarray of int64
        Positions of the rows in the X of `fit`, for those that come from there.
    seeds : Seeds
        Where all randomness comes from.
    rounds : tuple of Round
        What happened, oldest first.
    n_trained : int
        With how many of the labels the model was trained; it took in the others by updates.
    """

    X: Any
    y: np.ndarray
    fit_params: Extras
    query_params: Extras
    positions: np.ndarray
    seeds: Seeds
    rounds: tuple = ()
    n_trained: int = 0

    def extended(self, X, y, fit_params, query_params):
        """Return the memory with rows added, or say what does not fit together."""
        return replace(
            self,
            X=concatenate_rows([self.X, X]),
            y=join(self.y, y),
            fit_params=self.fit_params.extended(fit_params),
            query_params=self.query_params.extended(query_params),
        )


class _AlreadyCloned:
    """An unfitted clone for `fit_clone`: cloned once more it is the same object."""

    def __init__(self, estimator):
        self.estimator = estimator

    def __sklearn_clone__(self):
        return self.estimator


@contextmanager
def followed(estimator, task, learner):
    """Begin a round, and have the learner's callbacks follow the estimator if it has callbacks.

    Parameters
    ----------
    estimator : estimator
        What is to be cloned and fitted in the round.
    task : CallbackContext
        The round.
    learner : ActiveLearner
        Who has the callbacks.

    Yields
    ------
    object
        What to pass to `fit_clone` for it.
    """
    # Without callbacks of its own an estimator is not even linked to the task: scikit-learn
    # would warn in every round that they end here. Networks have skorch's.
    frozen = isinstance(estimator, FrozenEstimator)
    if frozen or not hasattr(estimator, "set_callbacks") or find_nets(estimator):
        task.call_on_fit_task_begin(estimator=learner)
        yield estimator
        return
    fresh = clone(estimator)  # the link is made with the very object that will be fitted
    with task.propagate_callback_context(fresh):
        task.call_on_fit_task_begin(estimator=learner)
        yield _AlreadyCloned(fresh)


def is_update_due(update, refit_every, memory):
    """Tell whether new labels are taken in by an update of the model, not by a training.

    Parameters
    ----------
    update, refit_every
        Parameters of `ActiveLearner`.
    memory : Memory
        What is labelled, the new rows included.

    Returns
    -------
    bool
        Whether fewer than `refit_every` labels have come since the model was trained.
    """
    if update == "refit" or not memory.n_trained:
        return False
    return refit_every is None or len(memory.y) - memory.n_trained < refit_every


def updated(model, memory, n_known):
    """Return a copy of a model that has taken in the labels it does not know.

    Parameters
    ----------
    model : LaplaceClassifier
        The model of the last round; it stays as it is.
    memory : Memory
        What is labelled.
    n_known : int
        How many of the labels the model knows.

    Returns
    -------
    LaplaceClassifier
        The updated copy; both share what is below the last layer.
    """
    new = np.arange(n_known, len(memory.y))
    return copy(model).partial_fit(take_rows(memory.X, new), memory.y[new])


def fit_round(estimator, memory, *, held_out, chosen, query_time, update=None):
    """Fit a clone on everything labelled, or update the last model, and score it.

    Parameters
    ----------
    estimator : estimator
        What to fit a clone of.
    memory : Memory
        What is labelled.
    held_out : HeldOut
        What to score the model on.
    chosen : ndarray of int64 or None
        The rows that are new in this round.
    query_time : float
        Seconds that choosing them took.
    update : callable or None, default=None
        What gives the model instead of a fit.

    Returns
    -------
    model : estimator
        The fitted estimator; a network may come back inside an encoder of its labels.
    memory : Memory
        With the round entered.
    """
    seed = memory.seeds.draw("fit", len(memory.rounds))
    started = time.perf_counter()
    if update is not None:
        model = update()
    else:
        model = fit_clone(
            estimator,
            memory.X,
            memory.y,
            random_state=seed if memory.seeds.overrides else None,
            **memory.fit_params.params,
        )
        if isinstance(model, LaplaceClassifier):
            model.remember_features()
        memory = replace(memory, n_trained=len(memory.y))
    fit_time = time.perf_counter() - started
    entry = Round(len(memory.y), chosen, query_time, fit_time, held_out.scores(model))
    return model, replace(memory, rounds=(*memory.rounds, entry))


def as_seen_by(strategy, model):
    """Return a clone of a query strategy that uses a model, unless it has one of its own.

    Parameters
    ----------
    strategy : query strategy
        The strategy.
    model : estimator
        What takes the place of its `estimator` where that is None.

    Returns
    -------
    query strategy
        The clone.
    """
    strategy = clone(strategy)
    if strategy.get_params(deep=False).get("estimator", model) is None:
        strategy.set_params(estimator=model)
    return strategy


def choose(strategy, model, memory, X_pool, n, **kwargs):
    """Return what a clone of `strategy` chooses from a pool, given the model of the learner.

    Parameters
    ----------
    strategy : query strategy
        Its own `estimator` is fitted on the labelled rows where it has one; where that is None,
        the fitted `model` takes its place.
    model : fitted estimator
        Of the learner.
    memory : Memory
        What is labelled.
    X_pool : data
        Candidates.
    n : int
        How many to choose.
    **kwargs : dict
        Further arguments of the strategy's `query`.

    Returns
    -------
    ndarray of int64, or what else the strategy's `query` returns
    """
    strategy = as_seen_by(strategy, FrozenEstimator(model))
    memory.seeds.settle(strategy, "query", len(memory.rounds))
    strategy.fit(memory.X, memory.y, **memory.query_params.params)
    return strategy.query(X_pool, n, **kwargs)


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
    strategy = seeds.settle(clone(strategy), "start", 1)
    if not needs and strategy.get_params(deep=False).get("estimator", strategy) is None:
        strategy.set_params(estimator=estimator)  # not fitted: it says whether X may hold NaN
    return strategy.fit(take_rows(X, pool[:1])).query(take_rows(X, pool), n)


def _drawn_rows(initial, pool, budget, rng):
    """Return a number or fraction of the rows, drawn at random."""
    whole = isinstance(initial, numbers.Integral)
    n = int(initial) if whole else max(1, round(initial * len(pool)))
    if n > budget:
        rows = "" if whole else f" of {len(pool)} rows, that is {n},"
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
