# SPDX-License-Identifier: BSD-3-Clause
"""What a table of results says: means, areas under curves, tests, wins, labels saved.

All functions take the table of `compare_strategies`, or any with its columns. Scores are such
that greater is better, as everywhere in scikit-learn.
"""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
from scipy import stats

from skbait.model_selection.curves import (
    area,
    check_baseline,
    check_seeds,
    curves_of,
    differences_of,
    differences_to,
    first_reached,
    on_common_labels,
    standard_error,
    values_of,
    with_ties,
)
from skbait.model_selection.tables import RUN, from_rows

__all__ = [
    "area_under_curve",
    "labels_saved",
    "mean_curves",
    "paired_tests",
    "summarize_strategies",
    "win_matrix",
    "win_rates",
]


def area_under_curve(results, *, score="score"):
    """Return the mean score over the label axis, and the last score, of each run.

    Parameters
    ----------
    results : pandas.DataFrame or dict of str to array-like
        Table of :func:`compare_strategies`.
    score : str, default="score"
        Column of the scores.

    Returns
    -------
    pandas.DataFrame or dict of str to ndarray
        A row a run: `dataset`, `strategy`, `seed`, `area`, `final`.

    See Also
    --------
    mean_curves : The curves themselves, averaged over the seeds.
    summarize_strategies : Areas, final scores and labels saved, in one table.

    Notes
    -----
    With scores s_i at n_i labels, the area under the straight lines between them, over its width:

        ``area = Σ_i (n_{i+1} − n_i) · (s_i + s_{i+1}) / 2 / (n_last − n_first)``

    A curve of a single point has its score for an area. Where a run has no score in its first
    rounds (a metric that is undefined before all classes are known), the curves of all strategies
    on that data set with that seed begin after them, here as in the other functions.

    Examples
    --------
    >>> from skbait.model_selection import area_under_curve
    >>> results = {"dataset": ["d"] * 3, "strategy": ["bait"] * 3, "seed": [0] * 3,
    ...     "n_labels": [10, 20, 40], "score": [0.5, 0.7, 0.8]}
    >>> float(area_under_curve(results)["area"][0])
    0.7
    """
    rows = [
        (dataset, strategy, seed, area(*curve), curve[1][-1])
        for (dataset, strategy), runs in curves_of(results, score).items()
        for seed, curve in runs.items()
    ]
    return from_rows((*RUN, "area", "final"), rows)


def mean_curves(results, *, score="score"):
    """Return the mean over seeds of each curve, with standard errors.

    Parameters
    ----------
    results : pandas.DataFrame or dict of str to array-like
        Table of :func:`compare_strategies`.
    score : str, default="score"
        Column of the scores.

    Returns
    -------
    pandas.DataFrame or dict of str to ndarray
        A row a data set, strategy and number of labels: `dataset`, `strategy`, `n_labels`,
        `mean`, `standard_error` (NaN for a single seed), `n_seeds`.

    See Also
    --------
    area_under_curve : One number for each curve.
    skbait.plotting.AcquisitionCurveDisplay : Draws the curves.

    Notes
    -----
    Where seeds have been scored at different numbers of labels (initial rows of a single class
    bring further ones), curves are interpolated linearly, on all numbers within all curves.

    Examples
    --------
    >>> from skbait.model_selection import mean_curves
    >>> results = {"dataset": ["d"] * 2, "strategy": ["bait"] * 2, "seed": [0, 1],
    ...     "n_labels": [10, 10], "score": [0.5, 0.7]}
    >>> means = mean_curves(results)
    >>> round(float(means["mean"][0]), 3), round(float(means["standard_error"][0]), 3)
    (0.6, 0.1)
    """
    rows = []
    for (dataset, strategy), runs in curves_of(results, score).items():
        n_labels, scores = on_common_labels(runs)
        for at, values in zip(n_labels, scores.T, strict=True):
            rows.append((dataset, strategy, at, values.mean(), standard_error(values), len(runs)))
    names = ("dataset", "strategy", "n_labels", "mean", "standard_error", "n_seeds")
    return from_rows(names, rows)


