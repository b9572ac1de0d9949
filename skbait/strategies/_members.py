# SPDX-License-Identifier: BSD-3-Clause
"""Strategies made of named strategies: what `RefineQuery` and `BossQuery` share.

The members are a list of (name, strategy) pairs, as in scikit-learn's ``VotingClassifier``: they
are parameters by their names, and theirs are reached as ``name__parameter``.
"""

from __future__ import annotations

from abc import abstractmethod
from numbers import Integral
from typing import NamedTuple

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import clone
from sklearn.utils.parallel import Parallel, delayed

from skbait._sklearn import VisualBlock
from skbait.strategies.base import BaseQuery

# What members have from the ensemble, with the values that say "not set"
_OF_THE_ENSEMBLE = {"estimator": None, "last_layer": None, "subset_size": None, "device": "auto"}


class EnsembleQuery(BaseQuery):
    """Base class of strategies that hold (name, strategy) pairs in a parameter `strategies`.

    A subclass defines `_default_strategies` and `_select`; there it calls `_members` once and
    has them choose, all on the view of the ensemble, by `choose_all`. Members are never fitted.

    **Records of a query.** ``_select`` may set the attributes that `_records` names, with a
    trailing underscore, to tell what happened in the last query. They are no part of the state:
    they decide nothing, `fit` deletes them, and pickles (hence hashes and deep copies) leave them
    out, so that a query still changes nothing that a later one sees.

    Parameters
    ----------
    estimator : estimator or None
        See `BaseQuery`.
    strategies : list of (str, BaseQuery or None) or None
        The members; None in the place of a strategy drops it. None: the default ones.
    n_jobs : int or None
        How many processes the members run in, see `choose_all`.
    **params : dict
        The other parameters of `BaseQuery`.
    """

    _records: tuple[str, ...] = ()
    """Attributes that `_select` sets to tell of the last query."""

    _stochastic = True

    _parameter_constraints = {
        **BaseQuery._parameter_constraints,
        "strategies": [list, None],
        "n_jobs": [Integral, None],
    }

    def __init__(self, estimator, *, strategies, n_jobs, **params):
        super().__init__(estimator, **params)
        self.strategies = strategies
        self.n_jobs = n_jobs

    @staticmethod
    @abstractmethod
    def _default_strategies():
        """Return the pairs that ``strategies=None`` stands for, new ones each time."""

    @property
    def _needs(self):
        """The union of what the members need; a subclass adds what it needs itself."""
        return frozenset().union(*(member._needs for _, member in _present(self._pairs())))

    def get_params(self, deep=True):
        """Get the parameters of this strategy.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return the members by their names, and their parameters, too.

        Returns
        -------
        dict of str to object
            Names and values.
        """
        params = super().get_params(deep=deep)
        if deep:
            for name, member in self._pairs():
                params[name] = member
                for key, value in member.get_params().items() if member is not None else ():
                    params[f"{name}__{key}"] = value
        return params

    def set_params(self, **params):
        """Set parameters of this strategy and of its members.

        Parameters
        ----------
        **params : dict
            Parameters by name; ``margin=None`` drops the member named "margin",
            ``bait__variant="exp"`` sets a parameter of the one named "bait".

        Returns
        -------
        self : EnsembleQuery
            This strategy.
        """
        if "strategies" in params:
            self.strategies = params.pop("strategies")
        pairs = self._pairs()
        names = {name for name, _ in pairs}
        if any(key.partition("__")[0] in names for key in params):
            # a list of its own: that of the caller, or of another clone, stays as it is
            self.strategies = [
                (name, params.pop(name) if name in params else member) for name, member in pairs
            ]
        return super().set_params(**params)

    def _pairs(self):
        """Return the (name, strategy) pairs; none where `strategies` is not a list of such."""
        pairs = self._default_strategies() if self.strategies is None else self.strategies
        return pairs if _problem_with(pairs) is None else []

    def _members(self):
        """Return the (name, strategy) pairs that are not dropped, cloned: they may be set."""
        return [(name, clone(member)) for name, member in _present(self._pairs())]

    def _parts(self):
        """Return all that a drawing of this object is to show, by name."""
        return [("estimator", self._own_model()), *self._members()]

    def _sk_visual_block_(self):
        names, parts = zip(*self._parts(), strict=True)
        return VisualBlock("parallel", parts, names=names)

    def _check_params(self, n_classes=None):
        if self.strategies is not None:
            problem = _problem_with(self.strategies)
            if problem is None:
                problem = self._problem_with_names([name for name, _ in self.strategies])
            if problem is not None:
                raise ValueError(f"strategies={self.strategies!r}: {problem}")
        for name, member in _present(self._pairs()):
            self._check_member(name, member, n_classes)

    def _problem_with_names(self, names):
        taken = sorted(set(names) & set(super().get_params(deep=False)))
        if taken:
            return f"{taken} are parameters of {type(self).__name__}; name the members otherwise."
        return None

    def _check_member(self, name, member, n_classes):
        """Raise for a member with parameters that cannot be, or that would not be heeded."""
        if not hasattr(member, "query"):  # REFINE's filter alone
            raise ValueError(f"{name}={type(member).__name__} chooses no rows: it has no query.")
        given = member.get_params(deep=False)
        for key, unset in _OF_THE_ENSEMBLE.items():
            if key in given and given[key] != unset:
                raise ValueError(
                    f"{name}__{key}={given[key]!r}: the members choose on the view of "
                    f"{type(self).__name__}, and have no {key} of their own. Leave it at "
                    f"{unset!r}, and set {key} of {type(self).__name__}."
                )
        try:
            member._check_common_params()
            member._check_params(n_classes)
        except (TypeError, ValueError) as error:
            raise type(error)(f"in the member {name!r}: {error}") from error

    def __getstate__(self):
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name not in self._records}


