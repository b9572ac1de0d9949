# SPDX-License-Identifier: BSD-3-Clause
"""A few rows at a time: their exact scores, and their columns P and Q from one pass."""

from __future__ import annotations

import math

import torch

from skbait._backend import EXACT
from skbait.fisher.blocks import gain
from skbait.fisher.course import Course, course
from skbait.fisher.linalg import inverse, symmetrise


class Few:
    """Exact scores of a few rows among themselves.

    With Π = V_B M⁻¹ V_Bᵀ and Γ = V_B M⁻¹FM⁻¹ V_Bᵀ over the rows B, choosing a row s of them, with
    G = (I + Π_ss)⁻¹ and S = Γ_ss, changes

        Π ← Π - Π_:s G Π_s:
        Γ ← Γ - Γ_:s G Π_s: - Π_:s G (Γ_s: - S G Π_s:).

    Parameters
    ----------
    pi, gamma : torch.Tensor of shape (B·r, B·r)
        Π and Γ, float64 where scores are to be exact.
    rank : int
        Rows r of one factor.
    """

    def __init__(self, pi: torch.Tensor, gamma: torch.Tensor, rank: int):
        # small matrices are quicker on the CPU than launches on a GPU
        self.pi, self.gamma = symmetrise(pi).cpu(), symmetrise(gamma).cpu()
        self.rank = rank

    def columns(self, i: int) -> slice:
        """Columns of Π that belong to the i-th row.

        Parameters
        ----------
        i : int
            Which row.

        Returns
        -------
        slice
            r columns.
        """
        return slice(i * self.rank, (i + 1) * self.rank)

    def posterior(self, i: int) -> torch.Tensor:
        """G = (I + Π_ss)⁻¹ of the i-th row.

        Parameters
        ----------
        i : int
            Which row.

        Returns
        -------
        torch.Tensor of shape (r, r), float64
            G.
        """
        own = self.columns(i)
        return self._posterior(self.pi[own, own])

    def _posterior(self, block: torch.Tensor) -> torch.Tensor:
        eye = torch.eye(len(block), dtype=block.dtype)
        return inverse(block + eye, name="block of the chosen rows")

    def gains(self) -> torch.Tensor:
        """Present score of every row, (B,)."""
        n = len(self.pi) // self.rank
        i = torch.arange(n)
        pi, gamma = (
            matrix.view(n, self.rank, n, self.rank)[i, :, i, :] for matrix in (self.pi, self.gamma)
        )
        return gain(pi, gamma)

    def choose(self, rows: list[int]):
        """Choose some rows at once.

        Parameters
        ----------
        rows : list of int
            Which rows s, m of them: Π_ss and its like are then blocks of m·r columns.

        Returns
        -------
        tuple of torch.Tensor of shape (m·r, B·r), float64
            G Π_s: and G (Γ_s: - S G Π_s:), which change the columns of all other rows too.
        """
        own = [column for i in rows for column in range(i * self.rank, (i + 1) * self.rank)]
        pi_s, gamma_s = self.pi[own], self.gamma[own]
        g = self.posterior(rows[0]) if len(rows) == 1 else self._posterior(pi_s[:, own])
        g_pi = g @ pi_s
        rest = g @ (gamma_s - gamma_s[:, own] @ g_pi)
        self.gamma = self.gamma - gamma_s.T @ g_pi - pi_s.T @ rest
        self.pi = self.pi - pi_s.T @ g_pi
        return g_pi, rest


class Batch:
    """P and Q of a few rows from one pass over the pool, kept up to date without another.

    Choosing a row s of the batch B changes, for every row x of the pool,

        P_xB ← P_xB - P_xs G Π_sB
        Q_xB ← Q_xB - Q_xs G Π_sB - P_xs G (Γ_sB - S G Π_sB),

    in the notation of `Few`. The columns of the pass stay as they are: a small matrix says how
    the present ones are made of them.

    Parameters
    ----------
    rows : list of int
        The rows B, the one to be chosen next first.
    state : DenseForm or FactoredForm
        Where M and F are.
    buffer : torch.Tensor
        Memory for N·r·2·B·r numbers in the dtype of the pass.
    """

    def __init__(self, rows: list[int], state, buffer: torch.Tensor):
        self.rows = rows
        self.place = {row: i for i, row in enumerate(rows)}
        self.chosen: list[int] = []  # columns of Π of the chosen rows
        rank = state.pool.rank
        self.width = width = len(rows) * rank
        shape = (len(state.pool), rank, 2 * width)
        self.products = buffer[: math.prod(shape)].view(shape)
        if rank == 1:  # every column contiguous
            self.products = self.products.view(2 * width, -1).T[:, None, :]
        pi, gamma = state.couple(rows, self.products)
        self.few = Few(pi, gamma, rank)
        self.first = self.few.pi, self.few.gamma
        self.mix = torch.eye(2 * width, dtype=EXACT)

    def couple(self) -> tuple[torch.Tensor, torch.Tensor]:
        """P_x and Q_x of all candidates for the only row of a batch.

        Returns
        -------
        tuple of torch.Tensor of shape (N, r, r)
            P and Q.
        """
        return self.products[:, :, : self.width], self.products[:, :, self.width :]

    def blocks(self, row: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """a_s, c_s and G of a row of the batch at the present state.

        Parameters
        ----------
        row : int
            A row of the batch.

        Returns
        -------
        tuple of torch.Tensor of shape (r, r), float64 on the CPU
            The three blocks.
        """
        i = self.place[row]
        own = self.few.columns(i)
        return self.few.pi[own, own], self.few.gamma[own, own], self.few.posterior(i)

    def course(self, row: int, most: int) -> tuple[list[int], Course]:
        """Work out the choice of a row and of those foreseen after it, all of rank one.

        Parameters
        ----------
        row : int
            A row of the batch.
        most : int
            At most so many choices.

        Returns
        -------
        rows : list of int
            In the order of choice.
        course : Course
            See `skbait.fisher.course`.
        """
        chosen = {self.rows[i] for i in self.chosen}  # rank one: a column is a row
        later = [other for other in self.rows if other != row and other not in chosen]
        rows = [row, *later][:most]
        own = [self.place[other] for other in rows]
        pi, gamma = (matrix[own][:, own] for matrix in (self.few.pi, self.few.gamma))
        p, q = self.mix[:, own], self.mix[:, [self.width + i for i in own]]
        worked_out = course(pi, gamma, p, q)
        return rows[: len(worked_out)], worked_out

    def choose(self, rows: list[int]) -> None:
        """Count rows as chosen.

        Parameters
        ----------
        rows : list of int
            Rows of the batch, in the order of choice.
        """
        places = [self.place[row] for row in rows]
        rank, width = self.few.rank, self.width
        own = [column for i in places for column in range(i * rank, (i + 1) * rank)]
        self.chosen += own
        if width > rank:
            g_pi, rest = self.few.choose(places)
            p, q = self.mix[:, own], self.mix[:, [width + column for column in own]]
            self.mix = self.mix - torch.cat([p @ g_pi, q @ g_pi + p @ rest], dim=1)

    def update(self):
        """Rows chosen, as columns of the batch; (I + Π)⁻¹ and Γ among them, before any choice."""
        pi, gamma = (matrix[self.chosen][:, self.chosen] for matrix in self.first)
        eye = torch.eye(len(pi), dtype=EXACT)
        return self.chosen, inverse(pi + eye, name="posterior of the chosen rows"), gamma
