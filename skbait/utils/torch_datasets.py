# SPDX-License-Identifier: BSD-3-Clause
"""Rows of torch Datasets: some of them, and several together, in containers that stay flat."""

from __future__ import annotations

import numpy as np
from torch.utils.data import ConcatDataset, Dataset, Subset


def subset_of(dataset: Dataset, positions: np.ndarray) -> Subset:
    """Return some rows of a Dataset.

    A cycle takes rows of what it took and joined before, again and again: what lies in a
    ``Subset`` or a ``ConcatDataset`` is looked up in the Datasets below, so that they do not nest
    ever deeper.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        A map-style Dataset.
    positions : ndarray of int64
        Which rows.

    Returns
    -------
    torch.utils.data.Subset
        Of a Dataset that is neither, or of a ``ConcatDataset`` of some.
    """
    try:
        bases, base_of, index = _looked_up(dataset, positions)
    except TypeError:  # a Dataset of which the rows go by something else than numbers
        return Subset(dataset, positions.tolist())
    used, base_of = np.unique(base_of, return_inverse=True)
    bases = [bases[k] for k in used.tolist()]
    if len(bases) < 2:
        return Subset(bases[0] if bases else dataset, index.tolist())
    sizes = np.array([len(base) for base in bases])
    index = np.where(index < 0, index + sizes[base_of], index)
    starts = np.cumsum(sizes) - sizes
    return Subset(ConcatDataset(bases), (starts[base_of] + index).tolist())


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


def _looked_up(dataset: Dataset, positions: np.ndarray):
    """Return the Datasets below, and for each position in which of them it is, and where."""
    if type(dataset) is Subset:
        indices = np.asarray(dataset.indices)
        if indices.dtype.kind not in "iu":
            raise TypeError
        return _looked_up(dataset.dataset, indices[positions].astype(np.int64))
    if type(dataset) is not ConcatDataset:
        return [dataset], np.zeros(len(positions), dtype=np.int64), positions
    positions = np.where(positions < 0, positions + len(dataset), positions)
    part_of = np.searchsorted(dataset.cumulative_sizes, positions, side="right")
    number: dict[int, int] = {}  # of each Dataset below
    bases, base_of, index = [], np.empty_like(positions), np.empty_like(positions)
    for k in np.unique(part_of).tolist():
        part, places = dataset.datasets[k], np.flatnonzero(part_of == k)
        start = dataset.cumulative_sizes[k] - len(part)
        below, below_of, index[places] = _looked_up(part, positions[places] - start)
        for base in below:
            if id(base) not in number:
                number[id(base)] = len(bases)
                bases.append(base)
        base_of[places] = np.array([number[id(base)] for base in below])[below_of]
    return bases, base_of, index
