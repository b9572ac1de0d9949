# SPDX-License-Identifier: BSD-3-Clause
"""Which strategy needs fewest labels: runs under one budget, and what their results say."""

from skbait.model_selection.comparison import compare_strategies
from skbait.model_selection.records import read_results
from skbait.model_selection.statistics import (
    area_under_curve,
    labels_saved,
    mean_curves,
    paired_tests,
    summarize_strategies,
    win_matrix,
    win_rates,
)

__all__ = [
    "area_under_curve",
    "compare_strategies",
    "labels_saved",
    "mean_curves",
    "paired_tests",
    "read_results",
    "summarize_strategies",
    "win_matrix",
    "win_rates",
]
