# SPDX-License-Identifier: BSD-3-Clause
"""Checks of query strategies, for those who write one.

`check_query_strategy` runs them all, `parametrize_with_query_checks` makes a pytest test of each.
They cover what scikit-learn's own checks, which know nothing of `query`, do not: run both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from unittest import SkipTest

from sklearn.base import clone

from skbait.utils import _choice_checks, _conduct_checks

__all__ = ["check_query_strategy", "parametrize_with_query_checks", "query_checks"]

_CHECKS = _choice_checks.CHECKS + _conduct_checks.CHECKS


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
