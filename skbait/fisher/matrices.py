# SPDX-License-Identifier: BSD-3-Clause
"""P×P matrices of the parameters, P = Q·D: the mean Fisher, and quadratic forms of all rows.

Such a matrix is Q×Q blocks of D×D numbers. In the mean Fisher each block is symmetric, and of any
other matrix a quadratic form sees the symmetric part of each block only. So it is enough to work
with the upper part of every block, in panels: with four of them 5/8 of the products are made.
"""

from __future__ import annotations

from functools import partial

import torch

from skbait._backend import EXACT
from skbait.fisher.rows import Rows, padded

# Panels of triangular matrices: their products are made in float32, fast in narrow ones too.
NARROW = 6
# Rows of one product, on a CPU: in float32 its rounding adds up.
SHORT = 2048
# Squares that are summed in float32, on the way to a sum in float64.
FEW = 32


def mean_fisher(rows: Rows, weight: float, out: torch.Tensor, dtype: torch.dtype = EXACT) -> None:
    """Add ``weight · Σ_x A_xᵀA_x ⊗ h_x h_xᵀ`` to `out`.

    Block (k, l) is ``Hᵀ diag((AᵀA)[k, l]) H``, symmetric, so the sum costs 5/8 of N·D²·Q(Q+1)/2
    multiply-adds against N·r·(Q·D)² by the explicit factor.

    Parameters
    ----------
    rows : Rows
        The rows that are summed.
    weight : float
        Factor of the sum.
    out : torch.Tensor of shape (Q·D, Q·D), float64
        Added to in place; only blocks k <= l, and of each the upper part: see `mirror`.
    dtype : torch.dtype, default=torch.float64
        Of the products, for Q > 1. Those of float32 are summed in float64.
    """
    n_features, n_columns = rows.n_features, rows.n_columns
    parts = panels(n_features)

    def add(k: int, sums: list[torch.Tensor], chunk: slice) -> None:
        h, a = rows.features[chunk].to(dtype), rows.exact_coefficients(chunk)
        s = torch.bmm(a[:, :, k, None].mT, a[:, :, k:])[:, 0] * weight  # (n, Q-k)
        # (n, D·(Q-k)): rows scaled for all l >= k at once, features outermost
        scaled = (h[:, :, None] * s.to(dtype)[:, None, :]).reshape(len(h), -1)
        rights = [scaled[:, panel.start * (n_columns - k) :] for panel in parts]
        if dtype == EXACT:
            for panel, right, total in zip(parts, rights, sums, strict=True):
                total.addmm_(h[:, panel].T, right)
            return
        # this way round BLAS is quicker in float32
        products = [
            (right.T @ h[:, panel]).T.to(EXACT) for panel, right in zip(parts, rights, strict=True)
        ]
        for product, total in zip(products, sums, strict=True):
            total += product

    def add_one_column(chunk: slice) -> None:
        h = rows.features[chunk].to(EXACT, copy=True)  # (n, D)
        h *= (rows.exact_coefficients(chunk).square().sum(1) * weight).sqrt()
        for panel in parts:
            out[panel, panel.start :].addmm_(h[:, panel].T, h[:, panel.start :])

    if n_columns == 1:
        rows.for_chunks(add_one_column, 8 * n_features)
        return
    blocks = out.view(n_columns, n_features, n_columns, n_features)
    for k in range(n_columns):
        width = n_columns - k
        shapes = [
            (panel.stop - panel.start, (n_features - panel.start) * width) for panel in parts
        ]
        if dtype == EXACT:
            sums = [out.new_zeros(*shape) for shape in shapes]
        else:  # as the products are
            sums = [out.new_zeros(*shape[::-1]).T for shape in shapes]
        numbers = n_features * (width + 2) + 2 * rows.rank * n_columns
        rows.for_chunks(partial(add, k, sums), dtype.itemsize * numbers, SHORT)
        for panel, total in zip(parts, sums, strict=True):
            total = total.unflatten(1, (-1, width))  # (w, D - start, Q-k)
            blocks[k, panel, k:, panel.start :] += total.transpose(1, 2)


