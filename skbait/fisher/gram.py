# SPDX-License-Identifier: BSD-3-Clause
"""The precision M through a small Gram matrix: for large P = Q·D.

M = λI + WᵀW, where W stacks the V of the labelled and of the chosen rows, so with one small
Cholesky factor of λI + WWᵀ

    M⁻¹ u = (u - Wᵀ (λI + W Wᵀ)⁻¹ W u) / λ.
"""

from __future__ import annotations

import torch

from skbait.fisher.kernels import kernel
from skbait.fisher.linalg import cholesky, invert_triangle, symmetrise
from skbait.fisher.matrices import panels
from skbait.fisher.rows import by_features, products

# A product smaller than this on one side is not worth cutting into panels.
WIDE = 128


class GramPrecision:
    """M = λI + WᵀW known through the Cholesky factor L of λI + WWᵀ; rows can be appended.

    L⁻¹ itself is kept: it grows by a block row with every append, and multiplying with it reads
    each number once, where a triangular solve from torch copies the factor first.

    Parameters
    ----------
    features : torch.Tensor of shape (L, D), float64
        Features of the labelled rows.
    coefficients : torch.Tensor of shape (L, r, Q), float64
        Their factors, scaled by the square root of their weight.
    regularization : float
        λ.
    capacity : int
        Number of rows that may be appended.
    """

    def __init__(self, features, coefficients, regularization: float, capacity: int):
        n, rank, n_columns = coefficients.shape
        self.regularization = regularization
        self.rank = rank
        self.n = n
        total = n + capacity
        self.features = features.new_empty(total, features.shape[1])
        self.coefficients = coefficients.new_empty(total, rank, n_columns)
        self.root_inverse = features.new_zeros(total * rank, total * rank)
        self.features[:n] = features
        self.coefficients[:n] = coefficients
        if n:
            gram = kernel(features, coefficients, features, coefficients)
            gram.diagonal().add_(regularization)
            root = cholesky(symmetrise(gram), name="Gram matrix of the labelled rows")
            self.root_inverse[: n * rank, : n * rank] = invert_triangle(root)

    def rows(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features, factors and L⁻¹ of the rows in M."""
        m = self.n * self.rank
        return self.features[: self.n], self.coefficients[: self.n], self.root_inverse[:m, :m]

    def reduce(self, features: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
        """L⁻¹ W V_xᵀ of some rows.

        Parameters
        ----------
        features : torch.Tensor of shape (M, D), float64
            h.
        coefficients : torch.Tensor of shape (M, r, Q), float64
            A.

        Returns
        -------
        torch.Tensor of shape (n·r, M·r), float64
            Products, for the n rows in M.
        """
        h, a, root_inverse = self.rows()
        columns = kernel(h, a, features, coefficients)
        if min(columns.shape) < WIDE:
            return (columns.T @ root_inverse.T).T
        # lower triangular: in four panels 5/8 of it
        parts = panels(len(root_inverse))
        return torch.cat(
            [root_inverse[part, : part.stop] @ columns[: part.stop] for part in parts]
        )

    def weights(self, reduced: torch.Tensor) -> torch.Tensor:
        """(λI + WWᵀ)⁻¹ W V_xᵀ of some rows from what `reduce` gives.

        Parameters
        ----------
        reduced : torch.Tensor of shape (n·r, M·r), float64
            L⁻¹ W V_xᵀ.

        Returns
        -------
        torch.Tensor of shape (n·r, M·r), float64
            Products.
        """
        return self.rows()[2].T @ reduced

    def solve(self, u: torch.Tensor, reduced: torch.Tensor | None = None) -> torch.Tensor:
        """M⁻¹ u of columns u.

        Parameters
        ----------
        u : torch.Tensor of shape (P, m), float64
            Columns.
        reduced : torch.Tensor of shape (n·r, m), float64, or None, default=None
            L⁻¹ W u where it is known: see `reduce`.

        Returns
        -------
        torch.Tensor of shape (P, m), float64
            M⁻¹ u.
        """
        h, a, root_inverse = self.rows()
        if self.n:
            n_columns, m = a.shape[2], u.shape[1]
            # as rows: BLAS is faster this way round where they are few
            if reduced is None:
                wu = products(h, a, by_features(u, n_columns), m).view(-1, m)  # (n·r, m)
                reduced = (wu.T @ root_inverse.T).T
            alpha = (reduced.T @ root_inverse).T
            t = torch.bmm(a.mT, alpha.reshape(-1, self.rank, m))  # (n, Q, m)
            change = (h.T @ t.view(self.n, -1)).view(-1, n_columns, m)
            u = u - change.permute(1, 0, 2).reshape(-1, m)
        return u / self.regularization

    def append(
        self, features: torch.Tensor, coefficients: torch.Tensor, reduced: torch.Tensor
    ) -> None:
        """Add one row to M: one more block row of the Cholesky factor.

        Parameters
        ----------
        features : torch.Tensor of shape (1, D), float64
            h.
        coefficients : torch.Tensor of shape (1, r, Q), float64
            A.
        reduced : torch.Tensor of shape (n·r, r), float64
            What `reduce` gives for the row.
        """
        m = self.n * self.rank
        new = slice(m, m + self.rank)
        block = kernel(features, coefficients, features, coefficients)
        block.diagonal().add_(self.regularization)
        block = symmetrise(block - reduced.T @ reduced)
        corner = invert_triangle(cholesky(block, name="Gram block of the chosen row"))
        self.root_inverse[new, :m] = -corner @ (reduced.T @ self.root_inverse[:m, :m])
        self.root_inverse[new, new] = corner
        self.features[self.n], self.coefficients[self.n] = features[0], coefficients[0]
        self.n += 1
