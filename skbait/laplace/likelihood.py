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


def class_probabilities(logits: torch.Tensor, link: str) -> torch.Tensor:
    """Return probabilities that sum to one, (..., K); of "ovr" as scikit-learn makes them."""
    each = response(logits, link)
    if link == "softmax":
        return each
    total = each.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, each / total, torch.full_like(each, 1 / each.shape[-1]))


def loss(logits: torch.Tensor, targets: torch.Tensor, link: str) -> torch.Tensor:
    """Return minus the log-likelihood of one-hot labels (n, K), summed over the rows."""
    if link == "softmax":
        return -(targets * torch.log_softmax(logits, dim=-1)).sum()
    return -(targets * logsigmoid(logits) + (1 - targets) * logsigmoid(-logits)).sum()


def curvature(r: torch.Tensor, link: str) -> torch.Tensor:
    """Return W of rows with response r (..., K); shape (..., K, K)."""
    if link == "softmax":
        return torch.diag_embed(r) - r[..., :, None] * r[..., None, :]
    return torch.diag_embed(r * (1 - r))


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


def top_variance(logits: torch.Tensor, link: str) -> torch.Tensor:
    """Return p̂ (1 - p̂) of the most probable class of each row; shape (..., 1)."""
    top = class_probabilities(logits, link).amax(dim=-1, keepdim=True)
    return top * (1 - top)
