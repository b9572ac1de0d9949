# SPDX-License-Identifier: BSD-3-Clause
"""Features that are computed once for each row, however often the row comes back.

Between two trainings the body of a model does not change, and the same rows are asked for again
and again: the pool of every query, less what has been labelled since. Rows are known by their
content, so that it does not matter whether the caller passes the same array, a copy, or the rest
of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import torch

from skbait.representation.contents import contents_of
from skbait.utils.data import kind_of, take_rows

__all__ = ["FeatureMemory"]

MOST_BYTES = 2**30
"""What is kept, in bytes, but for the features of the last rows that were new."""

# What it takes to know a row again, in bytes.
_INDEX = 220


class FeatureMemory:
    """Features of rows seen before, found by the rows' content.

    It is a cache: copies and pickles of it are empty, and it changes no result.

    See Also
    --------
    skbait.ActiveLearner : Keeps one where ``update="laplace"``.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skbait.representation.memory import FeatureMemory
    >>> memory, asked = FeatureMemory(), []
    >>> def compute(X):
    ...     asked.append(len(X))
    ...     return torch.from_numpy(2 * X)
    >>> X = np.arange(12.0).reshape(6, 2)
    >>> _ = memory.features(X, compute)
    >>> memory.features(X[4:], compute)
    tensor([[16., 18.],
            [20., 22.]], dtype=torch.float64)
    >>> asked
    [6]
    """

    def __init__(self):
        self._blocks: dict[int, torch.Tensor] = {}  # the one used last is last
        self._place: dict[bytes, tuple[int, int]] = {}  # content -> block and row in it
        self._count = 0
        self._lock = threading.RLock()

    def __getstate__(self):
        return {}

    def __setstate__(self, state):
        self.__init__()

    def features(self, X, compute: Callable[..., torch.Tensor]) -> torch.Tensor:
        """Return the features of rows; compute those of rows that are new.

        Parameters
        ----------
        X : object
            N rows. Of arrays, tensors, numeric data frames and dicts of these the content is
            known; for anything else `compute` is called each time.
        compute : callable
            From rows to their features (n, D), each row's by itself.

        Returns
        -------
        torch.Tensor of shape (N, D)
            The features; not to be written to.
        """
        contents = contents_of(X)
        if contents is None:
            return compute(X)
        with self._lock:
            return self._found(X, contents, compute)

    def _found(self, X, contents, compute):
        new = [row for row, content in enumerate(contents) if content not in self._place]
        if len(new) == len(contents):
            found = compute(X)
            # a linear model's features are the rows themselves, which the caller may write to
            self._keep(found.clone() if _share_memory(found, X) else found, contents)
        else:
            if new:
                # of rows taken out, which are a copy
                self._keep(compute(take_rows(X, np.array(new))), [contents[row] for row in new])
            found = self._gather([self._place[content] for content in contents])
        self._forget()
        return found

    def _keep(self, features: torch.Tensor, contents: list[bytes]) -> None:
        """Take in a block of features; forget those not used for longest."""
        self._blocks[self._count] = features
        self._place.update((content, (self._count, i)) for i, content in enumerate(contents))
        self._count += 1

    def _gather(self, places: list[tuple[int, int]]) -> torch.Tensor:
        """Put rows of the blocks together."""
        block_of, row_of = np.array(places).T
        used = list(dict.fromkeys(block_of.tolist()))
        first = self._blocks[used[0]]
        if len(used) == 1 and np.array_equal(row_of, np.arange(len(first))):
            found = first
        else:
            found = first.new_empty(len(places), first.shape[1])
            for block in used:
                rows = np.flatnonzero(block_of == block)
                index = torch.from_numpy(row_of[rows])
                values = self._blocks[block]
                rows = torch.from_numpy(rows).to(values.device)
                found[rows] = values[index.to(values.device)]
        for block in used:
            self._blocks[block] = self._blocks.pop(block)
        return found

    def _forget(self) -> None:
        """Drop the blocks not used for longest while all together are larger than is kept."""
        size = sum(map(_size, self._blocks.values()))
        for key in list(self._blocks)[:-1]:
            if size <= MOST_BYTES:
                return
            size -= _size(self._blocks.pop(key))
            self._place = {row: at for row, at in self._place.items() if at[0] != key}


def _size(block: torch.Tensor) -> int:
    """Return how many bytes the features of some rows take, with what the rows are known by."""
    return block.numel() * block.element_size() + _INDEX * len(block)


def _share_memory(features: torch.Tensor, X) -> bool:
    """Tell whether features may lie in the memory of the rows."""
    if kind_of(X) == "dict":
        return any(_share_memory(features, part) for part in X.values())
    if isinstance(X, torch.Tensor) and (X.is_cuda or X.dtype == torch.bfloat16):
        # NumPy has neither: a copy too many does no harm
        return X.device == features.device and X.dtype == features.dtype
    if features.is_cuda or features.dtype == torch.bfloat16:
        return False
    rows = X.detach().numpy() if isinstance(X, torch.Tensor) else np.asarray(X)
    return np.may_share_memory(features.numpy(), rows)
