# SPDX-License-Identifier: BSD-3-Clause
"""Backward removal: of the rows chosen forward, drop those whose removal costs least.

With V_S the factors of the chosen rows S and M the precision after all choices, let

    E = I - V_S M⁻¹ V_Sᵀ,    D = V_S M⁻¹FM⁻¹ V_Sᵀ.

Removing s costs tr(E_ss⁻¹ D_ss). E_ss becomes singular where a chosen row carries much more
information than the prior: the forms compute E without the subtraction, which would lose its
digits, and D without M₀⁻¹, whose square may be larger than any number that float64 resolves.
"""

from __future__ import annotations

import torch

from skbait.fisher.linalg import symmetrise

# Costs that agree to this fraction are one cost: the row chosen last goes.
TIE = 1e-10


def keep(
    e: torch.Tensor, d: torch.Tensor, rank: int, n_keep: int, groups: list[int]
) -> tuple[torch.Tensor, float]:
    """Remove rows one by one, the cheapest first, until `n_keep` are left.

    Parameters
    ----------
    e, d : torch.Tensor of shape (m·r, m·r), float64
        E and D of the m chosen rows, in the order of choice. Overwritten.
    rank : int
        Rows r of one factor.
    n_keep : int
        Number of rows to keep.
    groups : list of m ints
        Rows of one number from 0 on have equal content, and the one chosen last goes; -1: none is
        equal.

    Returns
    -------
    stay : torch.Tensor of shape (n_keep,), int64
        Which of the m rows stay, in the order of choice.
    margin : float
        How much more, relative to the cost of what was removed, the next row would have cost that
        is not equal to it, at the closest of all removals; of rows of rank one only.

    Notes
    -----
    Removing s is the Schur complement E ← E - E_:s E_ss⁻¹ E_s:, and with T = E_:s E_ss⁻¹

        D ← D - T D_s: - D_:s Tᵀ + T D_ss Tᵀ:

    3(m·r)²·r multiply-adds a removal, in place. The place of a removed row is taken by the last.
    """
    if rank == 1:
        stay, margin = _keep_scalars(e.cpu(), d.cpu(), n_keep, groups)
        return stay.to(e.device), margin
    left = len(e) // rank
    order = list(range(left))  # which row stands in which place
    while left > n_keep:
        size = left * rank
        e_now, d_now = e[:size, :size], d[:size, :size]
        cost = _cost(_diagonal(e_now, rank), _diagonal(d_now, rank)).cpu()
        lowest = cost.min()
        ties = torch.nonzero(cost <= lowest + TIE * lowest.abs())[:, 0].tolist()
        s = _last_of(ties, order, groups)
        own = slice(s * rank, (s + 1) * rank)
        e_s, d_s = e_now[own].clone(), d_now[own].clone()  # (r, m·r)
        t = torch.linalg.solve_ex(symmetrise(e_s[:, own]), e_s)[0].T  # (m·r, r)
        half = d_s.T - 0.5 * t @ symmetrise(d_s[:, own])
        e_now.addmm_(t, e_s, alpha=-1.0)
        d_now.addmm_(torch.cat([t, half], dim=1), torch.cat([half, t], dim=1).T, alpha=-1.0)
        left -= 1
        if s != left:
            last = slice(left * rank, size)
            for matrix in (e, d):
                matrix[own, :size] = matrix[last, :size]
                matrix[:size, own] = matrix[:size, last]
        order[s] = order[left]
        order.pop()
    return torch.tensor(sorted(order), device=e.device), float("inf")


def _keep_scalars(
    e: torch.Tensor, d: torch.Tensor, n_keep: int, groups: list[int]
) -> tuple[torch.Tensor, float]:
    """`keep` where every E_ss is a number: fewer operations a removal, and no launches."""
    left = list(range(len(e)))
    least = torch.zeros(len(e), dtype=e.dtype)  # infinite once a row is removed
    margin = float("inf")
    while len(left) > n_keep:
        e_ss, d_ss = e.diagonal(), d.diagonal()
        cost = torch.where(e_ss > least, d_ss / e_ss, torch.inf).tolist()
        lowest = min(cost)
        most = lowest + TIE * abs(lowest)
        ties = [place for place, s in enumerate(left) if cost[s] <= most]
        place = _last_of(ties, left, groups)
        s = left.pop(place)
        others = (cost[i] for i in left if groups[i] < 0 or groups[i] != groups[s])
        margin = min(margin, (min(others, default=torch.inf) - lowest) / max(abs(lowest), 1e-300))
        e_s, d_s = e[s].clone(), d[s].clone()
        t = e_s / e_s[s]
        half = torch.sub(d_s, t, alpha=0.5 * float(d_s[s]))
        e.addr_(t, e_s, alpha=-1.0)
        d.addr_(t, half, alpha=-1.0).addr_(half, t, alpha=-1.0)
        least[s] = torch.inf
    return torch.tensor(left), margin


def _last_of(ties: list[int], order: list[int], groups: list[int]) -> int:
    """Return the place of the row that goes: of those that tie, the one chosen last."""
    s = max(ties or range(len(order)), key=order.__getitem__)
    group = groups[order[s]]
    if group < 0:
        return s
    equal = (place for place, row in enumerate(order) if groups[row] == group)
    return max(equal, key=order.__getitem__)


def _diagonal(matrix: torch.Tensor, rank: int) -> torch.Tensor:
    """The (r, r) blocks on the diagonal, (m, r, r)."""
    m = len(matrix) // rank
    row, column = matrix.stride()
    blocks = matrix.as_strided((m, rank, rank), (rank * (row + column), row, column))
    return blocks.contiguous()


def _cost(e_ss: torch.Tensor, d_ss: torch.Tensor) -> torch.Tensor:
    """tr(E_ss⁻¹ D_ss) of every row; infinite where a row cannot be removed."""
    solved, info = torch.linalg.solve_ex(symmetrise(e_ss), d_ss)
    cost = solved.diagonal(dim1=1, dim2=2).sum(1)
    bad = (info != 0) | ~torch.isfinite(cost)
    return torch.where(bad, torch.inf, cost)
