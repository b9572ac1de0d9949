# SPDX-License-Identifier: BSD-3-Clause
"""Greedy maximisation of the coverage of a pool, without its N×N kernels.

A set S covers row j of the pool by ``m_j = max_{i in S} k(h_i, h_j)``. Adding row i to S raises
the weighted coverage ``Σ_j u_j m_j`` by its gain

    g_i = Σ_j u_j relu( k(h_i, h_j) - m_j )

(the sum runs over the covered rows j; m_j and u_j are theirs). The greedy choice takes the largest
gain again and again. Gains only fall as S grows, so gains of earlier steps are upper bounds, and
most rows are seldom looked at again (lazy greedy). Three things keep what is left cheap:

- The first gains of all rows come from one pass in float32 over half of the kernels, the others
  being their mirror image.
- Bounds that reach up to the best gain are made anew in batches, in float32, of kernels raised by
  what rounding may have taken from them. What then still reaches up to the best gain is computed
  in float64, on the few columns where the row exceeds the coverage. Every decision is made between
  float64 gains, so it does not depend on chunks, threads or device.
- A choice raises m_j of some rows, J. From gains that are exact it takes
  ``Σ_{j in J} u_j (clamp(k(h_i, h_j), m_j, m_j') - m_j)``, after which they are exact again: where
  many rows are equally good (duplicates; narrow kernels, which reach no other row) they need not
  all be looked at for every choice.

Equal gains are no rarity: two rows that cover nothing but each other have the same.
"""

from __future__ import annotations

import math

import torch

from skbait._backend import EXACT, for_chunks, rows_per_chunk
from skbait.numerics.kernels import rbf_kernel, rounding, squares

# Rows whose bounds are made anew together, to begin with. On keeping gains exact no more is spent
# than on one such batch.
BATCH = 32
# Bytes that a batch may take.
BATCH_BYTES = 64 * 2**20
# Columns of one tile.
WIDTH = 2048
# Pools of up to this many rows are in float64 throughout: it costs nothing there.
SMALL = 1024
# Where float32 gives kernels with a larger error than this, bounds are in float64 too.
COARSE = 1e-3
# What a row exceeds the coverage of another by, if it counts at all.
LEAST = 1e-20


def coverage_by(rows: torch.Tensor, centers: torch.Tensor, gamma: float) -> torch.Tensor:
    """Return how well some rows cover others.

    Parameters
    ----------
    rows : torch.Tensor of shape (N, D), float64
        The rows to be covered, of unit norm or zero.
    centers : torch.Tensor of shape (L, D), float64
        The rows that cover; there may be none.
    gamma : float
        γ of the kernel.

    Returns
    -------
    torch.Tensor of shape (N,), float64
        ``max_i k(centers_i, rows_j)``, 0 where there are no centers. Time O(N·L·D), memory O(N).
    """
    found = torch.zeros(len(rows), dtype=EXACT, device=rows.device)

    def cover(part: slice) -> None:
        found[part] = rbf_kernel(rows[part], centers, gamma).amax(dim=1)

    if len(centers):
        chunk = rows_per_chunk(8 * len(centers), len(rows), device=rows.device)
        for_chunks(cover, len(rows), chunk)
    return found


