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
from skbait.utils.state import keep_random_states

# Probabilities may miss those of their logits by this part of them, and by this: half precision.
_PART, _LEAST = 2e-2, 1e-4
# Rows, about, on which is tried what takes a product of its own.
_TRIED = 64
# Rows on which is tried whether any are moved.
_MOVED = 16


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
    few = slice(None, None, max(1, len(found.features) // _TRIED))
    features, probabilities = found.features[few], found.probabilities[few]
    logits = head.logits(features)
    own = head.from_logits(logits)
    if found.logits is None:
        return torch.allclose(probabilities.to(own.dtype), own, atol=1e-2)
    given = found.logits[few].to(logits)
    if given.shape != logits.shape:
        return False
    if _is_half(given):  # the layer rounds its products, and large logits by much
        norms = torch.linalg.vector_norm(features, dim=1)[:, None]
        norms = norms * float(torch.linalg.vector_norm(head.weight, dim=1).max())
        off = 5e-3 * norms + 1e-2 * given.abs().amax(1, keepdim=True) + 1e-3
        fits = bool(((given - logits).abs() <= off).all())
    else:
        fits = torch.allclose(probabilities.to(own.dtype), own, atol=1e-2)
        # and where they are nearly 0 and 1 the logits, but for what a softmax does not see
        if head.link == "softmax":
            given, logits = (x - x.mean(1, keepdim=True) for x in (given, logits))
        scale = float(given.abs().max())
        fits = fits and torch.allclose(given, logits, rtol=1e-2, atol=1e-2 * scale + 1e-3)
    return fits and not bool(unexplained(found.logits, found.probabilities, head.link).any())


def _is_half(logits: torch.Tensor) -> bool:
    """Tell whether all numbers are such as a half precision has."""
    halves = (torch.bfloat16, torch.float16)
    return any(torch.equal(logits.to(dtype).to(logits.dtype), logits) for dtype in halves)


def check_alignment(net, dataset, layer, name, logits, probabilities, *, traced) -> None:
    """Refuse a net whose output for a row is not made of what the layer gives for that row.

    Where the probabilities are those of the logits there is nothing to ask. Else a few rows go
    through the net again, in both orders, with what the layer gives for some of them replaced:
    what comes out for the others must stay.

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
        If the logits of a layer that was found do not rank the classes.
    """
    link = "sigmoid" if logits.shape[1] == 1 else "softmax"
    other = unexplained(logits, probabilities, link)
    if not bool(other.any()):
        return
    first = int(other.to(torch.uint8).argmax())
    start = min(first, max(0, len(dataset) - _MOVED))
    rows = list(range(start, min(start + _MOVED, len(dataset))))
    for order in (rows, rows[::-1]):
        if _mixes(net, few_rows(net, dataset, order), layer):
            raise ValueError(
                f"what the net gives for a row is not made of what {name!r} gives for the same "
                "row: rows of a batch are sorted or mixed around that layer, and its input cannot "
                "be taken as the features of the rows. Bring them back into their order before "
                "it is called."
            )
    if traced and _ranks_otherwise(logits, probabilities):
        warnings.warn(
            f"{name!r} was taken for the last layer, but its logits do not rank the classes as "
            "the probabilities do. Pass last_layer= with the dotted name of the module whose "
            "input are the features, be it this one.",
            stacklevel=2,
        )


def _ranks_otherwise(logits: torch.Tensor, probabilities: torch.Tensor) -> bool:
    """Tell whether the likeliest class has to do with the logits no more than by chance."""
    n_classes = logits.shape[1]
    if n_classes < 3 or probabilities.shape[1] != n_classes:
        return False
    likeliest, masked = probabilities.argmax(1), probabilities == 0.0
    agree = [
        float((signed.masked_fill(masked, -torch.inf).argmax(1) == likeliest).float().mean())
        for signed in (logits, -logits)  # distances, say, rank them the other way round
    ]
    return max(agree) < 1.5 / n_classes


def _mixes(net, batch, layer: nn.Module) -> bool:
    """Tell whether rows of the output depend on other rows of a layer, as far as can be seen."""
    try:
        expected, given = _output(net, batch, layer, None)
        if given is None or len(expected) != len(given):
            return False
        number = torch.arange(len(given), device=given.device)
        for bit in range(max(1, len(given) - 1).bit_length()):
            for part in (number >> bit & 1 == 1, number >> bit & 1 == 0):  # each pair is split
                replaced = torch.where(part.view(-1, *[1] * (given.ndim - 1)), -1.0 - given, given)
                output, _ = _output(net, batch, layer, replaced)
                stays = ~part.to(output.device)
                if not torch.allclose(
                    output[stays], expected[stays], rtol=1e-3, atol=1e-5, equal_nan=True
                ):
                    return True
    except Exception:  # a module need not take such batches, or such logits
        return False
    return False


def _output(net, batch, layer, replaced):
    """Return what a net and one of its layers give; the layer may be told what to give."""
    seen: list[torch.Tensor] = []

    def hook(module, args, output):
        seen.append(output.detach().clone())
        return None if replaced is None else replaced.to(output.dtype)

    handle = layer.register_forward_hook(hook)
    try:
        # what is random after the layer is the same each time
        with torch.no_grad(), keep_random_states(net, seed=0):
            output = net._get_predict_nonlinearity()(infer(net, batch))
    finally:
        handle.remove()
    return output.detach().clone(), seen[0] if len(seen) == 1 else None
