# SPDX-License-Identifier: BSD-3-Clause
"""Whether logits and probabilities belong together: of the same rows, layer and head."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from skbait._backend import rows_per_chunk
from skbait.representation.head import Head
from skbait.representation.result import Representation
from skbait.utils.nets import few_rows, infer

# Probabilities may miss those of their logits by this part of them, and by this: half precision.
_PART, _LEAST = 2e-2, 1e-4
# Rows on which is tried what takes a product, or a pass, of its own.
_TRIED = 64
# A layer whose largest logit is not the likeliest class in more of the rows is probably another.
_OTHERS = 0.5


def unexplained(logits: torch.Tensor, probabilities: torch.Tensor, link: str) -> torch.Tensor:
    """Tell which rows have other probabilities than those of their logits.

    Parameters
    ----------
    logits : torch.Tensor of shape (N, K) or (N, 1)
        What the last layer gives.
    probabilities : torch.Tensor of shape (N, K)
        What the model gives.
    link : str
        How logits become probabilities: see `skbait.representation.Head`.

    Returns
    -------
    torch.Tensor of shape (N,), bool
        True where what comes after the layer is more than the link.
    """
    n_logits = logits.shape[1]
    head = Head(torch.zeros(n_logits, 1), torch.zeros(n_logits), link)
    size = rows_per_chunk(8 * 8 * probabilities.shape[1], len(logits), device=logits.device)
    parts = zip(logits.split(size), probabilities.split(size), strict=True)
    out = []
    for given, p in parts:
        own = head.from_logits(given.to(p.dtype))
        out.append(((own - p).abs() > _PART * torch.maximum(own, p) + _LEAST).any(1))
    return torch.cat(out)


def head_fits(found: Representation) -> bool:
    """Tell whether the head gives the probabilities of a representation.

    What comes after the layer (a temperature, a calibration) may have changed them, and what the
    layer does may be more than its weights.
    """
    head = found.head
    if head is None or found.head_is_mean:
        return True
    if found.probabilities.shape[1] != head.n_classes:
        return False
    step = max(1, len(found.features) // _TRIED)
    features = found.features[::step]
    logits = head.logits(features)
    if found.logits is None:
        own = head.from_logits(logits)
        return torch.allclose(found.probabilities[::step].to(own.dtype), own, atol=1e-2)
    given = found.logits[::step].to(logits)
    if given.shape != logits.shape:
        return False
    # a layer in half precision rounds its products
    norms = torch.linalg.vector_norm(features, dim=1)[:, None]
    norms = norms * float(torch.linalg.vector_norm(head.weight, dim=1).max())
    off = 5e-3 * norms + 1e-2 * given.abs().amax(1, keepdim=True) + 1e-3
    if not bool(((given - logits).abs() <= off).all()):
        return False
    return not bool(unexplained(found.logits, found.probabilities, head.link).any())


def check_alignment(net, dataset, layer, name, logits, probabilities, *, traced) -> None:
    """Refuse a net whose output for a row is not made of what the layer gives for that row.

    Where the probabilities are those of the logits there is nothing to ask. Else a few rows go
    through the net once more, in both orders, and autograd tells which rows of the layer each row
    of the output comes from.

    Parameters
    ----------
    net : skorch.NeuralNet
        The net, in evaluation mode.
    dataset : torch.utils.data.Dataset
        All rows.
    layer : torch.nn.Module
        The layer that gives the logits.
    name : str
        Its name, for messages.
    logits, probabilities : torch.Tensor of shape (N, K') and (N, K)
        What came of the pass.
    traced : bool
        Whether the layer was found, not named: then another layer is warned of.

    Raises
    ------
    ValueError
        If rows are moved or mixed after the layer.

    Warns
    -----
    UserWarning
        If the classes are ranked otherwise than by the logits of a layer that was found.
    """
    link = "sigmoid" if logits.shape[1] == 1 else "softmax"
    other = unexplained(logits, probabilities, link)
    if not bool(other.any()):
        return
    first = int(other.to(torch.uint8).argmax())
    start = min(first, max(0, len(dataset) - _TRIED // 4))
    rows = list(range(start, min(start + _TRIED // 4, len(dataset))))
    for order in (rows, rows[::-1]):
        if _mixes(net, few_rows(net, dataset, order), layer):
            raise ValueError(
                f"what the net gives for a row is not made of what {name!r} gives for the same "
                "row: rows of a batch are sorted or mixed around that layer, and its input cannot "
                "be taken as the features of the rows. Bring them back into their order before "
                "it is called."
            )
    if traced and probabilities.shape[1] == max(2, logits.shape[1]):
        ranked = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(1)
        share = float((ranked != probabilities.argmax(1)).to(torch.float32).mean())
        if share > _OTHERS:
            warnings.warn(
                f"{name!r} was taken for the last layer, but in {share:.0%} of the rows its "
                "largest logit is not the likeliest class. Pass last_layer= with the dotted name "
                "of the module whose input are the features, be it this one.",
                stacklevel=2,
            )


def _mixes(net, batch, layer: nn.Module) -> bool:
    """Tell whether rows of the output depend on other rows of a layer, as far as can be seen."""
    leaves: list[torch.Tensor] = []

    def cut(module, args, output):
        leaves.append(output.detach().requires_grad_())
        return leaves[-1].clone()

    with torch.enable_grad():
        handle = layer.register_forward_hook(cut)
        try:
            output = infer(net, batch)
        finally:
            handle.remove()
        if len(leaves) != 1 or not output.requires_grad or len(output) != len(leaves[0]):
            return False  # nothing to be seen
        for row in range(len(output)):
            (by_row,) = torch.autograd.grad(
                output[row].sum(), leaves, retain_graph=True, allow_unused=True
            )
            if by_row is not None:
                by_row[row] = 0.0
                if bool(by_row.any()):
                    return True
    return False
