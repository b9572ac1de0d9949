# SPDX-License-Identifier: BSD-3-Clause
"""Rows of torch Datasets: some of them, and several together, in containers that stay flat."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
from torch.utils.data import ConcatDataset, Dataset, Subset


def subset_of(dataset: Dataset, positions: list[int]) -> Subset:
    """Return some rows of a Dataset.

    A cycle takes rows of what it took and joined before, again and again: what lies in a
    ``Subset`` or a ``ConcatDataset`` is looked up in the Datasets below, so that they do not nest
    ever deeper.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        A map-style Dataset.
    positions : list of int
        Which rows; none is negative.

    Returns
    -------
    torch.utils.data.Subset
        Of a Dataset that is neither, or of a ``ConcatDataset`` of some.
    """
    if type(dataset) not in (Subset, ConcatDataset):
        return Subset(dataset, positions)
    rows = _looked_up(dataset, positions)
    bases = {id(base): base for base, _ in rows}
    if not bases:
        return Subset(dataset, positions)
    ends = list(accumulate(len(base) for base in bases.values()))
    starts = dict(zip(bases, [0, *ends], strict=False))
    joined = list(bases.values())
    return Subset(
        joined[0] if len(joined) == 1 else ConcatDataset(joined),
        [starts[id(base)] + i for base, i in rows],
    )


def join_datasets(datasets: list[Dataset]) -> ConcatDataset:
    """Return the rows of several Datasets, one after the other.

    Parameters
    ----------
    datasets : list of torch.utils.data.Dataset
        Map-style Datasets. What a ``ConcatDataset`` among them holds is taken out of it.

    Returns
    -------
    torch.utils.data.ConcatDataset
        All of them.
    """
    flat = []
    for each in datasets:
        flat.extend(each.datasets if type(each) is ConcatDataset else [each])
    return ConcatDataset(flat)


def _looked_up(dataset: Dataset, positions: list[int]) -> list[tuple[Dataset, int]]:
    """Return for each position the Dataset that has the row, and its position there."""
    if type(dataset) is Subset:
        return _looked_up(dataset.dataset, [dataset.indices[i] for i in positions])
    if type(dataset) is not ConcatDataset:
        return [(dataset, i) for i in positions]
    part_of = np.searchsorted(dataset.cumulative_sizes, positions, side="right")
    rows = [None] * len(positions)
    for k in np.unique(part_of).tolist():
        part, places = dataset.datasets[k], np.flatnonzero(part_of == k).tolist()
        start = dataset.cumulative_sizes[k] - len(part)
        found = _looked_up(part, [positions[place] - start for place in places])
        for place, row in zip(places, found, strict=True):
            rows[place] = row
    return rows
