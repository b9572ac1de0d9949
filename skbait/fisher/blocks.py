# SPDX-License-Identifier: BSD-3-Clause
"""The r×r blocks a_x and c_x that give every row's exact score, and how a choice changes them.

With M the present precision and F the mean Fisher information,

    a_x = V_x M⁻¹ V_xᵀ,    c_x = V_x M⁻¹ F M⁻¹ V_xᵀ.

Adding x lowers tr(M⁻¹F) by tr((I + a_x)⁻¹ c_x). After choosing s, with P_x = V_x M⁻¹ V_sᵀ,
Q_x = V_x M⁻¹FM⁻¹ V_sᵀ, G = (I + a_s)⁻¹ and S = c_s,

    a_x ← a_x - P_x G P_xᵀ
    c_x ← c_x - P_x G Q_xᵀ - Q_x G P_xᵀ + P_x G S G P_xᵀ.
"""

from __future__ import annotations

import torch

from skbait.fisher.linalg import symmetrise


def diagonals(blocks: torch.Tensor) -> torch.Tensor:
    """Diagonal of every block, in memory of its own.

    Parameters
    ----------
    blocks : torch.Tensor of shape (N, r, r)
        Square blocks.

    Returns
    -------
    torch.Tensor of shape (N, r)
        Diagonals.
    """
    return blocks.diagonal(dim1=1, dim2=2).clone()


