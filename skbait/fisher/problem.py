# SPDX-License-Identifier: BSD-3-Clause
"""What a selection is about: the rows, and the numbers that make M and F of them."""

from __future__ import annotations

from dataclasses import dataclass

from skbait.fisher.rows import Rows


@dataclass(frozen=True)
class Problem:
    """A selection problem, in units in which a candidate weighs 1.

    Parameters
    ----------
    pool, labeled : Rows
        Candidates, and the labelled rows (or None).
    fisher_rows : list of Rows
        The rows over which F is the mean.
    regularization : float
        λ, relative to the weight of a candidate.
    labeled_weight : float
        Weight of a labelled row relative to that of a candidate.
    n_steps : int
        Number of rows that will be chosen.
    """

    pool: Rows
    labeled: Rows | None
    fisher_rows: list[Rows]
    regularization: float
    labeled_weight: float
    n_steps: int

    @property
    def n_fisher(self) -> int:
        """Number of rows over which F is the mean."""
        return sum(len(rows) for rows in self.fisher_rows)

    @property
    def n_labeled(self) -> int:
        """Number of labelled rows."""
        return 0 if self.labeled is None else len(self.labeled)
