# SPDX-License-Identifier: BSD-3-Clause
"""The largest of many scores, such that rounding does not decide among equal ones.

Scores that ought to be equal (those of duplicates, or of the same probabilities in another order)
may differ in their last digit, and which is larger then depends on threads and chunks. What agrees
to `TIE` of the largest magnitude is a tie, and ties go to the row that comes first.
"""

from __future__ import annotations

import torch

TIE = 1e-12
"""Scores closer than this, relative to the largest magnitude among them, are equal."""


def largest(scores: torch.Tensor, n: int) -> torch.Tensor:
    """Return the positions of the n largest scores, the largest first.

    Parameters
    ----------
    scores : torch.Tensor of shape (N,), float64
        Finite scores.
    n : int
        How many, at most N.

    Returns
    -------
    torch.Tensor of shape (n,), int64
        Positions; equal scores in the order of their positions.
    """
    ordered, order = torch.sort(scores, descending=True)
    drops = -torch.diff(ordered) > TIE * ordered[[0, -1]].abs().max()  # (N - 1,)
    rank = torch.zeros_like(order)
    rank[order[1:]] = drops.cumsum(0)  # equal for equal scores
    return torch.argsort(rank, stable=True)[:n]


def first_of_largest(scores: torch.Tensor) -> int:
    """Return the position of the largest score, the first of equal ones.

    Parameters
    ----------
    scores : torch.Tensor of shape (N,), float64
        Scores.

    Returns
    -------
    int
        The position.
    """
    top = scores.max()
    least = torch.where(torch.isinf(top), top, top - TIE * top.abs())  # inf - inf is NaN
    return int((scores >= least).to(torch.uint8).argmax())
