# SPDX-License-Identifier: BSD-3-Clause
"""skbait: label less. Active learning by Fisher information, with scikit-learn's interface."""

from skbait.laplace import LaplaceClassifier
from skbait.learner import ActiveLearner
from skbait.strategies import (
    AlfaMixQuery,
    BadgeQuery,
    BaitQuery,
    BaldQuery,
    BaseQuery,
    BossQuery,
    CoreSetQuery,
    DropQuery,
    EntropyQuery,
    FalcunQuery,
    LeastConfidenceQuery,
    MarginQuery,
    MaxHerdingQuery,
    ProbCoverQuery,
    RandomQuery,
    RefinePool,
    RefineQuery,
    TypiClustQuery,
    UncertaintyHerdingQuery,
    get_query_names,
    make_query,
)

__version__ = "0.1.0"

__all__ = [
    "ActiveLearner",
    "AlfaMixQuery",
    "BadgeQuery",
    "BaitQuery",
    "BaldQuery",
    "BaseQuery",
    "BossQuery",
    "CoreSetQuery",
    "DropQuery",
    "EntropyQuery",
    "FalcunQuery",
    "LaplaceClassifier",
    "LeastConfidenceQuery",
    "MarginQuery",
    "MaxHerdingQuery",
    "ProbCoverQuery",
    "RandomQuery",
    "RefinePool",
    "RefineQuery",
    "TypiClustQuery",
    "UncertaintyHerdingQuery",
    "__version__",
    "get_query_names",
    "make_query",
]
