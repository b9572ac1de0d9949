# SPDX-License-Identifier: BSD-3-Clause
"""What a query strategy sees: the pool and the labelled rows through the eyes of the model.

A query makes one view. What is costly in it (features and probabilities) is computed when it is
first asked for, once, and shared by every view derived from it: an ensemble hands hundreds of
sub-pools to its members by `View.take` and `View.with_rng`, and the model runs over the pool a
single time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from skbait.representation import Head, Representation
from skbait.strategies._seen import HeldOutRows, Seen, index_of, rows_of
from skbait.utils.data import as_positions, take_rows

__all__ = ["View"]


class View:
    """A pool and a set of labelled rows, with a model's features and probabilities of both.

    Nothing in a view is to be written to: tensors may share the memory of the caller's X, and
    other views share them.

    Parameters
    ----------
    X_pool : object
        The candidates.
    X_labeled : object
        The labelled rows.
    y_labeled : ndarray of shape (n_labeled,)
        Their labels.
    estimator : estimator or None, default=None
        The fitted model; None for strategies that need none.
    classes : ndarray of shape (n_classes,) or None, default=None
        The labels that a model-free strategy knows; otherwise those of the model count.
    rng : int, RandomState instance or None, default=None
        Where all randomness of the strategy comes from.
    needs : frozenset of str, default=frozenset()
        What the strategy needs, see `skbait.BaseQuery`; it decides how probabilities are
        computed.
    last_layer : str or None, default=None
        See `skbait.representation.represent`.
    device : str or torch.device, default="auto"
        See `skbait.representation.represent`.
    y_pool : ndarray of shape (n_pool,) or None, default=None
        The labels of the candidates, for an oracle.
    held_out : tuple (X, y) or None, default=None
        Held-out rows and their labels, for an oracle.

    Attributes
    ----------
    positions : ndarray of int64 of shape (n_pool,) or None
        Of a view that `take` made: the positions of its rows in the pool of the first view.
    rng : RandomState instance
        Where all randomness of the strategy comes from.

    See Also
    --------
    skbait.BaseQuery : Makes it, and hands it to a strategy.
    skbait.representation.represent : Where features and probabilities come from.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skbait.strategies import View
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=1000).fit(X, y)
    >>> view = View(X[30:], X[:30], y[:30], estimator=model, rng=0)
    >>> view.pool.features.shape, view.labeled.probabilities.shape
    (torch.Size([120, 4]), torch.Size([30, 3]))
    >>> view.take([5, 2]).pool_probabilities.shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        X_pool,
        X_labeled,
        y_labeled,
        *,
        estimator=None,
        classes=None,
        rng=None,
        needs=frozenset(),
        last_layer=None,
        device="auto",
        y_pool=None,
        held_out=None,
    ):
        self.positions = None
        self.rng = check_random_state(rng)
        self._seen = Seen(
            X_pool,
            X_labeled,
            y_labeled,
            estimator=estimator,
            classes=classes,
            needs=frozenset(needs),
            last_layer=last_layer,
            device=device,
            y_pool=y_pool,
            held_out=held_out,
        )

    @property
    def n_pool(self) -> int:
        """Number of candidates, N."""
        return self._seen.n_pool if self.positions is None else len(self.positions)

    @property
    def n_labeled(self) -> int:
        """Number of labelled rows, L."""
        return len(self.y_labeled)

    @property
    def y_labeled(self) -> np.ndarray:
        """Labels of the labelled rows, (L,)."""
        return self._seen.y_labeled

    @property
    def X_labeled(self):
        """The labelled rows."""
        return self._seen.X_labeled

    @property
    def estimator(self):
        """The fitted model, or None."""
        return self._seen.estimator

    @property
    def classes(self) -> np.ndarray:
        """Labels of the K classes, in the order of the columns of the probabilities."""
        return self._seen.classes

    @property
    def head(self) -> Head:
        """The linear layer that makes the model's probabilities of the features."""
        return self._seen.head

    @property
    def held_out(self) -> HeldOutRows | None:
        """Held-out rows with their labels, None where there are none."""
        return self._seen.held_out

    @property
    def y_pool(self) -> np.ndarray | None:
        """Labels of the candidates (N,), for an oracle; None where they are not known."""
        whole = self._seen.y_pool
        return whole if whole is None or self.positions is None else whole[self.positions]

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self._seen.device

    @cached_property
    def X_pool(self):
        """The candidates."""
        whole = self._seen.X_pool
        return whole if self.positions is None else take_rows(whole, self.positions)

    @cached_property
    def pool(self) -> Representation:
        """Features (N, D), probabilities (N, K) and logits of the candidates.

        Where there is no model the features are the rows themselves, and the rest is None.
        """
        return rows_of(self._seen.pool, self.positions)

    @property
    def labeled(self) -> Representation:
        """Features (L, D), probabilities (L, K) and logits of the labelled rows."""
        return self._seen.labeled

    @cached_property
    def pool_probabilities(self) -> torch.Tensor:
        """Probabilities (N, K) of the candidates, for which any classifier will do."""
        if "pool" in vars(self):
            return self.pool.probabilities
        whole = self._seen.pool_probabilities
        if self.positions is None:
            return whole
        return whole.index_select(0, index_of(self.positions, whole.device))

    def take(self, positions) -> View:
        """Return the view of some of the candidates.

        Parameters
        ----------
        positions : array-like of int of shape (n,) or mask of shape (n_pool,)
            Positions in the pool of this view.

        Returns
        -------
        View
            Its rows are in the order of `positions`. What is computed for one view is computed
            for all; the generator is shared too, see `with_rng`.
        """
        positions = as_positions(positions, lambda: self.n_pool)
        if self.positions is not None:
            positions = self.positions[positions]
        return self._derived(positions=positions)

    def with_rng(self, rng) -> View:
        """Return the same view with a random generator of its own.

        Parameters
        ----------
        rng : int or RandomState instance
            The generator, or its seed.

        Returns
        -------
        View
            It shares everything else.
        """
        return self._derived(rng=check_random_state(rng), keep=True)

    def once(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """Return what `compute` gives, computed once for all views of the query.

        Parameters
        ----------
        key : hashable
            What it is; a tuple with the name of the strategy's module and the parameters that
            it depends on.
        compute : callable
            Called without arguments, the first time. It may depend on the model and the labelled
            rows, but not on the pool or the generator of this view.

        Returns
        -------
        object
            Not to be written to.
        """
        return self._seen.once(key, compute)

    def pool_rows(self, key: Hashable, compute: Callable[[Representation], torch.Tensor]):
        """Return rows of what is computed once, for the pool of the query's first view.

        Parameters
        ----------
        key : hashable
            See `once`.
        compute : callable
            From the representation of the whole pool to a tensor with a row for each of its
            rows, which depends on that row alone (and on model and labelled rows).

        Returns
        -------
        torch.Tensor of shape (N, ...)
            The rows of this view; not to be written to.
        """
        whole = self._seen.once(("pool", key), lambda: compute(self._seen.pool))
        if self.positions is None:
            return whole
        return whole.index_select(0, index_of(self.positions, whole.device))

    def detached(self) -> View:
        """Return the same view without estimator and rows: tensors and labels only.

        Returns
        -------
        View
            What can be sent to another process. Everything that the strategy needs has been
            computed.
        """
        return self._derived(_seen=self._seen.detached(), keep=True)

    def _derived(self, *, keep=False, **changes) -> View:
        """Return a copy with some attributes changed; `keep` what is cached for these rows."""
        derived = copy.copy(self)
        if not keep:
            for name in ("X_pool", "pool", "pool_probabilities"):
                vars(derived).pop(name, None)
        vars(derived).update(changes)
        return derived
