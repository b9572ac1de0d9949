# SPDX-License-Identifier: BSD-3-Clause
"""What is asked of skorch nets: where they are, their modules, what two rows give."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager

import torch
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from skorch import NeuralNet, NeuralNetClassifier
from skorch.dataset import unpack_data
from torch.utils.data import Dataset, Subset

from skbait._sklearn import BaseSearchCV
from skbait.utils.introspection import fitted_layers_of, hands_on_X, layers_of
from skbait.utils.net_rows import for_skorch

# Row sums of probabilities may miss one by this much: half precision rounds coarsely.
_SUM_TOLERANCE = 2e-2


def find_nets(estimator) -> list[NeuralNet]:
    """Return every skorch net inside an estimator, however deep, each once.

    Parameters
    ----------
    estimator : object
        A net, or an estimator that holds nets in its parameters or fitted attributes (pipelines,
        searches, ensembles), fitted or not.

    Returns
    -------
    list of skorch.NeuralNet
        The nets, the estimator itself included.
    """
    nets, seen, waiting = [], set(), [estimator]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, NeuralNet):
            nets.append(thing)
        elif isinstance(thing, Mapping):
            waiting.extend(v for v in thing.values() if _may_hold_nets(v))
        elif isinstance(thing, (list, tuple)):
            waiting.extend(v for v in thing if _may_hold_nets(v))
        elif _is_estimator(thing):
            waiting.extend(v for v in vars(thing).values() if _may_hold_nets(v))
    return nets


def _is_estimator(thing) -> bool:
    """Tell whether nets may hide in the attributes of `thing`.

    The pairs of classifier and calibrator in a ``CalibratedClassifierCV`` are no estimators to
    scikit-learn, but they predict.
    """
    if isinstance(thing, type) or not hasattr(thing, "__dict__"):
        return False
    return isinstance(thing, BaseEstimator) or hasattr(type(thing), "predict_proba")


def _may_hold_nets(thing) -> bool:
    return isinstance(thing, (list, tuple, Mapping)) or _is_estimator(thing)


def modules_of(net: NeuralNet, *, criteria: bool = False) -> dict[str, torch.nn.Module]:
    """Return the initialised torch modules of a net by attribute name.

    Parameters
    ----------
    net : skorch.NeuralNet
        The net.
    criteria : bool, default=False
        Whether to include the criteria, which are modules too.

    Returns
    -------
    dict of str to torch.nn.Module
        For example ``{"module_": ...}``; empty before the net is initialised.
    """
    names = [f"{name}_" for name in (*net._modules, *(net._criteria if criteria else ()))]
    found = {name: getattr(net, name, None) for name in names}
    return {name: m for name, m in found.items() if isinstance(m, torch.nn.Module)}


class WrongDtypeError(ValueError):
    """The module would work if X were cast to the dtype of its parameters."""


def as_nets_take(estimator, X):
    """Return X as the nets inside an estimator take it: see `for_skorch`.

    Parameters
    ----------
    estimator : object
        A fitted estimator, with nets inside or without.
    X : object
        The rows that it is asked for.
    """
    nets = find_nets(estimator)
    return for_skorch(X, net=nets[0]) if nets else X


def uses_cuda(net: NeuralNet) -> bool:
    """Tell whether a net computes on a CUDA device, or will once it is fitted.

    Parameters
    ----------
    net : skorch.NeuralNet
        The net, fitted or not.
    """
    if str(net.device).startswith("cuda"):
        return True
    modules = modules_of(net, criteria=True).values()
    return any(p.is_cuda for module in modules for p in module.parameters())


def check_iterator(net: NeuralNet) -> None:
    """Refuse a net whose iterator for predictions leaves out rows, or mixes them.

    Parameters
    ----------
    net : skorch.NeuralNet
        The net, fitted or not.

    Raises
    ------
    ValueError
        If it shuffles, or drops the last batch.
    """
    settings = net.get_params_for("iterator_valid")
    for setting in ("shuffle", "drop_last"):
        if settings.get(setting):
            raise ValueError(
                f"iterator_valid__{setting}=True on the net does not give one prediction a "
                "row in the order of X; leave it False (iterator_train may keep it)."
            )


def few_rows(net: NeuralNet, dataset: Dataset, rows=(0, 1)):
    """Return some rows of a dataset as the net's own iterator hands them to the module.

    Parameters
    ----------
    net : skorch.NeuralNet
        The net.
    dataset : torch.utils.data.Dataset
        The rows, as ``net.get_dataset`` gives them.
    rows : sequence of int, default=(0, 1)
        Their positions; those beyond the end are left out.

    Returns
    -------
    object
        A batch of X: a tensor, or a dict or list of tensors.
    """
    few = Subset(dataset, [row for row in rows if row < len(dataset)])
    batch = next(iter(net.get_iterator(few, training=False)), None)
    if batch is None:
        raise ValueError(
            f"the net's iterator_valid gives no batch for {len(few)} rows; it must give every "
            "row once, in order."
        )
    return unpack_data(batch)[0]


def infer(net: NeuralNet, batch, X=None) -> torch.Tensor:
    """Return the module's first output for a batch; explain the commonest failure, a wrong dtype.

    Parameters
    ----------
    net : skorch.NeuralNet
        An initialised net, in evaluation mode.
    batch : object
        A batch of X.
    X : object, default=None
        Where the batch comes from, for the message.

    Returns
    -------
    torch.Tensor
        The output; the first one, where the module gives several.

    Raises
    ------
    WrongDtypeError
        If the module fails, but works once X is cast to the dtype of its parameters.
    """
    try:
        output = net.infer(batch)
    except Exception as error:
        advice = _dtype_advice(net, batch, X)
        if advice is None:
            raise
        raise WrongDtypeError(advice) from error
    return output[0] if isinstance(output, tuple) else output


class NoScoresError(TypeError):
    """What a module returns cannot be read as scores."""


def are_probabilities(outputs: torch.Tensor) -> bool:
    """Tell whether rows are probabilities: none is negative, and each row has a sum of one.

    Parameters
    ----------
    outputs : torch.Tensor of shape (n, K)
        Finite numbers.
    """
    if bool((outputs < 0).any()):
        return False
    return not bool(((outputs.float().sum(1) - 1).abs() > _SUM_TOLERANCE).any())


def predicts_in_its_own_way(net: NeuralNet) -> bool:
    """Tell whether the class of a net overrides ``predict_proba``.

    Parameters
    ----------
    net : skorch.NeuralNet
        The net.
    """
    usual = (NeuralNet.predict_proba, NeuralNetClassifier.predict_proba)
    return type(net).predict_proba not in usual


def predicts_outputs(estimator) -> bool:
    """Tell whether the predictions of an estimator are outputs of a net instead of classes.

    Parameters
    ----------
    estimator : object
        An estimator, fitted or not: a net, or a pipeline, a search or a frozen estimator around
        one, which predict as it does.
    """
    for each in layers_of(estimator):
        if isinstance(each, NeuralNet):
            return type(each).predict is NeuralNet.predict
        if not isinstance(each, (Pipeline, BaseSearchCV, FrozenEstimator)):
            break
    return False


def scores_of(net: NeuralNet, output) -> torch.Tensor:
    """Return what a module gives as a tensor of scores.

    Parameters
    ----------
    net : skorch.NeuralNet
        The net.
    output : object
        The module's first output. What is no tensor (a dict with logits in it) goes through the
        net's `predict_nonlinearity`, as in its ``predict_proba``.

    Raises
    ------
    NoScoresError
        If that does not make a tensor of it.
    """
    if isinstance(output, torch.Tensor):
        return output
    try:
        found = net._get_predict_nonlinearity()(output)
    except Exception:  # it is made for tensors
        found = None
    if not isinstance(found, torch.Tensor):
        raise NoScoresError(
            f"the module of {type(net).__name__} returns {type(output).__name__}, and a tensor of "
            "logits or probabilities is needed: override `infer` on the net to return it, or pass "
            "predict_nonlinearity= with a function that makes probabilities of the output."
        )
    return found


@contextmanager
def explain_dtype(estimator, X):
    """Say what to do where a net inside an estimator fails for the dtype of X alone.

    Parameters
    ----------
    estimator : object
        A fitted estimator that is asked for predictions inside the context.
    X : object
        The rows that it is asked for.

    Raises
    ------
    WrongDtypeError
        In place of torch's error.
    """
    try:
        yield
    except TypeError as error:
        if "BFloat16" in str(error):
            raise WrongDtypeError(
                "the module gives bfloat16, of which NumPy has none: let its forward return "
                "output.float()."
            ) from error
        raise
    except RuntimeError as error:
        net = _net_that_sees_X(estimator)
        if net is None:
            raise
        for module in modules_of(net).values():
            module.eval()  # as for predictions
        try:
            with torch.no_grad():
                infer(net, few_rows(net, net.get_dataset(for_skorch(X, net=net))), X)
        except WrongDtypeError as wrong:
            raise wrong from error
        except Exception:  # then it is not for the dtype: what was raised first counts
            pass
        raise


def _net_that_sees_X(estimator) -> NeuralNet | None:
    """Return the fitted net that a fitted estimator hands X to as it is, None if there is none."""
    for each in fitted_layers_of(estimator):
        if isinstance(each, Pipeline) and not hands_on_X(each):
            return None
        if isinstance(each, NeuralNet):
            return each
    return None


def _dtype_advice(net: NeuralNet, batch, X) -> str | None:
    """Say how to cast X, if that is what makes the module work; None if it is not."""
    parameters = (p for module in modules_of(net).values() for p in module.parameters())
    wanted = next((p.dtype for p in parameters if p.is_floating_point()), None)
    # Integers may be meant (they index an embedding): cast them only if floats do not suffice.
    for also_integers in (False, True):
        wrong: dict[str, torch.dtype] = {}
        cast = _cast(batch, wanted, also_integers, "X", wrong)
        if wanted is None or not wrong:
            continue
        try:
            with torch.no_grad():
                net.infer(cast)
        except Exception:  # then the dtype is not, or not alone, what is wrong
            continue
        name, dtype = next(iter(wrong.items()))
        short = str(wanted).removeprefix("torch.")
        if isinstance(X, Dataset):
            fix = f"let the Dataset give {short}"
        elif isinstance(X, torch.Tensor):
            fix = f"pass {name}.to({wanted})"
        else:
            fix = f"pass {name}.astype(np.{short})"
        kind = type(next(iter(modules_of(net).values()))).__name__
        return (
            f"{name} is {str(dtype).removeprefix('torch.')}, but the parameters of {kind} are "
            f"{short}: {fix}."
        )
    return None


def _cast(batch, wanted, also_integers, name, wrong):
    """Return the batch with its tensors cast, noting in `wrong` those that had to be."""
    if isinstance(batch, torch.Tensor):
        if batch.dtype == wanted or not (batch.is_floating_point() or also_integers):
            return batch
        wrong[name] = batch.dtype
        return batch.to(wanted)
    if isinstance(batch, Mapping):
        return {
            key: _cast(value, wanted, also_integers, f"{name}[{key!r}]", wrong)
            for key, value in batch.items()
        }
    if isinstance(batch, (list, tuple)):
        return [
            _cast(value, wanted, also_integers, f"{name}[{i}]", wrong)
            for i, value in enumerate(batch)
        ]
    return batch