def summarize_strategies(results, *, score="score"):
    """Return means and standard errors over seeds, for each data set the best strategy first.

    Parameters
    ----------
    results : pandas.DataFrame or dict of str to array-like
        Table of :func:`compare_strategies`.
    score : str, default="score"
        Column of the scores.

    Returns
    -------
    pandas.DataFrame or dict of str to ndarray
        A row a data set and strategy: `dataset`, `strategy`, `n_seeds`; `area` (the mean score
        over the label axis, see :func:`area_under_curve`) and `area_error`; `final` (the last
        score) and `final_error`. Standard errors are NaN for a single seed.

    See Also
    --------
    labels_saved : What a strategy saves at equal score.
    paired_tests : Whether two strategies differ.

    Examples
    --------
    >>> from skbait.model_selection import summarize_strategies
    >>> results = {"dataset": ["d"] * 4, "strategy": ["random"] * 2 + ["bait"] * 2,
    ...     "seed": [0] * 4, "n_labels": [10, 20] * 2, "score": [0.5, 0.7, 0.5, 0.8]}
    >>> list(summarize_strategies(results)["strategy"])
    ['bait', 'random']
    """
    rows, curves = [], curves_of(results, score)
    for (dataset, strategy), runs in curves.items():
        areas = np.array([area(*curve) for curve in runs.values()])
        finals = np.array([scores[-1] for _, scores in runs.values()])
        errors = standard_error(areas), standard_error(finals)
        rows.append(
            (dataset, strategy, len(runs), areas.mean(), errors[0], finals.mean(), errors[1])
        )
    order = list(dict.fromkeys(row[0] for row in rows))
    for dataset in order:
        of_dataset = [runs for (each, _), runs in curves.items() if each == dataset]
        spans = {(seed, at[0], at[-1]) for runs in of_dataset for seed, (at, _) in runs.items()}
        if len(spans) > len({seed for seed, *_ in spans}):
            warnings.warn(
                f"strategies do not begin and end with as many labels on data set {dataset!r}: "
                "their areas and final scores do not tell which is better. Compare runs "
                "of one initial and one budget.",
                stacklevel=2,
            )
        if len({frozenset(runs) for runs in of_dataset}) > 1:
            warnings.warn(
                f"strategies have different seeds on data set {dataset!r}: their means are over "
                "other runs. paired_tests and labels_saved compare those in common.",
                stacklevel=2,
            )
    rows.sort(key=lambda row: (order.index(row[0]), -row[3]))
    names = ("dataset", "strategy", "n_seeds", "area", "area_error", "final", "final_error")
    return from_rows(names, rows)


def paired_tests(results, *, baseline="random", metric="area", test="wilcoxon", score="score"):
    """Test over seeds whether each strategy differs from a baseline.

    Parameters
    ----------
    results : pandas.DataFrame or dict of str to array-like
        Table of :func:`compare_strategies`.
    baseline : str, default="random"
        Name of the strategy to compare with.
    metric : {"area", "final"}, default="area"
        The number that stands for a run: the mean score over the label axis, or the last score.
    test : {"wilcoxon", "t"}, default="wilcoxon"
        Wilcoxon's signed-rank test (:func:`scipy.stats.wilcoxon`), or the paired t-test
        (:func:`scipy.stats.ttest_rel`); two-sided.
    score : str, default="score"
        Column of the scores.

    Returns
    -------
    pandas.DataFrame or dict of str to ndarray
        A row a data set and strategy other than the baseline: `dataset`, `strategy`, `n_seeds`
        (those that both have), `difference` (its mean; positive: better than the baseline),
        `standard_error`, `p_value` (NaN for a single seed).

    See Also
    --------
    win_rates : How often a strategy is ahead, without a test.
    win_matrix : The same for every pair of strategies.

    Notes
    -----
    The values are not corrected for the number of strategies. Wilcoxon's test cannot fall below
    p = 2 / 2**n_seeds: it needs six seeds for 0.05.

    Examples
    --------
    >>> from skbait.model_selection import paired_tests
    >>> results = {"dataset": ["d"] * 12, "strategy": ["random"] * 6 + ["bait"] * 6,
    ...     "seed": list(range(6)) * 2, "n_labels": [10] * 12,
    ...     "score": [0.5] * 6 + [0.6, 0.7, 0.8, 0.55, 0.65, 0.75]}
    >>> float(paired_tests(results)["p_value"][0])
    0.03125
    """
    if test not in ("wilcoxon", "t"):
        raise ValueError(f"test={test!r} has to be 'wilcoxon' or 't'.")
    rows = []
    for dataset, strategy, differences in differences_to(results, baseline, metric, score):
        error, p_value = standard_error(differences), _p_value(differences, test)
        rows.append((dataset, strategy, len(differences), differences.mean(), error, p_value))
    names = ("dataset", "strategy", "n_seeds", "difference", "standard_error", "p_value")
    return from_rows(names, rows)


