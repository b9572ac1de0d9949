# SPDX-License-Identifier: BSD-3-Clause
"""Temperature scaling: how far confidence is from accuracy, and the divisor that mends it."""

from __future__ import annotations

import torch

from skbait._backend import EXACT

# Errors that agree to this are equal: they are means of numbers between 0 and 1.
TIE = 1e-12


def expected_calibration_error(
    logits: torch.Tensor, labels: torch.Tensor, n_bins: int = 15
) -> float:
    """Return the expected calibration error of softmax probabilities.

    Parameters
    ----------
    logits : torch.Tensor of shape (L, K)
        Logits of L >= 1 rows.
    labels : torch.Tensor of shape (L,), int64
        Their classes, 0 to K - 1.
    n_bins : int, default=15
        Number of bins of equal width for the confidence.

    Returns
    -------
    float
        ``Σ_b (n_b / L) |accuracy_b - confidence_b|`` over the bins b of rows by their largest
        probability, from 0 to 1. A confidence on the edge of two bins belongs to the lower one.

    References
    ----------
    .. [1] M. Pakdaman Naeini, G. Cooper, M. Hauskrecht. Obtaining Well Calibrated Probabilities
       Using Bayesian Binning. AAAI 2015.
    """
    confidence, predicted = torch.softmax(logits.to(EXACT), dim=1).max(dim=1)  # (L,)
    bins = (confidence * n_bins).ceil().to(torch.int64).sub_(1).clamp_(0, n_bins - 1)
    gap = (predicted == labels).to(EXACT) - confidence  # (L,)
    gaps = gap.new_zeros(n_bins).index_add_(0, bins, gap)
    return float(gaps.abs().sum() / len(gap))


def best_temperature(
    logits: torch.Tensor, labels: torch.Tensor, temperatures, n_bins: int = 15
) -> float:
    """Return the temperature by which logits are calibrated best.

    Parameters
    ----------
    logits : torch.Tensor of shape (L, K)
        Logits of rows that the model was not trained on.
    labels : torch.Tensor of shape (L,), int64
        Their classes, 0 to K - 1.
    temperatures : iterable of float
        Those to try, all positive.
    n_bins : int, default=15
        Number of bins of the expected calibration error.

    Returns
    -------
    float
        The temperature T for which ``logits / T`` has the least expected calibration error; the
        first of those that are equally good.
    """
    temperatures = [float(temperature) for temperature in temperatures]
    errors = [expected_calibration_error(logits / t, labels, n_bins) for t in temperatures]
    least = min(errors)
    return next(t for t, e in zip(temperatures, errors, strict=True) if e <= least + TIE)
