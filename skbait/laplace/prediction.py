# SPDX-License-Identifier: BSD-3-Clause
"""Predictions of a posterior: at the mean, by the mean field, or by Monte Carlo."""

from __future__ import annotations

import math

import torch

from skbait._backend import EXACT
from skbait.laplace.likelihood import class_probabilities
from skbait.laplace.posterior import Posterior, row_chunks

MEAN_FIELD_FACTOR = math.pi / 8
"""f in the mean field: with it a probit curve has the slope of the logistic one at zero."""


def mean_field_logits(
    posterior: Posterior, features: torch.Tensor, *, factor: float = MEAN_FIELD_FACTOR
) -> torch.Tensor:
    """Return the logits (N, K), each divided by the root of 1 + f times its variance.

    Under a full covariance and a softmax these are logits less their mean over the classes: what
    all have in common, of which the rows tell nothing, would flatten the probabilities.

    Parameters
    ----------
    posterior : Posterior
        The posterior.
    features : torch.Tensor of shape (N, D)
        The rows.
    factor : float, default=π/8
        f; 0 gives the logits at the mean.
    """
    logits = torch.empty((len(features), posterior.n_classes), dtype=EXACT, device=features.device)
    own = posterior.own_covariances() if factor else ()
    for chunk in row_chunks(features, 3 * posterior.width):
        rows = posterior.rows(features[chunk])
        found = rows @ posterior.mean.T
        if factor:
            if posterior.contrasts:
                found -= found.mean(dim=1, keepdim=True)
            variances = torch.stack([((rows @ each) * rows).sum(dim=1) for each in own], dim=1)
            found /= torch.sqrt(1 + factor * variances)
        logits[chunk] = found
    return logits


def monte_carlo_probabilities(
    posterior: Posterior, features: torch.Tensor, *, n_samples: int, generator: torch.Generator
) -> torch.Tensor:
    """Return the mean of the probabilities (N, K) under heads drawn from the posterior.

    All rows see the same heads, so that the result does not depend on how they are batched.

    Parameters
    ----------
    posterior : Posterior
        The posterior.
    features : torch.Tensor of shape (N, D)
        The rows.
    n_samples : int
        How many heads.
    generator : torch.Generator
        Where the randomness comes from.
    """
    heads = posterior.sample(n_samples, generator)  # (S, K, P)
    mean = torch.empty((len(features), posterior.n_classes), dtype=EXACT, device=features.device)
    for chunk in row_chunks(features, posterior.width + 4 * n_samples * posterior.n_classes):
        logits = posterior.rows(features[chunk]) @ heads.flatten(0, 1).T  # (n, S·K)
        each = class_probabilities(logits.unflatten(1, heads.shape[:2]), posterior.link)
        mean[chunk] = each.mean(dim=1)
    return mean
