# SPDX-License-Identifier: BSD-3-Clause
"""Rows by their content: what tells them apart, and that equal ones are seen alike."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from skbait.utils.data import kind_of, on_host, take_rows

# Outputs for rows of equal content differ by no more than this part of the largest row: rounding.
_ROUNDING = 5e-6
# Directions along which outputs are compared before the content is.
_DIRECTIONS = 4


def contents_of(X, rows=None) -> list[bytes] | None:
    """Return what tells the content of rows, None where it cannot be told.

    Parameters
    ----------
    X : object
        N rows: an array, a tensor, a data frame of numbers, or a dict of these; of anything else
        the content is not known.
    rows : sequence of int or None, default=None
        Which rows; None: all.

    Returns
    -------
    list of bytes or None
        Equal for rows of equal content, of one dtype and one shape.
    """
    kind = kind_of(X)
    if kind == "dict":
        parts = [contents_of(X[name], rows) for name in sorted(X)]
        if any(part is None for part in parts):
            return None
        return [b"".join(row) for row in zip(*parts, strict=True)]
    if rows is not None and not isinstance(X, np.ndarray):  # of an array none is copied
        X, rows = take_rows(X, rows), None
    if kind == "tensor":
        X = on_host(X)
    elif kind == "frame":
        X = X.to_numpy() if hasattr(X, "to_numpy") else np.asarray(X)
    elif kind != "array":
        return None
    X = np.asarray(X)
    if X.dtype.kind not in "biuf" or X.ndim < 1:
        return None
    start = hashlib.blake2b(f"{X.dtype.str}{X.shape[1:]}".encode(), digest_size=16)
    contents = []
    for row in range(len(X)) if rows is None else rows:
        digest = start.copy()
        digest.update(np.ascontiguousarray(X[row]))
        contents.append(digest.digest())
    return contents


def see_alike(X, outputs: list[torch.Tensor]) -> None:
    """Give rows of equal content the outputs of the first of them, in place.

    A network rounds differently by the place of a row in its batch, so that choices among equal
    rows would depend on the size of the batch and on the number of threads.

    Parameters
    ----------
    X : object
        N rows. Where their content cannot be told nothing is done.
    outputs : list of torch.Tensor of shape (N, m)
        What a model gives for them: written to.

    Notes
    -----
    The content is looked at of those rows only whose outputs lie next to another row's along a few
    directions, a part of them in large pools: O(N·m + N log N) beside that.
    """
    if contents_of(X, [0]) is None:
        return
    suspects = torch.arange(len(outputs[0]), device="cpu")
    generator = torch.Generator().manual_seed(0)
    for output in outputs:
        output = output.float()
        directions = torch.randn(
            output.shape[1], _DIRECTIONS, generator=generator, dtype=torch.float32, device="cpu"
        )
        largest = float(torch.linalg.vector_norm(output, dim=1).max())
        for along in (output @ directions.to(output.device)).T.cpu():
            suspects = suspects[_near_another(along[suspects], largest)]
    rows = suspects.tolist()
    if not rows:
        return
    contents = contents_of(X, rows)
    first: dict[bytes, int] = {}
    like = [first.setdefault(each, row) for row, each in zip(rows, contents, strict=True)]
    if like != rows:
        for output in outputs:
            output[torch.tensor(rows)] = output[torch.tensor(like)]


def _near_another(values: torch.Tensor, largest: float) -> torch.Tensor:
    """Tell which numbers have another one that is the same but for rounding."""
    ordered, order = values.sort()
    near = ordered.diff() <= _ROUNDING * largest
    out = torch.zeros_like(values, dtype=torch.bool)
    out[order[1:]] = near
    out[order[:-1]] |= near
    return out
