# SPDX-License-Identifier: BSD-3-Clause
"""
One label at a time, with Laplace updates
=========================================

A person looks at an image, types what it shows, and waits for the next one. What they wait for is
the learner: it has to take the label in and to name the next image. A network that is trained
afresh after every label keeps them waiting every time. With ``update="laplace"`` the learner
instead keeps a Gaussian over the weights of the last layer and moves it by a closed-form update,
which takes milliseconds. This example labels the same number of images both ways, and weighs what
the network has learned against the seconds that the person has waited.
"""

# %%
# The images, and the network
# ---------------------------
# scikit-learn's handwritten digits: 500 of them are held out to measure accuracy. The first 50 of
# the others are labelled to begin with, and the rest is the pool.

import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from torch import nn

from skbait import ActiveLearner, MarginQuery

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32).reshape(-1, 1, 8, 8)
X, X_test, y, y_test = train_test_split(X, y, test_size=500, stratify=y, random_state=0)
n_start, n_end = 50, 110
print(f"{n_start} labels to begin with, {len(X) - n_start} images in the pool")

# %%
# A small convolutional network whose last layer is linear: that is the layer which is updated.


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


net = NeuralNetClassifier(
    Net,
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.AdamW,
    lr=0.01,
    max_epochs=30,
    batch_size=32,
    iterator_train__shuffle=True,
    iterator_valid__batch_size=512,
    train_split=None,
    classes=list(range(10)),
    verbose=0,
)

# %%
# Three ways to take a label in
# -----------------------------
# The first trains afresh after each label. The other two update the last layer; one of them also
# trains afresh after every 20 labels (``refit_every=20``), because an update leaves the body of
# the network, and with it the features, as the last training made them.

learners = {
    "trained after each label": ActiveLearner(net, MarginQuery(), random_state=0),
    "updated, trained every 20": ActiveLearner(
        net, MarginQuery(), update="laplace", refit_every=20, random_state=0
    ),
    "updated, never trained again": ActiveLearner(
        net, MarginQuery(), update="laplace", random_state=0
    ),
}

# %%
# The session
# -----------
# ``query`` names one image, the person says what it shows, and ``teach`` takes it in. Only these
# two calls are timed: scoring the network on held-out images is our curiosity, not theirs.

n_threads = torch.get_num_threads()
torch.set_num_threads(1)  # a network this small gains nothing from more
curves = {}
for name, learner in learners.items():
    learner.fit(X[:n_start], y[:n_start])
    unlabeled = np.arange(n_start, len(X))
    waits, n_labels, scores = [], [n_start], [learner.score(X_test, y_test)]
    while learner.n_labels_ < n_end:
        began = time.perf_counter()
        (chosen,) = learner.query(X, 1, candidates=unlabeled)
        learner.teach(X[[chosen]], y[[chosen]])  # y[[chosen]] is what the person types
        waits.append(time.perf_counter() - began)
        unlabeled = unlabeled[unlabeled != chosen]
        if learner.n_labels_ % 5 == 0:
            n_labels.append(learner.n_labels_)
            scores.append(learner.score(X_test, y_test))
    curves[name] = np.array(n_labels), np.array(waits), np.array(scores)
torch.set_num_threads(n_threads)

print(f"{'':30}{'seconds a label':>24}{'accuracy with labels':>24}")
print(f"{'':30}{'mean':>14}{'longest':>10}{n_start:>14}{n_end:>10}")
for name, (_, waits, scores) in curves.items():
    print(f"{name:30}{waits.mean():14.3f}{waits.max():10.3f}{scores[0]:14.3f}{scores[-1]:10.3f}")

# %%
# What the waiting buys
# ---------------------
# On the left: accuracy by the number of labels, as curves of active learning are usually drawn. It
# hides what the person notices. On the right: the same runs by the seconds waited so far.

figure, axes = plt.subplots(1, 2, figsize=(9.5, 4), sharey=True, layout="constrained")
styles = zip(["#0072B2", "#D55E00", "#E69F00"], ["o-", "s--", "^:"], strict=True)
for (name, (n_labels, waits, scores)), (color, style) in zip(curves.items(), styles, strict=True):
    waited = np.cumsum(waits)[n_labels[1:] - n_start - 1]
    axes[0].plot(n_labels, scores, style, color=color, lw=2, label=name)
    axes[1].plot(waited, scores[1:], style, color=color, lw=2, label=name)
axes[0].set(xlabel="labels", ylabel="accuracy on 500 held-out digits")
axes[1].set(xlabel="seconds waited for the learner, in all", xscale="log")
axes[1].xaxis.set_major_formatter("{x:g}")
axes[0].legend(frameon=False, loc="lower right")
for ax in axes:
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
figure.suptitle("The same number of labels bought, one by one")
plt.show()

# %%
# Updates alone save nearly all of the waiting, but the features stay those of the first 50 labels,
# and that is where accuracy stays behind. A training now and then mends it: the person waits once
# in 20 labels, and a training could as well happen while they fetch a coffee.
#
# The Gaussian is a classifier of its own, :class:`~skbait.LaplaceClassifier`, whose
# ``partial_fit`` is the update.
