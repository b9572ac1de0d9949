# SPDX-License-Identifier: BSD-3-Clause
"""What a learner leaves to its fitted estimator: predictions, scores, the routing of metadata."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.metrics import check_scoring
from sklearn.utils.metadata_routing import (
    UNUSED,
    MetadataRequest,
    MetadataRouter,
    MethodMapping,
    get_routing_for_object,
    process_routing,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from skbait._sklearn import check_method_params
from skbait.utils.data import is_table, num_rows, take_rows, without_gradients
from skbait.utils.introspection import with_tags_of
from skbait.utils.state import asking
from skbait.utils.targets import as_vector, has_label, tidy
from skbait.utils.validation import as_numbers

DELEGATED = ("predict", "predict_proba", "predict_log_proba", "decision_function", "score")
COLUMNS = ("n_features_in_", "feature_names_in_")


class Routed(NamedTuple):
    """Arguments of a method, by who takes them."""

    estimator: dict
    query_strategy: dict
    scorer: dict


def columns_of(X):
    """Return `n_features_in_` and `feature_names_in_` of X by name, as far as it has them."""
    if not is_table(X):
        return {}
    probe = BaseEstimator()
    validate_data(probe, X, skip_check_array=True)
    return vars(probe)


def check_columns(learner, X):
    """Complain if X has other columns than those that a fitted learner knows."""
    if is_table(X):
        validate_data(learner, X, reset=False, skip_check_array=True)


def check_like(X_val, columns):
    """Raise if held-out rows have other columns than those known by `columns_of`."""
    if X_val is None:
        return
    found = columns_of(X_val)
    given, known = (each.get("n_features_in_") for each in (found, columns))
    if None not in (given, known) and given != known:
        raise ValueError(f"X_val has {given} features, but X has {known}.")
    given, known = (each.get("feature_names_in_") for each in (found, columns))
    if given is not None and known is not None and not np.array_equal(given, known):
        first = int(np.argmax(given != known))
        raise ValueError(
            f"the columns of X_val must be those of X, in the same order: number {first} is "
            f"{given[first]!r} in X_val and {known[first]!r} in X."
        )


def scored_as(estimator, wrapper):
    """Return a wrapper of an estimator that requests the weights in `score` as that does."""
    if get_config()["enable_metadata_routing"]:
        routing = get_routing_for_object(estimator)
        if isinstance(routing, MetadataRequest):
            wanted = routing.score.requests.get("sample_weight")
        else:
            wanted = "sample_weight" in routing.consumes("score", ["sample_weight"]) or None
        wrapper.set_score_request(sample_weight=wanted)
    return wrapper


def _has(method):
    """Return the check of `available_if`: the estimator has the method, or says why not."""

    def check(self):
        if method == "score" and self._has_one_scorer():
            return True
        estimator = self.estimator_ if hasattr(self, "estimator_") else self._get_estimator()
        getattr(estimator, method)
        return True

    return check


class DelegationMixin:
    """The methods of a classifier, from the attribute `estimator_` once there is one."""

    # The weights in the signature of `score` are for who scores; the learner requests none.
    __metadata_request__score = {"sample_weight": UNUSED}

    @available_if(_has("predict"))
    def predict(self, X, **params):
        """Predict the classes of rows.

        Parameters
        ----------
        X : data of n_rows rows
            The rows.
        **params : dict
            Arguments of the estimator's `predict`.

        Returns
        -------
        ndarray of shape (n_rows,)
            Predicted classes.
        """
        return self._delegate("predict", X, params)

    @available_if(_has("predict_proba"))
    def predict_proba(self, X, **params):
        """Predict the probability of every class.

        Parameters
        ----------
        X : data of n_rows rows
            The rows.
        **params : dict
            Arguments of the estimator's `predict_proba`.

        Returns
        -------
        ndarray of shape (n_rows, n_classes)
            Probabilities, in the order of `classes_`.
        """
        return self._delegate("predict_proba", X, params)

    @available_if(_has("predict_log_proba"))
    def predict_log_proba(self, X, **params):
        """Predict the logarithm of the probability of every class.

        Parameters
        ----------
        X : data of n_rows rows
            The rows.
        **params : dict
            Arguments of the estimator's `predict_log_proba`.

        Returns
        -------
        ndarray of shape (n_rows, n_classes)
            Logarithms of probabilities, in the order of `classes_`.
        """
        return self._delegate("predict_log_proba", X, params)

    @available_if(_has("decision_function"))
    def decision_function(self, X, **params):
        """Compute the decision function of the estimator.

        Parameters
        ----------
        X : data of n_rows rows
            The rows.
        **params : dict
            Arguments of the estimator's `decision_function`.

        Returns
        -------
        ndarray of shape (n_rows,) or (n_rows, n_classes)
            Its values.
        """
        return self._delegate("decision_function", X, params)

    @available_if(_has("score"))
    def score(self, X, y, sample_weight=None, **params):
        """Score the predictions, by `scoring` where that is a single scorer.

        Parameters
        ----------
        X : data of n_rows rows
            The rows.
        y : array-like of shape (n_rows,)
            Their labels. Rows without one (-1, None or NaN) are left out.
        sample_weight : array-like of shape (n_rows,), default=None
            Weights of the rows.
        **params : dict
            Further arguments of the scorer or of the estimator's `score`.

        Returns
        -------
        float
            The score; without `scoring` that of the estimator, for most the accuracy.
        """
        check_is_fitted(self)
        if sample_weight is not None:
            params["sample_weight"] = sample_weight
        X, y, params = self._with_labels(X, y, params)
        X = self._as_trained(X)
        routed = self._route("score", params)
        with asking(self.estimator_, X) as X:
            if self._has_one_scorer():
                scorer = check_scoring(self.estimator_, scoring=self.scoring)
                return scorer(self.estimator_, X, y, **routed.scorer)
            return self.estimator_.score(X, y, **routed.estimator)

    def get_metadata_routing(self):
        """Get the metadata routing of this object.

        Returns
        -------
        MetadataRouter
            Who takes which metadata: the learner (held-out data), the estimator, the scorer.
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        mapping = MethodMapping().add(caller="fit", callee="fit")
        for method in DELEGATED:
            if method != "score" or not self._has_one_scorer():
                mapping.add(caller=method, callee=method)
        router.add(estimator=self._get_estimator(), method_mapping=mapping)
        strategy = self._get_strategy()
        if getattr(strategy, "estimator", None) is not None:  # else it fits nothing itself
            router.add(
                query_strategy=strategy,
                method_mapping=MethodMapping().add(caller="fit", callee="fit"),
            )
        if self.scoring is not None:
            router.add(
                scorer=check_scoring(self._get_estimator(), scoring=self.scoring),
                method_mapping=MethodMapping()
                .add(caller="fit", callee="score")
                .add(caller="score", callee="score"),
            )
        return router

    def __sklearn_tags__(self):
        return with_tags_of(self._get_estimator(), super().__sklearn_tags__())

    def _has_one_scorer(self):
        return isinstance(self.scoring, str) or callable(self.scoring)

    def _route(self, caller, params):
        """Return the arguments of a method for the estimator, the query strategy, the scorer."""
        if not get_config()["enable_metadata_routing"]:
            return Routed(params, {}, params if caller == "score" else {})
        routed = process_routing(self, caller, **params)
        to_query = getattr(routed, "query_strategy", {}).get(caller, {})
        to_scorer = getattr(routed, "scorer", {}).get("score", {})
        return Routed(routed.estimator.get(caller, {}), to_query, to_scorer)

    def _with_labels(self, X, y, params):
        """Return what `score` was given without the rows that have no label."""
        if y is None:  # for the scorer to say
            return X, y, params
        labels = as_vector(y, num_rows(X))
        known = np.flatnonzero(has_label(labels))
        # a frozen model may have been trained where -1 is a class
        if len(known) == len(labels) or -1 in self.classes_.tolist():
            # integers and booleans in an array of objects, as `fit` takes them
            plain = tidy(labels) if labels.dtype == object else labels
            return X, y if plain.dtype == labels.dtype else plain, params
        if not len(known):
            raise ValueError(f"y holds no label in its {len(labels)} rows: nothing to score by.")
        params = check_method_params(labels, params, known)
        return take_rows(X, known), tidy(labels[known]), params

    def _as_trained(self, X):
        """Return X, its columns checked, as the estimator was given the rows to train on."""
        check_is_fitted(self)
        X = without_gradients(as_numbers(X))
        check_columns(self, X)
        return X

    def _delegate(self, method, X, params):
        """Call a method of the fitted estimator."""
        X = self._as_trained(X)
        params = self._route(method, params).estimator
        with asking(self.estimator_, X) as X:
            return getattr(self.estimator_, method)(X, **params)
