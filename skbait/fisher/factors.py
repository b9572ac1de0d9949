# SPDX-License-Identifier: BSD-3-Clause
"""Factors of the Fisher information of one row, for the three variants of BAIT.

The Fisher information of the last layer at a row with features h (D,) and class probabilities
p (K,) is ``I(x) = (diag(p) - p pᵀ) ⊗ h hᵀ = Vᵀ V`` with ``V = A ⊗ hᵀ``. This module makes the
small matrix A; h is never touched, and V is never formed.

Two exact savings over the textbook factor:

* The gradient e_y - p of every class sums to zero over the classes, so A lives in the K - 1
  dimensions orthogonal to the vector of ones. A is returned in an orthonormal basis of that space
  (`contrast_basis`): Q = K - 1 columns instead of K. Traces and eigenvalues are unchanged.
* diag(p) - p pᵀ has rank K - 1, so the exact variant needs K - 1 rows, not K: its Cholesky
  factor is known in closed form (Tanabe and Sagae, 1992).
"""

from __future__ import annotations

from functools import lru_cache

import torch

from skbait._backend import EXACT

VARIANTS = ("exp", "exact", "binary")


@lru_cache(maxsize=8)
def contrast_basis(n_classes: int, device: torch.device) -> torch.Tensor:
    """Orthonormal basis of the vectors in R^K that sum to zero (Helmert contrasts).

    Parameters
    ----------
    n_classes : int
        Number of classes K, at least 2.
    device : torch.device
        Where the basis is.

    Returns
    -------
    torch.Tensor of shape (K, K - 1), float64
        Column j is (1, ..., 1, -(j + 1), 0, ..., 0) over its norm. It is shared: do not write
        to it.
    """
    j = torch.arange(1, n_classes, dtype=EXACT, device=device)  # (K-1,)
    ones = torch.ones(n_classes, n_classes - 1, dtype=EXACT, device=device)
    basis = torch.triu(ones)
    basis[torch.arange(1, n_classes), torch.arange(n_classes - 1)] = -j
    return basis / torch.sqrt(j * (j + 1))


def exact_factor(probabilities: torch.Tensor) -> torch.Tensor:
    """Factor of the whole Fisher information: ``AᵀA = diag(p) - p pᵀ``.

    With the classes sorted by rising probability and the tail sums q_j = p_{j+1} + ... + p_K,
    row j of A is ``sqrt(p_j q_j / q_{j-1}) (e_j - sum_{i>j} (p_i / q_j) e_i)``. Because the
    largest probability comes last, q_j >= 1/K and no division is unsafe.

    Parameters
    ----------
    probabilities : torch.Tensor of shape (N, K)
        Class probabilities.

    Returns
    -------
    torch.Tensor of shape (N, K - 1, K - 1), float64
        A in the contrast basis.
    """
    p, order = _normalised(probabilities).sort(dim=1, stable=True)
    n_classes = p.shape[1]
    tail = p.flip(1).cumsum(1).flip(1)  # (N, K): tail[:, j] = p_j + ... + p_K = q_{j-1}
    q = tail[:, 1:]  # (N, K-1)
    scale = torch.sqrt(p[:, :-1] * q / tail[:, :-1])  # (N, K-1)
    rows = -(p[:, None, :] / q[:, :, None])  # (N, K-1, K)
    rows = torch.triu(rows, diagonal=1)
    rows.diagonal(dim1=1, dim2=2).fill_(1.0)
    rows = rows * scale[:, :, None]
    # Undo the sort of the classes by taking the rows of the basis in sorted order.
    basis = contrast_basis(n_classes, p.device)[order]  # (N, K, K-1)
    return rows @ basis


