# SPDX-License-Identifier: BSD-3-Clause
"""When a prediction changes: logits of every class, and whether another one is ahead."""

from __future__ import annotations

import torch

from skbait._backend import EXACT
from skbait.representation import Head

# A class is ahead by more than this, relative to the largest logit, or it is not: logits that
# ought to be equal may differ in their last digits.
_TIE = 1e-12


def class_weights(head: Head, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights (K, D) and biases (K,) with a row a class, in float64.

    The single logit of a binary head is that of the second class; the first has logit 0 then,
    which gives the same probabilities by softmax.
    """
    head = head.to(device, EXACT)
    if head.link != "sigmoid":
        return head.weight, head.bias
    zeros = torch.zeros_like(head.weight), torch.zeros_like(head.bias)
    return torch.cat([zeros[0], head.weight]), torch.cat([zeros[1], head.bias])


def overtaken(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Tell for every row whether another class has a larger logit than its label.

    Parameters
    ----------
    logits : torch.Tensor of shape (..., K)
        Logits.
    labels : torch.Tensor of int64 of shape (...,)
        A class for each row.

    Returns
    -------
    torch.Tensor of bool of shape (...,)
        Whether it is ahead by more than rounding.
    """
    own = logits.gather(-1, labels[..., None])[..., 0]
    return logits.amax(dim=-1) - own > _TIE * logits.abs().amax(dim=-1)
