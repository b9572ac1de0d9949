# SPDX-License-Identifier: BSD-3-Clause
"""Many choices in one go: what a foreseen sequence of rows does to the scores of all others.

Let rows B = (s_1, ..., s_k) of rank one be chosen in this order, P_x = V_x M⁻¹ V_Bᵀ and
Q_x = V_x M⁻¹FM⁻¹ V_Bᵀ their columns and Π, Γ the same among themselves, all before the first of
them. With the Cholesky factor I + Π = L Lᵀ, whose leading blocks are those of every shorter
sequence,

    P̂ = P L⁻ᵀ,    Γ̂ = L⁻¹ Γ L⁻ᵀ,    Ŷ = 2 Q L⁻ᵀ - P̂ (2 Γ̂ above the diagonal + Γ̂ on it),

the blocks of every row change step by step as

    a_x ← a_x - P̂_xj²,    c_x ← c_x - P̂_xj Ŷ_xj,    j = 1, ..., k,

and Γ̂_jj and L_jj² Γ̂_jj are the exact gain and the exact c of s_j at the moment of its choice. So
a single small product with the columns replaces some tens of operations on vectors a step. What
remains is to see from which step on a row outside the sequence comes near or before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from skbait.fisher.linalg import invert_triangle


@dataclass(frozen=True)
class Course:
    """What makes P̂ and Ŷ of the columns of a pass, and the exact numbers of the chosen rows.

    Attributes
    ----------
    mix : torch.Tensor of shape (2·k, 2·m), float64
        P̂ and, below it, Ŷ as combinations of the 2·m columns of the pass.
    gains : list of k floats
        Exact gain Γ̂_jj of every row of the sequence when its turn comes.
    precisions : list of k floats
        1 + a_s = L_jj² of them then.
    """

    mix: torch.Tensor
    gains: list[float]
    precisions: list[float]

    def __len__(self) -> int:
        return len(self.gains)


def course(pi: torch.Tensor, gamma: torch.Tensor, p: torch.Tensor, q: torch.Tensor) -> Course:
    """Work out a sequence of choices of rank one.

    Parameters
    ----------
    pi, gamma : torch.Tensor of shape (k, k), float64
        Π and Γ of the sequence, in its order.
    p, q : torch.Tensor of shape (2·m, k), float64
        P and Q of the sequence as combinations of the columns of a pass.

    Returns
    -------
    Course
        Of the whole sequence, or of that part for which rounding left I + Π positive definite.
    """
    eye = torch.eye(len(pi), dtype=pi.dtype)
    root, info = torch.linalg.cholesky_ex(pi + eye)
    k = len(pi) if int(info) == 0 else max(1, int(info) - 1)
    half = invert_triangle(root[:k, :k]).T  # L⁻ᵀ
    inner = half.T @ gamma[:k, :k] @ half  # Γ̂
    gains = inner.diagonal()
    p_hat = p[:, :k] @ half
    twice = 2.0 * torch.triu(inner, 1) + torch.diag(gains)
    y_hat = 2.0 * (q[:, :k] @ half) - p_hat @ twice
    precisions = root[:k, :k].diagonal().square()
    return Course(torch.cat([p_hat, y_hat], dim=1).T, gains.tolist(), precisions.tolist())


def play(
    mix: torch.Tensor,
    products: torch.Tensor,
    a: torch.Tensor,
    c: torch.Tensor,
    threshold: torch.Tensor,
    out: torch.Tensor,
) -> torch.Tensor:
    """Blocks of some rows after every choice of a course, and where a score is high.

    Parameters
    ----------
    mix : torch.Tensor of shape (2·k, 2·m)
        See `Course`, in the dtype and on the device of the pass.
    products : torch.Tensor of shape (2·m, n)
        Columns of the pass for n rows.
    a, c : torch.Tensor of shape (n,), float64
        Their blocks before the first choice.
    threshold : torch.Tensor of shape (k - 1, 1), float64
        A score after each choice but the last.
    out : torch.Tensor of shape (2·k, n), float64
        Filled with a after each choice and, below, c.

    Returns
    -------
    torch.Tensor of shape (number, 2), int64
        Choice and row, wherever the score of a row after a choice is not below the threshold.
    """
    k = len(mix) // 2
    out.copy_(mix @ products)  # P̂ over Ŷ
    for j in range(k):
        p, y = out[j], out[k + j]
        c = torch.addcmul(c, p, y, value=-1.0, out=y)
        a = torch.addcmul(a, p, p, value=-1.0, out=p)
    after_a, after_c = out[: k - 1], out[k : 2 * k - 1]
    # c / (1 + a) >= t
    above = torch.addcmul(after_c, after_a, threshold, value=-1.0) >= threshold
    return above.nonzero()


def foresee(
    column: Callable[[int], tuple[torch.Tensor, torch.Tensor]],
    a: torch.Tensor,
    c: torch.Tensor,
    most: int,
) -> list[int]:
    """Choices among a few rows of rank one, were there no others; a forecast only.

    With g = 1 / (1 + a_s), P̂ = sqrt(g) P and W = sqrt(g) (Q - g c_s P / 2) of every choice s,

        a ← a - P̂²,    c ← c - 2 P̂ W,    P ← P - P̂ P̂_s,    Q ← Q - W P̂_s - P̂ W_s,

    the last two for the columns of later choices, which are made when they are needed.

    Parameters
    ----------
    column : callable
        Gives P and Q, (m,) in float32, of one of m rows, before any choice.
    a, c : torch.Tensor of shape (m,)
        Blocks of the m rows.
    most : int
        At most so many choices.

    Returns
    -------
    list of int
        Which rows, in the order of choice; row 0 comes first.
    """
    most = min(most, len(a))
    precision, c = a.to(torch.float32) + 1.0, c.to(torch.float32, copy=True)
    changes = precision.new_empty(most, 2, len(a))  # P̂ and W of every choice
    order = [0]
    while len(order) < most:
        t, s = len(order) - 1, order[-1]
        g, c_s = 1.0 / float(precision[s]), float(c[s])
        if not g > 0.0:
            break
        p, q = column(s)
        if t:
            past = changes[:t]
            at_s = past[:, :, s]
            p = torch.addmv(p, past[:, 0].T, at_s[:, 0], alpha=-1.0)
            q = torch.addmv(q, past.view(2 * t, -1).T, at_s.flip(1).flatten(), alpha=-1.0)
        p_hat, w = changes[t]
        torch.mul(p, g**0.5, out=p_hat)
        torch.sub(q, p, alpha=0.5 * g * c_s, out=w).mul_(g**0.5)
        precision.addcmul_(p_hat, p_hat, value=-1.0)
        c.addcmul_(p_hat, w, value=-2.0)
        precision[s] = torch.inf  # chosen: its score is zero from now on
        best, i = (c / precision).max(dim=0)
        if not float(best) > 0.0:
            break
        order.append(int(i))
    return order
