# SPDX-License-Identifier: BSD-3-Clause
"""Labels as the user gives them: which rows have one, and in what form.

A row without a label is marked by -1 where labels are numbers, as in scikit-learn's
semi-supervised module, and by None or NaN (or pandas' NA) where they are strings or other
objects. A boolean array marks none: every row has a label.
"""

from __future__ import annotations

import numbers

import numpy as np
from sklearn.utils.validation import column_or_1d

__all__ = ["UNLABELED", "as_vector", "has_label", "tidy"]

UNLABELED = -1


def label_kind(labels) -> str:
    """Return a word for the kind of labels: those of one learner are of one.

    Parameters
    ----------
    labels : ndarray of shape (n_labels,)
        The labels.
    """
    words = {"b": "boolean", "O": "string", "U": "string", "S": "bytes"}
    return words.get(labels.dtype.kind, "numeric")


def as_vector(y, n_rows, *, name="y", owner="This estimator") -> np.ndarray:
    """Return `y` as a 1-D array of `n_rows` entries, the labels themselves unread.

    Parameters
    ----------
    y : array-like of shape (n_rows,)
        Labels: an array, a list, a pandas Series, a torch tensor.
    n_rows : int
        Number of rows of X.
    name : str, default="y"
        What to call `y` in an error.
    owner : str, default="This estimator"
        Who asks, for an error.

    Returns
    -------
    ndarray of shape (n_rows,)
        The labels. None and NaN in a list of strings stay what they are.

    See Also
    --------
    has_label : Which entries are labels.

    Examples
    --------
    >>> from skbait.utils.targets import as_vector
    >>> as_vector([0, 1, -1], 3)
    array([ 0,  1, -1])
    """
    if y is None:
        raise ValueError(f"{owner} requires {name} to be passed, but the target {name} is None.")
    if hasattr(y, "detach"):  # a torch tensor, maybe on another device
        y = y.detach().cpu().numpy()
    array = _as_array(y)
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} has dtype {array.dtype}.")
    array = column_or_1d(array, input_name=name, warn=True)
    if len(array) != n_rows:
        raise ValueError(
            "Found input variables with inconsistent numbers of samples: "
            f"X has {n_rows} rows and {name} has {len(array)} labels."
        )
    return array


def _as_array(y) -> np.ndarray:
    """Return labels as an array in which no label is altered for the sake of the marks."""
    if isinstance(y, np.ma.MaskedArray) and np.ma.getmaskarray(y).any():
        labels = np.asarray(y.data).astype(object)
        labels[np.ma.getmaskarray(y)] = None
        return labels
    if hasattr(y, "iloc") and getattr(y, "ndim", 1) == 2 and y.shape[1] == 1:
        return _as_array(y.iloc[:, 0])[:, None]  # a frame of pandas with one column
    if hasattr(y, "null_count") and hasattr(y, "to_list") and y.null_count():  # of polars
        return np.array(y.to_list(), dtype=object)
    kind = getattr(getattr(y, "dtype", None), "kind", "")
    nullable = hasattr(y, "isna") and kind in ("i", "u", "b")
    if nullable and y.isna().any():  # of pandas, which would make floats of them
        return np.asarray(y.astype(object))
    array = np.asarray(y)
    if hasattr(y, "dtype"):
        return array
    # A plain list: NumPy would turn None and NaN into the strings "None" and "nan", and True into
    # 1 beside a mark that is a number.
    if array.dtype.kind in "US" or (array.dtype.kind in "if" and _are_booleans_and_marks(y)):
        return np.asarray(y, dtype=object)
    return array


def _are_booleans_and_marks(y) -> bool:
    if not isinstance(y, (list, tuple)):
        return False
    return any(isinstance(label, (bool, np.bool_)) for label in y) and all(
        isinstance(label, (bool, np.bool_)) or _is_mark(label) for label in y
    )


def has_label(y) -> np.ndarray:
    """Tell of each entry of the vector `y` whether it is a label or the mark for none.

    Parameters
    ----------
    y : ndarray of shape (n_rows,)
        Labels and marks.

    Returns
    -------
    ndarray of bool of shape (n_rows,)
        True where there is a label.

    See Also
    --------
    as_vector : Labels as a vector.
    tidy : Labels alone, in their plainest dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from skbait.utils.targets import has_label
    >>> has_label(np.array([0, 1, -1]))
    array([ True,  True, False])
    >>> has_label(np.array(["cat", None], dtype=object))
    array([ True, False])
    """
    if y.dtype.kind == "f":
        return ~(np.isnan(y) | (y == UNLABELED))
    if y.dtype.kind == "i":
        return y != UNLABELED
    if y.dtype.kind == "O":
        return np.fromiter((not _is_mark(label) for label in y), dtype=bool, count=len(y))
    return np.ones(len(y), dtype=bool)


def tidy(labels, *, name="y") -> np.ndarray:
    """Return labels in the plainest dtype that holds them, or say what is wrong with them.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        Labels, without marks for missing ones.
    name : str, default="y"
        What to call them in an error.

    Returns
    -------
    ndarray of shape (n,)
        Booleans, integers, whole floats, strings, or an object array of strings.

    See Also
    --------
    has_label : Which entries are labels.

    Examples
    --------
    >>> import numpy as np
    >>> from skbait.utils.targets import tidy
    >>> tidy(np.array([1, 2], dtype=object))
    array([1, 2])
    """
    if labels.dtype.kind == "O":
        labels = _unbox(labels, name)
    kind = labels.dtype.kind
    if kind == "f" and not np.isfinite(labels).all():
        raise ValueError(
            f"Input {name} contains infinity or a value too large for {labels.dtype!r}."
        )
    # Not scikit-learn's check_classification_targets: it warns where there are more than half as
    # many classes as labels, which is no sign of a regression in the first rounds of a cycle.
    if kind not in "biufOUS" or (kind == "f" and (labels != np.floor(labels)).any()):
        what = "continuous" if kind == "f" else str(labels.dtype)
        raise ValueError(
            f"Unknown label type: {what}. A classifier takes integers, booleans or strings in "
            f"{name}, not the values of a regression."
        )
    return labels


def _is_mark(label) -> bool:
    """Tell whether an object stands for a missing label."""
    if label is None:
        return True
    if isinstance(label, (str, bytes, bool, np.bool_)):
        return False
    if isinstance(label, numbers.Real):
        return bool(label != label or label == UNLABELED)
    # pandas' NA and NaT, without importing pandas
    return type(label).__name__ in ("NAType", "NaTType")


def _unbox(labels, name) -> np.ndarray:
    """Return an object array of booleans, integers or floats in its own dtype; strings stay."""
    for kinds, dtype in (
        ((str,), object),
        ((bool, np.bool_), bool),
        ((numbers.Integral,), np.int64),
        ((numbers.Real,), np.float64),
    ):
        if all(isinstance(label, kinds) for label in labels):
            return labels.astype(dtype)
    types = sorted({type(label).__name__ for label in labels})
    raise ValueError(
        f"Unknown label type: {name} holds labels of type {', '.join(types)}. Labels have to be "
        "integers, booleans or strings, of one kind within y."
    )
