# SPDX-License-Identifier: BSD-3-Clause
"""What the rows of a class weigh in the training of a classifier."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight
from skorch import NeuralNet

from skbait.utils.introspection import fitted_layers_of
from skbait.utils.labels import EncodedClassifier


def class_weights(model, y) -> dict | None:
    """Return the weights of classes that a fitted classifier was trained with.

    Parameters
    ----------
    model : object
        The fitted classifier: scikit-learn's say it by `class_weight`, nets by the `weight` of
        their criterion, or its `pos_weight`. A wrapper says what it holds.
    y : ndarray of shape (n_rows,)
        The labels that it was trained with, for "balanced".

    Returns
    -------
    dict or None
        Weights by label; a class that is missing has 1. None: all are 1.
    """
    labels = None  # of the outputs of a net, where they are not their numbers
    for each in fitted_layers_of(model):
        model = each
        if isinstance(each, EncodedClassifier):
            labels = each.classes_[np.argsort(each.columns_)].tolist()
    if isinstance(model, NeuralNet):
        return _of_criterion(getattr(model, "criterion_", None), labels)
    given = getattr(model, "class_weight", None)
    if given is None:
        return None
    if isinstance(given, str):
        classes = np.unique(y)
        given = compute_class_weight(given, classes=classes, y=y)
        return dict(zip(classes.tolist(), given.tolist(), strict=True))
    return {label: float(weight) for label, weight in given.items()}


def row_weights(weights: dict | None, y) -> np.ndarray | None:
    """Return the weight of each row by its label; None: all are 1.

    Parameters
    ----------
    weights : dict or None
        Of `class_weights`.
    y : ndarray of shape (n_rows,)
        The labels.

    Returns
    -------
    ndarray of float64 of shape (n_rows,), or None
        The weights.
    """
    if weights is None:
        return None
    return np.array([weights.get(label, 1.0) for label in y.tolist()])


def _of_criterion(criterion, labels) -> dict | None:
    """Return what torch's losses weigh the outputs with, by label."""
    weight = None
    if isinstance(criterion, (torch.nn.CrossEntropyLoss, torch.nn.NLLLoss)):
        weight = criterion.weight
    elif isinstance(criterion, torch.nn.BCEWithLogitsLoss) and criterion.pos_weight is not None:
        weight = torch.cat([torch.ones(1), criterion.pos_weight.detach().cpu().reshape(-1)[:1]])
    if weight is None:
        return None
    weight = weight.detach().cpu().tolist()
    return dict(zip(range(len(weight)) if labels is None else labels, weight, strict=False))
