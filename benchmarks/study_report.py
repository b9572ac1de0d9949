# SPDX-License-Identifier: BSD-3-Clause
"""From the study's results to the tables and plots of its page in the documentation.

`collect` writes all results to one small file, ``doc/study/results.csv.gz``; `report` makes every
table and plot of the page from that file alone, so that whoever doubts a number can make it again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.study_sets import SETS
from skbait.model_selection import (
    labels_saved,
    paired_tests,
    read_results,
    summarize_strategies,
    win_rates,
)
from skbait.model_selection.curves import curves_of, first_reached, on_common_labels
from skbait.plotting import AcquisitionCurveDisplay, WinMatrixDisplay

PAGE = Path(__file__).parents[1] / "doc" / "study"
RESULTS = "results.csv.gz"

DEFAULT = "bait_exp"
ORACLE = "boss"
# Settings of BAIT by what they change, in the order of the table
SETTINGS = {
    "bait_exp_c1": "exp, c = 1",
    "bait_exp_c5": "exp, c = 5",
    "bait_exact": "exact",
    "bait_binary": "binary",
    "bait_exp_kappa0.01": "exp, κ = 0.01",
    "bait_exp_kappa1.0": "exp, κ = 1",
    "bait_exp_kappa10.0": "exp, κ = 10",
    "bait_binary_kappa0.01": "binary, κ = 0.01",
    "bait_binary_kappa1.0": "binary, κ = 1",
    "bait_binary_kappa10.0": "binary, κ = 10",
    "bait_exp_original": "exp, published weights, κ = 0.1",
    "bait_exp_published": "exp, published weights, λ = 1",
    "bait_binary_published": "binary, published weights, λ = 1",
    "bait_exp_mean_field": "exp, mean-field probabilities",
    "bait_binary_mean_field": "binary, mean-field probabilities",
    "bait_exp_forward_only": "exp, no backward pass",
}
MEMBERS = [
    "random",
    "margin",
    "badge",
    "bait_binary",
    "typiclust",
    "alfamix",
    "dropquery",
    "max_herding",
    "uncertainty_herding",
]
DRAWN = ("random", "margin", "badge", "typiclust", "uncertainty_herding", "bait_exp", "boss")
COLOURS = ("#6b7280", "#0072b2", "#56b4e9", "#009e73", "#cc79a7", "#d55e00", "#000000")


def collect(folder, path=PAGE / RESULTS):
    """Write the results of all data sets to one file.

    What the file holds already stays, but for runs that have been done again.

    Parameters
    ----------
    folder : path
        Where `study run` has left its files.
    path : path
        The file to write.
    """
    tables = [read_results(file) for file in sorted(Path(folder).glob("study-*.jsonl"))]
    if not tables:
        raise SystemExit(f"{folder} holds no results (study-*.jsonl) to collect.")
    results = pd.concat(tables, ignore_index=True)
    failed = results[results["error"] != ""]
    if len(failed):
        raise SystemExit(f"failed runs: {failed[['dataset', 'strategy', 'seed', 'error']]}")
    results = results.drop(columns="error")
    for name, digits in (("score", 5), ("query_time", 3), ("fit_time", 3)):
        results[name] = results[name].round(digits)
    if path.exists():
        before = pd.read_csv(path)
        run = ["dataset", "strategy", "seed"]
        again = pd.MultiIndex.from_frame(before[run]).isin(pd.MultiIndex.from_frame(results[run]))
        results = pd.concat([before[~again], results], ignore_index=True)
    results = results.sort_values(["dataset", "strategy", "seed", "round"])
    path.parent.mkdir(parents=True, exist_ok=True)
    # no time stamp: the same results are the same file
    results.to_csv(path, index=False, compression={"method": "gzip", "mtime": 0})


def report(path=PAGE / RESULTS, page=PAGE):
    """Write the tables and plots of the page.

    Parameters
    ----------
    path : path
        The file that `collect` writes.
    page : path
        The folder to write to.
    """
    results = pd.read_csv(path)
    named = [name for name in SETS if name in set(results["dataset"])]
    main = results[results["dataset"].isin(named)]
    strategies = main[~main["strategy"].isin(set(SETTINGS) - {"bait_exact", "bait_binary"})]
    tables = {
        "sets": table_of_sets(main, named),
        "saved": table_of_labels_saved(strategies, named),
        "areas": table_of_areas(strategies, named),
        "wins": table_of_wins(strategies, named),
        "settings": table_of_settings(main, named),
        "batches": table_of_batch_sizes(results, named),
        "refine": table_of_refine(strategies, named),
        "losses": table_of_losses(strategies, named),
    }
    for name, table in tables.items():
        table.to_csv(page / f"{name}.csv", index=False)
    draw_curves(strategies, named, page / "curves.png")
    draw_wins(strategies, page / "wins.png")
    return tables


def points(difference, error, p_value=None):
    """Return a difference of accuracies in points, with its standard error; * where p < 0.05."""
    star = "" if p_value is None or not p_value < 0.05 else " \\*"
    sign = "−" if difference < 0 else "+"
    return f"{sign}{100 * abs(difference):.1f} ± {100 * error:.1f}{star}"


def differences_of(strategy, tests, named):
    """Return what a strategy's tests say on each data set, as text; empty where it was not run."""
    columns = ["difference", "standard_error", "p_value"]
    return {
        name: points(*tests.loc[(strategy, name), columns].astype(float))
        if (strategy, name) in tests.index
        else ""
        for name in named
    }


