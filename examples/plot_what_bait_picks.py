# SPDX-License-Identifier: BSD-3-Clause
"""
===============
What BAIT picks
===============

Which rows does a strategy find worth a label? In two dimensions one can see it: four strategies
choose from the same pool, with the same model. Then the same on images.
"""

# %%
# Four strategies, one pool
# -------------------------
#
# Three groups of points of unequal size, three of each with a label, and a logistic regression
# that has learned from these nine. Each strategy picks twelve further points, as one batch.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits, make_blobs
from sklearn.decomposition import PCA
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.linear_model import LogisticRegression

from skbait import BaitQuery, CoreSetQuery, MarginQuery, RandomQuery
from skbait.datasets import fetch_cifar10, fetch_cifar10_features
from skbait.plotting import QueryDisplay

X, y = make_blobs(
    [500, 300, 150], centers=[(-3, 0), (3, 0), (0, 4.5)], cluster_std=1.3, random_state=0
)
start = np.concatenate([np.flatnonzero(y == label)[:3] for label in range(3)])
pool = np.setdiff1d(np.arange(len(X)), start)
model = LogisticRegression().fit(X[start], y[start])

strategies = {
    "random": RandomQuery(random_state=0),
    "margin": MarginQuery(),
    "core-set": CoreSetQuery(),
    "BAIT": BaitQuery(),
}

fig, axes = plt.subplots(2, 2, figsize=(8, 7.4), layout="constrained")
picks = {}
for ax, (name, query) in zip(axes.flat, strategies.items(), strict=True):
    picks[name] = pool[query.fit(X[start], y[start]).query(X[pool], 12)]
    DecisionBoundaryDisplay.from_estimator(
        model,
        X,
        ax=ax,
        response_method="predict",
        grid_resolution=400,
        alpha=0.25,
        multiclass_colors=["#56B4E9", "#E69F00", "#CC79A7"],
    )
    QueryDisplay.from_query(
        query,
        X[pool],
        np.searchsorted(pool, picks[name]),
        projection=X[np.concatenate([pool, start])],
        ax=ax,
        pool_kw={"color": "0.55"},
        chosen_kw={"color": "#D55E00", "s": 50},
    )
    ax.set_title(name)
    ax.get_legend().remove()
handles, labels = axes[0, 0].get_legend_handles_labels()
fig.legend(handles, labels, loc="outside lower center", ncols=3)
plt.show()

# %%
# **Random** choice goes where the points are. It asks about the middle of groups that the model
# knows already, and mostly of the largest.
#
# **Margin** asks where the two most probable classes are closest: along the boundary, whether or
# not its neighbour there has just been asked for.
#
# **Core-set** covers the pool, farthest points first. It knows nothing of the model, and asks
# about the rim of each group even where no boundary is near.
#
# **BAIT** asks on both sides of the boundaries, and far out along them. That is what Fisher
# information says: a row tells as much about the weights as
# :math:`(\operatorname{diag} p - p p^\top) \otimes h h^\top`. The first factor is large where the
# model is unsure, the second where the features are; and a boundary is held best at its ends. Once
# a point is picked, its neighbours tell little that is new.
#
# In numbers, the means of each batch: how far the two most probable classes are apart, and how far
# each pick is from its nearest fellow.

for name, chosen in picks.items():
    top = np.sort(model.predict_proba(X[chosen]), axis=1)
    between = np.linalg.norm(X[chosen, None] - X[chosen], axis=2)
    nearest = (between + np.diag(np.full(len(chosen), np.inf))).min(axis=1)
    print(f"{name:9} margin {np.mean(top[:, -1] - top[:, -2]):.2f}  nearest {nearest.mean():.2f}")

# %%
# What a row is worth, before anything is picked
# ----------------------------------------------
#
# With ``return_utilities=True`` a query gives each candidate's own score as well. That of margin
# is a stripe along each boundary. That of BAIT is high where the model is unsure in a direction
# of which the labelled points have told little, and low where features are small: near the
# origin, between the two groups below. These are the scores of single rows. As soon as one is
# picked, BAIT lowers those of its like.

fig, axes = plt.subplots(1, 2, figsize=(8, 3.9), layout="constrained")
for ax, name in zip(axes, ["margin", "BAIT"], strict=True):
    _, utilities = strategies[name].query(X[pool], 12, return_utilities=True)
    ranks = utilities.argsort().argsort() / len(pool)
    points = ax.scatter(*X[pool].T, c=ranks, cmap="viridis", s=12)
    ax.set(title=name, xticks=[], yticks=[])
fig.colorbar(points, ax=axes, label="Share of the pool with a lower score")
plt.show()

# %%
# The same on images
# ------------------
#
# Features of CIFAR-10 images that a pretrained network gave, 40 labels, and the next ten images
# that each strategy asks for. Where CIFAR-10 or its features are not at hand, or the two do not
# hold the same images in the same order, the images are the handwritten digits of scikit-learn,
# which are their own features.

try:
    data = fetch_cifar10(download_if_missing=False)
    images, y, names = data.data[:3000], data.target[:3000], np.array(data.target_names)
    features, labels = (part[:3000] for part in fetch_cifar10_features(return_X_y=True))
    if not np.array_equal(labels, y):
        raise OSError("The features of CIFAR-10 are not of the same images: their labels differ.")
except OSError as error:
    print(f"Digits take the place of CIFAR-10. {error}")
    features, y = load_digits(return_X_y=True)
    images, names = features.reshape(-1, 8, 8), np.arange(10).astype(str)
features = PCA(64, random_state=0).fit_transform(features)
features /= features.std()

model = LogisticRegression(max_iter=1000)
strategies = {
    "random": RandomQuery(random_state=0),
    "margin": MarginQuery(model),
    "core-set": CoreSetQuery(model),
    "BAIT": BaitQuery(model),
}
fig, axes = plt.subplots(4, 1, figsize=(7.4, 5), layout="constrained")
for ax, (name, query) in zip(axes, strategies.items(), strict=True):
    chosen = query.fit(features[:40], y[:40]).query(features[40:], 10)
    display = QueryDisplay.from_query(
        query, images[40:], chosen, kind="images", y=names[y[40:]], ax=ax
    )
    ax.set_title(f"{name}: {len(set(y[40:][chosen]))} classes in 10 images", loc="left")
plt.show()

# %%
# An image is hard to read as a point: what makes it worth a label is in the features. The number
# of classes in each batch says at least whether a strategy asks the same question ten times.
