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
from skbait.fisher.blocks import by_numbers, downdate, gain, pairwise
from skbait.fisher.linalg import NotPositiveDefiniteError, inverse, symmetrise
from skbait.fisher.twins import Twins

# Least relative error that running scores are credited with, for each unit of cancellation.
# What is seen to be larger on the way counts instead.
ROUNDING = {torch.float32: 1e-6, torch.float64: 1e-14}
# The same for scores that count as exact, where they come of differences of many steps too.
EXACT_ROUNDING = 1e-15
# Running scores further off than this make the selection go on in float64.
DRIFT = 1e-3
# Exact scores that agree to this fraction are a tie; the row that comes first is taken.
TIE = 1e-10
# Rows, the best and others, whose first scores are compared with exact ones.
PROBED = 8
# With more rows than this that may be the best in float32, all scores are made in float64.
CROWD = 1024
# So are they with more rows than this that may be the best and may be off by more than DRIFT.
UNSURE = 64
# Of close calls so many are scored at a time.
MANY = 64
# Rows, the best now, among which the choice after the next is sought.
FOLLOWED = 32
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
        self.spreads = torch.empty_like(self.gains)  # see `gain`
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
            try:
                exact, spread = self._look_at(s, left)
            except NotPositiveDefiniteError:
                if self._renew():
                    continue  # with blocks that are not differences of many steps
                raise
            if self.state.blur > self.state.doubt and self._sharpen():
                continue
            if not self._trust(s, score, exact, spread):
                continue  # the choice itself rested on scores that are further off than believed
            self._choose(s, left)
        return self.chosen

    def _start(self) -> None:
        """Blocks and scores of all rows from the state."""
        self.n_at_start = len(self.chosen)
        self.floor = ROUNDING[self.state.pool.features.dtype]
        # Nothing is known yet of how far the running scores will be off.
        self.error = 4.0 * self.floor
        self.a, self.c, size_a, size_c = self.state.blocks()
        self.a, self.c = by_numbers(self.a), by_numbers(self.c)
        self.sizes = pairwise(1.0 + size_a), pairwise(size_c)
        pool = self.state.pool
        self._prepare()
        self._score()
        if pool.features.dtype != EXACT or self.state.by_matrix:
            self._probe()

    def first_gains(self) -> torch.Tensor:
        """Scores before any choice, for the user.

        Those that rounding may have changed by more than `DRIFT`, or by a thousandth of that of
        the best score, are made in float64, as far as the sizes of the blocks tell: they do not
        see what cancels within a product hᵀBh.

        Returns
        -------
        torch.Tensor of shape (N,), float64
            None is negative.
        """
        gains, doubt = self.gains.clamp_min(0.0), self._doubt()
        floor = DRIFT * gains.max()
        open_ = torch.nonzero(doubt > DRIFT * gains.clamp_min(floor))[:, 0]
        if len(open_) > MANY:  # are they off at all? the bound is loose for factors of high rank
            few = max(PROBED, MANY // self.state.pool.rank)
            worst = open_[(doubt[open_] / gains[open_].clamp_min(floor)).topk(few).indices]
            exact = self._exact(worst.tolist()).clamp_min(0.0).to(gains)
            off = (exact - gains[worst]).abs()
            if bool((off <= DRIFT * exact.clamp_min(floor)).all()):
                return gains.index_put((worst,), exact)
        if len(open_) > CROWD and self._in_float32() and self._renew():
            return self.first_gains()
        if len(open_):
            gains[open_] = self._exact(open_.tolist()).clamp_min(0.0).to(gains)
        return gains

    def _prepare(self) -> None:
        """Memory for what a choice changes, in the dtype of the pass; nothing is looked at yet."""
        pool = self.state.pool
        n, rank = len(pool), pool.rank
        if rank == 2:  # as `by_numbers` has it
            self.products = pool.features.new_empty(rank, 2 * rank, n).permute(2, 0, 1)
        else:
            self.products = pool.features.new_empty(n, rank, 2 * rank)

    def _probe(self) -> None:
        """Learn from a few rows how far the first scores are off.

        Where the best ones are too far off, all are made anew.

        What is learnt is the error for each unit of cancellation, so that rows of little
        information, much of whose first numbers cancelled, do not speak for the best ones.
        In the factored form scores are differences of kernels, which cancel where the labelled
        rows explain nearly all there is, and so do those behind a matrix M⁻¹FM⁻¹, in float64 too.
        """
        n = len(self.gains)
        step = max(1, n // PROBED)
        best = self.gains.topk(min(PROBED, n)).indices
        rows = sorted({*best.tolist(), *range(0, n, step)[:PROBED]})
        exact = self._exact(rows)
        off = (self.gains[rows].cpu() - exact).abs() / exact
        off /= self._amplification(torch.tensor(rows, device=self.gains.device)).cpu()
        relevant = exact > 1e-6 * exact.max()
        if not bool(relevant.any()):
            return
        error = 4.0 * float(off[relevant].max())
        best = best[self.gains[best] > 0.0]  # of the others rounding has left nothing
        lost = not len(best) or not error < torch.inf
        if lost or not error * float(self._amplification(best).median()) <= DRIFT:
            if self.state.refine():
                self._start()
            else:
                self._renew()
            return
        self.floor = max(self.floor, error)
        self.error = max(self.error, self.floor)

    def _best(self) -> tuple[int, float]:
        """Position and running score of the open row with the largest gain.

        Rows whose running scores leave open which of them it is are scored again in float64.
        """
        top = float(self.gains.max())
        if not top < torch.inf:  # rounding made a block indefinite
            self._renew()
            self.gains.nan_to_num_(nan=0.0, posinf=0.0, neginf=-torch.inf)
            self.spreads.nan_to_num_(nan=torch.inf, posinf=torch.inf)
            top = float(self.gains.max())
        doubt = self._doubt()
        highest = self.gains + doubt
        if not top > 0.0:
            if bool((highest > 0.0).any()) and self._renew():
                return self._best()  # rounding may have eaten what there is
            # no row has any information left: pool order
            return int(self._is_open().to(torch.uint8).argmax()), 0.0
        near = torch.nonzero(highest >= (self.gains - doubt).max())[:, 0]
        if self._is_crowd(near, doubt[near]) and self._renew():
            return self._best()
        if self.twins.any:
            near = torch.unique(self.twins.first_open(near, self.closed))
        if len(near) == 1:
            return int(near[0]), float(self.gains[near[0]])
        exact = self._exact(near.tolist())
        best = exact.max()
        close = int((exact >= best - self.state.blur * best.abs()).sum()) > 1
        if (close or self.state.blur > self.state.doubt) and self._sharpen():
            return self._best()
        rough = self.state.differs and self._is_rough(exact, self.spreads[near].cpu())
        if rough and self._renew():
            return self._best()
        s = int(near[int(torch.nonzero(exact >= best - TIE * best.abs())[0])])
        return s, float(self.gains[s])

    def _doubt(self) -> torch.Tensor:
        """How far the running score of each row may be off, (N,)."""
        gains = self.gains.clamp_min(0.0)
        doubt = torch.mul(gains, self.state.doubt + TIE).add_(self.spreads, alpha=self.error)
        return doubt.nan_to_num_(nan=torch.inf, posinf=torch.inf)

    def _is_crowd(self, near: torch.Tensor, doubt: torch.Tensor) -> bool:
        """Tell whether so many rows may be the best that all scores are better made anew."""
        if len(near) > CROWD and self._in_float32():
            return True
        return int((doubt > DRIFT * self.gains[near]).sum()) > UNSURE

    def _is_rough(self, exact: torch.Tensor, spreads: torch.Tensor) -> bool:
        """Tell whether even exact scores leave open which is the best, so much has cancelled."""
        best = exact.max()
        off = EXACT_ROUNDING * spreads
        if not best > 0.0:  # nothing left, or nothing that rounding has left
            return bool((off > 0.0).any())
        open_ = (exact + off >= (exact - off).max()) & (exact < best - TIE * best.abs())
        return bool(open_.any())

    def _exact(self, rows: list[int]) -> torch.Tensor:
        """Present scores of some rows in float64."""
        self._flush()
        parts = [rows[i : i + MANY] for i in range(0, len(rows), MANY)]
        blocks = [self.state.own_blocks(part) for part in parts]
        return torch.cat([gain(a.cpu(), c.cpu())[0] for a, c in blocks])

    def _look_at(self, s: int, left: int) -> tuple[float, float]:
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
            Its exact gain, and the spread of that: see `skbait.fisher.blocks.gain`.
        """
        # small matrices are quicker on the CPU than launches on a GPU
        a, c = (symmetrise(block).cpu() for block in self.state.couple(s))
        precision = a + torch.eye(len(a), dtype=a.dtype)
        g = inverse(precision, name="block of the chosen rows")
        self.coupled = g, c
        sizes = tuple(size[:, s : s + 1].cpu() for size in self.sizes)
        return float((g * c).sum()), float(gain(a[None], c[None], sizes)[1])

    def _choose(self, s: int, left: int) -> None:
        """Add the row s, looked at before, to M, to those chosen, and change all scores."""
        g, c_s = (each.to(self.a.device) for each in self.coupled)
        following = self._following(s, g, c_s) if self.state.looks_ahead and left > 2 else None
        self.state.add(g, c_s, self.products, following)
        p, q = self.products.chunk(2, dim=2)

        def change(rows: slice) -> None:
            downdate(self.a[rows], self.c[rows], p[rows], q[rows], g, c_s)

        for_chunks(change, len(self.gains), self.chunk)
        self.chosen.append(s)
        self._score()

    def _following(self, s: int, g: torch.Tensor, c_s: torch.Tensor) -> int | None:
        """Guess which row is chosen after s: the one if only the best now were candidates."""
        best = self.gains.topk(min(FOLLOWED, len(self.gains)))
        rows = best.indices[best.values > -torch.inf]
        rows = rows[rows != s]
        if not len(rows):
            return None
        a, c = self.a[rows], self.c[rows]
        downdate(a, c, *self.state.couplings(rows), g, c_s)
        return int(rows[gain(a, c)[0].argmax()])

    def _trust(self, s: int, score: float, exact: float, spread: float) -> bool:
        """Learn from an exact score how far running ones are off.

        Returns False where the row is to be chosen once more: its score was further off than
        believed, and so may be those that it was compared with, or all scores were made anew.
        """
        if not exact > 0.0:
            return True
        off = abs(score - exact) / exact
        amplified = spread / exact
        believed = max(self.error * amplified, TIE)
        self._learn(off, amplified)
        if not off <= DRIFT:
            return not self._renew()
        return not off > believed

    def _learn(self, off: float, amplified: float) -> None:
        """Error of the running scores for each unit of cancellation, from that of a row."""
        self.error = max(self.floor, 4.0 * off / max(amplified, 1e-300), 0.7 * self.error)

    def _flush(self) -> None:
        """Let the state know of all choices; here it always does."""

    def _sharpen(self) -> bool:
        """Have F, and all that comes of it, in float64 from here on; False where that is so."""
        self._flush()
        if not self.state.sharpen():
            return False
        self._start()
        return True

    def _score(self) -> None:
        """Gains of all rows from their blocks."""
        closed = torch.tensor(self.chosen, dtype=torch.int64, device=self.gains.device)
        self.closed = closed

        def score(rows: slice) -> None:
            sizes = tuple(size[:, rows] for size in self.sizes)
            self.gains[rows], self.spreads[rows] = gain(self.a[rows], self.c[rows], sizes)

        for_chunks(score, len(self.gains), self.chunk)
        self.gains[closed] = -torch.inf

    def _is_open(self) -> torch.Tensor:
        """Which rows are not chosen, (N,) bool."""
        is_open = torch.ones(len(self.gains), dtype=torch.bool, device=self.gains.device)
        is_open[self.closed] = False
        return is_open

    def _amplification(self, rows: torch.Tensor) -> torch.Tensor:
        """By how much the error for each unit of cancellation is multiplied in gains.

        That error is relative to the numbers that the blocks were made of in the beginning.
        """
        return self.spreads[rows] / self.gains[rows].clamp_min(1e-300)

    def _in_float32(self) -> bool:
        return self.state.pool.features.dtype != EXACT

    def _renew(self) -> bool:
        """Make the blocks anew, in float64 from now on: rounding ate too many digits.

        Returns False where that would not help: they are new, or it was done too often already.
        """
        new = self.n_at_start == len(self.chosen) and not self._in_float32()
        if new or self.renewals == MOST_RENEWALS:
            return False
        self.renewals += 1
        self._flush()
        if self._in_float32():
            self.state.to_exact(self.state.pool.to_exact())
        self._start()
        return True
