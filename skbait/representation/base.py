# SPDX-License-Identifier: BSD-3-Clause
"""What a strategy sees of a model: last-layer features and probabilities, by type of estimator.

`represent` dispatches on the type of the estimator. An adapter for a new type is a function::

    @represent.register(MyClassifier)
    def _(estimator, X, *, last_layer, device):
        return Representation(features, probabilities, None, estimator.classes_, head)

Adapters of estimators that wrap another one (pipelines, searches, ...) live in `wrappers` and ask
for the representation of what is inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import singledispatch

import numpy as np
import torch

from skbait._backend import resolve_device
from skbait.representation.alignment import head_fits
from skbait.representation.result import Representation, check_columns
from skbait.representation.rows import RowBuffer, as_tensor, blocks_of
from skbait.utils.data import num_rows, on_host, take_rows
from skbait.utils.introspection import layers_of
from skbait.utils.state import keep_random_states, keep_training_flags

_SUPPORTED = (
    "skorch nets; linear classifiers of scikit-learn with predict_proba (LogisticRegression, "
    "SGDClassifier(loss='log_loss'), LinearDiscriminantAnalysis); MLPClassifier; and these inside "
    "Pipeline, GridSearchCV and its kin, CalibratedClassifierCV or FrozenEstimator"
)


@singledispatch
def represent_adapter(estimator, X, *, last_layer, device) -> Representation:
    """Represent rows by the adapter of the estimator's type, unguarded; adapters call this.

    Parameters
    ----------
    estimator : object
        A fitted estimator.
    X : object
        The rows.
    last_layer : str or None
        See `represent`.
    device : str or torch.device
        See `represent`.

    Returns
    -------
    Representation
        Its `probabilities` may be None where the estimator gives none (a ``LinearSVC`` inside a
        ``CalibratedClassifierCV``).
    """
    name = type(estimator).__name__
    raise TypeError(
        f"skbait does not know how to take last-layer features from {name}. It knows "
        f"{_SUPPORTED}. For another type, register a function: "
        f"`@skbait.representation.represent.register({name})` above "
        "`def _(estimator, X, *, last_layer, device): return Representation(features, "
        "probabilities, logits, classes)`. Strategies that need probabilities only, such as "
        "MarginQuery, take any classifier."
    )


@singledispatch
def probabilities_adapter(estimator, X, *, device) -> tuple[torch.Tensor, np.ndarray]:
    """Give probabilities by the adapter of the estimator's type, unguarded.

    Parameters
    ----------
    estimator : object
        A fitted classifier. Unless its type has an adapter, its ``predict_proba`` is called on
        blocks of rows.
    X : object
        The rows.
    device : str or torch.device
        See `represent`.

    Returns
    -------
    probabilities : torch.Tensor of shape (N, K)
        The probabilities.
    classes : ndarray of shape (K,)
        The labels of the columns.
    """
    if not hasattr(estimator, "predict_proba"):
        if _is_registered(estimator):
            found = represent_adapter(estimator, X, last_layer=None, device=device)
            if found.probabilities is not None:
                return found.probabilities, found.classes
        raise TypeError(
            f"{type(estimator).__name__} has no predict_proba, and probabilities are needed. Use "
            "a classifier that has it, or wrap yours in CalibratedClassifierCV."
        )
    X = on_host(X)
    n_rows = num_rows(X)
    buffer = RowBuffer(n_rows, resolve_device(device))
    for block in blocks_of(X, n_rows):
        found = estimator.predict_proba(block)
        if isinstance(found, list):
            raise ValueError(
                f"{type(estimator).__name__} was fitted on several outputs at once; one column "
                "of labels is needed."
            )
        buffer.add("probabilities", found)
    return buffer.get("probabilities"), np.asarray(estimator.classes_)


def _is_registered(estimator) -> bool:
    """Tell whether the estimator's type has an adapter of its own."""
    default = represent_adapter.dispatch(object)
    return represent_adapter.dispatch(type(estimator)) is not default


@singledispatch
def can_represent(estimator) -> bool:
    """Tell whether `represent` knows what to do with an estimator, fitted or not.

    Parameters
    ----------
    estimator : object
        The estimator. Wrappers such as ``Pipeline`` are judged by what they hold.

    Returns
    -------
    bool
        True where the type, or that of the wrapped estimator, has an adapter and the estimator
        gives probabilities.

    See Also
    --------
    represent : Does it.
    can_give_head : Whether there is a linear head too.

    Examples
    --------
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skbait.representation import can_represent
    >>> can_represent(LogisticRegression())
    True
    >>> can_represent(RandomForestClassifier())
    False
    """
    return _is_registered(estimator)


@singledispatch
def can_give_head(estimator) -> bool:
    """Tell whether `represent` can give the linear head of an estimator, fitted or not.

    Parameters
    ----------
    estimator : object
        The estimator. Wrappers are judged by what they hold.

    Returns
    -------
    bool
        False where it is known that there is none. A registered type is trusted.

    See Also
    --------
    can_represent : Whether there are features and probabilities.

    Examples
    --------
    >>> from sklearn.calibration import CalibratedClassifierCV
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skbait.representation import can_give_head
    >>> can_give_head(LogisticRegression())
    True
    >>> can_give_head(CalibratedClassifierCV(LogisticRegression()))
    False
    """
    return can_represent(estimator)


