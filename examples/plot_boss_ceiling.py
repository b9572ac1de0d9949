# SPDX-License-Identifier: BSD-3-Clause
"""
===================
BoSS as the ceiling
===================

A strategy beats random choice by three points. Is that much? It depends on how much there was to
win. :class:`~skbait.BossQuery` is an oracle: it lets many strategies propose batches, trains on
each *with its true labels*, and takes the batch that helps most on held-out rows. Nobody can do
that in practice, since it needs the labels that one wants to save. But it shows how far up one
could get, and so how much of the way a real strategy has gone.
"""

# %%
# The data
# --------
#
# Features of CIFAR-10 images by a pretrained network; where they are not at hand, handwritten
# digits. Their 32 directions and their scale are found on all rows, those included that later
# become test rows, but without a look at any label.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from skbait import BossQuery
from skbait.datasets import fetch_cifar10_features
from skbait.model_selection import compare_strategies, summarize_strategies
from skbait.plotting import AcquisitionCurveDisplay

try:
    X, y = fetch_cifar10_features(return_X_y=True)
except OSError:
    print("The features of CIFAR-10 are not at hand: digits take their place.")
    X, y = load_digits(return_X_y=True)
X = PCA(32, random_state=0).fit_transform(X)
X /= X.std()  # one scale: so the model suits either data

# %%
# One choice of the oracle
# ------------------------
#
# Fifty candidate batches of ten rows each, proposed by ten members. Each dot is a batch: the share
# of held-out rows that the model gets wrong once it has learned the batch. Two of the members look
# at the labels themselves. Compare two distances: that between the dots of one member tells how
# much depends on which rows it happens to draw, that between members on which strategy draws them.

model = LogisticRegression(max_iter=1000)
boss = BossQuery(model, n_candidates=50, random_state=0).fit(X[:30], y[:30])
boss.query(X[30:830], 10, y_pool=y[30:830], X_val=X[830:1230], y_val=y[830:1230])

losses, names = boss.candidate_losses_, boss.candidate_names_
members = sorted(set(names), key=lambda name: -losses[names == name].mean())
rows = np.array([members.index(name) for name in names])
fig, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
ax.scatter(losses, rows, s=40, alpha=0.6, color="#006BA4", label="a candidate batch")
ax.scatter(
    losses[boss.winner_],
    rows[boss.winner_],
    s=160,
    marker="*",
    color="#FF800E",
    edgecolors="black",
    label="chosen",
)
ax.set_yticks(range(len(members)), members)
ax.set(xlabel="Share of held-out rows that are wrong after learning the batch")
ax.grid(axis="x", alpha=0.3)
ax.legend()
plt.show()

# %%
# The curves
# ----------
#
# ``val_size`` puts rows aside by which the oracle chooses. No strategy may pick them, and no score
# is taken on them: all four strategies are scored on the same test rows.

results = compare_strategies(
    model,
    {"boss": BossQuery(n_candidates=50), "bait": "bait", "margin": "margin", "random": "random"},
    X,
    y,
    initial=20,
    batch_size=10,
    budget=70,
    test_size=0.25,
    val_size=400,
    pool_size=800,
    seeds=4,
    progress=False,
)

plt.style.use("tableau-colorblind10")
fig, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
AcquisitionCurveDisplay.from_results(
    results,
    ax=ax,
    score_name="Accuracy on test rows",
    curve_kwargs={
        "boss": {"linestyle": "--", "label": "boss (an oracle)"},
        "bait": {"marker": "o"},
        "margin": {"marker": "^"},
        "random": {"marker": "s"},
    },
)
ax.grid(alpha=0.3)
plt.show()

# %%
# How much of the way
# -------------------
#
# The gap between random choice and the oracle, in accuracy over the whole curve, and the share of
# it that each strategy closes. A negative share means worse than random. Where the oracle is not
# ahead of random choice, there is no share to speak of, and the differences alone are printed.

summary = summarize_strategies(results).set_index("strategy")
gap = summary.loc["boss", "area"] - summary.loc["random", "area"]
print(f"from random choice to the oracle: {gap:.3f}")
for name in ("bait", "margin"):
    gain = summary.loc[name, "area"] - summary.loc["random", "area"]
    print(f"{name} closes {gain / gap:.0%} of it" if gap > 0 else f"{name}: {gain:+.3f}")

# %%
# BoSS is no strict upper bound. It takes the best of fifty batches, one batch after the other, by
# its error on few hundred held-out rows; a better batch may be none of the fifty, and the best one
# for the next step need not be the best in the end. It is a mark that was in reach, not the limit.
