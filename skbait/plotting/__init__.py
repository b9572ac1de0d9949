# SPDX-License-Identifier: BSD-3-Clause
"""Plots by scikit-learn's conventions: `from_...` class methods, `plot`, and what was drawn."""

from skbait.plotting.acquisition_curve import AcquisitionCurveDisplay
from skbait.plotting.query import QueryDisplay
from skbait.plotting.win_matrix import WinMatrixDisplay

__all__ = ["AcquisitionCurveDisplay", "QueryDisplay", "WinMatrixDisplay"]
