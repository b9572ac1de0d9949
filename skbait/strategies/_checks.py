# SPDX-License-Identifier: BSD-3-Clause
"""What `BaseQuery` checks: model, labels, which rows of a pool are seen, what a subclass chose."""

from __future__ import annotations

import math
import mmap
import numbers
import reprlib

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import validate_data

from skbait._backend import memory_bytes
from skbait._sklearn import BaseSearchCV
from skbait.representation import can_give_head, can_represent
from skbait.representation.base import unknown_part
from skbait.utils.data import is_table, kind_of, num_rows, row_shape, take_rows
from skbait.utils.finite import check_finite
from skbait.utils.introspection import check_refits, layers_of
from skbait.utils.targets import UNLABELED, has_label
from skbait.utils.validation import check_number_of_rows


def is_fitted_name(name):
    """Tell whether an attribute is one that `fit` sets."""
    return name.endswith("_") and not name.startswith("_")


NEEDS = {"features", "probabilities", "head", "samples", "pool labels"}
"""What a strategy may declare that it needs, see `skbait.BaseQuery`."""


def check_model(model, needs, *, owner):
    """Raise if an estimator, fitted or not, cannot give what a strategy needs."""
    unknown = needs - NEEDS
    if unknown:
        raise RuntimeError(
            f"{owner}._needs names {sorted(unknown)}, and a strategy may need {sorted(NEEDS)}: "
            "that is a bug in it."
        )
    check_refits(model)
    if is_open(model):
        return  # what it will hold is known once it is fitted
    while isinstance(model, (FrozenEstimator, BaseSearchCV)):
        model = model.estimator if isinstance(model, FrozenEstimator) else model.best_estimator_
    if "features" in needs and not can_represent(model):
        part, name = unknown_part(model, can_represent)
        instead = "use a strategy that needs probabilities only, such as MarginQuery"
        wanted = "last-layer features and probabilities"
        if needs == {"features"}:
            wanted = "features"
            instead = (
                "outside of a learner, leave estimator=None where the rows of X are features "
                "themselves, or what a transformer makes of them"
            )
        raise TypeError(
            f"{owner} needs {wanted}, and skbait does not know how "
            f"to take them from {name}. Use a classifier with a linear last layer and "
            "predict_proba (LogisticRegression, SGDClassifier(loss='log_loss'), MLPClassifier, a "
            f"skorch net), give {owner} one of its own as its estimator, register a function for "
            f"yours with skbait.representation.represent.register({type(part).__name__}), or "
            f"{instead}."
        )
    if needs & {"head", "samples"} and not can_give_head(model):
        _, name = unknown_part(model, can_give_head)
        raise TypeError(
            f"{owner} needs a linear head, and the probabilities of {name} do not come from one "
            "applied to its features. Use the classifier without what comes after its last layer, "
            "or a strategy that needs features and probabilities only, such as BaitQuery."
        )
    if needs == {"features"}:
        return
    # before their fit some have no predict either (stacking, and what holds it): wait for it
    may_come = hasattr(type(model), "predict_proba") and not hasattr(model, "predict")
    if not (hasattr(model, "predict_proba") or may_come or can_represent(model)):
        raise TypeError(
            f"{owner} needs class probabilities, and {type(model).__name__} has no predict_proba. "
            "Use a classifier that has it, or wrap yours in CalibratedClassifierCV."
        )


def is_open(model):
    """Tell whether a model is a search, or around one, that may exchange what it holds."""
    searches = (each for each in layers_of(model) if isinstance(each, BaseSearchCV))
    return any(not hasattr(search, "best_estimator_") for search in searches)


def leave_out_unlabeled(X, y, fit_params, model):
    """Return the rows that have a label, their labels, the arguments of the fit, and which rows.

    The last is None where these are all. -1 is the mark of a row without a label, but not where
    a frozen model has learned it as a class.
    """
    labeled = has_label(y)
    if labeled.all() or _knows_class(model, UNLABELED):
        return X, y, fit_params, None
    rows = np.flatnonzero(labeled)
    fit_params = {
        name: take_rows(value, rows) if _has_rows(value, len(y)) else value
        for name, value in fit_params.items()
    }
    return take_rows(X, rows), y[rows], fit_params, rows


