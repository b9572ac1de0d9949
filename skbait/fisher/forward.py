# SPDX-License-Identifier: BSD-3-Clause
"""The greedy forward pass: running scores, checked against exact ones as it goes.

Running scores are carried from step to step and collect the rounding of the pass over the pool.
The exact blocks of each chosen row tell how far they are off; rows whose scores lie closer
than that are scored again in float64 before one is chosen, and where the running scores lose
too many digits they are made anew and the pass goes on in float64.
"""

from __future__ import annotations

import math

import torch

from skbait._backend import EXACT, for_chunks, rows_per_chunk
from skbait.fisher.blocks import downdate, gain
from skbait.fisher.linalg import inverse, symmetrise

# Least relative error that running scores are credited with, for each unit of cancellation.
# What is seen to be larger on the way counts instead.
ROUNDING = {torch.float32: 4e-6, torch.float64: 1e-14}
# Only rows within this fraction of the best score are ever looked at twice; four times DRIFT.
WIDE = 4e-3
# Running scores further off than this make the selection go on in float64.
DRIFT = 1e-3
# Exact scores that agree to this fraction are a tie; the row that comes first is taken.
TIE = 1e-10
# Of more close calls than this, rows of equal content are scored once.
MANY = 64
# Blocks are made anew at most this often in one selection.
MOST_RENEWALS = 8
# Columns among which the next choices are sought.
CANDIDATES = 256


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
        block = self.pi[own, own]
        eye = torch.eye(self.rank, dtype=block.dtype)
        return inverse(block + eye, name="block of the chosen row")

    def gains(self) -> torch.Tensor:
        """Present score of every row, (B,)."""
        n = len(self.pi) // self.rank
        i = torch.arange(n)
        pi, gamma = (
            matrix.view(n, self.rank, n, self.rank)[i, :, i, :] for matrix in (self.pi, self.gamma)
        )
        return gain(pi, gamma)

    def choose(self, i: int):
        """Choose the i-th row.

        Parameters
        ----------
        i : int
            Which row.

        Returns
        -------
        tuple of torch.Tensor of shape (r, B·r), float64
            G Π_s: and G (Γ_s: - S G Π_s:), which change the columns of all other rows too.
        """
        own = self.columns(i)
        g, pi_s, gamma_s = self.posterior(i), self.pi[own], self.gamma[own]
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
        self.place = {row: i for i, row in enumerate(rows)}
        self.chosen: list[int] = []  # columns of Π of the chosen rows
        rank = state.pool.rank
        self.width = width = len(rows) * rank
        shape = (len(state.pool), rank, 2 * width)
        self.products = buffer[: math.prod(shape)].view(shape)
        if rank == 1 and width > 1:  # every column contiguous
            self.products = self.products.view(2 * width, -1).T[:, None, :]
        pi, gamma = state.couple(rows, self.products)
        self.few = Few(pi, gamma, rank)
        self.first = self.few.pi, self.few.gamma
        self.mix = torch.eye(2 * width, dtype=EXACT)

    def couple(self, row: int):
        """P_x, Q_x of all candidates and a_s, c_s, G at the present state for a row of the batch.

        Parameters
        ----------
        row : int
            A row of the batch.

        Returns
        -------
        tuple of torch.Tensor
            P and Q, (N, r, r); a_s, c_s and G, (r, r) float64 on the CPU.
        """
        i = self.place[row]
        own = self.few.columns(i)
        rank = self.few.rank
        values = self.products
        if self.width > 1 and rank == 1:
            columns = [*range(own.start, own.stop)]
            columns += [self.width + column for column in columns]
            mix = self.mix[:, columns].to(values)
            values = (mix.T @ values[:, 0, :].T).T[:, None, :]
        a_s, c_s = self.few.pi[own, own], self.few.gamma[own, own]
        return values[:, :, :rank], values[:, :, rank:], a_s, c_s, self.few.posterior(i)

    def choose(self, row: int) -> None:
        """Count a row as chosen.

        Parameters
        ----------
        row : int
            A row of the batch.
        """
        i = self.place[row]
        own = self.few.columns(i)
        self.chosen += range(own.start, own.stop)
        if self.width > self.few.rank:
            g_pi, rest = self.few.choose(i)
            width = self.width
            p, q = self.mix[:, own], self.mix[:, width + own.start : width + own.stop]
            self.mix = self.mix - torch.cat([p @ g_pi, q @ g_pi + p @ rest], dim=1)

    def update(self):
        """Rows chosen, as columns of the batch; (I + Π)⁻¹ and Γ among them, before any choice."""
        pi, gamma = (matrix[self.chosen][:, self.chosen] for matrix in self.first)
        eye = torch.eye(len(pi), dtype=EXACT)
        return self.chosen, inverse(pi + eye, name="posterior of the chosen rows"), gamma