def rounded_fisher(rows: Rows, weight: float, out: torch.Tensor, signs: torch.Tensor) -> float:
    """Add the same as `mean_fisher` to `out` with products in float32, for Q = 1.

    Parameters
    ----------
    rows : Rows
        The rows that are summed, with features in float32.
    weight : float
        Factor of the sum.
    out : torch.Tensor of shape (D, D), float64
        Added to in place; only the upper part: see `mirror`.
    signs : torch.Tensor of shape (D, m), float32
        Columns s of signs.

    Returns
    -------
    float
        How far what was added is off, in units of its trace: the largest rounding of a form
        sᵀ(·)s plus that of the numbers on the diagonal, root mean square, each relative. Both are
        measured on a quarter of the rows, by sums of squares, which have no rounding to speak of.
    """
    parts = panels(rows.n_features)
    # as the products lie: this way round BLAS is quicker in float32
    sums = [out.new_zeros(len(out) - panel.start, panel.stop - panel.start) for panel in parts]
    seen, wide = [torch.zeros_like(total) for total in sums], padded(signs, len(rows))
    forms = torch.zeros(signs.shape[1], dtype=EXACT, device=out.device)
    diagonal = torch.zeros(len(out), dtype=EXACT, device=out.device)

    def add(chunk: slice) -> None:
        h = rows.features[chunk]
        h = h * (rows.exact_coefficients(chunk).square().sum(1) * weight).sqrt().to(h)  # (n, D)
        products = [(h[:, panel.start :].T @ h[:, panel]).to(EXACT) for panel in parts]
        looked_at = 4 * chunk.start < len(rows)
        if looked_at:
            of_forms = (h @ wide)[:, : signs.shape[1]].to(EXACT).square_().sum(0)
            of_diagonal = _sum_of_squares(h)
        # nothing is allocated from here on: see `for_chunks`
        for total, product in zip(sums, products, strict=True):
            total += product
        if looked_at:
            forms.add_(of_forms)
            diagonal.add_(of_diagonal)
            for part, total in zip(seen, sums, strict=True):
                part.copy_(total)

    rows.for_chunks(add, rows.features.element_size() * 2 * rows.n_features, SHORT)
    first = mirror(_from_panels(seen, torch.zeros_like(out)), 1)
    total = diagonal.sum().clamp_min(1e-300)
    signs = signs.to(first)
    off_forms = (forms - ((first @ signs) * signs).sum(0)).abs().max() / total
    off_diagonal = ((first.diagonal() - diagonal) / diagonal)[diagonal > 0.0]
    off = off_forms + off_diagonal.square().sum().div(max(1, len(off_diagonal))).sqrt()
    before = out.trace()
    _from_panels(sums, out)
    return float(off * (out.trace() - before))


def _sum_of_squares(h: torch.Tensor) -> torch.Tensor:
    """Sums of squares of the columns, (D,) float64; few squares at a time are added in float32."""
    squares = h.square()
    whole = len(h) - len(h) % FEW
    total = squares[:whole].view(-1, FEW, h.shape[1]).sum(1).sum(0, dtype=EXACT)
    return total.add_(squares[whole:].sum(0, dtype=EXACT))


def _from_panels(sums: list[torch.Tensor], out: torch.Tensor) -> torch.Tensor:
    """Add panels, each (D - start, w), to the upper part of a matrix."""
    for panel, total in zip(panels(len(out)), sums, strict=True):
        out[panel, panel.start :] += total.T
    return out


def mirror(matrix: torch.Tensor, n_columns: int) -> torch.Tensor:
    """Fill what `mean_fisher` leaves out, in place.

    Parameters
    ----------
    matrix : torch.Tensor of shape (Q·D, Q·D), float64
        The upper part of every block (k, l), k <= l, is read, the others are written to.
    n_columns : int
        Q.

    Returns
    -------
    torch.Tensor of shape (Q·D, Q·D), float64
        `matrix` itself.
    """
    n_features = matrix.shape[0] // n_columns
    blocks = matrix.view(n_columns, n_features, n_columns, n_features)
    for k in range(n_columns):
        for panel in panels(n_features):
            upper = blocks[k, panel, k:, panel.stop :]  # (w, Q-k, rest)
            blocks[k, panel.stop :, k:, panel] = upper.permute(2, 1, 0)
        for other in range(k):
            blocks[k, :, other, :] = blocks[other, :, k, :].T
    return matrix


