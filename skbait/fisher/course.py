# SPDX-License-Identifier: BSD-3-Clause
"""Many choices in one go: what a foreseen sequence of rows does to the scores of all others.

Let rows B = (s_1, ..., s_k) of rank one be chosen in this order, U = M⁻¹ V_Bᵀ, Z = M⁻¹FM⁻¹ V_Bᵀ,
Π = V_B U and Γ = V_B Z, all before the first of them. With the Cholesky factor I + Π = L Lᵀ, whose
leading blocks are those of every shorter sequence,

    Û = U L⁻ᵀ,    Γ̂ = L⁻¹ Γ L⁻ᵀ,    Ŵ = Z L⁻ᵀ - Û (Γ̂ above the diagonal + Γ̂/2 on it),

the choices change M⁻¹ and M⁻¹FM⁻¹ one after the other by

    M⁻¹ ← M⁻¹ - û_j û_jᵀ,    M⁻¹FM⁻¹ ← M⁻¹FM⁻¹ - û_j ŵ_jᵀ - ŵ_j û_jᵀ,    j = 1, ..., k,

and so the blocks of every row, with P̂ = V Û and Ŵ_x = V_x Ŵ, by

    a_x ← a_x - P̂_xj²,    c_x ← c_x - 2 P̂_xj Ŵ_xj.

Γ̂_jj and L_jj² are the exact gain and the exact 1 + a of s_j at the moment of its choice. So one
product of the features with 2·k columns serves k choices. What remains is to see from which step
on a row outside the sequence comes near or before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from skbait.fisher.linalg import invert_triangle


@dataclass(frozen=True)
class Course:
    """A sequence of choices of rank one, and how each of them changes M⁻¹ and M⁻¹FM⁻¹.

    Attributes
    ----------
    u, w : torch.Tensor of shape (P, k), float64
        Û and Ŵ.
    gains : list of k floats
        Exact gain Γ̂_jj of every row of the sequence when its turn comes.
    precisions : list of k floats
        1 + a_s = L_jj² of them then.
    """

    u: torch.Tensor
    w: torch.Tensor
    gains: list[float]
    precisions: list[float]

    def __len__(self) -> int:
        return len(self.gains)


def course(v: torch.Tensor, u: torch.Tensor, z: torch.Tensor) -> Course:
    """Work out a sequence of choices of rank one.

    Parameters
    ----------
    v, u, z : torch.Tensor of shape (P, k), float64
        V_Bᵀ, U and Z of the sequence, in its order.

    Returns
    -------
    Course
        Of the whole sequence, or of that part for which rounding left I + Π positive definite.
    """
    # small matrices are quicker on the CPU than launches on a GPU
    pi, gamma = (v.T @ u).cpu(), (v.T @ z).cpu()
    pi.diagonal().add_(1.0)
    root, info = torch.linalg.cholesky_ex(pi)
    k = len(pi) if int(info) == 0 else max(1, int(info) - 1)
    half = invert_triangle(root[:k, :k]).T  # L⁻ᵀ
    inner = half.T @ gamma[:k, :k] @ half  # Γ̂
    gains = inner.diagonal()
    upper = torch.triu(inner, 1) + 0.5 * torch.diag(gains)
    precisions = root[:k, :k].diagonal().square()
    half, upper = half.to(u), upper.to(u)
    u_hat = u[:, :k] @ half
    w_hat = torch.addmm(z[:, :k] @ half, u_hat, upper, alpha=-1.0)
    return Course(u_hat, w_hat, gains.tolist(), precisions.tolist())


def play(
    products: torch.Tensor,
    blocks: torch.Tensor,
    threshold: torch.Tensor,
    lost: torch.Tensor,
    out: torch.Tensor,
) -> torch.Tensor:
    """Blocks of some rows after every choice of a course, and where a score is high.

    Parameters
    ----------
    products : torch.Tensor of shape (n, 2, k)
        P̂ and 2 Ŵ of n rows; overwritten.
    blocks : torch.Tensor of shape (n, 2)
        Their a and c before the first choice.
    threshold : torch.Tensor of shape (k - 1,)
        A score t after each choice but the last.
    lost : torch.Tensor of shape (n,)
        How much rounding may have taken from c - t·a of each row.
    out : torch.Tensor of shape (n, 2, k)
        Filled with a and c after each choice.

    Returns
    -------
    torch.Tensor of shape (number, 2), int64
        Row and choice, wherever the score of a row after a choice may not be below the threshold.
    """
    products[:, 1] *= products[:, 0]
    products[:, 0].square_()
    torch.sub(blocks[:, :, None], torch.cumsum(products, dim=2, out=out), out=out)
    a, c = out[:, 0, :-1], out[:, 1, :-1]
    above = torch.addcmul(c, a, threshold, value=-1.0).add_(lost[:, None])
    return (above >= threshold).nonzero()  # c / (1 + a) >= t
