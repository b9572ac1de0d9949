# SPDX-License-Identifier: BSD-3-Clause
"""The forward pass for factors of rank one: one pass over the pool serves many choices.

The next choices are foreseen among the rows that are best now, and one pass makes the columns of
all of them. Everything is as if the rows were chosen one by one: where the next choice is a close
call, or an outside row is before it, or the running scores are off, the course is left.
"""

from __future__ import annotations

import torch

from skbait._backend import EXACT
from skbait.fisher.blocks import first_order
from skbait.fisher.course import Course, play
from skbait.fisher.foresight import foresee
from skbait.fisher.forward import CROWD, DRIFT, TIE, Forward
from skbait.fisher.rows import project

# Rows among which the next choices are sought.
CANDIDATES = 2048
# At most so many choices are foreseen.
AHEAD = 24
# Rows whose scores come within this fraction of a foreseen one are looked at.
WIDE = 8e-3


class ForwardAhead(Forward):
    """Greedy forward choice from a dense state with factors of rank one.

    Parameters
    ----------
    state : DenseForm
        Where M and F are; changed by the choices.
    """

    def _prepare(self) -> None:
        features = self.state.pool.features
        self.after = features.new_empty(len(features) * 2 * AHEAD)
        self.rows: list[int] = []  # the foreseen ones
        self.at = self.added = 0  # how many of them are chosen, and how many the state knows of

    def _look_at(self, s: int, left: int) -> tuple[float, float]:
        """Exact gain and spread of s; by a new course where s is not next in the present one."""
        if self.at == len(self.rows) or self.rows[self.at] != s:
            self._flush()
            rows = self._foreseen(s, min(AHEAD, left))
            self._set_out(rows, self.state.course(rows))
        return self.course.gains[self.at], self.course_spreads[self.at]

    def _choose(self, s: int, left: int) -> None:
        """Add the row s, looked at before, and what comes after it as far as that is certain."""
        j, n = self.at, len(self.gains)
        self.at = self._certain(j + 1)
        self.chosen += self.rows[j : self.at]
        after = self.after[: n * 2 * len(self.course)].view(n, 2, -1)
        self.a[:, 0, 0], self.c[:, 0, 0] = after[:, :, self.at - 1].T
        self._score()

    def _foreseen(self, s: int, most: int) -> list[int]:
        """The row s and those that would be chosen next if only the best now were candidates."""
        if most == 1:
            return [s]
        best = self.gains.topk(min(CANDIDATES, len(self.gains)), sorted=False)
        rows = best.indices[best.values > 0.0]
        outside = float(best.values.min()) if len(rows) < len(self.gains) else 0.0
        rows = torch.cat([rows.new_tensor([s]), rows[rows != s]])
        a, c = self.a[rows, 0, 0], self.c[rows, 0, 0]
        order = foresee(*self.state.foresight(rows), a, c, most, outside)
        return self.twins.in_order(rows[order].tolist(), self.closed)

    def _set_out(self, rows: list[int], course: Course) -> None:
        """Work out what a course does to all rows, in one pass."""
        self.course, self.rows, self.at, self.added = course, rows[: len(course)], 0, 0
        self.believed = self.error
        n, k = len(self.gains), len(course)
        numbers = torch.tensor([course.gains, course.precisions], dtype=EXACT).to(self.gains)
        index = torch.tensor(self.rows).to(self.closed)
        self.course_spreads = self._spread(index, numbers[0], 1.0 / numbers[1]).tolist()
        dtype = self.state.pool.features.dtype
        after = self.after[: n * 2 * k].view(n, 2, k)
        blocks = torch.stack([self.a[:, 0, 0], self.c[:, 0, 0]], dim=1).to(dtype)
        threshold = torch.tensor(course.gains[1:], dtype=EXACT) * (1.0 - WIDE)
        threshold = threshold.to(blocks)
        lost = self.error * first_order(max(course.gains[1:], default=0.0), *self.sizes)[0]
        lost = lost.clamp_max(torch.finfo(dtype).max).to(dtype)
        near, crowded = [], False

        def change(chunk: slice, products: torch.Tensor) -> None:
            nonlocal crowded
            found = play(
                products.view(-1, 2, k), blocks[chunk], threshold, lost[chunk], after[chunk]
            )
            found[:, 0] += chunk.start
            near.append(found)
            crowded = crowded or sum(map(len, near)) > CROWD * k
            if crowded:  # of a crowd none is looked at
                near.clear()

        project(self.state.pool, torch.cat([course.u, 2.0 * course.w], dim=1), change)
        self.crowded = crowded
        self.near = [{} for _ in range(k)]
        if crowded or k == 1:
            return
        row, when = torch.cat(near).T
        slope = 1.0 / (1.0 + after[row, 0, when]).to(EXACT)
        score = after[row, 1, when].to(EXACT) * slope
        amplified = self._spread(row, score, slope) / score.clamp_min(1e-300)
        found = row.tolist(), when.tolist(), score.tolist(), amplified.tolist()
        for x, j, score, factor in zip(*found, strict=True):
            self.near[j + 1][x] = score, factor

    def _certain(self, j: int) -> int:
        """How many rows of the course are certain to be chosen in its order, given the first j.

        What `_best` and `_trust` do step by step, for the few rows whose scores are near.
        """
        doubt = self.state.doubt + TIE
        closed = {*self.chosen, *self.rows[self.at : j]}
        # `near` holds what the error believed at the outset leaves open
        while j < len(self.rows) and not self.crowded and self.error <= 2.0 * self.believed:
            s, exact = self.rows[j], self.course.gains[j]
            if not self._is_first(s, closed):
                break
            near = {x: found for x, found in self.near[j].items() if x not in closed}
            score, amplified = near.pop(s, (0.0, 0.0))
            worst = max([amplified, *(amplified for _, amplified in near.values())])
            if not (score > 0.0 and exact > 0.0) or not self.error * worst <= DRIFT:
                break
            surely = score * (1.0 - self.error * amplified - doubt)
            others = (x * (1.0 + self.error * amplified + doubt) for x, amplified in near.values())
            if len(near) > CROWD or not max(others, default=-1.0) < surely:
                break
            off = abs(score - exact) / exact
            by = self.course_spreads[j] / exact
            if not off <= max(self.error * by, TIE):
                break
            self._learn(off, by)
            closed.add(s)
            j += 1
        return j

    def _spread(self, rows, gains, slopes) -> torch.Tensor:
        """Spread of some gains: see `skbait.fisher.blocks.gain`."""
        return slopes * first_order(gains, *(size[0, rows] for size in self.sizes))

    def _flush(self) -> None:
        """Add the rows of the course that were chosen to the state."""
        if self.added < self.at:
            part = slice(self.added, self.at)
            self.state.follow(self.course, part, self.rows[part])
            self.added = self.at

    def _is_first(self, s: int, closed: set[int]) -> bool:
        """Tell whether no open row of the same content comes before s."""
        if not self.twins.any:
            return True
        row = torch.tensor([s], device=self.gains.device)
        shut = torch.tensor(sorted(closed), dtype=torch.int64, device=self.gains.device)
        return int(self.twins.first_open(row, shut)) == s
