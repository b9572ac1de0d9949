# SPDX-License-Identifier: BSD-3-Clause
"""Distances that depend on nothing but the two rows between which they are.

They are sums over the differences of coordinates in float64, one pair at a time. The faster
``‖x‖² + ‖z‖² - 2 x·z`` cancels: duplicates come out at a distance of 1e-8 of their norm, and its
last digits depend on chunks and threads. For one z at a time, as greedy choices have it, both read
the rows once, and that is what they cost.
"""

from __future__ import annotations

import torch

from skbait._backend import EXACT, for_chunks, rows_per_chunk

# Rows are widened to float64 once, not anew in every pass, where they then take no more than this.
WIDE_BYTES = 2**30
# Of at least so many others the nearest is sought by a matrix product.
MANY = 8
# Bound of the error of a scalar product of D numbers, by D and by the norms.
ROUNDING = 1e-15


def widened(features: torch.Tensor) -> torch.Tensor:
    """Return rows for many passes of `nearest_distances`: in float64 unless they are too many.

    Parameters
    ----------
    features : torch.Tensor of shape (N, D)
        The rows.

    Returns
    -------
    torch.Tensor of shape (N, D)
        The same numbers.
    """
    return features.to(EXACT) if 8 * features.numel() <= WIDE_BYTES else features


def nearest_distances(
    features: torch.Tensor, others: torch.Tensor, *, p: float = 2.0
) -> torch.Tensor:
    """Return the distance of every row to the nearest of some other rows.

    Parameters
    ----------
    features : torch.Tensor of shape (N, D)
        The rows, in any float dtype.
    others : torch.Tensor of shape (L, D), L >= 1
        The other rows, on the same device.
    p : float, default=2.0
        Which norm: 2 is the Euclidean one, 1 the sum of absolute differences.

    Returns
    -------
    torch.Tensor of shape (N,), float64
        Exactly 0 for a row that is among the others; the same to the last bit whatever the
        chunks and threads.

    Notes
    -----
    Time O(N·L·D). Of many others, a matrix product tells which may be the nearest, and only the
    distances to these (mostly one) are made from differences.
    """
    n_rows, width = features.shape
    others = others.to(EXACT)
    by_product = p == 2.0 and len(others) >= MANY
    if by_product:
        others = torch.unique(others, dim=0)
        centre = others.mean(dim=0)
        moved = others - centre
        squares = moved.square().sum(dim=1)  # (L,)
    found = torch.empty(n_rows, dtype=EXACT, device=features.device)

    def measure(rows: slice) -> None:
        h = features[rows].to(EXACT)
        if by_product:
            may_be = _may_be_nearest(h - centre, moved, squares)  # (rows, L)
            row, other = may_be.nonzero(as_tuple=True)
            if len(row) <= 2 * len(h):
                pairs = _distances(h[row, None], others[other, None], p)[:, 0, 0]
                least = pairs.new_full((len(h),), torch.inf)
                found[rows] = least.scatter_reduce_(0, row, pairs, "amin")
                return
        found[rows] = _distances(h, others, p).amin(dim=1)

    copied = 0 if features.dtype == EXACT and not by_product else 4 * width
    chunk = rows_per_chunk(8 * (copied + 2 * len(others)), n_rows, device=features.device)
    for_chunks(measure, n_rows, chunk)
    return found


def _distances(x: torch.Tensor, z: torch.Tensor, p: float) -> torch.Tensor:
    """Distances of all pairs (..., M, L), each from its own differences."""
    return torch.cdist(x, z, p=p, compute_mode="donot_use_mm_for_euclid_dist")


def _may_be_nearest(x: torch.Tensor, z: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    """Tell which z (L, D) of squared norms (L,) may be nearest to each x (M, D); (M, L) bool."""
    approximate = torch.addmm(squares, x, z.T, alpha=-2.0)  # less ‖x‖²
    size = x.square().sum(dim=1) + squares.max()
    off = ROUNDING * x.shape[1] * size  # an upper bound of the rounding
    return approximate <= (approximate.amin(dim=1) + 2.0 * off)[:, None]
