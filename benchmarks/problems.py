# SPDX-License-Identifier: BSD-3-Clause
"""Selection problems of a given size, with the spectrum and the mean of real network features."""

from __future__ import annotations

import torch


def make_problem(n_pool, n_features, n_classes, n_labeled, *, seed=0, dtype=torch.float32):
    """Features and probabilities of a pool and of labelled rows.

    Clusters, one a class, in D dimensions whose variances fall as those of network features do
    (eigenvalue j of the covariance falls as j^-1.4), a mean of about the length of the spread,
    norms near 1, and the probabilities of a linear head whose logits have standard deviation 4.

    Returns
    -------
    tuple of torch.Tensor
        Pool features (N, D), pool probabilities (N, K), labelled features (L, D) and
        probabilities (L, K).
    """
    generator = torch.Generator().manual_seed(seed)
    spread = torch.arange(1, n_features + 1).float() ** -0.7
    centres = torch.randn(n_classes, n_features, generator=generator) * spread
    n = n_pool + n_labeled
    classes = torch.randint(n_classes, (n,), generator=generator)
    h = centres[classes] + torch.randn(n, n_features, generator=generator) * spread
    mean = torch.randn(n_features, generator=generator) * spread
    h = h / spread.norm() + 1.5 * mean / mean.norm()
    logits = (h - h.mean(0)) @ centres.T
    p = torch.softmax(4.0 * (logits / logits.std()).double(), dim=1)
    h, p = h.to(dtype), p.to(dtype)
    return h[:n_pool], p[:n_pool], h[n_pool:], p[n_pool:]
