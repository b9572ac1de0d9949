# SPDX-License-Identifier: BSD-3-Clause
"""The precision M through a small Gram matrix and F as an operator: for large P = Q·D.

M⁻¹ u comes from `skbait.fisher.gram`, and F u is the mean over rows of V_xᵀ (V_x u): two products
with the features. No P×P matrix is kept. The first blocks come from kernels between rows,
m(x, j) = V_x M⁻¹ V_jᵀ:

    a_x = m(x, x),    c_x = mean over j of m(x, j) m(x, j)ᵀ,

N² of them; where P is so small that M⁻¹FM⁻¹ costs less, c_x is its quadratic form instead and the
matrix is dropped after. A step then need not read matrices of P×P numbers, as the dense form does.
"""

from __future__ import annotations

from functools import partial

import torch

from skbait._backend import EXACT, for_chunks, rows_per_chunk
from skbait.fisher.blocks import diagonals, own_blocks
from skbait.fisher.cost import goes_by_matrix, removes_by_directions, shares_pass
from skbait.fisher.gram import GramPrecision
from skbait.fisher.kernels import add_squares, kernel
from skbait.fisher.linalg import inverse, symmetrise
from skbait.fisher.matrices import mean_fisher, mirror, quadratic
from skbait.fisher.problem import Problem
from skbait.fisher.rows import BATCHED, Rows, adjoint, by_features, explicit, products, project

# Rows of a product with their transpose, at most on a CPU: sums in float32.
LONG = 16384
# After so many wrong guesses in a row there are no more.
MISSES = 3


