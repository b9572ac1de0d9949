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
from skbait.fisher.batch import Batch, Few
from skbait.fisher.blocks import downdate, gain
from skbait.fisher.course import Course, foresee, play
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
# Rows among which the next choices are sought.
CANDIDATES = 1024


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
        self.chunk_of_course = rows_per_chunk(
            (8 * 3 + 4 * 4) * self.ahead, len(pool), pool.chunk_size, device=device
        )
        self.renewals = 0
        self.twins = Twins(pool)
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
        while len(chosen) < n_steps:
            s, score = self._best()
            left = n_steps - len(chosen)
            if left == 1:
                return [*chosen, s]
            seen = self._couple(s, left)
            while not self._trust(s, score, *seen) and self._renew():
                s, score = self._best()  # the choice itself rested on bad scores
                seen = self._couple(s, left)
            if self.ahead == 1:
                self._add(s, chosen, *seen)
            else:
                self._play(s, chosen, left)
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
        self.after = self.a.new_empty(len(pool) * 2 * self.ahead if self.ahead > 1 else 0)
        self._score(self.closed.tolist())
        if pool.features.dtype != EXACT or self.state.by_matrix:
            self._probe()

    def _probe(self) -> None:
        """Learn from a few rows how far the first scores are off; too far: float64 from here on.

        In the factored form they are differences of kernels, which cancel where the labelled
        rows explain nearly all there is, and so do those behind a matrix M⁻¹FM⁻¹, in float64 too.
        """
        n = len(self.gains)
        step = max(1, n // PROBED)
        rows = self.gains.topk(min(PROBED, n)).indices.tolist() + list(range(0, n, step))[:PROBED]
        rows = sorted(set(rows))
        exact = Few(*self.state.among(rows), self.state.pool.rank).gains()
        scores = self.gains[rows].cpu()
        relevant = exact > 1e-6 * exact.max()
        off = ((scores - exact).abs() / exact)[relevant]
        if len(off) == 0:
            return
        worst = float(off.max())
        if not worst <= DRIFT:
            if not self._in_float32():
                self.state.by_matrix = False
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
        if not top > 0.0:  # no row has any information left: pool order
            return int(self._is_open().to(torch.uint8).argmax()), 0.0
        near = torch.nonzero(self.gains >= top * (1.0 - WIDE))[:, 0]
        doubt = (self.error * self._amplification(near)).nan_to_num(nan=1.0).clamp_max(1.0)
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

    def _add(self, s: int, chosen: list[int], a_s, c_s, g) -> None:
        """Add the row s, coupled before, to M, to those chosen, and change all scores."""
        p, q = self.batch.couple()
        self.batch.choose([s])
        c_s, g = c_s.to(self.a.device), g.to(self.a.device)

        def change(rows: slice) -> None:
            downdate(self.a[rows], self.c[rows], p[rows], q[rows], g, c_s)

        for_chunks(change, len(self.gains), self.chunk)
        chosen.append(s)
        self._score(chosen)

    def _play(self, s: int, chosen: list[int], left: int) -> None:
        """Add the row s, coupled before, and what is foreseen after it as far as that is certain.

        Everything is as if the rows were chosen one by one: where the next choice is a close
        call, or an outside row is before it, or the running scores are off, the course ends.
        """
        rows, course = self.batch.course(s, left)
        k = len(course)
        products = self.batch.products[:, 0, :].T
        mix = course.mix.to(products)
        after = self.after[: 2 * k * len(self.gains)].view(2 * k, -1)
        threshold = self.gains.new_tensor(course.gains[1:])[:, None] * (1.0 - 2.0 * WIDE)
        near = []

        def change(part: slice) -> None:
            a, c = self.a[part, 0, 0], self.c[part, 0, 0]
            found = play(mix, products[:, part], a, c, threshold, after[:, part])
            found[:, 1] += part.start
            if sum(map(len, near)) <= CROWD * k:  # of a crowd no more is looked at
                near.append(found)

        for_chunks(change, len(self.gains), self.chunk_of_course)
        near = torch.cat(near)
        m = self._certain(rows, course, near, after, {*chosen, s}) if k > 1 else 1
        self.a[:, 0, 0], self.c[:, 0, 0] = after[m - 1], after[k + m - 1]
        self.batch.choose(rows[:m])
        chosen += rows[:m]
        self._score(chosen)

    def _certain(self, rows: list[int], course: Course, near, after, closed: set[int]) -> int:
        """How many rows of a course, the first included, are certain to be chosen in its order.

        What `_best` and `_trust` do step by step, for the few rows whose scores are near.
        """
        k = len(course)
        if len(near) > CROWD * k:
            return 1
        when, row = near[near[:, 0].argsort(stable=True)].T.contiguous()
        a0, c0 = (values[row] for values in self.start)
        a, c = 1.0 + after[when, row], after[k + when, row]
        seen = torch.stack([c / a, a0 / a + c0 / c.clamp_min(1e-300)]).cpu()
        bounds = torch.searchsorted(when.cpu(), torch.arange(k)).tolist()
        row = row.tolist()
        for j in range(1, k):
            here = slice(bounds[j - 1], bounds[j])
            candidates = {
                x: (score, amplified)
                for x, score, amplified in zip(row[here], *seen[:, here].tolist(), strict=True)
                if x not in closed
            }
            s, exact = rows[j], course.gains[j]
            if not self._is_first(s, closed):
                return j
            score, amplified = candidates.pop(s, (0.0, 0.0))
            worst = max([amplified, *(amplified for _, amplified in candidates.values())])
            if not (score > 0.0 and exact > 0.0) or not self.error * worst <= DRIFT:
                return j
            surely = score * (1.0 - self.error * amplified)
            others = (x * (1.0 + self.error * amplified) for x, amplified in candidates.values())
            if len(candidates) > CROWD or not max(others, default=-1.0) < surely:
                return j
            off = abs(score - exact) / exact
            if not off <= DRIFT:
                return j
            self._learn(s, off, course.precisions[j], exact * course.precisions[j])
            closed.add(s)
        return k

    def _couple(self, s: int, left: int):
        """a_s, c_s and G of s; by a new batch where s is in none."""
        if self.batch is None or s not in self.batch.place:
            self._flush()
            self.batch = Batch(self._foreseen(s, min(self.ahead, left)), self.state, self.buffer)
        return self.batch.blocks(s)

    def _trust(self, s: int, score: float, a_s, c_s, g) -> bool:
        """Learn from an exact score how far running ones are off; False where that is too far."""
        exact = float((g * c_s).sum())
        if not exact > 0.0:
            return True
        off = abs(score - exact) / exact
        self._learn(s, off, 1.0 + float(a_s.trace()), float(c_s.trace()))
        return off <= DRIFT

    def _learn(self, s: int, off: float, precision: float, c: float) -> None:
        """Error of the running scores for each unit of cancellation, from that of the row s."""
        a0, c0 = (float(values[s]) for values in self.start)
        cancelled = a0 / precision + c0 / max(c, 1e-300)
        self.error = max(self.floor, 4.0 * off / cancelled, 0.7 * self.error)

    def _flush(self) -> None:
        """Add the rows of the batch that were chosen to the state; drop the batch."""
        if self.batch is not None and self.batch.chosen:
            self.state.add(*self.batch.update())
        self.batch = None

    def _score(self, chosen: list[int]) -> None:
        """Gains of all rows from their blocks."""
        self.closed = torch.tensor(chosen, dtype=torch.int64, device=self.gains.device)

        def score(rows: slice) -> None:
            self.gains[rows] = gain(self.a[rows], self.c[rows])

        for_chunks(score, len(self.gains), self.chunk)
        self.gains[self.closed] = -torch.inf

    def _is_first(self, s: int, closed: set[int]) -> bool:
        """Tell whether no open row of the same content comes before s."""
        if not self.twins.any:
            return True
        row = torch.tensor([s], device=self.gains.device)
        shut = torch.tensor(sorted(closed), dtype=torch.int64, device=self.gains.device)
        return int(self.twins.first_open(row, shut)) == s

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

    def _foreseen(self, s: int, most: int) -> list[int]:
        """The row s and those that would be chosen next if only the best now were candidates."""
        if most == 1:
            return [s]
        best = self.gains.topk(min(CANDIDATES, len(self.gains)))
        rows = best.indices[best.values > 0.0]
        rows = torch.cat([rows.new_tensor([s]), rows[rows != s]])
        a, c = self.a[rows, 0, 0], self.c[rows, 0, 0]
        return rows[foresee(self.state.foresight(rows), a, c, most)].tolist()


def _trace(blocks: torch.Tensor) -> torch.Tensor:
    """Trace of every (r, r) block, (N,)."""
    return blocks.diagonal(dim1=1, dim2=2).sum(1)
