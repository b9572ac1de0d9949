# SPDX-License-Identifier: BSD-3-Clause
"""skbait: label less. Active learning by Fisher information, with scikit-learn's interface."""

from skbait.learner import ActiveLearner
from skbait.strategies import BaitQuery, BaseQuery, MarginQuery, RandomQuery

__version__ = "0.1.0"

__all__ = ["ActiveLearner", "BaitQuery", "BaseQuery", "MarginQuery", "RandomQuery", "__version__"]