def quadratic(pool: Rows, matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """V_x B V_xᵀ of all rows for a symmetric matrix B.

    With ``t_x[k, l] = h_xᵀ B_kl h_x``, k <= l, this is A_x t_x A_xᵀ. Of every block only the
    symmetric part counts, so that its upper part, doubled off the diagonal, is enough.

    Parameters
    ----------
    pool : Rows
        N rows.
    matrix : torch.Tensor of shape (Q·D, Q·D), float64
        B; it is rounded to the dtype of the pass.

    Returns
    -------
    torch.Tensor of shape (N, r, r), float64
        The blocks.
    torch.Tensor of shape (N, r), float64
        The diagonal of |A_x| |t_x| |A_x|ᵀ: how large the numbers are that the diagonal of each
        block is the sum of. Its rounding is the same part of this, give or take, for all rows.
    """
    n_columns, n_features = pool.n_columns, pool.n_features
    dtype = pool.features.dtype
    out = torch.empty(len(pool), pool.rank, pool.rank, dtype=EXACT, device=matrix.device)
    sizes = out.new_empty(len(pool), pool.rank)
    blocks = matrix.view(n_columns, n_features, n_columns, n_features)
    right = []
    for k in range(n_columns):
        for panel in panels(n_features):
            rest = slice(panel.start, None)
            # (D - start, Q-k, w): rows right of the panel, by symmetry below it, count twice
            below = blocks[k, rest, k:, panel] + blocks[k, panel, k:, rest].permute(2, 1, 0)
            below[: panel.stop - panel.start] *= 0.5
            right.append((k, panel, below.flatten(1).to(dtype)))

    def write(chunk: slice) -> None:
        h, a = pool.features[chunk], pool.coefficients[chunk].to(EXACT)
        t = torch.zeros(len(h), n_columns, n_columns, dtype=EXACT, device=h.device)
        for k, panel, below in right:
            product = (h[:, panel.start :] @ below).view(len(h), n_columns - k, -1)  # (n, Q-k, w)
            t[:, k, k:] += torch.linalg.vecdot(product, h[:, None, panel])
        t = torch.triu(t) + torch.triu(t, 1).mT
        out[chunk] = torch.bmm(torch.bmm(a, t), a.mT)
        sizes[chunk] = torch.bmm(a.abs(), t.abs()).mul_(a.abs()).sum(2)

    bytes_per_row = pool.features.element_size() * n_columns * (n_features // 2)
    bytes_per_row += 8 * n_columns * (5 * n_columns + 4 * pool.rank)  # t, its parts, A t
    pool.for_chunks(write, bytes_per_row)
    return out, sizes


def squared_norms(rows: Rows, roots: torch.Tensor) -> torch.Tensor:
    """‖Lᵀh‖² of all rows for some lower triangular matrices L.

    Parameters
    ----------
    rows : Rows
        N rows.
    roots : torch.Tensor of shape (n, D, D), float64
        The matrices L; they are rounded to the dtype of the pass.

    Returns
    -------
    torch.Tensor of shape (n, N), float64
        Squared norms.
    """
    n, n_features = len(roots), rows.n_features
    parts = panels(n_features, NARROW)
    # (D - start, n·w): what lies above the panel is zero
    roots = [
        roots[:, part.start :, part].transpose(0, 1).flatten(1).to(rows.features.dtype)
        for part in parts
    ]
    out = torch.empty(n, len(rows), dtype=EXACT, device=rows.features.device)

    def write(chunk: slice) -> None:
        h = rows.features[chunk]
        total = torch.zeros(len(h), n, dtype=EXACT, device=h.device)
        for part, root in zip(parts, roots, strict=True):
            total += (h[:, part.start :] @ root).square_().view(len(h), n, -1).sum(2)
        out[:, chunk] = total.T

    rows.for_chunks(write, rows.features.element_size() * n * (n_features + 8))
    return out


def panels(n_features: int, number: int = 4) -> list[slice]:
    """Panels of the columns of a D×D block.

    Parameters
    ----------
    n_features : int
        D.
    number : int, default=4
        How many; fewer where D is smaller.

    Returns
    -------
    list of slice
        They cover all columns.
    """
    width = max(1, -(-n_features // number))
    starts = range(0, n_features, width)
    return [slice(start, min(start + width, n_features)) for start in starts]
