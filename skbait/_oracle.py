# SPDX-License-Identifier: BSD-3-Clause
"""Labels as a learner meets them: read where it asks, and joined to those it has."""

from __future__ import annotations

import numpy as np

from skbait.utils.targets import as_vector, has_label, label_kind, tidy


class Oracle:
    """The labels `y` of a fit, of which only the asked ones are read.

    Which rows have a label at all is known from the start; what the label is, only to `ask`.

    Parameters
    ----------
    y : array-like of shape (n_rows,)
        Labels, with a mark where a row has none.
    n_rows : int
        Number of rows of the X that goes with it.

    Attributes
    ----------
    answerable : ndarray of int64
        Positions of the rows that have a label, ascending.
    n_unlabeled : int
        Number of the other rows.
    asked : ndarray of int64
        Positions read so far, in the order of asking.
    """

    def __init__(self, y, n_rows):
        self._y = as_vector(y, n_rows, owner="This ActiveLearner estimator")
        self.answerable = np.flatnonzero(has_label(self._y)).astype(np.int64)
        self.n_unlabeled = n_rows - len(self.answerable)
        self.asked = np.empty(0, dtype=np.int64)
        self._answers = self._y[:0]

    def ask(self, positions):
        """Read the labels at `positions`."""
        self.asked = np.concatenate([self.asked, positions])
        self._answers = np.concatenate([self._answers, self._y[positions]])

    @property
    def labels(self):
        """The labels read so far, tidy, in the order of asking."""
        return tidy(self._answers)

    def everything(self):
        """Return the labels of all rows, for a strategy that is an oracle; these are not counted.

        Rows without a label have an arbitrary one.
        """
        answers = tidy(self._y[self.answerable])
        labels = np.full(len(self._y), answers[0], dtype=answers.dtype)
        labels[self.answerable] = answers
        return labels

    def unasked(self):
        """Return the positions of rows with a label that was not read, ascending."""
        return self.answerable[~np.isin(self.answerable, self.asked)]


def join(old, new):
    """Return `new` labels appended to `old` ones; both are tidy and have to be of one kind."""
    kinds = label_kind(old), label_kind(new)
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"y has {kinds[1]} labels {np.unique(new)[:3].tolist()}..., but the learner was "
            f"fitted with {kinds[0]} labels {np.unique(old)[:3].tolist()}...: "
            "give the new labels in the same form."
        )
    if "O" in (old.dtype.kind, new.dtype.kind):
        return np.concatenate([old.astype(object), new.astype(object)])
    if old.dtype.kind in "iu" and new.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            whole = new.astype(np.int64)
        if (whole == new).all():
            same = whole.astype(old.dtype)
            new = same if (same == whole).all() else whole
    joined = np.concatenate([old, new])
    if joined.dtype.kind == "f" and {old.dtype.kind, new.dtype.kind} <= {"i", "u"}:
        # uint64 and int64: NumPy makes floats of them, which would merge large labels
        largest = max(int(old.max()), int(new.max()))
        if largest > np.iinfo(np.int64).max:
            raise ValueError(
                f"y holds the label {largest}, which int64 cannot hold, beside signed integers: "
                "give all labels as uint64, or as strings."
            )
        joined = np.concatenate([old.astype(np.int64), new.astype(np.int64)])
    return joined
