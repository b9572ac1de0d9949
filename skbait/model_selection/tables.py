# SPDX-License-Identifier: BSD-3-Clause
"""Tables of results: a data frame where pandas is there, else a dict of columns."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# What identifies a run, and a row in it
RUN = ("dataset", "strategy", "seed")


def as_table(columns):
    """Return columns of equal length as a table.

    Parameters
    ----------
    columns : dict of str to list or ndarray
        The columns by name.

    Returns
    -------
    pandas.DataFrame or dict of str to ndarray
        The latter where pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        return {name: _as_column(values) for name, values in columns.items()}
    return pandas.DataFrame(columns)


def as_columns(table):
    """Return the columns of a table, whatever kind of table it is.

    Parameters
    ----------
    table : pandas.DataFrame or dict of str to array-like
        What `as_table` makes; other data frames with `columns` will do.

    Returns
    -------
    dict of str to ndarray
        The columns by name, in their order.
    """
    if not isinstance(table, Mapping) and not hasattr(table, "columns"):
        raise TypeError(
            f"results is a {type(table).__name__}: pass the table that compare_strategies returns "
            "(a DataFrame, or a dict of columns)."
        )
    names = list(table if isinstance(table, Mapping) else table.columns)
    return {name: _as_column(table[name]) for name in names}


def from_rows(names, rows):
    """Return rows as a table.

    Parameters
    ----------
    names : sequence of str
        Names of the columns.
    rows : list of tuple
        The rows, an entry a column.

    Returns
    -------
    pandas.DataFrame or dict of str to ndarray
        The table.
    """
    return as_table({name: [row[i] for row in rows] for i, name in enumerate(names)})


def _as_column(values):
    """Return values as an array; strings as objects, so that none is cut to a width."""
    array = np.asarray(values)
    return array.astype(object) if array.dtype.kind == "U" else array
