# SPDX-License-Identifier: BSD-3-Clause
"""CIFAR-10, from a data home or from its own site.

Two files are understood, and looked for in this order in the data home:

- ``cifar10.npz`` with the arrays ``X_train`` (N, 32, 32, 3) uint8, ``y_train`` (N,), ``X_test``,
  ``y_test`` and ``target_names``. It may hold fewer rows than the whole data set.
- ``cifar-10-python.tar.gz``, the archive of the data set's site. It holds pickles, and a pickle
  runs what it says: so the archive is read only when its SHA-256 is the published archive's, and
  even then by an unpickler that knows arrays and nothing else.
"""

from __future__ import annotations

import codecs
import hashlib
import pickle
import tarfile

import numpy as np
from sklearn.datasets import fetch_file
from sklearn.utils import Bunch

from skbait.datasets._arrays import CLASSES, arrays_in, as_labels
from skbait.datasets._home import find_data_home

ARCHIVE = "cifar-10-python.tar.gz"
ARCHIVE_URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
ARCHIVE_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
ARRAYS = "cifar10.npz"

_FOLDER = "cifar-10-batches-py"  # inside the archive
_TRAIN_BATCHES = tuple(f"{_FOLDER}/data_batch_{i}" for i in range(1, 6))
_TEST_BATCHES = (f"{_FOLDER}/test_batch",)
_NAMES = f"{_FOLDER}/batches.meta"

_DESCRIPTION = """\
CIFAR-10: 60,000 colour images of 32 x 32 pixels in ten classes, 50,000 to train and 10,000 to
test. Alex Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
https://www.cs.toronto.edu/~kriz/cifar.html
"""


def fetch_cifar10(data_home=None, *, subset="train", return_X_y=False, download_if_missing=True):
    """Load the CIFAR-10 images, downloading them where they are not at hand.

    The data home is searched for ``cifar10.npz`` (arrays `X_train`, `y_train`, `X_test`,
    `y_test`, `target_names`; it may be a part of the data set) and then for
    ``cifar-10-python.tar.gz``. With neither, that archive (163 MiB) is downloaded from
    https://www.cs.toronto.edu/~kriz/cifar.html, once. Its checksum is verified before it is read.

    Parameters
    ----------
    data_home : str or path-like, default=None
        The folder to look in, and to download to. By default the environment variable
        ``SKBAIT_DATA``, and where that is not set, scikit-learn's
        :func:`~sklearn.datasets.get_data_home`.
    subset : {"train", "test", "all"}, default="train"
        The rows to load; "all" puts the test rows after the training rows.
    return_X_y : bool, default=False
        Whether to return only the pair of images and labels.
    download_if_missing : bool, default=True
        Whether to download what is missing; otherwise it is an error.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch` or tuple
        A Bunch with `data` (n, 32, 32, 3) uint8, `target` (n,) int64, `target_names` and
        `DESCR`; or, with `return_X_y`, the tuple ``(data, target)``.

    Raises
    ------
    OSError
        If no data are at hand and they may not or cannot be downloaded, or if a file is not what
        its name says.

    See Also
    --------
    fetch_cifar10_features : The same images as features of a pretrained network.

    Examples
    --------
    >>> from skbait.datasets import fetch_cifar10
    >>> X, y = fetch_cifar10(subset="test", return_X_y=True)    # doctest: +SKIP
    >>> X.shape                                                 # doctest: +SKIP
    (10000, 32, 32, 3)
    """
    if subset not in ("train", "test", "all"):
        raise ValueError(f"subset must be 'train', 'test' or 'all', got {subset!r}")
    home = find_data_home(data_home)
    if (home / ARRAYS).exists():
        images, labels, names = _read_arrays(home / ARRAYS, subset)
    else:
        if not (home / ARCHIVE).exists():
            _download(home, allowed=download_if_missing)
        images, labels, names = _read_archive(home / ARCHIVE, subset)
    if return_X_y:
        return images, labels
    return Bunch(data=images, target=labels, target_names=names, DESCR=_DESCRIPTION)


