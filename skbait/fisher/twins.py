# SPDX-License-Identifier: BSD-3-Clause
"""Rows of equal content: their scores differ by rounding alone, and the first has to go first."""

from __future__ import annotations

import torch

from skbait._backend import EXACT
from skbait.fisher.rows import Rows


class Twins:
    """Which rows are equal to others in features and probabilities.

    Parameters
    ----------
    rows : Rows
        N rows.

    Notes
    -----
    Equal rows have equal first probabilities and equal norms: only where these repeat is the
    content itself compared, which costs as much as sorting it.
    """

    def __init__(self, rows: Rows):
        suspects = torch.arange(len(rows), device=rows.features.device)
        suspects = suspects[_repeated(rows.probabilities[:, 0])]
        suspects = suspects[_repeated(torch.linalg.vector_norm(rows.features[suspects], dim=1))]
        content = torch.cat(
            [rows.features[suspects].to(EXACT), rows.probabilities[suspects].to(EXACT)], dim=1
        )
        _, group, sizes = torch.unique(content, dim=0, return_inverse=True, return_counts=True)
        twins = sizes[group] > 1
        self.rows = suspects[twins]  # ascending
        self.groups = torch.full((len(rows),), -1, device=suspects.device)
        self.groups[self.rows] = group[twins]
        self.any = len(self.rows) > 0

    def first_open(self, rows: torch.Tensor, closed: torch.Tensor) -> torch.Tensor:
        """Give for each of some rows the first row of equal content that is not closed.

        Parameters
        ----------
        rows : torch.Tensor of shape (m,), int64
            Positions of rows that are open themselves.
        closed : torch.Tensor of int64
            Positions of the rows that are not.

        Returns
        -------
        torch.Tensor of shape (m,), int64
            Positions; a row without a twin is its own.
        """
        is_open = torch.ones(len(self.groups), dtype=torch.bool, device=rows.device)
        is_open[closed] = False
        members = self.rows[is_open[self.rows]]
        n = len(self.groups)
        first = torch.full((n,), n, device=rows.device)  # of each group
        first.scatter_reduce_(0, self.groups[members], members, "amin")
        groups = self.groups[rows]
        return torch.where(groups < 0, rows, first[groups])

    def in_order(self, rows: list[int], closed: torch.Tensor) -> list[int]:
        """Take equal rows in the order of the pool.

        Parameters
        ----------
        rows : list of int
            Distinct positions of rows that are open.
        closed : torch.Tensor of int64
            Positions of the rows that are not.

        Returns
        -------
        list of int
            As many positions: instead of a row with twins, the first of those that is open and
            not yet in the list.
        """
        if not self.any:
            return rows
        shut = set(closed.tolist())
        members: dict[int, list[int]] = {}
        groups = self.groups[rows].tolist()
        wanted = {group for group in groups if group >= 0}
        for row, group in zip(self.rows.tolist(), self.groups[self.rows].tolist(), strict=True):
            if group in wanted and row not in shut:
                members.setdefault(group, []).append(row)
        following = {group: iter(found) for group, found in members.items()}
        return [
            row if group < 0 else next(following[group])
            for row, group in zip(rows, groups, strict=True)
        ]


def _repeated(values: torch.Tensor) -> torch.Tensor:
    """Tell which values occur more than once, (N,) bool."""
    # equal values have equal bits, once there is no negative zero: only those are sorted whose
    # bits fall where others do
    values = values.to(EXACT) + 0.0
    place = values.view(torch.int64).remainder(16 * len(values) + 1)
    suspects = torch.nonzero(torch.bincount(place)[place] > 1)[:, 0]
    ordered, order = values[suspects].sort()
    same = ordered[1:] == ordered[:-1]
    out = torch.zeros_like(values, dtype=torch.bool)
    out[suspects[order[1:]]] = same
    out[suspects[order[:-1]]] |= same
    return out
