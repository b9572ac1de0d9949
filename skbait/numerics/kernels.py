# SPDX-License-Identifier: BSD-3-Clause
"""The Gaussian kernel between rows of unit norm.

With rows h of norm 1 (or 0, where there was nothing to scale) it is

    k(h, z) = exp( -γ ‖h - z‖² ) = exp( γ (2 h·z - ‖h‖² - ‖z‖²) ),     γ = 1 / length_scale²

so that a block of kernels is one matrix product and an exponential.
"""

from __future__ import annotations

import math

import torch
from torch.nn.functional import normalize

from skbait._backend import EXACT, for_chunks, rows_per_chunk

SAME = 1e-5
"""Rows of unit norm that are no further apart than this are taken for duplicates: it is what the
rounding of a network in float32 does to one and the same row in two batches."""


def unit_rows(features: torch.Tensor) -> torch.Tensor:
    """Scale rows to unit norm.

    Parameters
    ----------
    features : torch.Tensor of shape (N, D)
        The rows, in any dtype.

    Returns
    -------
    torch.Tensor of shape (N, D), float64
        The rows over their Euclidean norms; rows of zeros stay as they are.
    """
    rows, tiny = features.to(EXACT), torch.finfo(EXACT).tiny
    # the largest number first: squares of large ones would overflow, those of small ones vanish
    return normalize(normalize(rows, p=math.inf, dim=1, eps=tiny), dim=1, eps=tiny)


def rbf_kernel(rows: torch.Tensor, others: torch.Tensor, gamma: float) -> torch.Tensor:
    """Return the kernels between two sets of rows.

    Parameters
    ----------
    rows : torch.Tensor of shape (n, D), float64
        Rows of unit norm, or zero.
    others : torch.Tensor of shape (m, D), float64
        Others.
    gamma : float
        γ, positive.

    Returns
    -------
    torch.Tensor of shape (n, m), float64
        ``exp(-gamma · ‖h - z‖²)``, at most 1.
    """
    exponents = torch.addmm(-gamma * squares(others), rows, others.T, alpha=2 * gamma)  # (n, m)
    exponents.sub_(gamma * squares(rows)[:, None])
    return exponents.clamp_(max=0.0).exp_()


def squares(rows: torch.Tensor) -> torch.Tensor:
    """Return the squared norm of each row.

    Parameters
    ----------
    rows : torch.Tensor of shape (N, D)
        The rows.

    Returns
    -------
    torch.Tensor of shape (N,)
        ``‖h‖²``.
    """
    return torch.linalg.vector_norm(rows, dim=1).square_()


def rounding(dtype: torch.dtype, gamma: float, n_features: int) -> float:
    """Bound the relative error of a kernel that is computed in a dtype.

    Parameters
    ----------
    dtype : torch.dtype
        The dtype of the rows and of the product.
    gamma : float
        γ.
    n_features : int
        D.

    Returns
    -------
    float
        A bound that holds with certainty up to D = 64. Beyond, it takes the rounding errors of
        an inner product for independent, in which case their sum grows with the root of D: a
        probability of 1e-14 to exceed it is left.
    """
    unit = torch.finfo(dtype).eps / 2
    return unit * (8 + 2 * gamma * (8 + 8 * math.sqrt(n_features)))


def smallest_distance(rows: torch.Tensor) -> float | None:
    """Return the distance between the two closest rows that are no duplicates.

    Parameters
    ----------
    rows : torch.Tensor of shape (L, D), float64
        Rows of unit norm, or zero.

    Returns
    -------
    float or None
        The smallest distance above `SAME`; None where there is none. Time O(L²·D), memory O(L).
    """
    norms = squares(rows)
    smallest = [math.inf]

    def measure(part: slice) -> None:
        squared = torch.addmm(norms, rows[part], rows.T, alpha=-2).add_(norms[part, None])
        squared.masked_fill_(squared <= SAME**2, math.inf)  # (part, L)
        smallest.append(float(squared.min()))

    if len(rows):
        chunk = rows_per_chunk(16 * len(rows), len(rows), device=rows.device)
        for_chunks(measure, len(rows), chunk)
    found = min(smallest)
    return math.sqrt(found) if math.isfinite(found) else None
