# SPDX-License-Identifier: BSD-3-Clause
"""Small symmetric matrices, safely: Cholesky with diagnosis and jitter where it is needed."""

from __future__ import annotations

import warnings

import torch


class NotPositiveDefiniteError(ArithmeticError):
    """A matrix that must be positive definite is not, even with the largest jitter tried."""


def symmetrise(matrix: torch.Tensor) -> torch.Tensor:
    """Return (M + Mᵀ) / 2 of a matrix or a batch of matrices.

    Parameters
    ----------
    matrix : torch.Tensor of shape (..., P, P)
        M.

    Returns
    -------
    torch.Tensor of shape (..., P, P)
        Symmetric matrices, in the dtype of M.
    """
    return (matrix + matrix.mT) * 0.5


def cholesky(matrix: torch.Tensor, *, name: str = "matrix") -> torch.Tensor:
    """Lower Cholesky factor of a symmetric matrix; jitter only where the plain one fails.

    Parameters
    ----------
    matrix : torch.Tensor of shape (..., P, P)
        Symmetric positive definite, up to rounding.
    name : str
        What the matrix is, for messages.

    Returns
    -------
    torch.Tensor of shape (..., P, P)
        Lower triangular factor.

    Raises
    ------
    NotPositiveDefiniteError
        If the matrix holds NaN or inf, or stays indefinite with a jitter of 1e-4 of its mean
        diagonal.

    Warns
    -----
    RuntimeWarning
        If a jitter was added.
    """
    root, info = torch.linalg.cholesky_ex(matrix)
    if not bool(info.any()):
        return root
    if not bool(torch.isfinite(matrix).all()):
        raise NotPositiveDefiniteError(
            f"the {name} holds NaN or infinite numbers; features or probabilities overflowed. "
            "Scale the features down."
        )
    scale = matrix.diagonal(dim1=-2, dim2=-1).mean(-1).abs()[..., None]
    for exponent in range(12, 3, -2):
        jitter = 10.0**-exponent
        shifted = matrix.clone()
        shifted.diagonal(dim1=-2, dim2=-1).add_(jitter * scale)
        root, info = torch.linalg.cholesky_ex(shifted)
        if not bool(info.any()):
            warnings.warn(
                f"the {name} was not positive definite; added {jitter:.0e} of its mean diagonal. "
                "A larger regularization avoids this.",
                RuntimeWarning,
                stacklevel=2,
            )
            return root
    raise NotPositiveDefiniteError(
        f"the {name} is not positive definite even with a jitter of 1e-4 of its mean diagonal; "
        "choose a larger regularization."
    )


def semidefinite_root(matrix: torch.Tensor) -> torch.Tensor:
    """Lower triangular L with L Lᵀ = M; M may be singular.

    Parameters
    ----------
    matrix : torch.Tensor of shape (P, P)
        Symmetric positive semidefinite M, up to rounding.

    Returns
    -------
    torch.Tensor of shape (P, P)
        L; what rounding made negative counts as zero.
    """
    root, info = torch.linalg.cholesky_ex(matrix)
    if not bool(info):
        return root
    values, vectors = torch.linalg.eigh(matrix)
    root = vectors * values.clamp_min(0.0).sqrt()
    return torch.linalg.qr(root.T)[1].T


def inverse(matrix: torch.Tensor, *, name: str = "matrix") -> torch.Tensor:
    """Inverse of a symmetric positive definite matrix, by Cholesky, exactly symmetric.

    Parameters
    ----------
    matrix : torch.Tensor of shape (P, P)
        Symmetric positive definite, up to rounding: see `cholesky`.
    name : str
        What the matrix is, for messages.

    Returns
    -------
    torch.Tensor of shape (P, P)
        Inverse, in the dtype of the matrix.
    """
    if len(matrix) == 1 and float(matrix) > 0.0:
        return 1.0 / matrix
    return symmetrise(torch.cholesky_inverse(cholesky(matrix, name=name)))


def invert_triangle(root: torch.Tensor) -> torch.Tensor:
    """Inverse of a lower triangular matrix.

    Parameters
    ----------
    root : torch.Tensor of shape (P, P)
        Lower triangular.

    Returns
    -------
    torch.Tensor of shape (P, P)
        Lower triangular inverse, in the dtype of the matrix.
    """
    eye = torch.eye(len(root), dtype=root.dtype, device=root.device)
    return torch.linalg.solve_triangular(root, eye, upper=False)
