# SPDX-License-Identifier: BSD-3-Clause
"""From logits to probabilities, residuals and curvature, for the links that a head can have.

With the one-hot label y (K,) and the logits z (K,) of a row, the log-likelihood has the gradient
``y - r`` and the Hessian ``-W`` in z:

========= ======================================== ================== =====================
link      log-likelihood                           response r         curvature W
========= ======================================== ================== =====================
"softmax" log of the softmax of z, at y            softmax(z)         diag(r) - r rᵀ
"ovr"     K logistic regressions, each for itself  sigmoid(z), by one diag(r (1 - r))
========= ======================================== ================== =====================
"""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid


def response(logits: torch.Tensor, link: str) -> torch.Tensor:
    """Return what the model expects of the one-hot label; shape (..., K) like the logits."""
    return torch.softmax(logits, dim=-1) if link == "softmax" else torch.sigmoid(logits)


def normalised(r: torch.Tensor, link: str) -> torch.Tensor:
    """Return responses (..., K) as probabilities that sum to one, as scikit-learn makes them."""
    if link == "softmax":
        return r
    total = r.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, r / total, torch.full_like(r, 1 / r.shape[-1]))


def class_probabilities(logits: torch.Tensor, link: str) -> torch.Tensor:
    """Return the probabilities of the classes, (..., K) like the logits."""
    return normalised(response(logits, link), link)


def loss(logits: torch.Tensor, targets: torch.Tensor, link: str) -> torch.Tensor:
    """Return minus the log-likelihood of one-hot labels (n, K) of each row; shape (n,)."""
    if link == "softmax":
        return -(targets * torch.log_softmax(logits, dim=-1)).sum(dim=-1)
    found = targets * logsigmoid(logits) + (1 - targets) * logsigmoid(-logits)
    return -found.sum(dim=-1)


def curvature_times(r: torch.Tensor, directions: torch.Tensor, link: str) -> torch.Tensor:
    """Return W times a vector for each row, both (..., K)."""
    if link == "softmax":
        return r * (directions - (r * directions).sum(dim=-1, keepdim=True))
    return r * (1 - r) * directions


def curvature_root(r: torch.Tensor, link: str) -> torch.Tensor:
    """Return A with ``AᵀA = W`` of rows with response r (..., K); shape (..., K, K).

    For "softmax" its rows are the gradients e_y - r, each times the root of r_y: the expectation
    over the labels that the Fisher information is.
    """
    if link == "softmax":
        eye = torch.eye(r.shape[-1], dtype=r.dtype, device=r.device)
        return r.sqrt()[..., :, None] * (eye - r[..., None, :])
    return torch.diag_embed((r * (1 - r)).sqrt())


def top_variance(r: torch.Tensor, link: str) -> torch.Tensor:
    """Return p̂ (1 - p̂), p̂ the largest probability, of rows with response r; shape (...,)."""
    top = normalised(r, link).amax(dim=-1)
    return top * (1 - top).clamp_min(0)  # rounding may take a probability above one
