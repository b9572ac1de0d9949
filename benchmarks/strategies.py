# SPDX-License-Identifier: BSD-3-Clause
"""Benchmarks of the query strategies: ``python -m benchmarks.strategies CASE`` (see README.md)."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from skorch import NeuralNetClassifier
from torch import nn

from benchmarks.measure import peak_mb, seconds, spread, table
from benchmarks.network import SmallCNN
from benchmarks.problems import make_problem
from skbait import get_query_names, make_query
from skbait.datasets import fetch_cifar10
from skbait.numerics.heads import train_heads
from skbait.strategies import _members

CASES = {}
NAMES = [name for name in get_query_names() if name != "bait"]  # the same as bait_exp
SHAPE = {"n_pool": 10_000, "n_features": 384, "n_classes": 10, "n_labeled": 100, "n": 10}
LARGE = {"n_pool": 50_000, "n_features": 384, "n_classes": 100, "n_labeled": 500, "n": 1000}


def case(function):
    """Register a benchmark under its name with dashes."""
    CASES[function.__name__.replace("_", "-")] = function
    return function


def make_task(n_pool, n_features, n_classes, n_labeled, n_held_out=1000):
    """Return arrays: the weights of a linear head, rows, and labels drawn from its probabilities.

    `X` (L, D) and `y` (L,) are labelled, `X_pool` and `y_pool` the pool, `X_val` and `y_val` held
    out, all rows in float32; `coef` (K, D) and `intercept` (K,) are the head.
    """
    h, p, X, p_labeled = make_problem(n_pool + n_held_out, n_features, n_classes, n_labeled)
    # the head whose probabilities these are
    some = slice(0, 4 * n_features)
    rows = torch.cat([h[some], torch.ones(len(h[some]), 1)], dim=1).double()
    weights = torch.linalg.lstsq(rows, p[some].double().clamp_min(1e-30).log()).solution
    weights -= weights.mean(dim=1, keepdim=True)
    generator = torch.Generator().manual_seed(0)
    y, y_all = (
        torch.multinomial(q.double(), 1, generator=generator)[:, 0] for q in (p_labeled, p)
    )
    task = {
        "coef": weights[:-1].T.contiguous(),
        "intercept": weights[-1],
        "X": X,
        "y": y,
        "X_pool": h[:n_pool],
        "y_pool": y_all[:n_pool],
        "X_val": h[n_pool:],
        "y_val": y_all[n_pool:],
    }
    return {name: tensor.numpy() for name, tensor in task.items()}


def make_fitted(name, task):
    """Return a strategy over the head of a task, fitted."""
    query = make_query(name, random_state=0)
    if "estimator" in query.get_params(deep=False):
        model = LogisticRegression()
        model.coef_, model.intercept_ = task["coef"], task["intercept"]
        model.n_features_in_, model.classes_ = task["X"].shape[1], np.arange(len(model.coef_))
        query.set_params(estimator=FrozenEstimator(model))
    return query.fit(task["X"], task["y"])


def one(name, path, n):
    """Time one query; print seconds, and peak MB above the imports and above the data."""
    imported = peak_mb()
    with np.load(path) as arrays:
        task = dict(arrays)
    with_data = peak_mb()
    oracle = {key: task[key] for key in ("y_pool", "X_val", "y_val")} if name == "boss" else {}
    time, chosen = seconds(make_fitted(name, task).query, task["X_pool"], n, **oracle)
    assert len(set(chosen.tolist())) == n
    print(f"{time:.2f} {peak_mb() - imported:.0f} {peak_mb() - with_data:.0f}")


def in_processes(names, *, n, **shape):
    """Run `one` for each strategy in a process of its own, whose peak of memory is its own."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task.npz"
        np.savez(path, **make_task(**shape))
        for name in names:
            command = [sys.executable, "-m", "benchmarks.strategies", "one", "--strategy", name]
            command += ["--task", path, "--n", str(n)]
            done = subprocess.run(command, capture_output=True, text=True)
            why = [line for line in done.stderr.splitlines() if line.strip()][-1:]
            cells = [f"failed ({done.returncode}): {why}", "", ""]
            rows.append([name, *(cells if done.returncode else done.stdout.split())])
            print(*rows[-1], file=sys.stderr)
    table(["strategy", "seconds a query", "peak MB above imports", "above imports and data"], rows)