class Forward:
    """Greedy forward choice from a dense or factored state.

    Parameters
    ----------
    state : DenseForm or FactoredForm
        Where M and F are; changed by the choices.

    Attributes
    ----------
    gains : torch.Tensor of shape (N,), float64
        Present score of every row; minus infinity for those chosen.
    """

    def __init__(self, state):
        self.state = state
        pool = state.pool
        device = pool.features.device
        self.gains = torch.empty(len(pool), dtype=EXACT, device=device)
        self.closed = torch.empty(0, dtype=torch.int64, device=device)  # the chosen rows
        self.chunk = rows_per_chunk(
            8 * 6 * pool.rank**2, len(pool), pool.chunk_size, device=device
        )
        self.ahead = state.ahead
        self.renewals = 0
        self.group: torch.Tensor | None = None
        self.batch: Batch | None = None
        self._start()

    def run(self, n_steps: int) -> list[int]:
        """Choose `n_steps` rows; return their positions in order.

        Parameters
        ----------
        n_steps : int
            How many, at most N.

        Returns
        -------
        list of int
            Positions in the order of choice.
        """
        chosen: list[int] = []
        for step in range(n_steps):
            s, score = self._best()
            chosen.append(s)
            self.closed = torch.tensor(chosen, device=self.gains.device)
            if step + 1 < n_steps:
                self._add(s, score)
        return chosen

    def _start(self) -> None:
        """Blocks and scores of all rows from the state."""
        self.floor = ROUNDING[self.state.pool.features.dtype]
        # Nothing is known yet of how far the running scores will be off.
        self.error = 4.0 * self.floor
        self.a, self.c = self.state.blocks()
        self.start = 1.0 + _trace(self.a), _trace(self.c)
        pool = self.state.pool
        self.buffer = pool.features.new_empty(len(pool) * pool.rank**2 * 2 * self.ahead)
        self._score()

    def _best(self) -> tuple[int, float]:
        """Position and running score of the open row with the largest gain.

        Close calls are decided in float64.
        """
        top = float(self.gains.max())
        if top != top:  # not a number: rounding made a block indefinite
            self._renew()
            self.gains.nan_to_num_(nan=0.0, neginf=-torch.inf)
            top = float(self.gains.max())
        if not top > 0.0:  # no row has any information left: pool order
            return int(self._is_open().to(torch.uint8).argmax()), 0.0
        near = torch.nonzero(self.gains >= top * (1.0 - WIDE))[:, 0]
        doubt = self.error * self._amplification(near)
        if float(doubt.max()) > DRIFT and self._renew():
            return self._best()
        if len(near) > 1:
            score = self.gains[near]
            near = near[score * (1.0 + doubt) >= (score * (1.0 - doubt)).max()]
        if len(near) > MANY:
            near = torch.unique(self._first_equal()[near])
        if len(near) == 1:
            return int(near[0]), float(self.gains[near[0]])
        exact = self._exact(near.tolist())
        best = exact.max()
        s = int(near[int(torch.nonzero(exact >= best - TIE * best.abs())[0])])
        return s, float(self.gains[s])

    def _exact(self, rows: list[int]) -> torch.Tensor:
        """Present scores of some rows in float64."""
        if self.batch is not None and all(row in self.batch.place for row in rows):
            return self.batch.few.gains()[[self.batch.place[row] for row in rows]]
        self._flush()
        rank = self.state.pool.rank
        parts = [rows[i : i + MANY] for i in range(0, len(rows), MANY)]
        return torch.cat([Few(*self.state.among(part), rank).gains() for part in parts])

    def _add(self, s: int, score: float) -> None:
        """Add the row s, with its running score, to M and change all scores."""
        p, q, a_s, c_s, g = self._couple(s)
        if not self._trust(s, score, a_s, c_s, g) and self._renew():
            p, q, a_s, c_s, g = self._couple(s)
        self.batch.choose(s)
        c_s, g = c_s.to(self.a.device), g.to(self.a.device)

        def change(rows: slice) -> None:
            downdate(self.a[rows], self.c[rows], p[rows], q[rows], g, c_s)

        for_chunks(change, len(self.gains), self.chunk)
        self._score()

    def _couple(self, s: int):
        """P_x, Q_x of all rows, a_s, c_s and G of s; by a new batch where s is in none."""
        if self.batch is None or s not in self.batch.place:
            self._flush()
            self.batch = Batch(self._foreseen(s), self.state, self.buffer)
        return self.batch.couple(s)

    def _trust(self, s: int, score: float, a_s, c_s, g) -> bool:
        """Learn from an exact score how far running ones are off; False where that is too far."""
        exact = float((g * c_s).sum())
        if not exact > 0.0:
            return True
        off = abs(score - exact) / exact
        a0, c0 = (float(values[s]) for values in self.start)
        cancelled = a0 / (1.0 + float(a_s.trace())) + c0 / max(float(c_s.trace()), 1e-300)
        self.error = max(self.floor, 4.0 * off / cancelled, 0.7 * self.error)
        return off <= DRIFT

    def _flush(self) -> None:
        """Add the rows of the batch that were chosen to the state; drop the batch."""
        if self.batch is not None and self.batch.chosen:
            self.state.add(*self.batch.update())
        self.batch = None

    def _score(self) -> None:
        """Gains of all rows from their blocks."""

        def score(rows: slice) -> None:
            self.gains[rows] = gain(self.a[rows], self.c[rows])

        for_chunks(score, len(self.gains), self.chunk)
        self.gains[self.closed] = -torch.inf

    def _is_open(self) -> torch.Tensor:
        """Which rows are not chosen, (N,) bool."""
        is_open = torch.ones(len(self.gains), dtype=torch.bool, device=self.gains.device)
        is_open[self.closed] = False
        return is_open

    def _amplification(self, rows: torch.Tensor) -> torch.Tensor:
        """How much of the first digits of these rows' blocks cancelled; errors grow alike."""
        a0, c0 = self.start
        a, c = 1.0 + _trace(self.a[rows]), _trace(self.c[rows])
        return a0[rows] / a + c0[rows] / c.clamp_min(1e-300)

    def _renew(self) -> bool:
        """Make the blocks anew, in float64 from now on: rounding ate too many digits.

        Returns False where it was done too often already to help.
        """
        if self.renewals == MOST_RENEWALS:
            return False
        self.renewals += 1
        self._flush()
        if self.state.pool.features.dtype != EXACT:
            self.state.to_exact(self.state.pool.to_exact())
        self._start()
        return True

    def _foreseen(self, s: int) -> list[int]:
        """The row s and those that would be chosen next if only the best now were candidates."""
        if self.ahead == 1:
            return [s]
        rank = self.state.pool.rank
        n_candidates = max(CANDIDATES // rank, self.ahead) if self.state.foresees else self.ahead
        best = self.gains.topk(min(n_candidates, len(self.gains)))
        rows = best.indices[best.values > 0.0].tolist()
        rows = [s, *(row for row in rows if row != s)]
        if not self.state.foresees:
            return rows[: self.ahead]
        few = Few(*self.state.foresee(rows), rank)
        order, closed = [0], torch.zeros(len(rows))
        while len(order) < min(self.ahead, len(rows)):
            few.choose(order[-1])
            closed[order[-1]] = -torch.inf
            order.append(int((few.gains() + closed).argmax()))
        return [rows[i] for i in order]

    def _first_equal(self) -> torch.Tensor:
        """For every row the position of the first open row with the same content."""
        pool = self.state.pool
        if self.group is None:
            content = torch.cat([pool.features.to(EXACT), pool.probabilities.to(EXACT)], dim=1)
            self.group = torch.unique(content, dim=0, return_inverse=True)[1]
        n = len(self.group)
        position = torch.arange(n, device=self.group.device)
        first = torch.full((n,), n, device=self.group.device)
        is_open = self._is_open()
        first.scatter_reduce_(0, self.group[is_open], position[is_open], "amin")
        return first[self.group]


def _trace(blocks: torch.Tensor) -> torch.Tensor:
    """Trace of every (r, r) block, (N,)."""
    return blocks.diagonal(dim1=1, dim2=2).sum(1)