def check_enough_labels(y, n_rows, model, *, owner):
    """Raise where a model has to be fitted, and marks of missing labels are why it cannot be."""
    if model is None or isinstance(model, FrozenEstimator) or len(y) == n_rows:
        return
    if len(y) == 0:
        raise ValueError(
            f"y holds no label in its {n_rows} rows (-1, None and NaN mark rows without one): "
            f"{owner} fits {type(model).__name__} on labelled rows."
        )
    if all(label == y[0] for label in y):
        only = y[:1].tolist()[0]
        raise ValueError(
            f"y holds the one class {only!r} besides the marks of rows without a label (-1, None, "
            "NaN), and a classifier needs two. If -1 is one of your classes, give it another name."
        )


def check_like_fit(strategy, X_pool):
    """Raise where X_pool is of another form than the X that a strategy was fitted on."""
    owner = type(strategy).__name__
    n_features = getattr(strategy, "n_features_in_", None)
    X = strategy.X_labeled_
    fitted, given = row_shape(X), row_shape(X_pool)
    if n_features is not None and is_table(X_pool):
        if given != (n_features,):
            raise ValueError(
                f"X_pool has {given[0]} features, but {owner} is expecting {n_features} features "
                "as input."
            )
        validate_data(strategy, X_pool, reset=False, skip_check_array=True)  # the names
    elif fitted is not None and given is not None and len(fitted) != len(given):
        raise ValueError(
            f"X_pool has rows of shape {given}, but {owner} was fitted on rows of shape {fitted}."
        )
    if kind_of(X) == "dict" and (kind_of(X_pool) != "dict" or set(X_pool) != set(X)):
        raise ValueError(
            f"X_pool must be a dict with the keys of X in fit, {sorted(map(str, X))}."
        )


def as_candidates(candidates, n_pool):
    """Return the candidates of a query as int64, None where all rows are; or say what is wrong."""
    if candidates is None:
        return None
    found = np.asarray(candidates)
    if found.dtype == bool and found.shape == (n_pool,):
        found = np.flatnonzero(found)
    if found.shape == (0,):
        raise ValueError("candidates holds no row of X_pool: no candidate is left to choose.")
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise ValueError(
            f"candidates={reprlib.repr(candidates)}, of shape {found.shape} and dtype "
            f"{found.dtype}, must be positions in X_pool (integers), or a mask of its {n_pool} "
            "rows."
        )
    found = found.astype(np.int64)
    if found.min() < 0 or found.max() >= n_pool:
        outside = found[(found < 0) | (found >= n_pool)][0]
        raise ValueError(f"candidates holds position {outside}, and X_pool has {n_pool} rows.")
    if len(np.unique(found)) < len(found):
        raise ValueError("candidates holds a position of X_pool more than once.")
    return found


def number_to_choose(n, n_pool, candidates) -> int:
    """Return n as an int if so many rows can be chosen from a pool, or from its candidates."""
    if candidates is None:
        return check_number_of_rows(n, n_pool)
    return check_number_of_rows(n, len(candidates), pool_name="X_pool that are candidates")


def draw_subset(subset_size, n_pool, n, rng):
    """Return the positions of a random sub-pool, ascending; None where it is the whole pool.

    In the order of the pool ties stay in it, and memory maps are read forwards.
    """
    size = size_of_subset(subset_size, n_pool, n)
    return None if size == n_pool else np.sort(_draw(n_pool, size, rng))


def size_of_subset(subset_size, n_pool, n) -> int:
    """Return the number of rows of a sub-pool, or say that n cannot be chosen from them."""
    if subset_size is None:
        return n_pool
    whole = isinstance(subset_size, numbers.Integral)
    part = math.ceil(subset_size * n_pool - 1e-9)  # 0.07 of 100 are 7, not 8
    size = min(n_pool, int(subset_size) if whole else max(1, part))
    if size < n:
        raise ValueError(
            f"subset_size={subset_size!r} draws {size} of the {n_pool} candidates, fewer than "
            f"n={n}: raise subset_size or choose fewer rows."
        )
    return size


