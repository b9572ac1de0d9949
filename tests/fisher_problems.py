# SPDX-License-Identifier: BSD-3-Clause
"""Small selection problems, as tensors, for the tests of ``skbait.fisher``."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import reference
import torch
from threadpoolctl import threadpool_limits

#: (variant, top_c) as the tests run over them.
VARIANTS = [("exact", 2), ("exp", 1), ("exp", 2), ("exp", "K"), ("binary", 2)]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(autouse=True)
def one_thread():
    """Run on one thread: for matrices of this size a second one only waits for the first.

    On a busy machine that made the tests twenty times slower. Import it where it shall act.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(limits=1):
        yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class Rows:
    """Features and probabilities of pool and labelled rows: the four tensors select takes."""

    h: torch.Tensor  # (N, D)
    p: torch.Tensor  # (N, K)
    h_labeled: torch.Tensor | None  # (L, D)
    p_labeled: torch.Tensor | None  # (L, K)

    @property
    def args(self):
        return self.h, self.p, self.h_labeled, self.p_labeled

    def map(self, function):
        """Apply a function to each of the tensors."""
        return Rows(*(None if t is None else function(t) for t in self.args))

    def features(self, function):
        """Apply a function to the features of pool and labelled rows."""
        labeled = None if self.h_labeled is None else function(self.h_labeled)
        return replace(self, h=function(self.h), h_labeled=labeled)

    def pool(self, index):
        """Take rows of the pool."""
        return replace(self, h=self.h[index], p=self.p[index])

    def classes(self, index):
        """Reorder the classes."""
        labeled = None if self.p_labeled is None else self.p_labeled[:, index]
        return replace(self, p=self.p[:, index], p_labeled=labeled)

    def problem(self, n, **options):
        """Write the same problem out for the reference."""
        options.pop("oversample", None)
        return reference.problem(*self.args, n, **options)


def random_rows(
    seed=0,
    n_pool=40,
    n_labeled=8,
    n_features=4,
    n_classes=3,
    kind="gauss",
    logit_scale=1.0,
):
    """Draw features of a kind, and the probabilities of a random linear softmax layer on them."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    n_rows = n_pool + n_labeled
    h = normal(n_rows, n_features)
    if kind == "clusters":
        centres = 3.0 * normal(5, n_features)
        h = 0.5 * h + centres[torch.randint(5, (n_rows,), generator=generator)]
    elif kind == "unit":
        h = h + 2.0
        h = h / h.norm(dim=1, keepdim=True)
    elif kind == "cnn":
        # as after a ReLU and pooling: nonnegative, far from centred, a steep spectrum, norm ~ 32
        scales = 1.0 / torch.arange(1, n_features + 1, dtype=torch.float64)
        mean = 1.0 + normal(n_features).abs()
        h = torch.relu(mean + scales * h)
        h = 32.0 * h / h.norm(dim=1).mean()
    elif kind != "gauss":
        raise ValueError(kind)
    weights = normal(n_classes, n_features)
    if kind == "cnn":
        # a head that was trained on such features: of moderate logits, in spite of the norm
        logits = (h - h.mean(dim=0)) @ weights.T
        logits = 2.0 * logits / logits.std()
    else:
        logits = h @ weights.T
    p = torch.softmax(logit_scale * logits, dim=1)
    if n_labeled == 0:
        return Rows(h, p, None, None)
    return Rows(h[:n_pool], p[:n_pool], h[n_pool:], p[n_pool:])
