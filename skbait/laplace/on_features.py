# SPDX-License-Identifier: BSD-3-Clause
"""What a LaplaceClassifier computes once the features of rows are at hand, and its classes."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from skbait._backend import EXACT
from skbait._sklearn import LinearClassifierMixin
from skbait.laplace.likelihood import class_probabilities
from skbait.laplace.newton import newton
from skbait.laplace.prediction import (
    MEAN_FIELD_FACTOR,
    mean_field_logits,
    monte_carlo_probabilities,
)
from skbait.laplace.updates import first_order, second_order
from skbait.representation import Head, Representation
from skbait.representation.memory import FeatureMemory
from skbait.utils.class_weights import row_weights
from skbait.utils.labels import encode
from skbait.utils.targets import as_vector, label_kind, tidy

# Step length of second-order updates where Σ takes the curvature of the softmax for 1.
SHARED_STEP = 3.0


class OnFeatures:
    """Updates and predictions on features (n, D), wherever they come from.

    It is the lower half of `LaplaceClassifier`, which has the parameters and `posterior_`.
    """

    def _represent_features(self, features) -> Representation:
        """Return the representation of rows whose features (N, D) are at hand."""
        mean = self.posterior_.mean
        has_bias = self.posterior_.has_bias
        features = features.to(mean.device)
        weight = mean[:, :-1] if has_bias else mean
        bias = mean[:, -1] if has_bias else mean.new_zeros(len(mean))
        return Representation(
            features,
            self._probabilities(features),
            mean_field_logits(self.posterior_, features, factor=0.0),
            self.classes_,
            Head(weight, bias, self.posterior_.link),
            head_is_mean=True,
        )

    def _partial_fit_features(self, features, y, classes=None):
        """Update the posterior with rows whose features (n, D) are at hand; y is checked.

        Whatever was copied from this object before keeps its own posterior: none is written to.
        """
        y = like(y, self.classes_)
        labels = y if classes is None else np.concatenate([y, announced(classes, y)])
        known, posterior = with_classes(self.classes_, self.posterior_, labels)
        if len(known) > len(self.classes_) and posterior.blocks > 1:
            warnings.warn(
                "with covariance='full' a new class is known by its new rows alone, and may be "
                "predicted nearly everywhere: fit afresh, or use covariance='shared'.",
                stacklevel=4,
            )
        device = posterior.mean.device
        codes = torch.as_tensor(encode(y, known), device=device)
        targets = torch.nn.functional.one_hot(codes, len(known)).to(EXACT)
        features = features.to(device)
        weights = row_weights(self.class_weight_, y)
        weights = None if weights is None else torch.as_tensor(weights, device=device)
        if self.update == "newton":
            posterior = newton(posterior, features, targets, int(self.n_newton), weights)
        else:
            rule = {"second_order": second_order, "first_order": first_order}[self.update]
            posterior = rule(posterior, features, targets, self._step(), weights)
        if not bool(torch.isfinite(posterior.mean).all()):
            raise ValueError(
                f"an update with gamma={self.gamma!r} gives weights that are not finite: take a "
                "smaller gamma, or scale the features down."
            )
        self.classes_, self.posterior_ = known, posterior
        return self

    def _probabilities(self, features):
        """Return probabilities (N, K) in float64 of rows whose features (N, D) are at hand."""
        if self.prediction == "monte_carlo":
            return monte_carlo_probabilities(
                self.posterior_,
                features,
                n_samples=int(self.n_samples),
                generator=torch.Generator().manual_seed(self._sampling_seed),
            )
        return class_probabilities(self._decisions(features), self.posterior_.link)

    def _decisions(self, features, *, rank_only=False):
        """Return what decides between the classes (N, K); the largest wins.

        With `rank_only` a factor that a row's logits have in common may be left out.
        """
        if self.prediction == "monte_carlo":
            return self._probabilities(features).clamp_min(torch.finfo(EXACT).tiny).log()
        factor = MEAN_FIELD_FACTOR if self.prediction == "mean_field" else 0.0
        if rank_only and self.posterior_.blocks == 1:  # one variance for all logits of a row
            factor = 0.0
        return mean_field_logits(self.posterior_, features, factor=factor)

    def _step(self):
        """Return the step length γ of the update."""
        if self.gamma != "auto":
            return float(self.gamma)
        if self.update == "first_order":
            return 1e-3
        is_shared = self.likelihood == "gaussian" and self.covariance == "shared"
        return SHARED_STEP if is_shared else 1.0

    def remember_features(self):
        """Compute the features of each row once from now on, also for updated copies.

        The features below the last layer change with the next `fit` only. They are kept in
        memory, and not pickled. Those of a linear model are the rows themselves, and not kept.

        Returns
        -------
        self : LaplaceClassifier
            The classifier.
        """
        check_is_fitted(self)
        if not isinstance(self.estimator_, LinearClassifierMixin):
            self._feature_memory = FeatureMemory()
        return self

    def _features_of(self, X, compute):
        """Return the features of rows, from memory where there is one."""
        memory = getattr(self, "_feature_memory", None)
        return compute(X) if memory is None else memory.features(X, compute)


def rows_of_head(head):
    """Return the weights of a head (K, P) with the bias as last column, its link, and whether."""
    weight, bias = head.weight.to(EXACT), head.bias.to(EXACT)
    has_bias = bool((bias != 0).any())
    mean = torch.cat([weight, bias[:, None]], dim=1) if has_bias else weight
    if head.link == "sigmoid":  # the softmax of ∓z/2 is the sigmoid of z
        return torch.cat([-mean / 2, mean / 2]), "softmax", has_bias
    return mean, head.link, has_bias


def with_classes(classes, posterior, labels):
    """Return classes and posterior with the labels that they miss; sorted if they were sorted."""
    known = np.asarray(classes)
    new = np.setdiff1d(like(labels, known), known)
    if not len(new):
        return known, posterior
    everything = np.concatenate([known, new])
    order = np.arange(len(everything))
    if (known[:-1] < known[1:]).all():
        order = np.argsort(everything, kind="stable")
    return everything[order], posterior.with_classes(torch.as_tensor(order))


def announced(classes, y):
    """Return the argument `classes` as labels like those in y."""
    classes = as_vector(classes, len(classes), name="classes", owner="LaplaceClassifier")
    return like(tidy(classes, name="classes"), y)


def like(labels, classes):
    """Return labels in the dtype of known classes, or say that they are of another kind."""
    labels, classes = np.asarray(labels), np.asarray(classes)
    kinds = label_kind(labels), label_kind(classes)
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"the labels {labels[:3].tolist()}... are {kinds[0]}, but the classes "
            f"{classes[:3].tolist()}... {kinds[1]}: give all labels in the same form."
        )
    if labels.dtype.kind == "f" and classes.dtype.kind in "biu":
        return labels.astype(np.int64)
    return labels
