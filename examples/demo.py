# SPDX-License-Identifier: BSD-3-Clause
"""Which images are worth a label? BAIT against margin and random choice, at equal budget.

A small network, wrapped by skorch, learns images with few labels. `ActiveLearner` plays the
cycle (fit, choose a batch, have it labelled, fit again) once for each strategy and seed, always
from the same first rows; after each fit the network is scored on held-out images. What comes out
is a table, accuracy by number of labels, and a plot of it.

    make demo                  scikit-learn's digits
    make demo DATA=cifar10     CIFAR-10, from SKBAIT_DATA or downloaded once

`python examples/demo.py --help` lists the options.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from torch import nn
from tqdm import tqdm

from skbait import ActiveLearner, BaitQuery, MarginQuery, RandomQuery
from skbait.datasets import fetch_cifar10

STRATEGIES = {"BAIT": BaitQuery(), "margin": MarginQuery(), "random": RandomQuery()}
COLOURS = {"BAIT": "#c2410c", "margin": "#475569", "random": "#94a3b8"}


class ConvNet(nn.Module):
    """Convolutions, each block halving the image, then two linear layers to the logits."""

    def __init__(self, channels=(1, 16, 32), side=8, stem_stride=1, n_features=64, n_classes=10):
        super().__init__()
        blocks, stride, kernel = [], stem_stride, 3 if stem_stride == 1 else 5
        for n_in, n_out in pairwise(channels):
            blocks += [
                nn.Conv2d(n_in, n_out, kernel, stride=stride, padding=kernel // 2),
                nn.BatchNorm2d(n_out),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            side //= 2 * stride
            stride, kernel = 1, 3
        self.body = nn.Sequential(
            *blocks,
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(channels[-1] * side**2, n_features),
            nn.ReLU(),
        )
        self.head = nn.Linear(n_features, n_classes)

    def forward(self, X):
        """Return the logits (n, classes) of images (n, channels, side, side)."""
        return self.head(self.body(X))


def convnet(**settings):
    """Return a classifier around a `ConvNet`; skbait asks no more of it than scikit-learn does."""
    return NeuralNetClassifier(
        ConvNet,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        batch_size=32,
        iterator_train__shuffle=True,
        iterator_valid__batch_size=500,  # for predictions, and for the features skbait asks for
        train_split=None,  # few labels: none to spare for skorch's own validation set
        classes=list(range(10)),  # the first rows need not show every class
        verbose=0,
        **settings,
    )


@dataclass(frozen=True)
class Task:
    """Images to learn, and how."""

    title: str
    X: np.ndarray  # (n, channels, height, width) float32: the rows that may be labelled
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    net: NeuralNetClassifier
    initial: int
    batch_size: int
    budget: int
    seeds: int


def digits(data_home=None):
    """Return scikit-learn's handwritten digits: 1,297 rows to choose from, 500 to test."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    X, X_test, y, y_test = train_test_split(X, y, test_size=500, stratify=y, random_state=0)
    net = convnet(max_epochs=30, lr=0.002)
    return Task(
        "digits, 8 x 8",
        *(X, y, X_test, y_test, net),
        initial=20,
        batch_size=20,
        budget=200,
        seeds=5,
    )


def cifar10(data_home=None):
    """Return CIFAR-10: the first 10,000 training images, the first 2,000 test images."""
    X, y = fetch_cifar10(data_home, subset="train", return_X_y=True)
    X_test, y_test = fetch_cifar10(data_home, subset="test", return_X_y=True)

    def ready(images):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32) / 127.5 - 1

    net = convnet(
        module__channels=(3, 32, 64),
        module__side=32,
        module__stem_stride=2,
        module__n_features=128,
        max_epochs=30,
        lr=0.001,
    )
    return Task(
        "CIFAR-10, 32 x 32",
        *(ready(X[:10_000]), y[:10_000], ready(X_test[:2_000]), y_test[:2_000], net),
        initial=200,
        batch_size=200,
        budget=1_000,
        seeds=4,
    )


TASKS: dict[str, Callable[..., Task]] = {"digits": digits, "cifar10": cifar10}


class Ticks:
    """A scikit-learn callback that adds a byte to a file for each round of a learner.

    The file is how learners in several processes drive one progress bar.
    """

    def __init__(self, path):
        self.path = path

    def setup(self, estimator, context):
        """Begin a cycle."""

    def on_fit_task_begin(self, estimator, context, **kwargs):
        """Begin a round."""

    def on_fit_task_end(self, estimator, context, **kwargs):
        """End a round; or the whole cycle, whose context has no parent."""
        if context.parent is not None:
            with open(self.path, "ab") as file:
                file.write(b".")

    def teardown(self, estimator, context):
        """End a cycle."""


