# SPDX-License-Identifier: BSD-3-Clause
"""Rows of whatever holds rows: count them, take some.

X may be a NumPy array of any dimension, a memory map, a torch tensor, a data frame, a sparse
matrix, a dict of these (skorch's form for several inputs), a map-style torch Dataset, or a list
with an entry a row. Nothing here densifies a sparse matrix, and only the rows asked for are read
from a memory map or a Dataset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy import sparse
from torch.utils.data import Dataset, IterableDataset

from skbait._sklearn import safe_indexing
from skbait.utils.torch_datasets import subset_of

__all__ = ["kind_of", "num_rows", "row_shape", "take_rows"]

# Formats of sparse matrices from which rows can be taken
_INDEXABLE = ("csr", "csc", "lil", "dok")


def kind_of(X) -> str:
    """Return the name of the kind of container that X is.

    Parameters
    ----------
    X : object
        Rows.

    Returns
    -------
    {"array", "tensor", "frame", "sparse", "dict", "dataset", "list"}
        "array" is also what behaves like a NumPy array.

    Raises
    ------
    TypeError
        If X holds no rows that can be counted and taken.

    See Also
    --------
    num_rows : How many rows there are.

    Examples
    --------
    >>> import numpy as np
    >>> from skbait.utils.data import kind_of
    >>> kind_of(np.zeros((2, 3))), kind_of({"image": np.zeros((2, 8, 8))})
    ('array', 'dict')
    """
    if isinstance(X, np.ndarray):
        return "array"
    if isinstance(X, torch.Tensor):
        return "tensor"
    if sparse.issparse(X):
        return "sparse"
    if isinstance(X, Mapping):
        return "dict"
    if isinstance(X, IterableDataset):
        raise TypeError(
            f"{type(X).__name__} is an IterableDataset, whose rows have no positions; pass a "
            "map-style torch Dataset (with __getitem__ and __len__)."
        )
    if isinstance(X, Dataset):
        return "dataset"
    if hasattr(X, "columns") or (hasattr(X, "to_frame") and hasattr(X, "filter")):
        return "frame"  # or a column of one; an index of pandas cannot be filtered
    if hasattr(X, "shape") and hasattr(X, "dtype") and hasattr(X, "__getitem__"):
        return "array"
    if isinstance(X, Sequence) and not isinstance(X, (str, bytes)):
        return "list"
    raise TypeError(
        f"X holds no rows: got {type(X).__name__}. Pass an array, a tensor, a data frame, a "
        "sparse matrix, a dict of arrays, a list of rows or a torch Dataset."
    )


def num_rows(X) -> int:
    """Return the number of rows of X.

    Parameters
    ----------
    X : object
        Rows: an array of any dimension, a tensor, a data frame, a sparse matrix, a dict of these,
        a torch Dataset or a list.

    Returns
    -------
    int
        How many there are.

    See Also
    --------
    kind_of : The kinds of container.
    take_rows : Some of the rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skbait.utils.data import num_rows
    >>> num_rows(np.zeros((4, 3, 8, 8)))
    4
    >>> num_rows({"image": np.zeros((2, 5)), "text": np.zeros((2, 7))})
    2
    """
    kind = kind_of(X)
    if kind == "dict":
        counts = {key: num_rows(value) for key, value in X.items()}
        if len(set(counts.values())) != 1:
            raise ValueError(f"the values of the dict X differ in their number of rows: {counts}.")
        return next(iter(counts.values()))
    if kind in ("array", "tensor", "sparse"):
        if len(X.shape) == 0:
            raise TypeError(f"X is a single value of type {type(X).__name__}, without rows.")
        return int(X.shape[0])
    try:
        return len(X)
    except (TypeError, NotImplementedError) as error:
        raise TypeError(
            f"{type(X).__name__} has no length, so its rows cannot be counted."
        ) from error


def row_shape(X) -> tuple[int, ...] | None:
    """Return the shape of one row of X; None where rows have no common shape that can be seen.

    Parameters
    ----------
    X : object
        Rows.

    Returns
    -------
    tuple of int or None
        The shape; empty where a row is a single number.

    See Also
    --------
    num_rows : How many rows there are.

    Examples
    --------
    >>> import numpy as np
    >>> from skbait.utils.data import row_shape
    >>> row_shape(np.zeros((100, 8, 8)))
    (8, 8)
    """
    kind = kind_of(X)
    if kind == "frame" and not hasattr(X, "shape"):
        return (len(X.columns),) if hasattr(X, "columns") else ()
    if kind in ("array", "tensor", "sparse", "frame"):
        return tuple(int(size) for size in X.shape[1:])
    return None


def take_rows(X, positions):
    """Return some rows of X, in the order of `positions`, in a container of the same kind.

    Parameters
    ----------
    X : object
        Rows; see `num_rows`.
    positions : array-like of int, slice or array-like of bool
        Which rows: their positions, or a mask with an entry for each row. A slice takes a view
        where the container has views.

    Returns
    -------
    object
        The rows. A torch Dataset becomes a ``torch.utils.data.Subset``, a sparse matrix whose
        format has no rows (COO, DIA, BSR) a CSR one.

    See Also
    --------
    skbait.utils.joining.concatenate_rows : Joins rows.
    num_rows : How many rows there are.

    Examples
    --------
    >>> import numpy as np
    >>> from skbait.utils.data import take_rows
    >>> take_rows(np.arange(10).reshape(5, 2), [4, 0])
    array([[8, 9],
           [0, 1]])
    """
    kind = kind_of(X)
    if kind == "dict":
        taken = {key: take_rows(value, positions) for key, value in X.items()}
        return like_dict(X, taken)
    whole_numbers = not isinstance(positions, slice)
    if whole_numbers:
        positions = as_positions(positions, lambda: num_rows(X))
    if kind == "tensor":
        if whole_numbers:
            return X.index_select(0, torch.as_tensor(positions, device=X.device))
        return X[positions]
    if kind == "sparse":
        return (X if X.format in _INDEXABLE else X.tocsr())[positions]
    if kind == "dataset":
        positions = positions if whole_numbers else np.arange(len(X))[positions]
        return subset_of(X, positions)
    if kind == "frame":
        return safe_indexing(X, positions)
    if kind == "list":
        return [X[i] for i in positions.tolist()] if whole_numbers else X[positions]
    return X[positions]


def on_host(X):
    """Return a torch tensor as a NumPy array, for what knows no tensors.

    Parameters
    ----------
    X : object
        A tensor on any device, or anything else, which comes back as it is. NumPy has no
        bfloat16: that becomes float32.
    """
    if not isinstance(X, torch.Tensor):
        return X
    X = X.detach().cpu()
    return (X.float() if X.dtype == torch.bfloat16 else X).numpy()


def is_table(X) -> bool:
    """Tell whether X has rows and columns and no further dimensions.

    Parameters
    ----------
    X : object
        Rows; of lists it is not known.
    """
    shape = row_shape(X)
    return shape is not None and len(shape) == 1


def without_gradients(X):
    """Return rows with tensors detached that require a gradient, those in dicts as well.

    Parameters
    ----------
    X : object
        Rows; see `num_rows`.

    Returns
    -------
    object
        X itself where nothing in it requires a gradient.
    """
    if isinstance(X, torch.Tensor):
        return X.detach() if X.requires_grad else X
    if not isinstance(X, Mapping):
        return X
    values = {key: without_gradients(value) for key, value in X.items()}
    same = all(values[key] is X[key] for key in values)
    return X if same else like_dict(X, values)


def as_positions(positions, n_rows):
    """Return positions as int64, a mask turned into positions.

    Parameters
    ----------
    positions : array-like of int or bool
        The positions, or a mask.
    n_rows : callable
        Gives the number of rows, which is asked for a mask only.

    Returns
    -------
    ndarray of int64
        The positions.
    """
    if isinstance(positions, torch.Tensor):
        positions = positions.detach().cpu().numpy()
    positions = np.asarray(positions)
    if positions.ndim != 1:
        raise ValueError(f"positions must have one dimension, got shape {positions.shape}.")
    if positions.dtype.kind == "b":
        if len(positions) != n_rows():
            raise ValueError(f"the mask has {len(positions)} entries for {n_rows()} rows.")
        return np.flatnonzero(positions)
    if positions.size and positions.dtype.kind not in "iu":
        raise TypeError(f"positions must be integers or booleans, got {positions.dtype}.")
    return positions.astype(np.int64, copy=False)


def like_dict(original, values):
    """Return a dict of the type of `original` (skorch's SliceDict), or a plain one."""
    if type(original) is dict:
        return values
    try:
        return type(original)(**values)
    except (TypeError, ValueError):
        return values
