# SPDX-License-Identifier: BSD-3-Clause
"""From rows to points in a plane."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA

from skbait.representation import can_represent, represent, rows_as_features
from skbait.utils.data import num_rows


def project(owner, parts, projection):
    """Return rows in two dimensions.

    Parameters
    ----------
    owner : query strategy or ActiveLearner
        Fitted; its model gives features, where it has one that can.
    parts : list of data
        The rows, one part after the other. Coordinates may be given for the first alone.
    projection : transformer, array-like or None
        What takes features to the plane, or the coordinates; None: principal components.

    Returns
    -------
    ndarray of float64 of shape (n_rows, 2)
        The coordinates; fewer rows where those given are of the first part.
    """
    if projection is not None and not hasattr(projection, "fit_transform"):
        coordinates = np.asarray(projection, dtype=np.float64)
        n_rows = [num_rows(part) for part in parts]
        allowed = list(dict.fromkeys([n_rows[0], sum(n_rows)]))
        if coordinates.ndim != 2 or coordinates.shape[1] != 2 or len(coordinates) not in allowed:
            raise ValueError(
                f"projection has shape {coordinates.shape}: coordinates need shape "
                + " or ".join(f"({n}, 2)" for n in allowed)
                + ". A transformer with fit_transform, such as PCA(2), will do as well."
            )
        return coordinates
    features = np.concatenate([_features(owner, part) for part in parts])
    if projection is None:
        projection = PCA(min(2, *features.shape), random_state=0)
    coordinates = np.asarray(projection.fit_transform(features), dtype=np.float64)
    if coordinates.shape == (len(features), 1):  # of a single feature, or of a single row
        coordinates = np.hstack([coordinates, np.zeros_like(coordinates)])
    if coordinates.shape != (len(features), 2):
        raise ValueError(
            f"projection={projection!r} gave shape {coordinates.shape} for {len(features)} rows: "
            "it has to give two columns."
        )
    return coordinates


def _features(owner, X):
    """Return the features of rows: those of the owner's model, or the rows themselves."""
    model = getattr(owner, "estimator_", None)
    if model is None or not can_represent(model):
        return rows_as_features(X).cpu().numpy()
    strategy = getattr(owner, "query_strategy", owner)
    last_layer = getattr(strategy, "last_layer", None)
    return represent(model, X, last_layer=last_layer).features.cpu().numpy()
