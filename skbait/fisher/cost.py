# SPDX-License-Identifier: BSD-3-Clause
"""What the two forms of a selection cost, as far as it can be told before it begins.

Multiply-adds in float32 are the yardstick; one in float64 counts as 2.5.
"""

from __future__ import annotations

from skbait._backend import memory_bytes, rows_per_chunk
from skbait.fisher.problem import Problem
from skbait.fisher.rows import Rows

# Memory that the dense form may ask for before the factored one is preferred, in bytes.
DENSE_BYTES = 8 * 2**30
# A matrix larger than this does not stay in a core's cache.
CACHED_BYTES = 4 * 2**20
# A matrix M⁻¹FM⁻¹ larger than this is not made.
MATRIX_BYTES = 512 * 2**20
# From so many features of all rows on reading them takes longer than guessing the next choice.
READ = 2e6
# With more columns than this the products cost more than reading what is multiplied.
NARROW = 40


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
    dense, dense_bytes = work_of_dense(problem)
    factored, factored_bytes = work_of_factored(problem)
    if dense_bytes > max(DENSE_BYTES, factored_bytes):
        return "factored"
    return "dense" if dense <= factored else "factored"


def work_of_dense(problem: Problem) -> tuple[float, float]:
    """Estimate the work and the memory of the dense form.

    Parameters
    ----------
    problem : Problem
        N candidates of r·Q factors on D features, and what else makes M and F.

    Returns
    -------
    work : float
        Multiply-adds, see above.
    n_bytes : float
        Memory.
    """
    pool = problem.pool
    n, n_features, n_columns = len(pool), pool.n_features, pool.n_columns
    pairs = n_columns * (n_columns + 1) / 2
    pairs *= 5 / 8 if n_columns > 1 else 1.0  # see `skbait.fisher.matrices`
    setup = problem.n_fisher * n_features**2 * pairs * 2.5 + 3 * pool.size**3 * 2.5
    setup += 2 * n * n_features**2 * pairs
    # a matrix element read from memory counts like some multiply-adds
    read = 2 * pool.size**2 * 8 / (2 if pool.size**2 * 8 > CACHED_BYTES else 8)
    step = 2 * n * pool.size * pool.rank + read
    memory = 5 * 8 * pool.size**2
    memory += 16 * pool.size * min(pool.rank * problem.n_steps, pool.size)
    chunk = rows_per_chunk(8 * pool.size, n)
    return setup + problem.n_steps * step, memory + 8 * chunk * pool.size


def work_of_factored(problem: Problem) -> tuple[float, float]:
    """Estimate the work and the memory of the factored form; see `work_of_dense`.

    Parameters
    ----------
    problem : Problem
        What is to be done.

    Returns
    -------
    work : float
        Multiply-adds, see above.
    n_bytes : float
        Memory.
    """
    pool, n_labeled, rank = problem.pool, problem.n_labeled, problem.pool.rank
    gram = (n_labeled + problem.n_steps) * rank
    step = 3 * problem.n_fisher * pool.size * rank + 2.5 * 8 * gram * pool.size
    memory = 8 * gram**2 + 8 * gram * pool.n_features
    if goes_by_matrix(problem):
        first = scores_by_matrix(problem)
        memory += 2 * 8 * pool.size**2
    else:
        first = scores_by_kernels(problem)
        memory += 4 * len(pool) * rank * n_labeled * rank
    return first + problem.n_steps * step, memory


def goes_by_matrix(problem: Problem) -> bool:
    """Tell whether the factored form makes its first blocks from a matrix M⁻¹FM⁻¹.

    Parameters
    ----------
    problem : Problem
        What is to be done.

    Returns
    -------
    bool
        Not where the matrix is too large, and not for Q = 1, where the dense form makes the same
        matrix and shares its passes.
    """
    pool = problem.pool
    if pool.n_columns == 1 or 8 * pool.size**2 > MATRIX_BYTES:
        return False
    return scores_by_matrix(problem) < scores_by_kernels(problem)


def scores_by_kernels(problem: Problem) -> float:
    """Estimate the work of the factored form's first blocks by kernels; see `work_of_dense`.

    Parameters
    ----------
    problem : Problem
        What is to be done.
    """
    pool, rank = problem.pool, problem.pool.rank
    gram = problem.n_labeled * rank
    per_pair = pool.n_features + rank**2 * pool.n_columns + rank**2 * gram + 2 * rank**3
    return len(pool) * problem.n_fisher * per_pair + 2.5 * 5 / 8 * len(pool) * rank * gram**2


def scores_by_matrix(problem: Problem) -> float:
    """Estimate the work of the factored form's first blocks by M⁻¹FM⁻¹; see `work_of_dense`.

    Parameters
    ----------
    problem : Problem
        What is to be done.
    """
    pool = problem.pool
    gram = problem.n_labeled * pool.rank
    pairs = 5 / 8 * pool.n_features**2 * pool.n_columns * (pool.n_columns + 1) / 2
    solve = 2 * pool.size * (problem.n_labeled * pool.size + gram**2) + 2 * pool.size**2
    diagonal = 5 / 8 * len(pool) * pool.rank * gram**2
    # products with panels of blocks have some half of the speed of others
    products = 1.75 * (problem.n_fisher + len(pool)) * pairs
    return products + 2.5 * (2 * solve + diagonal)


def removes_by_directions(pool: Rows, n_labeled: int, n_fisher: int, n_chosen: int) -> bool:
    """Tell whether M⁻¹V_Sᵀ is cheaper for a removal than kernels with labelled and chosen rows.

    Parameters
    ----------
    pool : Rows
        The candidates.
    n_labeled : int
        Labelled rows.
    n_fisher : int
        Rows that F is the mean of.
    n_chosen : int
        Rows of which some are to be removed.

    Returns
    -------
    bool
        Not where the directions would take much of the memory.
    """
    rank, n_features, n_columns = pool.rank, pool.n_features, pool.n_columns
    labeled, chosen = n_labeled * rank, n_chosen * rank
    if 3 * 8 * pool.size * chosen > memory_bytes(pool.features.device) / 4:
        return False
    inner = (n_labeled + n_chosen) * n_features + rank * n_columns * (labeled + chosen)
    kernels = n_fisher * (inner + rank * chosen * (labeled + chosen))
    directions = chosen * (2 * n_labeled * pool.size + labeled**2 + pool.size * chosen)
    directions += n_fisher * chosen * (pool.size + rank * n_columns)
    # products with so many columns leave room for few rows at a time
    return 1.5 * directions < kernels


def shares_pass(pool: Rows) -> bool:
    """Tell whether the last pass of a choice does the first of the next, if that is guessed.

    Parameters
    ----------
    pool : Rows
        The candidates.

    Returns
    -------
    bool
        Where on a CPU reading the features takes longer than multiplying them. Not for a single
        column: products with a vector are quicker than those with two.
    """
    if pool.features.device.type != "cpu" or pool.features.numel() < READ:
        return False
    return 1 < pool.n_columns * pool.rank <= NARROW
