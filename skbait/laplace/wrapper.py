# SPDX-License-Identifier: BSD-3-Clause
"""What the classifiers that hold another one have in common: input, tags, routing."""

from __future__ import annotations

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.linear_model import LogisticRegression
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import validate_data

from skbait.representation import can_give_head, can_represent
from skbait.utils.data import is_table
from skbait.utils.finite import check_finite
from skbait.utils.introspection import takes_nan, with_tags_of
from skbait.utils.targets import as_vector, tidy
from skbait.utils.validation import check_instance, check_rows


class WrapsClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """A classifier with a parameter `estimator`, which takes the rows that this one takes."""

    def predict_log_proba(self, X):
        """Predict the logarithm of the probability of every class.

        Parameters
        ----------
        X : {array-like, tensor, data frame, sparse matrix, dict, Dataset} of n_rows rows
            The rows.

        Returns
        -------
        ndarray of float64 of shape (n_rows, n_classes)
            Logarithms of probabilities, in the order of `classes_`.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def get_metadata_routing(self):
        """Get the metadata routing of this object.

        Returns
        -------
        MetadataRouter
            What `fit` passes on to the `fit` of the estimator, and what `score` takes.
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return router.add(estimator=self._own_estimator(), method_mapping=mapping)

    def _for_estimator(self, fit_params):
        """Return the arguments of `fit` that the estimator's `fit` gets."""
        if get_config()["enable_metadata_routing"]:
            return process_routing(self, "fit", **fit_params).estimator.fit
        return fit_params

    def __sklearn_tags__(self):
        return with_tags_of(self._own_estimator(), super().__sklearn_tags__())

    def _own_estimator(self):
        """Return the estimator that the parameter `estimator` stands for."""
        check_instance(self.estimator, "estimator")
        return LogisticRegression() if self.estimator is None else self.estimator

    def _check_rows(self, X, *, reset=False):
        """Return X checked; with `reset` its columns are those of this classifier from now on."""
        owner = type(self).__name__
        X = check_rows(X, owner=owner)
        if reset:
            for name in ("n_features_in_", "feature_names_in_"):
                vars(self).pop(name, None)
        if is_table(X):
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
