# SPDX-License-Identifier: BSD-3-Clause
"""
==========================
REFINE against its members
==========================

Which strategy is best differs from data set to data set, and nobody knows beforehand.
:class:`~skbait.RefineQuery` does without that knowledge. In several rounds each of its nine
members proposes batches from random subsamples of the pool, and only what some member proposed
stays. From what is left in the end, one strategy chooses. Is the ensemble worth more than its
members?
"""

# %%
# The data
# --------
#
# Features of CIFAR-10 images by a pretrained network; where they are not at hand, handwritten
# digits. Their 32 directions and their scale are found on all rows, those included that later
# become test rows, but without a look at any label.

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from skbait import RefineQuery
from skbait.datasets import fetch_cifar10_features
from skbait.model_selection import compare_strategies, summarize_strategies
from skbait.plotting import AcquisitionCurveDisplay, WinMatrixDisplay

try:
    X, y = fetch_cifar10_features(return_X_y=True)
except OSError:
    print("The features of CIFAR-10 are not at hand: digits take their place.")
    X, y = load_digits(return_X_y=True)
X = PCA(32, random_state=0).fit_transform(X)
X /= X.std()  # one scale: so the model suits either data

# %%
# One query, looked into
# ----------------------
#
# As published, REFINE has five rounds of eleven batches a member. For this page both numbers are
# smaller: three rounds of two batches. ``pool_sizes_`` tells what the rounds left of the pool, and
# ``n_proposed_`` how many of the rows chosen each member had proposed in the last round. A row may
# have been proposed by several members. Uncertainty herding has it easiest: the
# final choice is its own.

model = LogisticRegression(max_iter=1000)
refine = RefineQuery(model, n_rounds=3, n_batches=2, random_state=0).fit(X[:40], y[:40])
chosen = refine.query(X[40:1040], 20)
print("rows left, from the whole pool to the last round:", refine.pool_sizes_.tolist())

members = sorted(refine.n_proposed_, key=refine.n_proposed_.get)
fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
bars = ax.barh(members, [refine.n_proposed_[name] for name in members], color="#006BA4")
ax.bar_label(bars, padding=3)
ax.set(xlabel="Of the 20 rows chosen, how many the member had proposed")
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# The ensemble and its members
# ----------------------------
#
# The same pools, test rows and first labels for all of them, 20 labels a round up to 80, over
# five seeds. The final strategy of REFINE is uncertainty herding, which is also a member: the two
# differ by the rounds alone.

strategies = {"refine": RefineQuery(n_rounds=3, n_batches=2), "bait_binary": "bait_binary"}
for name in refine.n_proposed_:
    if name != "bait":  # the member of this name is the binary variant
        strategies[name] = name
results = compare_strategies(
    model,
    strategies,
    X,
    y,
    initial=20,
    batch_size=20,
    budget=80,
    test_size=0.3,
    pool_size=1000,
    seeds=5,
    progress=False,
)
summary = summarize_strategies(results).drop(columns=["dataset", "n_seeds"])
print(summary.to_string(index=False, float_format="{:.3f}".format))

# %%
# Who beats whom
# --------------
#
# Each number is the share of seeds in which the strategy of the row had the larger area under its
# curve than that of the column. With five seeds, a share of 0.6 against 0.4 is no more than a
# toss of a coin. The strategy that wins most stands on top.

WinMatrixDisplay.from_results(results, values_format=".1f", cmap="PuOr")
plt.show()

# %%
# The curves
# ----------
#
# REFINE in colour, its members in grey, random choice dashed. What one hopes for from an ensemble
# is to be near the best of its members without having to know which one that is.

fig, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
AcquisitionCurveDisplay.from_results(
    results,
    ax=ax,
    score_name="Accuracy on test rows",
    error_style=None,
    curve_kwargs={
        **{name: {"color": "0.7", "label": "_" + name} for name in strategies},
        "random": {"color": "black", "linestyle": "--"},
        "refine": {"color": "#C85200", "linewidth": 2.5, "marker": "o"},
    },
)
ax.plot([], [], color="0.7", label="the other members")
ax.legend()
ax.grid(alpha=0.3)
plt.show()

# %%
# Where a member is ahead of REFINE here, choosing that member would have been better; but this was
# known only after the fact. The rounds cost time, too: the mean seconds of a query are
seconds = results.groupby("strategy")["query_time"].mean().sort_values()
print(seconds.to_string(float_format="{:.3f}".format))
