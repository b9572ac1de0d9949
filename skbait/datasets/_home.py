# SPDX-License-Identifier: BSD-3-Clause
"""The folder in which data sets are looked for."""

from __future__ import annotations

import os
from pathlib import Path

from sklearn.datasets import get_data_home


def find_data_home(data_home):
    """Return the data home: as given, else ``SKBAIT_DATA``, else scikit-learn's."""
    chosen = data_home if data_home is not None else os.environ.get("SKBAIT_DATA") or None
    return Path(get_data_home()) if chosen is None else Path(chosen).expanduser()
