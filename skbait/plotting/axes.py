# SPDX-License-Identifier: BSD-3-Clause
"""Axes to draw on; matplotlib is imported here, when something is drawn."""

from __future__ import annotations


def axes_for(ax, owner, **figure_kw):
    """Return the axes that a display draws on.

    Parameters
    ----------
    ax : matplotlib Axes or None
        The user's; None: those of a new figure.
    owner : object
        The display, for an error.
    **figure_kw : dict
        Arguments for a new figure.

    Returns
    -------
    matplotlib Axes
        The axes.
    """
    plt = pyplot_for(owner)
    if ax is None:
        _, ax = plt.subplots(layout="constrained", **figure_kw)
    return ax


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
