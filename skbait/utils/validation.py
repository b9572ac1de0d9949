# SPDX-License-Identifier: BSD-3-Clause
"""Checks of what users pass: rows of any kind, numbers of rows, seeds.

scikit-learn's `check_array` wants two dimensions and copies; here X may have any number of
dimensions and be larger than memory. What these checks return is the caller's own object wherever
that can be used as it is; the values are looked at in `skbait.utils.finite`.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from skbait._sklearn import InvalidParameterError
from skbait.utils.data import (
    kind_of,
    num_rows,
    row_shape,
    without_gradients,
)

__all__ = [
    "as_numbers",
    "check_number_of_rows",
    "check_rows",
    "same_on_failure",
    "seed_from",
]


def check_rows(X, *, name="X", owner="This estimator"):
    """Return X if it holds rows with something in them, or say what is wrong.

    The values are not looked at (see `skbait.utils.finite`), but for those of lists and of arrays
    of objects, which become arrays of numbers where they hold nothing else. Tensors that require
    a gradient come detached: to train on them would write to it.

    Parameters
    ----------
    X : object
        Rows of any kind; see `skbait.utils.data`.
    name : str, default="X"
        What to call X in an error.
    owner : str, default="This estimator"
        Who asks, for an error.

    Returns
    -------
    object
        X itself, or an array made of a list or of objects, or tensors without their gradients.

    See Also
    --------
    skbait.utils.finite.check_finite : Looks at the values.

    Examples
    --------
    >>> from skbait.utils.validation import check_rows
    >>> check_rows([[1, 2], [3, 4]])
    array([[1, 2],
           [3, 4]])
    """
    X = as_numbers(X)
    try:
        n_rows = num_rows(X)
    except TypeError as error:
        raise TypeError(f"{name} cannot be used by {owner}: {error}") from error
    kind = kind_of(X)
    shape = row_shape(X)
    if n_rows == 0:
        full = f" (shape={(0, *shape)})" if shape is not None else ""
        raise ValueError(
            f"Found array with 0 sample(s){full} while a minimum of 1 is required by {owner}: "
            f"{name} is empty."
        )
    if shape is not None and 0 in shape:
        raise ValueError(
            f"Found array with 0 feature(s) (shape={(n_rows, *shape)}) while a minimum of 1 is "
            f"required by {owner}: the rows of {name} are empty."
        )
    if kind in ("array", "tensor", "sparse"):
        _check_dtype(X, kind, shape, name)
    return without_gradients(X)


def as_numbers(X):
    """Return lists and arrays of objects that hold numbers as arrays of numbers.

    Parameters
    ----------
    X : object
        Rows of any kind.

    Returns
    -------
    object
        X itself where it is anything else, or holds more than numbers (strings, None, words), or
        rows of several lengths.

    See Also
    --------
    check_rows : Looks at the rows as well.

    Examples
    --------
    >>> from skbait.utils.validation import as_numbers
    >>> as_numbers([[1, 2], [3, 4]])
    array([[1, 2],
           [3, 4]])
    >>> as_numbers([["a", 2], ["b", 4]])
    [['a', 2], ['b', 4]]
    """
    if not isinstance(X, (str, bytes)) and hasattr(X, "__array__") and not hasattr(X, "shape"):
        X = np.asarray(X)
    if isinstance(X, np.ndarray):
        return _objects_as_numbers(X) if X.dtype == object else X
    is_list = isinstance(X, Sequence) and not isinstance(X, (str, bytes))
    return _list_as_numbers(X) if is_list else X


def check_instance(value, name: str) -> None:
    """Refuse a class in place of an object of it, and a pipeline of nothing.

    Parameters
    ----------
    value : object
        What the parameter holds.
    name : str
        Name of the parameter.
    """
    if isinstance(value, type):
        kind = value.__name__
        raise TypeError(f"{name}={kind} is a class; pass an instance, {kind}().")
    if isinstance(value, Pipeline) and not value.steps:
        raise ValueError(f"{name}={value!r} is an empty pipeline: add steps, a classifier last.")


def check_number_of_rows(n, n_pool, *, pool_name="X_pool") -> int:
    """Return `n` as an int if it is a whole number of rows that a pool has.

    Parameters
    ----------
    n : int
        How many rows are asked for.
    n_pool : int
        How many there are.
    pool_name : str, default="X_pool"
        What to call these in an error.

    Returns
    -------
    int
        `n`.

    See Also
    --------
    skbait.utils.data.num_rows : How many rows there are.

    Examples
    --------
    >>> from skbait.utils.validation import check_number_of_rows
    >>> check_number_of_rows(3, 10)
    3
    """
    if not isinstance(n, numbers.Integral) or isinstance(n, (bool, np.bool_)):
        raise InvalidParameterError(
            f"n={n!r} must be an integer, the number of rows to choose; got {type(n).__name__}."
        )
    if n < 1:
        raise ValueError(f"n={n} must be at least 1, the number of rows to choose.")
    if n > n_pool:
        raise ValueError(
            f"n={n} is more than the {n_pool} rows of {pool_name}; choose at most {n_pool}."
        )
    return int(n)


def seed_from(random_state) -> int:
    """Return a seed for everything that happens next, and leave NumPy's global state alone.

    Parameters
    ----------
    random_state : int, RandomState instance or None
        An int gives the same seed every time. An instance is drawn from once. None takes fresh
        entropy from the operating system, where scikit-learn would draw from the global state.

    Returns
    -------
    int
        Between 0 and 2**31 - 2.

    See Also
    --------
    sklearn.utils.check_random_state : Makes a RandomState, by the global one for None.

    Examples
    --------
    >>> from skbait.utils.validation import seed_from
    >>> seed_from(7) == seed_from(7)
    True
    """
    if random_state is None:
        rng = np.random.RandomState(np.random.SeedSequence().generate_state(4))
    else:
        rng = check_random_state(random_state)
    return int(rng.randint(np.iinfo(np.int32).max))


@contextmanager
def same_on_failure(estimator) -> Iterator[None]:
    """Give an object back all its attributes if the block raises.

    Parameters
    ----------
    estimator : object
        The object. A RandomState instance among its attributes is put back to where it was, too;
        other attributes are not copied, only put back.

    Yields
    ------
    None
        Nothing: the block is what it is for.

    See Also
    --------
    skbait.utils.fitting.fit_clone : Fits a clone, and leaves the estimator alone.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from skbait.utils.validation import same_on_failure
    >>> thing = SimpleNamespace(value=1)
    >>> try:
    ...     with same_on_failure(thing):
    ...         thing.value = 2
    ...         raise RuntimeError
    ... except RuntimeError:
    ...     print(thing.value)
    1
    """
    before = dict(vars(estimator))
    random_state = before.get("random_state")
    draws = isinstance(random_state, np.random.RandomState)
    state = random_state.get_state(legacy=False) if draws else None
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        if draws:
            random_state.set_state(state)
        raise


def _list_as_numbers(X):
    """Return a list of rows of numbers as an array; lists of anything else stay."""
    if not X or not isinstance(X[0], (numbers.Number, list, tuple, np.ndarray, torch.Tensor)):
        return X
    try:
        array = np.asarray(X)
    except (TypeError, ValueError):  # rows of different lengths, for a step that pads them
        return X
    if array.dtype.kind in "USM":  # not as strings: numbers among them would become some
        return X
    if array.dtype == object:
        array = _objects_as_numbers(array)
        return X if array.dtype == object else array
    return array


def _objects_as_numbers(X):
    """Return an array of objects as int64 or float64; where it holds more it is left as it is.

    A dict among the numbers of a table is no row of its own: it is refused by the conversion.
    """
    held = set(map(type, X.flat))
    if held and all(issubclass(kind, numbers.Integral) and kind is not bool for kind in held):
        with suppress(OverflowError):
            return X.astype(np.int64)  # tokens, say
    kinds = (numbers.Number, np.bool_, *((Mapping,) if X.ndim > 1 else ()))
    if all(issubclass(kind, kinds) for kind in held):
        return X.astype(np.float64)
    return X


def _check_dtype(X, kind, shape, name):
    """Refuse complex numbers, and numbers without a second dimension."""
    if kind == "tensor":
        is_complex, is_number = X.is_complex(), True
    else:
        is_complex, is_number = X.dtype.kind == "c", X.dtype.kind in "biuf"
    if is_complex:
        raise ValueError(f"Complex data not supported: {name} has dtype {X.dtype}.")
    if is_number and not shape:
        raise ValueError(
            f"Expected 2D array, got 1D array instead: {name} has shape {tuple(X.shape)}. Reshape "
            "your data either using array.reshape(-1, 1) if your data has a single feature or "
            "array.reshape(1, -1) if it contains a single sample."
        )