class Job(NamedTuple):
    """One choice of one member.

    Parameters
    ----------
    name : str
        Name of the member.
    strategy : BaseQuery
        The member.
    rows : ndarray of int64 of shape (m,) or None
        Positions of the sub-pool in the pool of the view; None: all of it.
    seed : int
        Seeds the choice.
    """

    name: str
    strategy: BaseQuery
    rows: np.ndarray | None
    seed: int


def draw_seeds(rng, size):
    """Return seeds for `size` jobs.

    Parameters
    ----------
    rng : RandomState instance
        What to draw from.
    size : int
        How many.

    Returns
    -------
    list of int
        The seeds.
    """
    return rng.randint(np.iinfo(np.int32).max, size=size).tolist()


def choose_all(view, jobs, n, *, n_jobs=None):
    """Have members choose `n` rows each.

    Parameters
    ----------
    view : View
        What they see.
    jobs : list of Job
        The choices to make; each sub-pool has at least n rows.
    n : int
        How many rows each chooses.
    n_jobs : int or None, default=None
        How many processes of the active joblib backend; None is 1 unless a
        ``joblib.parallel_config`` says otherwise. What is chosen does not depend on it. Each
        process gets the features of the whole pool, once.

    Returns
    -------
    list of ndarray of int64 of shape (n,)
        For each job the positions in the pool of `view`, in the order of choice.
    """
    n_groups = min(effective_n_jobs(n_jobs), len(jobs))
    if n_groups <= 1:
        return _choose_group(view, jobs, n)
    # every n_groups-th: neighbours are of one member, and members differ in what they cost
    groups = [jobs[start::n_groups] for start in range(n_groups)]
    detached = view.detached()
    chosen = [None] * len(jobs)
    found = Parallel(n_jobs=n_jobs)(delayed(_choose_group)(detached, g, n) for g in groups)
    for start, positions in enumerate(found):
        chosen[start::n_groups] = positions
    return chosen


def _choose_group(view, jobs, n):
    return [_choose(view, job, n) for job in jobs]


def _choose(view, job, n):
    sub = (view if job.rows is None else view.take(job.rows)).with_rng(job.seed)
    try:
        positions, _ = job.strategy._choose(sub, n)
    except Exception as error:
        error.add_note(f"That was the member {job.name!r} of an ensemble of strategies.")
        raise
    return positions if job.rows is None else job.rows[positions]


def _present(pairs):
    return [(name, member) for name, member in pairs if member is not None]


def _problem_with(pairs):
    """Return what is wrong with a list of pairs, None if it can be used."""
    if not isinstance(pairs, list):
        return "it must be a list of (name, strategy) pairs."
    names = []
    for pair in pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            return f"{pair!r} is not a pair (name, strategy)."
        name, member = pair
        if not (member is None or isinstance(member, BaseQuery)):
            return f"{name!r} must be an instance of a query strategy or None, not {member!r}."
        if "__" in name or not name:
            return f"the name {name!r} must not be empty or contain '__'."
        names.append(name)
    if len(set(names)) < len(names):
        return f"the names {names} must be different."
    if all(member is None for _, member in pairs):
        return "at least one strategy is needed."
    return None
