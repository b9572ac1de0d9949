# SPDX-License-Identifier: BSD-3-Clause
"""What a learner knows between its rounds: labelled rows, what belongs to them, and seeds."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skbait._oracle import join
from skbait.utils.data import kind_of, num_rows, take_rows
from skbait.utils.joining import concatenate_rows


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
        n_weights = _entries(params.get("sample_weight"))
        if n_weights not in (None, n_rows):
            raise ValueError(
                f"sample_weight has {n_weights} entries, but there are {n_rows} rows in X."
            )
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

    @property
    def n_known(self):
        """How many of the labels the model of the last round knows."""
        return self.rounds[-1].n_labels if self.rounds else 0

    def extended(self, X, y, fit_params, query_params):
        """Return the memory with rows added, or say what does not fit together."""
        return replace(
            self,
            X=concatenate_rows([self.X, X]),
            y=join(self.y, y),
            fit_params=self.fit_params.extended(fit_params),
            query_params=self.query_params.extended(query_params),
        )