def greedy_coverage(
    rows: torch.Tensor,
    n: int,
    *,
    gamma: float,
    coverage: torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose rows that cover all rows, each time the one that adds most.

    Parameters
    ----------
    rows : torch.Tensor of shape (N, D), float64
        The pool, rows of unit norm or zero.
    n : int
        How many to choose, at most N.
    gamma : float
        γ of the kernel.
    coverage : torch.Tensor of shape (N,) or None, default=None
        How well each row is covered already, from 0 to 1; None: not at all.
    weights : torch.Tensor of shape (N,) or None, default=None
        u, what covering each row is worth, not negative; None: 1.

    Returns
    -------
    positions : torch.Tensor of shape (n,), int64
        The choice in order, all different. Of gains that are equal up to rounding, that of the
        row that comes first counts as the largest.
    gains : torch.Tensor of shape (N,), float64
        The gain of every row before the first choice, over N. In pools of more than `SMALL` rows
        those that could not be chosen have the rounding of float32.

    Notes
    -----
    Time is N²·D/2 multiply-adds and N²/2 exponentials for the first gains; then, for a choice, the
    kernels of some `BATCH` rows, and of far more in the first choices where nothing is covered
    yet. On features of images 200 choices took the kernels of 1.5·N rows with coverage by labelled
    rows, of 5·N without. Memory is O(N·D), and a few times `BATCH_BYTES`.
    """
    greedy = _Greedy(rows, gamma, coverage, weights)
    greedy.start()
    chosen = [greedy.best()]
    gains = greedy.gains() * (greedy.unit / len(rows))
    while len(chosen) < n:
        greedy.add(chosen[-1])
        chosen.append(greedy.best())
    return torch.tensor(chosen, device=rows.device), gains


class _Greedy:
    """The state after some choices."""

    def __init__(self, rows, gamma, coverage, weights):
        n_rows, n_features = rows.shape
        self.rows = rows
        self.gamma = gamma
        ones = torch.ones(n_rows, dtype=EXACT, device=rows.device)
        self.u = ones if weights is None else weights.to(EXACT)
        self.unit = float(self.u.max()) or 1.0  # of the weights, and hence of the gains
        self.u = self.u / self.unit
        self.m = torch.zeros_like(ones) if coverage is None else coverage.to(EXACT).clone()
        self.covered = float(self.u @ self.m)
        self.m[self.u == 0] = 2.0  # no kernel exceeds it: columns of no weight are left out
        self.exact_error = rounding(EXACT, gamma, n_features)
        # the same in the dtype in which bounds are made
        self.dtype = self._dtype_of_bounds()
        self.error = rounding(self.dtype, gamma, n_features)
        self.sum_error = 8 * math.sqrt(WIDTH) * torch.finfo(self.dtype).eps / 2
        self.fast_rows = rows.to(self.dtype)
        norms = -gamma * squares(rows)
        self.row_terms = norms.to(self.dtype)[:, None]  # (N, 1)
        self.column_terms = norms.to(self.dtype)  # (N,)
        self.fast_u = self.u.to(self.dtype)
        self.fast_m = self.m.to(self.dtype)
        # upper bounds of the gains, minus infinity for the chosen; which of them are the gains
        self.bounds = torch.empty_like(ones)
        self.first_gains = torch.zeros_like(ones)
        self.last_batch = None  # rows, and by what they exceed the coverage
        self.is_exact = torch.zeros_like(ones, dtype=torch.bool)

    def _dtype_of_bounds(self):
        n_rows, n_features = self.rows.shape
        precise = torch.get_float32_matmul_precision() == "highest"
        error = rounding(torch.float32, self.gamma, n_features)
        # a wide kernel (small γ) differs from 1 by some γ at the most
        coarse = error > COARSE * min(1.0, 2 * self.gamma)
        return EXACT if n_rows <= SMALL or coarse or not precise else torch.float32

    def start(self):
        """Compute the gains of all rows, and derive the first bounds."""
        n_rows, device = len(self.rows), self.rows.device
        gains = self.first_gains
        width = min(WIDTH, n_rows)
        size = self.fast_rows.element_size()
        height = rows_per_chunk(2 * size * width, width, device=device)
        buffers = torch.empty(2, height * width, dtype=self.dtype, device=device)
        for part in _tiles(0, n_rows, height):
            for columns in [part, *_tiles(part.stop, n_rows, width)]:
                shape = part.stop - part.start, columns.stop - columns.start
                kernels, excess = (b[: math.prod(shape)].view(shape) for b in buffers)
                self._kernels(part, columns, kernels)
                torch.sub(kernels, self.fast_m[columns], out=excess).relu_()
                gains[part] += excess @ self.fast_u[columns]
                if columns is not part:  # k is symmetric: the same kernels the other way round
                    torch.sub(kernels, self.fast_m[part, None], out=excess).relu_()
                    gains[columns] += self.fast_u[part] @ excess
        # Only kernels above m, or within their error of it, are in a gain or missing from it:
        # these sum to no more than the gain and what is covered already.
        lost = math.expm1(2 * self.error) * (gains + self.covered)
        self.bounds = (gains + lost) * (1 + self.sum_error)

    def gains(self):
        """Return the gains (N,) of all rows, after the first call of `best`."""
        found = torch.minimum(self.first_gains, self.bounds).where(~self.is_exact, self.bounds)
        # those that are equal up to rounding are to be equal
        ordered, order = torch.sort(found)
        leaps = torch.diff(ordered) > float(ordered[-1]) - self._tied_with(float(ordered[-1]))
        leaps = torch.cat([leaps.new_ones(1), leaps])
        return torch.empty_like(found).scatter_(0, order, ordered[leaps][leaps.cumsum(0) - 1])

    def best(self):
        """Return the position of the row of the largest gain, the first of equal ones."""
        size = BATCH
        most = max(BATCH, BATCH_BYTES // (self.fast_rows.element_size() * len(self.rows)))
        while True:
            gains = self.bounds.where(self.is_exact, -math.inf)
            best = float(gains.max())
            bounds = self.bounds.masked_fill(self.is_exact, -math.inf)
            is_open = bounds > -math.inf
            n_rivals = int((is_open & (bounds >= self._tied_with(best))).sum())
            if not n_rivals:
                break
            # a batch that is not full costs hardly less: those next in line are in it too
            batch = torch.topk(bounds, min(size, max(n_rivals, BATCH), int(is_open.sum()))).indices
            self._renew(batch.sort().values, best)
            size = min(2 * size, most)
        return int((gains >= self._tied_with(best)).to(torch.uint8).argmax())

    def add(self, chosen):
        """Choose a row: raise the coverage by it, and lower the gains that are known."""
        self.bounds[chosen] = -math.inf
        self.is_exact[chosen] = False
        row = torch.tensor([chosen], device=self.rows.device)
        batch, excess = self.last_batch  # of earlier choices too: what exceeds m now did so then
        if not (batch == chosen).any():
            batch, excess = row, self._excess(row)[0]
        columns = torch.nonzero((excess[batch == chosen] > LEAST)[0])[:, 0]
        raised = self._exact_kernels(row, columns)[0]  # (columns,)
        is_raised = raised > self.m[columns]
        columns, raised = columns[is_raised], raised[is_raised]
        if not len(columns):
            return
        before = self.m[columns]
        self._lower(columns, before, raised)
        self.m[columns] = raised
        self.fast_m[columns] = raised.to(self.dtype)
        self.covered += float(self.u[columns] @ (raised - before))

    def _tied_with(self, gain):
        """Return the least gain that rounding alone may tell from another one."""
        error = 4 * self.exact_error * (gain + self.covered) + LEAST * len(self.rows)
        return gain - error if math.isfinite(gain) else gain

    def _renew(self, batch, best):
        """Make the bounds of a batch of rows anew, and those that reach the best gain exact."""
        excess, totals = self._excess(batch)
        self.last_batch = batch, excess
        self.bounds[batch] = totals
        first = totals.argmax(keepdim=True)
        if float(totals[first]) >= self._tied_with(best):
            best = max(best, self._make_exact(batch[first], excess[first]))
        rivals = totals >= self._tied_with(best)
        rivals[first] = False
        if rivals.any():
            self._make_exact(batch[rivals], excess[rivals])

    def _make_exact(self, batch, excess):
        """Compute the gains of some rows in float64; return the largest."""
        columns = torch.nonzero((excess > LEAST).any(dim=0))[:, 0]
        kernels = self._exact_kernels(batch, columns)  # (batch, columns)
        gains = kernels.sub_(self.m[columns]).relu_() @ self.u[columns]
        self.bounds[batch] = gains
        self.is_exact[batch] = True
        return float(gains.max())

    def _lower(self, columns, before, raised):
        """Take from exact gains what they lose by the columns whose coverage rises."""
        exact = torch.nonzero(self.is_exact)[:, 0]
        n_kept = BATCH * len(self.rows) // len(columns)
        if n_kept < len(exact):  # the smaller ones become bounds
            self.is_exact[exact] = False
            exact = exact[torch.topk(self.bounds[exact], n_kept).indices].sort().values
            self.is_exact[exact] = True
        kernels = self._exact_kernels(exact, columns)  # (exact, columns)
        lost = torch.minimum(torch.maximum(kernels, before), raised) - before
        self.bounds[exact] -= lost @ self.u[columns]

    def _excess(self, batch):
        """Return by what rows exceed the coverage (batch, N), at the most, and bounds (batch,)."""
        n_rows = len(self.rows)
        excess = torch.empty(len(batch), n_rows, dtype=self.dtype, device=self.rows.device)
        totals = torch.zeros(len(batch), dtype=EXACT, device=self.rows.device)
        for columns in _tiles(0, n_rows, WIDTH):
            part = excess[:, columns]
            self._kernels(batch, columns, part, raised_by=2 * self.error)
            part.sub_(self.fast_m[columns]).relu_()
            totals += part @ self.fast_u[columns]
        return excess, totals * (1 + self.sum_error)

    def _kernels(self, part, columns, out, raised_by=0.0):
        """Write the kernels (part, columns) to `out`, in the dtype of the bounds."""
        rows, others = self.fast_rows[part], self.fast_rows[columns]
        torch.addmm(self.column_terms[columns], rows, others.T, alpha=2 * self.gamma, out=out)
        out.add_(self.row_terms[part] + raised_by).exp_()

    def _exact_kernels(self, part, columns):
        return rbf_kernel(self._take(part), self._take(columns), self.gamma)

    def _take(self, positions):
        # positions ascend: as many as there are rows means all
        return self.rows if len(positions) == len(self.rows) else self.rows[positions]


def _tiles(start, stop, width):
    return [slice(a, min(a + width, stop)) for a in range(start, stop, width)]
