# SPDX-License-Identifier: BSD-3-Clause
"""Query strategies: which rows to have labelled next."""

from skbait.strategies.bait import BaitQuery
from skbait.strategies.base import BaseQuery
from skbait.strategies.margin import MarginQuery
from skbait.strategies.random import RandomQuery
from skbait.strategies.view import View

__all__ = ["BaitQuery", "BaseQuery", "MarginQuery", "RandomQuery", "View"]
