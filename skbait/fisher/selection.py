# SPDX-License-Identifier: BSD-3-Clause
"""BAIT's selection: greedy forward choice with exact incremental scores, then backward removal."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from functools import partial

import torch

from skbait._backend import EXACT, for_chunks, rows_per_chunk, working_dtype
from skbait.fisher import backward
from skbait.fisher.ahead import ForwardAhead
from skbait.fisher.checks import (
    as_floats,
    as_number,
    check_alike,
    check_arguments,
    check_finite,
    check_memory,
    check_rows,
)
from skbait.fisher.cost import cheaper_form
from skbait.fisher.dense import DenseForm
from skbait.fisher.factored import FactoredForm
from skbait.fisher.factors import factor, n_parameters
from skbait.fisher.forward import Forward
from skbait.fisher.problem import Problem
from skbait.fisher.rows import Rows

KAPPA = 0.1
"""κ in λ = κ · tr(F) / P, by default."""

# Below this fraction of tr(F) a λ is lost in the rounding of M: the two forms begin to differ.
RESOLVED = 1e-11
# Below this one its square, by which scores are divided, is none any more.
LEAST = 1e-100
# Beyond this one choices do not depend on it, and gains fall with its square.
MOST = 1e30


@dataclass(frozen=True)
class Selection:
    """What `select` returns.

    Parameters
    ----------
    positions : torch.Tensor of shape (n,), int64
        Chosen rows of the pool, in the order in which the forward pass added them.
    gains : torch.Tensor of shape (N,), float64
        Decrease of tr(M⁻¹F) by each row of the pool alone, before any choice.
    regularization : float
        The λ.
    form : str
        "dense" or "factored".

    See Also
    --------
    select : Gives it.

    Examples
    --------
    >>> import torch
    >>> from skbait.fisher import select
    >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> probabilities = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    >>> selection = select(features, probabilities, None, None, 2)
    >>> selection.positions, selection.form
    (tensor([1, 0]), 'dense')
    """

    positions: torch.Tensor
    gains: torch.Tensor
    regularization: float
    form: str


@torch.no_grad()
def select(
    features: torch.Tensor,
    probabilities: torch.Tensor,
    labeled_features: torch.Tensor | None,
    labeled_probabilities: torch.Tensor | None,
    n: int,
    *,
    variant: str = "exp",
    top_c: int = 2,
    regularization: float | str = "auto",
    kappa: float = KAPPA,
    weighting: str = "posterior",
    oversample: float = 2.0,
    fisher_samples: int | None = None,
    form: str = "auto",
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> Selection:
    """Choose n rows of the pool by BAIT's objective.

    S is chosen to minimise ``tr(M⁻¹F)`` with
    ``M = λI + w_L Σ_{x labelled} I(x) + w_S Σ_{x in S} I(x)`` and F the mean of I(x) over the pool
    and the labelled rows, by greedy forward choice of ``min(oversample·n, N)`` rows and greedy
    backward removal down to n.

    Parameters
    ----------
    features : torch.Tensor of shape (N, D)
        Last-layer features of the pool. float32 and float64 are used as they are.
    probabilities : torch.Tensor of shape (N, K)
        Class probabilities of the pool, on the same device. Rows are divided by their sums.
    labeled_features : torch.Tensor of shape (L, D) or None
        Features of the labelled rows.
    labeled_probabilities : torch.Tensor of shape (L, K) or None
        Their class probabilities.
    n : int
        Number of rows to choose, 1 <= n <= N.
    variant : {"exp", "exact", "binary"}, default="exp"
        Which Fisher information: see `skbait.fisher.factors`.
    top_c : int, default=2
        Classes in the expectation of ``variant="exp"``.
    regularization : float or "auto", default="auto"
        The λ, or ``kappa · tr(F) / P``, which makes the choice independent of the scale of the
        features.
    kappa : float, default=0.1
        How large λ is with ``regularization="auto"``, relative to the mean information of a row.
    weighting : {"posterior", "original"}, default="posterior"
        "posterior": w_L = w_S = 1. "original": w_L = 1/(L+n), w_S = n/(L+n), as in the published
        code of BAIT (arXiv 2106.09675).
    oversample : float, default=2.0
        How many times n rows the forward pass chooses; 1.0 leaves out the backward pass.
    fisher_samples : int or None, default=None
        Average F over this many rows drawn at random, instead of all. λ is that of all rows.
    form : {"auto", "dense", "factored"}, default="auto"
        How M⁻¹ and F are held; "auto" estimates which costs less.
    chunk_size : int or None, default=None
        Rows at a time. It never changes the choice.
    generator : torch.Generator or None, default=None
        CPU generator that draws the `fisher_samples`.

    Returns
    -------
    Selection
        The choice and the score of every candidate.

    Raises
    ------
    ValueError
        If n, `top_c`, `variant`, `weighting`, `form`, `oversample`, `regularization`, `kappa`,
        `fisher_samples` or `chunk_size` is out of range, λ is below 1e-100 of tr(F), the features
        hold NaN or infinite numbers or have no columns, probabilities are negative or those of a
        row all zero, or only one half of the labelled rows is given.
    MemoryError
        If the factors of the pool alone are more than the device can hold.
    ArithmeticError
        If λ is so small, far below what is warned of, that rounding leaves a matrix indefinite.

    Warns
    -----
    RuntimeWarning
        If λ is so small against tr(F) that float64 decides by rounding.

    See Also
    --------
    skbait.BaitQuery : The same over any classifier with a linear last layer.

    Notes
    -----
    With m = min(oversample·n, N) forward steps, r the rows of a factor and Q = K - 1 (binary: 1):
    dense O(N·D²·Q² + (QD)³ + m·N·D·Q·r); factored O(N²·r³·L + m·N·D·Q·r). The pass over the pool
    runs in the dtype of the features. Whatever its rounding, rows whose scores come close to the
    best are scored again in float64 before one is chosen, and the whole selection goes on in
    float64 if the running scores are seen to drift.

    Examples
    --------
    >>> import torch
    >>> from skbait.fisher import select
    >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> probabilities = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    >>> select(features, probabilities, None, None, 2).positions
    tensor([1, 0])
    """
    features, labeled_features = (
        as_floats("features", features, labeled_features),
        as_floats("labeled_features", labeled_features, features),
    )
    probabilities = as_floats("probabilities", probabilities, None)
    labeled_probabilities = as_floats("labeled_probabilities", labeled_probabilities, None)
    check_rows("", features, probabilities)
    n_pool, n_classes = probabilities.shape
    if (labeled_features is None) != (labeled_probabilities is None):
        raise ValueError("pass both of labeled_features and labeled_probabilities, or neither.")
    n_labeled = 0 if labeled_features is None else len(labeled_features)
    if n_labeled:
        check_rows("labeled_", labeled_features, labeled_probabilities)
        check_alike(features, probabilities, labeled_features, labeled_probabilities)
    check_arguments(
        n,
        n_pool,
        n_classes,
        variant,
        top_c,
        weighting,
        oversample,
        form,
        fisher_samples,
        chunk_size,
    )
    make_factor = partial(factor, variant=variant, top_c=top_c)
    check_memory(n_pool * make_factor(probabilities[:1]).numel(), features, variant)

    sources = [(features, probabilities), (labeled_features, labeled_probabilities)]
    sources = sources[: 2 if n_labeled else 1]
    drawn = _draw(n_pool + n_labeled, fisher_samples, generator)
    sources, norms, unit = _in_range(sources)
    check_finite(sources, norms)
    trace = _mean_trace(sources, norms, make_factor)
    if trace < sys.float_info.min:  # not even one over it is a number
        trace = 0.0
    size = n_parameters(variant, features.shape[1], n_classes)
    lam = _regularization(regularization, kappa, trace, size, unit)
    # what the user knows them by
    told = lam * unit * unit if regularization == "auto" else float(regularization)
    named, shown = f"regularization={told:.3g}", f"{trace * unit * unit:.3g}"
    if regularization == "auto":
        named = f"kappa={kappa!r}, which makes {named},"
    if lam < LEAST * trace:
        raise ValueError(
            f"{named} is too small for the mean information tr(F) = {shown}: "
            f"scores would overflow. Choose one of at least {RESOLVED:.0e} of it, or 'auto'."
        )
    if lam < RESOLVED * trace:
        warnings.warn(
            f"{named} is less than {RESOLVED:.0e} of the mean information "
            f"tr(F) = {shown}: some choices are decided by the rounding of float64. Choose a "
            "larger one, or 'auto'.",
            RuntimeWarning,
            stacklevel=2,
        )
    # In units in which the mean trace is 1, nothing overflows whatever the scale of the features.
    scale = trace**-0.5 if trace > 0.0 else 1.0
    dtype = working_dtype(features.dtype)
    if unit != 1.0 or not 1e-12 < scale < 1e12:
        dtype = EXACT  # float32 could not hold the products
    pool, *labeled = (Rows(h.to(dtype), p, make_factor, chunk_size, scale) for h, p in sources)
    labeled = labeled[0] if labeled else None
    fisher_rows = _fisher_rows(pool, labeled, drawn)

    # Everything is relative to the weight of a candidate, which becomes 1.
    weight = 1.0 if weighting == "posterior" else n / (n_labeled + n)
    labeled_weight = 1.0 if weighting == "posterior" else 1.0 / n
    n_steps = int(
        min(n_pool, float(oversample) * n * (1.0 + sys.float_info.epsilon))
    )  # 28.999... steps are 29
    prior = lam * scale**2 / weight
    held = min(prior, MOST)
    problem = Problem(pool, labeled, fisher_rows, held, labeled_weight, n_steps)
    if form == "auto":
        form = cheaper_form(problem)
    state = DenseForm(problem) if form == "dense" else FactoredForm(problem)

    # where a pass over the pool is bound by reading it, choices share one
    ahead = form == "dense" and pool.n_columns == 1
    forward = ForwardAhead(state) if ahead else Forward(state)
    gains = forward.first_gains() / weight * (held / prior) ** 2
    chosen = torch.tensor(forward.run(n_steps), dtype=torch.int64, device=features.device)
    if n_steps > n:
        groups = forward.twins.groups[chosen].tolist()
        stay, margin = backward.keep(*state.removal(chosen), pool.rank, n, groups)
        if not margin > state.blur and state.sharpen():
            stay, _ = backward.keep(*state.removal(chosen), pool.rank, n, groups)
        chosen = chosen[stay]
    return Selection(chosen, gains, told, form)


def _draw(total: int, fisher_samples: int | None, generator: torch.Generator | None):
    """Positions, among pool and then labelled rows, over which F is the mean; None for all."""
    if fisher_samples is None or fisher_samples >= total:
        return None
    return torch.randperm(total, generator=generator)[:fisher_samples].sort().values


def _fisher_rows(pool: Rows, labeled: Rows | None, drawn: torch.Tensor | None) -> list[Rows]:
    """The rows over which F is the mean: all, or the drawn ones."""
    every = [pool] if labeled is None else [pool, labeled]
    if drawn is None:
        return every
    drawn = drawn.to(pool.features.device)
    parts = [pool.take(drawn[drawn < len(pool)])]
    if labeled is not None:
        parts.append(labeled.take(drawn[drawn >= len(pool)] - len(pool)))
    return [rows for rows in parts if len(rows)]


def _in_range(sources):
    """Features whose products are numbers, their norms ‖h‖, and the unit that they are in.

    The unit is 1 unless the features are so large or so small that their squares, in float32,
    are no numbers or lose their digits; then they come in float64.
    """
    norms = [_row_norms(h) for h, _ in sources]
    if 1e-12 < max(float(norm.max()) for norm in norms) < 1e12:
        return sources, norms, 1.0
    unit = max(float(h.abs().max()) for h, _ in sources)
    if not 0.0 < unit < float("inf"):  # no information, or an error
        return sources, norms, 1.0
    sources = [(h.to(EXACT) / unit, p) for h, p in sources]
    return sources, [_row_norms(h) for h, _ in sources], unit


def _row_norms(h: torch.Tensor) -> torch.Tensor:
    """‖h‖ of every row, float64; in the dtype of the features."""
    return torch.linalg.vector_norm(h, dim=1, dtype=working_dtype(h.dtype)).to(EXACT)


def _mean_trace(sources, norms, make_factor) -> float:
    """tr(F) = mean of tr(AAᵀ) ‖h‖² over all rows, before any scaling."""
    traces = []
    for (_, p), norm in zip(sources, norms, strict=True):
        out = torch.empty_like(norm)

        def write(p, norm, out, rows: slice) -> None:
            out[rows] = norm[rows].square() * make_factor(p[rows]).square().sum((1, 2))

        a_row = make_factor(p[:1]).numel()
        chunk = rows_per_chunk(8 * 4 * (p.shape[1] + 2 * a_row), len(p), device=p.device)
        for_chunks(partial(write, p, norm, out), len(p), chunk)
        traces.append(out)
    return float(torch.cat(traces).mean())


def _regularization(
    regularization: float | str, kappa: float, trace: float, size: int, unit: float
) -> float:
    """λ for features in a unit; what is given is absolute."""
    share = as_number("kappa", kappa)
    if not 0.0 < share < float("inf"):
        raise ValueError(f"kappa={kappa!r} must be a positive finite number.")
    if isinstance(regularization, str) and regularization == "auto":
        # no row has any information: every choice is as good, and any λ will do
        return share * trace / size if trace > 0.0 else 1.0
    try:
        given = as_number("regularization", regularization)
    except ValueError:
        given = 0.0
    if not 0.0 < given < float("inf"):
        raise ValueError(
            f"regularization={regularization!r} must be 'auto' or a positive finite number."
        )
    return given / unit / unit