def exp_factor(probabilities: torch.Tensor, top_c: int) -> torch.Tensor:
    """Factor with the expectation over the `top_c` most probable classes only (BAIT Exp).

    Row i of A is ``sqrt(p̃_y) (e_y - p)`` for the i-th most probable class y; p̃ is p renormalised
    over those classes, while e_y - p keeps the whole p (arXiv 2404.08981). With `top_c` = K this
    is the exact Fisher information, and its smaller factor is returned.

    Parameters
    ----------
    probabilities : torch.Tensor of shape (N, K)
        Class probabilities.
    top_c : int
        Number of classes c, 1 <= c <= K.

    Returns
    -------
    torch.Tensor of shape (N, min(c, K - 1), K - 1), float64
        A in the contrast basis.

    Notes
    -----
    Where the top classes have nearly all probability, the rows are nearly collinear: the second
    of two is nearly minus the first. They are rotated into orthogonal ones, which changes neither
    AᵀA nor any score, so that the small direction keeps its own digits in float32.
    """
    p = _normalised(probabilities)
    n_classes = p.shape[1]
    if top_c >= n_classes:
        return exact_factor(p)
    # stable: among equal probabilities the class that comes first
    top, classes = p.sort(dim=1, descending=True, stable=True)
    top, classes = top[:, :top_c], classes[:, :top_c]
    weight = torch.sqrt(top / top.sum(dim=1, keepdim=True))  # (N, c)
    basis = contrast_basis(n_classes, p.device)  # (K, K-1)
    # 1 - p_y as the sum of the others keeps its digits where p_y is close to 1
    others = p[:, None, :].repeat(1, top_c, 1).scatter_(2, classes[:, :, None], 0.0)
    gradient = (-others).scatter_(2, classes[:, :, None], others.sum(dim=2, keepdim=True))
    return _orthogonal_rows((weight[:, :, None] * gradient) @ basis)


def binary_factor(probabilities: torch.Tensor) -> torch.Tensor:
    """Factor of the Fisher information of "is the prediction right?" (BAIT Binary).

    A is the scalar ``sqrt(p̂ (1 - p̂))``, p̂ = max p. The published code carries two rows,
    (1 - p̂) sqrt(p̂) h and -p̂ sqrt(1 - p̂) h; they are collinear and rank one is exact.

    Parameters
    ----------
    probabilities : torch.Tensor of shape (N, K)
        Class probabilities.

    Returns
    -------
    torch.Tensor of shape (N, 1, 1), float64
        A.
    """
    p = _normalised(probabilities)
    top, where = p.max(dim=1)
    # 1 - p̂ as the sum of the other probabilities keeps the digits where p̂ is close to 1
    rest = p.scatter(1, where[:, None], 0.0).sum(dim=1)
    return torch.sqrt(top * rest)[:, None, None]


def factor(probabilities: torch.Tensor, variant: str, top_c: int) -> torch.Tensor:
    """Factor A of one of `VARIANTS`.

    Parameters
    ----------
    probabilities : torch.Tensor of shape (N, K)
        Class probabilities.
    variant : {"exp", "exact", "binary"}
        Which Fisher information.
    top_c : int
        Number of classes c of ``variant="exp"``, 1 <= c <= K.

    Returns
    -------
    torch.Tensor of shape (N, r, Q), float64
        A.

    Raises
    ------
    ValueError
        If `variant` is unknown.
    """
    if variant == "exact":
        return exact_factor(probabilities)
    if variant == "exp":
        return exp_factor(probabilities, top_c)
    if variant == "binary":
        return binary_factor(probabilities)
    raise ValueError(f"variant={variant!r} is unknown; choose one of {', '.join(VARIANTS)}.")


def n_parameters(variant: str, n_features: int, n_classes: int) -> int:
    """Number P of last-layer parameters whose Fisher information a variant measures.

    Parameters
    ----------
    variant : {"exp", "exact", "binary"}
        Which Fisher information.
    n_features : int
        D.
    n_classes : int
        K.

    Returns
    -------
    int
        D for "binary", else D·K.
    """
    return n_features if variant == "binary" else n_features * n_classes


def _orthogonal_rows(a: torch.Tensor) -> torch.Tensor:
    """Rotate the rows of every A, (N, r, Q), so that A Aᵀ is diagonal."""
    rank = a.shape[1]
    if rank == 1:
        return a
    gram = torch.bmm(a, a.mT)
    if rank == 2:  # one Jacobi rotation
        angle = 0.5 * torch.atan2(2.0 * gram[:, 0, 1], gram[:, 0, 0] - gram[:, 1, 1])
        cos, sin = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
        first, second = a[:, 0], a[:, 1]
        return torch.stack([cos * first + sin * second, cos * second - sin * first], dim=1)
    return torch.bmm(torch.linalg.eigh(gram).eigenvectors.mT, a)


def _normalised(probabilities: torch.Tensor) -> torch.Tensor:
    p = probabilities.to(EXACT).clamp_min(0.0)
    return p / p.sum(dim=1, keepdim=True)
