# SPDX-License-Identifier: BSD-3-Clause
"""Which strategy beats which, as a matrix of colours and numbers."""

from __future__ import annotations

import textwrap

import numpy as np

from skbait.model_selection import win_matrix
from skbait.plotting.axes import axes_for
from skbait.plotting.style import as_text, with_defaults

__all__ = ["WinMatrixDisplay"]

# Longer names go on in another line.
_WRAPPED = 30


def _wrapped(name):
    """Return a name with further line breaks, the longest lines of which are not too long."""
    kept = {"replace_whitespace": False, "expand_tabs": False}
    return "\n".join(textwrap.fill(line, _WRAPPED, **kept) for line in name.split("\n"))


class WinMatrixDisplay:
    """Pairwise wins: how often the strategy of a row beats the strategy of a column.

    Make one by `from_results`.

    Parameters
    ----------
    wins : ndarray of shape (n_strategies, n_strategies)
        Shares between 0 and 1; NaN where there is nothing to compare.
    names : list of str
        The strategies.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the matrix.
    figure_ : matplotlib Figure
        The figure of the axes.
    im_ : matplotlib AxesImage
        The colours.
    text_ : ndarray of shape (n_strategies, n_strategies) of (matplotlib Text or None), or None
        The numbers; None without `include_values`.
    colorbar_ : matplotlib Colorbar or None
        The bar of colours.

    See Also
    --------
    skbait.model_selection.win_matrix : Counts the wins.
    AcquisitionCurveDisplay : The curves behind it.

    Examples
    --------
    >>> from skbait.plotting import WinMatrixDisplay
    >>> results = {"dataset": ["d"] * 4, "strategy": ["random"] * 2 + ["bait"] * 2,
    ...     "seed": [0, 1] * 2, "n_labels": [10] * 4, "score": [0.5, 0.5, 0.6, 0.5]}
    >>> display = WinMatrixDisplay.from_results(results)
    >>> display.names
    ['bait', 'random']
    """

    def __init__(self, *, wins, names):
        self.wins = wins
        self.names = names

    @classmethod
    def from_results(
        cls,
        results,
        *,
        metric="area",
        score="score",
        ax=None,
        include_values=True,
        values_format=".2f",
        cmap="RdBu",
        xticks_rotation="vertical",
        colorbar=True,
        im_kw=None,
        text_kw=None,
    ):
        """Draw who wins in the results of a comparison of strategies.

        Parameters
        ----------
        results : pandas.DataFrame or dict of str to array-like
            Table of :func:`~skbait.model_selection.compare_strategies`. Wins are shares of the
            seeds, the mean over data sets.
        metric : {"area", "final"}, default="area"
            What is compared: the mean score over the label axis, or the last score.
        score : str, default="score"
            Column of the scores.
        ax : matplotlib Axes, default=None
            Where to draw; None: on a new figure.
        include_values : bool, default=True
            Whether to write the numbers.
        values_format : str, default=".2f"
            How to write them.
        cmap : str or matplotlib Colormap, default="RdBu"
            The colours, from 0 to 1.
        xticks_rotation : {"vertical", "horizontal"} or float, default="vertical"
            Rotation of the names below.
        colorbar : bool, default=True
            Whether to add a bar of colours.
        im_kw : dict, default=None
            Arguments of matplotlib's `imshow`.
        text_kw : dict, default=None
            Arguments of matplotlib's `text`.

        Returns
        -------
        WinMatrixDisplay
            The display, drawn.
        """
        wins, names = win_matrix(results, metric=metric, score=score)
        return cls(wins=wins, names=names).plot(
            ax,
            include_values=include_values,
            values_format=values_format,
            cmap=cmap,
            xticks_rotation=xticks_rotation,
            colorbar=colorbar,
            im_kw=im_kw,
            text_kw=text_kw,
        )

    def plot(
        self,
        ax=None,
        *,
        include_values=True,
        values_format=".2f",
        cmap="RdBu",
        xticks_rotation="vertical",
        colorbar=True,
        im_kw=None,
        text_kw=None,
    ):
        """Draw the matrix.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None: on a new figure.
        include_values : bool, default=True
            Whether to write the numbers.
        values_format : str, default=".2f"
            How to write them.
        cmap : str or matplotlib Colormap, default="RdBu"
            The colours, from 0 to 1.
        xticks_rotation : {"vertical", "horizontal"} or float, default="vertical"
            Rotation of the names below.
        colorbar : bool, default=True
            Whether to add a bar of colours.
        im_kw : dict, default=None
            Arguments of matplotlib's `imshow`.
        text_kw : dict, default=None
            Arguments of matplotlib's `text`.

        Returns
        -------
        WinMatrixDisplay
            The display.
        """
        n = len(self.names)
        names = list(map(str, self.names))
        if include_values:
            format(0.5, values_format)  # it fails before anything is drawn
        if ax is None:  # it has room for several lines
            names = list(map(_wrapped, names))
        lines = [name.split("\n") for name in names]
        longest = max((len(line) for name in lines for line in name), default=0)
        cell = max(0.42, 0.18 * max(map(len, lines), default=0))
        side = max(4.0, 1.6 + cell * n) + 0.08 * max(0, longest - 12)
        with axes_for(ax, self, figsize=(side + 0.8, side)) as ax:
            from matplotlib.image import AxesImage

            style = {"cmap": cmap, "vmin": 0, "vmax": 1, "interpolation": "nearest"}
            im = ax.imshow(self.wins, **with_defaults(AxesImage, style, im_kw))
            text = self._draw_values(ax, im, values_format, text_kw) if include_values else None
            names = list(map(as_text, names))
            ax.set_xticks(np.arange(n), names, rotation=xticks_rotation)
            ax.set_yticks(np.arange(n), names)
            ax.set(xlabel="Beaten", ylabel="Winner")
            bar = ax.figure.colorbar(im, ax=ax, label="Share of wins") if colorbar else None
        self.im_, self.text_, self.colorbar_ = im, text, bar
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _draw_values(self, ax, im, values_format, text_kw):
        """Write the shares, dark on what is bright, and return the texts."""
        from matplotlib.text import Text

        texts = np.full(self.wins.shape, None, dtype=object)
        for i, j in np.argwhere(~np.isnan(self.wins)):
            share = self.wins[i, j]
            red, green, blue, _ = im.cmap(im.norm(share))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            style = {"ha": "center", "va": "center", "fontsize": "small"}
            style |= {"color": "white" if dark else "black"}
            style = with_defaults(Text, style, text_kw)
            texts[i, j] = ax.text(j, i, format(share, values_format), **style)
        return texts
