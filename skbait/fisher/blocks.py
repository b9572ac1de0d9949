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


def traces(blocks: torch.Tensor) -> torch.Tensor:
    """Trace of every block.

    Parameters
    ----------
    blocks : torch.Tensor of shape (N, r, r)
        Square blocks.

    Returns
    -------
    torch.Tensor of shape (N,)
        Traces.
    """
    rank = blocks.shape[1]
    if rank > 16:
        return blocks.diagonal(dim1=1, dim2=2).sum(1)
    return sum(blocks[:, i, i] for i in range(rank))  # many times as fast


def gain(a: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """tr(G c_x), G = (I + a_x)⁻¹, of every row, and how much it changes with c_x.

    Parameters
    ----------
    a, c : torch.Tensor of shape (N, r, r), float64
        Blocks, symmetric and, up to rounding, positive semidefinite.

    Returns
    -------
    gain : torch.Tensor of shape (N,), float64
        Decrease of the objective by each row.
    slope : torch.Tensor of shape (N,), float64
        ‖G‖, or for r > 2 a bound, the smaller of tr(G) and 1. To first order a change of c by Δ
        changes the gain by at most ``slope · ‖Δ‖``, and one of a by at most
        ``slope · gain · ‖Δ‖``, where ‖Δ‖ is the sum of singular values. Infinite where rounding
        left I + a indefinite: the gain says nothing then.
    """
    rank = a.shape[1]
    if rank == 1:
        slope = 1.0 / (1.0 + a[:, 0, 0])
        return c[:, 0, 0] * slope, torch.where(slope > 0.0, slope, torch.inf)
    if rank == 2:
        # closed form: the adjugate over the determinant
        a00, a11, a01 = 1.0 + a[:, 0, 0], 1.0 + a[:, 1, 1], a[:, 0, 1]
        numerator = a11 * c[:, 0, 0] + a00 * c[:, 1, 1] - 2.0 * a01 * c[:, 0, 1]
        determinant = a00 * a11 - a01 * a01
        largest = 0.5 * (a00 + a11 + torch.hypot(a00 - a11, 2.0 * a01))  # eigenvalue
        definite = (determinant > 0.0) & (largest > 0.0)
        return numerator / determinant, torch.where(definite, largest / determinant, torch.inf)
    eye = torch.eye(rank, dtype=a.dtype, device=a.device)
    root, info = torch.linalg.cholesky_ex(a + eye)
    half = torch.linalg.solve_triangular(root, eye.expand_as(root), upper=False)  # L⁻¹
    slope = half.square().sum(dim=(1, 2)).clamp_max_(1.0).masked_fill_(info > 0, torch.inf)
    return ((half @ c) * half).sum(dim=(1, 2)), slope


def gains_among(pi: torch.Tensor, gamma: torch.Tensor, rank: int) -> torch.Tensor:
    """Score of each of a few rows from their blocks among all of them.

    Parameters
    ----------
    pi, gamma : torch.Tensor of shape (m·r, m·r), float64
        V M⁻¹ Vᵀ and V M⁻¹FM⁻¹ Vᵀ of m rows.
    rank : int
        Rows r of one factor.

    Returns
    -------
    torch.Tensor of shape (m,), float64 on the CPU
        Decrease of the objective by each row.
    """
    i = torch.arange(len(pi) // rank)
    own = (x.cpu().view(len(i), rank, len(i), rank)[i, :, i, :] for x in (pi, gamma))
    return gain(*own)[0]


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
    x, y = (p @ torch.cat([g, 0.5 * g @ s], dim=1).to(p)).chunk(2, dim=2)  # (N, r, r) each
    y = q - y
    change, half = torch.bmm(x, p.mT).to(a.dtype), torch.bmm(x, y.mT).to(c.dtype)
    a -= change
    c -= half
    c -= half.mT
