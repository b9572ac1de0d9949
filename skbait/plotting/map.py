# SPDX-License-Identifier: BSD-3-Clause
"""A map: rows as points in two dimensions, the picked ones above the others."""

from __future__ import annotations

import numpy as np

from skbait.plotting.style import as_text, with_defaults
from skbait.utils.targets import has_label

NO_LABEL = "no label"
# More classes than this have no names in a legend: their colours are hard to tell.
_N_COLORS = 10
# With more points than this the legend has a fixed place.
_MANY = 20_000


def draw_map(
    ax,
    coordinates,
    chosen,
    *,
    rounds=None,
    labeled=None,
    y=None,
    pool_kw=None,
    labeled_kw=None,
    chosen_kw=None,
):
    """Draw rows as points, the picked ones above the others.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    coordinates : ndarray of shape (n_rows, 2)
        All rows.
    chosen : ndarray of int of shape (n_chosen,)
        The rows picked: positions in `coordinates`.
    rounds : ndarray of int of shape (n_chosen,), default=None
        The round in which each was picked: their colours. None: all in one.
    labeled : ndarray of int of shape (n_labeled,), default=None
        Rows that had a label before: positions in `coordinates`.
    y : ndarray of at most n_rows labels, default=None
        Labels of the first rows, as colours.
    pool_kw, labeled_kw, chosen_kw : dict, default=None
        Arguments of matplotlib's `scatter` for the three kinds of points.

    Returns
    -------
    pool, labeled, chosen : matplotlib PathCollection
        The points of each kind; None where there are none.
    colorbar : matplotlib Colorbar or None
        The bar of rounds, where points are of several.
    """
    from matplotlib import colormaps
    from matplotlib.collections import PathCollection
    from matplotlib.lines import Line2D

    default = {"s": 8, "color": "0.75", "linewidths": 0, "label": "pool", "rasterized": True}
    rows, classes, marked = np.arange(len(coordinates)), [], False
    if y is not None:
        rows = np.arange(len(y))
        classes, codes, marked = _codes_of(y)
        codes = codes % 20
        few = len(classes) <= _N_COLORS
        cmap = colormaps["tab10" if few else "tab20"].with_extremes(bad=default.pop("color"))
        default |= {"c": codes, "cmap": cmap, "vmin": -0.5, "vmax": 9.5 if few else 19.5}
        default |= {"alpha": 0.4, "plotnonfinite": True}
    style = with_defaults(PathCollection, default, pool_kw)
    pool = ax.scatter(*coordinates[rows].T, **style)
    colored = y is not None and style.get("c") is codes
    by_class = colored and 0 < len(classes) <= _N_COLORS and "label" not in (pool_kw or {})
    before = None
    if labeled is not None and len(labeled):
        style = {"s": 28, "marker": "x", "color": "black", "linewidths": 1}
        style |= {"label": "labelled before"}
        style = with_defaults(PathCollection, style, labeled_kw)
        before = ax.scatter(*coordinates[labeled].T, **style)
    default = {"s": 42, "edgecolors": "black", "linewidths": 0.8, "label": "picked"}
    if rounds is not None:
        default |= {"c": rounds, "cmap": "plasma"}
    elif colored:  # as the rows of their classes in the pool
        default |= {"c": codes[chosen], "plotnonfinite": True}
        default |= {"cmap": pool.cmap, "norm": pool.norm}
    else:
        default |= {"color": "C3"}
    style = with_defaults(PathCollection, default, chosen_kw)
    picked = ax.scatter(*coordinates[chosen].T, **style)
    own_colors = "c" in default and style.get("c") is default["c"]
    colorbar = None
    if rounds is not None and own_colors:
        numbers = np.unique(rounds)
        ticks = numbers if len(numbers) <= 10 else None
        colorbar = ax.figure.colorbar(picked, ax=ax, label="Round", ticks=ticks)
    ax.set(xticks=[], yticks=[])
    handles, labels = ax.get_legend_handles_labels()
    if rounds is None and own_colors:
        ring = Line2D([], [], ls="", marker="o", mfc="none", mec="black", mew=0.8)
        handles = [ring if each is picked else each for each in handles]
    if by_class:  # the pool is its classes, and the rows without a label
        named = {name: handle for handle, name in zip(handles, labels, strict=True)}
        named.pop("pool")
        colors = [*pool.cmap(pool.norm(np.arange(len(classes))))]
        colors += [pool.cmap.get_bad()] * marked
        handles = [Line2D([], [], color=color, marker="o", ls="", ms=4) for color in colors]
        handles += named.values()
        labels = [as_text(each) for each in classes]
        labels += [NO_LABEL] * marked + list(named)
    # the best place is sought among all points
    where = {} if len(coordinates) <= _MANY else {"loc": "upper right"}
    ax.legend(handles, labels, fontsize="small", ncols=1 + (len(labels) > 8), **where)
    return pool, before, picked, colorbar


def _codes_of(y):
    """Return the classes, the number of that of each row (NaN: no label), and if any has none."""
    known = has_label(y)
    try:
        classes, codes = np.unique(y[known], return_inverse=True)
    except TypeError:  # of several kinds
        classes, codes = np.unique(y[known].astype(str), return_inverse=True)
    out = np.full(len(y), np.nan)
    out[known] = codes
    return classes, out, not known.all()