def win_rates(results, *, baseline="random", metric="area", score="score"):
    """Return the share of seeds with which each strategy beats a baseline; ties count half.

    Parameters
    ----------
    results : pandas.DataFrame or dict of str to array-like
        Table of :func:`compare_strategies`.
    baseline : str, default="random"
        Name of the strategy to compare with.
    metric : {"area", "final"}, default="area"
        The number that stands for a run: the mean score over the label axis, or the last score.
    score : str, default="score"
        Column of the scores.

    Returns
    -------
    pandas.DataFrame or dict of str to ndarray
        A row a data set and strategy other than the baseline: `dataset`, `strategy`, `n_seeds`
        (those that both have), `win_rate`.

    See Also
    --------
    win_matrix : Every strategy against every other.
    paired_tests : Whether the difference is more than chance.

    Examples
    --------
    >>> from skbait.model_selection import win_rates
    >>> results = {"dataset": ["d"] * 4, "strategy": ["random"] * 2 + ["bait"] * 2,
    ...     "seed": [0, 1] * 2, "n_labels": [10] * 4, "score": [0.5, 0.5, 0.6, 0.4]}
    >>> float(win_rates(results)["win_rate"][0])
    0.5
    """
    rows = [
        (dataset, strategy, len(differences), _win_rate(differences))
        for dataset, strategy, differences in differences_to(results, baseline, metric, score)
    ]
    return from_rows(("dataset", "strategy", "n_seeds", "win_rate"), rows)


def win_matrix(results, *, metric="area", score="score"):
    """Return how often each strategy beats each other one; ties count half.

    Parameters
    ----------
    results : pandas.DataFrame or dict of str to array-like
        Table of :func:`compare_strategies`.
    metric : {"area", "final"}, default="area"
        The number that stands for a run: the mean score over the label axis, or the last score.
    score : str, default="score"
        Column of the scores.

    Returns
    -------
    wins : ndarray of float64 of shape (n_strategies, n_strategies)
        In row i and column j the share of seeds with which strategy i beats strategy j, the mean
        over data sets; NaN on the diagonal, and where two have no run in common.
    names : list of str
        The strategies, the one that wins most first.

    See Also
    --------
    win_rates : Each strategy against one.
    skbait.plotting.WinMatrixDisplay : Draws the matrix.

    Examples
    --------
    >>> from skbait.model_selection import win_matrix
    >>> results = {"dataset": ["d"] * 4, "strategy": ["random"] * 2 + ["bait"] * 2,
    ...     "seed": [0, 1] * 2, "n_labels": [10] * 4, "score": [0.5, 0.5, 0.6, 0.5]}
    >>> win_matrix(results)
    (array([[ nan, 0.75],
            [0.25,  nan]]), ['bait', 'random'])
    """
    values = values_of(results, metric, score)
    datasets = dict.fromkeys(dataset for dataset, _ in values)
    names = list(dict.fromkeys(strategy for _, strategy in values))
    wins = np.full((len(names), len(names)), np.nan)
    for (i, one), (j, other) in product(enumerate(names), repeat=2):
        pairs = [differences_of(values, dataset, one, other) for dataset in datasets]
        rates = [_win_rate(differences) for differences in pairs if len(differences)]
        if i != j and rates:
            wins[i, j] = np.mean(rates)
    known = (~np.isnan(wins)).sum(axis=1)
    order = np.argsort(-np.nansum(wins, axis=1) / np.maximum(known, 1), kind="stable")
    return wins[np.ix_(order, order)], [names[i] for i in order]


