# SPDX-License-Identifier: BSD-3-Clause
"""The greedy forward pass: running scores, checked against exact ones as it goes.

Running scores are carried from step to step and collect the rounding of the pass over the pool.
The exact blocks of each chosen row tell how far they are off; rows whose scores lie closer
than that are scored again in float64 before one is chosen, and where the running scores lose
too many digits they are made anew and the pass goes on in float64.
"""

from __future__ import annotations

import torch

from skbait._backend import EXACT, for_chunks, rows_per_chunk
from skbait.fisher.blocks import downdate, gain
from skbait.fisher.linalg import inverse, symmetrise

# Least relative error that running scores are credited with, for each unit of cancellation.
# What is seen to be larger on the way counts instead.
ROUNDING = {torch.float32: 1e-6, torch.float64: 1e-12}
# Only rows within this fraction of the best score are ever looked at twice.
WIDE = 0.02
# Running scores further off than this make the selection go on in float64.
DRIFT = 1e-3
# Exact scores that agree to this fraction are a tie; the row that comes first is taken.
TIE = 1e-10
# Of more close calls than this, rows of equal content are scored once.
MANY = 64
# Blocks are made anew at most this often in one selection.
MOST_RENEWALS = 8
# Likely next choices that share one pass over the pool. One read of the pool serves 16 columns
# as well as 2 where there is one column a row, and about three in four choices are foreseen.
AHEAD = 8


class Batch:
    """P and Q of a few rows, in one pass over the pool, at the state before any of them is chosen.

    With Π = V_B M⁻¹ V_Bᵀ and Γ = V_B M⁻¹FM⁻¹ V_Bᵀ over the batch B, and S the rows of B chosen
    since, M₊ = M + V_SᵀV_S gives ``M₊⁻¹V_sᵀ = M⁻¹V_Bᵀ α`` with α = e_s - E_S (I + Π_SS)⁻¹ Π_Ss, so

        a_s = Π_s: α,    c_s = αᵀ Γ α,
        P_x = P_xB α,    Q_x = Q_xB α - P_xS (I + Π_SS)⁻¹ (Γ α)_S.

    Parameters
    ----------
    rows : list of int
        The rows B, the one to be chosen next first.
    state : DenseForm or FactoredForm
        Where M and F are.
    """

    def __init__(self, rows: list[int], state):
        self.rank = state.pool.rank
        self.place = {row: i for i, row in enumerate(rows)}
        self.chosen: list[int] = []  # columns of Π of the chosen rows
        n = len(state.pool)
        width = len(rows) * self.rank
        # rank 1: (2B, N), so that every column is contiguous; else (N, r, 2·B·r)
        shape = (2 * width, n) if self.rank == 1 else (n, self.rank, 2 * width)
        features = state.pool.features
        self.products = torch.empty(shape, dtype=features.dtype, device=features.device)
        p = self.products[:width] if self.rank == 1 else self.products[:, :, :width]
        q = self.products[width:] if self.rank == 1 else self.products[:, :, width:]
        pi, gamma = state.couple(rows, p, q)
        # small matrices are quicker on the CPU than launches on a GPU
        self.pi, self.gamma = symmetrise(pi).cpu(), symmetrise(gamma).cpu()

    def couple(self, row: int):
        """P_x, Q_x of all candidates and a_s, c_s at the present state for a row of the batch.

        Returns
        -------
        tuple of torch.Tensor
            P and Q, (N,) for rank 1, else (N, r, r); a_s and c_s, (r, r) float64 on the CPU.
        """
        width, rank = len(self.pi), self.rank
        own = slice(self.place[row] * rank, (self.place[row] + 1) * rank)
        coefficients = torch.zeros(2 * width, 2 * rank, dtype=EXACT)
        alpha = coefficients[:width, :rank]
        alpha[own] = torch.eye(rank, dtype=EXACT)
        if self.chosen:
            between = self._posterior()
            alpha[self.chosen] = -(between @ self.pi[self.chosen, own])
            correction = between @ (self.gamma[self.chosen] @ alpha)
            coefficients[self.chosen, rank:] = -correction
        coefficients[width:, rank:] = alpha
        a_s = symmetrise(self.pi[own] @ alpha)
        c_s = symmetrise(alpha.T @ self.gamma @ alpha)
        if not self.chosen and width == rank:
            values = self.products
        else:
            factor = coefficients.to(self.products)
            values = factor.T @ self.products if rank == 1 else self.products @ factor
        if rank == 1:
            return values[0], values[1], a_s, c_s
        return values[:, :, :rank], values[:, :, rank:], a_s, c_s

    def choose(self, row: int) -> None:
        """Count a row as chosen."""
        start = self.place[row] * self.rank
        self.chosen += range(start, start + self.rank)

    def update(self):
        """Rows chosen, as columns of Π; G = (I + Π_SS)⁻¹ and S = Γ_SS: what changes M."""
        return self.chosen, self._posterior(), self.gamma[self.chosen][:, self.chosen]

    def _posterior(self) -> torch.Tensor:
        block = self.pi[self.chosen][:, self.chosen]
        return inverse(
            block + torch.eye(len(block), dtype=EXACT), name="posterior of the chosen rows"
        )


