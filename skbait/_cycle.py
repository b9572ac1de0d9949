# SPDX-License-Identifier: BSD-3-Clause
"""The steps of a round of active learning: choose rows, fit on what is labelled, or update."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from skbait._history import Round
from skbait._sklearn import check_method_params
from skbait.laplace import LaplaceClassifier
from skbait.strategies import BaseQuery
from skbait.strategies._checks import as_candidates, number_to_choose
from skbait.utils.data import num_rows, on_host, take_rows
from skbait.utils.fitting import fit_clone
from skbait.utils.nets import find_nets


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
    ndarray of int64, with its utilities where ``return_utilities=True`` is among `kwargs`
    """
    strategy = as_seen_by(strategy, FrozenEstimator(model))
    memory.seeds.settle(strategy, "query", len(memory.rounds))
    strategy.fit(memory.X, memory.y, **memory.query_params.params)
    if isinstance(strategy, BaseQuery):
        return strategy.query(X_pool, n, **kwargs)
    return _asked_of(strategy, X_pool, n, **kwargs)


def _asked_of(strategy, X_pool, n, *, candidates=None, **kwargs):
    """Return what a strategy that is no `BaseQuery` chooses, in the same form, and checked."""
    n_pool = num_rows(X_pool)
    among = as_candidates(candidates, n_pool)
    n = number_to_choose(n, n_pool, among)
    cut = None  # positions of the rows that the strategy is shown, where these are not all
    allowed = np.arange(n_pool if among is None else len(among))
    if among is not None and "candidates" in signature(strategy.query).parameters:
        kwargs["candidates"], allowed = candidates, among
    elif among is not None:
        cut = among
        kwargs = check_method_params(X_pool, kwargs, cut)
        X_pool = take_rows(X_pool, cut)
    found = strategy.query(X_pool, n, **kwargs)
    with_utilities = kwargs.get("return_utilities", False)
    picks = np.asarray(found[0] if with_utilities else found)
    whole = picks.dtype.kind in "iu" and picks.shape == (n,)
    if not whole or len(np.unique(picks)) < n or not np.isin(picks, allowed).all():
        raise ValueError(
            f"query_strategy={strategy!r} was asked for {n} different rows of {len(allowed)} and "
            f"gave {picks!r}."
        )
    picks = (picks if cut is None else cut[picks]).astype(np.int64)
    if not with_utilities:
        return picks
    if cut is None:
        return picks, found[1]
    scores = np.asarray(on_host(found[1]))
    if scores.shape != (len(cut),):
        raise ValueError(
            f"query_strategy={strategy!r} gave utilities of shape {scores.shape} for {len(cut)} "
            "rows: one for each is needed where candidates are named."
        )
    utilities = np.full(n_pool, np.nan)
    utilities[cut] = scores
    return picks, utilities
