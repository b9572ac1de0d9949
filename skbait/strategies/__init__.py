# SPDX-License-Identifier: BSD-3-Clause
"""Query strategies: which rows to have labelled next."""

from skbait.strategies.alfamix import AlfaMixQuery
from skbait.strategies.badge import BadgeQuery
from skbait.strategies.bait import BaitQuery
from skbait.strategies.bald import BaldQuery
from skbait.strategies.base import BaseQuery
from skbait.strategies.boss import BossQuery
from skbait.strategies.core_set import CoreSetQuery
from skbait.strategies.drop_query import DropQuery
from skbait.strategies.entropy import EntropyQuery
from skbait.strategies.falcun import FalcunQuery
from skbait.strategies.least_confidence import LeastConfidenceQuery
from skbait.strategies.margin import MarginQuery
from skbait.strategies.max_herding import MaxHerdingQuery
from skbait.strategies.probcover import ProbCoverQuery
from skbait.strategies.random import RandomQuery
from skbait.strategies.refine import RefinePool, RefineQuery
from skbait.strategies.registry import get_query_names, make_query
from skbait.strategies.typiclust import TypiClustQuery
from skbait.strategies.uncertainty_herding import UncertaintyHerdingQuery
from skbait.strategies.view import View

__all__ = [
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
    "LeastConfidenceQuery",
    "MarginQuery",
    "MaxHerdingQuery",
    "ProbCoverQuery",
    "RandomQuery",
    "RefinePool",
    "RefineQuery",
    "TypiClustQuery",
    "UncertaintyHerdingQuery",
    "View",
    "get_query_names",
    "make_query",
]
