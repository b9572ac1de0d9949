# SPDX-License-Identifier: BSD-3-Clause
"""
Grid search over a whole active-learning loop
=============================================

Which learning rate suits a network that will only ever see 150 labels? And which query strategy?
Neither can be answered by looking at the network alone: the learning rate decides what the network
knows, what it knows decides what is labelled, and that decides what it learns next. With a
``budget``, :class:`~skbait.ActiveLearner` is an estimator whose ``fit`` plays the whole loop, so
that scikit-learn's own :class:`~sklearn.model_selection.GridSearchCV` searches over both at once.
"""

# %%
# Images
# ------
# CIFAR-10, where it is at hand (:func:`~skbait.datasets.fetch_cifar10` says where it looks, and
# downloads it if it may); scikit-learn's digits otherwise. Images stay what they are, arrays of
# four dimensions.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier
from torch import nn

from skbait import ActiveLearner, BaitQuery, MarginQuery, RandomQuery
from skbait.datasets import fetch_cifar10

try:
    X, y = fetch_cifar10(download_if_missing=False, return_X_y=True)
    X = X[:1_000].transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
    name = "CIFAR-10"
except OSError as error:
    print(f"Digits take the place of CIFAR-10. {error}")
    X, y = load_digits(return_X_y=True)
    X = (X[:1_000] / 8 - 1).astype(np.float32).reshape(-1, 1, 8, 8)
    name = "digits"
y = y[:1_000]
print(f"{name}: {X.shape} {X.dtype}")

# %%
# A network, wrapped by skorch
# ----------------------------
# Two convolutions, whatever the size of the images, and a last linear layer on 32 features.


class Net(nn.Sequential):
    """A small convolutional network."""

    def __init__(self, n_channels):
        super().__init__(
            nn.Conv2d(n_channels, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(4),
            nn.Flatten(),
            nn.Linear(512, 32),
            nn.ReLU(),
            nn.Linear(32, 10),
        )


net = NeuralNetClassifier(
    Net,
    module__n_channels=X.shape[1],
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.AdamW,
    max_epochs=12,
    batch_size=32,
    iterator_train__shuffle=True,
    iterator_valid__batch_size=500,
    train_split=None,
    classes=list(range(10)),
    verbose=0,
)

# %%
# The search
# ----------
# Parameters of the strategy and of the estimator are reached by their names, as in a pipeline, and
# the strategy itself is a parameter too. So one grid holds two variants of BAIT, margin and
# random choice, each with three learning rates.

learner = ActiveLearner(net, BaitQuery(), initial=50, budget=150, batch_size=50, random_state=0)
rates = [0.0003, 0.003, 0.03]
grid = [
    {"query_strategy__variant": ["exp", "binary"], "estimator__lr": rates},
    {"query_strategy": [MarginQuery(), RandomQuery()], "estimator__lr": rates},
]
n_threads = torch.get_num_threads()
torch.set_num_threads(1)  # a network this small gains nothing from more
search = GridSearchCV(learner, grid, cv=2).fit(X, y)
torch.set_num_threads(n_threads)
print(f"best: {search.best_params_}, accuracy {search.best_score_:.3f}")

# %%
# What came out
# -------------
# `cv_results_` has a row for each setting. The last column says how far apart the two folds are:
# smaller differences between settings mean nothing.

results = pd.DataFrame(search.cv_results_)
strategy = results["param_query_strategy"].map(
    lambda each: type(each).__name__, na_action="ignore"
)
results["strategy"] = strategy.fillna("BaitQuery, " + results["param_query_strategy__variant"])
results["lr"] = results["param_estimator__lr"].astype(float)
results["apart"] = (results["split0_test_score"] - results["split1_test_score"]).abs()
shown = results.sort_values("rank_test_score")
shown[["strategy", "lr", "mean_test_score", "apart", "mean_fit_time"]].round(3)

# %%
# The same as a map. Down a column only the learning rate changes, along a row only the strategy.

table = results.pivot(index="lr", columns="strategy", values="mean_test_score")
figure, ax = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
image = ax.imshow(table, cmap="cividis", aspect="auto")
ax.set_xticks(range(len(table.columns)), table.columns)
ax.set_yticks(range(len(table.index)), [f"{rate:g}" for rate in table.index])
ax.set(ylabel="learning rate", title=f"{name}: accuracy with 150 labels, mean of two folds")
middle = (table.to_numpy().max() + table.to_numpy().min()) / 2
for (row, column), score in np.ndenumerate(table):
    color = "black" if score > middle else "white"
    ax.text(column, row, f"{score:.3f}", ha="center", va="center", color=color)
figure.colorbar(image, label="accuracy")
plt.show()

# %%
# The range that each of the two decides, with the other averaged out:

print(f"learning rate: {np.ptp(table.mean(axis=1)):.3f} between the best and the worst")
print(f"strategy:      {np.ptp(table.mean(axis=0)):.3f} between the best and the worst")
print(f"two folds of the same setting: {results['apart'].mean():.3f} apart on average")

# %%
# How many labels a search looks at
# ---------------------------------
# Every setting and fold spends its own budget, and other rows each time, and each is scored on the
# labels of a whole fold. A search is therefore for data that *have* labels: those of an older
# project, or of a public set that is like yours. What it finds is then used where labels cost
# money.

best = search.best_estimator_
print(f"the best learner, fitted to all rows: {best.n_labels_} labels of {len(y)}")
print(f"labels after each round: {best.history_['n_labels']}")
