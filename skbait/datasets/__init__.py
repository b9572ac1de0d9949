# SPDX-License-Identifier: BSD-3-Clause
"""Loaders of the data that the examples use."""

from skbait.datasets._cifar10 import fetch_cifar10

__all__ = ["fetch_cifar10"]
