# SPDX-License-Identifier: BSD-3-Clause
"""Short texts that tell the settings of runs apart, the same in every process.

Stored results are found by them: whoever changes what a value is described by loses the runs that
were stored for it.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
from collections.abc import Mapping
from numbers import Integral, Real
from types import CodeType, FunctionType, MethodType, ModuleType

import joblib
import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator

# Stands among the objects above a value that was fitted, and counts by what it learned.
_FITTED = object()
_NOT_PICKLED = (pickle.PicklingError, AttributeError, TypeError)


def fingerprint(**parts):
    """Return a short text that differs where one of the parts does.

    Numbers, texts, containers, arrays, frames and sparse matrices count by their values,
    estimators by their class and parameters, what is frozen by what it has learned, other objects
    by their class and content. A function or a class that its module has under its name counts by
    that name, whatever its source. Any other (a lambda, a closure, a class made in a function)
    counts by its code, its defaults and the variables that it encloses, a bound method by its
    object too. Global variables that a function reads do not count, nor what is in objects that
    can be neither copied nor pickled.

    Parameters
    ----------
    **parts : dict
        What to tell apart.

    Returns
    -------
    str
        Hexadecimal digits, the same in every process; those of a function that counts by its code
        may change with the version of Python.
    """
    text = json.dumps(_described(parts), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _described(value, above=()):
    """Return a value as plain JSON; `above` are the objects that it is being described for."""
    if isinstance(value, (type(None), bool, str)):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if any(value is each for each in above):  # a function that calls itself, say
        return {"above": [value is each for each in above].index(True)}
    is_fitted = any(each is _FITTED for each in above)
    above = (*above, value)
    if sparse.issparse(value):  # before mappings: a DOK matrix is a dict
        return _described_sparse(value)
    if isinstance(value, Mapping):
        return {str(key): _described(each, above) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_described(each, above) for each in value]
    if isinstance(value, type) or (hasattr(value, "__qualname__") and callable(value)):
        return _described_callable(value, above)
    if isinstance(value, CodeType):
        return _described_code(value, above)
    if hasattr(value, "get_params"):
        kind = _described(type(value), above)
        own_clone = getattr(type(value), "__sklearn_clone__", BaseEstimator.__sklearn_clone__)
        if is_fitted or own_clone is not BaseEstimator.__sklearn_clone__:
            # a clone keeps what was fitted, in whatever is inside
            if not hasattr(value, "__dict__"):
                return _described_object(value, above)
            return {"class": kind, "fitted": _described(dict(vars(value)), (*above, _FITTED))}
        return {"class": kind, "params": _described(value.get_params(deep=False), above)}
    if is_fitted and hasattr(value, "state_dict"):
        # a module or an optimizer of torch, whose pickle is not the same twice
        kind = _described(type(value), above)
        parts = [_described_module(*each) for each in getattr(value, "named_modules", list)()]
        return {"class": kind, "parts": parts, "state": _described(value.state_dict(), above)}
    if hasattr(value, "iloc") and hasattr(value, "index"):
        return _described_frame(value, above)
    if hasattr(value, "detach"):  # a torch tensor
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        value = np.asanyarray(value, order="C")  # joblib's hash depends on the strides
        if is_fitted:  # those of axes with a single entry too, which a pickle may change
            value = value.copy(order="C")
    return _described_object(value, above)


def _described_object(value, above):
    """Return the hash of an object's pickle, or where it has none what would be in it."""
    try:
        return joblib.hash(value, coerce_mmap=True)
    except _NOT_PICKLED:
        pass  # something inside is a lambda, say, or of a class made in a function
    try:
        parts = value.__reduce_ex__(4)
    except _NOT_PICKLED:  # a lock or an open file: nothing that would be the same tomorrow
        return {"object": _described(type(value), above)}
    if not isinstance(parts, str):  # a text is a name
        parts = [list(part) if hasattr(part, "__next__") else part for part in parts]
    return {"object": _described(type(value), above), "parts": _described(parts, above)}


