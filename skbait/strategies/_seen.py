# SPDX-License-Identifier: BSD-3-Clause
"""What all views of one query share: rows, model, and what was computed of them, once."""

from __future__ import annotations

import copy
import threading
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator

from skbait._backend import resolve_device
from skbait.representation import (
    Head,
    Representation,
    probabilities,
    represent,
    rows_as_features,
)
from skbait.utils.data import num_rows, row_shape

# Probabilities may be negative by this much: rounding.
_ROUNDING = 1e-3


@dataclass(frozen=True)
class HeldOutRows:
    """Held-out rows as the model sees them, with their labels.

    Parameters
    ----------
    pool : Representation
        Features, probabilities and logits of the rows.
    y : ndarray
        Their labels.
    """

    pool: Representation
    y: np.ndarray


class Seen:
    """Rows and model of a query; the arguments are those of `skbait.strategies.View`."""

    def __init__(
        self,
        X_pool,
        X_labeled,
        y_labeled,
        *,
        estimator,
        classes,
        needs,
        last_layer,
        device,
        y_pool,
        held_out,
    ):
        self.X_pool = X_pool
        self.X_labeled = X_labeled
        self.y_labeled = y_labeled
        self.y_pool = y_pool
        self.estimator = estimator
        self.known_classes = classes
        self.needs = needs
        self.options = {"last_layer": last_layer, "device": device}
        self.n_pool = num_rows(X_pool)
        self._held_out = held_out
        self._kept: dict[Hashable, Any] = {}
        self._lock = threading.RLock()

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state):
        vars(self).update(state, _lock=threading.RLock())

    def once(self, key, compute):
        with self._lock:  # members of an ensemble may run in threads
            if key not in self._kept:
                self._kept[key] = compute()
            return self._kept[key]

    def detached(self) -> Seen:
        """Return a copy that holds no estimator and no rows, all that is needed computed."""
        if "features" in self.needs:
            _ = self.pool, self.labeled, self.device
        elif self.needs:
            _ = self._probabilities, self.device
        if "head" in self.needs:
            _ = self.head
        if "pool labels" in self.needs:
            _ = self.held_out
        if self.needs:
            _ = self.classes
        other = copy.copy(self)
        other.X_pool = other.X_labeled = other.estimator = other._held_out = None
        other._kept = dict(self._kept)
        other._lock = threading.RLock()
        return other

    @cached_property
    def pool(self) -> Representation:
        return self._represent(self.X_pool, "X_pool")

    @cached_property
    def labeled(self) -> Representation:
        if len(self.y_labeled) == 0:  # nothing to run a model on
            return rows_of(self.pool, np.empty(0, dtype=np.int64))
        return self._represent(self.X_labeled, "X, the labelled rows")

    @cached_property
    def held_out(self) -> HeldOutRows | None:
        if self._held_out is None:
            return None
        X, y = self._held_out
        return HeldOutRows(self._represent(X, "X_val"), y)

    @cached_property
    def head(self) -> Head:
        head = self.pool.head
        if head is None:
            model = self.estimator
            model = model.estimator if isinstance(model, FrozenEstimator) else model
            raise TypeError(
                "the strategy needs a linear head, and the probabilities of "
                f"{type(model).__name__} do not come from one applied to its features: "
                "use the classifier without what comes after its last layer (a calibration, a "
                "temperature), or register an adapter that gives a Head."
            )
        return head

    @cached_property
    def device(self) -> torch.device:
        if "features" in self.needs or "pool" in vars(self):
            return self.pool.features.device
        if self.estimator is None:
            return resolve_device(self.options["device"])
        return self.pool_probabilities.device

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
            "X_pool",
        )
        _check_output(found, "probabilities", "X_pool", self.estimator)
        _check_probabilities(found, "X_pool", self.estimator)
        return found, classes

    def _represent(self, X, name) -> Representation:
        if self.estimator is None and self.needs == {"features"}:
            features = rows_as_features(X, resolve_device(self.options["device"]))
            return Representation(features, None, None, self.known_classes)
        self._need_estimator()
        seen = self._run(lambda: represent(self.estimator, X, **self.options), X, name)
        for output in ("features", "probabilities"):
            _check_output(getattr(seen, output), output, name, self.estimator)
        _check_probabilities(seen.probabilities, name, self.estimator)
        return seen

    def _need_estimator(self):
        if self.estimator is None:
            raise RuntimeError(
                "this view has no model: a strategy that reads features or probabilities has to "
                "name them in its class attribute _needs."
            )

    def _run(self, work, X, name):
        """Call `work`; where it fails on rows of another shape than those of fit, say so."""
        try:
            return work()
        except Exception as error:
            fitted, given = row_shape(self.X_labeled), row_shape(X)
            if None in (given, fitted) or given == fitted or len(self.y_labeled) == 0:
                raise
            raise ValueError(
                f"{name} has rows of shape {given}, but the rows of X in fit had shape {fitted}, "
                f"and {type(self.estimator).__name__} cannot take both: {error}"
            ) from error


def index_of(positions, device) -> torch.Tensor:
    return torch.from_numpy(positions).to(device)


def rows_of(seen: Representation, positions) -> Representation:
    """Return some rows of a representation; None means all."""
    return seen if positions is None else seen.take(index_of(positions, seen.features.device))


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


def _check_probabilities(output: torch.Tensor, name: str, estimator) -> None:
    """Raise where numbers cannot be the probabilities of a row: all of them zero, or negative."""
    wrong = (output.sum(dim=1) <= 0.0) | (output.min(dim=1).values < -_ROUNDING)
    if bool(wrong.any()):
        estimator = estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator
        row = int(torch.nonzero(wrong)[0, 0])
        raise ValueError(
            f"{type(estimator).__name__} gives no probabilities for row {row} of {name}, but "
            f"{[round(value, 4) for value in output[row, :5].tolist()]}...: they must not be "
            "negative, nor all of them zero."
        )
