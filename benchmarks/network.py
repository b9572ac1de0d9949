# SPDX-License-Identifier: BSD-3-Clause
"""Time to choose against the network's own pass over the pool: ``python -m benchmarks.network``.

CIFAR-10 images (see `skbait.datasets.fetch_cifar10`), a small CNN and a ResNet-18, 10,000 rows
less the labelled ones. What counts is the whole query less the pass over the pool.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from torch import nn

from benchmarks.measure import seconds, spread, table
from skbait import BaitQuery
from skbait.datasets import fetch_cifar10


class SmallCNN(nn.Module):
    """Three convolutions, 256 features."""

    def __init__(self):
        super().__init__()
        layers = []
        for before, after in ((3, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 256), nn.ReLU())
        self.head = nn.Linear(256, 10)

    def forward(self, X):
        """Logits, (n, 10)."""
        return self.head(self.body(X))


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.around = nn.Identity()
        if before != after:
            self.around = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, X):
        """Features of the same kind."""
        return torch.relu(self.body(X) + self.around(X))


class ResNet18(nn.Module):
    """The ResNet-18 that the literature trains on CIFAR-10, 512 features."""

    def __init__(self):
        super().__init__()
        layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        for before, after, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)):
            layers += [Block(before, after, stride), Block(after, after, 1)]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(512, 10)

    def forward(self, X):
        """Logits, (n, 10)."""
        return self.head(self.body(X))


def main():
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-labeled", type=int, default=500)
    parser.add_argument("--n", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    data = fetch_cifar10()
    X = data.data[:10_000].astype(np.float32) / 255.0
    y = data.target[:10_000].astype(np.int64)
    if X.shape[-1] == 3:
        X = np.ascontiguousarray(X.transpose(0, 3, 1, 2))
    n_labeled = arguments.n_labeled
    rows = []
    for module, epochs in ((SmallCNN, 10), (ResNet18, 10)):
        torch.manual_seed(0)
        net = NeuralNetClassifier(
            module,
            criterion=nn.CrossEntropyLoss,
            max_epochs=epochs,
            lr=0.05,
            batch_size=128,
            train_split=None,
            classes=range(10),
            verbose=0,
            device=arguments.device,
        )
        net.fit(X[:n_labeled], y[:n_labeled])
        query = BaitQuery(FrozenEstimator(net), random_state=0)
        query.fit(X[:n_labeled], y[:n_labeled])
        if arguments.device != "cpu":  # what is loaded and compiled at first
            query.query(X[n_labeled:], arguments.n)
        passes, chooses, shares = [], [], []
        for _ in range(arguments.repeats):
            passes.append(seconds(net.predict_proba, X[n_labeled:])[0])
            whole = seconds(query.query, X[n_labeled:], arguments.n)[0]
            chooses.append(whole - passes[-1])
            shares.append(chooses[-1] / passes[-1])
        rows.append([module.__name__, spread(passes), spread(chooses), spread(shares)])
    header = [
        "network",
        "pass over the pool, s",
        "the rest of the query, s",
        "share (target < 0.2)",
    ]
    table(header, rows)


if __name__ == "__main__":
    main()
