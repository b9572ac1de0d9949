# SPDX-License-Identifier: BSD-3-Clause
"""Scores by number of labels, a line a strategy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from skbait.model_selection import mean_curves
from skbait.model_selection.tables import as_columns
from skbait.plotting.axes import axes_for
from skbait.plotting.learners import named_learners
from skbait.plotting.style import as_text, with_defaults

__all__ = ["AcquisitionCurveDisplay"]

# After so many lines the colours begin again, with the next of the line styles.
_N_COLORS = 10
_LINE_STYLES = ("-", "--", ":", "-.")
# With more curves the legend stands beside them, in columns of so many at most.
_MANY, _TALLEST = 20, 50


class AcquisitionCurveDisplay:
    """Acquisition curves: what a model scores by the number of labels it has learned from.

    Make one by `from_results` or `from_learner`. Each curve is the mean over seeds; a band shows
    its standard error.

    Parameters
    ----------
    n_labels : list of ndarray of shape (n_points,)
        Numbers of labels, an array a curve.
    scores : list of ndarray of shape (n_points,)
        The scores, means where there are several seeds.
    standard_errors : list of ndarray of shape (n_points,)
        Their standard errors; NaN where there is a single seed.
    names : list of str
        Names of the curves.
    score_name : str, default="Score"
        Name of the scores.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the curves.
    figure_ : matplotlib Figure
        The figure of the axes.
    lines_ : list of matplotlib Line2D
        The curves.
    fill_between_ : list of (matplotlib FillBetweenPolyCollection or None), or None
        The bands; None for curves without standard errors, or where bands are not wanted.
    errorbar_ : list of (matplotlib ErrorbarContainer or None), or None
        The bars, likewise.

    See Also
    --------
    skbait.model_selection.compare_strategies : Makes the results.
    WinMatrixDisplay : Which strategy beats which.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skbait import ActiveLearner, BaitQuery, RandomQuery
    >>> from skbait.plotting import AcquisitionCurveDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> learners = {
    ...     name: ActiveLearner(query_strategy=query, budget=50, batch_size=20, random_state=0)
    ...     .fit(X[:900] / 16, y[:900], X_val=X[900:] / 16, y_val=y[900:])
    ...     for name, query in {"BAIT": BaitQuery(), "random": RandomQuery()}.items()
    ... }
    >>> display = AcquisitionCurveDisplay.from_learner(learners, score_name="Accuracy")
    >>> [line.get_label() for line in display.lines_]
    ['BAIT', 'random']
    """

    def __init__(self, *, n_labels, scores, standard_errors, names, score_name="Score"):
        self.n_labels = n_labels
        self.scores = scores
        self.standard_errors = standard_errors
        self.names = names
        self.score_name = score_name

    @classmethod
    def from_results(
        cls,
        results,
        *,
        dataset=None,
        strategies=None,
        score="score",
        ax=None,
        score_name=None,
        error_style="fill_between",
        curve_kwargs=None,
        fill_between_kw=None,
        errorbar_kw=None,
    ):
        """Draw the results of a comparison of strategies.

        Parameters
        ----------
        results : pandas.DataFrame or dict of str to array-like
            Table of :func:`~skbait.model_selection.compare_strategies`.
        dataset : str, default=None
            Which data set; None where there is one only.
        strategies : list of str, default=None
            Which strategies, in this order; None: all.
        score : str, default="score"
            Column of the scores.
        ax : matplotlib Axes, default=None
            Where to draw; None: on a new figure.
        score_name : str, default=None
            Name of the scores; None: that of the column.
        error_style : {"fill_between", "errorbar"} or None, default="fill_between"
            How standard errors are shown; None: not at all.
        curve_kwargs : dict or dict of str to dict, default=None
            Arguments of matplotlib's `plot`, for all curves or by the names of curves.
        fill_between_kw : dict, default=None
            Arguments of matplotlib's `fill_between`.
        errorbar_kw : dict, default=None
            Arguments of matplotlib's `errorbar`.

        Returns
        -------
        AcquisitionCurveDisplay
            The display, drawn.
        """
        columns = as_columns(results)
        datasets = list(dict.fromkeys(columns.get("dataset", ())))
        if dataset is None and len(datasets) > 1:
            raise ValueError(
                f"results holds {len(datasets)} data sets: draw one of them, by dataset="
                f"{datasets[0]!r} or another of {', '.join(map(repr, datasets[1:]))}."
            )
        if dataset is not None and dataset not in datasets:
            raise ValueError(
                f"dataset={dataset!r} is not in the results; there are "
                f"{', '.join(map(repr, datasets))}."
            )
        if dataset is not None:
            columns = {n: v[columns["dataset"] == dataset] for n, v in columns.items()}
        known = list(dict.fromkeys(columns.get("strategy", ())))
        if strategies is None or not known:  # a table without the column is for mean_curves
            names = known
        else:
            names = list(strategies)
        if isinstance(strategies, str) or (known and not names):
            raise ValueError(
                f"strategies={strategies!r} has to be a list of names, one at least, or None for "
                "all."
            )
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(
                f"strategies holds {unknown[0]!r}, which has no results; there are "
                f"{', '.join(map(repr, known))}."
            )
        if names:
            asked = np.array([name in names for name in columns["strategy"]])
            columns = {n: v[asked] for n, v in columns.items()}
        means = as_columns(mean_curves(columns, score=score))
        rows = [means["strategy"] == name for name in names]
        display = cls(
            n_labels=[means["n_labels"][each] for each in rows],
            scores=[means["mean"][each] for each in rows],
            standard_errors=[means["standard_error"][each] for each in rows],
            names=names,
            score_name=_readable(score) if score_name is None else score_name,
        )
        return display.plot(
            ax,
            error_style=error_style,
            curve_kwargs=curve_kwargs,
            fill_between_kw=fill_between_kw,
            errorbar_kw=errorbar_kw,
        )

    @classmethod
    def from_learner(
        cls,
        learner,
        *,
        score="score",
        ax=None,
        score_name=None,
        error_style="fill_between",
        curve_kwargs=None,
        fill_between_kw=None,
        errorbar_kw=None,
    ):
        """Draw the histories of learners.

        Parameters
        ----------
        learner : ActiveLearner, list of ActiveLearner, or dict of str to one of these
            Fitted learners with scores in their `history_`. The keys of a dict name the curves.
            A list in a dict holds learners of several seeds, whose mean is drawn; a list by
            itself a curve each, named by its query strategy.
        score : str, default="score"
            Column of the scores in `history_`.
        ax : matplotlib Axes, default=None
            Where to draw; None: on a new figure.
        score_name : str, default=None
            Name of the scores; None: that of the column.
        error_style : {"fill_between", "errorbar"} or None, default="fill_between"
            How standard errors are shown; None: not at all.
        curve_kwargs : dict or dict of str to dict, default=None
            Arguments of matplotlib's `plot`, for all curves or by the names of curves.
        fill_between_kw : dict, default=None
            Arguments of matplotlib's `fill_between`.
        errorbar_kw : dict, default=None
            Arguments of matplotlib's `errorbar`.

        Returns
        -------
        AcquisitionCurveDisplay
            The display, drawn.
        """
        table = {name: [] for name in ("dataset", "strategy", "seed", "n_labels", score)}
        for name, learners in named_learners(learner).items():
            for seed, each in enumerate(learners):
                history = each.history_
                if score not in history:
                    there = [column for column in history if column.startswith("score")]
                    raise ValueError(
                        f"score={score!r} is not in the history of the learner {name!r}; "
                        + (
                            f"there are {', '.join(there)}."
                            if there
                            else "give its fit (or teach) X_val and y_val, to score its rounds."
                        )
                    )
                scored = ~np.isnan(history[score])
                table["n_labels"] += history["n_labels"][scored].tolist()
                table[score] += history[score][scored].tolist()
                table["strategy"] += [name] * int(scored.sum())
                table["seed"] += [seed] * int(scored.sum())
        table["dataset"] = [""] * len(table["seed"])
        return cls.from_results(
            table,
            score=score,
            ax=ax,
            score_name=score_name,
            error_style=error_style,
            curve_kwargs=curve_kwargs,
            fill_between_kw=fill_between_kw,
            errorbar_kw=errorbar_kw,
        )

    def plot(
        self,
        ax=None,
        *,
        score_name=None,
        error_style="fill_between",
        curve_kwargs=None,
        fill_between_kw=None,
        errorbar_kw=None,
    ):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None: on a new figure.
        score_name : str, default=None
            Name of the scores; None: that of the display.
        error_style : {"fill_between", "errorbar"} or None, default="fill_between"
            How standard errors are shown; None: not at all.
        curve_kwargs : dict or dict of str to dict, default=None
            Arguments of matplotlib's `plot`, for all curves or by the names of curves.
        fill_between_kw : dict, default=None
            Arguments of matplotlib's `fill_between`.
        errorbar_kw : dict, default=None
            Arguments of matplotlib's `errorbar`.

        Returns
        -------
        AcquisitionCurveDisplay
            The display.
        """
        if error_style not in ("fill_between", "errorbar", None):
            raise ValueError(
                f"error_style={error_style!r} has to be 'fill_between', 'errorbar' or None."
            )
        own = [_kwargs_of(name, curve_kwargs, self.names) for name in self.names]
        columns = 2 if len(self.names) > _N_COLORS else 1
        beside = ax is None and len(self.names) > _MANY  # where it would cover the curves
        width, height = 6.4, 4.8
        if beside:
            lines = [str(name).split("\n") for name in self.names]
            longest = max(len(line) for name in lines for line in name)
            columns = max(columns, -(-len(lines) // _TALLEST))
            heights = np.array_split([len(name) for name in lines], columns)
            tallest = max(int(each.sum()) for each in heights)
            width += columns * (0.5 + 0.075 * longest)
            height = max(height, 0.7 + 0.18 * tallest)
        with axes_for(ax, self, figsize=(width, height)) as ax:
            lines = self._draw_lines(ax, own)
            bands, bars = None, None
            if error_style == "fill_between":
                bands = self._draw_errors(ax, lines, error_style, fill_between_kw)
            elif error_style == "errorbar":
                bars = self._draw_errors(ax, lines, error_style, errorbar_kw)
            ax.set_xlabel("Labels")
            ax.set_ylabel(self.score_name if score_name is None else score_name)
            where = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)} if beside else {}
            ax.legend(ncols=columns, fontsize="small", **where)
        self.lines_, self.fill_between_, self.errorbar_ = lines, bands, bars
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _draw_lines(self, ax, own):
        from matplotlib.lines import Line2D

        lines = []
        for i, name in enumerate(self.names):
            style = {
                "color": f"C{i % _N_COLORS}",
                "linestyle": _LINE_STYLES[i // _N_COLORS % len(_LINE_STYLES)],
                "label": as_text(name),
            }
            style = with_defaults(Line2D, style, own[i])
            if len(self.n_labels[i]) == 1:
                style.setdefault("marker", "o")  # a line of one point cannot be seen
            lines += ax.plot(self.n_labels[i], self.scores[i], **style)
        return lines

    def _draw_errors(self, ax, lines, error_style, given):
        """Draw the errors right below the lines; None for a line without any."""
        from matplotlib.collections import PolyCollection
        from matplotlib.lines import Line2D

        drawn = []
        for i, line in enumerate(lines):
            at, scores, errors = self.n_labels[i], self.scores[i], self.standard_errors[i]
            style = {"color": line.get_color(), "zorder": line.get_zorder() - 0.1}
            if np.isnan(errors).all():
                drawn.append(None)
            elif error_style == "fill_between":
                style = with_defaults(
                    PolyCollection, style | {"alpha": 0.2, "linewidth": 0}, given
                )
                drawn.append(ax.fill_between(at, scores - errors, scores + errors, **style))
            else:
                style |= {"fmt": "none", "capsize": 2}
                style = with_defaults(Line2D, style, given)
                drawn.append(ax.errorbar(at, scores, errors, **style))
        return drawn


def _kwargs_of(name, curve_kwargs, names):
    """Return the arguments for a curve: those by its name, or those for all."""
    if not curve_kwargs:
        return {}
    if all(isinstance(value, Mapping) for value in curve_kwargs.values()):
        unknown = [key for key in curve_kwargs if key not in names]
        if unknown:
            raise ValueError(
                f"curve_kwargs names the curve {unknown[0]!r}, and there are "
                f"{', '.join(map(repr, names))}."
            )
        return curve_kwargs.get(name, {})
    return curve_kwargs


def _readable(score):
    """Return the name of a column of scores as people write it."""
    name = score.removeprefix("score_").replace("_", " ")
    return name[:1].upper() + name[1:]