def gain(
    a: torch.Tensor, c: torch.Tensor, sizes: tuple[torch.Tensor, torch.Tensor] | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """tr(G c_x), G = (I + a_x)⁻¹, of every row, and how much it changes with the blocks.

    Parameters
    ----------
    a, c : torch.Tensor of shape (N, r, r), float64
        Blocks, symmetric and, up to rounding, positive semidefinite.
    sizes : tuple of torch.Tensor of shape (m, N), or None, default=None
        Where given, how large changes of a and of c are to be reckoned with: see `pairwise`.

    Returns
    -------
    gain : torch.Tensor of shape (N,), float64
        Decrease of the objective by each row.
    spread : torch.Tensor of shape (N,), float64, or None
        With `sizes`: to first order changes of ε times these sizes change the gain by at most ε
        times this. Infinite where rounding left I + a indefinite: the gain says nothing then.

    Notes
    -----
    The gain changes by tr(GΔ) with c, by -tr(GcGΔ) with a, and

        |tr(GΔ)| <= Σ |G_ij| max |Δ_ij|,    |tr(GcGΔ)| <= tr(Gc) Σ |G_ij| √(s_i s_j)

    for all |Δ_ij| <= √(s_i s_j), since no eigenvalue of G^½ Δ G^½ is larger than that sum. For
    r > 2 the sum is replaced by Σs times the smaller of 1 and tr(G), which is no less than the
    norm of G where a is positive semidefinite.
    """
    rank = a.shape[1]
    if rank == 1:
        slope = 1.0 / (1.0 + a[:, 0, 0])
        found, definite = c[:, 0, 0] * slope, slope > 0.0
    elif rank == 2:
        # closed form: the adjugate over the determinant
        a00, a11, a01 = 1.0 + a[:, 0, 0], 1.0 + a[:, 1, 1], a[:, 0, 1]
        determinant = a00 * a11 - a01 * a01
        found = a11 * c[:, 0, 0] + a00 * c[:, 1, 1] - 2.0 * a01 * c[:, 0, 1]
        found /= determinant
        definite = (determinant > 0.0) & (a00 > 0.0)
    else:
        eye = torch.eye(rank, dtype=a.dtype, device=a.device)
        root, info = torch.linalg.cholesky_ex(a + eye)
        half = torch.linalg.solve_triangular(root, eye.expand_as(root), upper=False)  # L⁻¹
        found = ((half @ c) * half).sum(dim=(1, 2))
        slope, definite = half.square().sum(dim=(1, 2)).clamp_max_(1.0), info == 0
    if sizes is None:
        return found, None
    size = first_order(found, *sizes)
    if rank == 2:
        spread = torch.addcmul(a11 * size[0], a00, size[1])
        spread = spread.addcmul_(a01.abs(), size[2], value=2.0).div_(determinant)
    else:
        spread = slope * size[0]
    return found, torch.where(definite, spread, torch.inf)


def first_order(gain, size_a, size_c):
    """Size of a change of c that would change a gain by as much as changes of a and c together.

    Parameters
    ----------
    gain : torch.Tensor or float
        tr(G c).
    size_a, size_c : torch.Tensor
        Sizes of the changes: see `gain`.

    Returns
    -------
    torch.Tensor
        ``size_c + |gain| · size_a``.
    """
    return size_c + abs(gain) * size_a


def pairwise(sizes: torch.Tensor) -> torch.Tensor:
    """Sizes of changes of blocks as `gain` takes them.

    Parameters
    ----------
    sizes : torch.Tensor of shape (N, r)
        Numbers s that are reckoned with changes |Δ_ij| <= ε √(s_i s_j) of; for r > 2 with changes
        whose singular values have a sum of at most ε Σs.

    Returns
    -------
    torch.Tensor of shape (m, N)
        s for r = 1, the three √(s_i s_j), the last of i != j, for r = 2, Σs for r > 2.
    """
    if sizes.shape[1] == 2:
        return torch.stack([*sizes.T, sizes.sqrt().prod(1)])
    return sizes.sum(1)[None]


def own_blocks(left: torch.Tensor, right: torch.Tensor, rank: int) -> torch.Tensor:
    """Block of leftᵀ right of every row with itself.

    Parameters
    ----------
    left, right : torch.Tensor of shape (P, m·r)
        Columns, r for each of m rows.
    rank : int
        Their number r.

    Returns
    -------
    torch.Tensor of shape (m, r, r)
        Blocks on the diagonal, each symmetric where leftᵀ right is but for rounding.
    """
    left, right = (each.view(len(each), -1, rank) for each in (left, right))
    return symmetrise(torch.bmm(left.permute(1, 2, 0), right.transpose(0, 1)))


def by_numbers(blocks: torch.Tensor) -> torch.Tensor:
    """Lay blocks of r = 2 number by number in memory, so that sums go over all rows at once.

    Parameters
    ----------
    blocks : torch.Tensor of shape (N, r, m)
        Blocks.

    Returns
    -------
    torch.Tensor of shape (N, r, m)
        The same numbers: for r = 2 a copy, else the tensor itself.
    """
    if blocks.shape[1] != 2:
        return blocks
    return blocks.permute(1, 2, 0).contiguous().permute(2, 0, 1)


def downdate(
    a: torch.Tensor,
    c: torch.Tensor,
    p: torch.Tensor,
    q: torch.Tensor,
    g: torch.Tensor,
    s: torch.Tensor,
) -> None:
    """Change the blocks of all rows, in place, for one chosen row.

    Parameters
    ----------
    a, c : torch.Tensor of shape (N, r, r), float64
        Blocks.
    p, q : torch.Tensor of shape (N, r, r)
        P_x and Q_x.
    g, s : torch.Tensor of shape (r, r), float64
        G and S of the chosen row.
    """
    # Whatever allocates comes before the first change: see `for_chunks`.
    if a.shape[1] == 1:
        p, q = p[:, 0, 0].to(a.dtype), q[:, 0, 0].to(a.dtype)
        x = p * g[0, 0]
        # c - 2 g p q + g² s p² = c - x (2 q - s x)
        y = torch.addcmul(2.0 * q, x, s[0, 0], value=-1.0)
        a[:, 0, 0].addcmul_(x, p, value=-1.0)
        c[:, 0, 0].addcmul_(x, y, value=-1.0)
        return
    # what is subtracted has no more digits than p and q
    if a.shape[1] == 2:  # three times as quick as products of so small matrices: `by_numbers`
        p, q = p.permute(1, 2, 0), q.permute(1, 2, 0)  # (2, 2, N)
        x, y = (torch.cat([g.T, (0.5 * g @ s).T]).to(p) @ p).chunk(2, dim=1)
        y = q - y
        left, right = x[:, None].unbind(2), torch.stack([p, y])[:, None].unbind(3)
        change, half = torch.addcmul(left[0] * right[0], left[1], right[1])
        change, both = change.to(a.dtype), (half + half.transpose(0, 1)).to(c.dtype)
        a.permute(1, 2, 0).sub_(change)
        c.permute(1, 2, 0).sub_(both)
        return
    x, y = (p @ torch.cat([g, 0.5 * g @ s], dim=1).to(p)).chunk(2, dim=2)  # (N, r, r) each
    y = q - y
    change, half = torch.bmm(x, p.mT).to(a.dtype), torch.bmm(x, y.mT).to(c.dtype)
    a -= change
    c -= half
    c -= half.mT
