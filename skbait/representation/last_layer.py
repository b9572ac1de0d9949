# SPDX-License-Identifier: BSD-3-Clause
"""Which layer of a network is the last: the one that the user names, or the one that is found."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import nn


def layers_of(modules: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """Return every module by the dotted name that `last_layer` takes.

    Parameters
    ----------
    modules : dict
        The modules of a net by their attributes.

    Returns
    -------
    dict
        Names are those of ``module_.named_modules()``; a further module of a customised net has
        its attribute in front.
    """
    found = {}
    for key, top in modules.items():
        prefix = "" if key == "module_" else f"{key}."
        for name, module in top.named_modules(remove_duplicate=False):
            # what torch.compile puts around a module is no part of its name
            name = f"{prefix}{name}.".replace("_orig_mod.", "").rstrip(".")
            if not hasattr(module, "_orig_mod"):
                found[name] = module
    return found


def named_layer(layers: dict[str, nn.Module], last_layer) -> nn.Module:
    """Return the layer that the user named.

    Parameters
    ----------
    layers : dict
        All of them: see `layers_of`.
    last_layer : str
        A name.

    Returns
    -------
    torch.nn.Module
        That layer.
    """
    if not isinstance(last_layer, str) or last_layer not in layers:
        raise ValueError(
            f"last_layer={last_layer!r} names no module of the net. Its linear layers are "
            f"{_linear_names(layers)}; other modules go by their names in "
            "net.module_.named_modules()."
        )
    return layers[last_layer]


def traced_layer(
    layers: dict[str, nn.Module], run: Callable[[], torch.Tensor], *, kind: str
) -> tuple[str, nn.Module]:
    """Find the linear layer whose output becomes the logits, by one pass of a few rows.

    The output of every linear layer is cut from what came before it and made a leaf of
    autograd's graph. The graph of the module's output then ends in exactly those outputs that
    reach it without passing through a further linear layer: one of them, or it is for the
    user to say. The graph is only looked at; no gradient is computed.

    Parameters
    ----------
    layers : dict
        All of them: see `layers_of`.
    run : callable
        Sends a few rows through the net and returns its scores.
    kind : str
        What to call the module in an error.

    Returns
    -------
    name : str
        Name of the layer.
    layer : torch.nn.Linear
        It.
    """
    linear = {name: m for name, m in layers.items() if isinstance(m, nn.Linear)}
    names = {module: name for name, module in reversed(linear.items())}
    cuts: list[tuple[str, torch.Tensor]] = []

    def cut(module, args, output):
        leaf = output.detach().requires_grad_()
        cuts.append((names[module], leaf))
        return leaf.clone()  # what follows may work in place, which a leaf forbids

    with ExitStack() as stack, torch.enable_grad():
        for module in names:
            handle = module.register_forward_hook(cut)
            stack.callback(handle.remove)
        output = run()
    leaves = _leaves_of(output)
    reached = {name for name, leaf in cuts if id(leaf) in leaves}
    advice = (
        "Pass last_layer= with the dotted name of the module whose input are the features "
        f"(linear layers of this net: {_linear_names(linear)})."
    )
    if not reached and cuts and not output.requires_grad:
        raise ValueError(
            f"the last linear layer of {kind} was not found: autograd sees nothing of its forward "
            "pass, which detaches the output or runs under torch.no_grad or "
            f"torch.inference_mode. {advice}"
        )
    if not reached:
        raise ValueError(
            f"the last linear layer of {kind} was not found: no nn.Linear that it calls "
            f"leads to its output. {advice} Any module that is called with the features and "
            "gives the logits will do; a function (F.linear, a cosine) can be put into one."
        )
    if len(reached) > 1:
        all_of_them = " and ".join(repr(name) for name in sorted(reached))
        raise ValueError(
            f"the last linear layer of {kind} is ambiguous: the outputs of {all_of_them} "
            f"are combined, with no linear layer after them. {advice}"
        )
    (name,) = reached
    times = [used for used, _ in cuts].count(name)
    if times > 1:
        raise ValueError(f"{used_often(name, times)} {advice}")
    return name, linear[name]


def used_often(name: str, times: int) -> str:
    """Say that a layer is not used exactly once.

    Parameters
    ----------
    name : str
        Its name.
    times : int
        How often it is used in one pass.

    Returns
    -------
    str
        An error.
    """
    if times == 0:
        return (
            f"the module {name!r} was not called in a forward pass; last_layer= must name a "
            "module that is."
        )
    return (
        f"the module {name!r} is used {times} times in one forward pass, so that a row has no "
        "single vector of last-layer features; last_layer= must name a module used once."
    )


def _leaves_of(output: torch.Tensor) -> set[int]:
    """Return the ids of the leaves in which autograd's graph of a tensor ends."""
    seen, waiting, leaves = set(), [output.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):  # the node that would add to the gradient of a leaf
            leaves.add(id(node.variable))
        waiting.extend(before for before, _ in node.next_functions)
    return leaves


def _linear_names(layers) -> str:
    names = [repr(name) for name, m in layers.items() if isinstance(m, nn.Linear)]
    return ", ".join(names) or "none"
