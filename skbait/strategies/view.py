# SPDX-License-Identifier: BSD-3-Clause
"""What a query strategy sees: the pool and the labelled rows through the eyes of the model.

A query makes one view. What is costly in it (features and probabilities) is computed when it is
first asked for, once, and shared by every view derived from it: an ensemble hands hundreds of
sub-pools to its members by `View.take` and `View.with_rng`, and the model runs over the pool a
single time.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from sklearn.utils import check_random_state

from skbait.representation import Representation, probabilities, represent
from skbait.utils.data import num_rows, row_shape, take_rows

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
        What the strategy needs, "features" or "probabilities" or both; it decides how
        probabilities are computed.
    last_layer : str or None, default=None
        See `skbait.representation.represent`.
    device : str or torch.device, default="auto"
        See `skbait.representation.represent`.

    Attributes
    ----------
    positions : ndarray of int64 of shape (n_pool,) or None
        Of a view that `take` made: the positions of its rows in the pool of the first view.
    rng : RandomState instance
        Where all randomness of the strategy comes from.

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
    ):
        self.positions = None
        self.rng = check_random_state(rng)
        self._model = _Model(
            X_pool, X_labeled, y_labeled, estimator, classes, frozenset(needs), last_layer, device
        )

    @property
    def n_pool(self) -> int:
        """Number of candidates, N."""
        return self._model.n_pool if self.positions is None else len(self.positions)

    @property
    def n_labeled(self) -> int:
        """Number of labelled rows, L."""
        return len(self.y_labeled)

    @property
    def y_labeled(self) -> np.ndarray:
        """Labels of the labelled rows, (L,)."""
        return self._model.y_labeled

    @property
    def X_labeled(self):
        """The labelled rows."""
        return self._model.X_labeled

    @property
    def estimator(self):
        """The fitted model, or None."""
        return self._model.estimator

    @property
    def classes(self) -> np.ndarray:
        """Labels of the K classes, in the order of the columns of the probabilities."""
        return self._model.classes

    @cached_property
    def X_pool(self):
        """The candidates."""
        whole = self._model.X_pool
        return whole if self.positions is None else take_rows(whole, self.positions)

    @cached_property
    def pool(self) -> Representation:
        """Features (N, D), probabilities (N, K) and logits of the candidates."""
        return _rows_of(self._model.pool, self.positions)

    @property
    def labeled(self) -> Representation:
        """Features (L, D), probabilities (L, K) and logits of the labelled rows."""
        return self._model.labeled

    @cached_property
    def pool_probabilities(self) -> torch.Tensor:
        """Probabilities (N, K) of the candidates, for which any classifier will do."""
        if "pool" in vars(self):
            return self.pool.probabilities
        whole = self._model.pool_probabilities
        if self.positions is None:
            return whole
        return whole.index_select(0, _index(self.positions, whole.device))

    def take(self, positions) -> View:
        """Return the view of some of the candidates.

        Parameters
        ----------
        positions : array-like of int of shape (n,)
            Positions in the pool of this view.

        Returns
        -------
        View
            Its rows are in the order of `positions`. What is computed for one view is computed
            for all; the generator is shared too, see `with_rng`.
        """
        if isinstance(positions, torch.Tensor):
            positions = positions.cpu()
        positions = np.asarray(positions, dtype=np.int64)
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

    def _derived(self, *, keep=False, **changes) -> View:
        """Return a copy with some attributes changed; `keep` what is cached for these rows."""
        derived = copy.copy(self)
        if not keep:
            for name in ("X_pool", "pool", "pool_probabilities"):
                vars(derived).pop(name, None)
        vars(derived).update(changes)
        return derived


class _Model:
    """What all views of one query share: rows, model, and what was computed of them."""

    def __init__(
        self, X_pool, X_labeled, y_labeled, estimator, classes, needs, last_layer, device
    ):
        self.X_pool = X_pool
        self.X_labeled = X_labeled
        self.y_labeled = y_labeled
        self.estimator = estimator
        self.known_classes = classes
        self.needs = needs
        self.options = {"last_layer": last_layer, "device": device}
        self.n_pool = num_rows(X_pool)

    @cached_property
    def pool(self) -> Representation:
        return self._represent(self.X_pool, "X_pool")

    @cached_property
    def labeled(self) -> Representation:
        if len(self.y_labeled) == 0:  # nothing to run a model on
            return _rows_of(self.pool, np.empty(0, dtype=np.int64))
        return self._represent(self.X_labeled, "X, the labelled rows")

    @cached_property
    def pool_probabilities(self) -> torch.Tensor:
        return self._probabilities[0]

    @cached_property
    def classes(self) -> np.ndarray:
        if self.estimator is None:
            return self.known_classes
        return self._probabilities[1]

    @cached_property
    def _probabilities(self):
        """Probabilities and classes: from the representation where there is or will be one."""
        if "features" in self.needs or "pool" in vars(self):
            return self.pool.probabilities, self.pool.classes
        self._need_estimator()
        found, classes = self._run(
            lambda: probabilities(self.estimator, self.X_pool, device=self.options["device"]),
            self.X_pool,
        )
        _check_output(found, "probabilities", "X_pool", self.estimator)
        return found, classes

    def _represent(self, X, name) -> Representation:
        self._need_estimator()
        seen = self._run(lambda: represent(self.estimator, X, **self.options), X)
        for output in ("features", "probabilities"):
            _check_output(getattr(seen, output), output, name, self.estimator)
        return seen

    def _need_estimator(self):
        if self.estimator is None:
            raise RuntimeError(
                "this view has no model: a strategy that reads features or probabilities has to "
                "name them in its class attribute _needs."
            )

    def _run(self, work, X):
        """Call `work`; where it fails on rows of another shape than those of fit, say so."""
        try:
            return work()
        except Exception as error:
            fitted, given = row_shape(self.X_labeled), row_shape(X)
            if given == fitted or len(self.y_labeled) == 0:
                raise
            raise ValueError(
                f"X_pool has rows of shape {given}, but the rows of X in fit had shape {fitted}, "
                f"and {type(self.estimator).__name__} cannot take both: {error}"
            ) from error


def _index(positions, device) -> torch.Tensor:
    return torch.from_numpy(positions).to(device)


def _rows_of(seen: Representation, positions) -> Representation:
    """Return some rows of a representation; None means all."""
    if positions is None:
        return seen
    index = _index(positions, seen.features.device)
    rows = {
        name: None if tensor is None else tensor.index_select(0, index)
        for name in ("features", "probabilities", "logits")
        for tensor in [getattr(seen, name)]
    }
    return replace(seen, **rows)


def _check_output(output: torch.Tensor, what: str, name: str, estimator) -> None:
    """Raise where a model gives NaN or infinity: every later score would be meaningless."""
    # the sum first: it needs no memory of its own, and is finite in nearly every case
    if torch.isfinite(output.sum()) or torch.isfinite(output).all():
        return
    row = int(torch.nonzero(~torch.isfinite(output).all(dim=1))[0, 0])
    raise ValueError(
        f"{type(estimator).__name__} gives {what} that are NaN or infinite, first for row {row} "
        f"of {name}: its training may have diverged (a lower learning rate helps), or the values "
        "of this row are far from those it was trained on."
    )
