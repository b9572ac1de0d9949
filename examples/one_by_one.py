# SPDX-License-Identifier: BSD-3-Clause
"""One label at a time: how long a person waits between two of them.

A person labels single images and the learner names the next one after each. Trained afresh after
every label, it lets them wait; with ``update="laplace"`` it takes the label in by a closed-form
update of its last layer, and is trained again only now and then. What comes out is a table and a
plot: accuracy on held-out images by the seconds that the person has waited in all.

    python examples/one_by_one.py

The images are scikit-learn's digits; ``--help`` lists the options.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from torch import nn
from tqdm import tqdm

from skbait import ActiveLearner, MarginQuery

LEARNERS = {
    "retrained after each label": {"update": "refit"},
    "updated, retrained every 25": {"update": "laplace", "refit_every": 25},
    "updated, never retrained": {"update": "laplace"},
}
COLOURS = ("#475569", "#c2410c", "#f59e0b")


class Net(nn.Sequential):
    """Two convolutions and a last linear layer on 64 features."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 16, 3),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )


def make_net():
    """Return a skorch classifier around the network."""
    return NeuralNetClassifier(
        Net,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=0.003,
        max_epochs=30,
        batch_size=16,
        iterator_train__shuffle=True,
        iterator_valid__batch_size=512,
        train_split=None,
        classes=list(range(10)),
        verbose=0,
    )


def play(settings, data, *, n_initial, n_labels, every, progress):
    """Label one by one; return numbers of labels, seconds waited so far, and accuracies."""
    X, X_test, y, y_test = data
    learner = ActiveLearner(make_net(), MarginQuery(), batch_size=1, random_state=0, **settings)
    learner.fit(X[:n_initial], y[:n_initial])
    unlabeled = np.arange(n_initial, len(X))
    waited, found = 0.0, [(n_initial, 0.0, learner.score(X_test, y_test))]
    for number in range(n_initial + 1, n_labels + 1):
        started = time.perf_counter()
        (chosen,) = learner.query(X, candidates=unlabeled)
        learner.teach(X[[chosen]], y[[chosen]])  # here the person says what they see
        waited += time.perf_counter() - started
        unlabeled = unlabeled[unlabeled != chosen]
        progress.update()
        if (number - n_initial) % every == 0 or number == n_labels:
            found.append((number, waited, learner.score(X_test, y_test)))
    return np.array(found).T


def draw(curves, path):
    """Plot accuracy by the seconds waited."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for (name, (_, waited, accuracy)), colour in zip(curves.items(), COLOURS, strict=True):
        ax.plot(np.maximum(waited, 0.01), accuracy, "o-", ms=4, color=colour, label=name)
    ax.set(
        xscale="log",
        xlabel="seconds waited for the learner, in all",
        ylabel="accuracy on 500 held-out digits",
        title="The same labels bought, one by one",
    )
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments=None):
    """Play the cycle for each learner, print the table and save the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--initial", type=int, default=50, help="labels to begin with")
    parser.add_argument("--labels", type=int, default=150, help="labels in the end")
    parser.add_argument("--every", type=int, default=10, help="labels between two scores")
    parser.add_argument("--output", type=Path, default=Path("one_by_one.png"))
    options = parser.parse_args(arguments)

    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    data = train_test_split(X, y, test_size=500, stratify=y, random_state=0)
    n_new = options.labels - options.initial
    curves = {}
    with tqdm(total=len(LEARNERS) * n_new, unit=" labels", leave=False) as progress:
        for name, settings in LEARNERS.items():
            curves[name] = play(
                settings,
                data,
                n_initial=options.initial,
                n_labels=options.labels,
                every=options.every,
                progress=progress,
            )
    print(f"{'':28}{'seconds a label':>17}{'accuracy before':>17}{'after':>8}")
    for name, (_, waited, accuracy) in curves.items():
        print(f"{name:28}{waited[-1] / n_new:17.3f}{accuracy[0]:17.3f}{accuracy[-1]:8.3f}")
    draw(curves, options.output)
    print(f"plot: {options.output}")
    return curves


if __name__ == "__main__":
    main()
