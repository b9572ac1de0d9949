# SPDX-License-Identifier: BSD-3-Clause
"""The linear last layer of a model: from features to logits and probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from skbait.representation.rows import as_tensor

_LINKS = ("softmax", "sigmoid", "ovr")


@dataclass(frozen=True)
class Head:
    """The linear last layer of a fitted model. Its tensors are not to be written to.

    Parameters
    ----------
    weight : torch.Tensor of shape (K', D)
        The weights, a row a logit: K' = K, or 1 for a model with a single logit.
    bias : torch.Tensor of shape (K',)
        The biases; zeros for a layer that has none.
    link : {"softmax", "sigmoid", "ovr"}
        How logits become probabilities. "sigmoid" goes with a single logit, that of the second
        class; "ovr" scales the sigmoid of each logit to a sum of one, as scikit-learn's
        one-against-rest classifiers do.

    See Also
    --------
    Representation : Has the head of a model.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skbait.representation import represent
    >>> X, y = load_iris(return_X_y=True)
    >>> head = represent(LogisticRegression(max_iter=1000).fit(X, y), X).head
    >>> head.weight.shape, head.link
    (torch.Size([3, 4]), 'softmax')
    """

    weight: torch.Tensor
    bias: torch.Tensor
    link: str = "softmax"

    def __post_init__(self):
        """Turn arrays into tensors and refuse shapes that do not fit each other."""
        for name, dims in (("weight", 2), ("bias", 1)):
            value = as_tensor(getattr(self, name))
            if value.ndim != dims or len(value) != len(self.weight):
                raise ValueError(
                    f"{name} of a head with {len(self.weight)} logits cannot have the shape "
                    f"{tuple(value.shape)}."
                )
            object.__setattr__(self, name, value)
        if self.link not in _LINKS or (len(self.weight) == 1) != (self.link == "sigmoid"):
            raise ValueError(
                f"link={self.link!r} does not go with {len(self.weight)} logits: a single logit "
                "takes 'sigmoid', several take 'softmax' or 'ovr'."
            )

    @property
    def n_classes(self) -> int:
        """Number of classes, K."""
        return max(2, len(self.weight))

    def to(self, device=None, dtype=None) -> Head:
        """Return the same head with its tensors on `device`, in `dtype`.

        Parameters
        ----------
        device : torch.device or None, default=None
            Where; None: where it is.
        dtype : torch.dtype or None, default=None
            In which dtype; None: as it is.

        Returns
        -------
        Head
            The head there.
        """
        weight, bias = (t.to(device=device, dtype=dtype) for t in (self.weight, self.bias))
        return Head(weight, bias, self.link)

    def in_order(self, columns) -> Head:
        """Return the head of the same classes in another order.

        Parameters
        ----------
        columns : ndarray of shape (K,), int64
            Which of the present classes comes first, second and so on.

        Returns
        -------
        Head
            The head.
        """
        weight, bias = (in_order(values, columns) for values in (self.weight, self.bias))
        return Head(weight, bias, self.link)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of rows, in the dtype of their features.

        Parameters
        ----------
        features : torch.Tensor of shape (..., D)
            Features h(x) on the head's device.

        Returns
        -------
        torch.Tensor of shape (..., K')
            ``features @ weight.T + bias``.
        """
        weight, bias = (t.to(features.dtype) for t in (self.weight, self.bias))
        return features @ weight.T + bias

    def probabilities(self, features: torch.Tensor) -> torch.Tensor:
        """Return the class probabilities of rows, in the dtype of their features.

        Parameters
        ----------
        features : torch.Tensor of shape (..., D)
            Features h(x) on the head's device.

        Returns
        -------
        torch.Tensor of shape (..., K)
            One column a class, K >= 2.
        """
        return self.from_logits(self.logits(features))

    def from_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the class probabilities that belong to logits.

        Parameters
        ----------
        logits : torch.Tensor of shape (..., K')
            What the layer gives.

        Returns
        -------
        torch.Tensor of shape (..., K)
            One column a class, K >= 2.
        """
        if self.link == "softmax":
            return torch.softmax(logits, dim=-1)
        if self.link == "sigmoid":
            return torch.sigmoid(torch.cat([-logits, logits], dim=-1))
        each = torch.sigmoid(logits)
        total = each.sum(dim=-1, keepdim=True)
        # scikit-learn gives equal shares where every sigmoid is zero
        return torch.where(total > 0, each / total, torch.full_like(each, 1 / each.shape[-1]))


def in_order(values: torch.Tensor, columns, dim: int = 0) -> torch.Tensor:
    """Return what belongs to classes in another order of them.

    Parameters
    ----------
    values : torch.Tensor
        One entry a class along `dim`; a single one is the logit of the second of two classes.
    columns : ndarray of shape (K,), int64
        Which of the present classes comes first, second and so on.
    dim : int, default=0
        The dimension of the classes.

    Returns
    -------
    torch.Tensor
        The same shape.
    """
    if values.shape[dim] == 1:
        return -values if columns[0] == 1 else values
    return values.index_select(dim, torch.as_tensor(columns, device=values.device))


def linear_head(weight, bias, link=None) -> Head:
    """Return the head of a scikit-learn model or an ``nn.Linear``, in arrays of its own.

    Parameters
    ----------
    weight : array-like or torch.Tensor of shape (K', D)
        The weights.
    bias : array-like or torch.Tensor of shape (K',) or (1,), or None
        The biases; None: zeros. A single value is that of all logits.
    link : str or None, default=None
        See `Head`; None: "sigmoid" for a single logit, else "softmax".

    Returns
    -------
    Head
        The head; training the model further does not change it.
    """
    weight = as_tensor(weight).clone()
    if bias is None:
        bias = torch.zeros(len(weight), dtype=weight.dtype, device=weight.device)
    bias = as_tensor(np.atleast_1d(bias) if np.isscalar(bias) else bias)
    bias = bias.expand(len(weight)).clone()
    if len(weight) == 1:
        link = "sigmoid"
    return Head(weight, bias.to(weight.dtype), link or "softmax")
