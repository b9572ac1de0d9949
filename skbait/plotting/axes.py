# SPDX-License-Identifier: BSD-3-Clause
"""Axes to draw on; matplotlib is imported here, when something is drawn."""

from __future__ import annotations

from contextlib import contextmanager


def pyplot_for(owner):
    """Return `matplotlib.pyplot`, or say how to install it.

    Parameters
    ----------
    owner : object
        The display, for an error.

    Returns
    -------
    module
        It.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{type(owner).__name__}.plot draws with matplotlib, which is not installed: "
            "pip install 'skbait[plot]' brings it."
        ) from error
    return plt


@contextmanager
def axes_for(ax, owner, **figure_kw):
    """Give the axes that a display draws on; after an error no new figure is left.

    Parameters
    ----------
    ax : matplotlib Axes or None
        The user's; None: those of a new figure.
    owner : object
        The display, for an error.
    **figure_kw : dict
        Arguments for a new figure.

    Yields
    ------
    matplotlib Axes
        The axes.
    """
    plt = pyplot_for(owner)
    if ax is not None:
        yield ax
        return
    figure, ax = plt.subplots(layout="constrained", **figure_kw)
    try:
        yield ax
    except BaseException:
        plt.close(figure)
        raise
