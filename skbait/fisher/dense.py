# SPDX-License-Identifier: BSD-3-Clause
"""The precision M and the mean Fisher F as dense matrices: for small P = Q·D.

Let B = M₀⁻¹ and R = M₀⁻¹FM₀⁻¹ at the labelled set. Each choice s changes them by rank r:

    B ← B - U G Uᵀ,    R ← R - U G Wᵀ - W G Uᵀ,    U = B V_sᵀ,  W = R V_sᵀ - U G S / 2.

The changes are kept as columns U L and W L (G = L Lᵀ) and folded into the matrices only when there
are many, so that a step reads the P×P matrices and does not write them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from skbait._backend import EXACT
from skbait.fisher.linalg import cholesky, inverse, semidefinite_root, symmetrise
from skbait.fisher.matrices import mean_fisher, mirror, quadratic, squared_norms
from skbait.fisher.problem import Problem
from skbait.fisher.rows import Rows, explicit, project

# F is kept where it takes no more than this; else it is computed again where it is needed.
KEPT_BYTES = 256 * 2**20


class DenseForm:
    """State of the forward selection with P×P matrices.

    Cost: N·D²·Q²/2 multiply-adds for F and for each kind of block, P³ for the inverse; then
    2·N·D·Q·r per step. Memory: 4 matrices P×P in float64, and N·(D + r·Q + 2r²).

    Parameters
    ----------
    problem : Problem
        The rows, and what makes M and F of them.
    """

    def __init__(self, problem: Problem):
        pool = self.pool = problem.pool
        self.problem = problem
        # Where a pass over the pool is bound by reading it, choices are foreseen to share one.
        self.ahead = 20 if pool.n_columns == 1 else 1
        self.by_matrix = False  # see `FactoredForm`
        self.chosen: list[int] = []
        self.fisher: torch.Tensor | None = None
        self.inverse, self.sandwich = self._solve()
        size, rank = pool.size, pool.rank
        capacity = rank * problem.n_steps
        if capacity > size // 2:
            capacity = min(capacity, max(64, size // 2))
            capacity -= capacity % rank
        self.u = self.inverse.new_empty(size, max(capacity, self.ahead * rank))
        self.w = torch.empty_like(self.u)
        self.used = 0
        self.rounded: torch.Tensor | None = None  # see `foresight`

    def _precision(self) -> torch.Tensor:
        """M₀ = λI + the information of the labelled rows, (P, P)."""
        problem, size = self.problem, self.pool.size
        precision = torch.zeros(size, size, dtype=EXACT, device=self.pool.features.device)
        if problem.labeled is not None:
            mean_fisher(problem.labeled, problem.labeled_weight, precision)
        mirror(precision, self.pool.n_columns).diagonal().add_(problem.regularization)
        return precision

    def _mean_fisher(self, out: torch.Tensor) -> torch.Tensor:
        """F, written over `out`."""
        out.zero_()
        for rows in self.problem.fisher_rows:
            mean_fisher(rows, 1.0 / self.problem.n_fisher, out)
        return mirror(out, self.pool.n_columns)

    def _solve(self) -> tuple[torch.Tensor, torch.Tensor]:
        """M⁻¹ and M⁻¹FM⁻¹ from the labelled and the chosen rows, afresh."""
        precision = self._precision()
        if self.chosen:
            chosen = torch.tensor(self.chosen, device=precision.device)
            part = torch.zeros_like(precision)
            mean_fisher(self.pool.take(chosen), 1.0, part)
            precision += mirror(part, self.pool.n_columns)
        inverted = inverse(precision, name="precision of the labelled set")
        fisher = self.fisher
        if fisher is None:
            fisher = self._mean_fisher(precision)
            if fisher.numel() * fisher.element_size() <= KEPT_BYTES:
                self.fisher = fisher
        return inverted, symmetrise(inverted @ fisher @ inverted)

    def to_exact(self, pool: Rows) -> None:
        """Go on with the same rows in float64.

        Parameters
        ----------
        pool : Rows
            The candidates, with features and factors in float64.
        """
        self.pool = pool

    def blocks(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Blocks a_x and c_x, (N, r, r) float64, of all candidates at the present state."""
        if self.chosen:
            # not from the changes kept so far: they may be why the blocks are asked for anew
            self.inverse, self.sandwich = self._solve()
            self.used, self.rounded = 0, None
        if self.pool.n_columns == 1:
            return self._both_quadratic()
        return quadratic(self.pool, self.inverse), quadratic(self.pool, self.sandwich)

    def couple(self, rows: list[int], out: torch.Tensor):
        """Write P_x and Q_x of all candidates for some rows; return the exact blocks among them.

        Parameters
        ----------
        rows : list of int
            M rows that may be added next.
        out : torch.Tensor of shape (N, r, 2·M·r)
            V_x M⁻¹ Vᵀ and, behind it, V_x M⁻¹FM⁻¹ Vᵀ, written to.

        Returns
        -------
        tuple of torch.Tensor of shape (M·r, M·r), float64
            V M⁻¹ Vᵀ and V M⁻¹FM⁻¹ Vᵀ of the rows.
        """
        v, u, z = self._current(rows)
        project(self.pool, torch.cat([u, z], dim=1), out=out)
        self._last = (rows, u, z)
        return v.T @ u, v.T @ z

    def add(self, columns: list[int], g: torch.Tensor, s: torch.Tensor) -> None:
        """Add rows last coupled to M.

        Parameters
        ----------
        columns : list of int
            Columns of the coupled rows that are added, r for each row.
        g, s : torch.Tensor of shape (len(columns), len(columns)), float64
            (I + a)⁻¹ and c among them.
        """
        rows, *matrices = self._last
        u, z = (matrix[:, columns] for matrix in matrices)
        g, s = g.to(u), s.to(u)
        if self.used + len(g) > self.u.shape[1]:
            self._fold()
        self.chosen += dict.fromkeys(rows[column // self.pool.rank] for column in columns)
        half = cholesky(g, name="posterior block of the chosen rows")
        new = slice(self.used, self.used + len(g))
        self.u[:, new] = u @ half
        self.w[:, new] = (z - 0.5 * u @ (g @ s)) @ half
        self.used += len(g)
        if self.rounded is not None:
            self._change_rounded(new)

    def among(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """V M⁻¹ Vᵀ and V M⁻¹FM⁻¹ Vᵀ of a few rows in float64 at the present state.

        Parameters
        ----------
        rows : list of int
            M rows of the pool.

        Returns
        -------
        tuple of torch.Tensor of shape (M·r, M·r), float64
            The two matrices.
        """
        v, u, z = self._current(rows)
        return symmetrise(v.T @ u), symmetrise(v.T @ z)

    def foresight(self, rows: torch.Tensor) -> Callable[[int], tuple[torch.Tensor, torch.Tensor]]:
        """Columns of the blocks among many rows of rank one: float32 is enough to foresee choices.

        Parameters
        ----------
        rows : torch.Tensor of shape (m,), int64
            Rows of the pool.

        Returns
        -------
        callable
            Gives V M⁻¹ v and V M⁻¹FM⁻¹ v, (m,) in float32, for v the V of the i-th row.
        """
        v = self.pool.features[rows] * self.pool.coefficients[rows, :, 0]  # Q = r = 1: (m, D)
        v = v.to(torch.float32)
        if self.rounded is None:
            self.rounded = torch.cat([self.inverse, self.sandwich]).to(v)  # (2·D, D)
            self._change_rounded(slice(0, self.used))
        rounded = self.rounded

        def column(i: int) -> tuple[torch.Tensor, torch.Tensor]:
            u, z = (rounded @ v[i]).view(2, -1)
            return v @ u, v @ z

        return column

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
        With M₀ = R Rᵀ the precision before any choice and X = R⁻¹ V_Sᵀ, orthonormal columns Q
        such that (X; I) = (Q₁; Q₂) C give E = (I + XᵀX)⁻¹ = Q₂ Q₂ᵀ and M⁻¹ V_Sᵀ = R⁻ᵀ Q₁ Q₂ᵀ:
        no difference is formed, and nothing is squared.
        """
        self.inverse = self.sandwich = self.u = self.w = self.rounded = None  # the choice is over
        precision = self._precision()
        root = cholesky(precision, name="precision of the labelled set")
        fisher = self._mean_fisher(precision) if self.fisher is None else self.fisher
        v = explicit(*self.pool.exact(rows))  # (P, m·r)
        x = torch.linalg.solve_triangular(root, v, upper=False)
        eye = torch.eye(v.shape[1], dtype=v.dtype, device=v.device)
        q = torch.linalg.qr(torch.cat([x, eye]))[0]
        q1, q2 = q[: len(x)], q[len(x) :]
        z = torch.linalg.solve_triangular(root.T, q1, upper=True)
        return symmetrise(q2 @ q2.T), symmetrise(q2 @ (z.T @ (fisher @ z)) @ q2.T)

    def _current(self, rows: list[int]):
        """V, M⁻¹V and M⁻¹FM⁻¹V as columns, (P, M·r) float64, at the present state."""
        v = explicit(*self.pool.exact(torch.as_tensor(rows, device=self.pool.features.device)))
        # as rows: BLAS is twice as fast this way round
        u, z = v.T @ self.inverse, v.T @ self.sandwich
        if self.used:
            past_u, past_w = self.u[:, : self.used], self.w[:, : self.used]
            vu, vw = v.T @ past_u, v.T @ past_w
            z.addmm_(vw, past_u.T, alpha=-1).addmm_(vu, past_w.T, alpha=-1)
            u.addmm_(vu, past_u.T, alpha=-1)
        return v, u.T, z.T

    def _change_rounded(self, changes: slice) -> None:
        """Work some of the kept changes into the rounded matrices of `foresight`."""
        u, w = self.u[:, changes].to(self.rounded), self.w[:, changes].to(self.rounded)
        self.rounded.addmm_(torch.cat([u, w]), u.T, alpha=-1.0)
        self.rounded[len(u) :].addmm_(u, w.T, alpha=-1.0)

    def _fold(self) -> None:
        """Work the kept changes into the matrices."""
        if self.fisher is not None:  # small: afresh, without any cancellation
            self.inverse, self.sandwich = self._solve()
        else:
            u, w = self.u[:, : self.used], self.w[:, : self.used]
            change = u @ w.T
            self.inverse.addmm_(u, u.T, alpha=-1)
            self.sandwich -= change + change.T
        self.used = 0

    def _both_quadratic(self) -> tuple[torch.Tensor, torch.Tensor]:
        """V_x B V_xᵀ and V_x R V_xᵀ of all candidates for Q = 1.

        With triangular roots B = T Tᵀ and R = Z Zᵀ they are A²‖Tᵀh‖² and A²‖Zᵀh‖²: sums without
        cancellation.
        """
        pool = self.pool
        roots = torch.stack([semidefinite_root(self.inverse), semidefinite_root(self.sandwich)])
        out = squared_norms(pool, roots) * pool.exact_coefficients(slice(None))[:, 0, 0].square()
        return out[0][:, None, None], out[1][:, None, None]
