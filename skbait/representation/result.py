# SPDX-License-Identifier: BSD-3-Clause
"""What `represent` gives: features and probabilities of some rows, checked to fit each other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from skbait.representation.head import Head, in_order
from skbait.representation.rows import as_tensor


@dataclass(frozen=True)
class Representation:
    """Features and probabilities of some rows under a fitted model.

    The tensors are not to be written to: features may share the memory of the caller's X.

    Parameters
    ----------
    features : torch.Tensor of shape (N, D)
        Input of the last linear layer, without a column for the bias; float32 or float64.
    probabilities : torch.Tensor of shape (N, K) or None
        One column a class, K >= 2: a model with a single logit has two columns here too. None
        where there is no model.
    logits : torch.Tensor of shape (N, K) or (N, 1), or None
        What the last linear layer gives, before any softmax or sigmoid; one column for models
        with a single logit; None where the probabilities do not come from such a layer (a
        calibrated classifier).
    classes : ndarray of shape (K,)
        The labels of the columns of `probabilities`.
    head : Head or None, default=None
        The linear layer that makes the probabilities of the features; None where they come about
        in another way (a calibrated classifier).
    head_is_mean : bool, default=False
        Whether the probabilities average over a distribution of heads, whose mean `head` is.
        Otherwise `represent` drops a head that does not give the probabilities.

    See Also
    --------
    represent : Gives it.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skbait.representation import represent
    >>> X, y = load_iris(return_X_y=True)
    >>> found = represent(LogisticRegression(max_iter=1000).fit(X, y), X)
    >>> found.features.shape, found.probabilities.shape, found.classes
    (torch.Size([150, 4]), torch.Size([150, 3]), array([0, 1, 2]))
    """

    features: torch.Tensor
    probabilities: torch.Tensor | None
    logits: torch.Tensor | None
    classes: np.ndarray
    head: Head | None = None
    head_is_mean: bool = False

    def __post_init__(self):
        """Turn arrays into tensors and refuse shapes that do not fit each other."""
        for name in ("features", "probabilities", "logits"):
            value = getattr(self, name)
            if value is None and name != "features":
                continue
            value = as_tensor(value)
            if value.ndim != 2:
                raise ValueError(f"{name} must have two dimensions, got shape {_shape(value)}.")
            object.__setattr__(self, name, value)
        object.__setattr__(self, "classes", np.asarray(self.classes))
        others = {"probabilities": self.probabilities, "logits": self.logits}
        for name, value in others.items():
            if value is not None and value.shape[0] != self.features.shape[0]:
                raise ValueError(
                    f"features have {self.features.shape[0]} rows, {name} {value.shape[0]}."
                )
        if self.probabilities is not None:
            check_columns(self.probabilities, self.classes)
        if self.head is not None and self.head.weight.shape[1] != self.features.shape[1]:
            raise ValueError(
                f"the head takes {self.head.weight.shape[1]} features, but the rows have "
                f"{self.features.shape[1]}."
            )

    def to(self, device: torch.device) -> Representation:
        """Return the same representation with its tensors on `device`.

        Parameters
        ----------
        device : torch.device
            The device; nothing is copied for tensors that are there already.

        Returns
        -------
        Representation
            The representation there.
        """
        moved = {
            name: None if value is None else value.to(device)
            for name in ("features", "probabilities", "logits")
            for value in [getattr(self, name)]
        }
        head = None if self.head is None else self.head.to(device)
        return replace(self, **moved, head=head)

    def with_classes(self, classes, columns) -> Representation:
        """Return the same rows with other labels, and the columns in their order.

        Parameters
        ----------
        classes : array-like of shape (K,)
            The labels.
        columns : ndarray of shape (K,), int64
            Which of the present columns belongs to each.

        Returns
        -------
        Representation
            What has a column or a row a class is reordered.
        """
        if np.array_equal(columns, np.arange(len(columns))):
            return replace(self, classes=classes)
        probabilities, logits = (
            None if values is None else in_order(values, columns, dim=1)
            for values in (self.probabilities, self.logits)
        )
        head = None if self.head is None else self.head.in_order(columns)
        return replace(
            self, classes=classes, probabilities=probabilities, logits=logits, head=head
        )

    def take(self, positions: torch.Tensor) -> Representation:
        """Return the representation of some of the rows.

        Parameters
        ----------
        positions : torch.Tensor of int64 of shape (n,)
            Which rows, on the device of the features.

        Returns
        -------
        Representation
            Of n rows, in the order of `positions`.
        """
        rows = {
            name: None if value is None else value.index_select(0, positions)
            for name in ("features", "probabilities", "logits")
            for value in [getattr(self, name)]
        }
        return replace(self, **rows)


def _shape(tensor) -> str:
    return str(tuple(tensor.shape))


def check_columns(probabilities: torch.Tensor, classes: np.ndarray) -> None:
    """Raise unless there is one column a class, and more than one class.

    Parameters
    ----------
    probabilities : torch.Tensor
        Probabilities of some rows.
    classes : ndarray of shape (K,)
        The labels.

    Raises
    ------
    ValueError
        With what does not fit.
    """
    if probabilities.ndim != 2:
        raise ValueError(
            "one column of probabilities a class is needed, got an array of shape "
            f"{_shape(probabilities)}; a multi-label or multi-output model cannot be used."
        )
    if probabilities.shape[1] != len(classes):
        raise ValueError(
            f"the model gives {probabilities.shape[1]} columns of probabilities, but its classes "
            f"are {len(classes)}."
        )
    if len(classes) < 2:
        raise ValueError(
            f"at least two classes are needed, but the model knows {len(classes)}: label rows of "
            "another class first."
        )
