# SPDX-License-Identifier: BSD-3-Clause
"""Rows on their way from the caller's X to tensors: blocks, buffers, conversion."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import check_array

from skbait._backend import memory_bytes, rows_per_chunk, working_dtype
from skbait.utils.data import kind_of, row_shape, take_rows
from skbait.utils.state import read_only_arrays_allowed


def as_tensor(array, device: torch.device | None = None) -> torch.Tensor:
    """Return an array as a floating point tensor, sharing its memory where that can be done.

    Parameters
    ----------
    array : array-like or torch.Tensor
        The numbers. Half precision becomes float32; whole numbers and those longer than float64,
        which torch does not have, become float64.
    device : torch.device or None, default=None
        Where the tensor shall be; None: where it is.

    Returns
    -------
    torch.Tensor
        Never to be written to: it may be the caller's own memory.
    """
    if not isinstance(array, torch.Tensor):
        array = np.asarray(array)
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        if array.dtype.char == "g":  # NumPy's longdouble
            array = array.astype(np.float64)
        if any(stride < 0 for stride in array.strides):
            array = np.ascontiguousarray(array)
        with read_only_arrays_allowed():
            array = torch.from_numpy(array)
    tensor = array.detach()
    return tensor.to(device=device, dtype=working_dtype(tensor.dtype))


def blocks_of(X, n_rows: int) -> Iterator:
    """Yield X in blocks of consecutive rows, small enough to be copied, as views where possible.

    Parameters
    ----------
    X : object
        Anything that holds rows. Dicts and torch Datasets are for networks, which stream by
        themselves: they come as one block.
    n_rows : int
        Its number of rows.
    """
    if sparse.issparse(X):
        X = X.tocsr()
    if kind_of(X) in ("dict", "dataset"):
        size = n_rows
    else:
        size = rows_per_chunk(_bytes_per_row(X), n_rows)
    if size >= n_rows:
        yield X
        return
    for start in range(0, n_rows, size):
        yield take_rows(X, slice(start, start + size))


def _bytes_per_row(X) -> int:
    """Estimate the bytes of one dense row in float64."""
    shape = row_shape(X)
    if shape is None:  # a list: of lists of numbers, or of texts
        try:
            shape = np.shape(X[0]) or (2048,)
        except ValueError:  # rows that make no array: documents as lists of sentences
            shape = (2048,)
    return 8 * math.prod(shape)


def rows_as_features(X, device: torch.device | None = None) -> torch.Tensor:
    """Return rows as their own features, where no model is at hand.

    Parameters
    ----------
    X : array-like, tensor, data frame or sparse matrix of N rows
        Numbers; rows of several dimensions (images) are flattened. The columns of a data frame
        may be of several dtypes.
    device : torch.device or None, default=None
        Where the features shall be; None: the CPU, or where the tensor is.

    Returns
    -------
    torch.Tensor of shape (N, D)
        In float32 or float64. It may share the memory of X, so do not write to it.

    Raises
    ------
    TypeError
        If X holds no numbers that can stand in one row of features.

    See Also
    --------
    represent : Features under a model.

    Examples
    --------
    >>> import numpy as np
    >>> from skbait.representation import rows_as_features
    >>> rows_as_features(np.zeros((5, 8, 8))).shape
    torch.Size([5, 64])
    """
    if kind_of(X) in ("dict", "dataset"):
        raise TypeError(
            f"X is a {type(X).__name__}, whose rows are no vectors of features: pass an estimator "
            "that makes features of them (a FrozenEstimator around a trained network, say)."
        )
    if sparse.issparse(X):
        X = X.toarray()
    try:
        if kind_of(X) == "frame":
            # columns of several kinds make an array of objects, unless scikit-learn takes them
            dtypes = [np.float64, np.float32]
            X = check_array(
                X, accept_sparse=True, dtype=dtypes, ensure_all_finite=False, ensure_2d=False
            )
            X = X.toarray() if sparse.issparse(X) else X
        features = as_tensor(X, device)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"the rows of X cannot be used as features without a model ({error}): encode them as "
            "numbers, by a transformer say, or pass a FrozenEstimator around a trained classifier."
        ) from error
    return features.reshape(len(features), -1)


class RowBuffer:
    """Tensors that are filled block by block, without ever being held twice.

    Parameters
    ----------
    n_rows : int
        Rows of every tensor in the end.
    device : torch.device or None, default=None
        Where the tensors are; None: where their first block is.
    """

    def __init__(self, n_rows: int, device: torch.device | None = None):
        self.n_rows = n_rows
        self.device = device
        self._tensors: dict[str, torch.Tensor] = {}
        self._filled: dict[str, int] = {}

    def add(self, name: str, block) -> None:
        """Copy the next rows of the tensor called `name`; None means that there is no such one.

        Parameters
        ----------
        name : str
            Name of the tensor.
        block : array-like, torch.Tensor or None
            The next rows.
        """
        if block is None:
            return
        block = as_tensor(block)
        if name not in self._tensors:
            self._check_memory(name, block)
            self._tensors[name] = torch.empty(
                (self.n_rows, *block.shape[1:]),
                dtype=block.dtype,
                device=self.device or block.device,
            )
        start = self._filled.get(name, 0)
        stop = start + block.shape[0]
        if stop > self.n_rows:
            raise ValueError(f"X has {self.n_rows} rows, but at least {stop} {name} came out.")
        self._tensors[name][start:stop] = block
        self._filled[name] = stop

    def _check_memory(self, name: str, block: torch.Tensor) -> None:
        """Raise where a tensor would be larger than the memory there is."""
        n_bytes = self.n_rows * block.element_size() * math.prod(block.shape[1:])
        device = self.device or block.device
        available = memory_bytes(device)
        if n_bytes > available:
            raise MemoryError(
                f"{name} of {self.n_rows} rows, {tuple(block.shape[1:])} each, take "
                f"{n_bytes / 1e9:.3g} GB, and there are {available / 1e9:.3g} GB: have the model "
                "make fewer of them (n_features= of a HashingVectorizer, max_features= of a "
                "TfidfVectorizer, TruncatedSVD), look at fewer rows (subset_size), or take a "
                "strategy that needs probabilities only."
            )

    def all(self) -> list[torch.Tensor]:
        """Return all full tensors."""
        return [self.get(name) for name in self._tensors]

    def get(self, name: str) -> torch.Tensor | None:
        """Return the full tensor called `name`, or None if nothing was ever added.

        Parameters
        ----------
        name : str
            Name of the tensor.

        Raises
        ------
        ValueError
            If rows are missing.
        """
        if name not in self._tensors:
            return None
        if self._filled[name] != self.n_rows:
            raise ValueError(
                f"X has {self.n_rows} rows, but only {self._filled[name]} {name} came out."
            )
        return self._tensors[name]
