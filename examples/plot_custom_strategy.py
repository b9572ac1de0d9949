# SPDX-License-Identifier: BSD-3-Clause
"""
Write a strategy of your own
============================

A query strategy is a class with one method. This example writes one, margin weighted by density:
rows of which the model is unsure *and* that are typical of the pool. It then runs the checks that
skbait's own strategies have to pass, and compares the strategy with others in a pool where density
should matter, one with many worthless rows. At first it falls behind even random choice. A look at
what it picks shows why, and a second version mends it.
"""

# %%
# One class, one method
# ---------------------
# The class says what it needs of the model (``_needs``), and ``_select`` gets a *view*: features
# and probabilities of the pool, computed once. It returns n different positions, the best first,
# and what each row scores on its own. Everything else comes from :class:`~skbait.BaseQuery`: what
# `fit` and `query` check, the clone of the model, sub-pools, candidates, random states.
#
# The score of row x is its uncertainty times a power of its density,
#
# .. math:: u(x) = \bigl(1 - (p_1 - p_2)\bigr) \, \bar{k}(x)^\beta,
#
# with :math:`p_1` and :math:`p_2` the two largest probabilities, and :math:`\bar{k}(x)` the mean
# of a Gaussian kernel between the features of x and those of all rows of the pool.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from skbait import BaseQuery, MarginQuery
from skbait.model_selection import (
    compare_strategies,
    labels_saved,
    paired_tests,
    summarize_strategies,
)
from skbait.plotting import AcquisitionCurveDisplay, QueryDisplay
from skbait.utils.estimator_checks import check_query_strategy


def uncertainty(view):
    """Return 1 - (p₁ - p₂) for each row of the pool, (N,)."""
    best = view.pool.probabilities.double().topk(2, dim=1).values  # (N, 2)
    return 1 - (best[:, 0] - best[:, 1])


def kernel(view, features):
    """Return the kernel between rows of features (M, D) and those of the pool, (M, N)."""
    pool = view.pool.features.double()  # (N, D)
    scale = 2 * pool.var(dim=0, correction=0).sum().clamp_min(1e-12)  # the mean squared distance
    return torch.exp(-8 * torch.cdist(features.double(), pool).square() / scale)


class DenseMarginQuery(BaseQuery):
    """Query rows between two classes, in dense parts of the pool.

    Parameters
    ----------
    estimator : estimator, default=None
        The classifier; None: a logistic regression.
    beta : float, default=0.5
        How much density counts; 0 leaves the margin alone.
    subset_size, last_layer, device, random_state
        As in `BaseQuery`.
    """

    _needs = frozenset({"features", "probabilities"})

    def __init__(
        self,
        estimator=None,
        *,
        beta=0.5,
        subset_size=None,
        last_layer=None,
        device="auto",
        random_state=None,
    ):
        super().__init__(
            estimator,
            subset_size=subset_size,
            last_layer=last_layer,
            device=device,
            random_state=random_state,
        )
        self.beta = beta

    def _select(self, view, n):
        utilities = uncertainty(view) * kernel(view, view.pool.features).mean(dim=1) ** self.beta
        return utilities.argsort(descending=True, stable=True)[:n], utilities

    def _check_params(self, n_classes=None):
        if self.beta < 0:
            raise ValueError(f"beta={self.beta!r} must not be negative; 0 is the margin alone.")


# %%
# It is an estimator, with parameters that a grid search can set:

DenseMarginQuery(beta=0.5)

# %%
# Check it
# --------
# ``check_query_strategy`` calls a strategy in all the ways that users will: pools of one row, rows
# that are equal, memory that may not be written to, other numbers of threads, and so on.

check_query_strategy(DenseMarginQuery())
print("DenseMarginQuery passes.")

# %%
# What the checks are good for is seen where something is wrong. This strategy adds noise from a
# generator of its own, and so its choice cannot be repeated:


class CarelessQuery(DenseMarginQuery):
    """The same, with a mistake."""

    _stochastic = True

    def _select(self, view, n):
        _, utilities = super()._select(view, n)
        noise = np.random.default_rng().random(view.n_pool)  # has to be view.rng.rand(view.n_pool)
        return np.argsort(-utilities.numpy() * noise)[:n], utilities


try:
    check_query_strategy(CarelessQuery())
except AssertionError as error:
    print(error, *error.__notes__, sep="\n")

# %%
# Where density should matter
# ---------------------------
# A pool of 900 handwritten digits and 400 smudges: digits whose pixels were shuffled. Whoever is
# asked what a smudge shows can only guess, so its label is drawn at random. There are no smudges
# among the 500 digits held out for tests.

