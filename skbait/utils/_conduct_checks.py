# SPDX-License-Identifier: BSD-3-Clause
"""What a query strategy refuses, and what it leaves as it is: see `estimator_checks`."""

from __future__ import annotations

import pickle
import random
from functools import partial
from unittest import SkipTest

import joblib
import numpy as np
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags

from skbait.utils._check_tools import (
    assert_raises,
    assert_same,
    linear_model,
    make_data,
    no_warnings,
    seeded,
    with_model,
)

# What may be wrong with n
BAD_N = (0, -1, 2.0, "2", None, True, np.True_, np.nan, [2])


def check_unfitted(strategy, data=None):
    """A query before fit raises NotFittedError."""
    d = make_data(data)
    assert_raises(NotFittedError, ["fit"], strategy.query, d.pool, 2)


def check_bad_n(strategy, data=None):
    """An n that is no integer, or out of range, is named together with its value."""
    d = make_data(data)
    strategy = seeded(strategy).fit(d.X, d.y)
    for n in (*BAD_N, len(d.pool) + 1):
        words = ["n=", str(n)]
        assert_raises((ValueError, TypeError), words, strategy.query, d.pool, n)


def check_bad_pool(strategy, data=None):
    """NaN, infinity, no rows, other features: each is refused, and X_pool is named."""
    d = make_data(data)
    strategy = seeded(strategy).fit(d.X, d.y)
    query = partial(assert_raises, (ValueError, TypeError), ["X_pool"], strategy.query)
    takes_nan = get_tags(strategy).input_tags.allow_nan
    if d.pool.dtype.kind == "f" and not takes_nan:
        for value in (np.nan, np.inf, -np.inf):
            bad = d.pool.copy()
            bad.reshape(len(bad), -1)[-1, -1] = value
            query(bad, 2)
    query(d.pool[:0], 1)
    query(None, 1)
    if d.pool.ndim == 2:
        query(d.pool[:, :-1], 2)
        query(np.hstack([d.pool, d.pool]), 2)
        query(d.pool[0], 1)
    else:
        query(d.pool.reshape(len(d.pool), -1), 2)


def check_bad_labels(strategy, data=None):
    """In fit, rows and labels have to be as many, and X finite."""
    d = make_data(data)
    assert_raises(ValueError, [str(len(d.X)), str(len(d.X) - 1)], strategy.fit, d.X, d.y[:-1])
    if d.X.dtype.kind == "f" and not get_tags(strategy).input_tags.allow_nan:
        bad = d.X.copy()
        bad.reshape(len(bad), -1)[0, 0] = np.nan
        assert_raises(ValueError, ["NaN"], strategy.fit, bad, d.y)


def check_failures_change_nothing(strategy, data=None):
    """After a query or a fit that failed the strategy is as it was, and chooses the same."""
    d = make_data(data)
    strategy = seeded(strategy).fit(d.X, d.y)
    positions = strategy.query(d.pool, 5)
    attributes = dict(vars(strategy))
    failures = [
        partial(strategy.query, d.pool, 0),
        partial(strategy.query, d.pool[:0], 1),
        partial(strategy.fit, d.X, d.y[:-1]),
        partial(strategy.fit, d.X[:0], d.y[:0]),
    ]
    for failure in failures:
        assert_raises((ValueError, TypeError), [], failure)
        same = vars(strategy).keys() == attributes.keys() and all(
            vars(strategy)[name] is value for name, value in attributes.items()
        )
        assert same, "the attributes changed"
    assert_same(positions, strategy.query(d.pool, 5), "a failure before")
    rng = np.random.RandomState(3)
    strategy = seeded(strategy, rng).fit(d.X, d.y)
    before = joblib.hash(rng.get_state())
    assert_raises(ValueError, [], strategy.fit, d.X, d.y[:-1])
    assert_raises(ValueError, [], strategy.query, d.pool, len(d.pool) + 1)
    assert joblib.hash(rng.get_state()) == before, "random_state was drawn from"


