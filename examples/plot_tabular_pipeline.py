# SPDX-License-Identifier: BSD-3-Clause
"""
A pipeline on tabular data
==========================

A table has columns of different kinds and labels that are words, and it goes through a pipeline
before a model sees it. :class:`~skbait.ActiveLearner` is a scikit-learn classifier and takes both
as they are. It can stand *around* a pipeline or *inside* one, which is not the same thing: it
decides which rows the preprocessing learns from. This example does it both ways, in data frames
all along, and compares them with random choice in a cross-validation.
"""

# %%
# The table
# ---------
# The Wisconsin breast cancer data come with scikit-learn: 569 tumours, measured under the
# microscope. All of its columns are numbers, so two of them are turned into words, as a form would
# have them that asks for a rough size and surface: cut at their terciles, and the numbers dropped.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbait import ActiveLearner, BaitQuery, MarginQuery, RandomQuery

data = load_breast_cancer(as_frame=True)
X = data.data.copy()
X["size"] = pd.qcut(X.pop("mean area"), 3, labels=["small", "medium", "large"]).astype(str)
X["surface"] = pd.qcut(X.pop("mean texture"), 3, labels=["fine", "medium", "coarse"]).astype(str)
y = data.target.map(dict(enumerate(data.target_names)))  # "malignant" and "benign"
X.iloc[:5, -4:].assign(diagnosis=y)

# %%
# Around a pipeline
# -----------------
# The usual preprocessing: numbers are scaled, words become columns of zeros and ones. With few
# labelled rows a word may be missing among them, hence ``handle_unknown="ignore"``.


def preprocessing():
    """Return what makes numbers of the table."""
    return make_column_transformer(
        (StandardScaler(), make_column_selector(dtype_include="number")),
        (
            OneHotEncoder(handle_unknown="ignore", sparse_output=False),
            make_column_selector(dtype_exclude="number"),
        ),
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")


def active(estimator, strategy):
    """Return a learner that starts from 6 labels and buys 24 more, 6 at a time."""
    return ActiveLearner(estimator, strategy, initial=6, budget=30, batch_size=6, random_state=0)


def around(strategy):
    """Return a learner that fits the whole pipeline on its labelled rows."""
    return active(make_pipeline(preprocessing(), LogisticRegression()), strategy)


learner = around(BaitQuery())
learner

# %%
# With a ``budget``, ``fit`` plays the whole cycle: it takes `y` as the oracle and looks at 30 of
# its labels. What it asked for are rows of the data frame.

learner.fit(X, y)
print(pd.Series(learner.y_labeled_).value_counts().to_string())
learner.X_labeled_.iloc[-6:, -4:].assign(diagnosis=learner.y_labeled_[-6:])

# %%
# It predicts like any classifier, and is scored by any of scikit-learn's scorers:

learner.predict(X.iloc[:3])

# %%
# Inside a pipeline
# -----------------
# The other way round, preprocessing is fitted once, on all rows of the training set. It needs no
# labels, so it may learn from the unlabelled rows too, and the scaler knows means and variances of
# hundreds of rows instead of six. The learner inside then sees the transformed data frame.


def inside(strategy):
    """Return a pipeline with a learner at its end."""
    return make_pipeline(preprocessing(), active(LogisticRegression(), strategy))


pipeline = inside(BaitQuery()).fit(X, y)
columns, learner = pipeline
print(f"labels after each round: {learner.history_['n_labels']}")
print(f"rows that the scaler has seen: {columns['standardscaler'].n_samples_seen_:.0f}")
print(f"last columns that the learner sees: {', '.join(learner.feature_names_in_[-6:])}")

# %%
# Which rows it asked for, drawn in the two columns that its last model weighs most.
# ``labeled_positions_`` are positions in the frame given to ``fit``.

weights = pd.Series(np.abs(learner.estimator_.coef_[0]), index=learner.feature_names_in_)
across, up = weights.drop([c for c in weights.index if c not in X.columns]).nlargest(2).index
picked = learner.labeled_positions_
fig, ax = plt.subplots(figsize=(6, 4.2), layout="constrained")
for name, color, marker in (("benign", "#56B4E9", "o"), ("malignant", "#E69F00", "^")):
    rows = X[y == name]
    ax.scatter(rows[across], rows[up], s=18, c=color, marker=marker, alpha=0.6, lw=0, label=name)
ax.scatter(
    X[across].iloc[picked], X[up].iloc[picked], s=90, fc="none", ec="black", label="labelled"
)
ax.set(xlabel=across, ylabel=up)
ax.legend(frameon=False)
plt.show()

# %%
# Is it worth it?
# ---------------
# A cross-validation of a learner is one of the whole cycle: in each fold it starts from nothing,
# spends its budget on training rows, and is scored on rows it could not ask for. Random choice
# under the same budget is the yardstick, a model that is given every label of the training set the
# limit. Beside each mean stands the standard deviation over the folds. No standard error can be
# made of it in the usual way: the folds share rows, and so are not independent.

strategies = {"random": RandomQuery(), "margin": MarginQuery(), "BAIT": BaitQuery()}
settings = {"n_splits": 4, "n_repeats": 3, "random_state": 0}
evaluation = {"cv": RepeatedStratifiedKFold(**settings), "scoring": "balanced_accuracy"}
scores = {
    f"{name}, {make.__name__}": cross_val_score(make(strategy), X, y, **evaluation)
    for name, strategy in strategies.items()
    for make in (around, inside)
}
limit = make_pipeline(preprocessing(), LogisticRegression())
scores["every label"] = cross_val_score(limit, X, y, **evaluation)
table = pd.DataFrame(scores).agg(["mean", "std"]).T
table.round(4)

# %%
# The folds are the same for all, so that differences can be taken fold by fold, again with their
# standard deviation.

gained = pd.DataFrame(
    {name: scores[name] - scores[f"random, {name.split()[-1]}"] for name in list(scores)[2:-1]}
)
print(gained.agg(["mean", "std"]).T.round(4))

fig, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
names = table.index[::-1]
colors = {"random": "#999999", "margin": "#E69F00", "BAIT": "#0072B2", "every label": "#000000"}
for name in names:
    mean, spread = table.loc[name]
    marker = "s" if name.endswith("inside") else "o"
    color = colors[name.split(",")[0]]
    ax.errorbar(mean, name, xerr=spread, fmt=marker, ms=8, capsize=4, color=color)
ax.set(
    title="30 labels; in the last row, every label of the training set",
    xlabel="balanced accuracy: mean and standard deviation over 12 folds",
)
ax.grid(axis="x", alpha=0.3)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
