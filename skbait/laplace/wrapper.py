# SPDX-License-Identifier: BSD-3-Clause
"""What the classifiers that hold another one have in common: input, tags, routing."""

from __future__ import annotations

from dataclasses import replace

from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.linear_model import LogisticRegression
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import validate_data

from skbait.representation import can_give_head, can_represent
from skbait.utils.data import row_shape
from skbait.utils.introspection import input_tags_of, takes_nan
from skbait.utils.targets import as_vector, tidy
from skbait.utils.validation import check_finite, check_rows


class WrapsClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """A classifier with a parameter `estimator`, which takes the rows that this one takes."""

    def get_metadata_routing(self):
        """Get the metadata routing of this object.

        Returns
        -------
        MetadataRouter
            What `fit` passes on to the `fit` of the estimator.
        """
        router = MetadataRouter(owner=self)
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return router.add(estimator=self._own_estimator(), method_mapping=mapping)

    def _for_estimator(self, fit_params):
        """Return the arguments of `fit` that the estimator's `fit` gets."""
        if get_config()["enable_metadata_routing"]:
            return process_routing(self, "fit", **fit_params).estimator.fit
        return fit_params

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        estimator = self._own_estimator()
        tags.input_tags = input_tags_of(estimator)
        tags.input_tags.allow_nan = takes_nan(estimator)
        inner = getattr(get_tags(estimator), "classifier_tags", None)
        if inner is not None:
            tags.classifier_tags = replace(inner, multi_label=False)
        return tags

    def _own_estimator(self):
        """Return the estimator that the parameter `estimator` stands for."""
        if isinstance(self.estimator, type):
            name = self.estimator.__name__
            raise TypeError(f"estimator={name} is a class; pass an instance, {name}().")
        return LogisticRegression() if self.estimator is None else self.estimator

    def _check_rows(self, X, *, reset=False):
        """Return X checked; with `reset` its columns are those of this classifier from now on."""
        owner = type(self).__name__
        X = check_rows(X, owner=owner)
        shape = row_shape(X)
        if reset:
            for name in ("n_features_in_", "feature_names_in_"):
                vars(self).pop(name, None)
        if shape is not None and len(shape) == 1:
            validate_data(self, X, reset=reset, skip_check_array=True)
        if not takes_nan(self._own_estimator()):
            check_finite(X, owner=owner)
        return X

    def _check_labels(self, y, n_rows):
        return tidy(as_vector(y, n_rows, owner=f"This {type(self).__name__} estimator"))


@can_represent.register(WrapsClassifier)
def _(estimator) -> bool:
    return can_represent(estimator._own_estimator())


@can_give_head.register(WrapsClassifier)
def _(estimator) -> bool:
    return can_give_head(estimator._own_estimator())
