# SPDX-License-Identifier: BSD-3-Clause
"""
A pool that does not fit in memory
==================================

A pool is large because labels are dear and rows are cheap: it may well be larger than memory.
skbait reads a pool block by block, sends each block through the network, and keeps what the last
layer sees of it: a few features and probabilities for each row. So the pool can stay on disk, as a
memory map or behind a torch ``Dataset``. In this example it does, and the memory that each query
takes is measured and set against the size of the pool.

Nobody wants an example to fill their disk. The pool here has a quarter of a gigabyte, and the
question is how much less than that a query can do with.
"""

# %%
# A pool on disk
# --------------
# Rows: scikit-learn's handwritten digits, each enlarged to 40 x 40 pixels and put somewhere on a
# noisy page of 48 x 48. There are 30,000 pages, written to a file in a temporary folder block by
# block, so that they are never all in memory.

import tempfile
import threading
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import Dataset

from skbait import ActiveLearner, BaitQuery

images, labels = load_digits(return_X_y=True)
images = (images / 16).astype(np.float32).reshape(-1, 8, 8).repeat(5, axis=1).repeat(5, axis=2)
images, images_test, labels, labels_test = train_test_split(
    images, labels, test_size=500, stratify=labels, random_state=0
)


def put_on_pages(images, rng):
    """Return pages (n, 1, 48, 48), each with one of the images somewhere on it."""
    pages = rng.standard_normal((len(images), 1, 48, 48), dtype=np.float32) * 0.2
    places = rng.integers(48 - 40, size=(len(images), 2))
    for page, image, (top, left) in zip(pages, images, places, strict=True):
        page[0, top : top + 40, left : left + 40] += image
    return pages


n_pool, n_block, megabyte = 30_000, 2_000, 2**20
rng = np.random.default_rng(0)
drawn = rng.integers(len(images), size=n_pool)
y = labels[drawn]
X_test, y_test = put_on_pages(images_test, rng), labels_test

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "pages"
with open(path, "wb") as file:
    for first in range(0, n_pool, n_block):
        put_on_pages(images[drawn[first : first + n_block]], rng).tofile(file)


def open_pool():
    """Open the file as a memory map; nothing is read by that."""
    return np.memmap(path, mode="r", dtype=np.float32, shape=(n_pool, 1, 48, 48))


X = open_pool()
pool_size = X.nbytes / megabyte
print(f"{type(X).__name__} of shape {X.shape}: {pool_size:.0f} MB")

# %%
# A look at the first rows:

figure, axes = plt.subplots(2, 8, figsize=(8, 2.5), layout="constrained")
for ax, image, label in zip(axes.flat, X, y, strict=False):
    ax.imshow(image[0], cmap="gray_r")
    ax.set_title(label, fontsize="small")
    ax.axis("off")
plt.show()

# %%
# A few labels to start with
# --------------------------
# A network learns from the first 200 rows. What it makes of a page, 32 features, is what skbait
# will keep of it.


class Net(nn.Sequential):
    """Two convolutions and a last linear layer on 32 features."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 8, 5, stride=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(256, 32),
            nn.ReLU(),
            nn.Linear(32, 10),
        )


net = NeuralNetClassifier(
    Net,
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.AdamW,
    lr=0.005,
    max_epochs=30,
    batch_size=32,
    iterator_train__shuffle=True,
    iterator_valid__batch_size=500,  # how many rows of the pool go through the network at a time
    train_split=None,
    classes=list(range(10)),
    verbose=0,
)
learner = ActiveLearner(net, BaitQuery(), batch_size=50, random_state=0)
learner.fit(X[:200], y[:200])
print(f"{learner.n_labels_} labels: accuracy {learner.score(X_test, y_test):.3f}")
del X

# %%
# How memory is measured
# ----------------------
# While a piece of code runs, a thread asks the operating system every few milliseconds how much
# memory this process holds, and keeps the largest answer. Linux tells two kinds apart. *Private
# memory* is what the process has allocated: arrays, tensors, all for which there must be room.
# *File pages* are parts of a mapped file that are in memory because they were read a moment ago.
# ``top`` counts them for the process, but the system takes them back as soon as it needs the room,
# so they keep no pool from being too large.


def memory_now():
    """Return private memory and file pages of this process, in megabytes (NaN without /proc)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return np.full(2, np.nan)
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return np.array([int(lines[kind].split()[0]) / 1024 for kind in ("RssAnon", "RssFile")])


