# SPDX-License-Identifier: BSD-3-Clause
"""Fisher information of a linear softmax layer and BAIT's selection, on torch tensors.

This package knows nothing of scikit-learn or skorch: features and probabilities go in,
positions come out.
"""

from skbait.fisher.checks import WEIGHTINGS
from skbait.fisher.factors import VARIANTS
from skbait.fisher.selection import Selection, select

__all__ = ["VARIANTS", "WEIGHTINGS", "Selection", "select"]
