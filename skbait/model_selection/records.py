# SPDX-License-Identifier: BSD-3-Clause
"""Results of runs in a file of JSON lines, to which a run is added as soon as it has ended."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from skbait.model_selection.tables import RUN, as_table

__all__ = ["read_results"]

# Columns that every run has, in the order of the table; scores stand between the two parts.
_BEFORE, _AFTER = ("n_labels",), ("query_time", "fit_time")


@dataclass(frozen=True)
class Record:
    """One run: a strategy on a data set with a seed.

    Parameters
    ----------
    setting : str
        Fingerprint of everything else that the run depends on.
    dataset, strategy : str
        Names.
    seed : int
        The seed.
    columns : dict of str to list
        What `ActiveLearner.history_` has, but for the positions; empty where the run failed.
    error : str
        What went wrong; empty where nothing did.
    """

    setting: str
    dataset: str
    strategy: str
    seed: int
    columns: dict = field(default_factory=dict)
    error: str = ""

    @property
    def key(self):
        """What tells a run from all others."""
        return self.setting, self.dataset, self.strategy, self.seed

    def as_line(self):
        """Return the record as a line of strict JSON; NaN is null there, infinities are texts."""
        columns = {n: [_as_json(value) for value in values] for n, values in self.columns.items()}
        return json.dumps(asdict(self) | {"columns": columns}, allow_nan=False) + "\n"


class ResultsFile:
    """Records in a file, one a line; nothing is stored where the path is None.

    A crash while a line is written leaves a part of it, without an end of line. That part is not
    read, and cut off before anything is added.

    Parameters
    ----------
    path : str, path or None
        The file. It need not exist.
    """

    def __init__(self, path):
        self.path = None if path is None else Path(path)

    def prepare(self):
        """Make the file if there is none, before anything is run that is to be stored."""
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.open("ab").close()
        except OSError as error:
            raise OSError(
                error.errno,
                f"results_path={str(self.path)!r} cannot be written to ({error.strerror}): name a "
                "file in a folder of yours",
            ) from error

    def read(self):
        """Return the records by their keys; of several with one key the last."""
        if self.path is None or not self.path.exists():
            return {}
        found = {}
        lines = self.path.read_bytes().split(b"\n")[:-1]  # what follows the last end is no line
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = Record(**json.loads(line))
                columns = {n: list(map(_from_json, v)) for n, v in record.columns.items()}
                if not record.error and not {*_BEFORE, *_AFTER} <= columns.keys():
                    raise ValueError(f"it has no columns {', '.join((*_BEFORE, *_AFTER))}")
            except (ValueError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"results_path={str(self.path)!r}: line {number} is not a result of "
                    f"compare_strategies ({error}). Name another file, or remove the line."
                ) from error
            found[record.key] = Record(*record.key, columns, record.error)
        return found

    def add(self, record):
        """Append a record, and have it on the disk when this returns."""
        if self.path is None:
            return
        with open(self.path, "ab+") as file:
            _cut_unfinished_line(file)
            file.write(record.as_line().encode())
            file.flush()
            os.fsync(file.fileno())


def _as_json(number):
    """Return a number as strict JSON has it, which knows finite ones only."""
    if math.isfinite(number):
        return number
    return None if math.isnan(number) else str(number)


def _from_json(value):
    """Return what `_as_json` was given, as a float."""
    return math.nan if value is None else float(value)


def _cut_unfinished_line(file):
    """Remove what follows the last end of line in a binary file, and stay at its end."""
    end = file.seek(0, os.SEEK_END)
    if not end:
        return
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)


def read_results(path):
    """Read the results that `compare_strategies` stored, without the data they came from.

    Parameters
    ----------
    path : str or path
        What `results_path` was.

    Returns
    -------
    pandas.DataFrame or dict of str to ndarray
        The table of `compare_strategies`, in the order in which runs were stored.

    Raises
    ------
    ValueError
        If the file holds runs of one strategy on one data set with one seed under two settings.

    See Also
    --------
    compare_strategies : Runs, and stores results.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_iris
    >>> from skbait.model_selection import compare_strategies, read_results
    >>> X, y = load_iris(return_X_y=True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "iris.jsonl"
    ...     compared = compare_strategies(
    ...         None, ["random"], X, y, budget=20, seeds=1, results_path=path, progress=False
    ...     )
    ...     results = read_results(path)
    >>> [int(n) for n in results["n_labels"]]
    [10, 20]
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"path={str(path)!r}: there is no such file of results.")
    records = list(ResultsFile(path).read().values())
    settings = {}
    for record in records:
        if settings.setdefault(record.key[1:], record.setting) != record.setting:
            raise ValueError(
                f"path={str(path)!r} holds {_name(record)} under two settings (another budget, "
                "estimator or other data, say): store each setting in a file of its own."
            )
    return table_of(records)


def table_of(records, scores=("score",)):
    """Return records as a table, a row a round; a failed run has one row, without scores.

    Parameters
    ----------
    records : list of Record
        The runs.
    scores : sequence of str, default=("score",)
        Columns of the scores where no run has any.

    Returns
    -------
    pandas.DataFrame or dict of str to ndarray
        The table.
    """
    names = dict.fromkeys(name for record in records for name in record.columns)
    scores = [name for name in names if name not in _BEFORE + _AFTER] or scores
    table = {name: [] for name in (*RUN, "round", *_BEFORE, *scores, *_AFTER, "error")}
    for record in records:
        n_rounds = 1 if record.error else len(record.columns["n_labels"])
        for name in RUN:
            table[name] += [getattr(record, name)] * n_rounds
        table["round"] += range(n_rounds)
        table["error"] += [record.error] * n_rounds
        table["n_labels"] += map(int, record.columns.get("n_labels", [0]))
        for name in (*scores, *_AFTER):
            table[name] += record.columns.get(name, [np.nan] * n_rounds)
    return as_table(table)


def _name(record):
    return f"strategy {record.strategy!r} on data set {record.dataset!r} with seed {record.seed}"