def check_query_changes_nothing(strategy, data=None):
    """Query leaves the strategy, its parameters and its model as they are."""
    d = make_data(data)
    strategy = seeded(strategy).fit(d.X, d.y)
    before = joblib.hash(strategy)
    strategy.query(d.pool, 5, return_utilities=True)
    assert joblib.hash(strategy) == before, "query changed the strategy or its model"


def check_data_unchanged(strategy, data=None):
    """Neither fit nor query writes to X and y; read-only arrays will do, without a warning."""
    d = make_data(data)
    arrays = [array.copy() for array in (d.X, d.y, d.pool)]
    for array in arrays:
        array.flags.writeable = False
    strategy = seeded(strategy)
    X, y, pool = arrays
    with no_warnings():
        positions = strategy.fit(X, y).query(pool, 5)
    for array, original in zip(arrays, (d.X, d.y, d.pool), strict=True):
        np.testing.assert_array_equal(array, original)
    assert_same(positions, strategy.fit(d.X, d.y).query(d.pool, 5), "read-only data")


def check_view_unchanged(strategy, data=None):
    """Choosing writes to nothing of a view: other strategies see the same one."""
    d = make_data(data)
    strategy = seeded(strategy).fit(d.X, d.y)
    if not {"features", "probabilities"} & strategy._needs:
        raise SkipTest("the strategy sees neither features nor probabilities")
    select, seen = strategy._select, []

    def watched(view, n):
        tensors = [view.pool_probabilities] if "probabilities" in strategy._needs else []
        if "features" in strategy._needs:
            for rows in (view.pool, view.labeled):
                tensors += [rows.features, rows.probabilities, rows.logits]
                tensors += [] if rows.head is None else [rows.head.weight, rows.head.bias]
        seen.extend((each, each.clone()) for each in tensors if each is not None)
        return select(view, n)

    strategy._select = watched
    strategy.query(d.pool, 5)
    for tensor, before in seen:
        same = torch.allclose(tensor, before, rtol=0.0, atol=0.0, equal_nan=True)
        assert same, "the choice wrote to features, probabilities or the head"


def check_global_random_states(strategy, data=None):
    """Neither fit nor query changes a global random state."""
    d = make_data(data)

    def states():
        numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 - the global one
        return joblib.hash([numpy_state, torch.get_rng_state().numpy(), random.getstate()])

    for random_state in (0, None):
        before = states()
        fitted = seeded(strategy, random_state).fit(d.X, d.y)
        assert states() == before, f"fit with random_state={random_state} changed a global state"
        fitted.query(d.pool, 5)
        assert states() == before, f"query with random_state={random_state} changed a global state"


def check_no_warnings(strategy, data=None):
    """Nothing warns where all is well."""
    d = make_data(data)
    with no_warnings():
        seeded(strategy).fit(d.X, d.y).query(d.pool, 5, return_utilities=True)


def check_clone_and_pickle(strategy, data=None):
    """A clone, a pickle and set_params give the same strategy."""
    d = make_data(data)
    strategy = seeded(strategy).fit(d.X, d.y)
    positions = strategy.query(d.pool, 5)
    restored = pickle.loads(pickle.dumps(strategy))
    assert_same(positions, restored.query(d.pool, 5), "pickling")
    copied = clone(strategy)
    assert_raises(NotFittedError, [], copied.query, d.pool, 2)
    copied.set_params(**strategy.get_params(deep=False))
    assert_same(positions, copied.fit(d.X, d.y).query(d.pool, 5), "cloning")


def check_frozen_estimator(strategy, data=None):
    """A frozen estimator is used as it is."""
    d = make_data()
    model = linear_model()
    before = joblib.hash(model)
    seen = with_model(strategy, model).fit(d.X, d.y)
    seen.query(d.pool, 5)
    assert joblib.hash(model) == before, "a frozen estimator changed"
    if strategy._needs:
        assert seen.estimator_ is seen.estimator, "a frozen estimator must be used as it is"


CHECKS = tuple(value for name, value in list(globals().items()) if name.startswith("check_"))
