# SPDX-License-Identifier: BSD-3-Clause
"""The look for NaN and infinity in rows of any kind, in chunks: they may be larger than memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from sklearn import get_config

from skbait._backend import rows_per_chunk
from skbait.utils.data import kind_of, num_rows, on_host, row_shape, take_rows

__all__ = ["check_finite"]

ADVICE = (
    "leave such rows out, or fill in what is missing (a Pipeline with an imputer as its first "
    "step takes NaN)"
)


def check_finite(X, *, name="X", owner="This estimator", positions=None, advice=ADVICE) -> None:
    """Raise if a number in X is NaN or infinite; read X in chunks, once.

    Parameters
    ----------
    X : object
        Rows. In frames and dicts every column and value that holds numbers is checked. The rows
        of a torch Dataset, which may cost much to make, and strings and objects are not.
    name : str, default="X"
        What to call X in an error.
    owner : str, default="This estimator"
        Who asks, for an error.
    positions : ndarray of int of shape (n_rows,) or None, default=None
        What an error calls the rows, where they were taken out of others; None: by their number.
    advice : str
        What an error says is to be done.

    Raises
    ------
    ValueError
        With the first row in which a number is not finite.

    See Also
    --------
    skbait.utils.validation.check_rows : Checks that there are rows, whatever their values.

    Notes
    -----
    ``sklearn.set_config(assume_finite=True)`` switches the check off.

    Examples
    --------
    >>> import numpy as np
    >>> from skbait.utils.finite import check_finite
    >>> check_finite(np.ones((2, 2)))
    >>> check_finite(np.array([[1.0, np.nan]]))
    Traceback (most recent call last):
    ...
    ValueError: ...
    """
    if get_config()["assume_finite"]:
        return
    kind = kind_of(X)
    if kind == "dict":
        how = {"owner": owner, "positions": positions, "advice": advice}
        for key, value in X.items():
            check_finite(value, name=f"{name}[{key!r}]", **how)
        return
    if kind in ("dataset", "list"):
        return
    if kind in ("array", "tensor") and not _is_floating(X):
        return
    n_rows = num_rows(X)
    shape = row_shape(X)
    size = rows_per_chunk(8 * max(1, int(np.prod(shape, dtype=np.int64))), n_rows)
    if kind == "sparse":
        X = X if X.format == "csr" else X.tocsr()
    for start in range(0, n_rows, size):
        chunk = take_rows(X, slice(start, start + size)) if size < n_rows else X
        for values in _floats(chunk, kind):
            if _all_finite(values):
                continue
            row, what = _first_not_finite(values, chunk if kind == "sparse" else None)
            row = start + row if positions is None else positions[start + row]
            raise ValueError(
                f"Input {name} contains {what}, first in row {row}. {owner} needs finite numbers: "
                f"{advice}."
            )


def _is_floating(X) -> bool:
    return X.is_floating_point() if isinstance(X, torch.Tensor) else X.dtype.kind == "f"


def _floats(chunk, kind) -> Iterator:
    """Yield what of a chunk can be NaN or infinite."""
    if kind == "sparse":
        if chunk.dtype.kind == "f":
            yield chunk.data
    elif kind != "frame":
        yield chunk
    elif not hasattr(chunk, "columns"):  # a Series
        yield from _column(chunk)
    else:
        for i in range(len(chunk.columns)):
            # by position: names may occur twice
            yield from _column(chunk.iloc[:, i] if hasattr(chunk, "iloc") else chunk[:, i])


def _column(column) -> Iterator[np.ndarray]:
    """Yield a column of a frame as floats, if it holds floats or may miss numbers."""
    if getattr(column.dtype, "kind", "") in ("f", "i", "u", "b") and hasattr(column, "isna"):
        if isinstance(column.dtype, np.dtype) and column.dtype.kind != "f":
            return
        yield column.to_numpy(dtype=np.float64, na_value=np.nan)
        return
    values = np.asarray(column)
    if values.dtype.kind == "f":
        yield values


def _all_finite(values) -> bool:
    """Tell whether all values are finite, by their sum first: it needs no memory."""
    if isinstance(values, torch.Tensor):
        return bool(torch.isfinite(values.sum()) or torch.isfinite(values).all())
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.sum(values)) or np.isfinite(values).all())


def _first_not_finite(values, matrix):
    """Return the first row that holds a number that is not finite, and a word for that."""
    values = on_host(values)
    where = np.argwhere(~np.isfinite(values))[0]
    row = int(where[0])
    if matrix is not None:  # where[0] counts stored values
        row = int(np.searchsorted(matrix.indptr, row, side="right")) - 1
    return row, "NaN" if np.isnan(values[tuple(where)]) else "infinity"
