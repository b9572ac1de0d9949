# SPDX-License-Identifier: BSD-3-Clause
"""The traps of training a network on few labels: seen beforehand, or told from what came of it."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.base import clone
from skorch import NeuralNet, NeuralNetClassifier
from skorch.dataset import Dataset, ValidSplit
from torch.utils.data import Subset

from skbait.utils.data import kind_of
from skbait.utils.net_rows import for_skorch
from skbait.utils.nets import are_probabilities, find_nets
from skbait.utils.state import keep_random_states


class WrongLossError(ValueError):
    """A net's criterion takes other outputs than those of its module."""


def check_module(net: NeuralNet) -> None:
    """Refuse an instantiated module: its weights, trained or not, would be in every clone.

    Parameters
    ----------
    net : skorch.NeuralNet
        A net that is to be cloned and trained.
    """
    module = net.module
    if isinstance(module, torch.nn.Module) and not net.get_params_for("module"):
        name = type(module).__name__
        raise ValueError(
            f"module={name}(...) on the net is an instance, and every clone of the net would "
            "start from the weights it has now: trained ones, once it was fitted. Pass the class "
            f"and its arguments (module={name}, module__<argument>=...) or a function that makes "
            "a new module (to start from pretrained weights, for example). To use a trained net "
            "as it is, wrap it in sklearn.frozen.FrozenEstimator."
        )


def check_loss(net: NeuralNet, output: torch.Tensor) -> None:
    """Refuse logarithms of probabilities, and logits, where the net takes the logarithm itself.

    Parameters
    ----------
    net : skorch.NeuralNet
        An initialised net.
    output : torch.Tensor of shape (n, K)
        What its module gives for some rows.

    Raises
    ------
    WrongLossError
        If training would go astray, mostly without a word.
    """
    takes_logarithm = (
        isinstance(net, NeuralNetClassifier)
        and type(net).get_loss is NeuralNetClassifier.get_loss
        and isinstance(getattr(net, "criterion_", None), torch.nn.NLLLoss)
    )
    if takes_logarithm and output.ndim == 2 and not are_probabilities(output):
        raise WrongLossError(
            "with criterion=NLLLoss NeuralNetClassifier takes the logarithm of what the module "
            "gives, so that it must give probabilities; it gives others (logits, or logarithms "
            "already), which it would not learn from. Set criterion=torch.nn.CrossEntropyLoss on "
            "the net, for both."
        )


def check_train_split(net: NeuralNet, X, codes, labels, fit_params) -> None:
    """Refuse a validation split that is impossible, or that takes all rows of a class.

    Parameters
    ----------
    net : skorch.NeuralNet
        A net that is to be trained.
    X : object or None
        Rows as the net gets them; None where they are not known beforehand.
    codes : ndarray of int64 of shape (n_rows,)
        The column of the label of each row.
    labels : ndarray of shape (n_classes,)
        The label of each column.
    fit_params : dict
        Of the net's ``fit``.
    """
    split = net.train_split
    if not split or (X is None and not isinstance(split, ValidSplit)):
        return
    name = getattr(split, "__name__", type(split).__name__)
    if isinstance(split, ValidSplit):
        name = f"ValidSplit({split.cv!r}, stratified={split.stratified})"
    start = f"train_split={name} on the net sets rows aside for validation, but"
    advice = "Set train_split=None on the net, so that it trains on every labelled row."
    with keep_random_states(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters of it is checked below
        try:
            if X is None:
                dataset = Dataset(np.zeros((len(codes), 1), dtype=np.float32))
            else:
                dataset = net.get_dataset(for_skorch(X, codes, net=clone(net)))
            train, _ = split(dataset, codes, **fit_params)
        except Exception as error:
            if not isinstance(split, ValidSplit):
                return  # a function of the user's own, which will complain for itself
            raise ValueError(
                f"{start} the {len(codes)} labelled rows cannot be split ({error}). {advice}"
            ) from error
    if not isinstance(train, Subset) or train.dataset is not dataset:
        return
    missing = np.setdiff1d(codes, codes[np.asarray(train.indices, dtype=np.int64)])
    if len(missing):
        names = ", ".join(repr(label) for label in labels[missing].tolist())
        raise ValueError(
            f"{start} of the {len(codes)} labelled rows none of class {names} would be left to "
            f"train on. {advice}"
        )


def check_trained(model) -> None:
    """Raise where a training saw no batch; warn where its loss is not a number.

    Parameters
    ----------
    model : object
        An estimator that has just been fitted.
    """
    for net in find_nets(model):
        history = getattr(net, "history_", None) or []
        seen = [epoch.get("train_batch_count") for epoch in history]
        if seen and all(count == 0 for count in seen):
            size = net.get_params_for("iterator_train").get("batch_size", net.batch_size)
            raise ValueError(
                "the net was not trained: its iterator_train gave no batch. With "
                "iterator_train__drop_last=True, rows that do not fill a batch of "
                f"batch_size={size} are dropped: set one of no more rows than are labelled at "
                "first, less those that train_split puts aside."
            )
        loss = history[-1].get("train_loss") if seen else None
        if isinstance(loss, float) and loss != loss:
            warnings.warn(
                "the loss of the net's training is not a number in its last epoch: it may have "
                "diverged (a smaller lr helps), or criterion= does not go with the module.",
                RuntimeWarning,
                stacklevel=2,
            )


def explain_training(net: NeuralNet, X, n_rows: int, error) -> None:
    """After a fit failed: say what to do where few labels, or no rows set aside, are the cause.

    Parameters
    ----------
    net : skorch.NeuralNet
        The net, as the user gave it.
    X : object
        The rows.
    n_rows : int
        How many.
    error : Exception
        What was raised.
    """
    if isinstance(error, KeyError) and "not found in history" in str(error):
        if net.train_split:
            return
        raise ValueError(
            f"a callback of the net failed: {error.args[0]} With train_split=None no rows are set "
            "aside for validation: have the callback look at monitor='train_loss', or give rows "
            "of your own by train_split=skorch.helper.predefined_split(dataset)."
        ) from error
    if isinstance(error, TypeError) and _names_a_column(str(error), X):
        raise ValueError(
            "skorch hands the columns of a data frame to the module one by one, by their names: "
            "pass X.to_numpy(np.float32), or put a step into a Pipeline that makes an array of "
            f"it ({error})."
        ) from error
    if "more than 1 value per channel" not in str(error):
        return
    size = net.get_params_for("iterator_train").get("batch_size", net.batch_size)
    rows = f"the {n_rows} labelled rows"
    if net.train_split:
        rows = f"what train_split leaves of {rows}"
    raise ValueError(
        f"{rows}, in batches of batch_size={size}, leave a batch of a single row, on "
        "which batch normalisation cannot train. Set another batch_size on the net, or "
        "iterator_train__drop_last=True with one that the first labelled rows fill."
    ) from error


def _names_a_column(message, X) -> bool:
    """Tell whether a TypeError is about the columns of a frame, as names of arguments."""
    if X is None or kind_of(X) != "frame" or not hasattr(X, "columns"):
        return False
    named = any(f"'{column}'" in message for column in X.columns)
    return "keywords must be strings" in message or ("unexpected keyword" in message and named)
