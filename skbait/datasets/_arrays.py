# SPDX-License-Identifier: BSD-3-Clause
"""What the loaders of CIFAR-10 have in common: files of arrays, and labels of its ten classes."""

from __future__ import annotations

import struct
import zlib
from contextlib import contextmanager
from zipfile import BadZipFile

import numpy as np

CLASSES = ("airplane", "automobile", "bird", "cat", "deer")
CLASSES += ("dog", "frog", "horse", "ship", "truck")

# What NumPy and zipfile raise where a file is damaged (OSError for an offset outside it), KeyError
# where an array is missing, and ValueError for what the checks of the arrays themselves find.
_DAMAGES = (KeyError, ValueError, EOFError, BadZipFile, OSError, RuntimeError)
_DAMAGES += (struct.error, zlib.error)


@contextmanager
def arrays_in(path, *, form):
    """Open a ``.npz`` file of a documented form.

    Parameters
    ----------
    path : Path
        The file.
    form : str
        Its form, for messages.

    Yields
    ------
    numpy.lib.npyio.NpzFile
        The arrays by name.

    Raises
    ------
    OSError
        If the file is no archive of arrays, or the block finds that it is not of its form: what
        lacks or raises a ValueError inside the block counts.
    """
    # opened here: np.load leaves a path's file open where the archive in it is broken
    with open(path, "rb") as file:
        try:
            arrays = np.load(file, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise ValueError(f"it holds one array, of shape {arrays.shape}, not an archive")
            with arrays:
                yield arrays
        except _DAMAGES as error:
            raise OSError(f"{path} is not {form}: {error}") from error


def as_labels(y, n_rows, name):
    """Return labels as int64, checked.

    Parameters
    ----------
    y : ndarray
        The labels.
    n_rows : int
        How many there have to be.
    name : str
        Their name, for messages.

    Returns
    -------
    ndarray of int64 of shape (n_rows,)
        The labels.

    Raises
    ------
    ValueError
        If they are not as many integers from 0 to 9.
    """
    if y.shape != (n_rows,) or y.dtype.kind not in "iu":
        raise ValueError(f"{name} must be {n_rows} integers, got {y.shape} {y.dtype}")
    if len(y) and (y.min() < 0 or y.max() >= len(CLASSES)):
        raise ValueError(
            f"{name} must be from 0 to {len(CLASSES) - 1}, got {y.min()} to {y.max()}"
        )
    return y.astype(np.int64, copy=False)
