# SPDX-License-Identifier: BSD-3-Clause
"""REFINE: many strategies clean the pool in rounds, then one chooses from what they left."""

from __future__ import annotations

import numpy as np

from skbait.strategies._refine_filter import BaseRefine
from skbait.strategies.base import BaseQuery
from skbait.strategies.uncertainty_herding import UncertaintyHerdingQuery

__all__ = ["RefinePool", "RefineQuery"]


class RefineQuery(BaseRefine):
    """Query by an ensemble of strategies that cleans the pool in rounds (REFINE).

    Let C₀ be the pool. In round r every member of the ensemble chooses `n_batches` batches of n
    rows, each from a fresh random subsample of C_{r-1}; C_r is the union of all these batches. In
    the end `final_strategy` chooses n rows from C_R. What is left after the rounds is worth a
    label in the eyes of one strategy or another, and none has to be chosen beforehand.

    Parameters
    ----------
    estimator : estimator, default=None
        Classifier with a linear last layer, see :class:`BaitQuery`. All members see it: none has
        an `estimator`, a `last_layer`, a `device` or a `subset_size` of its own. None means
        :class:`~sklearn.linear_model.LogisticRegression`, and X is the embedding itself.
    strategies : list of (str, strategy or None) tuples, default=None
        The members by name, as in :class:`~sklearn.ensemble.VotingClassifier`: their parameters
        are reached as ``<name>__<parameter>``, and ``set_params(<name>=None)`` leaves a member
        out. None stands for the published nine: "random", "margin", "badge", "bait" (with
        ``variant="binary"``), "typiclust", "alfamix", "dropquery", "max_herding",
        "uncertainty_herding". Members' `random_state` is not used.
    final_strategy : strategy, default=None
        What chooses from the rows that are left; None means :class:`UncertaintyHerdingQuery`.
    n_rounds : int, default=5
        Number of rounds, R. With 0 the final strategy chooses from the whole pool.
    subsample : float, default=0.4
        Size of the subsample of each batch as a fraction of the rows left, at least n.
    n_batches : int or None, default=None
        Batches of each member in a round, J. None divides 100 by the number of members, rounded
        down: 11 for nine members.
    max_first_subsample : int or None, default=5000
        Subsamples of the first round, from the whole pool, have at most this many rows (or n).
    max_pool : int or None, default=10000
        Where more rows than this (and than n) are left after a round, that many are kept at
        random.
    n_jobs : int or None, default=None
        Jobs of joblib's active backend that share the batches of a round. None means 1, unless
        in a :class:`joblib.parallel_config`. The choice does not depend on it.
    subset_size : int, float or None, default=None
        Choose from a random sub-pool of this many rows (float: this fraction of the pool).
    last_layer : str or None, default=None
        Name of the last linear layer of a net, where there is a choice.
    device : str or torch.device, default="auto"
        Where to compute; "auto" follows the net, else takes CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds the clone of `estimator`, `subset_size`, the subsamples and the members.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.
    classes_ : ndarray of shape (n_classes,)
        The classes of `estimator_`.
    X_labeled_ : object
        The labelled rows.
    y_labeled_ : ndarray of shape (n_labeled,)
        Their labels.
    n_features_in_ : int
        Number of features seen in `fit`, where X is a table.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features seen in `fit`, where X has them.
    pool_sizes_ : ndarray of int64 of shape (n_rounds + 1,)
        Set by `query`, of the last one: the sizes of C₀ to C_R.
    n_proposed_ : dict of str to int
        Set by `query`, of the last one: for each member, how many of the rows chosen it had
        proposed in round R. A row may have been proposed by several.

    See Also
    --------
    RefinePool : The rounds alone, before any strategy.
    BossQuery : The best of many strategies' batches, by the labels of the pool.

    Notes
    -----
    With M members, ``C_r = ∪ₘ ∪ⱼ mⱼ(S_rmj)``, where S_rmj is a random subsample of C_{r-1} of
    ``max(n, subsample · |C_{r-1}|)`` rows and mⱼ the batch of n rows that m chooses in it. So
    ``n ≤ |C_r| ≤ min(M·J·n, |C_{r-1}|)``.

    The model runs over the pool once. The cost is that of M·J·R + 1 choices from at most
    `max_first_subsample`, then ``subsample · max_pool`` rows; that of the first round does
    not grow with N beyond that. Temperatures, bandwidths and the like, which depend on the model
    and the labelled rows, are computed once a query.

    Each batch draws from a generator of its own: a member that is left out changes nothing in
    what the others propose, as long as `n_batches` is given.

    Compared with the public code: the herding strategies, members and final one, average their
    gains over the rows that are covered (see :class:`MaxHerdingQuery`), TypiClust does not turn
    random where labels are many (see :class:`TypiClustQuery`), and every batch is seeded.

    References
    ----------
    .. [1] D. Huseljic, M. Herde, L. Rauch, P. Hahn, B. Sick. Cleaning the Pool: Progressive
       Filtering of Unlabeled Pools in Deep Active Learning. arXiv:2511.22344.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skbait import RefineQuery
    >>> X, y = load_digits(return_X_y=True)
    >>> query = RefineQuery(LogisticRegression(C=0.01), n_rounds=2, n_batches=1, random_state=0)
    >>> query.set_params(margin=None, bait__variant="exp")
    RefineQuery(...)
    >>> chosen = query.fit(X[:50], y[:50]).query(X[50:], 5)
    >>> chosen.shape
    (5,)
    >>> n_rows, *kept = query.pool_sizes_.tolist()
    >>> n_rows, len(kept)  # the pool, and how much of it each of two rounds has kept
    (1747, 2)
    """

    _records = ("pool_sizes_", "n_proposed_")

    _parameter_constraints = {
        **BaseRefine._parameter_constraints,
        "final_strategy": [BaseQuery, None],
    }

    def __init__(
        self,
        estimator=None,
        *,
        strategies=None,
        final_strategy=None,
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
            n_rounds=n_rounds,
            subsample=subsample,
            n_batches=n_batches,
            max_first_subsample=max_first_subsample,
            max_pool=max_pool,
            n_jobs=n_jobs,
            subset_size=subset_size,
            last_layer=last_layer,
            device=device,
            random_state=random_state,
        )
        self.final_strategy = final_strategy

    @property
    def _needs(self):
        return super()._needs | self._final()._needs

    @property
    def _stochastic(self):
        return self.n_rounds != 0 or self._final()._stochastic

    def _final(self):
        """Return the strategy that chooses in the end."""
        return UncertaintyHerdingQuery() if self.final_strategy is None else self.final_strategy

    def _parts(self):
        return [*super()._parts(), ("final_strategy", self._final())]

    def _check_params(self, n_classes=None):
        super()._check_params(n_classes)
        self._check_member("final_strategy", self._final(), n_classes)

    def _select(self, view, n):
        filtered = self._filter(view, n)
        left = filtered.positions
        chosen, utilities = self._final()._choose(view.take(left), n)
        chosen = left[chosen]
        self.pool_sizes_ = filtered.sizes
        self.n_proposed_ = {
            name: int(inside[chosen].sum()) for name, inside in filtered.proposals.items()
        }
        # after rounds no row has a score of its own
        return chosen, None if self.n_rounds else utilities


