# SPDX-License-Identifier: BSD-3-Clause
"""BAIT's selection as the papers describe it, in plain dense torch: what we compare with.

Written from the description in arXiv 2106.09675 (algorithm 1 and its appendix) and 2404.08981.
The factor V_x of every row is stored, (r, P) with P = K·D (binary: D); the precision and the mean
Fisher information are P×P. Every step scores every row from scratch,

    tr( (I + V_x M⁻¹ V_xᵀ)⁻¹ V_x M⁻¹ F M⁻¹ V_xᵀ ),

and M⁻¹ follows by a Woodbury update. Rows are scored in batches. By default the formula is worked
out as it stands, from left to right: four products with a P×P matrix a row. With ``shared=True``
V_x M⁻¹ is computed once for both brackets: two products, the kindest reading.
"""

from __future__ import annotations

import torch


def published_factor(h, p, variant, top_c):
    """V_x of every row, (N, r, P), as the papers write it."""
    n, n_classes = p.shape
    if variant == "binary":
        top = p.max(dim=1).values
        scale = torch.stack([(1 - top) * top.sqrt(), -top * (1 - top).sqrt()], dim=1)  # (N, 2)
        return scale[:, :, None] * h[:, None, :]
    top, classes = p.topk(n_classes if variant == "exact" else top_c, dim=1)
    weight = (top / top.sum(dim=1, keepdim=True)).sqrt()
    gradient = torch.nn.functional.one_hot(classes, n_classes).to(p.dtype) - p[:, None, :]
    a = weight[:, :, None] * gradient  # (N, r, K)
    return (a[:, :, :, None] * h[:, None, None, :]).reshape(n, a.shape[1], -1)


class PublishedBait:
    """The published selection, a step at a time.

    The objective is the same as that of `skbait.fisher.select` with the same `regularization`
    (absolute) and ``weighting="posterior"``, so that the picks can be compared.
    """

    def __init__(
        self,
        h,
        p,
        h_labeled,
        p_labeled,
        *,
        variant,
        top_c,
        regularization,
        batch=1000,
        shared=False,
    ):
        self.v = published_factor(h, p, variant, top_c)
        v_labeled = published_factor(h_labeled, p_labeled, variant, top_c)
        size = self.v.shape[2]
        self.batch, self.shared = batch, shared
        self.fisher = torch.zeros(size, size, dtype=h.dtype)
        labeled = v_labeled.reshape(-1, size)
        for part in self.v.split(batch):
            part = part.reshape(-1, size)
            self.fisher += part.T @ part
        self.fisher = (self.fisher + labeled.T @ labeled) / (len(h) + len(h_labeled))
        precision = labeled.T @ labeled
        precision.diagonal().add_(regularization)
        self.inverse = torch.linalg.inv(precision)
        self.eye = torch.eye(self.v.shape[1], dtype=h.dtype)
        self.chosen: list[int] = []

    def scores(self, v, sign=1.0):
        """Change of the objective by adding (sign 1) or removing (sign -1) every row of `v`."""
        out = []
        for part in v.split(self.batch):
            if self.shared:
                y = part @ self.inverse  # (n, r, P)
                inner = torch.linalg.inv(self.eye + sign * (y @ part.mT))
                outer = y @ self.fisher @ y.mT
            else:
                inner = torch.linalg.inv(self.eye + sign * (part @ self.inverse @ part.mT))
                outer = part @ self.inverse @ self.fisher @ self.inverse @ part.mT
            out.append((outer * inner).sum(dim=(1, 2)))
        return torch.cat(out)

    def forward_step(self):
        """Choose one row more."""
        scores = self.scores(self.v)
        scores[self.chosen] = -torch.inf
        best = int(scores.argmax())
        self._update(self.v[best], 1.0)
        self.chosen.append(best)

    def backward_step(self):
        """Remove the chosen row that costs least."""
        worst = int(self.scores(self.v[self.chosen], -1.0).argmin())
        self._update(self.v[self.chosen[worst]], -1.0)
        del self.chosen[worst]

    def select(self, n, oversample=2):
        """Positions of n rows."""
        for _ in range(oversample * n):
            self.forward_step()
        for _ in range((oversample - 1) * n):
            self.backward_step()
        return self.chosen

    def _update(self, v, sign):
        y = v @ self.inverse
        inner = torch.linalg.inv(self.eye + sign * (y @ v.T))
        self.inverse = self.inverse - sign * (y.T @ inner @ y)
