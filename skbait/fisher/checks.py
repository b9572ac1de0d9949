# SPDX-License-Identifier: BSD-3-Clause
"""What `select` is given: errors that name it."""

from __future__ import annotations

import operator

import torch

from skbait._backend import EXACT, memory_bytes, working_dtype
from skbait.fisher.factors import VARIANTS

FORMS = ("auto", "dense", "factored")
WEIGHTINGS = ("posterior", "original")
# So much below zero, relative to the sum of a row, is rounding of a probability.
NEGATIVE = 1e-3


def check_arguments(
    n, n_pool, n_classes, variant, top_c, weighting, oversample, form, fisher_samples, chunk_size
) -> None:
    """Raise for arguments of `select` that cannot be, other than rows and λ."""
    check_integer("n", n, 1)
    if n > n_pool:
        raise ValueError(f"n={n} must lie between 1 and the {n_pool} rows of the pool.")
    for name, value, allowed in (
        ("variant", variant, VARIANTS),
        ("weighting", weighting, WEIGHTINGS),
        ("form", form, FORMS),
    ):
        if value not in allowed:
            raise ValueError(f"{name}={value!r} is unknown; choose one of {', '.join(allowed)}.")
    if variant == "exp":
        check_integer("top_c", top_c, 1)
        if top_c > n_classes:
            raise ValueError(f"top_c={top_c} must lie between 1 and the {n_classes} classes.")
    if not 1.0 <= as_number("oversample", oversample) < float("inf"):
        raise ValueError(f"oversample={oversample} must be a finite number of at least 1.")
    for name, value in (("fisher_samples", fisher_samples), ("chunk_size", chunk_size)):
        if value is not None:
            check_integer(name, value, 1, " or None")


def check_integer(name: str, value, least: int, otherwise: str = "") -> None:
    """Raise for what is no integer, or too small a one."""
    try:
        whole = operator.index(value)
    except TypeError:
        whole = None
    if whole is None or isinstance(value, bool):
        raise ValueError(f"{name}={value!r} must be an integer{otherwise}.")
    if whole < least:
        raise ValueError(
            f"{name}={value!r} must be at least {least}{otherwise and ','}{otherwise}."
        )


def as_number(name: str, value) -> float:
    """Return a number as a float, or raise for what is none."""
    try:
        kind = str(getattr(value, "dtype", ""))
        if isinstance(value, (bool, str, bytes)) or kind in ("bool", "torch.bool"):
            raise TypeError
        return float(value)
    except OverflowError:
        return float("inf")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}={value!r} must be a number.") from error


def as_floats(
    name: str, values: torch.Tensor | None, like: torch.Tensor | None
) -> torch.Tensor | None:
    """Return integers as floats, of one dtype with what they belong to.

    Half precision does not hold all integers: beside them it becomes float64.
    """
    if values is None and name.startswith("labeled_"):
        return None
    if not isinstance(values, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(values).__name__}.")
    if _holds_integers(values):
        return values.to(torch.float32 if getattr(like, "dtype", None) == torch.float32 else EXACT)
    half = values.dtype.itemsize < torch.float32.itemsize
    return values.to(EXACT) if half and _holds_integers(like) else values


def _holds_integers(values) -> bool:
    return isinstance(values, torch.Tensor) and not (
        values.is_floating_point() or values.is_complex()
    )


def check_memory(n_numbers: int, features: torch.Tensor, variant: str) -> None:
    """Raise where the factors of the pool alone are more than the device can hold."""
    n_bytes = n_numbers * working_dtype(features.dtype).itemsize
    available = memory_bytes(features.device)
    if n_bytes > available:
        raise MemoryError(
            f"variant={variant!r} takes {n_bytes / 1e9:.3g} GB for the factors of "
            f"{len(features)} rows, and there are {available / 1e9:.3g} GB: take variant='exp' or "
            "'binary', or fewer rows (subset_size)."
        )


def check_rows(prefix: str, features: torch.Tensor, probabilities: torch.Tensor) -> None:
    """Raise for one set of rows whose tensors are not what they must be."""
    names = f"{prefix}features", f"{prefix}probabilities"
    if features.ndim != 2 or probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise ValueError(
            f"{names[0]} must have shape (N, D) and {names[1]} (N, K) with K >= 2; "
            f"got {tuple(features.shape)} and {tuple(probabilities.shape)}."
        )
    if not features.shape[1]:
        raise ValueError(f"{names[0]} has no columns: there is nothing to choose by.")
    for name, values in zip(names, (features, probabilities), strict=True):
        if values.is_complex():
            raise ValueError(f"{name} holds complex numbers; pass real ones.")
    if len(features) != len(probabilities):
        raise ValueError(
            f"{names[0]} has {len(features)} rows but {names[1]} has {len(probabilities)}."
        )


def check_finite(sources, norms) -> None:
    """Raise for numbers that are none (seen in the norms), and rows without probability."""
    for prefix, (_, p), norm in zip(("", "labeled_"), sources, norms, strict=False):
        total = p.sum(dim=1)
        for name, values in ((f"{prefix}features", norm), (f"{prefix}probabilities", total)):
            if not bool(torch.isfinite(values).all()):
                raise ValueError(f"{name} holds NaN or infinite numbers.")
        if bool((p.amin(dim=1) < -NEGATIVE * total.abs()).any()):
            raise ValueError(
                f"{prefix}probabilities holds negative numbers; pass probabilities, not logits "
                "or log-probabilities."
            )
        if not bool((total > 0.0).all()):
            raise ValueError(f"{prefix}probabilities holds a row without any probability.")


def check_alike(features, probabilities, labeled_features, labeled_probabilities) -> None:
    """Raise where pool and labelled rows are not of one kind."""
    for what, one, other in (
        ("features", features, labeled_features),
        ("probabilities", probabilities, labeled_probabilities),
    ):
        if one.shape[1] != other.shape[1]:
            raise ValueError(
                f"the pool has {one.shape[1]} {what} a row but the labelled rows "
                f"{other.shape[1]}; both must come from one fitted estimator."
            )
    if features.dtype != labeled_features.dtype:
        raise ValueError(
            f"features are {features.dtype} but labeled_features {labeled_features.dtype}; "
            "pass both in one dtype."
        )
