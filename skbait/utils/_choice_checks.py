# SPDX-License-Identifier: BSD-3-Clause
"""What a query strategy chooses, and what must not change it: see `estimator_checks`."""

from __future__ import annotations

from unittest import SkipTest

import numpy as np
import threadpoolctl
import torch
from sklearn.linear_model import LogisticRegression

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

# What may be wrong with subset_size
BAD_SUBSET_SIZES = (0, -5, 0.0, 1.5, "half", True, np.nan)


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
    select, given = strategy._select, []
    strategy._select = lambda view, n: given.append(select(view, n)) or given[-1]
    strategy.query(d.pool, 5)
    for _, each in given:
        known = each is None or bool(torch.isfinite(torch.as_tensor(each)).all())
        assert known, "utilities must be numbers, or None where there are none"


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
    rtol = 1e-2 if d.pool.dtype == np.float32 else 1e-5  # scores of single rows may be rough
    np.testing.assert_allclose(permuted_utilities, utilities[order], rtol=rtol)


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


CHECKS = tuple(value for name, value in list(globals().items()) if name.startswith("check_"))