def rows_to_see(X_pool, candidates, *, drawn, check, owner):
    """Return the rows that the model sees, and the positions of the candidates among them.

    Few candidates are copied, and so are `drawn` ones; no other row is read then. Most of a pool
    is seen where it is. The positions are None where the rows are the candidates. With `check`
    all rows that are seen are finite, or an error names the first of X_pool that is not.
    """
    if candidates is None:
        if check:
            check_finite(X_pool, name="X_pool", owner=owner)
        return X_pool, None
    may_copy = drawn or _may_copy(X_pool, len(candidates))
    # to take rows of a Dataset costs nothing
    few = kind_of(X_pool) == "dataset" or 2 * len(candidates) < num_rows(X_pool)
    if not (drawn or (few and may_copy)):
        try:
            if check:
                check_finite(X_pool, name="X_pool", owner=owner)
            return X_pool, candidates
        except ValueError as error:
            # no model would take the row, even if it is no candidate
            if not may_copy:
                raise ValueError(
                    f"{error} This goes for rows that are no candidates, too: X_pool is a memory "
                    f"map, of which {len(candidates)} rows are too many to be copied. subset_size "
                    "copies fewer."
                ) from error
    X_seen = take_rows(X_pool, candidates)
    if check:
        check_finite(X_seen, name="X_pool", owner=owner, positions=candidates)
    return X_seen, None


def as_choice(found, n, n_pool, *, owner):
    """Return what a strategy chose and its scores; what cannot be is a bug in `owner`.

    Positions come as int64, scores as float64, NaN where there are none.
    """
    if not (isinstance(found, tuple) and len(found) == 2):
        length = f" of length {len(found)}" if isinstance(found, tuple) else ""
        raise RuntimeError(
            f"{owner} must return a tuple of positions and utilities (or None for these), but "
            f"gave one {type(found).__name__}{length}: that is a bug in it."
        )
    positions, utilities = found
    positions = _as_positions(positions, n, n_pool, owner)
    return positions, _as_utilities(utilities, n_pool, owner)


def _as_positions(positions, n, n_pool, owner):
    if isinstance(positions, torch.Tensor):
        positions = positions.cpu()
    positions = np.asarray(positions)
    problem = None
    if positions.shape != (n,) or positions.dtype.kind not in "iu":
        problem = f"an array of shape {positions.shape} and dtype {positions.dtype}"
    elif positions.min() < 0 or positions.max() >= n_pool:
        problem = f"positions from {positions.min()} to {positions.max()}"
    elif len(np.unique(positions)) < n:
        problem = "a position more than once"
    if problem is not None:
        raise RuntimeError(
            f"{owner} must return {n} distinct positions below {n_pool} as integers, but gave "
            f"{problem}: that is a bug in it."
        )
    return positions.astype(np.int64)


def _as_utilities(utilities, n_pool, owner):
    if utilities is None:
        return np.full(n_pool, np.nan)
    if isinstance(utilities, torch.Tensor):
        utilities = utilities.detach().cpu().numpy()
    utilities = np.asarray(utilities, dtype=np.float64)
    if utilities.shape != (n_pool,):
        raise RuntimeError(
            f"{owner} must return one utility for each of {n_pool} rows, but gave an array of "
            f"shape {utilities.shape}: that is a bug in it."
        )
    return utilities


def _draw(n_pool, size, rng):
    """Draw `size` distinct positions; few of many without a permutation of all."""
    if 20 * size > n_pool:
        return rng.permutation(n_pool)[:size]
    drawn = np.unique(rng.randint(n_pool, size=size + size // 4 + 8))
    while len(drawn) < size:
        drawn = np.union1d(drawn, rng.randint(n_pool, size=size))
    return rng.permutation(drawn)[:size]


def _has_rows(value, n_rows):
    """Tell whether an argument of a fit has an entry for each row."""
    if isinstance(value, (str, bytes, dict)):
        return False
    try:
        return num_rows(value) == n_rows
    except TypeError:
        return False


def _may_copy(X, n_rows):
    """Tell whether so many rows of X may stand in memory: not most of a large memory map."""
    if not _is_mapped(X):
        return True  # they stand in memory already
    return n_rows * X[:1].nbytes <= memory_bytes(torch.device("cpu")) / 8


def _is_mapped(X):
    """Tell whether an array is a memory map, or a view of one as `numpy.asarray` makes it."""
    while isinstance(X, np.ndarray):
        if isinstance(X, np.memmap):
            return True
        X = X.base
    return isinstance(X, mmap.mmap)


def _knows_class(model, label):
    """Tell whether a frozen model has a number among its classes."""
    if not isinstance(model, FrozenEstimator):
        return False
    classes = np.asarray(getattr(model, "classes_", []))
    return classes.dtype.kind in "if" and bool((classes == label).any())
