# SPDX-License-Identifier: BSD-3-Clause
"""Checks of query strategies, for those who write one.

`check_query_strategy` runs them all, `parametrize_with_query_checks` makes a pytest test of each.
They cover what scikit-learn's own checks, which know nothing of `query`, do not: run both.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from functools import partial
from unittest import SkipTest

import joblib
import numpy as np
import threadpoolctl
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.utils import get_tags

from skbait import _backend
from skbait.utils._check_tools import (
    assert_positions,
    assert_raises,
    assert_same,
    linear_model,
    make_data,
    no_warnings,
    seeded,
    skip_random,
    with_model,
)

__all__ = ["check_query_strategy", "parametrize_with_query_checks", "query_checks"]

# What may be wrong with n, and with subset_size
BAD_N = (0, -1, 2.0, "2", None, True, np.True_, np.nan, [2])
BAD_SUBSET_SIZES = (0, -5, 0.0, 1.5, "half", True, np.nan)


def query_checks() -> list[Callable]:
    """Return all checks, as functions of a strategy and of data.

    Returns
    -------
    list of callable
        Each is called with an unfitted strategy and, as ``data=``, what `check_query_strategy`
        says; it raises an AssertionError where the strategy fails, and
        :class:`unittest.SkipTest` where it does not concern the strategy.

    See Also
    --------
    check_query_strategy : Runs them all.

    Examples
    --------
    >>> from skbait import MarginQuery
    >>> from skbait.utils.estimator_checks import query_checks
    >>> checks = {check.__name__: check for check in query_checks()}
    >>> len(checks) > 10
    True
    """
    return list(_CHECKS)


def check_query_strategy(strategy, *, data=None, expected_failed_checks=None) -> None:
    """Check that a query strategy keeps the promises that `skbait.BaseQuery` makes for it.

    Parameters
    ----------
    strategy : BaseQuery
        An instance, not fitted. It is cloned for every check.
    data : tuple (X_labeled, y_labeled, X_pool) or None, default=None
        Arrays to check with, where the strategy's estimator does not take tables of any width
        (a network for images): at least 5 labelled rows and 20 candidates. Some checks need a
        model of which all is known; they put a logistic regression in place of the estimator.
    expected_failed_checks : dict of str to str or None, default=None
        Names of checks that the strategy is known to fail, with the reason. They are not run.

    Raises
    ------
    AssertionError
        If a check fails; the message names it.

    See Also
    --------
    parametrize_with_query_checks : A pytest test of each check.
    sklearn.utils.estimator_checks.check_estimator : The checks of everything but `query`.

    Examples
    --------
    >>> from skbait import MarginQuery
    >>> from skbait.utils.estimator_checks import check_query_strategy
    >>> check_query_strategy(MarginQuery())
    """
    for check in _CHECKS:
        if check.__name__ in (expected_failed_checks or {}):
            continue
        try:
            check(clone(strategy), data=data)
        except SkipTest:
            continue
        except Exception as error:
            error.add_note(f"{type(strategy).__name__} failed {check.__name__}.")
            raise


def parametrize_with_query_checks(strategies, *, data=None, expected_failed_checks=None):
    """Make a pytest test of every check of every strategy, as scikit-learn's namesake does.

    Parameters
    ----------
    strategies : list of BaseQuery
        Instances, not fitted.
    data : tuple (X_labeled, y_labeled, X_pool) or None, default=None
        See `check_query_strategy`.
    expected_failed_checks : callable or None, default=None
        Called with a strategy; returns the names of the checks that it is known to fail, with
        the reasons. They are marked as expected failures.

    Returns
    -------
    pytest.MarkDecorator
        For a test with the arguments `strategy` and `check`.

    See Also
    --------
    check_query_strategy : All checks in one call.
    sklearn.utils.estimator_checks.parametrize_with_checks : The same for scikit-learn's checks.

    Examples
    --------
    >>> from skbait import MarginQuery, RandomQuery
    >>> from skbait.utils.estimator_checks import parametrize_with_query_checks
    >>> @parametrize_with_query_checks([MarginQuery(), RandomQuery()])
    ... def test_query_strategy(strategy, check):
    ...     check(strategy)
    """
    import pytest

    cases = []
    for i, strategy in enumerate(strategies):
        label = " ".join(repr(strategy).split())
        if len(label) > 150 or " at 0x" in label:  # not the same in every process
            label = f"{type(strategy).__name__}-{i}"
        expected = expected_failed_checks(strategy) if expected_failed_checks else {}
        for check in _CHECKS:
            name = check.__name__
            marks = pytest.mark.xfail(reason=expected[name]) if name in expected else ()
            test = partial(check, data=data)
            cases.append(pytest.param(clone(strategy), test, marks=marks, id=f"{label}-{name}"))
    return pytest.mark.parametrize("strategy, check", cases)


def check_positions(strategy, data=None):
    """Query returns n distinct int64 positions, for every kind of integer n."""
    d = make_data(data)
    strategy = seeded(strategy)
    assert strategy.fit(d.X, d.y) is strategy, "fit must return self"
    for n in (1, 7, np.int32(3), np.uint8(2), len(d.pool) - 1, len(d.pool)):
        assert_positions(strategy.query(d.pool, n), n, len(d.pool))
    assert_positions(strategy.query(d.pool), 1, len(d.pool))


def check_small_pools(strategy, data=None):
    """A pool of one row is chosen; so are all rows of a pool of two."""
    d = make_data(data)
    strategy = seeded(strategy).fit(d.X, d.y)
    for n_pool in (1, 2):
        positions, utilities = strategy.query(d.pool[:n_pool], n_pool, return_utilities=True)
        assert_positions(positions, n_pool, n_pool)
        assert utilities.shape == (n_pool,)


def check_duplicates(strategy, data=None):
    """A pool whose rows are all equal, or equal to labelled ones, gives distinct positions."""
    d = make_data(data)
    strategy = seeded(strategy).fit(d.X, d.y)
    with no_warnings():
        for pool in (np.repeat(d.pool[:1], 12, axis=0), np.repeat(d.X[:3], 4, axis=0)):
            for n in (1, 5, 12):
                assert_positions(strategy.query(pool, n), n, 12)


def check_utilities(strategy, data=None):
    """Utilities are floats, one a row of the pool, and asking for them changes nothing."""
    d = make_data(data)
    strategy = seeded(strategy).fit(d.X, d.y)
    plain = strategy.query(d.pool, 5)
    positions, utilities = strategy.query(d.pool, 5, return_utilities=True)
    assert_same(plain, positions, "return_utilities=True")
    assert utilities.shape == (len(d.pool),)
    assert utilities.dtype == np.float64
    assert not np.isinf(utilities).any(), "utilities must not be infinite"
    _, before = strategy.query(d.pool, 1, return_utilities=True)
    assert_same(before, utilities, "n (utilities are those before any row is chosen)")


def check_candidates(strategy, data=None):
    """Among candidates the choice is what it is in a pool of these alone."""
    d = make_data(data)
    n_pool = len(d.pool)
    strategy = seeded(strategy).fit(d.X, d.y)
    order = np.random.RandomState(0).permutation(n_pool)
    for candidates in (order[:9], order[: n_pool - 2]):
        expected = candidates[strategy.query(d.pool[candidates], 5)]
        positions, utilities = strategy.query(
            d.pool, 5, candidates=candidates, return_utilities=True
        )
        assert_same(expected, positions, "a pool around the candidates")
        assert utilities.shape == (n_pool,)
        others = np.setdiff1d(np.arange(n_pool), candidates)
        assert np.isnan(utilities[others]).all(), "only candidates are scored"
    mask = np.isin(np.arange(n_pool), order[:9])
    expected = strategy.query(d.pool, 5, candidates=np.flatnonzero(mask))
    assert_same(expected, strategy.query(d.pool, 5, candidates=mask), "a mask of the candidates")
    for bad in ([], [0, 0], [n_pool], [-1], [0.5], [[0, 1]], "all"):
        assert_raises(ValueError, ["candidates"], strategy.query, d.pool, 1, candidates=bad)
    assert_raises(ValueError, ["n=2"], strategy.query, d.pool, 2, candidates=[3])


def check_same_seed(strategy, data=None):
    """The same seed gives the same choice, in the same object and in a fresh one."""
    d = make_data(data)
    fitted = seeded(strategy).fit(d.X, d.y)
    positions = fitted.query(d.pool, 5)
    assert_same(positions, fitted.query(d.pool, 5), "a second query")
    assert_same(positions, seeded(strategy).fit(d.X, d.y).query(d.pool, 5), "a second fit")
    assert_same(positions, fitted.fit(d.X, d.y).query(d.pool, 5), "fitting again")
    picks = [
        seeded(strategy, np.random.RandomState(5)).fit(d.X, d.y).query(d.pool, 5) for _ in range(2)
    ]
    assert_same(*picks, "an equal RandomState instance")


def check_seeds_differ(strategy, data=None):
    """A strategy that says it is random chooses otherwise with other seeds."""
    if not strategy._stochastic:
        raise SkipTest("the choice is not random")
    d = make_data(data)
    picks = {tuple(seeded(strategy, s).fit(d.X, d.y).query(d.pool, 5)) for s in range(10)}
    assert len(picks) > 1, "10 seeds gave the same choice"


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


def check_permutation(strategy, data=None):
    """Permuting the pool permutes the choice, where it is not random."""
    d = make_data(data)
    skip_random(strategy)
    strategy = seeded(strategy).fit(d.X, d.y)
    positions, utilities = strategy.query(d.pool, 6, return_utilities=True)
    scores = utilities[~np.isnan(utilities)]
    if len(np.unique(scores)) < len(scores):
        raise SkipTest("rows have exactly the same utility, and the order of the pool decides")
    order = np.random.RandomState(1).permutation(len(d.pool))
    permuted, permuted_utilities = strategy.query(d.pool[order], 6, return_utilities=True)
    assert_same(positions, order[permuted], "permuting the pool")
    np.testing.assert_allclose(permuted_utilities, utilities[order], rtol=1e-5)


def check_classes_permutation(strategy, data=None):
    """The order of the classes does not matter, where the choice is not random."""
    d = make_data()
    skip_random(strategy)
    picks = []
    for order in (np.arange(3), np.array([2, 0, 1])):
        seen = with_model(strategy, linear_model(order=order))
        picks.append(seen.fit(d.X, np.argsort(order)[d.y]).query(d.pool, 6))
    assert_same(*picks, "the order of the classes")


def check_scale(strategy, data=None):
    """The scale of the features does not matter as long as the logits are the same."""
    d = make_data()
    skip_random(strategy)
    picks = []
    for scale in (1.0, 1e-3, 1e3):
        seen = with_model(strategy, linear_model(scale=scale))
        picks.append(seen.fit(scale * d.X, d.y).query(scale * d.pool, 6))
    assert_same(picks[0], picks[1], "features times 1e-3")
    assert_same(picks[0], picks[2], "features times 1e3")


def check_float32(strategy, data=None):
    """float32 input gives the choice that the same numbers in float64 give."""
    d = make_data()
    skip_random(strategy)
    strategy = with_model(strategy, linear_model())
    X, pool = d.X.astype(np.float32), d.pool.astype(np.float32)
    narrow = strategy.fit(X, d.y).query(pool, 6)
    wide = strategy.fit(X.astype(np.float64), d.y).query(pool.astype(np.float64), 6)
    assert_same(wide, narrow, "float32")


def check_threads_and_chunks(strategy, data=None):
    """Neither the number of threads nor the size of the chunks changes the choice."""
    d = make_data(n_pool=600) if data is None else make_data(data)
    strategy = seeded(strategy).fit(d.X, d.y)
    positions = strategy.query(d.pool, 4)
    for n_threads in (1, 2):
        with threadpoolctl.threadpool_limits(limits=n_threads):
            assert_same(positions, strategy.query(d.pool, 4), f"{n_threads} threads")
    chunk_bytes = _backend.CHUNK_BYTES
    try:
        _backend.CHUNK_BYTES = 1
        assert_same(positions, strategy.query(d.pool, 4), "a small chunk")
    finally:
        _backend.CHUNK_BYTES = chunk_bytes


def check_certain_predictions(strategy, data=None):
    """Rows whose predictions are certain, or whose features are zero, make no trouble."""
    d = make_data()
    X, pool = 1e5 * d.X, 1e5 * d.pool
    with no_warnings():
        for rows in (pool, np.zeros_like(pool)):
            seen = with_model(strategy, linear_model()).fit(X, d.y)
            for n in (1, 5, len(rows)):
                positions, utilities = seen.query(rows, n, return_utilities=True)
                assert_positions(positions, n, len(rows))
                assert not np.isinf(utilities).any()


def check_few_labels(strategy, data=None):
    """One labelled row will do over a model that is fitted already; so will two classes."""
    d = make_data()
    with no_warnings():
        seen = with_model(strategy, linear_model()).fit(d.X[:1], d.y[:1])
        assert_positions(seen.query(d.pool, 5), 5, len(d.pool))
        two = make_data(n_classes=2)
        model = LogisticRegression().fit(two.X, two.y)
        seen = with_model(strategy, model).fit(two.X, two.y)
        assert_positions(seen.query(two.pool, 5), 5, len(two.pool))


def check_label_types(strategy, data=None):
    """Strings and booleans are labels like numbers are; rows without a label are left out."""
    if data is not None:
        raise SkipTest("the estimator may not take labels of every kind")
    d = make_data(n_classes=2)
    expected = seeded(strategy).fit(d.X, d.y).query(d.pool, 5)
    names = np.array(["no", "yes"])
    for y in (names[d.y], names[d.y].astype(object), d.y.astype(bool), d.y.tolist()):
        assert_same(expected, seeded(strategy).fit(d.X, y).query(d.pool, 5), "the kind of label")
    X = np.concatenate([d.pool[:3], d.X])
    for mark, y in ((-1, d.y), (None, names[d.y].astype(object))):
        marked = np.concatenate([np.array([mark] * 3, dtype=y.dtype), y])
        seen = seeded(strategy).fit(X, marked)
        assert len(seen.y_labeled_) == len(d.y), f"rows marked by {mark} must be left out"
        assert_same(expected, seen.query(d.pool, 5), "rows without a label")


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


def check_subset_size(strategy, data=None):
    """The choice is from a random sub-pool of `subset_size` rows."""
    if "subset_size" not in strategy.get_params(deep=False):
        raise SkipTest("the strategy has no parameter subset_size")
    d = make_data(data)
    n_pool = len(d.pool)
    strategy = seeded(strategy).fit(d.X, d.y)
    for size, n_rows in ((10, 10), (np.int64(10), 10), (0.25, -(-n_pool // 4)), (1.0, n_pool)):
        strategy.set_params(subset_size=size)
        positions, utilities = strategy.query(d.pool, 5, return_utilities=True)
        assert_positions(positions, 5, n_pool)
        assert utilities.shape == (n_pool,)
        scored = np.flatnonzero(~np.isnan(utilities))
        if len(scored):  # else the strategy has no scores of single rows
            assert len(scored) == n_rows, f"subset_size={size} scored {len(scored)} rows"
            assert np.isin(positions, scored).all(), "the choice must be from the sub-pool"
        assert_same(positions, strategy.query(d.pool, 5), "a second query")
    strategy.set_params(subset_size=10 * n_pool)
    assert_positions(strategy.query(d.pool, 11), 11, n_pool)
    strategy.set_params(subset_size=3)
    assert_raises(ValueError, ["subset_size=3", "n=4"], strategy.query, d.pool, 4)
    for size in BAD_SUBSET_SIZES:
        strategy.set_params(subset_size=size)
        assert_raises((ValueError, TypeError), ["subset_size"], strategy.query, d.pool, 1)
        assert_raises((ValueError, TypeError), ["subset_size"], strategy.fit, d.X, d.y)


_CHECKS = tuple(
    value
    for name, value in list(globals().items())
    if name.startswith("check_") and name != "check_query_strategy"
)
