# SPDX-License-Identifier: BSD-3-Clause
"""Label efficiency of every strategy on CIFAR-10 features: ``python -m benchmarks.labels``.

Each strategy plays the same cycle from the same first labels: a logistic regression is fitted on
what is labelled, scored on the test rows, and asked for the next batch. BoSS, which may look at
labels of the pool and at held-out rows of their own (never at the test rows), is the upper end,
random choice the lower one.

The features are `X_train` (N, D), `y_train`, `X_test`, `y_test` in ``cifar10_features.npz`` in
the data home: any network's will do. They are reduced to their first singular directions, which
costs a head on few labels nothing and makes 2,000 queries take minutes.

Curves are appended to a file of results as they are done, and what is in it is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from benchmarks.measure import table
from skbait import get_query_names, make_query

FEATURES = "cifar10_features.npz"
RESULTS = Path(__file__).parent / "results" / "labels.jsonl"
N_HELD_OUT = 1000


def load(data_home, n_components):
    """Return training and test features (float32) and labels, reduced to some directions."""
    path = Path(data_home).expanduser() / FEATURES
    if not path.exists():
        raise SystemExit(f"{path} is missing: name its folder by --data-home or SKBAIT_DATA.")
    with np.load(path) as arrays:
        X, y, X_test, y_test = (
            arrays[name] for name in ("X_train", "y_train", "X_test", "y_test")
        )
    X, X_test = X.astype(np.float32), X_test.astype(np.float32)
    if n_components and n_components < X.shape[1]:
        svd = TruncatedSVD(n_components, random_state=0).fit(X)
        X, X_test = svd.transform(X), svd.transform(X_test)
    return X, y, X_test, y_test


def curve(name, seed, data, setting):
    """Play one cycle; return accuracies, numbers of labels, and seconds of the queries.

    Parameters
    ----------
    name : str
        What `make_query` takes.
    seed : int
        Draws the pool, the first labels and the held-out rows: the same for every strategy.
    data : tuple
        What `load` gives.
    setting : dict
        `n_pool`, `initial`, `batch_size`, `n_cycles`, `C`.

    Returns
    -------
    dict
        With `strategy`, `seed`, `n_labels`, `accuracy` and `seconds`.
    """
    X, y, X_test, y_test = data
    rng = np.random.RandomState(seed)
    order = rng.permutation(len(X))
    held_out, order = order[:N_HELD_OUT], order[N_HELD_OUT:]
    pool = order[: setting["n_pool"]]
    X_pool, y_pool = X[pool], y[pool]
    labeled = rng.permutation(len(pool))[: setting["initial"]]
    oracle = {}
    if name == "boss":
        oracle = {"y_pool": y_pool, "X_val": X[held_out], "y_val": y[held_out]}
    record = {"strategy": name, "seed": seed, "n_labels": [], "accuracy": [], "seconds": []}
    for cycle in range(setting["n_cycles"] + 1):
        model = LogisticRegression(C=setting["C"], max_iter=5000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X_pool[labeled], y_pool[labeled])
        record["n_labels"].append(len(labeled))
        record["accuracy"].append(float(model.score(X_test, y_test)))
        if cycle == setting["n_cycles"]:
            return record
        left = np.setdiff1d(np.arange(len(pool)), labeled)
        query = make_query(name, random_state=1000 * seed + cycle)
        if "estimator" in query.get_params(deep=False):
            query.set_params(estimator=FrozenEstimator(model))
        query.fit(X_pool[labeled], y_pool[labeled])
        start = time.perf_counter()
        chosen = query.query(X_pool, setting["batch_size"], candidates=left, **oracle)
        record["seconds"].append(time.perf_counter() - start)
        labeled = np.concatenate([labeled, chosen])
    return record


def done_before(path, setting):
    """Return the curves in a file of results that were run with a setting, by name and seed."""
    if not path.exists():
        return {}
    records = map(json.loads, path.read_text().splitlines())
    return {(r["strategy"], r["seed"]): r for r in records if r["setting"] == setting}


def run(names, seeds, data, setting, *, n_jobs, path):
    """Run what is missing in the file of results; return all curves by name and seed."""
    found = done_before(path, setting)
    # the slow ones first, so that the jobs end at about the same time
    slow = ["refine", "boss", "bait_exact"]
    names = sorted(names, key=lambda name: slow.index(name) if name in slow else len(slow))
    todo = [(name, seed) for name in names for seed in seeds if (name, seed) not in found]
    path.parent.mkdir(parents=True, exist_ok=True)
    jobs = (delayed(curve)(name, seed, data, setting) for name, seed in todo)
    with open(path, "a") as file:
        for record in Parallel(n_jobs=n_jobs, return_as="generator_unordered")(jobs):
            found[record["strategy"], record["seed"]] = record
            file.write(json.dumps({"setting": setting, **record}) + "\n")
            file.flush()
            mean = np.mean(record["accuracy"][1:])
            print(f"{record['strategy']} {record['seed']}: {mean:.3f}", flush=True)
    return {key: found[key] for key in ((name, seed) for name in names for seed in seeds)}


def summary(found, names, seeds):
    """Return a row a strategy, the best first: accuracies with standard errors, and seconds."""
    curves = {n: np.array([found[n, s]["accuracy"] for s in seeds]) for n in names}  # (S, C + 1)
    means = {name: values[:, 1:].mean(axis=1) for name, values in curves.items()}  # (S,)
    rows = []
    for name in sorted(names, key=lambda name: -means[name].mean()):
        against = means[name] - means["random"] if "random" in means else None
        rows.append(
            [
                name,
                with_error(means[name]),
                "" if against is None or name == "random" else with_error(against, sign="+"),
                with_error(curves[name][:, -1]),
                f"{np.mean([found[name, seed]['seconds'] for seed in seeds]):.2f}",
            ]
        )
    return rows


def with_error(values, sign=""):
    """Return mean and standard error of some values as text."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{np.mean(values):{sign}.3f} ± {error:.3f}".replace("0.", ".")


def main(arguments=None):
    """Run, and print one table."""
    names = [name for name in get_query_names() if name != "bait"]  # the same as bait_exp
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strategies", nargs="+", default=names, metavar="NAME")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--batch-size", type=int, default=10, help="labels a cycle")
    parser.add_argument("--cycles", type=int, default=19)
    parser.add_argument("--initial", type=int, default=10, help="labels to begin with, at random")
    parser.add_argument("--pool", type=int, default=3000, help="rows of the pool")
    parser.add_argument("--components", type=int, default=64, help="singular directions; 0: all")
    parser.add_argument("--C", type=float, default=0.01, help="of the logistic regression")
    parser.add_argument("--jobs", type=int, default=-1)
    parser.add_argument("--data-home", default=os.environ.get("SKBAIT_DATA", "."))
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args(arguments)
    setting = {
        "n_pool": arguments.pool,
        "initial": arguments.initial,
        "batch_size": arguments.batch_size,
        "n_cycles": arguments.cycles,
        "n_components": arguments.components,
        "C": arguments.C,
    }
    data = load(arguments.data_home, arguments.components)
    seeds = range(arguments.seeds)
    found = run(
        arguments.strategies, seeds, data, setting, n_jobs=arguments.jobs, path=arguments.results
    )
    last = arguments.initial + arguments.cycles * arguments.batch_size
    header = [
        "strategy",
        "mean accuracy over the curve",
        "less random's",
        f"accuracy at {last} labels",
        "seconds a query",
    ]
    table(header, summary(found, arguments.strategies, seeds))


if __name__ == "__main__":
    main()