def labels(needed):
    """Return a number of labels, or that no number was enough."""
    return "not reached" if np.isnan(needed) else f"{needed:.0f}"


def table_of_sets(results, named):
    """Return what the data sets are."""
    rows = []
    for name in named:
        study_set, own = SETS[name], results[results["dataset"] == name]
        rows.append(
            {
                "data set": name,
                "rows and model": study_set.about,
                "labels": f"{study_set.initial} to {study_set.budget} by {study_set.batch_size}",
                "pool": study_set.sizes.get("pool_size", "all others"),
                "seeds": own[own["strategy"] == "random"]["seed"].nunique(),
            }
        )
    return pd.DataFrame(rows)


def table_of_labels_saved(results, named):
    """Return, for each data set, the labels needed for the accuracy that random choice ends with.

    The best of the others is the one that needs fewest, BAIT and the oracle left out.
    """
    saved = labels_saved(results).set_index(["dataset", "strategy"])
    rows = []
    for name in named:
        own = saved.loc[name]
        others = own.drop([each for each in own.index if each.startswith("bait")] + [ORACLE])
        best = others["labels_needed"].idxmin()
        default = own.loc[DEFAULT]
        low, high = interval_of_share_saved(results[results["dataset"] == name])
        share = default["share_saved"]
        rows.append(
            {
                "data set": name,
                "random ends at": f"{default['target']:.3f} with {SETS[name].budget} labels",
                "BAIT needs": labels(default["labels_needed"]),
                "BAIT saves": f"{percent(share)} ({percent(low)} to {percent(high)})",
                "margin needs": labels(own.loc["margin", "labels_needed"]),
                "best of the others": f"{best}: {labels(others.loc[best, 'labels_needed'])}",
                "BoSS (oracle)": labels(own.loc[ORACLE, "labels_needed"]),
            }
        )
    return pd.DataFrame(rows)


def interval_of_share_saved(results, n_draws=2000):
    """Return a bootstrap interval of the share of labels that BAIT saves: 2.5 to 97.5 percent.

    The seeds are drawn with replacement, those of BAIT and random choice together. Where the
    accuracy is not reached, nothing is saved.
    """
    runs = {strategy: each for (_, strategy), each in curves_of(results, "score").items()}
    seeds = [seed for seed in runs[DEFAULT] if seed in runs["random"]]
    n_labels, scores = on_common_labels(
        {(name, seed): runs[name][seed] for name in (DEFAULT, "random") for seed in seeds}
    )
    ours, random = np.split(scores, 2)  # (S, R) each
    drawn = np.random.RandomState(0).randint(len(seeds), size=(n_draws, len(seeds)))
    shares = []
    for rows in drawn:
        target = random[rows].mean(axis=0)[-1]
        needed = first_reached(n_labels, ours[rows].mean(axis=0), target)
        shares.append(0.0 if np.isnan(needed) else 1 - needed / n_labels[-1])
    return np.percentile(shares, [2.5, 97.5])


def percent(share):
    """Return a share as text."""
    return "none" if np.isnan(share) else f"{100 * share:.0f} %"


def table_of_areas(results, named):
    """Return accuracy over the curve less that of random choice, best mean rank first.

    Strategies are ranked by their differences to random choice over the seeds they have.
    """
    tests = paired_tests(results).set_index(["strategy", "dataset"])
    differences = tests["difference"].unstack()[named]
    differences.loc["random"] = 0.0
    ranks = differences.drop(ORACLE).rank(ascending=False).mean(axis=1)
    areas = summarize_strategies(results).set_index(["strategy", "dataset"])["area"]
    rows = []
    for strategy in [ORACLE, *ranks.sort_values().index]:
        row = {"strategy": strategy}
        row["mean rank"] = "oracle" if strategy == ORACLE else f"{ranks[strategy]:.1f}"
        if strategy == "random":
            row |= {name: f"{100 * areas[strategy, name]:.1f}" for name in named}
        else:
            row |= differences_of(strategy, tests, named)
        rows.append(row)
    return pd.DataFrame(rows)