class RefinePool(BaseRefine):
    """The filter of REFINE alone: which rows of a pool are worth a strategy's look.

    What it gives goes into the `query` of any strategy::

        kept = RefinePool(model).fit(X, y).filter(X_pool, n)
        chosen = strategy.query(X_pool, n, candidates=kept)

    Parameters
    ----------
    estimator : estimator, default=None
        Classifier with a linear last layer, see :class:`BaitQuery`. All members see it. None
        means :class:`~sklearn.linear_model.LogisticRegression`, and X is the embedding itself.
    strategies : list of (str, strategy or None) tuples, default=None
        The members by name, see :class:`RefineQuery`.
    n_rounds : int, default=5
        Number of rounds, R. With 0 all rows are kept.
    subsample : float, default=0.4
        Size of the subsample of each batch as a fraction of the rows left, at least n.
    n_batches : int or None, default=None
        Batches of each member in a round. None divides 100 by the number of members.
    max_first_subsample : int or None, default=5000
        Subsamples of the first round have at most this many rows (or n).
    max_pool : int or None, default=10000
        Where more rows than this (and than n) are left after a round, that many are kept at
        random.
    n_jobs : int or None, default=None
        Jobs of joblib's active backend that share the batches of a round.
    subset_size : int, float or None, default=None
        Filter a random sub-pool of this many rows (float: this fraction of the pool).
    last_layer : str or None, default=None
        Name of the last linear layer of a net, where there is a choice.
    device : str or torch.device, default="auto"
        Where to compute; "auto" follows the net, else takes CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds the clone of `estimator`, `subset_size`, the subsamples and the members.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.
    classes_ : ndarray of shape (n_classes,)
        The classes of `estimator_`.
    X_labeled_ : object
        The labelled rows.
    y_labeled_ : ndarray of shape (n_labeled,)
        Their labels.
    n_features_in_ : int
        Number of features seen in `fit`, where X is a table.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features seen in `fit`, where X has them.
    pool_sizes_ : ndarray of int64 of shape (n_rounds + 1,)
        Set by `filter`, of the last one: number of rows before the first round and after each.

    See Also
    --------
    RefineQuery : The filter with a strategy behind it.

    Notes
    -----
    The rounds are those of :class:`RefineQuery`, and so is their cost. The model runs over the
    pool once here, and once more in the `query` that follows.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skbait import BadgeQuery, RefinePool
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X / 16
    >>> pool = RefinePool(n_rounds=2, n_batches=1, random_state=0).fit(X[:50], y[:50])
    >>> kept = pool.filter(X[50:], 5)
    >>> query = BadgeQuery(random_state=0).fit(X[:50], y[:50])
    >>> chosen = query.query(X[50:], 5, candidates=kept)
    >>> set(chosen.tolist()) <= set(kept.tolist())
    True
    """

    _records = ("pool_sizes_",)

    @property
    def query(self):
        """There is none: `filter` tells which rows are left, and any strategy chooses of them."""
        raise AttributeError(
            "RefinePool has no query: pass what its filter gives as candidates= to the query of "
            "a strategy, or use RefineQuery."
        )

    def filter(self, X_pool, n, *, candidates=None):
        """Return the rows of a pool that the rounds leave.

        Neither the model, X_pool, nor any global random state changes by it.

        Parameters
        ----------
        X_pool : {array-like, tensor, data frame, sparse matrix, dict, Dataset} of n_pool rows
            The candidates, of the same kind as the X of `fit`.
        n : int
            How many rows are to be chosen of those that are left: the size of each batch.
        candidates : array-like of int or mask of shape (n_pool,), default=None
            Look at these positions of X_pool only; None: at all.

        Returns
        -------
        positions : ndarray of int64 of shape (n_left,)
            Positions in X_pool, ascending, at least n.
        """
        _, kept = self._query(X_pool, n, candidates=candidates, return_utilities=True)
        return np.flatnonzero(kept == 1)

    def _select(self, view, n):
        filtered = self._filter(view, n)
        self.pool_sizes_ = filtered.sizes
        kept = np.zeros(view.n_pool)  # (N,), told as utilities: `filter` reads them
        kept[filtered.positions] = 1
        return filtered.positions[:n], kept
