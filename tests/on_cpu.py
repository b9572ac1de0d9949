# SPDX-License-Identifier: BSD-3-Clause
"""What a model says of rows, brought to the CPU: for tests that compare it with NumPy's arrays.

Where there is a GPU, ``device="auto"`` computes there.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

import torch

from skbait import representation


def on_cpu(value):
    """Bring a tensor, or all tensors of a dataclass, to the CPU."""
    if isinstance(value, torch.Tensor):
        return value.cpu()
    if is_dataclass(value):
        return replace(value, **{f.name: on_cpu(getattr(value, f.name)) for f in fields(value)})
    return value


def represent(model, X, **options):
    """See `skbait.representation.represent`."""
    return on_cpu(representation.represent(model, X, **options))


def probabilities(model, X, **options):
    """See `skbait.representation.probabilities`."""
    p, classes = representation.probabilities(model, X, **options)
    return on_cpu(p), classes