X, y = load_digits(return_X_y=True)
X = X / 16
rng = np.random.default_rng(0)
order = rng.permutation(len(X))
test, pool = order[:500], order[500:1400]
smudges = rng.permuted(X[pool[:400]], axis=1)
X_pool = np.vstack([X[pool], smudges])
y_pool = np.append(y[pool], rng.integers(10, size=len(smudges)))
print(f"{len(X_pool)} rows to choose from, {len(smudges)} of them worthless")

# %%
# What does the strategy ask for, once 20 digits and 9 smudges have been labelled at random?

known = np.r_[:20, 900:909]
left = np.setdiff1d(np.arange(len(X_pool)), known)


def draw_picks(strategies):
    """Show the 20 rows that each strategy asks for first."""
    figure, axes = plt.subplots(len(strategies), 1, figsize=(7, 2.2 * len(strategies)))
    for ax, strategy in zip(axes, strategies, strict=True):
        strategy.fit(X_pool[known], y_pool[known])
        chosen = strategy.query(X_pool[left], 20)
        n_smudges = np.sum(left[chosen] >= 900)
        QueryDisplay.from_query(
            strategy, X_pool[left], chosen, kind="images", image_shape=(8, 8), ax=ax
        )
        ax.set_title(f"{type(strategy).__name__}: {n_smudges} of 20 are smudges", loc="left")
    figure.tight_layout()
    plt.show()


model = LogisticRegression(C=0.1, max_iter=300)
draw_picks([MarginQuery(model), DenseMarginQuery(model)])

# %%
# Density keeps the smudges out. But a batch that is simply the top of a ranking repeats itself:
# what lies in the densest place lies next to others like it.
#
# A second version
# ----------------
# What has been picked need not be picked again. So the rows are chosen one by one, and density
# counts only rows of the pool that are not covered yet: row j has the weight
# :math:`1 - \max_i k(i, j)` over all rows i that are labelled or picked.


class CoveringMarginQuery(DenseMarginQuery):
    """Query rows between two classes, in dense parts of the pool that nothing covers yet."""

    def _select(self, view, n):
        unsure, similar = uncertainty(view), kernel(view, view.pool.features)  # (N,), (N, N)
        uncovered = 1 - kernel(view, view.labeled.features).amax(dim=0)  # (N,)
        free = torch.ones_like(uncovered)
        chosen, first_scores = [], None
        for _ in range(n):
            scores = unsure * (similar @ uncovered / view.n_pool) ** self.beta  # (N,)
            first_scores = scores if first_scores is None else first_scores
            best = int((scores + 1).mul(free).argmax())  # 0 for rows that are picked
            free[best] = 0
            uncovered = torch.minimum(uncovered, 1 - similar[best])
            chosen.append(best)
        return np.array(chosen), first_scores


check_query_strategy(CoveringMarginQuery())
draw_picks([DenseMarginQuery(model), CoveringMarginQuery(model)])

# %%
# Compare
# -------
# The same splits, first labels and budget for all, five seeds. A strategy by name and one of your
# own go into the same call.

results = compare_strategies(
    model,
    {
        "random": "random",
        "margin": "margin",
        "BAIT": "bait",
        "dense margin": DenseMarginQuery(),
        "covering margin": CoveringMarginQuery(),
    },
    X_pool,
    y_pool,
    X_test=X[test],
    y_test=y[test],
    initial=20,
    batch_size=20,
    budget=120,
    seeds=5,
    progress=False,
)
summarize_strategies(results).drop(columns=["dataset", "n_seeds"]).round(3)

# %%
# The area is the mean accuracy over the curve, which the plot shows in full.

colors = ["#999999", "#E69F00", "#0072B2", "#CC79A7", "#000000"]
styles = [":", "--", "-.", "--", "-"]
names = ["random", "margin", "BAIT", "dense margin", "covering margin"]
display = AcquisitionCurveDisplay.from_results(
    results,
    score_name="accuracy on held-out digits",
    curve_kwargs={
        name: {"color": color, "linestyle": style, "linewidth": 2}
        for name, color, style in zip(names, colors, styles, strict=True)
    },
)
display.ax_.set_title("Mean and standard error over five seeds")
display.ax_.grid(alpha=0.3)
plt.show()

# %%
# Five seeds are few. What they say of the difference to random choice, pair by pair, and how many
# labels each strategy would have needed for what random choice reaches with 120:

tests = paired_tests(results, baseline="random", test="t")
saved = labels_saved(results, baseline="random")
print(tests.drop(columns="dataset").round(3).to_string(index=False))
print(saved.drop(columns="dataset").round(2).to_string(index=False))
