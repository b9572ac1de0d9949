# SPDX-License-Identifier: BSD-3-Clause
"""Rows of several containers, one after the other in one of the same kind."""

from __future__ import annotations

import importlib

import numpy as np
import torch
from scipy import sparse

from skbait.utils.data import kind_of, like_dict, row_shape
from skbait.utils.torch_datasets import join_datasets

__all__ = ["concatenate_rows"]


def concatenate_rows(parts):
    """Return the rows of all `parts`, one after the other.

    Parameters
    ----------
    parts : list
        Rows, of one kind of container and one shape of row. Lists join arrays and tensors.

    Returns
    -------
    object
        A container of the same kind; a ``torch.utils.data.ConcatDataset`` for torch Datasets, an
        array for memory maps, CSR for sparse matrices.

    See Also
    --------
    skbait.utils.data.take_rows : Some rows of a container.

    Examples
    --------
    >>> import numpy as np
    >>> from skbait.utils.joining import concatenate_rows
    >>> concatenate_rows([np.zeros((2, 3)), np.ones((1, 3))]).shape
    (3, 3)
    """
    parts = list(parts)
    if not parts:
        raise ValueError("parts is empty: there are no rows to join.")
    if len(parts) == 1:
        return parts[0]
    kinds = {kind_of(part) for part in parts}
    if kinds == {"array", "list"}:
        parts, kinds = [_as_array(part) for part in parts], {"array"}
    elif kinds == {"tensor", "list"}:
        first = next(part for part in parts if isinstance(part, torch.Tensor))
        parts, kinds = [_as_tensor_like(part, first) for part in parts], {"tensor"}
    if len(kinds) > 1:
        names = " and ".join(dict.fromkeys(type(part).__name__ for part in parts))
        raise TypeError(f"rows in {names} cannot be joined; pass the same kind of X every time.")
    return _JOIN[kinds.pop()](parts)


def _as_array(part):
    array = np.asarray(part)
    # numbers beside strings stay what they are
    return np.asarray(part, dtype=object) if array.dtype.kind in "US" else array


def _as_tensor_like(part, like):
    return torch.as_tensor(np.asarray(part) if isinstance(part, list) else part).to(like.device)


def _same_row_shape(parts):
    """Raise where rows differ in shape, naming the shapes."""
    shapes = [row_shape(part) for part in parts]
    for shape in shapes:
        if shape != shapes[0]:
            raise ValueError(
                f"rows of shape {shape} cannot be joined to rows of shape {shapes[0]}: every X "
                "must have the same number of features."
            )


def _join_arrays(parts):
    _same_row_shape(parts)
    parts = [np.asarray(part) for part in parts]
    texts = [part.dtype.kind in "US" for part in parts]
    if any(texts) and not all(texts) and not any(part.dtype == object for part in parts):
        # NumPy would make texts of all numbers
        kinds = " and ".join(dict.fromkeys(str(part.dtype) for part in parts))
        raise TypeError(
            f"rows of dtypes {kinds} cannot be joined: every X must hold numbers or texts alike; "
            "pass X.astype(float) where the texts are numbers."
        )
    return np.concatenate(parts)


def _join_tensors(parts):
    _same_row_shape(parts)
    return torch.cat([part.to(parts[0].device) for part in parts])


def _join_sparse(parts):
    _same_row_shape(parts)
    return sparse.vstack(parts, format="csr")


def _join_frames(parts):
    """Join frames by the ``concat`` of their own library; nothing is imported anew by this."""
    first = parts[0]
    for part in parts:
        if type(part) is not type(first):
            raise TypeError(
                f"rows in {type(first).__name__} and {type(part).__name__} cannot be joined; pass "
                "the same kind of X every time."
            )
        columns = getattr(part, "columns", None)
        if columns is not None and list(columns) != list(first.columns):
            raise ValueError(
                f"columns {list(columns)} do not match columns {list(first.columns)}: every X "
                "must have the same columns in the same order."
            )
    library = importlib.import_module(type(first).__module__.split(".")[0])
    if library.__name__ == "polars":
        return _join_polars(parts, library)
    if library.__name__ == "pandas":
        parts = _with_all_categories(parts, library)
    return library.concat(parts)


def _join_polars(parts, polars):
    """Join frames or columns; whole numbers and fractions make floats, as they do elsewhere."""
    if not hasattr(parts[0], "columns"):
        joined = _join_polars([part.to_frame("x") for part in parts], polars)
        return joined.to_series().alias(parts[0].name)
    kinds = zip(*(part.dtypes for part in parts), strict=True)
    texts = any(polars.String in kind and any(x.is_numeric() for x in kind) for kind in kinds)
    return polars.concat(parts, how="vertical" if texts else "vertical_relaxed")


def _with_all_categories(parts, pandas):
    """Give categorical columns of pandas frames the categories of all: joined, they stay so."""
    first = parts[0]
    if getattr(first, "columns", None) is None or not first.columns.is_unique:
        return parts
    dtypes = {}
    for name in first.columns:
        found = [part[name].dtype for part in parts]
        plain = all(isinstance(x, pandas.CategoricalDtype) and not x.ordered for x in found)
        plain = plain and len({x.categories.dtype for x in found}) == 1
        if plain and any(dtype != found[0] for dtype in found):
            every = dict.fromkeys(x for dtype in found for x in dtype.categories)
            dtypes[name] = pandas.CategoricalDtype(list(every))
    return [part.astype(dtypes) for part in parts] if dtypes else parts


def _join_dicts(parts):
    first = parts[0]
    for part in parts:
        if set(part) != set(first):
            raise ValueError(
                f"a dict with keys {sorted(map(str, part))} cannot be joined to one with keys "
                f"{sorted(map(str, first))}."
            )
    values = {key: concatenate_rows([part[key] for part in parts]) for key in first}
    return like_dict(first, values)


_JOIN = {
    "array": _join_arrays,
    "tensor": _join_tensors,
    "sparse": _join_sparse,
    "frame": _join_frames,
    "dict": _join_dicts,
    "dataset": join_datasets,
    "list": lambda parts: [row for part in parts for row in part],
}