class Forward:
    """Greedy forward choice from a dense or factored state.

    Parameters
    ----------
    state : DenseForm or FactoredForm
        Where M and F are; changed by the choices.

    Attributes
    ----------
    gains : torch.Tensor of shape (N,), float64
        Present score of every row.
    """

    def __init__(self, state):
        self.state = state
        pool = state.pool
        device = pool.features.device
        self.gains = torch.empty(len(pool), dtype=EXACT, device=device)
        self.open = torch.ones(len(pool), dtype=torch.bool, device=device)
        self.n_open = len(pool)
        self.chunk = rows_per_chunk(8 * 6 * pool.rank**2, len(pool), pool.chunk_size)
        self.ahead = AHEAD if pool.n_columns == 1 else 1
        self.renewals = 0
        self.group: torch.Tensor | None = None
        self.batch: Batch | None = None
        self._start()

    def run(self, n_steps: int) -> list[int]:
        """Choose `n_steps` rows; return their positions in order."""
        chosen: list[int] = []
        for step in range(n_steps):
            s = self._best()
            chosen.append(s)
            self.open[s] = False
            self.n_open -= 1
            if step + 1 < n_steps:
                self._add(s)
        return chosen

    def _start(self) -> None:
        """Blocks and scores of all rows from the state."""
        self.floor = ROUNDING[self.state.pool.features.dtype]
        # Nothing is known yet of how far the running scores will be off.
        self.error = 16.0 * self.floor
        self.a, self.c = self.state.blocks()
        self.start = 1.0 + _trace(self.a), _trace(self.c)
        self._score()

    def _best(self) -> int:
        """Position of the open row with the largest gain; close calls are decided in float64."""
        self.gains.masked_fill_(~self.open, -torch.inf)
        top = float(self.gains.max())
        if top != top:  # not a number: rounding made a block indefinite
            self._renew()
            self.gains.nan_to_num_(nan=0.0).masked_fill_(~self.open, -torch.inf)
            top = float(self.gains.max())
        if not top > 0.0:  # no row has any information left: pool order
            return int(self.open.to(torch.uint8).argmax())
        near = torch.nonzero(self.gains >= top * (1.0 - WIDE))[:, 0]
        if len(near) > 1:
            score, doubt = self.gains[near], self.error * self._amplification(near)
            near = near[score * (1.0 + doubt) >= (score * (1.0 - doubt)).max()]
        if len(near) > MANY:
            near = torch.unique(self._first_equal()[near])
        if len(near) == 1:
            return int(near[0])
        self._flush()
        exact = torch.cat(
            [gain(*self.state.exact_blocks(part.tolist())) for part in near.split(MANY)]
        )
        self._exact_enough(near, exact)
        best = exact.max()
        return int(near[torch.nonzero(exact >= best - TIE * best.abs())[0]])

    def _add(self, s: int) -> None:
        """Add the row s to M and change all scores."""
        p, q, c_s, g = self._couple(s)
        expected = (g * c_s).sum()[None].to(self.gains.device)
        at = torch.tensor([s], device=self.gains.device)
        if not self._exact_enough(at, expected) and self._renew():
            p, q, c_s, g = self._couple(s)
        self.batch.choose(s)
        c_s, g = c_s.to(self.a.device), g.to(self.a.device)

        def change(rows: slice) -> None:
            downdate(self.a[rows], self.c[rows], p[rows], q[rows], g, c_s)

        for_chunks(change, len(self.gains), self.chunk)
        self._score()

    def _couple(self, s: int):
        """P_x, Q_x of all rows, S = c_s and G = (I + a_s)⁻¹; a new batch where s is in none."""
        if self.batch is None or s not in self.batch.place:
            self._flush()
            self.batch = Batch([s, *self._likely(self.ahead - 1)], self.state)
        p, q, a_s, c_s = self.batch.couple(s)
        eye = torch.eye(len(a_s), dtype=EXACT)
        return p, q, c_s, inverse(eye + a_s, name="block of the chosen row")

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

    def _amplification(self, rows: torch.Tensor) -> torch.Tensor:
        """How much of the first digits of these rows' blocks cancelled; errors grow alike."""
        a0, c0 = self.start
        a, c = 1.0 + _trace(self.a[rows]), _trace(self.c[rows])
        return a0[rows] / a + c0[rows] / c.clamp_min(1e-300)

    def _exact_enough(self, rows: torch.Tensor, exact: torch.Tensor) -> bool:
        """Learn from exact scores how far running ones are off; False where that is too far."""
        off = (gain(self.a[rows], self.c[rows]) - exact).abs() / exact.abs().clamp_min(1e-300)
        error = float((off / self._amplification(rows)).max())
        self.error = max(self.floor, 4.0 * error, 0.7 * self.error)
        return float(off.max()) <= DRIFT

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

    def _likely(self, k: int) -> list[int]:
        """The k open rows of largest gain."""
        k = min(k, self.n_open)
        if k == 0:
            return []
        return self.gains.masked_fill(~self.open, -torch.inf).topk(k).indices.tolist()

    def _first_equal(self) -> torch.Tensor:
        """For every row the position of the first open row with the same content."""
        pool = self.state.pool
        if self.group is None:
            content = torch.cat([pool.features.to(EXACT), pool.probabilities.to(EXACT)], dim=1)
            self.group = torch.unique(content, dim=0, return_inverse=True)[1]
        n = len(self.group)
        position = torch.arange(n, device=self.group.device)
        first = torch.full((n,), n, device=self.group.device)
        first.scatter_reduce_(0, self.group[self.open], position[self.open], "amin")
        return first[self.group]


def _trace(blocks: torch.Tensor) -> torch.Tensor:
    """Trace of every (r, r) block, (N,)."""
    return blocks.diagonal(dim1=1, dim2=2).sum(1)
