# SPDX-License-Identifier: BSD-3-Clause
"""Closed-form updates of a posterior with new labelled rows."""

from __future__ import annotations

from dataclasses import replace

import torch

from skbait._backend import EXACT
from skbait.laplace.likelihood import response
from skbait.laplace.posterior import Posterior, inverse

# Logits of new rows (rows, times classes where the covariance is full) that are worked on
# together: the matrices of one block have this many columns.
_BLOCK = 128


def second_order(posterior: Posterior, features, targets, step: float, weights=None) -> Posterior:
    """Update mean and covariance with each row in turn.

    Σ ← Σ - Σ Jᵀ Aᵀ (I + A J Σ Jᵀ Aᵀ)⁻¹ A J Σ, then μ ← μ + step · Σ Jᵀ (y - r), where weights (n,)
    multiply AᵀA and y - r of each row.
    """
    weights = _ones_or(weights, len(features))
    for chunk in _blocks(len(features), posterior.blocks):
        rows = posterior.rows(features[chunk])
        posterior = _in_turn(posterior, rows, targets[chunk], step, weights[chunk])
    return posterior


def first_order(posterior: Posterior, features, targets, step: float, weights=None) -> Posterior:
    """Move the mean along the gradient of each row in turn: μ_k ← μ_k + step · (y_k - r_k) h."""
    mean = posterior.mean.clone()
    weights = _ones_or(weights, len(features)).tolist()
    for row, target, weight in zip(posterior.rows(features), targets, weights, strict=True):
        residual = target - response(mean @ row, posterior.link)
        mean.addr_(residual, row, alpha=step * weight)
    return replace(posterior, mean=mean)


def _ones_or(weights, n_rows) -> torch.Tensor:
    """Weights (n,) on the host."""
    return torch.ones(n_rows, dtype=EXACT) if weights is None else weights.to("cpu", EXACT)


def _blocks(n_rows, classes):
    size = max(1, _BLOCK // classes)
    return [slice(start, start + size) for start in range(0, n_rows, size)]


def _in_turn(posterior, rows, targets, step, weights):
    """One block of `second_order`.

    All that the rows need of Σ is J Σ, their own image. What changes in Σ and μ by any of them
    is a small matrix times that, so that the rows are gone through in turn on matrices of their
    own number, and Σ is read once and written once.
    """
    n, b, c = len(rows), posterior.blocks, posterior.copies
    image = images(posterior, rows)  # (n·b, b·P): J Σ
    logits = rows @ posterior.mean.T  # (n, K)
    # On the host: many steps with small matrices. Above, what the rows see of Σ, and their
    # logits; below, the present J Σ and μ in terms of `image`.
    sigma = torch.cat([project(posterior, rows, image).cpu(), torch.eye(n * b, dtype=EXACT)])
    move = torch.cat([logits.cpu().reshape(n * b, c), torch.zeros(n * b, c, dtype=EXACT)])
    go_through = _steps if b > 1 else _steps_of_scalars
    removed, roots = go_through(posterior, sigma, move, targets.cpu(), step, weights)
    device = image.device
    mean = (move[n * b :].T.to(device) @ image).reshape(posterior.mean.shape)
    moved = replace(posterior, mean=posterior.mean + mean)
    return absorb(moved, rows, roots.to(device), removed.to(device) @ image)


def _steps(posterior, sigma, move, targets, step, weights):
    """Go through the rows of `_in_turn`; `sigma` and `move` are written to.

    Returns R (n·b, n·b), of which R times the image is a root of what is removed from Σ, and the
    roots of curvature (n, b, b).
    """
    n, b, c = len(targets), posterior.blocks, posterior.copies
    removed, roots = [], []
    for i in range(n):
        own = slice(i * b, (i + 1) * b)
        # of the logits of this row after the rows before it
        r = response(move[own].reshape(1, -1), posterior.link)  # (1, K)
        root = posterior.roots(r)[0] * weights[i].sqrt()  # (b, b)
        part = sigma[:, own] @ root.T  # (2·n·b, b)
        gram = root @ part[own]
        gram.diagonal().add_(1.0)
        lower = torch.linalg.cholesky_ex(gram).L
        part = torch.linalg.solve_triangular(lower.T, part, upper=True, left=False)
        sigma.addmm_(part, part[: n * b].T, alpha=-1)
        residual = (targets[i] - r).reshape(b, c)
        move.addmm_(sigma[:, own], residual, alpha=step * float(weights[i]))
        removed.append(part[n * b :].T)
        roots.append(root)
    return torch.cat(removed), torch.stack(roots)


def _steps_of_scalars(posterior, sigma, move, targets, step, weights):
    """Do what `_steps` does where b = 1 and every root is a number, with fewer operations."""
    n = len(targets)
    removed, roots = [], []
    for i in range(n):
        r = response(move[i : i + 1], posterior.link)  # (1, K)
        weight = float(weights[i])
        root = float(posterior.roots(r)) * weight**0.5
        column = sigma[:, i].clone()  # (2·n,)
        share = 1 + root**2 * float(column[i])
        sigma.addr_(column, column[:n], alpha=-(root**2) / share)
        move.addr_(column, (targets[i] - r)[0], alpha=step * weight / share)
        removed.append(column[n:] * (root / share**0.5))
        roots.append(root)
    return torch.stack(removed), torch.tensor(roots, dtype=EXACT)[:, None, None]


def images(posterior, rows):
    """Return J Σ of rows (n, P): (n·b, b·P), the blocks of a row after each other."""
    b, p = posterior.blocks, posterior.width
    if b == 1:
        return rows @ posterior.covariance
    image = rows @ posterior.covariance.view(b, p, b * p)  # (b, n, b·P)
    return image.transpose(0, 1).reshape(-1, b * p)


def project(posterior, rows, image):
    """Return a matrix of b·P columns times Jᵀ: (m, n·b)."""
    b, p = posterior.blocks, posterior.width
    return (image.view(-1, b, p) @ rows.T).transpose(1, 2).reshape(len(image), -1)


def absorb(posterior, rows, roots, removed=None):
    """Return the posterior with rows taken into precision and covariance.

    `removed` (m, b·P) is a root of what they take from Σ. Without it, and once as many were taken
    as Σ has columns, Σ is computed from the precision afresh, so that rounding does not add up.
    """
    precision = posterior.added(posterior.precision, rows, roots)
    downdates = len(precision) if removed is None else posterior.downdates + len(removed)
    if downdates < len(precision):
        covariance = torch.addmm(posterior.covariance, removed.T, removed, alpha=-1)
    else:
        covariance, downdates = inverse(precision), 0
    return replace(posterior, precision=precision, covariance=covariance, downdates=downdates)
