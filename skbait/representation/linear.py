# SPDX-License-Identifier: BSD-3-Clause
"""Adapters of scikit-learn's own models: linear classifiers and the multilayer perceptron."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from scipy.special import expit
from sklearn.linear_model import SGDClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.utils.validation import check_is_fitted, validate_data

from skbait._backend import resolve_device
from skbait._sklearn import LinearClassifierMixin
from skbait.representation.base import (
    can_represent,
    probabilities_adapter,
    represent_adapter,
)
from skbait.representation.head import linear_head
from skbait.representation.result import Representation
from skbait.representation.rows import RowBuffer, as_tensor, blocks_of
from skbait.utils.data import num_rows, on_host


def _no_last_layer(estimator, last_layer) -> None:
    if last_layer is not None:
        raise ValueError(
            f"last_layer={last_layer!r} names a module of a network, but the estimator is a "
            f"{type(estimator).__name__}; leave last_layer=None."
        )


def _float_rows(estimator, rows):
    """Return rows as the estimator checks them: a 2-D float32 or float64 array, or csr matrix."""
    dtypes = [np.float64, np.float32]
    return validate_data(estimator, rows, reset=False, accept_sparse="csr", dtype=dtypes)


def _can_be_shared(X) -> bool:
    """Tell whether X is its own matrix of features already, so that no copy is needed."""
    return (
        isinstance(X, np.ndarray)
        and X.ndim == 2
        and X.dtype in (np.float32, np.float64)
        and X.dtype.isnative
    )


@can_represent.register(LinearClassifierMixin)
def _(estimator) -> bool:
    return hasattr(estimator, "predict_proba")


@represent_adapter.register(LinearClassifierMixin)
def _(estimator, X, *, last_layer, device) -> Representation:
    """Represent rows by themselves: the model is its own last layer, h(x) = x."""
    _no_last_layer(estimator, last_layer)
    check_is_fitted(estimator, "coef_")
    device = resolve_device(device)
    X = on_host(X)
    shared = _can_be_shared(X)
    n_rows = num_rows(X)
    buffer = RowBuffer(n_rows, device)
    for block in blocks_of(X, n_rows):
        # one score a row where there are two classes
        buffer.add("logits", estimator.decision_function(block).reshape(num_rows(block), -1))
        if hasattr(estimator, "predict_proba"):
            buffer.add("probabilities", estimator.predict_proba(block))
        if not shared:
            rows = _float_rows(estimator, block)
            buffer.add("features", rows.toarray() if sparse.issparse(rows) else rows)
    features = as_tensor(X, device) if shared else buffer.get("features")
    probabilities, logits = buffer.get("probabilities"), buffer.get("logits")
    return Representation(
        features,
        _with_all_digits(estimator, probabilities, logits),
        logits,
        estimator.classes_,
        _head_of(estimator),
    )


def _head_of(estimator):
    """Return the head of a linear classifier, None where its logits mean something else."""
    link = None
    if isinstance(estimator, SGDClassifier):
        if estimator.loss != "log_loss":
            return None
        link = "ovr"
    coef = estimator.coef_.toarray() if sparse.issparse(estimator.coef_) else estimator.coef_
    return linear_head(np.atleast_2d(coef), estimator.intercept_, link)


_ACTIVATIONS = {
    "identity": lambda a: a,
    "logistic": expit,
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
}


@represent_adapter.register(MLPClassifier)
def _(estimator, X, *, last_layer, device) -> Representation:
    """Represent rows by the activations of the last hidden layer."""
    _no_last_layer(estimator, last_layer)
    check_is_fitted(estimator)
    _check_one_column(estimator)
    X = on_host(X)
    n_rows = num_rows(X)
    buffer = RowBuffer(n_rows, resolve_device(device))
    for block in blocks_of(X, n_rows):
        h, logits = _last_layer_of(estimator, block)
        buffer.add("features", h.toarray() if sparse.issparse(h) else h)
        buffer.add("logits", logits)
        buffer.add("probabilities", estimator.predict_proba(block))
    logits = buffer.get("logits")
    return Representation(
        buffer.get("features"),
        _with_all_digits(estimator, buffer.get("probabilities"), logits),
        logits,
        estimator.classes_,
        linear_head(estimator.coefs_[-1].T, estimator.intercepts_[-1]),
    )


def _check_one_column(estimator) -> None:
    if estimator.out_activation_ == "logistic" and estimator.n_outputs_ > 1:
        raise ValueError(
            "this MLPClassifier was fitted on multi-label y; one column of labels is needed."
        )


def _last_layer_of(perceptron, rows):
    """Return what the last layer of a multilayer perceptron gets, and what it gives."""
    activation = _ACTIVATIONS[perceptron.activation]
    h = _float_rows(perceptron, rows)
    for weights, bias in zip(perceptron.coefs_[:-1], perceptron.intercepts_[:-1], strict=True):
        h = activation(np.asarray(h @ weights) + bias)
    return h, np.asarray(h @ perceptron.coefs_[-1]) + perceptron.intercepts_[-1]


@probabilities_adapter.register(LinearClassifierMixin)
@probabilities_adapter.register(MLPClassifier)
def _(estimator, X, *, device):
    """Ask for the logit as well where there is one for two classes."""
    if isinstance(estimator, MLPClassifier):
        check_is_fitted(estimator)
        _check_one_column(estimator)
    found, classes = probabilities_adapter.dispatch(object)(estimator, X, device=device)
    if found.shape[1] != 2 or not _is_of_sklearn(estimator):
        return found, classes
    X = on_host(X)
    buffer = RowBuffer(len(found), found.device)
    for block in blocks_of(X, len(found)):
        if isinstance(estimator, MLPClassifier):
            logits = _last_layer_of(estimator, block)[1]
        else:
            logits = estimator.decision_function(block)
        buffer.add("logits", logits.reshape(len(logits), -1))
    return _with_all_digits(estimator, found, buffer.get("logits")), classes


def _is_of_sklearn(estimator) -> bool:
    """Tell whether it is no subclass, which may make probabilities in its own way."""
    return type(estimator).__module__.partition(".")[0] == "sklearn"


def _with_all_digits(estimator, probabilities, logits):
    """Return the probabilities of two classes with the digits that 1 - p has lost.

    They are made of the logits (N, 1) where the second class has their sigmoid, but for rounding;
    else they are what was given.
    """
    if probabilities is None or not _is_of_sklearn(estimator):
        return probabilities
    if logits.shape[1] != 1 or probabilities.shape[1] != 2:
        return probabilities
    own = torch.sigmoid(torch.cat([-logits, logits], dim=1).to(probabilities))
    numbers = torch.finfo(own.dtype)
    alike = torch.allclose(
        own[:, 1], probabilities[:, 1], rtol=numbers.eps**0.75, atol=numbers.tiny
    ) and torch.allclose(own[:, 0], probabilities[:, 0], rtol=0.0, atol=8 * numbers.eps)
    return own if alike else probabilities
