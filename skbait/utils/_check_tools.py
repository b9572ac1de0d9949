# SPDX-License-Identifier: BSD-3-Clause
"""What the checks of query strategies share: data, a model of which all is known, assertions."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from unittest import SkipTest

import numpy as np
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression


@dataclass(frozen=True)
class Data:
    """Rows and labels to fit on, and a pool to choose from."""

    X: np.ndarray  # (L, ...) labelled
    y: np.ndarray  # (L,)
    pool: np.ndarray  # (N, ...)


def make_data(data=None, *, n_pool=40, n_classes=3, n_features=4, std=3.0) -> Data:
    """Return the data of the caller, or overlapping clusters."""
    if data is not None:
        return Data(*(np.asarray(part) for part in data))
    X, y = make_blobs(
        n_samples=24 + n_pool,
        n_features=n_features,
        centers=n_classes,
        cluster_std=std,
        random_state=7,
    )
    X /= 10  # about 1, where a logistic regression is fitted in few steps
    return Data(X[:24], y[:24], X[24:])


def linear_model(n_classes=3, n_features=4, *, scale=1.0, order=None) -> LogisticRegression:
    """Return a logistic regression whose weights are given; X times `scale` has its logits."""
    rng = np.random.RandomState(3)
    order = np.arange(n_classes) if order is None else order
    model = LogisticRegression()
    model.coef_ = 3 * rng.normal(size=(n_classes, n_features))[order] / scale
    model.intercept_ = 0.1 * rng.normal(size=n_classes)[order]
    model.classes_ = np.arange(n_classes)
    model.n_features_in_ = n_features
    return model


def with_model(strategy, model):
    """Return a clone over a model as it is."""
    strategy = seeded(strategy)
    if "estimator" not in strategy.get_params(deep=False):
        raise SkipTest("the strategy has no parameter estimator")
    return strategy.set_params(estimator=FrozenEstimator(model))


def seeded(strategy, random_state=0):
    """Return a clone with a seed, and without a sub-pool, where it has these parameters."""
    strategy = clone(strategy)
    if "pool labels" in getattr(strategy, "_needs", ()) and not isinstance(strategy, Informed):
        strategy.__class__ = informed(type(strategy))
    params = {"random_state": random_state, "subset_size": None}
    known = strategy.get_params(deep=False)
    return strategy.set_params(**{k: v for k, v in params.items() if k in known})


class Informed:
    """Put before an oracle: gives it labels of every pool, which the checks do not pass.

    They are the predictions of its model, so that they go with the rows wherever these stand.
    """

    def query(self, X_pool, n=1, **params):
        if hasattr(self, "estimator_"):
            try:
                y_pool = self.estimator_.predict(X_pool)
            except Exception:  # a pool that will be refused, whatever its labels
                y_pool = np.repeat(self.y_labeled_[:1], 0 if X_pool is None else len(X_pool))
            known = {"y_pool": y_pool, "X_val": self.X_labeled_, "y_val": self.y_labeled_}
            params = {**known, **params}
        return super().query(X_pool, n, **params)


@cache
def informed(cls):
    """Return a subclass of an oracle that knows labels of every pool."""
    name = f"Informed{cls.__name__}"
    globals()[name] = type(name, (Informed, cls), {"__module__": __name__})  # to be pickled
    return globals()[name]


def skip_random(strategy):
    """Skip a check of strategies whose choice depends on nothing random."""
    if strategy._stochastic:
        raise SkipTest("the choice is random")


def assert_positions(positions, n, n_pool):
    assert isinstance(positions, np.ndarray), f"positions must be an ndarray: {positions!r}"
    assert positions.dtype == np.int64, f"positions must be int64, not {positions.dtype}"
    assert positions.shape == (n,), f"{n} positions asked for, got shape {positions.shape}"
    assert len(np.unique(positions)) == n, "positions must be distinct"
    assert positions.min() >= 0, "positions must not be negative"
    assert positions.max() < n_pool, "positions must lie in the pool"


def assert_same(one, other, what):
    np.testing.assert_array_equal(one, other, err_msg=f"{what} changed the choice")


def assert_raises(error_type, words, function, *args, **kwargs):
    """Assert that a call raises, with a message that has all the words in it."""
    message = None
    try:
        result = function(*args, **kwargs)
    except error_type as error:
        message = str(error)
    assert message is not None, f"no {error_type} was raised; got {result!r}"
    for word in words:
        assert word in message, f"the error must name {word!r}: {message}"


@contextmanager
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