def measure(function):
    """Return what a function returns, and enter its time and peaks of memory into `measured`."""
    peak, done = memory_now(), threading.Event()

    def watch():
        nonlocal peak
        while not done.wait(0.005):
            peak = np.maximum(peak, memory_now())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    result = function()
    seconds = time.perf_counter() - began
    done.set()
    watcher.join()
    measured[function.__name__] = (seconds, *(peak - at_rest))
    return result


at_rest = memory_now()
measured = {}

# %%
# A measure is worth something if it sees the pool where it *is* in memory. So first what one
# should not do:


def load_the_pool():
    """Load the pool into memory, for a moment."""
    np.array(open_pool())


measure(load_the_pool)
print(f"{measured['load_the_pool'][1]:.0f} MB of private memory; the pool: {pool_size:.0f} MB")

# %%
# Choose from a part of the pool
# ------------------------------
# With ``subset_size`` each query draws a random part of the pool and reads no other row: the
# quickest way, in which most of the pool goes unseen. ``candidates`` says which rows are still
# without a label. (``X[unlabeled]`` would do the same to the choice, but copy the pool.)

unlabeled = np.arange(200, n_pool)
quick = ActiveLearner(net, BaitQuery(subset_size=3_000), batch_size=50, random_state=0)
quick.fit(open_pool()[:200], y[:200])


def query_a_part():
    """Choose among 3,000 rows of the memory map."""
    return quick.query(open_pool(), candidates=unlabeled)


part_chosen = measure(query_a_part)

# %%
# Choose from all of it, by a memory map
# --------------------------------------


def query_a_memory_map():
    """Choose among all rows of the memory map."""
    return learner.query(open_pool(), candidates=unlabeled)


chosen = measure(query_a_memory_map)

# %%
# Choose from all of it, by a Dataset
# -----------------------------------
# Where rows are no array but image files, or records of a data base, a map-style torch ``Dataset``
# gives them one at a time. This one reads a row from the file when it is asked for it.


class Pages(Dataset):
    """The rows of the pool, each read from disk when it is asked for."""

    def __len__(self):
        return n_pool

    def __getitem__(self, position):
        row = np.fromfile(path, np.float32, count=48 * 48, offset=4 * 48 * 48 * position)
        return row.reshape(1, 48, 48)


def query_a_dataset():
    """Choose among all rows of the Dataset."""
    return learner.query(Pages(), candidates=unlabeled)


chosen_too = measure(query_a_dataset)
print(f"the same {len(chosen)} rows in the same order: {np.array_equal(chosen, chosen_too)}")

# %%
# What it took
# ------------
# Every figure is a peak beyond what the process held before the first of these calls.

print(f"{'':20}{'seconds':>10}{'private memory':>18}{'file pages':>14}")
for name, (seconds, private, pages) in measured.items():
    name = name.replace("_", " ")
    print(f"{name:20}{seconds:10.1f}{private:15.0f} MB{pages:11.0f} MB")
print(f"{'size of the pool':20}{'':10}{pool_size:15.0f} MB")

figure, ax = plt.subplots(figsize=(7.5, 3), layout="constrained")
names = list(measured)[::-1]
bars = ax.barh(
    [name.replace("_", " ") for name in names],
    [measured[name][1] for name in names],
    color=["#0072B2"] * 3 + ["#999999"],
    height=0.6,
)
ax.bar_label(bars, fmt="%.0f MB", padding=8)
ax.axvline(pool_size, color="#D55E00", ls="--", lw=2, label="size of the pool")
ax.set(xlabel="peak of private memory, in MB", xlim=(0, 1.25 * pool_size))
ax.legend(frameon=False, loc="center right", bbox_to_anchor=(0.8, 0.4))
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# A network keeps 32 features of the 2,304 pixels of a page; the rest of the memory is what BAIT
# computes with them. Both grow with the number of rows, not with their size: the larger the rows,
# the smaller the share of the pool that is ever in memory.
#
# A few rounds
# ------------
# Nothing changes in the cycle. Labelled rows leave the candidates, never the pool.

X = open_pool()
for _ in range(4):
    chosen = quick.query(X, candidates=unlabeled)
    quick.teach(X[chosen], y[chosen])
    unlabeled = np.setdiff1d(unlabeled, chosen)
    print(f"{quick.n_labels_} labels: accuracy {quick.score(X_test, y_test):.3f}")

# %%
# The temporary folder goes, and the pool with it.

del X
folder.cleanup()
