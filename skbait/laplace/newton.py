# SPDX-License-Identifier: BSD-3-Clause
"""The mode of a Gaussian prior times the likelihood of new rows, by Newton's method."""

from __future__ import annotations

from dataclasses import replace

import torch

from skbait.laplace.likelihood import curvature_times, loss, response
from skbait.laplace.posterior import Posterior
from skbait.laplace.updates import absorb, images, project

# Both are relative to the size of the solution.
_STEP_TOLERANCE = 1e-11
_CG_TOLERANCE = 1e-12
_CG_STEPS = 1000


def newton(posterior: Posterior, features, targets, n_newton: int, weights=None) -> Posterior:
    """Move the mean to the most probable weights, and add the curvature there to the precision.

    Minimises ``(w - μ)ᵀ Λ (w - μ) / 2 - log p(y | w)``. In coordinates x in which the prior is
    N(0, I) that is ``‖x‖² / 2 + loss(z + G x)``, z the logits of the rows at μ, with the Hessian
    ``I + Gᵀ W G``.

    Parameters
    ----------
    posterior : Posterior
        The prior N(μ, Λ⁻¹).
    features : torch.Tensor of shape (n, D)
        The new rows.
    targets : torch.Tensor of shape (n, K)
        Their one-hot labels.
    n_newton : int
        Most Newton steps; fewer where they have become as small as rounding.
    weights : torch.Tensor of shape (n,) or None, default=None
        How often each row counts; None: once.

    Returns
    -------
    Posterior
        The Laplace posterior of old and new rows.
    """
    rows = posterior.rows(features)
    weights = rows.new_ones(len(rows)) if weights is None else weights.to(rows)
    few = len(rows) < posterior.width
    if few:
        image = images(posterior, rows)  # (n·b, b·P): J Σ
        seen = project(posterior, rows, image)  # (n·b, n·b): J Σ Jᵀ
        basis, gains, squares = _coordinates_of_rows(image, seen)
    else:
        basis, gains, squares = _coordinates_of_weights(posterior, rows)
    start = rows @ posterior.mean.T  # (n, K)
    copies = posterior.copies
    x = _minimise(start, gains, squares, targets, weights, posterior.link, copies, n_newton)
    moved = replace(posterior, mean=posterior.mean + (x.T @ basis).reshape(posterior.mean.shape))
    roots = moved.roots(response(rows @ moved.mean.T, posterior.link))  # (n, b, b)
    roots = roots * weights.sqrt()[:, None, None]
    return absorb(moved, rows, roots, _removed(roots, image, seen) if few else None)


# Coordinates x with the prior N(0, I): B (q, b·P), G (n·b, q) and the diagonal of GᵀG (q,), with
# w = μ + Bᵀ x and G = J Bᵀ. GᵀG is diagonal, which makes it easy to precondition.


def _coordinates_of_rows(image, seen):
    """Return B, G, diag(GᵀG) with as many coordinates as the rows have logits.

    A direction of the weights that the rows do not see stays at its mean.
    J Σ Jᵀ = E diag(s) Eᵀ, B = s^-1/2 Eᵀ J Σ.
    """
    squares, vectors = torch.linalg.eigh(seen)
    kept = squares > squares[-1].clamp_min(0) * len(squares) * torch.finfo(seen.dtype).eps
    squares, vectors = squares[kept], vectors[:, kept]
    scale = squares.sqrt()
    return (vectors / scale).T @ image, vectors * scale, squares


def _coordinates_of_weights(posterior, rows):
    """Return B, G, diag(GᵀG) with as many coordinates as weights.

    Σ = L Lᵀ, Lᵀ JᵀJ L = E diag(s) Eᵀ, B = Eᵀ Lᵀ.
    """
    root = torch.linalg.cholesky(posterior.covariance)
    gains = project(posterior, rows, root.T.contiguous()).T  # (n·b, b·P)
    squares, vectors = torch.linalg.eigh(gains.T @ gains)
    return (root @ vectors).T, gains @ vectors, squares.clamp_min(0)


def _minimise(start, gains, squares, targets, weights, link, copies, n_newton):
    """Return the x (q, copies) of the smallest ‖x‖²/2 + loss(start + G x), by damped Newton."""
    shape = start.shape
    each = weights[:, None]

    def objective(x, z):
        return 0.5 * x.square().sum() + weights @ loss(z, targets, link)

    x = torch.zeros(gains.shape[1], copies, dtype=gains.dtype, device=gains.device)
    if not x.numel():  # rows that tell nothing of the weights
        return x
    z = start
    value = objective(x, z)
    for _ in range(n_newton):
        r = response(z, link)
        gradient = x - gains.T @ (each * (targets - r)).reshape(-1, copies)

        def hessian(v, r=r):
            curved = each * curvature_times(r, (gains @ v).reshape(shape), link)
            return v + gains.T @ curved.reshape(-1, copies)

        typical = (each * r * (1 - r)).mean()
        step = _conjugate_gradients(hessian, -gradient, 1 / (1 + typical * squares[:, None]))
        z_step = (gains @ step).reshape(shape)
        slope = float((gradient * step).sum())
        length = 1.0
        while True:
            after = objective(x + length * step, z + length * z_step)
            if after <= value + 1e-4 * length * slope + 1e-13 * value.abs() or length < 1e-8:
                break
            length *= 0.5
        x, z, value = x + length * step, z + length * z_step, after
        if float(step.abs().max()) <= _STEP_TOLERANCE * (1 + float(x.abs().max())):
            break
    return x


def _conjugate_gradients(product, right, preconditioner):
    """Solve a symmetric positive definite system, of which the product with a matrix is known."""
    x = torch.zeros_like(right)
    residual = right
    direction = preconditioner * residual
    rho = float((residual * direction).sum())
    # roughly while the gradient is large: Newton's steps are rough then, too
    enough = rho * min(1e-2, max(_CG_TOLERANCE, rho**0.5)) ** 2
    for _ in range(min(_CG_STEPS, 2 * right.numel())):
        if rho <= enough:
            break
        image = product(direction)
        alpha = rho / float((direction * image).sum())
        x = x + alpha * direction
        residual = residual - alpha * image
        scaled = preconditioner * residual
        rho, before = float((residual * scaled).sum()), rho
        direction = scaled + (rho / before) * direction
    return x


def _removed(roots, image, seen):
    """Return a root of what rows with these roots of curvature take from Σ: (n·b, b·P).

    Σ Jᵀ Aᵀ (I + A J Σ Jᵀ Aᵀ)⁻¹ A J Σ, with A block diagonal.
    """
    n, b, _ = roots.shape
    scaled = (roots @ image.view(n, b, -1)).reshape(n * b, -1)  # A J Σ
    half = (roots @ seen.view(n, b, -1)).reshape(n * b, n, b)  # A J Σ Jᵀ
    gram = torch.einsum("mjl,jkl->mjk", half, roots).reshape(n * b, n * b)
    gram = (gram + gram.T) * 0.5
    gram.diagonal().add_(1.0)
    return torch.linalg.solve_triangular(torch.linalg.cholesky(gram), scaled, upper=False)
