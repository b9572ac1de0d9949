# SPDX-License-Identifier: BSD-3-Clause
"""The temperature of a model's logits, by cross-validation on the labelled rows.

On the rows that it was trained on a model cannot be calibrated, so it would have to be trained
anew on folds of them. What is trained here instead is the last layer alone, a logistic regression
on the features (of unit norm): the model may be a net whose training takes minutes, its features
and the labels are all that is needed, and nothing depends on the model's own luck. What decides
about the temperature is how far the model was driven, which regularisation, epochs and learning
rate say in terms that are different for every model. The regularisation of the logistic regression
is therefore chosen such that it is as confident on the labelled rows as the model is.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from skbait._backend import EXACT
from skbait.numerics.kernels import unit_rows
from skbait.numerics.temperature import best_temperature

TEMPERATURES = [tenths / 10 for tenths in range(10, 201)]
"""The temperatures that are tried: 1.0, 1.1, ..., 20.0."""

N_FOLDS = 5
# From fewer rows nothing can be said; of more rows, this many are used.
LEAST_ROWS = 10
MOST_ROWS = 1000
# C of the logistic regressions that are tried, the most cautious one first.
STRENGTHS = [10 ** (half_decades / 2) for half_decades in range(-6, 11)]


def with_two_columns(logits: torch.Tensor) -> torch.Tensor:
    """Return logits (N, K) in float64: a single one (N, 1) is that of the second of two classes.

    Parameters
    ----------
    logits : torch.Tensor of shape (N, K) or (N, 1)
        The logits.

    Returns
    -------
    torch.Tensor of shape (N, K), float64
        Their softmax are the probabilities.
    """
    logits = logits.to(EXACT)
    return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits


def cross_validated_temperature(
    features: torch.Tensor, labels: np.ndarray, probabilities: torch.Tensor
) -> float:
    """Return the temperature that calibrates a model best on rows that it has not seen.

    Parameters
    ----------
    features : torch.Tensor of shape (L, D)
        Last-layer features of the labelled rows.
    labels : ndarray of shape (L,)
        Their labels.
    probabilities : torch.Tensor of shape (L, K)
        What the model gives them.

    Returns
    -------
    float
        One of `TEMPERATURES`; 1 where fewer than `LEAST_ROWS` rows, or rows of fewer than two
        classes, are left once classes with a single row are set aside. Nothing in it is random.
    """
    rows, codes = rows_by_class(labels)
    if len(rows) < LEAST_ROWS or codes[-1] == 0:
        return 1.0
    if len(rows) > MOST_ROWS:
        kept = np.linspace(0, len(rows) - 1, MOST_ROWS).round().astype(np.int64)
        return cross_validated_temperature(
            features[rows[kept]], labels[rows[kept]], probabilities[rows[kept]]
        )
    X = _coordinates(unit_rows(features[rows])).cpu().numpy()
    doubt = 1 - float(probabilities[rows].to(EXACT).amax(dim=1).mean())
    # neighbours in the order of the classes are in different folds, whatever the labels' number
    folds = PredefinedSplit(np.arange(len(rows)) % N_FOLDS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the solver, where it can get no closer
        head = _head(_strength(X, codes, doubt), len(rows))
        logits = cross_val_predict(head, X, codes, cv=folds, method="decision_function")
    logits = with_two_columns(torch.from_numpy(logits.reshape(len(rows), -1)))
    return best_temperature(logits, torch.from_numpy(codes), TEMPERATURES)


def rows_by_class(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows class after class, those that are alone in their class left out.

    Parameters
    ----------
    labels : ndarray of shape (L,)
        Labels of any kind.

    Returns
    -------
    rows : ndarray of int64 of shape (L',)
        Positions: the class that appears first comes first, its rows in their order.
    codes : ndarray of int64 of shape (L',)
        The classes of these rows, as 0, 1, ...
    """
    _, first, codes, counts = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first[codes], kind="stable")
    rows = order[counts[codes[order]] > 1]
    return rows, np.unique(first[codes[rows]], return_inverse=True)[1].astype(np.int64)


def _coordinates(rows):
    """Return rows in a basis of their span, where that is smaller: inner products are the same."""
    return torch.linalg.qr(rows.T).R.T if rows.shape[0] < rows.shape[1] else rows


def _strength(X, codes, doubt):
    """Return the C for which the mean confidence on X is closest to ``1 - doubt``."""
    doubts = {}

    def is_confident(i):  # from some C on: confidence grows with C
        p = _head(STRENGTHS[i], len(X)).fit(X, codes).predict_proba(X)
        doubts[i] = 1 - p.max(axis=1).mean()
        return doubts[i] <= doubt

    bisect_left(range(len(STRENGTHS)), True, key=is_confident)
    closest = min(doubts, key=lambda i: abs(np.log(max(doubts[i], 1e-9) / max(doubt, 1e-9))))
    return STRENGTHS[closest]


def _head(strength, n_rows):
    # The curvature is as small as 1 / (C·L) where a head is confident, and how confident it is
    # depends on where the solver stops: far from convergence on the last bits of X.
    tolerance = 1e-4 / (strength * n_rows)
    return LogisticRegression(C=strength, solver="newton-cg", tol=tolerance, max_iter=200)