def _download(home, *, allowed):
    """Put the archive into `home`, or say what the caller can do instead."""
    remedy = (
        f"Put {ARCHIVE} from {ARCHIVE_URL} (or {ARRAYS}) into a folder of your choice and name "
        "that folder as data_home= or in the environment variable SKBAIT_DATA."
    )
    if not allowed:
        raise OSError(
            f"CIFAR-10 is not in {home}, and download_if_missing=False forbids its download. "
            f"{remedy}"
        )
    try:
        home.mkdir(parents=True, exist_ok=True)
        fetch_file(ARCHIVE_URL, folder=home, sha256=ARCHIVE_SHA256, n_retries=1)
    except OSError as error:  # URLError is one
        raise OSError(
            f"CIFAR-10 is not in {home}, and its download from {ARCHIVE_URL} failed ({error}). "
            f"{remedy}"
        ) from error


def _read_arrays(path, subset):
    """Read images, labels and class names from a ``.npz`` file of the documented form."""
    parts = ("train", "test") if subset == "all" else (subset,)
    form = "CIFAR-10 as arrays X_train, y_train, X_test, y_test, target_names"
    with arrays_in(path, form=form) as arrays:
        read = [_checked(arrays[f"X_{part}"], arrays[f"y_{part}"], part) for part in parts]
        images, labels = (np.concatenate(each) for each in zip(*read, strict=True))
        names = arrays["target_names"]
        if names.shape != (len(CLASSES),) or names.dtype.kind != "U":
            raise ValueError(
                f"target_names must be {len(CLASSES)} texts, got {names.shape} {names.dtype}"
            )
    return images, labels, names.tolist()


def _read_archive(path, subset):
    """Read images, labels and class names from the archive, once its checksum is right."""
    members = {"train": _TRAIN_BATCHES, "test": _TEST_BATCHES}.get(
        subset, _TRAIN_BATCHES + _TEST_BATCHES
    )
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != ARCHIVE_SHA256:
            raise OSError(
                f"{path} is not the archive of {ARCHIVE_URL}: its SHA-256 is {digest}, not "
                f"{ARCHIVE_SHA256}. It was not opened; delete it to have it downloaded again."
            )
        file.seek(0)  # the very bytes that were just checked
        with tarfile.open(fileobj=file, mode="r:gz") as archive:
            # The members are read in place: nothing is unpacked to disk.
            batches = [_ArrayUnpickler.read(archive.extractfile(name)) for name in members]
            names = _ArrayUnpickler.read(archive.extractfile(_NAMES))[b"label_names"]
    rows = np.concatenate([batch[b"data"] for batch in batches])  # (n, 3072), channel by channel
    images = np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    labels = np.concatenate([batch[b"labels"] for batch in batches]).astype(np.int64, copy=False)
    return images, labels, [name.decode() for name in names]  # as published: nothing to check


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler of dicts, lists, bytes, numbers and NumPy arrays; of nothing else."""

    @classmethod
    def read(cls, file):
        """Return the object in an open binary file that Python 2 or 3 pickled."""
        return cls(file, encoding="bytes").load()

    def find_class(self, module, name):
        """Give the few globals that an array's pickle asks for."""
        # NumPy 2 moved numpy.core to numpy._core; files written before say the old name.
        known = {
            ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): codecs.encode,
        }
        try:
            return known[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"{module}.{name} does not belong in a file of arrays"
            ) from None


def _reconstruct(kind, shape, dtype):
    """Make the empty array that an array's pickle then fills."""
    return np.ndarray.__new__(kind, shape, dtype)


def _checked(images, labels, part):
    """Return the images (n, 32, 32, 3) uint8 and labels (n,) int64 of a part, or what is wrong."""
    if images.ndim != 4 or images.shape[1:] != (32, 32, 3) or images.dtype != np.uint8:
        raise ValueError(
            f"X_{part} must be (n, 32, 32, 3) uint8, got {images.shape} {images.dtype}"
        )
    return images, as_labels(labels, len(images), f"y_{part}")
