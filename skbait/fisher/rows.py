# SPDX-License-Identifier: BSD-3-Clause
"""Rows of a pool or of the labelled set, as the Fisher mathematics sees them: (h, A)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from skbait._backend import EXACT, for_chunks, rows_per_chunk


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
        self.coefficients = features.new_empty(len(features), self.rank, self.n_columns)

        def fill(rows: slice) -> None:
            a = factor(probabilities[rows]) * scale
            self.coefficients[rows] = a.to(features.dtype)

        self.for_chunks(fill, 8 * probabilities.shape[1] * (self.n_columns + 4))

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

    def for_chunks(self, work: Callable[[slice], None], bytes_per_row: int) -> None:
        """Call `work` for slices of rows of which one needs `bytes_per_row` temporary bytes."""
        chunk = rows_per_chunk(bytes_per_row, len(self), self.chunk_size)
        for_chunks(work, len(self), chunk)

    def exact(self, rows) -> tuple[torch.Tensor, torch.Tensor]:
        """Return h (M, D) and A (M, r, Q) of some rows in float64."""
        a = self.factor(self.probabilities[rows]) * self.scale
        return self.features[rows].to(EXACT), a

    def take(self, rows: torch.Tensor) -> Rows:
        """Return the rows at some positions, as a new object."""
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


def kernel(
    features_1: torch.Tensor,
    coefficients_1: torch.Tensor,
    features_2: torch.Tensor,
    coefficients_2: torch.Tensor,
) -> torch.Tensor:
    """V₁ V₂ᵀ of two sets of rows: (h₁·h₂) A₁A₂ᵀ.

    Parameters
    ----------
    features_1, features_2 : torch.Tensor of shape (M₁, D) and (M₂, D)
        h.
    coefficients_1, coefficients_2 : torch.Tensor of shape (M₁, r, Q) and (M₂, r, Q)
        A.

    Returns
    -------
    torch.Tensor of shape (M₁·r, M₂·r)
        Kernel blocks, rows of one example next to each other.
    """
    m1, rank, n_columns = coefficients_1.shape
    m2 = len(features_2)
    inner = coefficients_1.reshape(m1 * rank, n_columns) @ coefficients_2.reshape(-1, n_columns).T
    blocks = inner.view(m1, rank, m2, rank)
    blocks *= (features_1 @ features_2.T)[:, None, :, None]
    return inner


def project(
    rows: Rows,
    directions: torch.Tensor,
    work: Callable[[slice, torch.Tensor], None],
    *,
    exact: bool = False,
) -> None:
    """Call ``work(chunk, V_chunk @ directions)`` for all rows.

    ``V_x u`` is one product of the features with a (D, Q·m) matrix and a contraction with A_x.
    Multiply-adds: N·D·Q·m.

    Parameters
    ----------
    rows : Rows
        N rows.
    directions : torch.Tensor of shape (Q·D, m)
        Columns to project on, in any float dtype; they are rounded to that of the pass.
    work : callable
        Receives a slice and a tensor (rows of the slice, r, m) in the dtype of the pass.
    exact : bool, default=False
        Do the pass in float64, whatever the dtype of the features.
    """
    n_columns, m = rows.n_columns, directions.shape[1]
    dtype = EXACT if exact else rows.features.dtype
    if n_columns == 1:
        # (m, N) keeps the pass over h a matrix-vector product, contiguous in N
        flat = directions.T.to(dtype).contiguous()  # (m, D)
    else:
        # (D, Q·m), column k·m + j
        flat = directions.view(n_columns, rows.n_features, m).permute(1, 0, 2)
        flat = flat.reshape(rows.n_features, n_columns * m).to(dtype)

    def one(chunk: slice) -> None:
        h, a = rows.exact(chunk) if exact else (rows.features[chunk], rows.coefficients[chunk])
        if n_columns == 1:
            values = ((flat @ h.T) * a[:, :, 0].T).T[:, None, :]
        else:
            values = torch.bmm(a, (h @ flat).view(-1, n_columns, m))
        work(chunk, values)

    width = 4 * m if n_columns == 1 else m * (n_columns + rows.rank)
    width += rows.n_features if exact else 0
    rows.for_chunks(one, dtype.itemsize * width)


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
    product = h.T @ t.reshape(len(h), -1)  # (D, Q·m)
    return product.view(-1, rows.n_columns, m).permute(1, 0, 2).reshape(-1, m)


def store(out: torch.Tensor, chunk: slice, values: torch.Tensor) -> None:
    """Write ``values``, (rows of the slice, r, m), to `out`, (N, r, m) or for rank 1 (m, N)."""
    if values.shape[1] == 1:
        out[:, chunk] = values[:, 0, :].T
    else:
        out[chunk] = values
