# SPDX-License-Identifier: BSD-3-Clause
"""A sheet of images, with room for what is written about them."""

from __future__ import annotations

import math
from bisect import bisect_right

import numpy as np

from skbait.plotting.style import as_text

# Inches of the shorter side of an image; at most, of the longer side and of the sheet.
_SIDE, _LONGEST_SIDE, _WIDEST, _TALLEST = 0.7, 6.0, 20.0, 100.0
# Labels are cut beyond so many characters, and small before they are cut to fewer than these.
_LONG, _SHORT = 20, 3
# A line in heights of its letters, and the points between a round's name and its images.
_LINE, _BESIDE = 1.7, 8
# Inches that a layout leaves free at each side.
_PAD = 0.05


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
    points : float
        Size of the letters.
    """

    def __init__(self, images, rounds, labels, n_columns, ax):
        from matplotlib.font_manager import FontProperties

        self.images, self.rounds = images, rounds
        self.points = FontProperties(size="small").get_size_in_points()
        labels = [_cut(label, _LONG, len) for label in labels or []]
        inches = _Inches()
        longest = max((inches(label, self.points) for label in set(labels)), default=0.0)
        wanted = longest + 0.3 * self.points / 72
        height, width = images.shape[1:3]
        # inches a pixel
        unit = min(_SIDE / min(height, width), _LONGEST_SIDE / max(height, width))
        if n_columns is None and ax is None:
            n_columns = round(10 * _SIDE / max(unit * width, wanted, _SIDE))
        n_columns = min(n_columns or 10, len(images))
        n_lines = -(-len(images) // n_columns)
        if rounds is not None:
            each = np.unique(rounds, return_counts=True)[1]
            n_columns = min(n_columns, int(each.max()))
            n_lines = int(np.ceil(each / n_columns).sum())
        room = _WIDEST, _TALLEST
        if ax is not None:
            unit, room = math.inf, np.maximum(ax.get_window_extent().size, 1) / ax.figure.dpi
        line = min(_LINE * self.points / 72, 0.5 * room[1] / n_lines) if labels else 0.0
        gap = gap_of(images)
        across = room[0] / (n_columns * (width + gap))
        down = (room[1] / n_lines - line) / (height + (0 if labels else gap))
        unit = min(unit, across, down)
        least = min(wanted, room[0] / n_columns) / unit if labels else 0.0
        least = math.ceil(least) if ax is None else int(least)
        above = math.ceil(line / unit)
        self.picture, self.corners = sheet_of(images, n_columns, rounds, above=above, least=least)
        height, width = self.picture.shape[:2]
        if ax is not None:
            unit = min(room / (width, height))
        if labels:  # small where there is no room for their lines, or for a few letters
            cell = unit * width / n_columns
            few = max(0.01, *(inches(each[:_SHORT], self.points) for each in set(labels)))
            line = unit * max(above, gap) * 72
            self.points = min(self.points, line / _LINE, self.points * cell / few)
            texts = {each: _cut(each, cell, inches, self.points) for each in set(labels)}
            labels = [texts[label] for label in labels]
        self.labels = labels
        margin = 2 * _PAD
        if rounds is not None:
            margin += inches(_name_of(max(rounds)), self.points) + _BESIDE / 72
        self.figsize = max(2.0, unit * width + margin), max(1.0, unit * height + 2 * _PAD)

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
        texts, style = [], {"fontsize": self.points, "textcoords": "offset points"}
        for label, (top, left) in zip(self.labels, self.corners, strict=bool(self.labels)):
            at = left + (width - 1) / 2, top - 0.5
            where = {"xytext": (0, 0.1 * self.points), "ha": "center", "va": "bottom"}
            texts.append(ax.annotate(as_text(label), at, **where, **style))
        if self.rounds is not None:
            tops = {}
            for number, (top, _) in zip(self.rounds, self.corners, strict=True):
                tops.setdefault(int(number), top)
            for number, top in tops.items():
                at = 0, top + (height - 1) / 2
                where = {"xytext": (-_BESIDE, 0), "ha": "right", "va": "center"}
                texts.append(ax.annotate(_name_of(number), at, **where, **style))
        return image, texts


def gap_of(images):
    """Return the pixels between two images."""
    return max(1, round(0.08 * min(images.shape[1:3])))


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
    gap = gap_of(images)
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


def _name_of(number):
    return f"round {number}"


class _Inches:
    """Widths of texts; letters are measured once."""

    def __init__(self):
        self.letters = {}

    def __call__(self, text, points):
        for letter in {*text} - self.letters.keys():
            self.letters[letter] = _width(letter)
        return points * sum(self.letters[letter] for letter in text)


def _width(text):
    """Return the width of a text in inches, per point of its size."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    points = 10.0
    width, _, _ = text_to_path.get_text_width_height_descent(
        text, FontProperties(size=points), ismath=False
    )
    return 1.05 * width / 72 / points  # on a screen letters begin at whole pixels


def _cut(text, room, width_of, *args):
    """Return as much of a text as there is room for."""
    if width_of(text, *args) <= room:
        return text
    cuts = range(len(text))
    fits = bisect_right(cuts, room, key=lambda k: width_of(f"{text[:k]}…", *args))
    return f"{text[: max(0, fits - 1)]}…"
