# SPDX-License-Identifier: BSD-3-Clause
"""Run every benchmark, a process each: ``make bench``, or ``python -m benchmarks``."""

import subprocess
import sys

for module in (
    "benchmarks.bait",
    "benchmarks.network",
    "benchmarks.strategies",
    "benchmarks.laplace",
):
    subprocess.run([sys.executable, "-m", module], check=True)
