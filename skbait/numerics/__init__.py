# SPDX-License-Identifier: BSD-3-Clause
"""Numerics that strategies share: torch tensors in and out, no model and no scikit-learn."""
