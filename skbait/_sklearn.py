# SPDX-License-Identifier: BSD-3-Clause
"""Everything that skbait takes from private parts of scikit-learn, in one place.

Private names may move between releases of scikit-learn without notice. They are imported here and
nowhere else, so that a release that moved one is met by an edit of this file alone.
"""

from sklearn.base import _fit_context as fit_context
from sklearn.ensemble._base import _set_random_states as set_random_states
from sklearn.linear_model._base import LinearClassifierMixin
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._param_validation import (
    HasMethods,
    InvalidParameterError,
    RealNotInt,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils._param_validation import Interval as _Interval
from sklearn.utils._repr_html.estimator import _VisualBlock as VisualBlock
from sklearn.utils.validation import _check_method_params as check_method_params

__all__ = [
    "BaseSearchCV",
    "HasMethods",
    "Interval",
    "InvalidParameterError",
    "LinearClassifierMixin",
    "RealNotInt",
    "StrOptions",
    "VisualBlock",
    "check_method_params",
    "fit_context",
    "safe_indexing",
    "set_random_states",
    "validate_parameter_constraints",
]


class Interval(_Interval):
    """A range of numbers, of which True and False are none, though Python has them for 1 and 0."""

    def is_satisfied_by(self, val):
        """Return whether a value is a number in the range."""
        return not isinstance(val, bool) and super().is_satisfied_by(val)
