# SPDX-License-Identifier: BSD-3-Clause
"""Small networks of every shape that the tests of representation and fitting need."""

from __future__ import annotations

import functools

import numpy as np
import torch
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier
from torch import nn


@functools.cache
def digits():
    """scikit-learn's digits as float32 images (1797, 1, 8, 8) in [0, 1], and labels 0..9."""
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32).reshape(-1, 1, 8, 8), y.astype(np.int64)


class CNN(nn.Module):
    """Convolution, batch norm, dropout, two linear layers; `ending` says what comes out."""

    def __init__(self, hidden=16, n_classes=10, ending="logits"):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.hidden = nn.Linear(6 * 36, hidden)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(hidden, n_classes)
        self.ending = ending

    def forward(self, x):
        h = torch.relu_(self.norm(self.conv(x))).flatten(1)
        z = self.head(self.drop(torch.relu_(self.hidden(h))))
        if self.ending == "softmax":
            return torch.softmax(z, dim=1)
        if self.ending == "log_softmax":
            return torch.log_softmax(z, dim=1)
        if self.ending == "tuple":
            return z, h
        return z


class MLP(nn.Module):
    """One hidden layer on rows of `width` columns."""

    def __init__(self, width=4, hidden=5, n_classes=3):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(width, hidden), nn.ReLU())
        self.head = nn.Linear(hidden, n_classes)

    def forward(self, x):
        return self.head(self.body(x))


class OneLogit(nn.Module):
    """A binary network with a single logit, of shape (n,) or (n, 1), or its sigmoid."""

    def __init__(self, width=4, ending="flat"):
        super().__init__()
        self.body = nn.Linear(width, 5)
        self.head = nn.Linear(5, 1)
        self.ending = ending

    def forward(self, x):
        z = self.head(torch.relu(self.body(x)))
        if self.ending == "flat":
            return z.squeeze(-1)
        if self.ending == "squeeze":
            return z.squeeze()
        if self.ending == "sigmoid":
            return torch.sigmoid(z.squeeze(-1))
        if self.ending == "two":
            p = torch.sigmoid(z)
            return torch.cat([1 - p, p], dim=1)
        return z


def make_net(module=CNN, **params):
    """A quiet classifier without validation split, on cross entropy."""
    defaults = {
        "criterion": nn.CrossEntropyLoss,
        "max_epochs": 2,
        "lr": 0.1,
        "batch_size": 64,
        "train_split": None,
        "verbose": 0,
    }
    return NeuralNetClassifier(module, **{**defaults, **params})


def initialized(net, seed=0):
    """Give a net random weights, without training."""
    torch.manual_seed(seed)
    return net.initialize()
