# SPDX-License-Identifier: BSD-3-Clause
"""The precision M and the mean Fisher F as dense matrices: for small P = Q·D.

Let B = M₀⁻¹ and R = M₀⁻¹FM₀⁻¹ at the labelled set. Each choice s changes them by rank r:

    B ← B - U G Uᵀ,    R ← R - U G Wᵀ - W G Uᵀ,    U = B V_sᵀ,  W = R V_sᵀ - U G S / 2.

The changes are kept as columns U L and W L (G = L Lᵀ) and folded into the matrices only when there
are many, so that a step reads the P×P matrices and does not write them.
"""

from __future__ import annotations

import torch

from skbait._backend import EXACT
from skbait.fisher.blocks import diagonals, own_blocks
from skbait.fisher.course import Course, course
from skbait.fisher.linalg import cholesky, semidefinite_root, symmetrise
from skbait.fisher.matrices import (
    mean_fisher,
    mirror,
    quadratic,
    rounded_fisher,
    squared_norms,
)
from skbait.fisher.problem import Problem
from skbait.fisher.rows import Rows, explicit, project

# F is kept where it takes no more than this; else it is computed again where it is needed.
KEPT_BYTES = 256 * 2**20
# F of so many multiply-adds is made in float32 first, and in float64 where a choice asks for it.
LONG = 2**29
# Vectors of signs that measure its rounding, and how many times more is reckoned with: scores from
# badly scaled, shifted and constant features were off by up to 1.6 times what was measured.
SIGNS = 8
CAUTION = 5.0
# With a smaller λ, in units of tr(F), M⁻¹FM⁻¹ is made by triangular solves. They take half as long
# again as products, of which 1/λ multiplies the rounding twice where features are collinear.
COLLINEAR = 1e-5
# Where scores may be off by more than this, F is made in float64 at once; so many rows are looked
# at in the beginning.
BLURRED = 2e-5
PROBED = 16


