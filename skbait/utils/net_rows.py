# SPDX-License-Identifier: BSD-3-Clause
"""Rows in a form that skorch takes, torch Datasets with labels from elsewhere above all.

skorch takes (X, y) pairs only. The rows of a pool have no labels to give, and those that were
asked for come as an array of their own. What an item of a Dataset is, the rows of its batches
say: by default a pair's first part or all there is, with a `collate_fn` of one's own whatever that
takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch.utils.data import Dataset

from skbait.utils.data import on_host
from skbait.utils.random_states import random_states_kept

# Rows that are looked at, and on about how many of these it is tried whether a `collate_fn` keeps
# their order.
_LOOKED_AT, _TRIED = 32, 8
# Where the numbers of rows begin that are given as labels: beyond most labels.
_FIRST_NUMBER = 1001


@random_states_kept()
def for_skorch(X, labels=None, *, net=None):
    """Return X in a form that skorch can take rows from; most are as they stand.

    What is drawn at random while rows are looked at does not count.

    Parameters
    ----------
    X : object
        The rows. Sparse arrays become sparse matrices; a torch Dataset gives `labels`.
    labels : array-like or None, default=None
        Labels for a Dataset; None: its own, and zeros where it has none.
    net : skorch.NeuralNet or None, default=None
        Which net takes them: its own `collate_fn` may make pairs of whatever the Dataset gives.
        With `labels` it is a clone that is about to be fitted, and its `collate_fn` is wrapped
        where it would not take (x, label) pairs.
    """
    if sparse.issparse(X):
        X = sparse.csr_matrix(X)
    items = isinstance(X, Dataset) and len(X) > 0
    first = X[0] if items else None
    if labels is None:
        collate = _collate_of(net, "valid")
        if items:
            paired = isinstance(first, tuple) or _is_pair(first)
            labelled = paired and len(first) == 2 and first[1] is not None
            if not labelled and not _makes_pairs(collate, first):
                X = WithLabels(X, torch.zeros(len(X), dtype=torch.int64))
        if collate is not None:
            _check_order(net, collate, X, "predictions")
        return X
    if not items:
        return X
    if len(X) != len(labels):
        raise ValueError(f"X has {len(X)} rows, y has {len(labels)}.")
    collate = _collate_of(net, "train")
    if isinstance(collate, _Relabelling):  # a net that was fitted before
        collate = collate.collate_fn
    if collate is not None:
        try:
            taken = _makes_pairs(collate, (_input_of(first), labels[0]))
        except ValueError:
            taken = False
        if not taken and _makes_pairs(collate, first):
            _check_order(net, collate, X, "labels given as y")
            for iterator in ("train", "valid"):
                own = _collate_of(net, iterator)
                if own is not None and not isinstance(own, _Relabelling):
                    net.set_params(**{f"iterator_{iterator}__collate_fn": _Relabelling(own)})
            return _Labelled(X, labels)
    _input_of(first)  # says what is wrong with it
    return WithLabels(X, labels)


class WithLabels(Dataset):
    """The rows of a torch Dataset with other labels, or with any where it has none.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Gives x or (x, y) for a position.
    labels : array-like of shape (n_rows,)
        The labels to give instead.
    """

    def __init__(self, dataset, labels):
        self.dataset = dataset
        self.labels = torch.as_tensor(labels)

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, position):
        return _input_of(self.dataset[position]), self.labels[position]


class _Item(NamedTuple):
    """What a Dataset gives, and the label that counts."""

    item: Any
    label: torch.Tensor


class _Labelled(WithLabels):
    """The items of a Dataset as they are, each with a label beside it; for `_Relabelling`."""

    def __getitem__(self, position):
        return _Item(self.dataset[position], self.labels[position])


class _Relabelling:
    """A `collate_fn` whose batches have the labels that lie beside the items.

    Parameters
    ----------
    collate_fn : callable
        Makes the batches. What has no label beside it goes through it as it is.
    """

    def __init__(self, collate_fn):
        self.collate_fn = collate_fn

    def __call__(self, items):
        if not isinstance(items[0], _Item):
            return self.collate_fn(items)
        batch, _ = self.collate_fn([each.item for each in items])
        return batch, torch.stack([each.label for each in items])


def _check_order(net, collate, X, what: str) -> None:
    """Refuse a `collate_fn` that orders the rows of a batch.

    Numbers that are given as labels say where it puts the rows. It sorts by what does not show
    there if two rows give the same batch whichever comes first, and both are left in it. It moves
    rows about without their labels if that of three which is unlike the others is not where it
    was, in the same way whatever the rows are.
    """

    def inputs(*some):
        return collate(deepcopy([*some]))[0]  # it may write to them

    def sorts(one, other):
        both = inputs(one, other)
        if any(_same(both, inputs(each, each)) for each in (one, other)):
            return False  # cropped to the shortest, the rows are the same
        if not all(map(_is_comparable, _leaves(both))) and not _are_unlike(
            inputs(one, other, other)
        ):
            return False  # the rows may be what cannot be compared
        return all(_same(both, inputs(other, one)) for _ in range(_TRIED))  # not by chance

    def places(one, other):
        batches = [[other] * k + [one] + [other] * (2 - k) for k in range(3)]
        first, second = ([inputs(*batch) for batch in batches] for _ in range(2))
        if not all(map(_same, first, second)):
            return {(0, 1, 2)}  # it draws random numbers, whose places tell nothing
        first = [_parts(batch) for batch in first]
        if any(_restores(part) for batch in first for part in batch):
            return {(0, 1, 2)}
        odd = [tuple(map(_odd_one, parts)) for parts in zip(*first, strict=True)]
        return {each for each in odd if sorted(each) == [0, 1, 2]}

    try:
        dataset = net.get_dataset(X)  # a Dataset is one already
        spread = np.linspace(0, max(0, len(dataset) - 1), _LOOKED_AT).astype(int)
        items = [dataset[i] for i in np.unique(spread).tolist()]
        few = items[:: max(1, len(items) // _TRIED)]
        pairs = [pair for pair in pairwise(few) if not _same(*map(inputs, pair))]
        other_order = _moves_labels(collate, items) or any(sorts(*pair) for pair in pairs)
        if not other_order:
            found = set().union(*(places(*pair) for pair in pairs))
            other_order = len(found) == 1 and (0, 1, 2) not in found
    except Exception:  # it need not take any two rows
        return
    if other_order:
        raise ValueError(
            f"collate_fn of the net puts the rows of a batch into another order, so that {what} "
            "cannot be matched to them: have it keep the order (enforce_sorted=False where "
            "sequences are packed)."
        )


def _moves_labels(collate, items) -> bool:
    """Tell whether numbers that are given as labels come back in another order.

    Labels that come back as something else may be made into that by a table, in which numbers have
    no place.
    """
    numbers = (_FIRST_NUMBER + np.random.RandomState(0).permutation(len(items))).tolist()
    try:
        labels = sorted(float(label) for _, label in items)
        if labels not in map(sorted, _labels_of(collate, items)):
            return False
        numbered = [_with_label(i, n) for i, n in zip(items, numbers, strict=True)]
        found = [each for each in _labels_of(collate, numbered) if sorted(each) == sorted(numbers)]
    except Exception:  # they have no labels, or it takes no others
        return False
    return bool(found) and numbers not in found


def _labels_of(collate, items) -> list:
    """Return the labels of a batch as lists, and whatever else there is one of for each row."""
    parts = [np.ravel(on_host(leaf)).tolist() for leaf in _leaves(collate(deepcopy(items))[1])]
    parts.append([number for part in parts for number in part])
    return [part for part in parts if len(part) == len(items)]


def _with_label(item, number):
    """Return a pair with a number in place of its label, in the form of that."""
    if not isinstance(item, (tuple, list)):
        raise TypeError("no pair")
    x, label = item
    if isinstance(label, torch.Tensor):
        dtype = label.dtype if label.is_floating_point() else torch.int64
        return x, torch.full_like(label, number, dtype=dtype)
    if isinstance(label, (np.ndarray, np.generic)):
        dtype = label.dtype if label.dtype.kind == "f" else np.int64
        return x, np.full_like(label, number, dtype=dtype)[()]
    return x, number


def _odd_one(part) -> int:
    """Return which of three rows is unlike the two others; -1 where there is no such row."""
    if isinstance(part, (list, tuple)):
        rows = part
    else:
        rows = on_host(part) if _is_comparable(part) and np.ndim(part) else ()
    if len(rows) != 3:
        return -1
    pairs = [_same(rows[(k + 1) % 3], rows[(k + 2) % 3]) for k in range(3)]
    return pairs.index(True) if sum(pairs) == 1 else -1


def _are_unlike(batch) -> bool:
    """Tell whether an array of a batch has three rows that are not all the same."""
    arrays = [on_host(leaf) for leaf in _leaves(batch) if _is_comparable(leaf)]
    rows = [array for array in arrays if np.shape(array)[:1] == (3,)]
    return any(not (_same(one, two) and _same(two, three)) for one, two, three in rows)


def _restores(part) -> bool:
    """Tell whether numbers say where three rows are that have been moved."""
    leaves = _leaves(part)
    if not all(map(_is_comparable, leaves)):
        return False
    places = [place for leaf in leaves for place in np.ravel(on_host(leaf)).tolist()]
    return len(places) == 3 and sorted(places) == [0, 1, 2] != places


def _parts(value) -> list:
    """Return the dicts' values, lists, tuples and leaves in a value, however deep."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [value, *(part for each in value for part in _parts(each))]
    return [value]