def labels_saved(results, *, baseline="random", score="score"):
    """Return how many labels each strategy saves at the score that a baseline ends with.

    Parameters
    ----------
    results : pandas.DataFrame or dict of str to array-like
        Table of :func:`compare_strategies`.
    baseline : str, default="random"
        Name of the strategy to compare with.
    score : str, default="score"
        Column of the scores.

    Returns
    -------
    pandas.DataFrame or dict of str to ndarray
        A row a data set and strategy, the baseline included: `dataset`, `strategy`, `n_seeds`
        (those that it has in common with the baseline, which count), `target` (the last score of
        the baseline, the mean over these seeds), `labels_needed` to reach it (NaN where
        it is never reached), `labels_saved` (of those that the baseline had in the end), and
        `share_saved` (of the same).

    See Also
    --------
    summarize_strategies : Areas, final scores and labels saved, in one table.
    compare_strategies : Makes the results.

    Notes
    -----
    Mean curves of :func:`mean_curves` are used. The first crossing counts, on the straight line
    between two points. The baseline itself may reach its last score before its end, by chance:
    its own row shows how much of a saving is due to that.

    Examples
    --------
    >>> from skbait.model_selection import labels_saved
    >>> results = {"dataset": ["d"] * 6, "strategy": ["random"] * 3 + ["bait"] * 3,
    ...     "seed": [0] * 6, "n_labels": [10, 20, 30] * 2,
    ...     "score": [0.5, 0.6, 0.7, 0.5, 0.75, 0.8]}
    >>> [float(n) for n in labels_saved(results)["labels_needed"]]
    [30.0, 18.0]
    """
    curves = curves_of(results, score)
    rows = []
    for (dataset, strategy), runs in curves.items():
        check_baseline(curves, dataset, baseline)
        others = curves[dataset, baseline]
        seeds = [seed for seed in runs if seed in others]
        check_seeds(seeds, dataset, strategy, baseline)
        (n_labels, mean), (spent, reached) = (_mean_curve(each, seeds) for each in (runs, others))
        spent, target = spent[-1], reached[-1]
        needed = first_reached(n_labels, mean, target)
        saved = spent - needed
        rows.append((dataset, strategy, len(seeds), target, needed, saved, saved / spent))
    names = ("dataset", "strategy", "n_seeds", "target", "labels_needed", "labels_saved")
    return from_rows((*names, "share_saved"), rows)


def _mean_curve(runs, seeds):
    """Return numbers of labels and the mean score at each, over some seeds."""
    n_labels, scores = on_common_labels({seed: runs[seed] for seed in seeds})
    return n_labels, scores.mean(axis=0)


def _win_rate(differences):
    return float(np.mean((np.sign(differences) + 1) / 2))


def _p_value(differences, test):
    """Return the p-value of differences to zero."""
    if len(differences) < 2:
        return np.nan
    if not differences.any():
        return 1.0  # no difference at all: scipy's tests would divide zero by zero
    if test == "wilcoxon":
        return float(stats.wilcoxon(with_ties(differences)).pvalue)
    with warnings.catch_warnings():  # equal differences have a variance of zero, and p = 0
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(stats.ttest_1samp(differences, 0.0).pvalue)
