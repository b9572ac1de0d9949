# SPDX-License-Identifier: BSD-3-Clause
"""From a fitted estimator and X to last-layer features and probabilities.

`represent` knows skorch nets, the linear classifiers and the perceptron of scikit-learn, and what
wraps them; ``represent.register(MyType)`` adds a type.
"""

from skbait.representation import linear, network, wrappers  # noqa: F401 - they register adapters
from skbait.representation.base import (
    can_give_head,
    can_represent,
    probabilities,
    represent,
)
from skbait.representation.head import Head
from skbait.representation.result import Representation
from skbait.representation.rows import rows_as_features

__all__ = [
    "Head",
    "Representation",
    "can_give_head",
    "can_represent",
    "probabilities",
    "represent",
    "rows_as_features",
]
