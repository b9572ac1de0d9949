# SPDX-License-Identifier: BSD-3-Clause
"""From a table of results to curves, and from curves to the numbers that stand for runs."""

from __future__ import annotations

import numpy as np
from scipy.integrate import trapezoid

from skbait.model_selection.tables import RUN, as_columns


def curves_of(results, score):
    """Return {(dataset, strategy): {seed: (n_labels, scores)}}, in order of appearance.

    A metric may be undefined for the first models of a run, which do not know all classes. Where
    that is so for one strategy, the curves of all on the same data set with the same seed begin
    after it.
    """
    columns = as_columns(results)
    missing = [name for name in (*RUN, "n_labels", score) if name not in columns]
    if missing:
        raise ValueError(
            f"results has no column {missing[0]!r}; it has {', '.join(map(str, columns))}. The "
            "column of the scores is named by score=."
        )
    points = {}
    for i in range(len(columns["seed"])):
        dataset, strategy, seed = (columns[name][i] for name in RUN)
        value = _as_float(columns[score][i], score)
        error = columns["error"][i] if "error" in columns else ""
        if np.isnan(value) and isinstance(error, str) and error:  # a file may have NaN for ""
            raise ValueError(
                f"strategy {strategy!r} has no {score} on data set {dataset!r} with seed {seed} "
                f"({error}). Have the run made again, or leave it out knowingly: "
                'results[results["error"] == ""] for failed runs.'
            )
        run = points.setdefault((dataset, strategy), {}).setdefault(seed, {})
        at = int(columns["n_labels"][i])
        if at in run:
            raise ValueError(
                f"results holds strategy {strategy!r} on data set {dataset!r} with seed {seed} "
                f"twice at {at} labels: keep one of the runs, or give them different names."
            )
        run[at] = value
    if not points:
        raise ValueError("results holds no run.")
    starts = _where_scores_begin(points, score)
    curves = {}
    for (dataset, strategy), runs in points.items():
        curves[dataset, strategy] = {}
        for seed, run in runs.items():
            at = [n for n in sorted(run) if n >= starts[dataset, seed]]
            curves[dataset, strategy][seed] = np.array(at), np.array([run[n] for n in at])
    return curves


def _as_float(value, score):
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"the column {score!r} of results holds {value!r}, which is no score: numbers are "
            "needed, NaN where there is none."
        ) from None


def _where_scores_begin(points, score):
    """Return {(dataset, seed): the number of labels from which on every strategy has scores}."""
    starts = {(dataset, seed): 0 for (dataset, _), runs in points.items() for seed in runs}
    for (dataset, strategy), runs in points.items():
        for seed, run in runs.items():
            missing = [n for n, value in run.items() if np.isnan(value)]
            if not missing:
                continue
            after = [n for n in run if n > max(missing)]
            if after and len(after) + len(missing) < len(run):
                raise ValueError(
                    f"strategy {strategy!r} has no {score} at {max(missing)} labels on data set "
                    f"{dataset!r} with seed {seed}, but has one before: only the first rounds of "
                    "a run may be without."
                )
            if not after:
                raise ValueError(
                    f"strategy {strategy!r} has no {score} on data set {dataset!r} with seed "
                    f"{seed}: it is NaN to the end of the run."
                )
            starts[dataset, seed] = max(starts[dataset, seed], min(after))
    for (dataset, strategy), runs in points.items():
        for seed, run in runs.items():
            if max(run) < starts[dataset, seed]:
                raise ValueError(
                    f"strategy {strategy!r} has {max(run)} labels at most on data set {dataset!r} "
                    f"with seed {seed}, and another strategy has no {score} before "
                    f"{starts[dataset, seed]}: compare runs of one budget."
                )
    return starts


def area(n_labels, scores):
    """Return the mean of a curve over the label axis."""
    width = n_labels[-1] - n_labels[0]
    return trapezoid(scores, n_labels) / width if width else scores[0]


