# SPDX-License-Identifier: BSD-3-Clause
"""Adapters of estimators that hold another one: they ask for what is inside."""

from __future__ import annotations

from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skbait._sklearn import BaseSearchCV, LinearClassifierMixin
from skbait.representation.base import (
    can_give_head,
    can_represent,
    probabilities_adapter,
    represent_adapter,
)
from skbait.representation.result import Representation
from skbait.representation.rows import RowBuffer, blocks_of
from skbait.utils.data import num_rows, without_gradients
from skbait.utils.fitting import EncodedClassifier
from skbait.utils.introspection import check_refits, hands_on_X

# Wrappers that hand X on as it is, with the attribute that holds the fitted estimator. The
# probabilities of each are those of what it holds.
_TRANSPARENT = {
    BaseSearchCV: "best_estimator_",
    EncodedClassifier: "estimator_",
    FixedThresholdClassifier: "estimator_",
    FrozenEstimator: "estimator",
    TunedThresholdClassifierCV: "estimator_",
}


def _attribute_of(wrapper) -> str:
    return next(name for kind, name in _TRANSPARENT.items() if isinstance(wrapper, kind))


def _inside(wrapper):
    """Return the fitted estimator that a transparent wrapper holds."""
    check_refits(wrapper)
    check_is_fitted(wrapper)
    return getattr(wrapper, _attribute_of(wrapper))


def _represent_inside(wrapper, X, *, last_layer, device) -> Representation:
    found = represent_adapter(_inside(wrapper), X, last_layer=last_layer, device=device)
    if isinstance(wrapper, EncodedClassifier):  # it has labels of its own
        return found.with_classes(wrapper.classes_, wrapper.columns_)
    return found


def _probabilities_inside(wrapper, X, *, device):
    found, classes = probabilities_adapter(_inside(wrapper), X, device=device)
    if isinstance(wrapper, EncodedClassifier):
        return found[:, wrapper.columns_], wrapper.classes_
    return found, classes


def _held(wrapper):
    """Return the estimator that a transparent wrapper holds, fitted or not."""
    held = getattr(wrapper, _attribute_of(wrapper), None)
    return wrapper.estimator if held is None else held


for _kind in _TRANSPARENT:
    represent_adapter.register(_kind, _represent_inside)
    probabilities_adapter.register(_kind, _probabilities_inside)
    can_represent.register(_kind, lambda wrapper: can_represent(_held(wrapper)))
    can_give_head.register(_kind, lambda wrapper: can_give_head(_held(wrapper)))


def _steps(pipeline):
    """Return the transforming part of a pipeline (None if it does nothing) and its last step."""
    check_is_fitted(pipeline)
    return None if hands_on_X(pipeline) else pipeline[:-1], pipeline.steps[-1][1]


@can_represent.register(Pipeline)
def _(estimator) -> bool:
    return can_represent(estimator.steps[-1][1])


@can_give_head.register(Pipeline)
def _(estimator) -> bool:
    return can_give_head(estimator.steps[-1][1])


@represent_adapter.register(Pipeline)
def _(estimator, X, *, last_layer, device) -> Representation:
    """Send blocks of rows through the steps before the last, which are taken to work by row."""
    head, last = _steps(estimator)
    if head is None:
        return represent_adapter(last, X, last_layer=last_layer, device=device)
    X, n_rows = without_gradients(X), num_rows(X)
    buffer = RowBuffer(n_rows)
    for block in blocks_of(X, n_rows):
        part = represent_adapter(last, head.transform(block), last_layer=last_layer, device=device)
        if part.features.shape[0] == n_rows:
            return part
        for name in ("features", "probabilities", "logits"):
            buffer.add(name, getattr(part, name))
    return Representation(
        buffer.get("features"),
        buffer.get("probabilities"),
        buffer.get("logits"),
        part.classes,
        part.head,
        part.head_is_mean,
    )


@probabilities_adapter.register(Pipeline)
def _(estimator, X, *, device):
    head, last = _steps(estimator)
    if head is None:
        return probabilities_adapter(last, X, device=device)
    X, n_rows = without_gradients(X), num_rows(X)
    buffer = RowBuffer(n_rows)
    for block in blocks_of(X, n_rows):
        part, classes = probabilities_adapter(last, head.transform(block), device=device)
        buffer.add("probabilities", part)
    return buffer.get("probabilities"), classes


@can_represent.register(CalibratedClassifierCV)
def _(estimator) -> bool:
    base = estimator.estimator
    while not isinstance(base, LinearClassifierMixin):  # these need no probabilities of their own
        if isinstance(base, Pipeline):
            base = base.steps[-1][1]
        elif isinstance(base, (BaseSearchCV, FrozenEstimator)):
            base = base.estimator
        else:
            return base is None or can_represent(base)  # None: scikit-learn takes a LinearSVC
    return True


@can_give_head.register(CalibratedClassifierCV)
def _(estimator) -> bool:
    return False  # what comes after the head changes the probabilities


@represent_adapter.register(CalibratedClassifierCV)
def _(estimator, X, *, last_layer, device) -> Representation:
    """Take the features of the base classifier and the calibrated probabilities.

    With ``ensemble=True`` there is one base classifier a fold, and the probabilities are the mean
    over all of them. The features are those of the first: for linear models all are alike, and
    the hidden units of separately trained networks have no common meaning that a mean would keep.
    """
    check_is_fitted(estimator)
    base = estimator.calibrated_classifiers_[0].estimator
    features = represent_adapter(base, X, last_layer=last_layer, device=device).features
    found, classes = probabilities_adapter.dispatch(object)(estimator, X, device=features.device)
    return Representation(features, found, None, classes)
