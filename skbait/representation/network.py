# SPDX-License-Identifier: BSD-3-Clause
"""Adapter of skorch nets: one pass over the rows, with a hook on the last linear layer.

The pass is the net's own ``forward_iter`` (its ``batch_size``, its ``iterator_valid``, its
``infer``), and the probabilities are what its ``predict_proba`` makes of the module's output. The
hook copies the layer's input into the result batch by batch, and is removed whatever happens.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from skorch import NeuralNet, NeuralNetRegressor
from torch import nn

from skbait._backend import resolve_device
from skbait.representation.alignment import check_alignment
from skbait.representation.base import (
    can_represent,
    probabilities_adapter,
    represent_adapter,
)
from skbait.representation.contents import see_alike
from skbait.representation.head import linear_head
from skbait.representation.last_layer import layers_of, named_layer, traced_layer, used_often
from skbait.representation.result import Representation
from skbait.representation.rows import RowBuffer
from skbait.utils.net_rows import for_skorch
from skbait.utils.nets import (
    are_probabilities,
    check_iterator,
    few_rows,
    infer,
    modules_of,
    predicts_in_its_own_way,
    scores_of,
)
from skbait.utils.state import read_only_arrays_allowed


@can_represent.register(NeuralNet)
def _(estimator) -> bool:
    return not isinstance(estimator, NeuralNetRegressor)


@represent_adapter.register(NeuralNet)
def _(estimator, X, *, last_layer, device) -> Representation:
    rows = _NetRows(estimator, X, device)
    with rows.in_evaluation():
        if last_layer is None:
            name, layer = rows.traced_layer()
        else:
            name, layer = rows.named_layer(last_layer)
        with rows.recording(name, layer):
            rows.run()
        see_alike(X, rows.buffer.all())
        probabilities, logits = rows.probabilities(), rows.buffer.get("logits")
        check_alignment(
            estimator,
            rows.dataset,
            layer,
            name,
            logits,
            probabilities,
            traced=last_layer is None,
        )
    return Representation(
        rows.buffer.get("features"),
        probabilities,
        logits,
        _columns(estimator, probabilities.shape[1]),
        _head_of(layer),
    )


@probabilities_adapter.register(NeuralNet)
def _(estimator, X, *, device):
    rows = _NetRows(estimator, X, device)
    with rows.in_evaluation():
        rows.check_input()
        rows.run()
    see_alike(X, rows.buffer.all())
    probabilities = rows.probabilities()
    return probabilities, _columns(estimator, probabilities.shape[1])


def _head_of(layer: nn.Module):
    """Return a layer as a head; None where it is no linear one."""
    weight = getattr(layer, "weight", None)
    pointwise = (
        isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
        and layer.groups == 1
        and weight[0, 0].numel() == 1  # it gave one vector a row: of one place
    )
    if isinstance(layer, nn.Linear) or pointwise:
        return linear_head(weight.flatten(1), layer.bias)
    return None


def _columns(net: NeuralNet, n_columns: int) -> np.ndarray:
    """Return the labels of a net's output columns.

    torch's losses take the label as the index of the column, so that ``classes_`` as skorch
    infers it from y names the columns only where y held every class.
    """
    declared = getattr(net, "classes", None)
    if declared is not None and len(declared) > 0 and len(declared) != n_columns:
        raise ValueError(
            f"the net was given classes= with {len(declared)} labels, but its module has "
            f"{n_columns} outputs: these numbers must agree."
        )
    known = getattr(net, "classes_", None)
    if known is not None and len(known) == n_columns:
        return np.asarray(known)
    return np.arange(n_columns)


class _NetRows:
    """Some rows on their way through a net.

    Parameters
    ----------
    net : skorch.NeuralNet
        A fitted net.
    X : object
        The rows.
    device : str or torch.device
        Where the result shall be; "auto" is where the parameters of the net are.
    """

    def __init__(self, net, X, device):
        if isinstance(net, NeuralNetRegressor):
            raise TypeError(
                f"{type(net).__name__} is a regressor; skbait needs class probabilities, as "
                "NeuralNetClassifier and NeuralNetBinaryClassifier give them."
            )
        net.check_is_fitted()
        self.net = net
        self.X = for_skorch(X, net=net)
        self.dataset = net.get_dataset(self.X)
        self.n_rows = len(self.dataset)
        if self.n_rows == 0:
            raise ValueError("X has no rows.")
        check_iterator(net)
        self.modules = modules_of(net)
        if not self.modules:
            raise TypeError(f"{type(net).__name__} holds no torch module.")
        top = next(iter(self.modules.values()))
        self.kind = type(getattr(top, "_orig_mod", top)).__name__
        parameters = (p for module in self.modules.values() for p in module.parameters())
        device = resolve_device(device, like=next(parameters, None))
        self.buffer = RowBuffer(self.n_rows, device)
        self.layer_name = None
        self._calls: list[tuple[int, ...]] = []  # shapes that the layer gave in this batch
        self._in_batches = True  # whether `_calls` is looked at, and emptied, after each batch

    @contextmanager
    def in_evaluation(self) -> Iterator[None]:
        """Predict: evaluation mode, hooks that are heard, read-only memory maps allowed."""
        with ExitStack() as stack:
            stack.enter_context(read_only_arrays_allowed())
            stack.enter_context(torch.inference_mode(False))  # the graph is looked at
            if "torch._dynamo" in sys.modules:
                # A compiled graph does not call hooks that came after it was compiled, and what
                # is compiled need not be a module: methods and functions are too.
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            for module in modules_of(self.net, criteria=True).values():
                module.eval()
            yield

    # ---- which layer -----------------------------------------------------------------------

    def named_layer(self, last_layer) -> tuple[str, nn.Module]:
        """Return the layer that the user named."""
        layer = named_layer(layers_of(self.modules), last_layer)
        self.check_input()
        return last_layer, layer

    def check_input(self) -> None:
        """Try two rows, so that an X of the wrong dtype is explained before the long pass."""
        batch = few_rows(self.net, self.dataset)
        with torch.no_grad():
            infer(self.net, batch, self.X)

    def traced_layer(self) -> tuple[str, nn.Module]:
        """Find the last linear layer by a pass of two rows."""
        batch = few_rows(self.net, self.dataset)
        return traced_layer(
            layers_of(self.modules),
            lambda: scores_of(self.net, infer(self.net, batch, self.X)),
            kind=self.kind,
        )

    # ---- the pass --------------------------------------------------------------------------

    @contextmanager
    def recording(self, name: str, layer: nn.Module) -> Iterator[None]:
        """Keep the inputs and outputs of `layer` while the net runs."""
        self.layer_name = name
        handle = layer.register_forward_hook(self._keep, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def _keep(self, module, args, kwargs, output) -> None:
        """Hook: copy what the layer gets and gives, before later steps may work in place."""
        given = [v for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor)]
        if not given or not isinstance(output, torch.Tensor):
            raise ValueError(f"the module {self.layer_name!r} does not map a tensor to a tensor.")
        n_rows = 1 if given[0].ndim < 2 else len(given[0])
        features = _one_vector_a_row(given[0], n_rows, self.layer_name)
        logits = _one_vector_a_row(output, n_rows, self.layer_name)
        self._calls.append(tuple(logits.shape))
        if not self._in_batches and sum(shape[0] for shape in self._calls) > self.n_rows:
            raise ValueError(
                f"predict_proba of {type(self.net).__name__} runs the module {self.layer_name!r} "
                "more than once for a row, so that a row has no single vector of last-layer "
                "features. Leave predict_proba as skorch has it, or use a strategy that needs "
                "probabilities only."
            )
        # a further use in the same batch is refused after the batch
        if len(self._calls) == 1 or not self._in_batches:
            self.buffer.add("features", features)
            self.buffer.add("logits", logits)

    def run(self) -> None:
        """Send all rows through the net, in its own batches."""
        net = self.net
        if predicts_in_its_own_way(net):
            self._run_in_its_own_way()
            return
        nonlinearity = net._get_predict_nonlinearity()
        # skorch's own for BCEWithLogitsLoss, which it has no public name for
        if getattr(nonlinearity, "__name__", "") == "_sigmoid_then_2d":
            nonlinearity = _sigmoid_of_both
        for output in net.forward_iter(self.X, training=False, device=None):
            output = output[0] if isinstance(output, tuple) else output
            with torch.no_grad():
                scores = scores_of(net, output)
                scores = scores.reshape(-1) if scores.ndim == 0 else scores
                columns = 1 if scores.ndim < 2 else scores.shape[1]
                self._check_calls(len(scores), columns)
                if self.layer_name is None:  # else there are the features
                    self.buffer.add("scores", scores.reshape(len(scores), -1))
                if isinstance(output, torch.Tensor):  # else it is done
                    scores = nonlinearity(scores)
                self.buffer.add("outputs", _one_matrix(scores))

    def _run_in_its_own_way(self) -> None:
        """Let a net whose class overrides ``predict_proba`` do so, while the hook listens."""
        self._in_batches = False
        outputs = _one_matrix(torch.as_tensor(self.net.predict_proba(self.X)))
        self.buffer.add("outputs", outputs)
        if self.layer_name is not None:
            columns = {shape[1] for shape in self._calls}
            self._calls = [(len(outputs), max(columns, default=0))] * bool(columns)
            self._check_calls(len(outputs), outputs.shape[1])

    def _check_calls(self, rows: int, columns: int) -> None:
        """Check what the layer did in the batch that has just run, and forget it."""
        if self.layer_name is None:
            return
        if len(self._calls) != 1:
            raise ValueError(used_often(self.layer_name, len(self._calls)))
        seen_rows, seen_columns = self._calls.pop()
        if seen_rows != rows:
            raise ValueError(
                f"the module {self.layer_name!r} got {seen_rows} vectors for {rows} rows. "
                "Pass last_layer= with the name of a module that gets one a row."
            )
        # a single logit may already have been turned into two columns
        if seen_columns != columns and (seen_columns, columns) != (1, 2):
            raise ValueError(
                f"the module {self.layer_name!r} gives {seen_columns} columns, but the output of "
                f"{self.kind} has {columns}: something after it combines columns. Pass "
                "last_layer= with the name of the module that gives one logit a class."
            )

    def probabilities(self) -> torch.Tensor:
        """Return the outputs of the net as probabilities, one column a class.

        skorch applies the nonlinearity that belongs to the criterion. What it leaves as it is may
        be probabilities, or logarithms of them (a module that ends in a log-softmax, for
        ``NLLLoss``); anything else cannot be told from scores and is refused.
        """
        outputs = self.buffer.get("outputs")  # (N, K) or (N, 1)
        features = self.buffer.get("features")
        # logarithms of zero are the one honest infinity
        broken = ~(torch.isfinite(outputs) | torch.isneginf(outputs)).all(1)
        if features is not None:
            broken |= ~_finite_rows(features)
        if broken.any():
            raise ValueError(
                f"the net gives NaN or infinity for {int(broken.sum())} of {self.n_rows} rows: X "
                "holds such values, or the training diverged (a smaller lr may help)."
            )
        if outputs.shape[1] == 1:
            if outputs.min() >= 0 and outputs.max() <= 1:
                return torch.cat([1 - outputs, outputs], dim=1)
        elif are_probabilities(outputs):
            return outputs
        elif _are_log_probabilities(outputs):
            return outputs.exp()
        raise ValueError(
            f"net.predict_proba does not give probabilities: its output has {outputs.shape[1]} "
            f"columns with values from {outputs.min():.3g} to {outputs.max():.3g}. If the module "
            "returns logits, use criterion=torch.nn.CrossEntropyLoss, or say how logits become "
            "probabilities, for example predict_nonlinearity=functools.partial(torch.softmax, "
            "dim=-1)."
        )


def _sigmoid_of_both(logits: torch.Tensor) -> torch.Tensor:
    """Do what skorch does for a single logit, where 1 - p loses the digits of the first class."""
    return torch.sigmoid(torch.stack((-logits, logits), dim=1))


def _one_matrix(outputs: torch.Tensor) -> torch.Tensor:
    """Return outputs as (rows, columns).

    skorch makes (rows, 2, 1) of a single logit that a plain ``NeuralNet`` gives as (rows, 1).
    """
    if outputs.ndim == 3 and outputs.shape[2] == 1:
        outputs = outputs[:, :, 0]
    if outputs.ndim == 1:
        outputs = outputs[:, None]
    if outputs.ndim != 2:
        raise ValueError(
            f"the net gives an output of shape {tuple(outputs.shape)}, and one row of "
            "probabilities for each row of X is needed."
        )
    return outputs


def _finite_rows(features: torch.Tensor) -> torch.Tensor:
    """Tell for every row whether it is free of NaN and infinity, without a matrix of that size."""
    # A row times zero is zero, unless it holds something that is not finite.
    zeros = torch.zeros(features.shape[1], dtype=features.dtype, device=features.device)
    return features @ zeros == 0  # (N,)


def _one_vector_a_row(tensor: torch.Tensor, n_rows: int, name: str) -> torch.Tensor:
    """Return a tensor as (rows, columns); refuse sequences and images."""
    if tensor.ndim < 2 or sum(size > 1 for size in tensor.shape[1:]) <= 1:
        tensor = tensor.reshape(n_rows, -1)
    if tensor.ndim != 2:
        raise ValueError(
            f"a tensor of shape {tuple(tensor.shape)} goes through the module {name!r}, and one "
            "vector a row is needed. Choose the step, or take the mean over them, before that "
            "layer instead of after it (for a linear layer the output is the same), or pass "
            "last_layer= with the name of a module that comes after the pooling or flattening."
        )
    return tensor


def _are_log_probabilities(outputs: torch.Tensor) -> bool:
    return (
        outputs.shape[1] > 1 and bool(outputs.max() <= 1e-6) and are_probabilities(outputs.exp())
    )
