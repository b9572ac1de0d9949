# SPDX-License-Identifier: BSD-3-Clause
"""Time, spread, memory and the machine's own limits."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from pathlib import Path

import torch


def seconds(function, *args, **kwargs):
    """Wall-clock seconds of one call, and its result."""
    synchronise()
    start = time.perf_counter()
    result = function(*args, **kwargs)
    synchronise()
    return time.perf_counter() - start, result


def synchronise():
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def spread(values, digits=3):
    """Median with the smallest and the largest value, as text."""
    low, mid, high = min(values), statistics.median(values), max(values)
    return f"{mid:.{digits}g} ({low:.{digits}g} to {high:.{digits}g})"


def peak_mb():
    """Largest resident memory of this process so far, in MB.

    Linux hands `ru_maxrss` on to the processes that one starts: there the status file is read.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def reset_peak():
    """Forget the peak so far, where Linux lets one: what `peak_mb` is from here, in MB."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass
    return peak_mb()


def matmul_rate(dtype=torch.float32, size=2000, repeats=5):
    """Multiply-adds per second of a large square matrix product, best of some."""
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    torch.mm(a, b)
    return size**3 / min(seconds(torch.mm, a, b)[0] for _ in range(repeats))


def table(header, rows):
    """Print a Markdown table."""
    print("| " + " | ".join(header) + " |")
    print("|" + " --- |" * len(header))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    sys.stdout.flush()
