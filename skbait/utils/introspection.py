# SPDX-License-Identifier: BSD-3-Clause
"""What an estimator takes, asked of its tags and of what it wraps."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from itertools import chain

from sklearn.base import OneToOneFeatureMixin
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import InputTags, get_tags
from skorch import NeuralNet, NeuralNetBinaryClassifier

from skbait._sklearn import BaseSearchCV

__all__ = ["input_tags_of", "takes_nan"]


def input_tags_of(estimator) -> InputTags:
    """Return a copy of the input tags of an estimator.

    Parameters
    ----------
    estimator : object
        The estimator. Where it has no tags of scikit-learn's the default ones are returned.

    Returns
    -------
    sklearn.utils.InputTags
        The copy.

    See Also
    --------
    sklearn.utils.get_tags : All tags of an estimator of scikit-learn's.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skbait.utils.introspection import input_tags_of
    >>> input_tags_of(LogisticRegression()).sparse
    True
    """
    try:
        return deepcopy(get_tags(estimator).input_tags)
    except AttributeError:
        return InputTags()


def with_tags_of(estimator, tags):
    """Give the tags of a wrapper what it has from the classifier that it holds.

    Parameters
    ----------
    estimator : object
        The classifier, with tags of scikit-learn's or without.
    tags : sklearn.utils.Tags
        Of the wrapper: changed, and returned.
    """
    tags.input_tags = input_tags_of(estimator)
    tags.input_tags.allow_nan = takes_nan(estimator)
    try:
        inner = get_tags(estimator).classifier_tags
    except AttributeError:
        inner = None
    if inner is not None:
        tags.classifier_tags = replace(inner, multi_label=False)
    return tags


def moves_threshold(estimator) -> bool:
    """Tell whether an estimator decides by a threshold of its own, not by its probabilities.

    Parameters
    ----------
    estimator : object
        An estimator, fitted or not. A wrapper is judged by what it holds, a pipeline by its last
        step.

    Returns
    -------
    bool
        True for scikit-learn's threshold classifiers and skorch's binary nets with a `threshold`
        that is not 0.5, and around them.

    See Also
    --------
    takes_nan : Another question to an estimator and what it wraps.

    Examples
    --------
    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import FixedThresholdClassifier
    >>> from skbait.utils.introspection import moves_threshold
    >>> inner = FixedThresholdClassifier(LogisticRegression(), threshold=0.9)
    >>> moves_threshold(FrozenEstimator(inner)), moves_threshold(LogisticRegression())
    (True, False)
    """
    kinds = (FixedThresholdClassifier, TunedThresholdClassifierCV)
    return any(
        isinstance(each, kinds)
        or (isinstance(each, NeuralNetBinaryClassifier) and each.threshold != 0.5)
        for each in chain(layers_of(estimator), fitted_layers_of(estimator))
    )


def layers_of(estimator):
    """Yield an estimator and what it holds, outermost first.

    Parameters
    ----------
    estimator : object
        An estimator, fitted or not. A wrapper holds its parameter `estimator`, a pipeline its last
        step.

    Yields
    ------
    object
        The estimators; the last one holds none.
    """
    while estimator is not None:
        yield estimator
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1] if estimator.steps else None
        else:
            estimator = getattr(estimator, "estimator", None)


def check_refits(estimator) -> None:
    """Raise for a search, or what is around one, that keeps no best estimator.

    Parameters
    ----------
    estimator : object
        An estimator, fitted or not. Inside of a search it is not looked at, since what that tries
        may set parameters, nor in classes of other packages, which may make of theirs what they
        like.

    Raises
    ------
    ValueError
        If it holds a search with ``refit=False``.
    """
    for each in layers_of(estimator):
        if isinstance(each, BaseSearchCV):
            if each.refit:
                return
            raise ValueError(
                f"{type(each).__name__} has no best estimator, since refit={each.refit!r}; "
                "set refit=True."
            )
        if type(each).__module__.partition(".")[0] not in ("sklearn", "skbait"):
            return


def fitted_layers_of(model):
    """Yield a fitted estimator and what it holds, outermost first, as it is after the fit.

    Parameters
    ----------
    model : object
        The estimator. A search holds its best estimator, a pipeline its last step.

    Yields
    ------
    object
        The estimators; the last one holds none.
    """
    while model is not None:
        yield model
        if isinstance(model, NeuralNet):
            return
        if isinstance(model, Pipeline):
            model = model.steps[-1][1]
        elif isinstance(model, FrozenEstimator):
            model = model.estimator
        else:
            model = getattr(model, "best_estimator_", getattr(model, "estimator_", None))


def hands_on_X(pipeline) -> bool:
    """Tell whether the last step of a pipeline is handed X as it is.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline, fitted or not.
    """
    return all(step in (None, "passthrough") for _, step in pipeline.steps[:-1])


def takes_nan(estimator) -> bool:
    """Tell whether it is the estimator's own business to deal with NaN in X.

    scikit-learn's tags say so of single estimators. A pipeline takes NaN if its first step does
    and does not hand NaN on, as an imputer; a scaler takes it and hands it on, so that the next
    step decides. A union hands on what one of its parts does. Votes and stacks take NaN if all
    their members do.

    Parameters
    ----------
    estimator : object
        An estimator, fitted or not.

    Returns
    -------
    bool
        True where X is not to be searched for NaN.

    See Also
    --------
    input_tags_of : The tags themselves.

    Examples
    --------
    >>> from sklearn.ensemble import HistGradientBoostingClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skbait.utils.introspection import takes_nan
    >>> takes_nan(HistGradientBoostingClassifier()), takes_nan(LogisticRegression())
    (True, False)
    """
    steps = getattr(estimator, "steps", None)
    if isinstance(steps, list):
        for step in (step for _, step in steps if step not in (None, "passthrough")):
            if not takes_nan(step):
                return False
            if not _hands_nan_on(step):
                return True
        return True
    if isinstance(estimator, ColumnTransformer):
        return True  # each of its columns goes a way of its own
    if isinstance(estimator, FeatureUnion):
        parts = (part for _, part in estimator.transformer_list)
        return all(takes_nan(part) for part in parts if part not in ("drop", "passthrough"))
    try:
        tags = get_tags(estimator)
    except (AttributeError, TypeError):
        return False
    if tags.input_tags.allow_nan or tags.no_validation:
        return True
    members = getattr(estimator, "estimators", None)  # of a vote, of a stack
    if isinstance(members, list) and members:
        return all(takes_nan(member) for _, member in members if member != "drop")
    inner = getattr(estimator, "estimator", None)
    return inner is not None and takes_nan(inner)


def _hands_nan_on(step) -> bool:
    """Tell whether NaN comes out of a transformer that takes it."""
    while isinstance(step, FrozenEstimator):
        step = step.estimator
    if isinstance(step, Pipeline):
        return all(_hands_nan_on(part) for _, part in step.steps if part is not None)
    if isinstance(step, FeatureUnion):
        return any(_hands_nan_on(part) for _, part in step.transformer_list if part != "drop")
    return isinstance(step, (str, OneToOneFeatureMixin))  # "passthrough"
