# SPDX-License-Identifier: BSD-3-Clause
"""The prior precision of the largest marginal likelihood, in closed form on the last layer."""

from __future__ import annotations

import math

import torch

BOUNDS = (1e-6, 1e9)
"""Smallest and largest prior precision, both times the mean information of a weight."""


def log_evidence(
    prior_precision: float, information: torch.Tensor, mean: torch.Tensor
) -> torch.Tensor:
    """Return the part of the log marginal likelihood that depends on the prior precision.

    With `copies` independent vectors of common information G (eigenvalues g_j) and mean μ::

        log p(y | λ) = log p(y | μ) - λ ‖μ‖² / 2 + copies/2 · Σ_j (log λ - log(λ + g_j))

    the Laplace approximation, of which the first term does not depend on λ.

    Parameters
    ----------
    prior_precision : float
        λ.
    information : torch.Tensor of shape (P, P) or (K·P, K·P)
        G, what the rows add to the precision.
    mean : torch.Tensor of shape (K, P)
        μ.
    """
    g = torch.linalg.eigvalsh(information).clamp_min(0)
    copies = mean.numel() // len(g)
    fits = (math.log(prior_precision) - (prior_precision + g).log()).sum()
    return 0.5 * copies * fits - 0.5 * prior_precision * mean.square().sum()


def best_prior_precision(information: torch.Tensor, mean: torch.Tensor) -> float:
    """Return the prior precision λ of the largest `log_evidence`.

    Its derivative is zero where ``λ ‖μ‖² = copies · Σ_j g_j / (λ + g_j)``: the left side rises
    with λ and the right one, the number of weights that the rows determine, falls, so that there
    is one solution, found by bisection of log λ once the eigenvalues g_j are known.

    Parameters
    ----------
    information : torch.Tensor of shape (P, P) or (K·P, K·P)
        G, what the rows add to the precision.
    mean : torch.Tensor of shape (K, P)
        μ, the trained weights.

    Returns
    -------
    float
        λ, at most `BOUNDS` away from the mean of the g_j: a mean of zeros would ask for an
        infinite λ, and weights without information for none. 1.0 where nothing informs.
    """
    g = torch.linalg.eigvalsh(information).clamp_min(0).cpu()
    scale = float(g.mean())
    if scale == 0:
        return 1.0
    copies = mean.numel() // len(g)
    squares = float(mean.square().sum())
    low, high = (math.log(bound * scale) for bound in BOUNDS)
    while high - low > 1e-12 * max(1.0, abs(low)):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        lam = math.exp(middle)
        if lam * squares < copies * float((g / (lam + g)).sum()):
            low = middle
        else:
            high = middle
    return math.exp(0.5 * (low + high))