class FactoredForm:
    """State of the forward selection without any P×P matrix.

    Cost: N·N_F·r²·L·r/2 multiply-adds for the first blocks, where N_F rows make F; then
    3·N·D·Q·r per step, for which the features are read twice where the next choice is guessed (see
    `skbait.fisher.cost.shares_pass`) and three times elsewhere. Memory: N·r·L·r for the labelled
    kernels during the first blocks, or one P×P matrix, and N·(D + r·Q + 3r²) after; for the
    removal of m rows (m·r)², or 3·P·m·r.

    Parameters
    ----------
    problem : Problem
        The rows, and what makes M and F of them.
    """

    def __init__(self, problem: Problem):
        pool, labeled = problem.pool, problem.labeled
        self.pool, self.fisher_rows = pool, problem.fisher_rows
        self.total = problem.n_fisher
        # scores that count as exact are, and come of M's rows themselves: see `DenseForm`
        self.blur = self.doubt = 0.0
        self.differs = False
        self.known: _Row | None = None  # the row whose P_x are in `p`, at the present M
        self.p: torch.Tensor | None = None
        # whether guesses of the next row are wanted, and how many in a row were wrong
        self.looks_ahead = shares_pass(pool)
        self.misses = 0
        device = pool.features.device
        if labeled is None:
            h = torch.empty(0, pool.n_features, dtype=EXACT, device=device)
            a = torch.empty(0, pool.rank, pool.n_columns, dtype=EXACT, device=device)
        else:
            h, a = labeled.exact(slice(None))
            a = a * problem.labeled_weight**0.5
        self.precision = GramPrecision(h, a, problem.regularization, problem.n_steps)
        self.n_labeled = len(h)
        self.by_matrix = goes_by_matrix(problem)
        # whether the products of its F are made in the dtype of the pass: see `refine`
        self.rounds = True

    def to_exact(self, pool: Rows) -> None:
        """Go on with the same rows in float64.

        Parameters
        ----------
        pool : Rows
            The candidates, with features and factors in float64.
        """
        self.fisher_rows = [
            pool if rows is self.pool else rows.to_exact() for rows in self.fisher_rows
        ]
        self.pool = pool

    def sharpen(self) -> bool:
        """See `DenseForm`: there is nothing to do."""
        return False

    def refine(self) -> bool:
        """Make first blocks with more digits from here on; False where only float64 has more.

        Only what comes by a matrix M⁻¹FM⁻¹ has fewer digits than the pass allows for.
        """
        in_float32 = self.pool.features.dtype != EXACT
        if self.by_matrix and self.rounds and in_float32:
            self.rounds = False
            return True
        if self.by_matrix and not in_float32:
            self.by_matrix = False
            return True
        return False

    def blocks(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Blocks of all candidates and their sizes; see `DenseForm.blocks`."""
        features, rank = self.pool.features, self.pool.rank
        self.p = features.new_empty(len(features), rank, rank)
        self.known = None
        if self.by_matrix:
            a, _ = self._diagonal(None)
            c, size_c = quadratic(self.pool, self._sandwich())
            return a, c, diagonals(a), size_c
        reduced = self._reduced(self.pool)
        a, norms = self._diagonal(reduced)
        c = torch.zeros_like(a)
        for rows in self.fisher_rows:
            if rows is self.pool:
                add_squares(c, self.pool, reduced)
            else:
                add_squares(c, self.pool, reduced, rows, self._reduced(rows))
        lam = self.precision.regularization
        c /= self.total * lam
        c /= lam
        c = symmetrise(c)
        # c is a mean of squares of kernels m, which are rounded where they are still as large as
        # the rows themselves: the error of c_ii goes with m times that. The unit is free.
        own = diagonals(c)
        size_c = (own * norms).sqrt_()
        size_c *= own.sum() / size_c.sum().clamp_min(1e-300)
        return a, c, diagonals(a), size_c

    def couple(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Look at the row that is added next; see `DenseForm.couple`.

        Parameters
        ----------
        row : int
            The row s.

        Returns
        -------
        tuple of torch.Tensor of shape (r, r), float64
            a_s and c_s.
        """
        if self.known is not None:
            self.misses = 0 if self.known.position == row else self.misses + 1
            self.looks_ahead = self.looks_ahead and self.misses < MISSES
        if self.known is None or self.known.position != row:
            self.known = _Row(self.pool, self.precision, row)
            project(self.pool, self.known.u, out=self.p)
        fu, c = self._apply_fisher(self.known.u)
        self.w = self.precision.solve(fu)  # M⁻¹FM⁻¹V_sᵀ
        return self.known.v.T @ self.known.u, c

    def couplings(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """P_x and Q_x of a few candidates for the row last coupled.

        Parameters
        ----------
        rows : torch.Tensor of shape (m,), int64
            Positions of the candidates.

        Returns
        -------
        tuple of torch.Tensor of shape (m, r, r)
            V_x M⁻¹ V_sᵀ and V_x M⁻¹FM⁻¹ V_sᵀ, in the dtype of the features.
        """
        pool = self.pool
        flat = by_features(self.w, pool.n_columns).to(pool.features)
        h, a = pool.features.index_select(0, rows), pool.coefficients.index_select(0, rows)
        return self.p.index_select(0, rows), products(h, a, flat, pool.rank)

    def add(
        self, g: torch.Tensor, s: torch.Tensor, out: torch.Tensor, following: int | None = None
    ) -> None:
        """Add the row last coupled to M; write what this does to all candidates.

        Parameters
        ----------
        g, s : torch.Tensor of shape (r, r), float64
            (I + a_s)⁻¹ and c_s; not used by this form.
        out : torch.Tensor of shape (N, r, 2·r)
            P_x and, behind it, Q_x, written to.
        following : int or None, default=None
            The row that will probably be coupled next: its first pass shares the last of s.
        """
        rank, directions, coupled = self.pool.rank, self.w, self.known
        self.precision.append(coupled.h, coupled.a, coupled.reduced)
        self.known = None
        if following is not None:
            self.known = _Row(self.pool, self.precision, following)
            directions = torch.cat([directions, self.known.u], dim=1)

        def write(chunk: slice, values: torch.Tensor) -> None:
            out[chunk, :, :rank] = self.p[chunk]  # those of s, before they are written over
            out[chunk, :, rank:] = values[:, :, :rank]
            if following is not None:
                self.p[chunk] = values[:, :, rank:]

        project(self.pool, directions, write)

    def own_blocks(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Exact blocks of a few rows at the present state; see `DenseForm.own_blocks`.

        Parameters
        ----------
        rows : list of int
            m rows of the pool.

        Returns
        -------
        tuple of torch.Tensor of shape (m, r, r), float64
            a_x and c_x.
        """
        rank = self.pool.rank
        h, a = self.pool.exact(torch.as_tensor(rows, device=self.pool.features.device))
        v = explicit(h, a)
        u = self.precision.solve(v, self.precision.reduce(h, a))
        c = torch.zeros(len(rows), rank, rank, dtype=EXACT, device=v.device)

        def work(chunk: slice, values: torch.Tensor) -> None:
            values = values.reshape(-1, values.shape[2])
            c.add_(own_blocks(values, values, rank))

        for fisher_rows in self.fisher_rows:
            project(fisher_rows, u, work, exact=True)
        return own_blocks(v, u, rank), c / self.total

    def removal(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """E = I - V_S M⁻¹ V_Sᵀ and D = V_S M⁻¹FM⁻¹ V_Sᵀ with all chosen rows in M.

        Parameters
        ----------
        rows : torch.Tensor of shape (m,), int64
            Positions of the chosen rows.

        Returns
        -------
        tuple of torch.Tensor of shape (m·r, m·r), float64
            E and D of `skbait.fisher.backward`.

        Notes
        -----
        With M₀ the precision before any choice and m₀(s, j) = V_s M₀⁻¹ V_jᵀ, E = (I + m₀(S, S))⁻¹
        and V_S M⁻¹ V_jᵀ = E m₀(S, j), whose squares are averaged over j. These come from kernels
        with the labelled and the chosen rows or, where it is cheaper, from M₀⁻¹ V_Sᵀ E.
        """
        self.precision.n = self.n_labeled  # the chosen rows leave M again
        h, a = self.pool.exact(rows)
        reduced = self.precision.reduce(h, a)
        scale = 1.0 / self.precision.regularization
        before = symmetrise(kernel(h, a, h, a) - reduced.T @ reduced) * scale
        before.diagonal().add_(1.0)
        e = inverse(before, name="posterior of the chosen rows")
        if removes_by_directions(self.pool, self.n_labeled, self.total, len(rows)):
            d = self._squares_by_directions(self.precision.solve(explicit(h, a), reduced) @ e)
        else:
            d = self._squares_by_kernels(h, a, self.precision.weights(reduced), e * scale)
        return e, symmetrise(d / self.total)

    def _squares_by_directions(self, directions: torch.Tensor) -> torch.Tensor:
        """Sum of the squares of V_x u over the rows of F, for columns u, (m·r, m·r)."""
        width = directions.shape[1]
        d = directions.new_zeros(width, width)

        def add(chunk: slice, values: torch.Tensor) -> None:
            values = values.reshape(-1, width)
            d.addmm_(values.T, values)

        for fisher_rows in self.fisher_rows:
            project(fisher_rows, directions, add, exact=True)
        return d

    def _squares_by_kernels(self, h, a, weights, e: torch.Tensor) -> torch.Tensor:
        """The same for M₀⁻¹ V_Sᵀ E, from kernels with chosen and labelled rows; e is E / λ."""
        d = torch.zeros_like(e)
        h_labeled, a_labeled, _ = self.precision.rows()

        def add(fisher_rows: Rows, chunk: slice) -> None:
            hx, ax = fisher_rows.exact(chunk)
            m = kernel(hx, ax, h, a)
            m -= kernel(hx, ax, h_labeled, a_labeled) @ weights
            m = m @ e
            d.addmm_(m.T, m)

        width = (2 * len(h) + self.n_labeled) * self.pool.rank
        for fisher_rows in self.fisher_rows:
            fisher_rows.for_chunks(partial(add, fisher_rows), 16 * self.pool.rank * width)
        return d

    def _apply_fisher(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """F u and uᵀF u of columns u, whose V_x u of the candidates are in `p`."""
        total = torch.zeros_like(u)
        c = torch.zeros(u.shape[1], u.shape[1], dtype=EXACT, device=u.device)

        def work(rows: Rows, chunk: slice, values: torch.Tensor) -> None:
            part = adjoint(rows, chunk, values).to(EXACT)
            flat = values.reshape(-1, values.shape[2]).to(EXACT)
            c.addmm_(flat.T, flat)
            total.add_(part)

        for rows in self.fisher_rows:
            if rows is self.pool:
                numbers = u.shape[1] * (
                    rows.n_columns * (1 + rows.n_features / BATCHED) + rows.rank
                )
                rows.for_chunks(
                    lambda chunk: work(self.pool, chunk, self.p[chunk]),
                    int(2 * rows.features.element_size() * numbers),
                    LONG,
                )
            else:
                project(rows, u, partial(work, rows))
        return total / self.total, symmetrise(c / self.total)

    def _reduced(self, rows: Rows) -> torch.Tensor:
        """L⁻¹ W V_xᵀ of all rows, (n·r, N·r), in the dtype of the pass."""
        rank = rows.rank
        out = rows.features.new_empty(self.precision.n * rank, len(rows) * rank)
        if self.precision.n:

            def write(chunk: slice) -> None:
                columns = slice(chunk.start * rank, chunk.stop * rank)
                out[:, columns] = self.precision.reduce(*rows.exact(chunk)).to(out.dtype)

            rows.for_chunks(write, 8 * rank * (2 * len(out) + self.pool.n_columns))
        return out

    def _sandwich(self) -> torch.Tensor:
        """M⁻¹FM⁻¹ as a matrix, (P, P) float64, symmetric up to rounding."""
        size = self.pool.size
        fisher = torch.zeros(size, size, dtype=EXACT, device=self.pool.features.device)
        for rows in self.fisher_rows:
            dtype = self.pool.features.dtype if self.rounds else EXACT
            mean_fisher(rows, 1.0 / self.total, fisher, dtype)
        matrix = mirror(fisher, self.pool.n_columns)

        # in place: M⁻¹F some columns at a time, then the product, which is symmetric, by its rows
        def solve_columns(part: slice) -> None:
            matrix[:, part] = self.precision.solve(matrix[:, part])

        def solve_rows(part: slice) -> None:
            matrix[part] = self.precision.solve(matrix[part].T).T

        chunk = rows_per_chunk(8 * 4 * size, size, device=matrix.device)
        for_chunks(solve_columns, size, chunk)
        for_chunks(solve_rows, size, chunk)
        return matrix

    def _diagonal(self, reduced: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """a_x = (k(x, x) - reduced_xᵀ reduced_x) / λ, and the squared norms of the rows of V_x.

        Where `reduced` is None it is made in float64 on the way.
        """
        n, rank = len(self.pool), self.pool.rank
        n_reduced = self.precision.n * rank
        out = torch.empty(n, rank, rank, dtype=EXACT, device=self.pool.features.device)
        norms = out.new_empty(n, rank)

        def write(chunk: slice) -> None:
            h, a = self.pool.exact(chunk)
            block = torch.bmm(a, a.mT) * (h * h).sum(1)[:, None, None]
            norm = diagonals(block)
            if n_reduced:
                if reduced is None:
                    part = self.precision.reduce(h, a)
                else:
                    part = reduced[:, chunk.start * rank : chunk.stop * rank].to(EXACT)
                part = part.view(n_reduced, -1, rank).permute(1, 2, 0)  # (n, r, m)
                block -= torch.bmm(part, part.mT)
            out[chunk] = symmetrise(block) / self.precision.regularization
            norms[chunk] = norm

        self.pool.for_chunks(write, 8 * (rank * 3 * n_reduced + self.pool.n_features))
        return out, norms


class _Row:
    """A candidate s, its V_sᵀ and u = M⁻¹V_sᵀ as columns, and what M needs to take it up."""

    def __init__(self, pool: Rows, precision: GramPrecision, position: int):
        self.position = position
        self.h, self.a = pool.exact(slice(position, position + 1))
        self.v = explicit(self.h, self.a)
        self.reduced = precision.reduce(self.h, self.a)
        self.u = precision.solve(self.v, self.reduced)