def play(task, name, seed, ticks):
    """Play one cycle, from a few labels to the budget; return the learner's history."""
    # One thread for each process: for networks this small, more would wait for each other.
    torch.set_num_threads(1)
    first = np.random.RandomState(seed).permutation(len(task.y))[: task.initial]
    learner = ActiveLearner(
        task.net,
        STRATEGIES[name],
        initial=first,
        budget=task.budget,
        batch_size=task.batch_size,
        random_state=seed,
    )
    learner.set_callbacks(Ticks(ticks))
    learner.fit(task.X, task.y, X_val=task.X_test, y_val=task.y_test)
    return name, seed, learner.history_


def compare(task, n_jobs):
    """Play the cycle for every strategy and seed; return the histories by strategy."""
    n_rounds = 1 + -(-(task.budget - task.initial) // task.batch_size)
    runs = [(name, seed) for seed in range(task.seeds) for name in STRATEGIES]
    histories = {name: {} for name in STRATEGIES}
    done = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        ticks = Path(folder) / "ticks"
        ticks.touch()
        watcher = threading.Thread(target=show, args=(ticks, len(runs) * n_rounds, done))
        watcher.start()
        try:
            parallel = Parallel(n_jobs, max_nbytes=None, return_as="generator_unordered")
            for name, seed, history in parallel(delayed(play)(task, *run, ticks) for run in runs):
                histories[name][seed] = history
        finally:
            done.set()
            watcher.join()
    return {name: [each[seed] for seed in sorted(each)] for name, each in histories.items()}


def show(ticks, total, done):
    """Show a progress bar of the bytes in a file until the event `done`."""
    on_screen = sys.stderr.isatty()
    with tqdm(total=total, unit="round", mininterval=0.2 if on_screen else 15) as bar:
        finished = False
        while not finished:
            finished = done.wait(0.2)
            bar.update(ticks.stat().st_size - bar.n)


def curves(histories):
    """Return the numbers of labels (rounds,), and by strategy the scores (seeds, rounds)."""
    n_labels = next(iter(histories.values()))[0]["n_labels"]
    return n_labels, {
        name: np.stack([each["score"] for each in runs]) for name, runs in histories.items()
    }


def standard_error(scores):
    """Return the standard error of the mean over seeds, (rounds,)."""
    return scores.std(axis=0, ddof=1 if len(scores) > 1 else 0) / np.sqrt(len(scores))


def table(n_labels, scores):
    """Return the accuracies by number of labels as lines of text."""
    yield "labels  " + "".join(f"{name:>16}" for name in scores)
    for i, n in enumerate(n_labels):
        cells = [f"{s[:, i].mean():.3f} ± {standard_error(s)[i]:.3f}" for s in scores.values()]
        yield f"{n:>6}  " + "".join(f"{cell:>16}" for cell in cells)
    yield f"{'mean':>6}  " + "".join(f"{f'{s.mean():.3f}':>16}" for s in scores.values())


def labels_for_randoms_best(n_labels, scores, name):
    """Return how many labels a strategy needs for random choice's last accuracy, or None."""
    aim = scores["random"].mean(axis=0)[-1]
    reached = np.flatnonzero(scores[name].mean(axis=0) >= aim)
    return int(n_labels[reached[0]]) if len(reached) else None


def findings(n_labels, scores, histories):
    """Return what the curves say, for better or worse, as lines of text."""
    for name in [name for name in scores if name != "random"]:
        ahead = scores[name] - scores["random"]  # (seeds, rounds): the same start in each seed
        last, mean = ahead[:, -1:], ahead.mean(axis=1, keepdims=True)
        yield (
            f"{name} against random choice: {last.mean():+.3f} ± {standard_error(last)[0]:.3f} "
            f"with {n_labels[-1]} labels, {mean.mean():+.3f} ± {standard_error(mean)[0]:.3f} "
            "on average"
        )
        needed = labels_for_randoms_best(n_labels, scores, name)
        if needed is not None and needed < n_labels[-1]:
            yield f"{name} needs {needed} labels for what random choice does with {n_labels[-1]}"
    for name, runs in histories.items():
        query = np.concatenate([each["query_time"][1:] for each in runs]).mean()
        fit = np.concatenate([each["fit_time"] for each in runs]).mean()
        yield f"{name}: {query:.3f} s to choose a batch, {fit:.2f} s to train, on average"


def spread(heights, gap):
    """Return the heights, in their order, moved until no two are closer than the gap."""
    heights = np.array(heights, dtype=float)
    order = np.argsort(heights, kind="stable")
    for _ in range(100):
        for low, high in pairwise(order):
            overlap = gap - (heights[high] - heights[low])
            if overlap > 0:
                heights[low] -= overlap / 2
                heights[high] += overlap / 2
    return heights


def draw(task, n_labels, scores, path):
    """Plot the mean accuracy by number of labels, with its standard error, to a file."""
    from matplotlib.figure import Figure  # optional; no display is needed

    ink, grey, faint = "#1e293b", "#64748b", "#e2e8f0"
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.subplots()
    means = {name: each.mean(axis=0) for name, each in scores.items()}
    for order, name in enumerate(reversed(scores)):
        mean, error = means[name], standard_error(scores[name])
        style = {"color": COLOURS[name], "zorder": 3 + 2 * order}
        axes.fill_between(n_labels, mean - error, mean + error, alpha=0.16, lw=0, **style)
        axes.plot(
            n_labels,
            mean,
            lw=2.4 if name == "BAIT" else 1.7,
            marker="o",
            ms=5,
            mec="white",
            **style,
        )

    title = "Accuracy by number of labels"
    needed = labels_for_randoms_best(n_labels, scores, "BAIT")
    if needed is not None and needed < n_labels[-1]:
        title = f"BAIT does with {needed} labels what random choice does with {n_labels[-1]}"
        aim = means["random"][-1]
        axes.plot([needed, n_labels[-1]], [aim, aim], color=grey, lw=1, ls=(0, (2, 3)), zorder=2)

    low, high = axes.get_ylim()
    heights = spread([each[-1] for each in means.values()], 0.06 * (high - low))
    for name, height in zip(means, heights, strict=True):
        axes.annotate(
            f"{name}  {means[name][-1]:.3f}",
            (n_labels[-1], height),
            xytext=(10, 0),
            textcoords="offset points",
            va="center",
            color=COLOURS[name],
            weight="bold" if name == "BAIT" else "normal",
            annotation_clip=False,
        )
    axes.set_ylim(low, high)

    axes.set_xticks(n_labels if len(n_labels) <= 12 else n_labels[::2])
    axes.set_xlabel("labels used", color=ink)
    axes.set_ylabel("accuracy on held-out images", color=ink)
    axes.set_title(title, loc="left", color=ink, weight="bold", fontsize=12, pad=22)
    axes.annotate(
        f"{task.title}; the same network, {len(task.y):,} unlabelled images; "
        f"mean of {task.seeds} seeds ± standard error",
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 7),
        textcoords="offset points",
        color=grey,
        fontsize=8.5,
    )
    axes.grid(axis="y", color=faint, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=grey, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#cbd5e1")
    figure.savefig(path, dpi=160, facecolor="white")


def main(arguments=None):
    """Run the demo; return the numbers of labels and the scores by strategy."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", choices=TASKS, default="digits")
    parser.add_argument("--data-home", help="folder with CIFAR-10 (default: SKBAIT_DATA)")
    parser.add_argument("--seeds", type=int, help="repetitions")
    parser.add_argument("--budget", type=int, help="labels for each strategy")
    parser.add_argument("--jobs", type=int, default=-1, help="processes (-1: one for each core)")
    parser.add_argument("--output", default="demo.png", type=Path, help="where the plot goes")
    options = parser.parse_args(arguments)

    started = time.perf_counter()
    try:
        task = TASKS[options.data](options.data_home)
    except OSError as error:
        sys.exit(f"demo: {error}")
    changes = {name: getattr(options, name) for name in ("seeds", "budget")}
    task = replace(task, **{name: value for name, value in changes.items() if value is not None})
    if task.seeds < 1:
        parser.error(f"--seeds {task.seeds}: at least one repetition is needed")
    if not task.initial < task.budget <= len(task.y):
        parser.error(
            f"--budget {task.budget} must be more than the first {task.initial} labels, "
            f"and at most the {len(task.y):,} there are"
        )

    print(
        f"{task.title}: {len(task.y):,} to choose from, {len(task.y_test):,} to test on; "
        f"{task.initial} labels at first, {task.batch_size} more a round"
    )
    histories = compare(task, options.jobs)
    n_labels, scores = curves(histories)
    print(f"\naccuracy, mean ± standard error over {task.seeds} seeds\n")
    print("\n".join(table(n_labels, scores)), end="\n\n")
    print("\n".join(findings(n_labels, scores, histories)))
    try:
        draw(task, n_labels, scores, options.output)
        print(f"plot: {options.output}")
    except ImportError:
        print("no plot: matplotlib is not installed (pip install 'skbait[plot]')")
    print(f"{time.perf_counter() - started:.0f} s in all")
    return n_labels, scores


if __name__ == "__main__":
    main()
