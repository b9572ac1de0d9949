# SPDX-License-Identifier: BSD-3-Clause
"""Backward removal: of the rows chosen forward, drop those whose removal costs least.

Let Π = V_S M₀⁻¹ V_Sᵀ and C = V_S M₀⁻¹FM₀⁻¹ V_Sᵀ over the chosen rows S, M₀ being the precision
before any choice. With E = (I + Π)⁻¹ the blocks after all choices are

    I - a_s = E_ss,    c_s = (E C E)_ss,

so the cost tr((I - a_s)⁻¹ c_s) needs no subtraction that could lose the digits of I - a_s, which
becomes singular where a chosen row carries much more information than the prior.
"""

from __future__ import annotations

import torch

from skbait.fisher.linalg import inverse, symmetrise

# Costs that agree to this fraction are one cost: the row chosen last goes.
TIE = 1e-10


def keep(first: torch.Tensor, second: torch.Tensor, rank: int, n_keep: int) -> torch.Tensor:
    """Remove rows one by one, the cheapest first, until `n_keep` are left.

    Parameters
    ----------
    first, second : torch.Tensor of shape (m·r, m·r), float64
        Π and C of the m chosen rows, in the order of choice.
    rank : int
        Rows r of one factor.
    n_keep : int
        Number of rows to keep.

    Returns
    -------
    torch.Tensor of shape (n_keep,), int64
        Which of the m rows stay, in the order of choice.

    Notes
    -----
    Removing s is the Schur complement E ← E - E_:s E_ss⁻¹ E_s:, and ECE goes along:
    2(m·r)²·r multiply-adds a removal.
    """
    m = len(first) // rank
    eye = torch.eye(len(first), dtype=first.dtype, device=first.device)
    e = inverse(first + eye, name="posterior of the chosen rows")
    d = symmetrise(e @ second @ e)
    alive = torch.arange(m, device=first.device)
    while len(alive) > n_keep:
        blocks = torch.arange(len(alive), device=first.device)
        e_ss = e.view(len(alive), rank, len(alive), rank)[blocks, :, blocks, :]
        d_ss = d.view(len(alive), rank, len(alive), rank)[blocks, :, blocks, :]
        cost = _cost(e_ss, d_ss)
        lowest = cost.min()
        ties = torch.nonzero(cost <= lowest + TIE * lowest.abs())
        s = int(ties[-1])
        block = slice(s * rank, (s + 1) * rank)
        # T = E_:s E_ss⁻¹
        t = torch.linalg.solve(symmetrise(e[block, block]), e[block, :]).T
        d_s = d[block, :]
        td = t @ (d_s - 0.5 * d[block, block] @ t.T)
        e = e - t @ e[block, :]
        d = d - td - td.T
        rest = torch.ones(len(e), dtype=torch.bool, device=e.device)
        rest[block] = False
        e, d = e[rest][:, rest], d[rest][:, rest]
        alive = torch.cat([alive[:s], alive[s + 1 :]])
    return alive


def _cost(e_ss: torch.Tensor, d_ss: torch.Tensor) -> torch.Tensor:
    """tr(E_ss⁻¹ D_ss) of every row; infinite where a row cannot be removed."""
    if e_ss.shape[1] == 1:
        return d_ss[:, 0, 0] / e_ss[:, 0, 0]
    solved, info = torch.linalg.solve_ex(symmetrise(e_ss), d_ss)
    cost = solved.diagonal(dim1=1, dim2=2).sum(1)
    bad = (info != 0) | ~torch.isfinite(cost)
    return torch.where(bad, torch.inf, cost)
