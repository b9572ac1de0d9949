# SPDX-License-Identifier: BSD-3-Clause
"""What a strategy picked: in two dimensions among the rows left, or as a sheet of images."""

from __future__ import annotations

import reprlib
from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skbait.plotting.axes import axes_for, pyplot_for
from skbait.plotting.images import as_images, look_like_images
from skbait.plotting.map import NO_LABEL, draw_map
from skbait.plotting.projection import project
from skbait.plotting.sheet import Sheet
from skbait.utils.data import num_rows, take_rows
from skbait.utils.targets import as_vector, has_label

__all__ = ["QueryDisplay"]


class QueryDisplay:
    """What was picked: points on a map of all rows, or a sheet of images.

    Make one by `from_query` or `from_learner`.

    Parameters
    ----------
    chosen : ndarray of int of shape (n_chosen,)
        Rows picked, in the order of choice: positions in `coordinates`.
    rounds : ndarray of int of shape (n_chosen,), default=None
        The round in which each was picked; None: all in one.
    coordinates : ndarray of shape (n_rows, 2), default=None
        All rows in two dimensions; for `kind="scatter"`.
    labeled : ndarray of int of shape (n_labeled,), default=None
        Rows that had a label before: positions in `coordinates`.
    y : ndarray of shape (n_rows,), default=None
        Labels of rows, as far as the rows of `chosen` go: they colour the map, whose legend
        names up to ten classes, and stand above images. Rows without one are gray.
    images : ndarray of shape (n_chosen, height, width) or (n_chosen, height, width, 3), \
            default=None
        The rows picked, between 0 and 1; for `kind="images"`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the plot.
    figure_ : matplotlib Figure
        The figure of the axes.
    pool_, labeled_, chosen_ : matplotlib PathCollection or None
        The points of all rows, of those labelled before and of those picked; None on a sheet.
    colorbar_ : matplotlib Colorbar or None
        The bar of rounds, where points are of several.
    im_ : matplotlib AxesImage or None
        The sheet of images; None on a map.
    texts_ : list of matplotlib Text
        What stands on the sheet.

    See Also
    --------
    AcquisitionCurveDisplay : What the labels were good for.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skbait import BaitQuery
    >>> from skbait.plotting import QueryDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> query = BaitQuery(random_state=0).fit(X[:50] / 16, y[:50])
    >>> display = QueryDisplay.from_query(query, X[50:500] / 16, 10)
    >>> display.coordinates.shape, display.chosen.shape
    ((500, 2), (10,))
    >>> sheet = QueryDisplay.from_query(
    ...     query, X[50:500] / 16, display.chosen, kind="images", image_shape=(8, 8)
    ... )
    >>> sheet.images.shape
    (10, 8, 8)
    """

    def __init__(
        self, *, chosen, rounds=None, coordinates=None, labeled=None, y=None, images=None
    ):
        self.chosen = chosen
        self.rounds = rounds
        self.coordinates = coordinates
        self.labeled = labeled
        self.y = y
        self.images = images

    @classmethod
    def from_query(
        cls,
        query,
        X_pool,
        chosen,
        *,
        kind="scatter",
        y=None,
        projection=None,
        image_shape=None,
        ax=None,
        pool_kw=None,
        labeled_kw=None,
        chosen_kw=None,
        n_columns=None,
    ):
        """Draw what a fitted strategy, or a learner, picks from a pool.

        Parameters
        ----------
        query : query strategy or ActiveLearner
            Fitted. Its model gives the features of the map; without a model the rows do.
        X_pool : data of n_pool rows
            The pool.
        chosen : int or array-like of int
            What its `query` gave: positions in `X_pool`. A number: it is asked for so many rows
            now.
        kind : {"scatter", "images"}, default="scatter"
            A map, or a sheet of the picked rows, which then have to be images.
        y : array-like of shape (n_pool,), default=None
            Labels of the pool, where they are known: colours of the map, texts of the sheet.
        projection : transformer or array-like, default=None
            What brings features to two dimensions, by its `fit_transform`; or the coordinates,
            of shape (n_pool, 2), or (n_pool + n_labeled, 2) with the labelled rows. None: the
            first two principal components.
        image_shape : tuple of int, default=None
            Shape of an image, where rows are flat: (height, width), with the channels before or
            after it.
        ax : matplotlib Axes, default=None
            Where to draw; None: on a new figure.
        pool_kw, labeled_kw, chosen_kw : dict, default=None
            Arguments of matplotlib's `scatter` for the three kinds of points.
        n_columns : int, default=None
            Images side by side; None: 10 at most.

        Returns
        -------
        QueryDisplay
            The display, drawn.
        """
        check_is_fitted(query)
        n_pool = num_rows(X_pool)
        if isinstance(chosen, Integral):
            chosen = query.query(X_pool, int(chosen))
        chosen = _as_chosen(chosen, n_pool)
        y = None if y is None else as_vector(y, n_pool)
        coordinates, labeled = None, None
        _check_kind(kind)
        if kind == "scatter":
            known = getattr(query, "X_labeled_", None)
            n_known = 0 if known is None else num_rows(known)
            parts = [X_pool, known] if n_known else [X_pool]
            coordinates = project(query, parts, projection)
            labeled = np.arange(n_pool, len(coordinates))
        images = _images_of(X_pool, chosen, image_shape, needed=kind == "images")
        display = cls(chosen=chosen, coordinates=coordinates, labeled=labeled, y=y, images=images)
        return display.plot(
            ax,
            kind=kind,
            pool_kw=pool_kw,
            labeled_kw=labeled_kw,
            chosen_kw=chosen_kw,
            n_columns=n_columns,
        )

    @classmethod
    def from_learner(
        cls,
        learner,
        X,
        *,
        rounds=None,
        kind="scatter",
        y=None,
        projection=None,
        image_shape=None,
        ax=None,
        pool_kw=None,
        labeled_kw=None,
        chosen_kw=None,
        n_columns=None,
    ):
        """Draw what a learner picked under a budget, round by round.

        Parameters
        ----------
        learner : ActiveLearner
            Fitted with a `budget`. Its model gives the features of the map.
        X : data of n_rows rows
            The rows that its `fit` was given.
        rounds : int or list of int, default=None
            Whose picks to show, from 1; None: those of all rounds. Earlier ones are shown as
            labelled.
        kind : {"scatter", "images"}, default="scatter"
            A map, or a sheet of the picked rows, which then have to be images.
        y : array-like of shape (n_rows,), default=None
            Labels of X: colours of the map, texts of the sheet.
        projection : transformer or array-like of shape (n_rows, 2), default=None
            What brings features to two dimensions, by its `fit_transform`; or the coordinates.
            None: the first two principal components.
        image_shape : tuple of int, default=None
            Shape of an image, where rows are flat: (height, width), with the channels before or
            after it.
        ax : matplotlib Axes, default=None
            Where to draw; None: on a new figure.
        pool_kw, labeled_kw, chosen_kw : dict, default=None
            Arguments of matplotlib's `scatter` for the three kinds of points.
        n_columns : int, default=None
            Images side by side; None: 10 at most. A round begins a new line.

        Returns
        -------
        QueryDisplay
            The display, drawn.
        """
        check_is_fitted(learner)
        n_rows = num_rows(X)
        picked = [each for each in learner.history_["positions"] if each is not None]
        if len(picked) < 2:
            raise ValueError(
                "the learner picked no rows by itself: it was fitted without a budget, or taught "
                "by hand. Use QueryDisplay.from_query(learner, X_pool, chosen)."
            )
        wanted = range(1, len(picked)) if rounds is None else np.atleast_1d(rounds).tolist()
        outside = [each for each in wanted if each not in range(1, len(picked))]
        if outside or not len(wanted) or len(set(wanted)) < len(wanted):
            raise ValueError(
                f"rounds={rounds!r} has to name rounds from 1 to {len(picked) - 1}, in which the "
                "learner picked rows, each once."
            )
        chosen = _as_chosen(np.concatenate([picked[each] for each in wanted]), n_rows)
        before = [picked[each] for each in range(max(wanted)) if each not in wanted]
        y = None if y is None else as_vector(y, n_rows)
        _check_kind(kind)
        coordinates = project(learner, [X], projection) if kind == "scatter" else None
        images = _images_of(X, chosen, image_shape, needed=kind == "images")
        display = cls(
            chosen=chosen,
            rounds=np.repeat(wanted, [len(picked[each]) for each in wanted]),
            coordinates=coordinates,
            labeled=np.concatenate(before) if before else np.empty(0, dtype=np.int64),
            y=y,
            images=images,
        )
        return display.plot(
            ax,
            kind=kind,
            pool_kw=pool_kw,
            labeled_kw=labeled_kw,
            chosen_kw=chosen_kw,
            n_columns=n_columns,
        )

    def plot(
        self,
        ax=None,
        *,
        kind="scatter",
        pool_kw=None,
        labeled_kw=None,
        chosen_kw=None,
        n_columns=None,
    ):
        """Draw the map or the sheet.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None: on a new figure.
        kind : {"scatter", "images"}, default="scatter"
            A map, or a sheet of the picked rows.
        pool_kw, labeled_kw, chosen_kw : dict, default=None
            Arguments of matplotlib's `scatter` for the three kinds of points.
        n_columns : int, default=None
            Images side by side; None: 10 at most.

        Returns
        -------
        QueryDisplay
            The display.
        """
        _check_kind(kind)
        if n_columns is not None and not (isinstance(n_columns, Integral) and n_columns >= 1):
            raise ValueError(f"n_columns={n_columns!r} has to be None or an integer from 1.")
        needed = "coordinates" if kind == "scatter" else "images"
        if getattr(self, needed) is None:
            raise ValueError(
                f"kind={kind!r} needs {needed}, which this display has not: make it anew, with "
                f"kind={kind!r}."
            )
        rounds = self.rounds if self._has_rounds() else None
        points, im, texts = [None] * 4, None, []
        if kind == "scatter":
            with axes_for(ax, self) as ax:
                points = draw_map(
                    ax,
                    self.coordinates,
                    self.chosen,
                    rounds=rounds,
                    labeled=self.labeled,
                    y=self.y,
                    pool_kw=pool_kw,
                    labeled_kw=labeled_kw,
                    chosen_kw=chosen_kw,
                )
        else:
            pyplot_for(self)
            sheet = Sheet(self.images, rounds, self._texts(), n_columns, ax)
            with axes_for(ax, self, figsize=sheet.figsize) as ax:
                im, texts = sheet.draw(ax)
                ax.set_axis_off()
        self.pool_, self.labeled_, self.chosen_, self.colorbar_ = points
        self.im_, self.texts_ = im, texts
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _has_rounds(self):
        return self.rounds is not None and len(np.unique(self.rounds)) > 1

    def _texts(self):
        """Return what stands above the images, or None."""
        if self.y is None:
            return None
        y = self.y[self.chosen]
        texts = [" ".join(str(each).split()) for each in y]
        return np.where(has_label(y), texts, NO_LABEL).tolist()


def _images_of(X, chosen, image_shape, *, needed):
    """Return the rows picked as images; where they are not needed, None for what are none."""
    if not needed and not look_like_images(X):
        return None
    try:
        return as_images(take_rows(X, chosen), image_shape)
    except (TypeError, ValueError):
        if needed:
            raise
        return None


def _check_kind(kind):
    if kind not in ("scatter", "images"):
        raise ValueError(f"kind={kind!r} has to be 'scatter' or 'images'.")


def _as_chosen(chosen, n_rows):
    """Return positions as checked int64, one at least."""
    positions = np.asarray(chosen)
    if positions.ndim != 1 or positions.dtype.kind not in "iu" or not len(positions):
        raise ValueError(
            f"chosen={reprlib.repr(chosen)} has to be a number of rows or a list of positions, "
            "one at least: np.flatnonzero(mask) where you have a mask."
        )
    if positions.min() < 0 or positions.max() >= n_rows:
        raise ValueError(
            f"chosen holds positions from {positions.min()} to {positions.max()}, and there are "
            f"{n_rows} rows: pass the X in which they are positions."
        )
    return positions.astype(np.int64)