class DenseForm:
    """State of the forward selection with P×P matrices.

    With Q = 1 and many rows F is made of products in float32. How far it is off is measured on
    vectors s of signs and on the diagonal: by e·tr(F) and e·Fᵢᵢ, and so an information zᵀFz by
    e·Σ zᵢ²Fᵢᵢ or a little more. `blur` is the largest such change of a score so far, relative to
    it, with `CAUTION`. A choice that depends on less asks for F in float64, by `sharpen`.

    Cost: N·D²·Q²/2 multiply-adds for F and for each kind of block, P³ for the inverse; then
    2·N·D·Q·r per step. Memory: 4 matrices P×P in float64, and N·(D + r·Q + 2r²).

    Parameters
    ----------
    problem : Problem
        The rows, and what makes M and F of them.

    Attributes
    ----------
    blur : float
        Relative error, from the rounding of F, of scores that count as exact; zero with F in
        float64.
    """

    looks_ahead = False  # see `FactoredForm`: here one pass does all that a choice needs

    def __init__(self, problem: Problem):
        pool = self.pool = problem.pool
        self.problem = problem
        long = problem.n_fisher * pool.n_features**2 >= LONG
        # whether products of F are made in float32
        self.rounds = pool.n_columns == 1 and pool.features.dtype == torch.float32 and long
        self.unsure: torch.Tensor | None = None  # how far each Fᵢᵢ may be off then
        self.blur = 0.0
        self.by_matrix = False  # see `FactoredForm`
        self.differs = True  # exact scores come of M⁻¹ less what was chosen since it was made
        self.chosen: list[int] = []
        self.fisher: torch.Tensor | None = None
        self.root: torch.Tensor | None = None  # of the precision before any choice
        self.inverse, self.sandwich = self._solve()
        size, rank = pool.size, pool.rank
        capacity = rank * problem.n_steps
        if capacity > size // 2:
            capacity = min(capacity, max(64, size // 2))
            capacity -= capacity % rank
        self.u = self.inverse.new_empty(size, max(capacity, rank))
        self.w = torch.empty_like(self.u)
        self.used = 0
        self.rounded: torch.Tensor | None = None  # see `foresight`
        if self.rounds:
            self.own_blocks(list(range(0, len(pool), max(1, len(pool) // PROBED))))
            if self.blur > BLURRED:
                self.sharpen()

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
        weight = 1.0 / self.problem.n_fisher
        if not self.rounds:
            for rows in self.problem.fisher_rows:
                mean_fisher(rows, weight, out)
            return mirror(out, self.pool.n_columns)
        generator = torch.Generator().manual_seed(0)
        signs = torch.randint(0, 2, (len(out), SIGNS), generator=generator) * 2.0 - 1.0
        signs = signs.to(self.pool.features)
        off = sum(rounded_fisher(rows, weight, out, signs) for rows in self.problem.fisher_rows)
        mirror(out, 1)
        self.unsure = out.diagonal() * (CAUTION * off / max(float(out.trace()), 1e-300))
        return out

    def _solve(self) -> tuple[torch.Tensor, torch.Tensor]:
        """M⁻¹ and M⁻¹FM⁻¹ from the labelled and the chosen rows, afresh."""
        precision = self._precision()
        if self.chosen:
            chosen = torch.tensor(self.chosen, device=precision.device)
            part = torch.zeros_like(precision)
            mean_fisher(self.pool.take(chosen), 1.0, part)
            precision += mirror(part, self.pool.n_columns)
        root = cholesky(precision, name="precision of the labelled set")
        inverted = symmetrise(torch.cholesky_inverse(root))
        if self.pool.n_columns == 1 and not self.chosen:
            self.root = root
        if self.problem.regularization > COLLINEAR:
            root = None  # large where Q is
        fisher = self.fisher
        if fisher is None:
            fisher = self._mean_fisher(precision)
            if fisher.numel() * fisher.element_size() <= KEPT_BYTES:
                self.fisher = fisher
        if root is None:
            return inverted, symmetrise(inverted @ fisher @ inverted)
        half = torch.cholesky_solve(fisher, root)
        return inverted, symmetrise(torch.cholesky_solve(half.T, root))

    def to_exact(self, pool: Rows) -> None:
        """Go on with the same rows in float64.

        Parameters
        ----------
        pool : Rows
            The candidates, with features and factors in float64.
        """
        self.sharpen()
        self.pool = pool

    @property
    def doubt(self) -> float:
        """Most that the rounding of F may change a score that counts as exact, relative to it."""
        return BLURRED if self.rounds else 0.0

    def sharpen(self) -> bool:
        """Have F in float64 from here on; False where that is so already.

        What comes from the rounded F is dropped: `blocks` makes it again.
        """
        if not self.rounds:
            return False
        self.rounds, self.blur, self.fisher = False, 0.0, None
        self.inverse = self.sandwich = None
        return True

    def refine(self) -> bool:
        """See `FactoredForm`: there is nothing to do."""
        return False

    def _blurred(self, u: torch.Tensor, c: torch.Tensor) -> None:
        """Reckon with the rounding of F in c = diag(uᵀFu)."""
        if self.rounds:
            off = (self.unsure @ u.square()) / c.clamp_min(1e-300)
            self.blur = max(self.blur, float(off.max()))

    def blocks(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Blocks of all candidates at the present state.

        Returns
        -------
        a, c : torch.Tensor of shape (N, r, r), float64
            a_x and c_x.
        size_a, size_c : torch.Tensor of shape (N, r), float64
            How large the numbers were that their diagonals are sums of: the diagonals themselves
            where nothing cancelled. Their rounding is the same part of this, give or take.
        """
        if self.chosen or self.inverse is None:
            # not from the changes kept so far: they may be why the blocks are asked for anew
            self.inverse, self.sandwich = self._solve()
            self.used, self.rounded = 0, None
        if self.pool.n_columns == 1:
            return self._both_quadratic()
        a, size_a = quadratic(self.pool, self.inverse)
        c, size_c = quadratic(self.pool, self.sandwich)
        return a, c, size_a, size_c

    def couple(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Look at the row that is added next: its exact blocks.

        Parameters
        ----------
        row : int
            The row s.

        Returns
        -------
        tuple of torch.Tensor of shape (r, r), float64
            a_s and c_s.
        """
        v, u, z = self._current([row])
        self._last = row, u, z
        return v.T @ u, v.T @ z

    def add(
        self, g: torch.Tensor, s: torch.Tensor, out: torch.Tensor, following: None = None
    ) -> None:
        """Add the row last coupled to M; write what this does to all candidates.

        Parameters
        ----------
        g, s : torch.Tensor of shape (r, r), float64
            (I + a_s)⁻¹ and c_s.
        out : torch.Tensor of shape (N, r, 2·r)
            V_x M⁻¹ V_sᵀ and, behind it, V_x M⁻¹FM⁻¹ V_sᵀ, written to.
        following : None
            This form takes no guess of the next row: see `FactoredForm.add`.
        """
        row, u, z = self._last
        project(self.pool, torch.cat([u, z], dim=1), out=out)
        g, s = g.to(u), s.to(u)
        half = cholesky(g, name="posterior block of the chosen rows")
        self._append([row], u @ half, (z - 0.5 * u @ (g @ s)) @ half)

    def course(self, rows: list[int]) -> Course:
        """Work out the choice of some rows, one after the other, where each is of rank one.

        Parameters
        ----------
        rows : list of int
            In the order of choice.

        Returns
        -------
        Course
            See `skbait.fisher.course`.
        """
        found = course(*self._current(rows))
        self._blurred(found.u, torch.tensor(found.gains, dtype=EXACT).to(found.u))
        return found

    def follow(self, course: Course, part: slice, rows: list[int]) -> None:
        """Add some rows of a course to M, once those before them are in it.

        Parameters
        ----------
        course : Course
            Of `DenseForm.course`.
        part : slice
            Which of its rows.
        rows : list of int
            Their positions in the pool.
        """
        self._append(rows, course.u[:, part], course.w[:, part])

    def own_blocks(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Exact blocks of a few rows at the present state.

        Parameters
        ----------
        rows : list of int
            m rows of the pool.

        Returns
        -------
        tuple of torch.Tensor of shape (m, r, r), float64
            a_x and c_x.
        """
        v, u, z = self._current(rows)
        c = own_blocks(v, z, self.pool.rank)
        self._blurred(u, diagonals(c).flatten())
        return own_blocks(v, u, self.pool.rank), c

    def foresight(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What is needed to foresee choices among some rows of rank one; float32 is enough.

        Parameters
        ----------
        rows : torch.Tensor of shape (m,), int64
            Rows of the pool.

        Returns
        -------
        v : torch.Tensor of shape (m, P), float32
            V of the rows.
        matrices : torch.Tensor of shape (2·P, P), float32
            M⁻¹ and, below it, M⁻¹FM⁻¹.
        """
        v = self.pool.features.index_select(0, rows).to(torch.float32)  # Q = r = 1: (m, D)
        v *= self.pool.coefficients[rows, :, 0].to(v)
        if self.rounded is None:
            self.rounded = torch.cat([self.inverse, self.sandwich]).to(v)
            self._change_rounded(slice(0, self.used))
        return v, self.rounded

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
        root = self.root
        if root is None:
            root = cholesky(self._precision(), name="precision of the labelled set")
        fisher = self.fisher
        if fisher is None:
            fisher = self._mean_fisher(torch.empty_like(root))
        v = explicit(*self.pool.exact(rows))  # (P, m·r)
        x = torch.linalg.solve_triangular(root, v, upper=False)
        eye = torch.eye(v.shape[1], dtype=v.dtype, device=v.device)
        q = torch.linalg.qr(torch.cat([x, eye]))[0]
        q1, q2 = q[: len(x)], q[len(x) :]
        z = torch.linalg.solve_triangular(root.T, q1, upper=True)
        d = symmetrise(q2 @ (z.T @ (fisher @ z)) @ q2.T)
        self._blurred(z @ q2.T, d.diagonal())
        return symmetrise(q2 @ q2.T), d

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

    def _append(self, rows: list[int], u: torch.Tensor, w: torch.Tensor) -> None:
        """Keep the changes by rows that are chosen."""
        if self.used + u.shape[1] > self.u.shape[1]:
            self._fold()
        self.chosen += rows
        new = slice(self.used, self.used + u.shape[1])
        self.u[:, new], self.w[:, new] = u, w
        self.used = new.stop
        if self.rounded is not None:
            self._change_rounded(new)

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

    def _both_quadratic(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """V_x B V_xᵀ and V_x R V_xᵀ of all candidates for Q = 1.

        With triangular roots B = T Tᵀ and R = Z Zᵀ they are A²‖Tᵀh‖² and A²‖Zᵀh‖²: sums without
        cancellation.
        """
        pool = self.pool
        roots = torch.stack([semidefinite_root(self.inverse), semidefinite_root(self.sandwich)])
        out = squared_norms(pool, roots) * pool.exact_coefficients(slice(None))[:, 0, 0].square()
        sizes = out.clone()  # the blocks will be changed
        return out[0][:, None, None], out[1][:, None, None], sizes[0, :, None], sizes[1, :, None]