def unknown_part(estimator, can: Callable[..., bool]) -> tuple[object, str]:
    """Find out which part of an estimator it is that cannot give what is asked for.

    Parameters
    ----------
    estimator : object
        An estimator for which `can` is false.
    can : callable
        `can_represent` or `can_give_head`.

    Returns
    -------
    part : object
        The estimator itself, or what it holds.
    where : str
        The name of its type, and of what it is in.
    """
    part = estimator
    for each in layers_of(estimator):
        # what takes only features of what it holds (a calibration) has to answer for itself
        if can(each) or (can_represent(part) and not can_represent(each)):
            break
        part = each
        if can.dispatch(type(each)) is can.dispatch(object):
            break  # it is not judged by what it holds
    name = type(part).__name__
    return part, name if part is estimator else f"{name} (inside {type(estimator).__name__})"


def represent(estimator, X, *, last_layer=None, device="auto") -> Representation:
    """Return last-layer features and probabilities of X under a fitted estimator.

    Rows stream through the estimator in batches (a network's own ``batch_size``), and only what
    is returned stays in memory. The estimator, the global random states and X are left as they
    were. Pipelines see blocks of rows: their steps must work row by row.

    Parameters
    ----------
    estimator : object
        A fitted classifier: a skorch net, a linear classifier of scikit-learn with probabilities,
        an ``MLPClassifier``, one of these inside ``Pipeline``, ``GridSearchCV``,
        ``CalibratedClassifierCV`` or ``FrozenEstimator``, or any type registered with
        ``represent.register``.
    X : object
        What the estimator's ``predict`` takes: for nets also arrays of any dimension, tensors,
        dicts of arrays and torch Datasets.
    last_layer : str or None, default=None
        For networks: the dotted name of the module whose input are the features. None finds the
        ``nn.Linear`` that gives the logits.
    device : str or torch.device, default="auto"
        Where the result is: "auto" is the device of the network; for estimators without one,
        CUDA if there is one, else the CPU.

    Returns
    -------
    Representation
        The features, probabilities, logits and classes.

    Raises
    ------
    TypeError
        If no adapter is registered for the type, or it gives no probabilities.
    ValueError
        If the last layer cannot be determined, rows of a batch are moved or mixed after it, or
        the model's output cannot be read as probabilities.

    Warns
    -----
    UserWarning
        If the logits of a layer that was found do not rank the classes as the probabilities do.

    See Also
    --------
    can_represent : Whether it is able to.
    probabilities : Probabilities alone, of any classifier.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skbait.representation import represent
    >>> X, y = load_iris(return_X_y=True)
    >>> seen = represent(LogisticRegression(max_iter=1000).fit(X, y), X)
    >>> seen.features.shape, seen.probabilities.shape
    (torch.Size([150, 4]), torch.Size([150, 3]))
    """
    with keep_random_states(estimator), keep_training_flags(estimator):
        found = represent_adapter(estimator, X, last_layer=last_layer, device=device)
    if not isinstance(found, Representation):
        raise TypeError(
            f"the adapter registered for {type(estimator).__name__} must return a "
            f"skbait.representation.Representation, got {type(found).__name__}."
        )
    if found.probabilities is None:
        raise TypeError(
            f"{type(estimator).__name__} has no predict_proba, and probabilities are needed. Use "
            "LogisticRegression or SGDClassifier(loss='log_loss'), or wrap yours in "
            "CalibratedClassifierCV."
        )
    if found.features.shape[0] != num_rows(X):
        raise ValueError(
            f"X has {num_rows(X)} rows, but {found.features.shape[0]} rows of features came out "
            f"of {type(estimator).__name__}."
        )
    found = found.to(resolve_device(device, like=found.features))
    return found if head_fits(found) else replace(found, head=None)


represent.register = represent_adapter.register


def probabilities(estimator, X, *, device="auto") -> tuple[torch.Tensor, np.ndarray]:
    """Return the class probabilities of X under any fitted classifier.

    Parameters
    ----------
    estimator : object
        A fitted classifier with ``predict_proba``, a skorch net, or a type registered with
        ``represent.register``.
    X : object
        What the estimator's ``predict`` takes.
    device : str or torch.device, default="auto"
        Where the result is; see `represent`.

    Returns
    -------
    probabilities : torch.Tensor of shape (N, K)
        One column a class, K >= 2.
    classes : ndarray of shape (K,)
        The labels of the columns.

    See Also
    --------
    represent : Features and probabilities, in one pass.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from skbait.representation import probabilities
    >>> X, y = load_iris(return_X_y=True)
    >>> p, classes = probabilities(RandomForestClassifier(random_state=0).fit(X, y), X)
    >>> p.shape, classes
    (torch.Size([150, 3]), array([0, 1, 2]))
    """
    with keep_random_states(estimator), keep_training_flags(estimator):
        found, classes = probabilities_adapter(estimator, X, device=device)
    found, classes = as_tensor(found), np.asarray(classes)
    check_columns(found, classes)
    return found.to(resolve_device(device, like=found)), classes


def classes_of(model, X) -> np.ndarray | None:
    """Return the classes of a fitted classifier, None where they cannot be told.

    Parameters
    ----------
    model : object
        The classifier. A net that was loaded does not know its classes: those of its outputs are
        taken.
    X : object
        Rows, of which two are looked at.

    Returns
    -------
    ndarray of shape (K,) or None
        The classes.
    """
    classes = getattr(model, "classes_", None)
    if classes is None and can_represent(model):
        try:
            classes = probabilities(model, take_rows(X, np.arange(min(2, num_rows(X)))))[1]
        except (TypeError, ValueError):  # it may serve for what needs no probabilities
            return None
    return None if classes is None else np.asarray(classes)
