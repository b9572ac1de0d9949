# SPDX-License-Identifier: BSD-3-Clause
"""How a learner with ``update="laplace"`` takes new labels in without a training."""

from __future__ import annotations

from copy import copy
from functools import partial

import numpy as np

from skbait._delegation import scored_as
from skbait.laplace import LaplaceClassifier
from skbait.representation.base import probabilities
from skbait.strategies import BaseQuery
from skbait.utils.data import take_rows
from skbait.utils.fitting import check_labels

# What follows a training most closely in benchmarks/README.md, whatever the head was trained with.
UPDATED = {"update": "newton", "likelihood": "categorical", "prior_precision": "auto"}


def with_updates(estimator, strategy):
    """Return what can be updated in place of an estimator.

    Parameters
    ----------
    estimator : estimator
        What the user gave.
    strategy : query strategy
        Its `last_layer` is that of the posterior, where it sees the model of the learner.

    Returns
    -------
    LaplaceClassifier
        The estimator itself where it is one.
    """
    if isinstance(estimator, LaplaceClassifier):
        return estimator
    sees_it = isinstance(strategy, BaseQuery) and strategy.estimator is None
    layer = strategy.last_layer if sees_it else None
    return scored_as(estimator, LaplaceClassifier(estimator, last_layer=layer, **UPDATED))


def update_of(estimator, model, memory, *, refit_every):
    """Return what updates a model by the labels it does not know.

    Parameters
    ----------
    estimator : LaplaceClassifier
        Of which the model is a fitted clone.
    model : estimator or None
        The model of the last round.
    memory : Memory
        What is labelled, the new rows included.
    refit_every : int or None
        Parameter of `ActiveLearner`.

    Returns
    -------
    callable or None
        It returns the updated copy of the model, which stays as it is. None: train afresh.
    """
    if memory.fit_params.by_row:
        raise ValueError(
            f"update='laplace' cannot weigh rows, but {min(memory.fit_params.by_row)} was "
            "given with an entry for each: leave it out, or use update='refit'."
        )
    # a model that was trained under update="refit" has nothing to update
    if not isinstance(model, LaplaceClassifier) or not memory.n_trained:
        return None
    if refit_every is not None and len(memory.y) - memory.n_trained >= refit_every:
        return None
    if not np.isin(memory.y[memory.n_known :], model.classes_).all():
        # a later training would refuse such a label, and then each one after it
        found, _ = probabilities(model.estimator_, take_rows(memory.X, np.arange(2)))
        check_labels(estimator.estimator, memory.y, found.shape[1])
    return partial(_updated, model, memory)


def _updated(model, memory):
    """Return a copy of a model that has taken in new labels; both share what is below the head."""
    new = np.arange(memory.n_known, len(memory.y))
    return copy(model).partial_fit(take_rows(memory.X, new), memory.y[new])