def _leaves(value) -> list:
    """Return what is in dicts, lists and tuples, however deep."""
    return [part for part in _parts(value) if not isinstance(part, (list, tuple))]


def _is_comparable(leaf) -> bool:
    """Tell whether a leaf is a number, a text, an array of these, or nothing."""
    if isinstance(leaf, torch.Tensor):
        return leaf.layout is torch.strided and not leaf.is_nested
    return leaf is None or np.asarray(leaf).dtype.kind in "biufcSUmM"


def _same(one, other) -> bool:
    """Tell whether the same numbers and texts are in two values, whatever else is."""
    one, other = (list(filter(_is_comparable, _leaves(value))) for value in (one, other))
    return len(one) == len(other) and all(map(_equal, one, other))


def _equal(one, other) -> bool:
    """Tell whether two arrays are the same; NaN is as NaN."""
    one, other = np.asarray(on_host(one)), np.asarray(on_host(other))
    nan = one.dtype.kind in "fc" and other.dtype.kind in "fc"
    return np.array_equal(one, other, equal_nan=nan)


def _collate_of(net, iterator: str):
    """Return the `collate_fn` of one's own that a net has for training or prediction."""
    return None if net is None else net.get_params_for(f"iterator_{iterator}").get("collate_fn")


def _makes_pairs(collate, item) -> bool:
    """Tell whether a `collate_fn` makes (X, y) of an item."""
    try:
        batch = collate([item])
    except Exception:  # there is none, or it does not take such items
        return False
    return isinstance(batch, (tuple, list)) and len(batch) == 2


