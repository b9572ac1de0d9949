# SPDX-License-Identifier: BSD-3-Clause
"""The k-centre problem: choose rows as centres such that no row is far from all of them."""

from __future__ import annotations

import torch

from skbait._backend import EXACT, for_chunks, rows_per_chunk
from skbait.numerics.distances import nearest_distances, widened
from skbait.numerics.ranking import first_of_largest


def farthest_first(features: torch.Tensor, n: int, nearest: torch.Tensor) -> torch.Tensor:
    """Choose rows greedily, each of them the farthest from all centres before it.

    The largest distance that a row then has to its nearest centre is at most twice what the best
    choice of n rows reaches.

    Parameters
    ----------
    features : torch.Tensor of shape (N, D)
        The rows.
    n : int
        How many to choose.
    nearest : torch.Tensor of shape (N,), float64
        Distance of every row to its nearest centre so far; minus infinity for rows that are not
        to be chosen.

    Returns
    -------
    torch.Tensor of shape (n,), int64
        Positions in the order of choice, all different even where all distances are 0; the first
        of rows that are equally far.

    Notes
    -----
    One pass over the rows for each choice, O(n·N·D) in all; memory that of the rows in float64.
    """
    features, nearest = widened(features), nearest.clone()
    chosen: list[int] = []
    for _ in range(n):
        if chosen:
            added = nearest_distances(features, features[chosen[-1:]])
            torch.minimum(nearest, added, out=nearest)
            nearest[chosen[-1]] = -torch.inf
        chosen.append(first_of_largest(nearest))
    return torch.tensor(chosen, dtype=torch.int64)


def distances_to_mean(features: torch.Tensor) -> torch.Tensor:
    """Return the distance of every row to the mean of all.

    Parameters
    ----------
    features : torch.Tensor of shape (N, D)
        The rows.

    Returns
    -------
    torch.Tensor of shape (N,), float64
        The distances.
    """
    n_rows, width = features.shape
    total = torch.zeros(width, dtype=EXACT, device=features.device)

    def add(rows: slice) -> None:
        total.add_(features[rows].sum(dim=0, dtype=EXACT))

    for_chunks(add, n_rows, rows_per_chunk(8 * width, n_rows, device=features.device))
    return nearest_distances(features, total[None] / n_rows)
