# SPDX-License-Identifier: BSD-3-Clause
"""
==================================================
CIFAR-10 with the features of a pretrained network
==================================================

Few labels go far where somebody else's network already sees well. Each image of CIFAR-10 is a row
of features here, and a logistic regression learns to name them from at most 140 labels. Six
strategies choose which labels those are. How many does each need for the same accuracy?
"""

# %%
# The features
# ------------
#
# :func:`~skbait.datasets.fetch_cifar10_features` reads features that were computed beforehand,
# and its documentation has the lines that compute them. Where there are none, the handwritten
# digits that ship with scikit-learn take their place.
#
# The features are reduced to 64 directions and brought to one scale before the cycle begins, on
# all rows at once: those that later become test rows are among them, but no label is used. Fitted
# inside the cycle, on labelled rows alone, the reduction would see a few dozen rows only.

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from skbait.datasets import fetch_cifar10_features
from skbait.model_selection import (
    compare_strategies,
    labels_saved,
    paired_tests,
    summarize_strategies,
)
from skbait.plotting import AcquisitionCurveDisplay, WinMatrixDisplay

try:
    X, y = fetch_cifar10_features(return_X_y=True)
except OSError:
    print("The features of CIFAR-10 are not at hand: digits take their place.")
    X, y = load_digits(return_X_y=True)
X = PCA(64, random_state=0).fit_transform(X)
X /= X.std()  # one scale: so the model suits either data
print(f"{X.shape[0]} rows of {X.shape[1]} features")

# %%
# The comparison
# --------------
#
# :func:`~skbait.model_selection.compare_strategies` plays the cycle for every strategy and seed:
# 20 labels at random, then 20 more a round. Within a seed all strategies have the same pool, test
# rows and first labels, so that their runs can be compared in pairs. What comes back is a table
# with a row a round. Strategies are named as in :func:`~skbait.make_query`, with their default
# settings.

results = compare_strategies(
    LogisticRegression(max_iter=1000),
    ["random", "margin", "badge", "core_set", "typiclust", "bait"],
    X,
    y,
    initial=20,
    batch_size=20,
    budget=140,
    test_size=0.25,
    pool_size=min(2000, len(X) // 2),
    seeds=5,
    progress=False,
)
print(results[["strategy", "seed", "n_labels", "score"]].head(3).to_string(index=False))

# %%
# The curves
# ----------
#
# The mean of five seeds; a band is its standard error.

plt.style.use("tableau-colorblind10")
fig, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
AcquisitionCurveDisplay.from_results(
    results,
    strategies=["bait", "badge", "typiclust", "margin", "random", "core_set"],
    ax=ax,
    score_name="Accuracy on test rows",
    fill_between_kw={"alpha": 0.12},
    curve_kwargs={
        name: {"marker": marker, "markersize": 4}
        for name, marker in zip(
            ["bait", "badge", "typiclust", "margin", "random", "core_set"], "os^vDX", strict=True
        )
    },
)
ax.grid(alpha=0.3)
plt.show()

# %%
# The table
# ---------
#
# ``area`` is the mean accuracy over the whole curve, ``final`` the last one, both with their
# standard errors.

summary = summarize_strategies(results).drop(columns=["dataset", "n_seeds"])
print(summary.to_string(index=False, float_format="{:.3f}".format))

# %%
# Labels saved
# ------------
#
# The question that a budget asks: with how many labels does a strategy reach the accuracy that
# random choice ends with? ``never`` stands where it does not reach it within the budget.

saved = labels_saved(results, baseline="random").sort_values("labels_needed")
columns = ["strategy", "target", "labels_needed", "share_saved"]
print(saved[columns].to_string(index=False, float_format="{:.2f}".format, na_rep="never"))

# %%
# Is it luck?
# -----------
#
# A difference of two means says little if it changes its sign from seed to seed. Because runs are
# paired, the differences to random choice within each seed can be tested. With five seeds a
# t-test is about all that is possible. No p-value is corrected for there being several strategies.

tests = paired_tests(results, baseline="random", test="t").sort_values("p_value")
columns = ["strategy", "difference", "standard_error", "p_value"]
print(tests[columns].to_string(index=False, float_format="{:.4f}".format))

# %%
# The matrix shows all pairs: how often the strategy of a row beat that of a column, as a share of
# the seeds. The strategy that wins most stands on top. How far one is ahead of the other is in the
# curves: a share of 1 means every time, not by much.

WinMatrixDisplay.from_results(results, values_format=".1f", cmap="PuOr", xticks_rotation=45)
plt.show()