def _described_module(name, module):
    """Return what a module of torch does with its weights, as far as it can be told."""
    plain = {
        key: repr(value)
        for key, value in vars(module).items()
        if isinstance(value, (str, int, float, tuple)) and key[0] != "_" and key != "training"
    }
    return [name, f"{type(module).__module__}.{type(module).__qualname__}", repr(plain)]


def _described_frame(value, above):
    """Return the content of a frame of pandas, which notes in it what it has looked up before."""
    columns = [value.iloc[:, i] for i in range(value.shape[1])] if value.ndim > 1 else [value]
    categories = [getattr(column.dtype, "categories", None) for column in columns]
    return {
        "frame": _described(type(value), above),
        "names": [repr(column.name) for column in columns],
        "dtypes": [
            [str(column.dtype), str(getattr(column.dtype, "ordered", None))] for column in columns
        ],
        "categories": [None if x is None else _described(np.asarray(x)) for x in categories],
        "index": [_described(np.asarray(value.index)), repr(list(value.index.names))],
        "values": [_described(np.asarray(column)) for column in columns],
    }


def _described_sparse(value):
    """Return the content of a sparse matrix, without what scipy notes in it along the way."""
    entries = value.tocoo(copy=True)
    entries.sum_duplicates()  # sorts them, too
    return {
        "sparse": value.format,
        "shape": _described(value.shape),
        # scipy chooses int32 or int64
        "row": _described(entries.row.astype(np.int64)),
        "col": _described(entries.col.astype(np.int64)),
        "data": _described(entries.data),
    }


def _described_callable(value, above):
    """Return the name of a function or class where that is enough, else what is in it."""
    name = f"{getattr(value, '__module__', None)}.{value.__qualname__}"
    if _is_found_by_name(value):
        return name
    if isinstance(value, type):
        return {"class": name, "parts": _described(_parts_of_class(value), above)}
    if isinstance(value, FunctionType):
        return {"function": name, "parts": _described(_parts_of_function(value), above)}
    owner = getattr(value, "__self__", None)
    if isinstance(value, MethodType):
        return {"method": _described(value.__func__, above), "self": _described(owner, above)}
    if owner is not None and not isinstance(owner, (type, ModuleType)):  # of a builtin type
        return {"method": name, "self": _described(owner, above)}
    if hasattr(value, "__wrapped__"):  # of functools: functions of any kind with a cache, say
        wrapped = _described(value.__wrapped__, above)
        return {"wrapper": _described_object(value, above), "wrapped": wrapped}
    return name


def _is_found_by_name(value):
    """Tell whether a function or class is what its module has under its name."""
    found = sys.modules.get(getattr(value, "__module__", None))
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    # a class makes its bound methods anew each time
    return found is value or (isinstance(value, MethodType) and found == value)


def _parts_of_function(function):
    """Return what makes a function: its code, defaults, and the variables it encloses."""
    enclosed = []
    for cell in function.__closure__ or ():
        try:
            enclosed.append(cell.cell_contents)
        except ValueError:  # not set yet
            enclosed.append("")
    return [function.__code__, function.__defaults__, function.__kwdefaults__, enclosed]


def _parts_of_class(kind):
    """Return what makes a class: its bases, and the functions and values in its body."""
    body = {}
    for name, value in vars(kind).items():
        value = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
        # other names of this form, and private ones of abc, are the interpreter's
        if isinstance(value, FunctionType) or not name.startswith(("__", "_abc_")):
            body[name] = value
    return [list(kind.__bases__), body]


def _described_code(code, above):
    """Return code without its place in a file; names of variables are in it, values are not."""
    constants = [
        sorted(map(repr, each)) if isinstance(each, frozenset) else each for each in code.co_consts
    ]
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    kinds = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    text = code.co_code.hex(), code.co_exceptiontable.hex()
    return _described([text, kinds, names, constants], above)
