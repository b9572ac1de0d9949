# SPDX-License-Identifier: BSD-3-Clause
"""Fit a clone of any estimator, from a seed, with the traps of skorch nets caught beforehand.

What goes wrong with networks on a handful of labels goes wrong late, or silently: a validation
split that takes the only row of a class, classes that nobody has labelled yet, weights that a
clone carries over. `fit_clone` looks for each before training starts, and says what to do.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress

import numpy as np
import torch
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, column_or_1d
from skorch import NeuralNet, NeuralNetRegressor

from skbait._sklearn import BaseSearchCV, set_random_states
from skbait.utils.data import num_rows, take_rows
from skbait.utils.interrupts import interruptible
from skbait.utils.introspection import hands_on_X, layers_of
from skbait.utils.labels import (
    EncodedClassifier,
    are_codes,
    encode,
    fit_codes,
    has_binary_loss,
    label_columns,
)
from skbait.utils.net_rows import for_skorch
from skbait.utils.net_training import (
    WrongLossError,
    check_loss,
    check_module,
    check_train_split,
    check_trained,
    explain_training,
)
from skbait.utils.nets import (
    NoScoresError,
    WrongDtypeError,
    check_iterator,
    few_rows,
    find_nets,
    infer,
    modules_of,
    predicts_in_its_own_way,
    scores_of,
)
from skbait.utils.random_states import in_this_process
from skbait.utils.state import keep_random_states, read_only_arrays_allowed

__all__ = ["EncodedClassifier", "fit_clone"]

# Wrappers that hand X and y on to `estimator`, whole or in folds.
_WRAPPERS = (
    BaseSearchCV,
    CalibratedClassifierCV,
    FixedThresholdClassifier,
    TunedThresholdClassifierCV,
)


def fit_clone(estimator, X, y, *, random_state=None, classes=None, **fit_params):
    """Fit a clone of an estimator without touching the global random states.

    Parameters
    ----------
    estimator : object
        The estimator; it is not changed. A ``FrozenEstimator`` is returned as it is.
    X : object
        The labelled rows.
    y : array-like of shape (n_rows,)
        Their labels. For nets these may be strings, booleans or any numbers: where they are not
        the column numbers 0..K-1, the net comes back inside an `EncodedClassifier`.
    random_state : int, RandomState instance or None, default=None
        Seeds every ``random_state`` parameter of the clone, as scikit-learn's ensembles do, and
        the global generators of NumPy and torch for the time of the fit: the same number gives
        the same weights. Where there are nets, what would be trained in processes by `n_jobs` is
        trained one after the other for it. None leaves the clone's parameters alone and draws a
        new seed each time.
    classes : array-like or None, default=None
        All labels known so far, where y may miss some of them.
    **fit_params : dict
        For the estimator's ``fit``.

    Returns
    -------
    object
        The fitted clone.

    Raises
    ------
    ValueError
        If a net cannot be trained sensibly on these rows; the message says what to set.
    KeyboardInterrupt
        If Ctrl-C is pressed: a net that was trained in part, as skorch gives it, is dropped.

    See Also
    --------
    EncodedClassifier : What a net becomes whose labels are no numbers 0..K-1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import SGDClassifier
    >>> from skbait.utils.fitting import fit_clone
    >>> X, y = load_iris(return_X_y=True)
    >>> fitted = fit_clone(SGDClassifier(loss="log_loss"), X, y, random_state=0)
    >>> fitted.classes_
    array([0, 1, 2])
    """
    if isinstance(estimator, FrozenEstimator):
        check_is_fitted(estimator)
        return estimator
    fresh = clone(estimator)
    if random_state is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
    else:
        generator = check_random_state(random_state)
        set_random_states(fresh, generator)
        seed = int(generator.randint(2**31 - 1))
    net, _ = _net_inside(fresh)
    # a net in a process of joblib's would begin with weights that no seed fixes
    nets = find_nets(fresh)
    processes = in_this_process() if nets and random_state is not None else nullcontext()
    with (
        interruptible() if nets else nullcontext(),
        keep_random_states(fresh, seed=seed),
        processes,
        read_only_arrays_allowed(),
    ):
        try:
            if net is None or y is None:
                fresh.fit(X, y, **fit_params)
                check_trained(fresh)
                return fresh
            return _fit_with_net(estimator, fresh, X, column_or_1d(y), classes, fit_params)
        except Exception as error:
            _note_labels(error, y)
            raise


def _note_labels(error, y):
    """Say beneath an error how many labels there were: few of them are often the cause."""
    noted = "The training had "
    with suppress(Exception):  # labels of no one kind: nothing may take the place of the error
        if any(note.startswith(noted) for note in getattr(error, "__notes__", ())):
            return  # by a training inside of this one
        classes, counts = np.unique(column_or_1d(y), return_counts=True)
        rarest = classes[counts.argmin()]
        rarest = repr(str(rarest)) if isinstance(rarest, str) else rarest
        error.add_note(
            f"{noted}{counts.sum()} labelled rows of {len(classes)} classes; the rarest, "
            f"{rarest}, has {counts.min()} of them."
        )


def _fit_with_net(estimator, fresh, X, y, classes, fit_params):
    """Check all that can be checked on `estimator`, then fit its clone `fresh`."""
    if len(y) != num_rows(X):
        raise ValueError(f"X has {num_rows(X)} rows, y has {len(y)}.")
    asked, sees_X = _net_inside(estimator)
    check_module(asked)
    check_iterator(asked)
    n_outputs = _n_outputs(asked, X) if sees_X else None
    labels = label_columns(asked, y, classes, n_outputs)
    codes = encode(y, labels)
    check_train_split(asked, X if sees_X else None, codes, labels, fit_params)

    net, _ = _net_inside(fresh)
    named = are_codes(labels)
    if not named and len(labels) == 2:
        _name_positive_class(fresh, labels)
    if hasattr(net, "classes") and (not named or len(np.unique(codes)) < len(labels)):
        # Inside, the labels are column numbers, those of classes not yet seen included.
        net.classes = np.arange(len(labels))
    model = fresh if named else EncodedClassifier(fresh, classes=labels)
    try:
        fit_codes(model, X, codes, **fit_params) if named else model.fit(X, y, **fit_params)
    except Exception as error:
        explain_training(asked, X if sees_X else None, len(y), error)
        if not sees_X:
            _explain_from_inside(estimator, X, y, classes, error)
        raise
    if n_outputs is None and hasattr(model, "predict_proba"):
        # The outputs could not be counted beforehand: the same check, late.
        few = for_skorch(take_rows(X, np.arange(min(2, num_rows(X)))), net=net)
        inside = model if named else model.estimator_  # the encoder gives a column a label
        scores = inside.predict_proba(few)
        check_loss(find_nets(inside)[-1], torch.as_tensor(scores))
        label_columns(asked, y, classes, np.shape(scores)[1])
    check_trained(model)
    return model


def _name_positive_class(estimator, labels) -> None:
    """Tell a threshold wrapper, which is fitted on 0 and 1, which of them is positive."""
    labels = labels.tolist()
    for each in layers_of(estimator):
        if isinstance(each, FixedThresholdClassifier):
            # None, as scikit-learn has it: the second of the sorted ones
            positive = sorted(labels)[1] if each.pos_label is None else each.pos_label
            if positive in labels:
                each.pos_label = labels.index(positive)


def _net_inside(estimator) -> tuple[NeuralNet | None, bool]:
    """Return the net that an estimator comes down to, and whether it is handed X unchanged."""
    sees_X = True
    while not isinstance(estimator, NeuralNet):
        if isinstance(estimator, Pipeline):
            sees_X = sees_X and hands_on_X(estimator)
            estimator = estimator.steps[-1][1]
        elif isinstance(estimator, _WRAPPERS):
            estimator = estimator.estimator
        else:
            return None, False
    return (None, False) if isinstance(estimator, NeuralNetRegressor) else (estimator, sees_X)


def _n_outputs(net: NeuralNet, X) -> int | None:
    """Count the outputs of the module on two rows, in a clone that is thrown away.

    Returns None where that cannot be done: a callback may set the sizes of the module when
    training starts, for example. Then it is counted after the fit.
    """
    trial = clone(net).set_params(verbose=0, callbacks="disable", compile=False)
    with keep_random_states(net):
        try:
            trial.initialize()
            X = for_skorch(X, net=net)
            batch = few_rows(trial, trial.get_dataset(X))
            for module in modules_of(trial).values():
                module.eval()
            with torch.no_grad():
                output = scores_of(trial, infer(trial, batch, X))
            check_loss(trial, output)
        except (WrongDtypeError, WrongLossError):
            raise
        except NoScoresError:
            if predicts_in_its_own_way(net):
                return None
            raise
        except Exception:  # whatever it is, training will say it better
            return None
    columns = 1 if output.ndim < 2 else output.shape[1]
    return 2 if columns == 1 and has_binary_loss(net) else columns


def check_labels(estimator, y, n_outputs: int) -> None:
    """Refuse labels that a net inside an estimator has no outputs for.

    Parameters
    ----------
    estimator : object
        The estimator, not fitted; one without a net passes.
    y : ndarray of shape (n_rows,)
        All labels known.
    n_outputs : int
        How many columns of probabilities the estimator gave once it was fitted.

    Raises
    ------
    ValueError
        What `fit_clone` would raise.
    """
    net, _ = _net_inside(estimator)
    if net is not None:
        label_columns(net, y, None, n_outputs)


def check_dtype(estimator, X, *, name: str) -> None:
    """Refuse rows in a dtype that the net of an estimator cannot take.

    Parameters
    ----------
    estimator : object
        The estimator, fitted or not; anything that is no net, or does not hand it X as it is,
        passes.
    X : object
        The rows.
    name : str
        What X is called, for the message.

    Raises
    ------
    ValueError
        If the module would work if X were cast.
    """
    while hasattr(estimator, "estimator") and not isinstance(estimator, _WRAPPERS):
        estimator = estimator.estimator  # frozen, or under a posterior or a temperature
    net, sees_X = _net_inside(estimator)
    if net is None or not sees_X:
        return
    try:
        _n_outputs(net, X)
    except WrongLossError:  # what is scored is not trained
        return
    except WrongDtypeError as wrong:
        raise ValueError(f"{name} cannot be scored: {wrong}") from wrong


def _explain_from_inside(estimator, X, y, classes, error) -> None:
    """After a fit failed in a pipeline: raise what would have been said if the net had seen X."""
    try:
        while not isinstance(estimator, NeuralNet):
            if isinstance(estimator, Pipeline):
                X = clone(estimator[:-1]).fit(X, y).transform(X)
                estimator = estimator.steps[-1][1]
            else:
                estimator = estimator.estimator
    except Exception:  # then it was not the net that failed
        return
    try:
        label_columns(estimator, y, classes, _n_outputs(estimator, X))
    except WrongDtypeError as wrong:
        raise ValueError(
            f"the steps of the Pipeline before the net hand it the wrong dtype: {wrong} In a "
            "Pipeline, a FunctionTransformer that casts X does so."
        ) from error
    except ValueError as wrong:
        raise ValueError(str(wrong)) from error