@case
def pool(names=NAMES):
    """All strategies on one pool: N=10,000, D=384, K=10, L=100, n=10 (REFINE: target 60 s)."""
    in_processes(names, **SHAPE)


@case
def large(names=NAMES):
    """All strategies at N=50,000, D=384, K=100, L=500, n=1,000 (target: 4 GB above imports)."""
    in_processes(names, **LARGE)


@case
def badge():
    """BADGE, N=50,000, K=100, D=384, n=100 (target: 30 s, 1 GB above the imports)."""
    in_processes(["badge"], **LARGE | {"n": 100})


@case
def core_set(repeats=3, n=1000):
    """CoreSet, N=50,000, D=384, n=1,000 against n distance passes over the pool (target: 3)."""
    task = make_task(50_000, 384, 10, 100)
    query, X_pool = make_fitted("core_set", task), task["X_pool"]
    h = torch.from_numpy(X_pool)
    squares = (h * h).sum(dim=1)  # (N,)

    def passes():
        nearest = torch.full_like(squares, torch.inf)
        for i in range(n):
            torch.minimum(
                nearest, torch.addmv(squares, h, h[i], alpha=-2).add_(squares[i]), out=nearest
            )

    limit, ours, ratios = [], [], []
    for _ in range(repeats):
        limit.append(seconds(passes)[0])
        ours.append(seconds(query.query, X_pool, n)[0])
        ratios.append(ours[-1] / limit[-1])
    table(
        ["what", "seconds: median (range)"],
        [
            [f"{n} distance passes in float32", spread(limit)],
            ["CoreSetQuery.query, whole", spread(ours)],
            ["ratio (target <= 3)", spread(ratios)],
        ],
    )


@case
def refine_members(n=10):
    """REFINE, N=10,000, D=384, K=10, n=10: what each member's calls take of the whole."""
    shape = {key: value for key, value in SHAPE.items() if key != "n"}
    task = make_task(**shape)
    query = make_fitted("refine", task)
    spent = defaultdict(list)
    original = _members._choose

    def timed(view, job, n):
        time, chosen = seconds(original, view, job, n)
        spent[job.name].append(time)
        return chosen

    _members._choose = timed
    try:
        whole = seconds(query.query, task["X_pool"], n)[0]
    finally:
        _members._choose = original
    rows = [
        [name, len(times), f"{sum(times):.2f}", f"{1e3 * sum(times) / len(times):.1f}",
         f"{1e3 * max(times):.1f}"]
        for name, times in sorted(spent.items(), key=lambda item: -sum(item[1]))
    ]  # fmt: skip
    members = sum(map(sum, spent.values()))
    n_calls = sum(map(len, spent.values()))
    rows.append(["all members", n_calls, f"{members:.2f}", f"{1e3 * members / n_calls:.1f}", ""])
    rows.append(["whole query (target < 60 s)", "", f"{whole:.2f}", "", ""])
    table(["member", "calls", "seconds", "ms a call", "longest call, ms"], rows)
    print(f"\n|C_r|: {query.pool_sizes_.tolist()}; proposed: {query.n_proposed_}")