def _is_pair(item) -> bool:
    """Tell whether a list is (x, y) or (x,): one number after another is a row itself."""
    return isinstance(item, list) and len(item) in (1, 2) and not _is_single(item[0])


def _is_single(value) -> bool:
    return not isinstance(value, (dict, list, tuple)) and np.ndim(value) == 0


def _may_be_label(value) -> bool:
    """Tell whether a value can be a label: a single one, one of many by a 1, or no numbers."""
    if math.prod(np.shape(value)) <= 1 or isinstance(value, dict):
        return True
    numbers = np.asarray(on_host(value))
    if numbers.dtype.kind not in "biuf":
        return True
    return bool(np.isin(numbers, (0, 1)).all()) and numbers.sum() == 1


def _input_of(item):
    """Return the x of what a Dataset gives."""
    if _is_pair(item):
        return item[0]
    if not isinstance(item, tuple):
        return item
    if len(item) == 1 or (len(item) == 2 and _may_be_label(item[1])):
        return item[0]
    kinds = ", ".join(type(part).__name__ for part in item)
    raise ValueError(
        f"the torch Dataset gives ({kinds}) for a row, of which one part at most can be a label, "
        "and labels are given as y: have it give x, or (x, label). Several inputs go into one x "
        "as a dict by the names of forward's arguments."
    )
