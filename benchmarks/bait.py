# SPDX-License-Identifier: BSD-3-Clause
"""Benchmarks of BAIT's selection: ``python -m benchmarks.bait CASE`` (see README.md)."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

import torch

from benchmarks.measure import matmul_rate, peak_mb, reset_peak, seconds, spread, table
from benchmarks.problems import make_problem
from benchmarks.published import PublishedBait
from skbait.fisher import select
from skbait.fisher.forward import Forward

CASES = {}


def case(function):
    """Register a benchmark under its name with dashes."""
    CASES[function.__name__.replace("_", "-")] = function
    return function


class StepTimer:
    """Times the forward steps inside `select`, everything else left as it is."""

    def __enter__(self):
        self.original = Forward.run
        original, timer = self.original, self

        def run(forward, n_steps):
            timer.seconds, result = seconds(original, forward, n_steps)
            timer.per_step = timer.seconds / n_steps
            return result

        Forward.run = run
        return self

    def __exit__(self, *_):
        Forward.run = self.original


@case
def binary_limit(n_pool=50_000, n=100, repeats=7):
    """binary, N=50,000, D=384, n=100 against 2n reads of the pool by a matrix-vector product."""
    problem = make_problem(n_pool, 384, 10, 100)
    h, u = problem[0], torch.randn(384)

    def reads():
        for _ in range(2 * n):
            torch.mv(h, u)

    seconds(reads)
    select(*problem, n, variant="binary")
    limit, ours, steps, ratios = [], [], [], []
    for _ in range(repeats):
        limit.append(seconds(reads)[0])
        with StepTimer() as timer:
            ours.append(seconds(select, *problem, n, variant="binary")[0])
        steps.append(timer.seconds)
        ratios.append(ours[-1] / limit[-1])
    gb = 2 * n * h.numel() * 4 / 1e9
    table(
        ["what", "seconds: median (range)", "GB/s"],
        [
            [f"{2 * n} matrix-vector products", spread(limit), f"{gb / min(limit):.0f}"],
            ["BaitQuery's selection, whole", spread(ours), ""],
            ["of which the forward steps", spread(steps), f"{gb / min(steps):.0f}"],
            ["ratio whole / limit (target <= 2)", spread(ratios), ""],
        ],
    )


@case
def binary_published(n_pool=20_000, n=50, repeats=3):
    """binary, N=20,000, D=384, n=50 against the published algorithm, whole, picks compared."""
    problem = make_problem(n_pool, 384, 10, 100)
    _compare_whole(problem, n, repeats, variant="binary", top_c=2)


@case
def exp_published(n_pool=10_000, n=50, repeats=3):
    """Exp c=2, N=10,000, K=10, D=384, n=50 against the published algorithm, per forward step."""
    problem = make_problem(n_pool, 384, 10, 100)
    lam = select(*problem, 1, oversample=1.0).regularization
    published = PublishedBait(*problem, variant="exp", top_c=2, regularization=lam, batch=2500)
    theirs, kinder, ours, whole, ratios = [], [], [], [], []
    select(*problem, n)
    for _ in range(repeats):
        published.shared = True
        kinder.append(seconds(published.forward_step)[0])
        published.shared = False
        theirs.append(seconds(published.forward_step)[0])
        with StepTimer() as timer:
            time, chosen = seconds(select, *problem, n)
        ours.append(timer.per_step)
        whole.append(time)
        ratios.append(theirs[-1] / ours[-1])
    table(
        ["what", "median (range)"],
        [
            ["published, seconds a forward step", spread(theirs)],
            ["published with V M⁻¹ shared, seconds a forward step", spread(kinder)],
            ["skbait, milliseconds a forward step", spread([1e3 * t for t in ours])],
            [f"skbait, whole selection in seconds ({chosen.form})", spread(whole)],
            ["published / skbait a forward step (target >= 1000)", spread(ratios)],
        ],
    )
    del published
    # in float32 the published inverse may become singular here
    print("\nThe same at N=1,000, D=64, K=10, n=20, in float64, whole, with picks compared:\n")
    small = [t.double() for t in make_problem(1000, 64, 10, 50)]
    _compare_whole(small, 20, repeats, variant="exp", top_c=2)


def _compare_whole(problem, n, repeats, *, variant, top_c):
    options = {"variant": variant, "top_c": top_c}
    lam = select(*problem, 1, oversample=1.0, **options).regularization
    select(*problem, n, **options)

    def published(problem=problem, **more):
        return PublishedBait(*problem, regularization=lam, **options, **more).select(n)

    theirs, kinder, ours, steps, ratios = [], [], [], [], []
    for _ in range(repeats):
        theirs.append(seconds(published)[0])
        kinder.append(seconds(published, shared=True)[0])
        inner = []
        for _ in range(9):
            with StepTimer() as timer:
                time, chosen = seconds(select, *problem, n, **options)
            inner.append(time)
            steps.append(1e3 * timer.per_step)
        ours.append(statistics.median(inner))
        ratios.append(theirs[-1] / ours[-1])
    # float32 carries the published inverse through hundreds of updates: picks are compared with
    # the published algorithm in float64
    picks = published([t.double() for t in problem])
    table(
        ["what", "median (range)"],
        [
            ["published, seconds", spread(theirs)],
            ["published with V M⁻¹ shared, seconds", spread(kinder)],
            ["skbait, seconds", spread(ours)],
            ["skbait, milliseconds a forward step", spread(steps)],
            ["published / skbait", spread(ratios)],
            ["same picks as published in float64", set(picks) == set(chosen.positions.tolist())],
            ["in the same order", picks == chosen.positions.tolist()],
        ],
    )


def _one_large(n_pool, n_classes, n_labeled, n, variant, check_float64):
    problem = make_problem(n_pool, 384, n_classes, n_labeled)
    before = reset_peak()
    data = sum(t.numel() * t.element_size() for t in problem) / 2**20
    with StepTimer() as timer:
        time, chosen = seconds(select, *problem, n, variant=variant)
    rows = [
        ["seconds, whole", f"{time:.1f}"],
        ["milliseconds a forward step", f"{1e3 * timer.per_step:.1f}"],
        ["peak memory above data and imports, MB", f"{peak_mb() - before:.0f}"],
        ["features and probabilities themselves, MB", f"{data:.0f}"],
        ["form", chosen.form],
    ]
    rank = {"exp": 2, "exact": n_classes - 1}[variant]
    passes = 3 if chosen.form == "factored" else 2
    products = passes * 2 * n * n_pool * 384 * (n_classes - 1) * rank
    share = products / matmul_rate() / timer.seconds
    rows.append(["share of the matrix products' own time in the steps", f"{share:.2f}"])
    if check_float64:
        other = select(*(t.double() for t in problem), n, variant=variant)
        rows.append(["picks equal to float64", torch.equal(chosen.positions, other.positions)])
    table(["what", "value"], rows)


@case
def exp_many_classes():
    """Exp c=2, N=10,000, K=77, D=384, L=500, n=100 (P = 29,568): time, memory, float64 picks."""
    _one_large(10_000, 77, 500, 100, "exp", check_float64=True)


@case
def exact_large():
    """exact, N=50,000, K=10, D=384, n=100: time and memory."""
    _one_large(50_000, 10, 100, 100, "exact", check_float64=False)


@case
def exp_imagenet(n_pool=20_000, n=50):
    """Exp c=2, N=20,000, K=1,000, D=384 (P = 384,000), where P×P alone would be 590 GB."""
    _one_large(n_pool, 1000, 1000, n, "exp", check_float64=False)


@case
def growth():
    """How time and memory grow with N, D, K, c and n; one process each."""
    base = {"n_pool": 10_000, "n_features": 256, "n_classes": 20, "top_c": 2, "n": 50}
    values = {
        "n_pool": [5_000, 10_000, 20_000, 40_000],
        "n_features": [128, 256, 512, 1024],
        "n_classes": [5, 20, 80, 160],
        "top_c": [1, 2, 5],
        "n": [25, 50, 100, 200],
    }
    rows = []
    for name, choices in values.items():
        for value in choices:
            shape = base | {name: value}
            command = [sys.executable, "-m", "benchmarks.bait", "one"]
            command += [f"--{key.replace('_', '-')}={number}" for key, number in shape.items()]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rows.append([name, value, *output.split()])
            print(*rows[-1], file=sys.stderr)
    header = ["varied", "value", "form", "seconds", "first scores, s", "ms a step", "peak MB"]
    table(header, rows)


def one(shape):
    """One point of `growth`: prints form, seconds, setup, ms a step, MB above data and imports."""
    problem = make_problem(shape.n_pool, shape.n_features, shape.n_classes, 100)
    before = reset_peak()
    with StepTimer() as timer:
        time, chosen = seconds(select, *problem, shape.n, top_c=shape.top_c)
    print(
        chosen.form,
        f"{time:.2f}",
        f"{time - timer.seconds:.2f}",
        f"{1e3 * timer.per_step:.2f}",
        f"{peak_mb() - before:.0f}",
    )


@case
def gpu(n_pool=50_000, n=100, repeats=5):
    """Exp c=2, N=50,000, K=100, D=384, n=100 on a CUDA device, and the other cases there."""
    if not torch.cuda.is_available():
        print("torch finds no CUDA device here: not measured.")
        return
    cases = [
        ("exp, K=100 (target < 10)", (n_pool, 384, 100, 500), n, {}),
        ("exp, K=77", (10_000, 384, 77, 500), 100, {}),
        ("exp, K=10", (10_000, 384, 10, 100), 50, {}),
        ("exact, K=10", (50_000, 384, 10, 100), 100, {"variant": "exact"}),
        ("binary", (50_000, 384, 10, 100), 100, {"variant": "binary"}),
        ("binary", (20_000, 384, 10, 100), 50, {"variant": "binary"}),
    ]
    rows = []
    for name, shape, n_chosen, options in cases:
        problem = [t.cuda() for t in make_problem(*shape)]
        select(*problem, n_chosen, **options)
        torch.cuda.reset_peak_memory_stats()
        times = []
        for _ in range(repeats):
            with StepTimer() as timer:
                time, chosen = seconds(select, *problem, n_chosen, **options)
            times.append(time)
        memory = torch.cuda.max_memory_allocated() / 2**20
        other = select(*(t.double() for t in problem), n_chosen, **options)
        same = torch.equal(chosen.positions, other.positions)
        per_step = f"{1e3 * timer.per_step:.2f}"
        rows.append([name, shape[0], n_chosen, spread(times), per_step, f"{memory:.0f}", same])
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    header = ["case", "N", "n", "seconds", "ms a step", "peak MB", "picks equal to float64"]
    table(header, rows)
    for options in ({}, {"variant": "exact"}, {"variant": "binary"}):
        small = make_problem(5_000, 128, 10, 100)
        on_gpu = select(*(t.cuda() for t in small), 50, **options).positions.cpu()
        same = torch.equal(select(*small, 50, **options).positions, on_gpu)
        print(f"\nCPU and CUDA picks equal (N=5,000, D=128, K=10, {options or 'exp'}): {same}")


def main():
    """Run one case, or all of them a process each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=[*CASES, "all", "one"], nargs="?", default="all")
    for name in ("n-pool", "n-features", "n-classes", "top-c", "n"):
        parser.add_argument(f"--{name}", type=int, help="for `one`")
    arguments = parser.parse_args()
    if arguments.case == "one":
        one(arguments)
    elif arguments.case == "all":
        for name, function in CASES.items():
            print(f"\n## {name}\n\n{function.__doc__}\n", flush=True)
            subprocess.run([sys.executable, "-m", "benchmarks.bait", name], check=True)
    else:
        CASES[arguments.case]()


if __name__ == "__main__":
    main()
