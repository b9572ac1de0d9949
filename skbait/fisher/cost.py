# SPDX-License-Identifier: BSD-3-Clause
"""What the two forms of a selection cost, as far as it can be told before it begins.

Multiply-adds in float32 are the yardstick; one in float64 counts as 2.5.
"""

from __future__ import annotations

from skbait._backend import rows_per_chunk
from skbait.fisher.problem import Problem

# Memory that the dense form may ask for before the factored one is preferred, in bytes.
DENSE_BYTES = 8 * 2**30
# A matrix larger than this does not stay in a core's cache.
CACHED_BYTES = 4 * 2**20
# A matrix M⁻¹FM⁻¹ larger than this is not made: some of its size are needed.
MATRIX_BYTES = 512 * 2**20


def cheaper_form(problem: Problem) -> str:
    """Choose the form by estimated work, within `DENSE_BYTES`.

    Parameters
    ----------
    problem : Problem
        The rows, and what makes M and F of them.

    Returns
    -------
    str
        "dense" or "factored".
    """
    pool, n_fisher = problem.pool, problem.n_fisher
    shape = (pool.n_features, pool.n_columns, pool.rank, problem.n_steps)
    dense, dense_bytes = work_of_dense(len(pool), n_fisher, *shape)
    factored, factored_bytes = work_of_factored(len(pool), n_fisher, problem.n_labeled, *shape)
    if dense_bytes > max(DENSE_BYTES, factored_bytes):
        return "factored"
    return "dense" if dense <= factored else "factored"


def work_of_dense(n, n_fisher, n_features, n_columns, rank, n_steps):
    """Estimated seconds (on one yardstick with the factored form) and bytes of this form.

    Parameters
    ----------
    n : int
        Number N of candidates.
    n_fisher : int
        Number of rows over which F is the mean.
    n_features, n_columns, rank : int
        D, Q and r.
    n_steps : int
        Number of rows that will be chosen.

    Returns
    -------
    seconds : float
        Time on the common yardstick.
    n_bytes : int
        Memory.
    """
    size = n_features * n_columns
    pairs = n_columns * (n_columns + 1) / 2
    pairs *= 5 / 8 if n_columns > 1 else 1.0  # see `skbait.fisher.matrices`
    setup = n_fisher * n_features**2 * pairs * 2.5 + 3 * size**3 * 2.5
    setup += 2 * n * n_features**2 * pairs
    # a matrix element read from memory counts like some multiply-adds
    read = 2 * size**2 * 8 / (2 if size**2 * 8 > CACHED_BYTES else 8)
    step = 2 * n * n_features * n_columns * rank + read
    memory = 5 * 8 * size**2 + 16 * size * min(rank * n_steps, size)
    chunk = rows_per_chunk(8 * n_columns * n_features, n)
    return setup + n_steps * step, memory + 8 * chunk * n_columns * n_features


def work_of_factored(n, n_fisher, n_labeled, n_features, n_columns, rank, n_steps):
    """Estimated seconds (on one yardstick with the dense form) and bytes of this form.

    Parameters
    ----------
    n : int
        Number N of candidates.
    n_fisher : int
        Number of rows over which F is the mean.
    n_labeled : int
        Number L of labelled rows.
    n_features, n_columns, rank : int
        D, Q and r.
    n_steps : int
        Number of rows that will be chosen.

    Returns
    -------
    seconds : float
        Time on the common yardstick.
    n_bytes : int
        Memory.
    """
    shape = n_features, n_columns, rank
    by_matrix = scores_by_matrix(n, n_fisher, n_labeled, *shape)
    by_kernels = scores_by_kernels(n, n_fisher, n_labeled, *shape)
    gram = (n_labeled + n_steps) * rank
    step = 3 * n_fisher * n_features * n_columns * rank + 2.5 * 8 * gram * n_features * n_columns
    memory = 8 * gram**2 + 8 * gram * n_features
    if by_matrix < by_kernels:
        memory += 4 * 8 * (n_features * n_columns) ** 2
    else:
        memory += 4 * n * rank * n_labeled * rank
    return min(by_matrix, by_kernels) + n_steps * step, memory


def scores_by_kernels(n, n_fisher, n_labeled, n_features, n_columns, rank):
    """Estimated seconds of the first blocks by kernels; parameters as in `work_of_factored`.

    Returns
    -------
    float
        Time on the common yardstick.
    """
    per_pair = n_features + rank**2 * n_columns + rank**2 * n_labeled * rank + 2 * rank**3
    return n * n_fisher * per_pair + 2.5 * 5 / 8 * n * rank * (n_labeled * rank) ** 2


def scores_by_matrix(n, n_fisher, n_labeled, n_features, n_columns, rank):
    """Estimated seconds of the first blocks by M⁻¹FM⁻¹; parameters as in `work_of_factored`.

    Returns
    -------
    float
        Time on the common yardstick; infinite where the matrix is too large, and for Q = 1, where
        the dense form makes the same matrix and shares its passes.
    """
    size, gram = n_features * n_columns, n_labeled * rank
    if n_columns == 1 or 8 * size**2 > MATRIX_BYTES:
        return float("inf")
    pairs = 5 / 8 * n_features**2 * n_columns * (n_columns + 1) / 2
    solve = 2 * size * (n_labeled * n_features * n_columns + gram**2) + 2 * size**2
    diagonal = 5 / 8 * n * rank * gram**2
    return n_fisher * pairs * 2.5 + n * pairs + 2.5 * (2 * solve + diagonal)
