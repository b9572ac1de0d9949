# SPDX-License-Identifier: BSD-3-Clause
"""
============================================
CIFAR-10 images with a convolutional network
============================================

A network that is trained from scratch, a pool of images, and money for a few hundred labels: the
whole cycle is a single :class:`~skbait.ActiveLearner`. BAIT and random choice get the same first
labels and the same budget here.

Do not expect much of the accuracies. Images as varied as those of CIFAR-10 need many thousands of
labels before a network that has seen nothing else tells them apart. With few labels its features
are poor, and a strategy that asks the network what it does not know gets poor answers. A
pretrained network is the better start, see :ref:`sphx_glr_auto_examples_plot_cifar10_features.py`;
this page shows how a network is used, and what is honest to hope for without one.
"""

# %%
# The images
# ----------
#
# CIFAR-10 comes through :func:`~skbait.datasets.fetch_cifar10`. Where it is not at hand, the
# handwritten digits that ship with scikit-learn are enlarged to the same shape.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from torch import nn

from skbait import ActiveLearner, BaitQuery, RandomQuery
from skbait.datasets import fetch_cifar10
from skbait.plotting import AcquisitionCurveDisplay, QueryDisplay

try:
    data = fetch_cifar10(download_if_missing=False)
    images, names = data.data[:4000], np.array(data.target_names)
    y = data.target[:4000]
except OSError:
    print("CIFAR-10 is not at hand: digits take its place.")
    digits, y = load_digits(return_X_y=True)
    images = np.kron(digits.reshape(-1, 8, 8, 1) * 15, np.ones((4, 4, 3))).astype(np.uint8)
    names = np.array([str(digit) for digit in range(10)])

X = images.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1  # channels first, from -1 to 1
X_pool, X_test, y_pool, y_test = train_test_split(X, y, train_size=0.5, random_state=0)
print(f"{len(X_pool)} images to choose from, {len(X_test)} to test on")

# %%
# The network
# -----------
#
# Any module will do whose last layer is linear. skbait finds that layer by itself and reads its
# input, the features. Two settings of skorch matter where labels are few: ``train_split=None``,
# because there are none to spare for skorch's own validation, and ``classes``, because the first
# labels need not show every class.


class ConvNet(nn.Sequential):
    """Two convolutions, then two linear layers on 512 numbers."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 16, kernel_size=5, stride=2, padding=2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(512, 32),
            nn.ReLU(),
            nn.Linear(32, 10),
        )


net = NeuralNetClassifier(
    ConvNet,
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.AdamW,
    lr=0.001,
    max_epochs=20,
    batch_size=32,
    iterator_train__shuffle=True,
    iterator_valid__batch_size=500,  # for predictions, and for the pool
    train_split=None,
    classes=list(range(10)),
    verbose=0,
)

# %%
# The cycle
# ---------
#
# With a ``budget``, ``fit`` plays the whole cycle with ``y`` as the oracle and looks at no more of
# its labels than that. After each batch the network is trained afresh and scored on the test
# images. A seed decides the first labels and the weights at the start, so BAIT and random choice
# begin each pair of runs at the same point.

learners = {
    name: [
        ActiveLearner(net, strategy, initial=50, batch_size=50, budget=200, random_state=seed).fit(
            X_pool, y_pool, X_val=X_test, y_val=y_test
        )
        for seed in range(3)
    ]
    for name, strategy in {"BAIT": BaitQuery(), "random": RandomQuery()}.items()
}

# %%
# The curves
# ----------
#
# The mean of three runs; a band is its standard error. Where the bands overlap, three runs do not
# tell which of the two is better.

fig, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
AcquisitionCurveDisplay.from_learner(
    learners,
    ax=ax,
    score_name="Accuracy on test images",
    curve_kwargs={
        "BAIT": {"color": "#D55E00", "marker": "o"},
        "random": {"color": "#56748A", "marker": "s", "linestyle": "--"},
    },
)
ax.set_title("A small network, trained from scratch")
ax.grid(alpha=0.3)
plt.show()

# %%
# The same in numbers. The error is that of the difference between the two runs of a seed.

scores = {name: np.array([each.history_["score"] for each in learners[name]]) for name in learners}
difference = scores["BAIT"] - scores["random"]
errors = difference.std(axis=0, ddof=1) / np.sqrt(len(difference))
for i, n_labels in enumerate(learners["BAIT"][0].history_["n_labels"]):
    print(
        f"{n_labels} labels: BAIT {scores['BAIT'][:, i].mean():.3f}, "
        f"random {scores['random'][:, i].mean():.3f}, "
        f"difference {difference[:, i].mean():+.3f} ± {errors[i]:.3f}"
    )

# %%
# The images it asked for
# -----------------------
#
# The first batch that BAIT asked for, in the order of choice. The batch is chosen as a whole: an
# image is worth little once another one has told the same.

display = QueryDisplay.from_learner(
    learners["BAIT"][0], X_pool, rounds=1, kind="images", y=names[y_pool]
)
for text in display.texts_:
    text.set_fontsize(7)
display.ax_.set_title("Picked by BAIT in its first round")
plt.show()