def table_of_wins(results, named):
    """Return the share of seeds in which a strategy is above random choice, and above margin."""
    rates = {
        baseline: win_rates(results, baseline=baseline)
        .groupby("strategy", sort=False)["win_rate"]
        .mean()
        for baseline in ("random", "margin", DEFAULT)
    }
    table = pd.DataFrame(rates).round(9).sort_values(["random", "margin"], ascending=False)
    table = table.map(lambda rate: "" if np.isnan(rate) else f"{rate:.2f}")
    table = table.rename(columns=lambda name: f"over {name}")
    return table.rename_axis("strategy").reset_index()


def table_of_settings(results, named):
    """Return what other settings of BAIT change, against the default: points of accuracy."""
    names = [DEFAULT, *(key for key in SETTINGS if key in set(results["strategy"]))]
    chosen = results[results["strategy"].isin(names)]
    tests = paired_tests(chosen, baseline=DEFAULT, test="t").set_index(["strategy", "dataset"])
    rows = []
    for key in names[1:]:
        rows.append({"setting": SETTINGS[key]} | differences_of(key, tests, named))
    return pd.DataFrame(rows)


def table_of_batch_sizes(results, named):
    """Return accuracy at the end of the budget, spent in batches of several sizes."""
    final = summarize_strategies(results).set_index(["dataset", "strategy"])
    strategies = [s for s in DRAWN[:-1] + ("bait_binary",) if s != "typiclust"]
    rows = []
    for name in named:
        prefix = f"{name}, batches of "
        sizes = {SETS[name].batch_size: name}
        sizes |= {
            int(each.removeprefix(prefix)): each
            for each in set(results["dataset"])
            if each.startswith(prefix)
        }
        if len(sizes) == 1:
            continue
        for size in sorted(sizes):
            row = {"data set": name, "batch": size}
            for strategy in strategies:
                if (sizes[size], strategy) in final.index:
                    own = final.loc[sizes[size], strategy]
                    row[strategy] = f"{own['final']:.3f} ± {own['final_error']:.3f}"
            rows.append(row)
    return pd.DataFrame(rows)


def table_of_losses(results, named):
    """Return where the default of BAIT is below random choice or margin."""
    rows = []
    for baseline in ("random", "margin"):
        for metric, what in (("area", "the whole curve"), ("final", "the end")):
            tests = paired_tests(results, baseline=baseline, metric=metric)
            own = tests[tests["strategy"] == DEFAULT].set_index("dataset")
            for name in named:
                difference, error, p_value = own.loc[
                    name, ["difference", "standard_error", "p_value"]
                ].astype(float)
                if difference < 0:
                    rows.append(
                        {
                            "data set": name,
                            "below": baseline,
                            "over": what,
                            "points": points(difference, error),
                            "p": f"{p_value:.2f}",
                        }
                    )
    return pd.DataFrame(rows, columns=["data set", "below", "over", "points", "p"])


def table_of_refine(results, named):
    """Return REFINE against each of its members: points, and the share of seeds it wins."""
    chosen = results[results["strategy"].isin([*MEMBERS, "refine"])]
    rows = []
    for member in MEMBERS:
        pair = chosen[chosen["strategy"].isin([member, "refine"])]
        tests = paired_tests(pair, baseline=member).set_index(["strategy", "dataset"])
        wins = win_rates(pair, baseline=member)["win_rate"]
        row = {"member": member} | differences_of("refine", tests, named)
        rows.append(row | {"REFINE wins": f"{wins.mean():.2f}"})
    return pd.DataFrame(rows)


def draw_curves(results, named, path):
    """Draw the mean curves of some strategies, a panel a data set."""
    import matplotlib.pyplot as plt

    n_rows = -(-len(named) // 2)
    figure, axes = plt.subplots(n_rows, 2, figsize=(11, 4 * n_rows), layout="constrained")
    styles = {
        name: {"color": colour, "linewidth": 2.2 if name in (DEFAULT, ORACLE) else 1.4}
        for name, colour in zip(DRAWN, COLOURS, strict=True)
    }
    styles[ORACLE]["linestyle"] = ":"
    for name, ax in zip(named, axes.flat, strict=False):
        AcquisitionCurveDisplay.from_results(
            results,
            dataset=name,
            strategies=list(DRAWN),
            ax=ax,
            score_name="Accuracy",
            curve_kwargs=styles,
            fill_between_kw={"alpha": 0.12},
        )
        ax.set_title(name)
        ax.grid(alpha=0.3)
    for ax in axes.flat[1 : len(named)]:
        ax.get_legend().remove()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw_wins(results, path):
    """Draw who beats whom."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(9, 8), layout="constrained")
    WinMatrixDisplay.from_results(results, ax=ax, text_kw={"fontsize": 7})
    figure.savefig(path, dpi=100)
    plt.close(figure)
