# SPDX-License-Identifier: BSD-3-Clause
"""The filter of REFINE: rounds of proposals by many strategies, each round over fewer rows."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from numbers import Integral, Real

import numpy as np

from skbait._sklearn import Interval
from skbait.strategies._checks import check_model
from skbait.strategies._members import EnsembleQuery, Job, choose_all
from skbait.strategies.alfamix import AlfaMixQuery
from skbait.strategies.badge import BadgeQuery
from skbait.strategies.bait import BaitQuery
from skbait.strategies.drop_query import DropQuery
from skbait.strategies.margin import MarginQuery
from skbait.strategies.max_herding import MaxHerdingQuery
from skbait.strategies.random import RandomQuery
from skbait.strategies.typiclust import TypiClustQuery
from skbait.strategies.uncertainty_herding import UncertaintyHerdingQuery

N_BATCHES = 100
"""Batches of the whole ensemble in a round, where `n_batches` is None."""


@dataclass(frozen=True)
class Filtered:
    """What the rounds of the filter left of a pool.

    Parameters
    ----------
    positions : ndarray of int64 of shape (|C_R|,)
        Positions of the rows that are left, ascending.
    sizes : ndarray of int64 of shape (R + 1,)
        Number of rows before the first round and after each.
    proposals : dict of str to ndarray of bool of shape (N,)
        For each member the rows that it proposed in the last round.
    """

    positions: np.ndarray
    sizes: np.ndarray
    proposals: dict[str, np.ndarray]


class BaseRefine(EnsembleQuery):
    """Base class of what holds the filter of REFINE; see `RefineQuery` for the parameters."""

    _parameter_constraints = {
        **EnsembleQuery._parameter_constraints,
        "n_rounds": [Interval(Integral, 0, None, closed="left")],
        "subsample": [Interval(Real, 0, 1, closed="right")],
        "n_batches": [Interval(Integral, 1, None, closed="left"), None],
        "max_first_subsample": [Interval(Integral, 1, None, closed="left"), None],
        "max_pool": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        estimator=None,
        *,
        strategies=None,
        n_rounds=5,
        subsample=0.4,
        n_batches=None,
        max_first_subsample=5000,
        max_pool=10000,
        n_jobs=None,
        subset_size=None,
        last_layer=None,
        device="auto",
        random_state=None,
    ):
        super().__init__(
            estimator,
            strategies=strategies,
            n_jobs=n_jobs,
            subset_size=subset_size,
            last_layer=last_layer,
            device=device,
            random_state=random_state,
        )
        self.n_rounds = n_rounds
        self.subsample = subsample
        self.n_batches = n_batches
        self.max_first_subsample = max_first_subsample
        self.max_pool = max_pool

    @staticmethod
    def _default_strategies():
        return [
            ("random", RandomQuery()),
            ("margin", MarginQuery()),
            ("badge", BadgeQuery()),
            ("bait", BaitQuery(variant="binary")),
            ("typiclust", TypiClustQuery()),
            ("alfamix", AlfaMixQuery()),
            ("dropquery", DropQuery()),
            ("max_herding", MaxHerdingQuery()),
            ("uncertainty_herding", UncertaintyHerdingQuery()),
        ]

    def _check_member(self, name, member, n_classes):
        owner, whole = type(self).__name__, f"{name} ({type(member).__name__})"
        if "pool labels" in member._needs:
            raise ValueError(
                f"{whole} needs labels of the pool, which {owner} does not hand on. Filter by "
                "RefinePool, and pass what it leaves as candidates= to the query of "
                f"{type(member).__name__}."
            )
        super()._check_member(name, member, n_classes)
        if self._uses_model() and member._needs and not isinstance(self.estimator, type):
            check_model(self._own_model(), member._needs, owner=f"{whole} of {owner}")

    def _filter(self, view, n) -> Filtered:
        """Play the rounds on the pool of a view; at least n of its rows are left."""
        members = self._members()
        left = np.arange(view.n_pool)  # C_0
        sizes = [len(left)]
        proposals = {name: np.zeros(view.n_pool, dtype=bool) for name, _ in members}
        # not drawn from where there are no rounds: the final strategy then is as if alone
        entropy = int(view.rng.randint(np.iinfo(np.int32).max)) if self.n_rounds else 0
        for r in range(self.n_rounds):
            found = self._play(r, view.take(left), members, n, entropy)
            for name, inside in found.items():  # (|C_{r-1}|,)
                proposals[name][:] = False
                proposals[name][left[inside]] = True
            left = np.flatnonzero(np.any(list(proposals.values()), axis=0))
            cap = len(left) if self.max_pool is None else max(n, self.max_pool)
            if len(left) > cap:
                rng = np.random.RandomState(_seeds(entropy, r)[0])
                left = np.sort(rng.choice(left, cap, replace=False))
            sizes.append(len(left))
        return Filtered(left, np.array(sizes), proposals)

    def _play(self, r, view, members, n, entropy):
        """Return for each member which rows of the pool of a view it proposes in round r.

        Every batch has seeds of its own, made of the round, the member's place in the list and
        the number of the batch: what it proposes depends neither on the other members nor on
        the process that computes it.
        """
        n_batches = self.n_batches or max(1, N_BATCHES // len(members))
        size = max(n, ceil(self.subsample * view.n_pool))
        if r == 0 and self.max_first_subsample is not None:
            size = max(n, min(size, self.max_first_subsample))
        size = min(size, view.n_pool)
        places = {name: place for place, (name, _) in enumerate(self._pairs())}
        # the first batch of each member, then the others member by member
        batches = [(member, 0) for member in members]
        batches += [(member, j) for member in members for j in range(1, n_batches)]
        jobs = []
        for (name, member), j in batches:
            draw, choice = _seeds(entropy, r, places[name], j)
            rows = np.random.RandomState(draw).choice(view.n_pool, size, replace=False)
            # ascending: the ties of a strategy stay in the order of the pool
            jobs.append(Job(name, member, np.sort(rows), choice))
        if size == n:  # each batch is its subsample
            found = [job.rows for job in jobs]
        else:
            # What a member computes once a query is computed here, by its first batch, before
            # the view is sent to other processes.
            here = len(members) if r == 0 else 0
            found = choose_all(view, jobs[:here], n)
            found += choose_all(view, jobs[here:], n, n_jobs=self.n_jobs)
        inside = {name: np.zeros(view.n_pool, dtype=bool) for name, _ in members}
        for job, positions in zip(jobs, found, strict=True):
            inside[job.name][positions] = True
        return inside


def _seeds(entropy, *key):
    """Return two seeds for one thing that is drawn."""
    return np.random.SeedSequence(entropy, spawn_key=key).generate_state(2).tolist()
