# SPDX-License-Identifier: BSD-3-Clause
"""Benchmarks of updates against trainings: ``python -m benchmarks.laplace CASE`` (see README.md).

`accuracy` needs features of CIFAR-10: see `skbait.datasets.fetch_cifar10_features`.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import warnings

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from skorch import NeuralNetClassifier
from torch import nn

from benchmarks.measure import seconds, spread, table
from benchmarks.problems import make_problem
from skbait import ActiveLearner, BaitQuery, MarginQuery
from skbait.datasets import fetch_cifar10_features
from skbait.laplace import LaplaceClassifier
from skbait.representation import represent

CASES = {}


def case(function):
    """Register a benchmark under its name."""
    CASES[function.__name__] = function
    return function


class Linear(nn.Module):
    """A head: what there is to train on features."""

    def __init__(self, n_features=384, n_classes=10):
        super().__init__()
        self.head = nn.Linear(n_features, n_classes)

    def forward(self, features):
        """Return logits."""
        return self.head(features)


def make_head(n_features, n_classes=10, **params):
    """Return an untrained head: 200 epochs of Adam in batches of 64, no weight decay."""
    settings = {
        "criterion": nn.CrossEntropyLoss,
        "optimizer": torch.optim.Adam,
        "lr": 1e-3,
        "max_epochs": 200,
        "batch_size": 64,
        "train_split": None,
        "callbacks": "disable",
        "verbose": 0,
        "classes": range(n_classes),
    }
    return NeuralNetClassifier(
        Linear,
        module__n_features=n_features,
        module__n_classes=n_classes,
        **settings | params,
    )


def train_bare(X, y, n_epochs=200, batch_size=64, lr=1e-3):
    """Train the same head in a bare loop over slices of tensors: no data loader, no callbacks."""
    head = nn.Linear(X.shape[1], 10)
    optimizer = torch.optim.Adam(head.parameters(), lr=lr)
    for _ in range(n_epochs):
        for rows in torch.randperm(len(y)).split(batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(X[rows]), y[rows]).backward()
            optimizer.step()
    return head


@case
def speed(repeats=7):
    """10 new rows, D=384, K=10: updates against 200 epochs of the head, at 10, 100, 1,000 labels.

    Retraining is what `ActiveLearner` does with a skorch net whose only layer is the head, and
    below it the same in a bare loop. The update is a call of `partial_fit` on new rows, and below
    it the update itself on features that are at hand.
    """
    features, p, _, _ = make_problem(2000, 384, 10, 1)
    y = p.argmax(dim=1)
    for n_labels, target in ((10, 30), (100, 100), (1000, 1000)):
        X, labels = features[: n_labels + 10], y[: n_labels + 10]
        old, new = slice(n_labels), slice(n_labels, None)
        rows, targets = X[new].numpy(), labels[new].numpy()
        net = make_head(384).fit(X[old].numpy(), labels[old].numpy())
        times = {"net": [], "bare": []}
        for _ in range(repeats if n_labels < 1000 else 3):
            times["net"].append(seconds(make_head(384).fit, X.numpy(), labels.numpy())[0])
            times["bare"].append(seconds(train_bare, X, labels)[0])
        net_time, bare_time = (statistics.median(times[name]) for name in ("net", "bare"))
        lines = [
            ["training: skorch net, 200 epochs", _ms(times["net"]), "", ""],
            ["training: bare loop, 200 epochs", _ms(times["bare"]), "", ""],
        ]
        for update in ("second_order", "newton", "first_order"):
            model = LaplaceClassifier(
                FrozenEstimator(net),
                update=update,
                likelihood="categorical",
                prior_precision="auto",
            ).fit(X[old].numpy(), labels[old].numpy())
            at_hand = represent(model, rows).features
            calls = {
                f"{update}: partial_fit": lambda m: m.partial_fit(rows, targets),  # noqa: B023
                f"{update}: on features at hand": lambda m: m._partial_fit_features(
                    at_hand,  # noqa: B023
                    targets,  # noqa: B023
                ),
            }
            for name, call in calls.items():
                call(copy.copy(model))
                took = [seconds(call, copy.copy(model))[0] for _ in range(20 * repeats)]
                middle = statistics.median(took)
                ratios = [f"{t / middle:,.0f}" for t in (net_time, bare_time)]
                lines.append([name, _ms(took), *ratios])
        print(f"\n{n_labels} labels (target: {target} times as fast as retraining)\n")
        table(["what", "milliseconds: median (range)", "x of net", "x of bare loop"], lines)


def _ms(times):
    return spread([1e3 * t for t in times])


@case
def one_label(n_pool=10_000, n_labels=100, n_rounds=5):
    """One round of query(X, 1) and teach, N=10,000, D=384, K=10: median after the first round."""
    features, p, _, _ = make_problem(n_pool + n_labels, 384, 10, 1)
    X, y = features.numpy(), p.argmax(dim=1).numpy()
    lines = []
    for name, strategy in {
        "MarginQuery": MarginQuery(),
        "BaitQuery, binary": BaitQuery(variant="binary"),
        "BaitQuery, exp": BaitQuery(),
        "BaitQuery, exact": BaitQuery(variant="exact"),
    }.items():
        learner = ActiveLearner(
            LogisticRegression(C=10.0, max_iter=1000), strategy, update="laplace", random_state=0
        ).fit(X[:n_labels], y[:n_labels])
        pool, answers = X[n_labels:], y[n_labels:]
        queries, teachings = [], []
        for _ in range(n_rounds + 1):
            time, chosen = seconds(learner.query, pool, 1)
            queries.append(time)
            teachings.append(seconds(learner.teach, pool[chosen], answers[chosen])[0])
            pool, answers = np.delete(pool, chosen, axis=0), np.delete(answers, chosen)
        rounds = [sum(pair) for pair in zip(queries[1:], teachings[1:], strict=True)]
        lines.append([name, spread(rounds), spread(queries[1:]), _ms(teachings[1:])])
    table(["strategy", "seconds a round (target < 0.3)", "query, s", "teach, ms"], lines)


UPDATES = {
    "first order, γ=1e-3": {"update": "first_order"},
    "second order, default (gaussian, λ=1, γ=3)": {},
    "second order as published (gaussian, λ=1, γ=10)": {"gamma": 10.0},
    "second order, gaussian, λ auto, γ=3": {"prior_precision": "auto"},
    "second order, categorical, λ auto, γ=1": {
        "likelihood": "categorical",
        "prior_precision": "auto",
    },
    "newton, gaussian, λ auto": {"update": "newton", "prior_precision": "auto"},
    "newton, categorical, λ auto": {
        "update": "newton",
        "likelihood": "categorical",
        "prior_precision": "auto",
    },
}


def make_trainings(n_features):
    """Two ways to train a head: with an L2 penalty to convergence, and by epochs without one."""
    return {
        "penalised": lambda: LogisticRegression(C=0.01, max_iter=2000),
        "epochs": lambda: make_head(n_features),
    }


def one_draw(data, n_labels, seed, training, n_new=10):
    """Accuracies in percent of base, updates and retrained head, for one draw of labels."""
    torch.set_num_threads(1)
    X, y, X_test, y_test = data
    order = np.random.default_rng(seed).permutation(len(X))
    old, new = order[:n_labels], order[n_labels : n_labels + n_new]
    everything = order[: n_labels + n_new]
    found = {}

    def fitted(rows):
        torch.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return make_trainings(X.shape[1])[training]().fit(X[rows], y[rows])

    base = fitted(old)
    found["base: not updated"] = base.score(X_test, y_test)
    for name, options in UPDATES.items():
        model = LaplaceClassifier(FrozenEstimator(base), prediction="plain", **options)
        model.fit(X[old], y[old]).partial_fit(X[new], y[new])
        found[name] = model.score(X_test, y_test)
    found["retrained"] = fitted(everything).score(X_test, y_test)
    return {name: 100 * score for name, score in found.items()}


@case
def accuracy(n_draws=20, sizes=(50, 100, 200, 500, 1000, 2000), n_columns=None, n_jobs=1):
    """Accuracy on CIFAR-10 features after 10 new rows: mean over draws, and distance to retrained.

    Each cell is the accuracy in percent on the test rows, then its difference to the retrained
    head and the standard error of that difference, over draws of labelled and new rows.
    """
    data = [
        part
        for subset in ("train", "test")
        for part in fetch_cifar10_features(subset=subset, return_X_y=True)
    ]
    for i in (0, 2):
        data[i] = data[i][:, :n_columns].astype(np.float32)
    for training, title in (
        ("penalised", "Head with an L2 penalty, C=0.01, trained to convergence"),
        ("epochs", "Head without a penalty, 200 epochs of Adam, lr=1e-3, batches of 64"),
    ):
        columns = []
        for n_labels in sizes:
            draws = Parallel(n_jobs=n_jobs)(
                delayed(one_draw)(data, n_labels, seed, training) for seed in range(n_draws)
            )
            names = list(draws[0])
            scores = {name: np.array([draw[name] for draw in draws]) for name in names}
            columns.append([_cell(scores[name], scores["retrained"]) for name in names])
        print(f"\n{title}; {data[0].shape[1]} columns, {n_draws} draws\n")
        header = ["after 10 new rows", *(f"{n:,} labels" for n in sizes)]
        table(header, [[name, *cells] for name, *cells in zip(names, *columns, strict=True)])


def _cell(scores, retrained):
    difference = scores - retrained
    if not difference.any():
        return f"{scores.mean():.2f}"
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    return f"{scores.mean():.2f} ({difference.mean():+.2f} ± {error:.2f})"


def main():
    """Run one case, or both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=[*CASES, "all"], nargs="?", default="all")
    parser.add_argument("--draws", type=int, default=20, help="of `accuracy`")
    parser.add_argument("--labels", type=int, nargs="+", help="sizes for `accuracy`")
    parser.add_argument("--columns", type=int, help="take the first of the features only")
    parser.add_argument("--jobs", type=int, default=1, help="processes of `accuracy`")
    arguments = parser.parse_args()
    for name, function in CASES.items():
        if arguments.case not in (name, "all"):
            continue
        print(f"\n## {name}\n\n{function.__doc__}", flush=True)
        if name == "accuracy":
            options = {"n_draws": arguments.draws, "n_columns": arguments.columns}
            if arguments.labels:
                options["sizes"] = arguments.labels
            function(n_jobs=arguments.jobs, **options)
        else:
            function()


if __name__ == "__main__":
    main()
