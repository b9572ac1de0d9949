# SPDX-License-Identifier: BSD-3-Clause
"""Kernels between rows: V_x V_jᵀ, and λ V_x M⁻¹ V_jᵀ without M."""

from __future__ import annotations

import torch

from skbait._backend import EXACT, for_chunks
from skbait.fisher.rows import Rows

# One block of kernels between rows: on a CPU what stays in its cache, on a GPU what fills it.
KERNEL_BYTES = {"cpu": 2 * 2**20, "cuda": 64 * 2**20}


def kernel(
    features_1: torch.Tensor,
    coefficients_1: torch.Tensor,
    features_2: torch.Tensor,
    coefficients_2: torch.Tensor,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """V₁ V₂ᵀ of two sets of rows: (h₁·h₂) A₁A₂ᵀ.

    Parameters
    ----------
    features_1 : torch.Tensor of shape (M₁, D)
        h₁.
    coefficients_1 : torch.Tensor of shape (M₁, r, Q)
        A₁.
    features_2 : torch.Tensor of shape (M₂, D)
        h₂.
    coefficients_2 : torch.Tensor of shape (M₂, r, Q)
        A₂.
    out : torch.Tensor of shape (M₁·r, M₂·r) or None, default=None
        Written to.

    Returns
    -------
    torch.Tensor of shape (M₁·r, M₂·r)
        Kernel blocks, rows of one example next to each other.
    """
    m1, rank, n_columns = coefficients_1.shape
    left, right = coefficients_1.reshape(-1, n_columns), coefficients_2.reshape(-1, n_columns)
    out = torch.mm(left, right.T, out=out)
    # repeated for the rows of each right factor: long rows are multiplied faster than short ones
    inner = (features_1 @ features_2.T).repeat_interleave(rank, dim=1)
    out.view(m1, rank, inner.shape[1]).mul_(inner[:, None, :])
    return out


def add_squares(
    c: torch.Tensor,
    pool: Rows,
    reduced: torch.Tensor,
    rows: Rows | None = None,
    other: torch.Tensor | None = None,
) -> None:
    """Add the sum over j of m(x, j) m(x, j)ᵀ to the block of every candidate x.

    Here m(x, j) = V_x V_jᵀ - B_xᵀ B_j, which is λ V_x M⁻¹ V_jᵀ for B_x = L⁻¹ W V_xᵀ: see
    `skbait.fisher.gram`. N·N_F products of some rows with others; where j runs over the pool
    itself, m(x, j) = m(j, x)ᵀ halves the work.

    Parameters
    ----------
    c : torch.Tensor of shape (N, r, r), float64
        Added to.
    pool : Rows
        N candidates.
    reduced : torch.Tensor of shape (m, N·r)
        B of them, in the dtype of the features.
    rows : Rows or None, default=None
        N_F rows j; None: the candidates.
    other : torch.Tensor of shape (m, N_F·r) or None, default=None
        B of these rows; None: `reduced`.
    """
    rank = pool.rank
    symmetric = rows is None
    if symmetric:
        rows, other = pool, reduced
    size = pool.features.element_size()
    # square blocks of kernels: large enough for full speed of the matrix product
    block = max(1, int((KERNEL_BYTES[c.device.type] / size) ** 0.5) // rank)
    chunk_size = min(block, len(rows))
    memory = c.new_empty((block * rank) ** 2, dtype=pool.features.dtype)

    def work(x: slice) -> None:
        change = torch.zeros_like(c[x])
        later = torch.zeros_like(c[x.stop :]) if symmetric else None
        hx, ax = pool.features[x], pool.coefficients[x]
        bx = reduced[:, x.start * rank : x.stop * rank]
        start = x.start if symmetric else 0
        while start < len(rows):
            # among the pool itself: first the block on the diagonal, whole, then those right
            # of it, which count for both sides
            on_diagonal = symmetric and start == x.start
            j = slice(start, x.stop if on_diagonal else min(start + chunk_size, len(rows)))
            shape = len(hx) * rank, (j.stop - j.start) * rank
            m = memory[: shape[0] * shape[1]].view(shape)
            kernel(hx, ax, rows.features[j], rows.coefficients[j], out=m)
            if len(reduced):
                m.addmm_(bx.T, other[:, j.start * rank : j.stop * rank], alpha=-1)
            by_x = m.view(-1, rank, m.shape[1])
            change += torch.bmm(by_x, by_x.mT).to(EXACT)
            if symmetric and not on_diagonal:
                by_j = m.T.reshape(-1, rank, m.shape[0])
                part = slice(j.start - x.stop, j.stop - x.stop)
                later[part] += torch.bmm(by_j, by_j.mT).to(EXACT)
            start = j.stop
        c[x] += change
        if symmetric:
            c[x.stop :] += later

    pool_chunk = chunk_size if pool.chunk_size is None else min(chunk_size, pool.chunk_size)
    for_chunks(work, len(pool), max(1, min(pool_chunk, len(pool))))
