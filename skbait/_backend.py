# SPDX-License-Identifier: BSD-3-Clause
"""Devices, dtypes and chunks: the one module that decides where and how wide torch computes.

Everything that must not lose digits (inverses, Gram matrices, scores) is kept in `EXACT`
(float64). The pass over the pool runs in the dtype of the features. Devices without float64
(Apple's MPS) therefore hand their tensors to the CPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

EXACT = torch.float64
"""Dtype of everything that must not lose digits."""

CHUNK_BYTES = 8 * 2**20
"""Size that the temporary tensors of one chunk aim at on a CPU, in bytes: what caches hold."""

GPU_CHUNK_BYTES = 256 * 2**20
"""The same on a GPU, where each chunk costs some launches."""

MEMORY_LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)
"""Where Linux says what a container may take, in control groups of version 2 and 1."""


def resolve_device(device: str | torch.device = "auto", *, like=None) -> torch.device:
    """Return the torch device that a computation runs on.

    Parameters
    ----------
    device : str or torch.device, default="auto"
        A torch device, or "auto": the device of `like` where that is a CPU or a CUDA device,
        else CUDA where there is one, else the CPU.
    like : torch.Tensor, torch.device or None, default=None
        What "auto" follows, a parameter of the user's network for example.

    Returns
    -------
    torch.device
        A device that has float64.

    Raises
    ------
    ValueError
        If `device` is not "auto" and names no device that this torch can use.
    """
    if isinstance(device, str) and device == "auto":
        if like is not None:
            like = like if isinstance(like, torch.device) else like.device
            return like if like.type in ("cpu", "cuda") else torch.device("cpu")
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        if resolved.type == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("torch finds no CUDA device here")
        torch.zeros(1, dtype=EXACT, device=resolved).item()  # "meta" has no numbers
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ValueError(
            f"device={device!r} cannot be used ({error}); "
            "pass 'auto', 'cpu', 'cuda' or a torch.device that has float64."
        ) from error
    return resolved


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of the pass over the pool for features of `dtype`.

    float64 stays; float32 stays; half precisions become float32; integers become float64.
    """
    if dtype in (torch.float32, torch.float64):
        return dtype
    return torch.float32 if dtype.is_floating_point else EXACT


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether `error` is torch's way to say that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def rows_per_chunk(
    bytes_per_row: int,
    n_rows: int,
    chunk_size: int | None = None,
    *,
    device: torch.device | None = None,
) -> int:
    """Return how many rows one chunk holds, at least 1.

    Parameters
    ----------
    bytes_per_row : int
        Bytes of temporary tensors that one row needs.
    n_rows : int
        Number of rows in all.
    chunk_size : int or None, default=None
        A fixed number of rows, where the caller wants one.
    device : torch.device or None, default=None
        Where the tensors are; None means the CPU.
    """
    if chunk_size is None:
        on_gpu = device is not None and device.type == "cuda"
        size = GPU_CHUNK_BYTES if on_gpu else CHUNK_BYTES
        chunk_size = max(16, size // max(1, bytes_per_row))
    return max(1, min(int(chunk_size), n_rows))


def for_chunks(work: Callable[[slice], None], n_rows: int, chunk_size: int) -> None:
    """Call ``work(rows)`` for consecutive slices of rows; halve the slices where memory runs out.

    `work` must write its result only after everything that allocates has succeeded, so that a
    slice that ran out of memory can be done again in two halves.

    Parameters
    ----------
    work : callable
        Called with a `slice` of rows.
    n_rows : int
        Number of rows to go through.
    chunk_size : int
        Rows in one slice to begin with.

    Raises
    ------
    torch.OutOfMemoryError
        If memory does not suffice for a single row.
    """
    start = 0
    while start < n_rows:
        rows = slice(start, min(start + chunk_size, n_rows))
        try:
            work(rows)
        except RuntimeError as error:
            if not is_out_of_memory(error) or rows.stop - rows.start == 1:
                raise
            free_cached_memory()
            chunk_size = max(1, (rows.stop - rows.start) // 2)
            continue
        start = rows.stop


def memory_bytes(device: torch.device) -> float:
    """Return the memory that a device has in all, infinity where that is not known.

    Parameters
    ----------
    device : torch.device
        A CPU or CUDA device. On Linux a container's limit counts where it is lower.
    """
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    try:
        found = float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        found = float("inf")
    for limit in MEMORY_LIMITS:
        try:
            with open(limit, encoding="ascii") as file:
                found = min(found, float(file.read()))
        except (OSError, ValueError):
            continue  # no such file, or "max"
    return found


def free_cached_memory() -> None:
    """Return torch's cached blocks to the device, where there is a CUDA device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