def on_common_labels(runs):
    """Return the numbers of labels within all curves, and the scores of all seeds at them.

    The scores have shape (n_seeds, n_numbers); between two points a curve is a straight line.
    """
    first = max(n_labels[0] for n_labels, _ in runs.values())
    last = min(n_labels[-1] for n_labels, _ in runs.values())
    at = np.unique(np.concatenate([n_labels for n_labels, _ in runs.values()]))
    at = at[(at >= first) & (at <= last)]
    if not len(at):
        raise ValueError(
            f"a mean over seeds needs curves that overlap, but one ends at {last} labels and "
            f"another begins at {first}: keep runs of different budgets in different tables."
        )
    return at, np.array([np.interp(at, *curve) for curve in runs.values()])


def values_of(results, metric, score):
    """Return {(dataset, strategy): {seed: the number that stands for the run}}."""
    if metric not in ("area", "final"):
        raise ValueError(f"metric={metric!r} has to be 'area' or 'final'.")
    values, spans = {}, {}
    for (dataset, strategy), runs in curves_of(results, score).items():
        values[dataset, strategy] = {}
        for seed, (n_labels, scores) in runs.items():
            span = f"{n_labels[0]} to {n_labels[-1]}"
            other = spans.setdefault((dataset, seed), span)
            if other != span:
                raise ValueError(
                    f"strategy {strategy!r} has {span} labels on data set {dataset!r} with seed "
                    f"{seed}, and another strategy {other}: compare runs of one budget."
                )
            value = area(n_labels, scores) if metric == "area" else scores[-1]
            values[dataset, strategy][seed] = value
    return values


def differences_to(results, baseline, metric, score):
    """Yield (dataset, strategy, differences to the baseline by seed), other strategies only."""
    values = values_of(results, metric, score)
    for dataset, strategy in values:
        check_baseline(values, dataset, baseline)
        if strategy == baseline:
            continue
        differences = differences_of(values, dataset, strategy, baseline)
        check_seeds(differences, dataset, strategy, baseline)
        yield dataset, strategy, differences


def check_baseline(values, dataset, baseline):
    """Raise where the baseline has no run on a data set."""
    if (dataset, baseline) not in values:
        names = ", ".join(repr(strategy) for each, strategy in values if each == dataset)
        raise ValueError(
            f"baseline={baseline!r} has no run on data set {dataset!r}; there are {names}."
        )


def check_seeds(common, dataset, strategy, baseline):
    """Raise where a strategy and the baseline have nothing in common."""
    if not len(common):
        raise ValueError(
            f"strategies {strategy!r} and baseline={baseline!r} have no seed in common on "
            f"data set {dataset!r}: run both with the same seeds."
        )


def differences_of(values, dataset, strategy, other):
    """Return strategy less other for each seed that both have; zero where that is rounding."""
    one, two = (values.get((dataset, name), {}) for name in (strategy, other))
    pairs = np.array([(one[seed], two[seed]) for seed in one if seed in two]).reshape(-1, 2)
    with np.errstate(invalid="ignore"):
        differences = pairs[:, 0] - pairs[:, 1]
        size = np.abs(pairs).max(axis=1, initial=0.0)
        same = (pairs[:, 0] == pairs[:, 1]) | (np.abs(differences) <= 1e-12 * size)
    same[np.isinf(pairs).sum(axis=1) == 1] = False
    return np.where(same, 0.0, differences)


def with_ties(differences):
    """Return differences of which those that differ by rounding alone are equal, for ranks."""
    sizes = np.abs(differences[np.isfinite(differences) & (differences != 0)])
    unit = np.median(sizes) if len(sizes) else 1.0
    return np.round(differences / unit, 9) * unit


def standard_error(values):
    """Return the standard error of the mean; NaN for a single value."""
    if not (len(values) > 1 and np.isfinite(values).all()):
        return np.nan
    return np.std(values, ddof=1) / np.sqrt(len(values))


def first_reached(n_labels, scores, target):
    """Return the number of labels at which a curve first reaches a score; NaN: never."""
    finite = np.abs(scores[np.isfinite(scores)]).max(initial=0.0)
    reached = np.flatnonzero(scores >= target - 1e-12 * finite)
    if not len(reached):
        return np.nan
    i = reached[0]
    if i == 0:
        return float(n_labels[0])
    return float(np.interp(target, scores[i - 1 : i + 1], n_labels[i - 1 : i + 1]))
