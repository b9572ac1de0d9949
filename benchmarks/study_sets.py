# SPDX-License-Identifier: BSD-3-Clause
"""The data sets of the study, each with the model that learns it and the labels it may cost."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from threadpoolctl import threadpool_limits
from torch import nn

from benchmarks.study_text import FILE as TEXT
from skbait.datasets import fetch_cifar10, fetch_cifar10_features
from skbait.datasets._home import find_data_home

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # Debian: dataset-fashion-mnist


@dataclass(frozen=True)
class StudySet:
    """Rows to choose from, and how they are learned.

    Parameters
    ----------
    about : str
        What the rows and the model are, for the reader of a table.
    read : callable
        Returns (X, y) or (X, y, X_test, y_test).
    estimator : estimator
        What learns.
    initial, batch_size, budget : int
        Labels at random to begin with, a round, and in all.
    sizes : dict
        `pool_size`, `val_size` and `test_size` of `compare_strategies`.
    """

    about: str
    read: Callable[[], tuple]
    estimator: Any
    initial: int
    batch_size: int
    budget: int
    sizes: dict = field(default_factory=dict)

    def load(self):
        """Return what `read` does, whatever the number of cores.

        The last digits of a projection depend on the number of threads, and stored runs are known
        by the digits of their data.
        """
        with threadpool_limits(limits=1):
            return self.read()

    def arguments(self):
        """Return how `compare_strategies` is called for this set."""
        return {
            "initial": self.initial,
            "batch_size": self.batch_size,
            "budget": self.budget,
            **self.sizes,
        }


class DigitsNet(nn.Sequential):
    """Two convolutions and 64 features, for 8 x 8 images."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )


class ImagesNet(nn.Sequential):
    """Three convolutions and 64 features, for 32 x 32 images in colour."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 24, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(24, 48, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(48, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(1024, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )


def network(module, **settings):
    """Return a skorch classifier of ten classes, trained from scratch each time."""
    return NeuralNetClassifier(
        module,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        iterator_train__shuffle=True,
        iterator_valid__batch_size=500,
        train_split=None,
        classes=list(range(10)),
        verbose=0,
        **settings,
    )


def breast_cancer():
    """Return 569 tumours, 30 measurements each, benign or malignant."""
    return load_breast_cancer(return_X_y=True)


def digits():
    """Return 1,797 handwritten digits as images of one channel."""
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32).reshape(-1, 1, 8, 8), y


def cifar10_features(n_components=64):
    """Return features of CIFAR-10 images, in their first singular directions.

    The directions cost a head on few labels nothing, and make thousands of queries take minutes.
    """
    data = fetch_cifar10_features()
    test = fetch_cifar10_features(subset="test")
    svd = TruncatedSVD(n_components, random_state=0).fit(data.data.astype(np.float32))
    X, X_test = (svd.transform(each.data.astype(np.float32)) for each in (data, test))
    return X, data.target, X_test, test.target


def cifar10_images():
    """Return CIFAR-10 images: the first 10,000 to train, the first 2,000 to test."""
    parts = []
    for subset, n in (("train", 10_000), ("test", 2_000)):
        X, y = fetch_cifar10(subset=subset, return_X_y=True)
        images = np.ascontiguousarray(X[:n].transpose(0, 3, 1, 2), dtype=np.float32)
        parts += [images / 127.5 - 1, y[:n]]
    return tuple(parts)


def fashion_mnist(n_components=64):
    """Return the first 10,000 and 2,000 images of clothes, in their first principal directions."""

    def read(name, offset):
        with gzip.open(FASHION_MNIST / name) as file:
            return np.frombuffer(file.read(), dtype=np.uint8, offset=offset)

    parts = []
    for subset, n in (("train", 10_000), ("t10k", 2_000)):
        X = read(f"{subset}-images-idx3-ubyte.gz", 16).reshape(-1, 784)
        y = read(f"{subset}-labels-idx1-ubyte.gz", 8)
        parts += [X[:n].astype(np.float32) / 255, y[:n].astype(np.int64)]
    X, y, X_test, y_test = parts
    pca = PCA(n_components, svd_solver="full").fit(X)
    return pca.transform(X), y, pca.transform(X_test), y_test


def debian_text(n_components=96):
    """Return embeddings of package descriptions in some directions, the last 2,000 to test."""
    with np.load(find_data_home(None) / TEXT) as arrays:
        X, y = arrays["X"], arrays["y"]
    X = TruncatedSVD(n_components, random_state=0).fit(X[:-2000]).transform(X)
    return X[:-2000], y[:-2000], X[-2000:], y[-2000:]


SETS = {
    "breast_cancer": StudySet(
        "measurements of tumours, 2 classes, D = 30; scaled, logistic regression",
        breast_cancer,
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)),
        initial=4,
        batch_size=6,
        budget=40,
        sizes={"test_size": 150, "val_size": 100},
    ),
    "digits": StudySet(
        "8 x 8 images, 10 classes; a CNN trained from scratch, D = 64",
        digits,
        network(DigitsNet, max_epochs=30, lr=0.003, batch_size=32),
        initial=20,
        batch_size=20,
        budget=120,
        sizes={"test_size": 500, "val_size": 200},
    ),
    "fashion_mnist": StudySet(
        "images of clothes in 64 directions, 10 classes; MLPClassifier, D = 64",
        fashion_mnist,
        MLPClassifier((64,), alpha=1.0, solver="lbfgs", max_iter=1000, max_fun=10**6),
        initial=20,
        batch_size=40,
        budget=180,
        sizes={"pool_size": 2000, "val_size": 500},
    ),
    "cifar10_features": StudySet(
        "features of a pretrained network, 10 classes, D = 64; logistic regression",
        cifar10_features,
        LogisticRegression(C=0.01, max_iter=5000),
        initial=20,
        batch_size=40,
        budget=180,
        sizes={"pool_size": 2000, "val_size": 500},
    ),
    "cifar10_images": StudySet(
        "32 x 32 colour images, 10 classes; a CNN trained from scratch, D = 64",
        cifar10_images,
        network(ImagesNet, max_epochs=20, lr=0.002, batch_size=50),
        initial=100,
        batch_size=100,
        budget=300,
        sizes={"pool_size": 2000, "val_size": 500},
    ),
    "debian_text": StudySet(
        "sentence embeddings of package descriptions, 39 classes, D = 96; logistic regression",
        debian_text,
        LogisticRegression(C=10, max_iter=5000),
        initial=40,
        batch_size=90,
        budget=400,
        sizes={"pool_size": 1500, "val_size": 500},
    ),
}
