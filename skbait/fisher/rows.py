# SPDX-License-Identifier: BSD-3-Clause
"""Rows of a pool or of the labelled set, as the Fisher mathematics sees them: (h, A)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from skbait._backend import EXACT, for_chunks, rows_per_chunk

# Rows at which tall and thin products are fastest on a CPU.
TALL = 4096
# Columns that it works out together there: at least, and in steps beyond.
BLOCKED = {torch.float32: (16, 8), torch.float64: (12, 12)}
# That matters from so many rows on.
MANY = 2048
# Rows of the products that a transposed one is the sum of, on a CPU.
BATCHED = 512
# Factors are kept in float64 as well where they take no more than this.
EXACT_BYTES = 32 * 2**20


class Rows:
    """Features h and factors A of N rows; V = A ⊗ hᵀ is never stored.

    The factors are kept in the dtype of the features for the pass over the pool. `exact` makes
    both in float64 for the few rows whose scores must not lose digits.

    Parameters
    ----------
    features : torch.Tensor of shape (N, D), float32 or float64
        Input of the last linear layer.
    probabilities : torch.Tensor of shape (N, K)
        Class probabilities, on the same device.
    factor : callable
        Maps probabilities (M, K) to A (M, r, Q) in float64.
    chunk_size : int or None, default=None
        Rows at a time in every pass; None lets each pass choose.
    scale : float, default=1.0
        Factor of every A, and so of every V.
    """

    def __init__(
        self,
        features: torch.Tensor,
        probabilities: torch.Tensor,
        factor: Callable[[torch.Tensor], torch.Tensor],
        chunk_size: int | None = None,
        scale: float = 1.0,
    ):
        self.features = features
        self.probabilities = probabilities
        self.factor = factor
        self.chunk_size = chunk_size
        self.scale = scale
        _, self.rank, self.n_columns = factor(probabilities[:1]).shape
        shape = len(features), self.rank, self.n_columns
        self.coefficients = features.new_empty(shape)
        # float64 twin, so that a few rows need not be made anew each time
        keep = 8 * math.prod(shape) <= EXACT_BYTES
        self.kept = features.new_empty(shape, dtype=EXACT) if keep else None

        def fill(rows: slice) -> None:
            a = factor(probabilities[rows]) * scale
            self.coefficients[rows] = a.to(features.dtype)
            if self.kept is not None:
                self.kept[rows] = a

        n_classes = probabilities.shape[1]
        self.for_chunks(fill, 8 * n_classes * (4 * self.rank + 4))

    def __len__(self) -> int:
        return len(self.features)

    @property
    def n_features(self) -> int:
        """Number D of features."""
        return self.features.shape[1]

    @property
    def size(self) -> int:
        """Number of parameters that V spans: Q·D."""
        return self.n_columns * self.n_features

    def for_chunks(
        self, work: Callable[[slice], None], bytes_per_row: int, most: int | None = None
    ) -> None:
        """Call `work` for slices of rows.

        Parameters
        ----------
        work : callable
            Called with a slice.
        bytes_per_row : int
            Temporary bytes that one row needs.
        most : int or None, default=None
            Most rows of a slice on a CPU.
        """
        device = self.features.device
        chunk = rows_per_chunk(bytes_per_row, len(self), self.chunk_size, device=device)
        if most is not None and device.type == "cpu":
            chunk = min(chunk, most)
        for_chunks(work, len(self), chunk)

    def exact(self, rows) -> tuple[torch.Tensor, torch.Tensor]:
        """Return h and A of some rows in float64.

        Parameters
        ----------
        rows : slice or torch.Tensor of shape (M,), int64
            Positions of the rows.

        Returns
        -------
        features : torch.Tensor of shape (M, D), float64
            h.
        coefficients : torch.Tensor of shape (M, r, Q), float64
            A.
        """
        return self.features[rows].to(EXACT), self.exact_coefficients(rows)

    def exact_coefficients(self, rows) -> torch.Tensor:
        """A of some rows in float64.

        Parameters
        ----------
        rows : slice or torch.Tensor of int64
            Which rows.

        Returns
        -------
        torch.Tensor of shape (M, r, Q), float64
            A.
        """
        if self.kept is not None:
            return self.kept[rows]
        return self.factor(self.probabilities[rows]) * self.scale

    def take(self, rows: torch.Tensor) -> Rows:
        """Return the rows at some positions, as a new object.

        Parameters
        ----------
        rows : torch.Tensor of shape (M,), int64
            Positions.

        Returns
        -------
        Rows
            M rows.
        """
        return self._like(self.features[rows], self.probabilities[rows])

    def to_exact(self) -> Rows:
        """Return the same rows with features and factors in float64."""
        return self._like(self.features.to(EXACT), self.probabilities)

    def _like(self, features: torch.Tensor, probabilities: torch.Tensor) -> Rows:
        return Rows(features, probabilities, self.factor, self.chunk_size, self.scale)


def explicit(features: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """V of a few rows as columns.

    Parameters
    ----------
    features : torch.Tensor of shape (M, D)
        h.
    coefficients : torch.Tensor of shape (M, r, Q)
        A.

    Returns
    -------
    torch.Tensor of shape (Q·D, M·r)
        Column m·r + i is A[m, i] ⊗ h[m].
    """
    m, rank, n_columns = coefficients.shape
    v = coefficients[:, :, :, None] * features[:, None, None, :]  # (M, r, Q, D)
    return v.reshape(m * rank, n_columns * features.shape[1]).T


def project(
    rows: Rows,
    directions: torch.Tensor,
    work: Callable[[slice, torch.Tensor], None] | None = None,
    *,
    out: torch.Tensor | None = None,
    exact: bool = False,
) -> None:
    """Compute ``V @ directions`` of all rows, a chunk at a time.

    ``V_x u`` is one product of the features with a (D, Q·m) matrix and a contraction with A_x.
    Multiply-adds: N·D·Q·m.

    Parameters
    ----------
    rows : Rows
        N rows.
    directions : torch.Tensor of shape (Q·D, m)
        Columns to project on, in any float dtype; they are rounded to that of the pass.
    work : callable or None, default=None
        Receives a slice and a tensor (rows of the slice, r, m) in the dtype of the pass.
    out : torch.Tensor of shape (N, r, m) or None, default=None
        Written to.
    exact : bool, default=False
        Do the pass in float64, whatever the dtype of the features.
    """
    n_columns, m = rows.n_columns, directions.shape[1]
    dtype = EXACT if exact else rows.features.dtype
    flat = padded(by_features(directions, n_columns).to(dtype), len(rows))

    def one(chunk: slice) -> None:
        h, a = rows.exact(chunk) if exact else (rows.features[chunk], rows.coefficients[chunk])
        values = products(h, a, flat, m)
        if out is not None:
            out[chunk] = values
        if work is not None:
            work(chunk, values)

    numbers = flat.shape[1] + m * rows.rank + (rows.n_features if exact else 0)
    # tall and thin products lose speed beyond some thousand rows
    rows.for_chunks(one, dtype.itemsize * numbers, TALL)


def products(
    features: torch.Tensor, coefficients: torch.Tensor, flat: torch.Tensor, m: int
) -> torch.Tensor:
    """V_x u of some rows, for columns u.

    Parameters
    ----------
    features : torch.Tensor of shape (n, D)
        h.
    coefficients : torch.Tensor of shape (n, r, Q)
        A.
    flat : torch.Tensor of shape (D, Q·m or more)
        The columns as `by_features` gives them; what `padded` adds is not looked at.
    m : int
        Their number.

    Returns
    -------
    torch.Tensor of shape (n, r, m)
        Products, in the dtype of all three.
    """
    n, rank, n_columns = coefficients.shape
    t = (features @ flat)[:, : n_columns * m].view(n, n_columns, m)
    return t.mul_(coefficients) if n_columns == rank == 1 else torch.bmm(coefficients, t)


def by_features(directions: torch.Tensor, n_columns: int) -> torch.Tensor:
    """Columns of Q·D numbers as what features are multiplied with.

    Parameters
    ----------
    directions : torch.Tensor of shape (Q·D, m)
        Columns.
    n_columns : int
        Q.

    Returns
    -------
    torch.Tensor of shape (D, Q·m)
        Column k·m + j is part k of column j.
    """
    size, m = directions.shape
    flat = directions.view(n_columns, size // n_columns, m).permute(1, 0, 2)
    return flat.reshape(-1, n_columns * m)


def padded(columns: torch.Tensor, n_rows: int) -> torch.Tensor:
    """Add columns of zeros up to a number for which BLAS is quick: up to three times as quick.

    Parameters
    ----------
    columns : torch.Tensor of shape (D, m), float32 or float64
        What a matrix is multiplied with.
    n_rows : int
        Rows of the matrix.

    Returns
    -------
    torch.Tensor of shape (D, m or more)
        The same where it is on a GPU, or the matrix is no tall one.
    """
    width, (least, step) = columns.shape[1], BLOCKED[columns.dtype]
    step = least if width < least else step
    if columns.device.type != "cpu" or n_rows < MANY or width % step == 0 or width == 1:
        return columns
    return torch.nn.functional.pad(columns, (0, -width % step))


def adjoint(rows: Rows, chunk: slice, coordinates: torch.Tensor) -> torch.Tensor:
    """Return ``V_chunkᵀ @ coordinates``.

    Parameters
    ----------
    rows : Rows
        N rows.
    chunk : slice
        Which of them.
    coordinates : torch.Tensor of shape (rows of the slice, r, m)
        What V_xᵀ is multiplied with, in the dtype of the features.

    Returns
    -------
    torch.Tensor of shape (Q·D, m)
        Summed over the rows of the slice, in the dtype of the features.
    """
    h, a = rows.features[chunk], rows.coefficients[chunk]
    m = coordinates.shape[2]
    t = torch.bmm(a.mT, coordinates)  # (n, Q, m)
    product = _transposed_product(t.reshape(len(h), -1), h)  # (Q·m, D)
    return product.view(rows.n_columns, m, -1).transpose(1, 2).reshape(-1, m)


def _transposed_product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """leftᵀ @ right of tall matrices, the sum of products of some rows."""
    if left.device.type != "cpu" or len(left) < MANY:
        return left.T @ right
    # a narrow product of long columns takes BLAS up to four times as long
    n = len(left) - len(left) % BATCHED
    parts = torch.bmm(
        left[:n].view(-1, BATCHED, left.shape[1]).mT, right[:n].view(-1, BATCHED, right.shape[1])
    )
    return torch.addmm(parts.sum(0), left[n:].T, right[n:])
