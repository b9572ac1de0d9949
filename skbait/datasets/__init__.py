# SPDX-License-Identifier: BSD-3-Clause
"""Loaders of the data that the examples use."""

from skbait.datasets._cifar10 import fetch_cifar10
from skbait.datasets._cifar10_features import fetch_cifar10_features

__all__ = ["fetch_cifar10", "fetch_cifar10_features"]