@case
def refine_network(n_labeled=500, n=10):
    """REFINE over a CNN on CIFAR-10 images: the rows that pass through the network (target: 1)."""
    data = fetch_cifar10()
    X = np.ascontiguousarray(data.data[:10_000].transpose(0, 3, 1, 2)).astype(np.float32) / 255
    y = data.target[:10_000]
    torch.manual_seed(0)
    net = NeuralNetClassifier(
        SmallCNN,
        criterion=nn.CrossEntropyLoss,
        max_epochs=10,
        lr=0.05,
        batch_size=128,
        train_split=None,
        classes=range(10),
        verbose=0,
    )
    net.fit(X[:n_labeled], y[:n_labeled])
    query = make_query("refine", estimator=FrozenEstimator(net), random_state=0)
    query.fit(X[:n_labeled], y[:n_labeled])
    alone = seconds(net.predict_proba, X[n_labeled:])[0]
    counts = {"calls": 0, "rows": 0}

    def count(module, args):
        counts["calls"] += 1
        counts["rows"] += len(args[0])

    hook = net.module_.register_forward_pre_hook(count)
    whole = seconds(query.query, X[n_labeled:], n)[0]
    hook.remove()
    n_pool = len(X) - n_labeled
    table(
        ["what", "value"],
        [
            ["rows of the pool, and labelled", f"{n_pool}, {n_labeled}"],
            ["calls of the module in a query", counts["calls"]],
            ["rows that passed through it", counts["rows"]],
            ["passes over pool and labelled rows", f"{counts['rows'] / len(X):.3f}"],
            ["a pass over the pool alone, seconds", f"{alone:.2f}"],
            ["the query, seconds", f"{whole:.2f}"],
            ["batches chosen by members", 9 * query.n_rounds * (100 // 9)],
        ],
    )


@case
def boss_heads(n_heads=100, n_epochs=50, n_labeled=100, n=10, repeats=3):
    """BoSS: T=100 heads, 50 epochs, L=100, D=384, K=10 against a loop of trainings (20 x)."""
    task = {key: torch.from_numpy(a) for key, a in make_task(9000, 384, 10, n_labeled).items()}
    weight, bias, shared = task["coef"], task["intercept"], (task["X"], task["y"])
    own = torch.from_numpy(np.random.RandomState(0).randint(9000, size=(n_heads, n)))
    mine = task["X_pool"][own], task["y_pool"][own]

    def together():
        generator = torch.Generator().manual_seed(0)
        return train_heads(weight, bias, *shared, *mine, n_epochs=n_epochs, generator=generator)

    def separately():
        generator = torch.Generator().manual_seed(0)
        orders = [torch.randperm(n_labeled + n, generator=generator) for _ in range(n_epochs)]
        for features, targets in zip(*mine, strict=True):
            rows, labels = torch.cat([shared[0], features]), torch.cat([shared[1], targets])
            head = nn.Linear(384, 10)
            with torch.no_grad():
                head.weight.copy_(weight)
                head.bias.copy_(bias)
            optimizer = torch.optim.SGD(
                head.parameters(), lr=1e-2, momentum=0.9, nesterov=True, weight_decay=5e-4
            )
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_epochs)
            for order in orders:
                for batch in order.split(64):
                    optimizer.zero_grad()
                    nn.functional.cross_entropy(head(rows[batch]), labels[batch]).backward()
                    optimizer.step()
                schedule.step()

    theirs, ours, ratios = [], [], []
    for _ in range(repeats):
        theirs.append(seconds(separately)[0])
        ours.append(seconds(together)[0])
        ratios.append(theirs[-1] / ours[-1])
    table(
        ["what", "seconds: median (range)"],
        [
            [f"{n_heads} trainings one after another, float32", spread(theirs)],
            ["train_heads, float64", spread(ours)],
            ["ratio (target >= 20)", spread(ratios)],
        ],
    )
    print("\nThe whole query:\n")
    in_processes(["boss"], **SHAPE)


def main():
    """Run one case, or all of them a process each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=[*CASES, "all", "one"], nargs="?", default="all")
    parser.add_argument("--strategies", nargs="+", default=NAMES, help="for `pool` and `large`")
    for name, kind in (("strategy", str), ("task", Path), ("n", int)):
        parser.add_argument(f"--{name}", type=kind, help="for `one`")
    arguments = parser.parse_args()
    if arguments.case == "one":
        one(arguments.strategy, arguments.task, arguments.n)
    elif arguments.case == "all":
        for name, function in CASES.items():
            print(f"\n## {name}\n\n{function.__doc__}\n", flush=True)
            subprocess.run([sys.executable, "-m", "benchmarks.strategies", name], check=True)
    elif arguments.case in ("pool", "large"):
        CASES[arguments.case](arguments.strategies)
    else:
        CASES[arguments.case]()


if __name__ == "__main__":
    main()
