# SPDX-License-Identifier: BSD-3-Clause
"""A sheet of images, with room for what is written about them."""

from __future__ import annotations

import numpy as np

from skbait.plotting.style import as_text

# Inches of the shorter side of an image; at most, of the longer side and of the sheet.
_SIDE, _LONGEST_SIDE, _WIDEST = 0.7, 6.0, 20.0
# Inches of a character and of a line above it; beyond so many characters labels are cut.
_CHARACTER, _LINE, _LONG = 0.075, 0.2, 20


class Sheet:
    """Where images and their labels are on a sheet, and how large it is.

    Parameters
    ----------
    images : ndarray of shape (n, height, width) or (n, height, width, 3)
        The images.
    rounds : ndarray of int of shape (n,) or None
        A new round begins a new line, and is named; None: all are of one round.
    labels : list of n str or None
        What stands above the images; None: nothing.
    n_columns : int or None
        Images side by side; None: as many as are seen well, 10 at most.
    ax : matplotlib Axes or None
        Where it will be drawn; None: on a new figure of `figsize`.

    Attributes
    ----------
    figsize : tuple of float
        Width and height of a figure for it, in inches.
    """

    def __init__(self, images, rounds, labels, n_columns, ax):
        self.images, self.rounds, self.labels = images, rounds, labels or []
        longest = min(max(map(len, self.labels), default=0), _LONG)
        height, width = images.shape[1:3]
        # inches a pixel
        unit = min(_SIDE / min(height, width), _LONGEST_SIDE / max(height, width))
        least = 0
        if n_columns is None and ax is None:
            n_columns = round(10 * _SIDE / max(unit * width, _CHARACTER * longest, _SIDE))
        n_columns = min(n_columns or 10, len(images))
        if rounds is not None:
            n_columns = min(n_columns, int(np.unique(rounds, return_counts=True)[1].max()))
        if ax is None:
            unit = min(unit, _WIDEST / (n_columns * width))
            least = int(_CHARACTER * longest / unit)
        above = max(round(0.4 * min(height, width)), int(_LINE / unit)) if labels else 0
        self.picture, self.corners = sheet_of(images, n_columns, rounds, above=above, least=least)
        height, width = self.picture.shape[:2]
        self.longest = _LONG
        if ax is not None:  # as much of the labels as there is room for
            inches = ax.get_window_extent().size / ax.figure.dpi
            unit = min(inches / (width, height))
            self.longest = min(_LONG, max(3, int(unit * width / n_columns / _CHARACTER)))
        margin = 0.0 if rounds is None else _SIDE
        self.figsize = max(2.0, unit * width + margin), max(1.0, unit * height)

    def draw(self, ax):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes
            Where to draw.

        Returns
        -------
        matplotlib AxesImage
            The images.
        list of matplotlib Text
            The labels, and the names of the rounds.
        """
        image = ax.imshow(self.picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        height, width = self.images.shape[1:3]
        texts, small = [], {"fontsize": "small"}
        if self.labels:
            for label, (top, left) in zip(self.labels, self.corners, strict=True):
                fits = len(label) <= self.longest
                label = as_text(label if fits else label[: self.longest - 1] + "…")
                at = left + width / 2, top - 1
                texts.append(ax.text(*at, label, ha="center", va="bottom", **small))
        if self.rounds is not None:
            tops = {}
            for number, (top, _) in zip(self.rounds, self.corners, strict=True):
                tops.setdefault(int(number), top)
            beside = {"xytext": (-8, 0), "textcoords": "offset points", "ha": "right"}
            for number, top in tops.items():
                at = 0, top + height / 2
                texts.append(ax.annotate(f"round {number}", at, va="center", **beside, **small))
        return image, texts


def sheet_of(images, n_columns, rounds, *, above=0, least=0):
    """Return images beside and below each other, and where each begins.

    Parameters
    ----------
    images : ndarray of shape (n, height, width) or (n, height, width, 3)
        The images.
    n_columns : int
        Images side by side.
    rounds : ndarray of int of shape (n,) or None
        A new round begins a new line; None: all are of one round.
    above : int, default=0
        Room above each image at least, for a text.
    least : int, default=0
        What the width of a column is at least.

    Returns
    -------
    sheet : ndarray of shape (sheet height, sheet width) or (sheet height, sheet width, 3)
        White around the images.
    corners : list of (int, int)
        The topmost row and leftmost column of each image in the sheet.
    """
    n, height, width = images.shape[:3]
    gap = max(1, round(0.08 * min(height, width)))
    above = max(gap, above)
    cell = max(width + gap, least)
    corners, line, column = [], 0, 0
    for i in range(n):
        begins = i > 0 and rounds is not None and rounds[i] != rounds[i - 1]
        if column == n_columns or begins:
            line, column = line + 1, 0
        left = column * cell + (cell - gap - width) // 2
        corners.append((line * (height + above) + above, left))
        column += 1
    shape = ((line + 1) * (height + above), n_columns * cell, *images.shape[3:])
    sheet = np.ones(shape)
    for image, (top, left) in zip(images, corners, strict=True):
        sheet[top : top + height, left : left + width] = image
    return sheet, corners
