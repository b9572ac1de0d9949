# SPDX-License-Identifier: BSD-3-Clause
"""Arguments of matplotlib's artists: what the user gives wins, whatever it is spelled."""

from __future__ import annotations

_COLORS = {"c", "color", "facecolor"}
_SCALE = {"norm", "vmin", "vmax"}


def as_text(name):
    """Return a name as matplotlib draws it as it is.

    Between two $ it would set formulas, and a legend leaves out what begins with _ or has no
    letter: a space without width comes before that.
    """
    text = str(name).replace("$", r"\$")
    return f"\u200b{text}" if not text or text.startswith("_") else text


def with_defaults(artist, defaults, given):
    """Return the arguments of an artist.

    Parameters
    ----------
    artist : type of matplotlib.artist.Artist
        What is drawn; it knows its aliases ("lw" for "linewidth").
    defaults : dict
        What is drawn where nothing else is said.
    given : dict or None
        What the user says.

    Returns
    -------
    dict
        Those of `given`, and of `defaults` what does not speak of the same.
    """
    from matplotlib.cbook import normalize_kwargs

    given = normalize_kwargs(dict(given or {}), artist)
    style = normalize_kwargs(dict(defaults), artist)
    # matplotlib takes neither two words for a colour nor a map of colours that nothing is read by
    left_out = _COLORS | _SCALE | {"cmap"} if _COLORS & given.keys() else set()
    if _SCALE & given.keys():
        left_out |= _SCALE
    return {name: value for name, value in style.items() if name not in left_out} | given
