# SPDX-License-Identifier: BSD-3-Clause
"""Members of `BossQuery` that look at the labels of the pool: TypiClust* and DropQuery*."""

from __future__ import annotations

import heapq

import numpy as np
import torch

from skbait._backend import EXACT
from skbait.strategies._clusters import draw_seed
from skbait.strategies.base import BaseQuery
from skbait.strategies.drop_query import DropQuery, drop_candidates


class TypiClustOracle(BaseQuery):
    """Choose the most typical rows of the classes with the fewest labels (TypiClust*).

    In turn, the class with the fewest labels so far, those just chosen included, gives the medoid
    of its rows that are not chosen yet. It takes the true classes where TypiClust takes clusters,
    so it is for studies only.

    Of classes with equally many labels the first comes first. The medoid is the row with the
    smallest sum of squared distances to the others, which is the one nearest to their mean: with
    N rows of D features and n to choose, time is O(n·D·N/K).
    """

    _needs = frozenset({"features", "pool labels"})

    def _select(self, view, n):
        return _medoids(view, np.arange(view.n_pool), n), None


class DropQueryOracle(DropQuery):
    """Choose as `TypiClustOracle` does, among the candidates of DropQuery (DropQuery*)."""

    _needs = DropQuery._needs | {"pool labels"}

    def _select(self, view, n):
        candidates = drop_candidates(
            view.pool.features,
            view.head,
            n,
            torch.Generator().manual_seed(draw_seed(view.rng)),
            n_passes=int(self.n_passes),
            dropout=float(self.dropout),
            min_candidates=int(self.min_candidates),
        )
        return _medoids(view, candidates.cpu().numpy(), n), None


def _medoids(view, rows, n):
    """Return medoids (n,) of classes in turn; `rows` are at least n positions in the pool."""
    features = view.pool.features.to(EXACT)
    # Distances of rows that are equally far from a mean differ by rounding errors of the size of
    # the features, squared.
    tie = 1e-12 * features.square().sum(dim=1).max()
    labels, label_counts = np.unique(view.y_labeled, return_counts=True)
    counts = dict(zip(labels.tolist(), label_counts.tolist(), strict=True))
    classes, which = np.unique(view.y_pool[rows], return_inverse=True)
    left = [torch.from_numpy(rows[which == k]).to(features.device) for k in range(len(classes))]
    queue = [(counts.get(label, 0), k) for k, label in enumerate(classes.tolist())]
    heapq.heapify(queue)
    chosen = []
    while len(chosen) < n:
        count, k = heapq.heappop(queue)
        own = features[left[k]]  # (m, D)
        distances = (own - own.mean(dim=0)).square().sum(dim=1)  # (m,)
        medoid = int((distances <= distances.min() + tie).to(torch.uint8).argmax())
        chosen.append(int(left[k][medoid]))
        left[k] = torch.cat([left[k][:medoid], left[k][medoid + 1 :]])
        if len(left[k]):
            heapq.heappush(queue, (count + 1, k))
    return np.array(chosen)
