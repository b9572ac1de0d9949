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
# How every line begins, and what is raised of one that is none.
_BEGINNING = b'{"setting": "'
_UNREADABLE = (ValueError, TypeError, AttributeError, OverflowError, RecursionError)


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

    @classmethod
    def from_line(cls, line):
        """Return the record that a line holds; one of `_UNREADABLE` where it holds none."""
        record = cls(**json.loads(line))
        names = (record.setting, record.dataset, record.strategy, record.error)
        if not all(isinstance(name, str) for name in names):
            raise ValueError("its setting, dataset, strategy and error are not all texts")
        if not isinstance(record.seed, int) or isinstance(record.seed, bool):
            raise ValueError(f"its seed is {record.seed!r}")
        columns = {name: list(map(_number_of, each)) for name, each in record.columns.items()}
        if not record.error:
            _check_columns(columns)
        return cls(*record.key, columns, record.error)


class ResultsFile:
    """Records in a file, one a line; nothing is stored where the path is None.

    A crash while a line is written leaves a part of it, without an end of line. That part is not
    read, and cut off before anything is added. Nothing else is ever removed.

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
            raise self._unusable(error, "written to") from error

    def _unusable(self, error, how):
        return OSError(
            error.errno,
            f"results_path={str(self.path)!r} cannot be {how} ({error.strerror}): name a file in "
            "a folder of yours",
        )

    def read(self):
        """Return the records by their keys; of several with one key the last."""
        if self.path is None:
            return {}
        found = {}
        try:
            stored = self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise self._unusable(error, "read") from error
        lines = stored.split(b"\n")
        last = _without_zeros(lines.pop())
        if not _is_part(last):
            lines.append(last)
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = Record.from_line(line)
            except _UNREADABLE as error:
                raise ValueError(
                    f"results_path={str(self.path)!r}: line {number} is not a result of "
                    f"compare_strategies ({error}). Name another file, or remove the line."
                ) from error
            found[record.key] = record
        return found

    def add(self, record):
        """Append a record, and have it on the disk when this returns."""
        if self.path is None:
            return
        with open(self.path, "ab+") as file:
            _end_last_line(file)
            file.write(record.as_line().encode())
            file.flush()
            os.fsync(file.fileno())


def _as_json(number):
    """Return a number as strict JSON has it, which knows finite ones only."""
    if math.isfinite(number):
        return number
    return None if math.isnan(number) else str(number)


def _check_columns(columns):
    """Raise for columns that no finished run has."""
    if not {*_BEFORE, *_AFTER} <= columns.keys():
        raise ValueError(f"it has no columns {', '.join((*_BEFORE, *_AFTER))}")
    scores = columns.keys() - {*_BEFORE, *_AFTER}
    if not scores or not all(name.startswith("score") for name in scores):
        raise ValueError(f"its scores are {sorted(scores)}")
    if {len(each) for each in columns.values()} != {len(columns["n_labels"]) or 1}:
        raise ValueError("its columns are not of one length, or empty")
    if not all(number.is_integer() and number > 0 for number in columns["n_labels"]):
        raise ValueError(f"its n_labels are {columns['n_labels']}")


def _number_of(value):
    """Return what `_as_json` was given, as a float."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or (isinstance(value, str) and value not in ("inf", "-inf")):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _without_zeros(line):
    """Return the last line of a file without what a loss of power may leave behind it."""
    return line.rstrip(b"\0")


def _is_part(line):
    """Tell whether a line is a part of a record, of which a crash has cut off the rest."""
    if line[: len(_BEGINNING)] != _BEGINNING[: len(line)]:
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return True
    return False  # a whole line, of a record or of something else


def _end_last_line(file):
    """Cut a part of a record off the end of a binary file, and end the line of a whole one."""
    end = file.seek(0, os.SEEK_END)
    if not end:
        return
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    stored = file.read()
    start = stored.rfind(b"\n") + 1
    last = _without_zeros(stored[start:])
    if _is_part(last):
        file.truncate(start)
    else:
        file.truncate(start + len(last))
        file.write(b"\n")


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
