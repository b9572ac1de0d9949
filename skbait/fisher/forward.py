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
from skbait.fisher.blocks import downdate, gain, gains_among
from skbait.fisher.linalg import inverse, symmetrise
from skbait.fisher.twins import Twins

# Least relative error that running scores are credited with, for each unit of cancellation.
# What is seen to be larger on the way counts instead.
ROUNDING = {torch.float32: 4e-6, torch.float64: 1e-14}
# Only rows within this fraction of the best score are ever looked at twice; four times DRIFT.
WIDE = 4e-3
# Running scores further off than this make the selection go on in float64.
DRIFT = 1e-3
# Exact scores that agree to this fraction are a tie; the row that comes first is taken.
TIE = 1e-10
# Rows, the best and others, whose first scores are compared with exact ones.
PROBED = 8
# With more rows than this close to the best in float32, all scores are made in float64.
CROWD = 1024
# Of close calls so many are scored at a time.
MANY = 64
# Blocks are made anew at most this often in one selection.
MOST_RENEWALS = 8


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
        self.chosen: list[int] = []
        self.chunk = rows_per_chunk(
            8 * 6 * pool.rank**2, len(pool), pool.chunk_size, device=device
        )
        self.renewals = 0
        self.twins = Twins(pool)
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
        while len(self.chosen) < n_steps:
            s, score = self._best()
            left = n_steps - len(self.chosen)
            if left == 1:
                return [*self.chosen, s]
            exact = self._look_at(s, left)
            if self.state.blur > self.state.doubt and self._sharpen():
                continue
            if not self._trust(s, score, *exact) and self._renew():
                continue  # the choice itself rested on bad scores
            self._choose(s, left)
        return self.chosen

    def _start(self) -> None:
        """Blocks and scores of all rows from the state."""
        self.floor = ROUNDING[self.state.pool.features.dtype]
        # Nothing is known yet of how far the running scores will be off.
        self.error = 4.0 * self.floor
        self.a, self.c = self.state.blocks()
        self.start = 1.0 + _trace(self.a), _trace(self.c)
        pool = self.state.pool
        self._prepare()
        self._score()
        if pool.features.dtype != EXACT or self.state.by_matrix:
            self._probe()

    def _prepare(self) -> None:
        """Memory for what a choice changes, in the dtype of the pass; nothing is looked at yet."""
        pool = self.state.pool
        self.products = pool.features.new_empty(len(pool), pool.rank, 2 * pool.rank)

    def _probe(self) -> None:
        """Learn from a few rows how far the first scores are off; too far: they are made anew.

        In the factored form they are differences of kernels, which cancel where the labelled
        rows explain nearly all there is, and so do those behind a matrix M⁻¹FM⁻¹, in float64 too.
        """
        n = len(self.gains)
        step = max(1, n // PROBED)
        rows = self.gains.topk(min(PROBED, n)).indices.tolist() + list(range(0, n, step))[:PROBED]
        rows = sorted(set(rows))
        exact = gains_among(*self.state.among(rows), self.state.pool.rank)
        scores = self.gains[rows].cpu()
        relevant = exact > 1e-6 * exact.max()
        off = ((scores - exact).abs() / exact)[relevant]
        if len(off) == 0:
            return
        worst = float(off.max())
        if not worst <= DRIFT:
            if self.state.refine():
                self._start()
            else:
                self._renew()
            return
        self.floor = max(self.floor, 2.0 * worst)
        self.error = max(self.error, self.floor)

    def _best(self) -> tuple[int, float]:
        """Position and running score of the open row with the largest gain.

        Close calls are decided in float64.
        """
        top = float(self.gains.max())
        if top != top:  # not a number: rounding made a block indefinite
            self._renew()
            self.gains.nan_to_num_(nan=0.0, neginf=-torch.inf)
            top = float(self.gains.max())
        if self._in_float32() and self._hidden(top) and self._renew():
            return self._best()
        if not top > 0.0:  # no row has any information left: pool order
            return int(self._is_open().to(torch.uint8).argmax()), 0.0
        near = torch.nonzero(self.gains >= top * (1.0 - WIDE))[:, 0]
        doubt = self.error * self._amplification(near) + self.state.doubt + TIE
        doubt = doubt.nan_to_num(nan=1.0).clamp_max(1.0)
        if (float(doubt.max()) > DRIFT or len(near) > CROWD) and self._in_float32():
            self._renew()
            return self._best()
        if len(near) > 1:
            score = self.gains[near]
            near = near[score * (1.0 + doubt) >= (score * (1.0 - doubt)).max()]
        if self.twins.any:
            near = torch.unique(self.twins.first_open(near, self.closed))
        if len(near) == 1:
            return int(near[0]), float(self.gains[near[0]])
        exact = self._exact(near.tolist())
        best = exact.max()
        close = int((exact >= best - self.state.blur * best.abs()).sum()) > 1
        if (close or self.state.blur > self.state.doubt) and self._sharpen():
            return self._best()
        s = int(near[int(torch.nonzero(exact >= best - TIE * best.abs())[0])])
        return s, float(self.gains[s])

    def _exact(self, rows: list[int]) -> torch.Tensor:
        """Present scores of some rows in float64."""
        self._flush()
        rank = self.state.pool.rank
        parts = [rows[i : i + MANY] for i in range(0, len(rows), MANY)]
        return torch.cat([gains_among(*self.state.among(part), rank) for part in parts])

    def _look_at(self, s: int, left: int) -> tuple[float, float, float]:
        """Couple the row s to all others.

        Parameters
        ----------
        s : int
            The next choice.
        left : int
            Choices that are to be made, this one included.

        Returns
        -------
        tuple of float
            Its exact gain, the trace of I + a_s, and that of c_s.
        """
        # small matrices are quicker on the CPU than launches on a GPU
        a, c = (symmetrise(block).cpu() for block in self.state.couple(s, self.products))
        precision = a + torch.eye(len(a), dtype=a.dtype)
        self.coupled = inverse(precision, name="block of the chosen rows"), c
        return float((self.coupled[0] * c).sum()), 1.0 + float(a.trace()), float(c.trace())

    def _choose(self, s: int, left: int) -> None:
        """Add the row s, looked at before, to M, to those chosen, and change all scores."""
        g, c_s = self.coupled
        self.state.add(g, c_s)
        g, c_s = g.to(self.a.device), c_s.to(self.a.device)
        p, q = self.products.chunk(2, dim=2)

        def change(rows: slice) -> None:
            downdate(self.a[rows], self.c[rows], p[rows], q[rows], g, c_s)

        for_chunks(change, len(self.gains), self.chunk)
        self.chosen.append(s)
        self._score()

    def _trust(self, s: int, score: float, exact: float, precision: float, c: float) -> bool:
        """Learn from an exact score how far running ones are off; False where that is too far."""
        if not exact > 0.0:
            return True
        off = abs(score - exact) / exact
        self._learn(s, off, precision, c)
        return off <= DRIFT

    def _learn(self, s: int, off: float, precision: float, c: float) -> None:
        """Error of the running scores for each unit of cancellation, from that of the row s."""
        a0, c0 = (float(values[s]) for values in self.start)
        cancelled = a0 / precision + c0 / max(c, 1e-300)
        self.error = max(self.floor, 4.0 * off / cancelled, 0.7 * self.error)

    def _flush(self) -> None:
        """Let the state know of all choices; here it always does."""

    def _sharpen(self) -> bool:
        """Have F, and all that comes of it, in float64 from here on; False where that is so."""
        self._flush()
        if not self.state.sharpen():
            return False
        self._start()
        return True

    def _hidden(self, top: float) -> bool:
        """Tell whether a row far below the best score may be the best, its blocks being lost."""
        a0, c0 = self.start
        a = 1.0 + _trace(self.a)
        highest = self.gains * (1.0 + self.error * a0 / a) + self.error * c0 / a
        low = self.gains <= top * (1.0 - WIDE)
        return bool((low & (highest >= top) & (highest > 0.0)).any())

    def _score(self) -> None:
        """Gains of all rows from their blocks."""
        closed = torch.tensor(self.chosen, dtype=torch.int64, device=self.gains.device)
        self.closed = closed

        def score(rows: slice) -> None:
            self.gains[rows] = gain(self.a[rows], self.c[rows])

        for_chunks(score, len(self.gains), self.chunk)
        self.gains[closed] = -torch.inf

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

    def _in_float32(self) -> bool:
        return self.state.pool.features.dtype != EXACT

    def _renew(self) -> bool:
        """Make the blocks anew, in float64 from now on: rounding ate too many digits.

        Returns False where it was done too often already to help.
        """
        if self.renewals == MOST_RENEWALS:
            return False
        self.renewals += 1
        self._flush()
        if self._in_float32():
            self.state.to_exact(self.state.pool.to_exact())
        self._start()
        return True


def _trace(blocks: torch.Tensor) -> torch.Tensor:
    """Trace of every (r, r) block, (N,)."""
    rank = blocks.shape[1]
    if rank > 16:
        return blocks.diagonal(dim1=1, dim2=2).sum(1)
    return sum(blocks[:, i, i] for i in range(rank))  # many times as fast
