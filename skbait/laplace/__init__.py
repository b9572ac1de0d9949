# SPDX-License-Identifier: BSD-3-Clause
"""The Laplace posterior of a last linear layer, its closed-form updates, and its classifier."""

from skbait.laplace.classifier import LaplaceClassifier
from skbait.laplace.posterior import sample_heads
from skbait.laplace.temperature import TemperatureClassifier

__all__ = ["LaplaceClassifier", "TemperatureClassifier", "sample_heads"]
