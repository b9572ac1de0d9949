# SPDX-License-Identifier: BSD-3-Clause
"""Which strategy needs fewest labels: every strategy, six data sets, ten seeds.

::

    python -m benchmarks.study run      # hours; goes on where it was interrupted
    python -m benchmarks.study batches  # the question of the size of the batch
    python -m benchmarks.study collect  # add the results to those in doc/study
    python -m benchmarks.study report   # from that file, the tables and plots of the page there

Questions (`QUESTIONS`) are answered by named strategies on the data sets of `study_sets.py`: each
plays the same cycle from the same first labels. What is run is written to a file of JSON lines a
data set in ``benchmarks/results``; `report` reads these and writes what the documentation shows.

The data home (``SKBAIT_DATA``) holds ``cifar10.npz``, ``cifar10_features.npz`` and what
``python -m benchmarks.study_text`` makes; Fashion-MNIST comes from Debian's package
``dataset-fashion-mnist``, the rest ships with scikit-learn.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

from sklearn.exceptions import ConvergenceWarning

from benchmarks import study_report
from benchmarks.study_sets import SETS
from skbait import BaitQuery, get_query_names, make_query
from skbait.model_selection import compare_strategies

RESULTS = Path(__file__).parent / "results"

# How BAIT is meant to be set is the question: nothing is left to its defaults here.
BAIT = {
    "variant": "exp",
    "top_c": 2,
    "regularization": "auto",
    "kappa": 0.1,
    "weighting": "posterior",
    "oversample": 2.0,
    "probabilities": "model",
}


def bait(**changes):
    """Return BAIT with all its settings spelled out."""
    return BaitQuery(**BAIT | changes)


def every_strategy():
    """Return all strategies of the library by name."""
    found = {name: make_query(name) for name in get_query_names() if not name.startswith("bait")}
    variants = {f"bait_{variant}": bait(variant=variant) for variant in ("exp", "binary", "exact")}
    return found | variants


# question -> strategies by name; the same name is the same strategy everywhere
QUESTIONS = {
    "strategies": every_strategy(),
    "top_c": {f"bait_exp_c{c}": bait(top_c=c) for c in (1, 5)},
    "kappa": {
        f"bait_{variant}_kappa{kappa}": bait(variant=variant, kappa=kappa)
        for variant in ("exp", "binary")
        for kappa in (0.01, 1.0, 10.0)
    },
    "weighting": {
        "bait_exp_published": bait(weighting="original", regularization=1.0),
        "bait_binary_published": bait(variant="binary", weighting="original", regularization=1.0),
        "bait_exp_original": bait(weighting="original"),
    },
    "probabilities": {
        f"bait_{variant}_mean_field": bait(variant=variant, probabilities="mean_field")
        for variant in ("exp", "binary")
    },
    "oversample": {"bait_exp_forward_only": bait(oversample=1.0)},
}

# The size of the batch: the same labels in all, asked for in fewer or more rounds
BATCH_SIZES = {
    "cifar10_features": (10, 160),
    "fashion_mnist": (10, 160),
    "debian_text": (30, 360),
}
IN_BATCHES = ("random", "margin", "badge", "uncertainty_herding", "bait_binary", "bait_exp")

# Two classes have no five most probable ones; 38 x 38 blocks a row cost minutes a query
LEFT_OUT = {"breast_cancer": ("bait_exp_c5",), "debian_text": ("bait_exact",)}


def path_of(name, results=RESULTS):
    """Return the file of a data set's results."""
    return Path(results) / f"study-{name}.jsonl"


def strategies_for(name, questions):
    """Return the strategies of some questions that a data set can have."""
    found = {}
    for question in questions:
        found |= QUESTIONS[question]
    return {key: found[key] for key in found if key not in LEFT_OUT.get(name, ())}


def run(names, questions, seeds, n_jobs, results):
    """Run what is missing."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    for name in names:
        study_set = SETS[name]
        compare_strategies(
            study_set.estimator,
            strategies_for(name, questions),
            {name: study_set.load()},
            seeds=seeds,
            n_jobs=n_jobs,
            on_error="record",
            results_path=path_of(name, results),
            **study_set.arguments(),
        )


def run_batch_sizes(names, seeds, n_jobs, results):
    """Run the question of the batch size: the same budget in batches of other sizes."""
    strategies = {key: every_strategy()[key] for key in IN_BATCHES}
    for name in names:
        study_set = SETS[name]
        data = study_set.load()
        for batch_size in BATCH_SIZES.get(name, ()):
            label = f"{name}, batches of {batch_size}"
            compare_strategies(
                study_set.estimator,
                strategies,
                {label: data},
                seeds=seeds,
                n_jobs=n_jobs,
                results_path=path_of(f"{name}-batches", results),
                **study_set.arguments() | {"batch_size": batch_size},
            )


def main(arguments=None):
    """Run, or report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "batches", "collect", "report"])
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--questions", nargs="+", choices=list(QUESTIONS), default=list(QUESTIONS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=-1)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args(arguments)
    if arguments.what == "run":
        arguments.results.mkdir(parents=True, exist_ok=True)
        run(
            arguments.sets,
            arguments.questions,
            arguments.seeds,
            arguments.jobs,
            arguments.results,
        )
    elif arguments.what == "batches":
        run_batch_sizes(arguments.sets, arguments.seeds, arguments.jobs, arguments.results)
    elif arguments.what == "collect":
        study_report.collect(arguments.results)
    else:
        study_report.report()


if __name__ == "__main__":
    main()
