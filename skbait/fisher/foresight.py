# SPDX-License-Identifier: BSD-3-Clause
"""A forecast of the next choices: those that would be made were there only a few rows.

Only a few of these rows in turn, those best now, are followed from choice to choice. All of them
are brought up to date, by one product for many choices, once the best followed has fallen below
what the others had.
"""

from __future__ import annotations

import torch

from skbait.fisher.rows import padded

# Rows that are followed at a time.
FOLLOWED = 256
# The forecast may end where the best score known falls below this part of the best unknown one.
OUTSIDE = 0.85
# It ends after a multiple of so many steps: products are quickest for such numbers of columns.
STRIDE = 8


def foresee(
    v: torch.Tensor,
    matrices: torch.Tensor,
    a: torch.Tensor,
    c: torch.Tensor,
    most: int,
    outside: float = 0.0,
) -> list[int]:
    """Choices among a few rows of rank one, were there no others; a forecast only.

    Parameters
    ----------
    v : torch.Tensor of shape (m, P)
        V of m rows, in any float dtype: float32 is enough.
    matrices : torch.Tensor of shape (2·P, P)
        M⁻¹ and, below it, M⁻¹FM⁻¹, in the same dtype.
    a, c : torch.Tensor of shape (m,)
        Blocks of the m rows.
    most : int
        At most so many choices.
    outside : float, default=0.0
        Best score of any other row, at present. Where the best of these rows is well below it the
        next choice will hardly be one of them, and the forecast may end.

    Returns
    -------
    list of int
        Which rows, in the order of choice; row 0 comes first.
    """
    most = min(most, len(a))
    precision, c = a.to(v.dtype) + 1.0, c.to(v.dtype, copy=True)
    changes = _Changes(matrices, most)
    order: list[int] = []
    while len(order) < most:
        if order:
            p, w = changes.since_last(v)
            precision -= p.square().sum(1)
            c.sub_((p * w).sum(1), alpha=2.0)
            precision[order] = torch.inf  # chosen: the score is zero from now on
        scores = (c / precision).nan_to_num_(nan=0.0, posinf=torch.inf)
        best = scores.topk(min(FOLLOWED, len(scores)))
        others = float(best.values[-1]) if len(best.values) < len(scores) else -torch.inf
        index, score = best.indices, float(best.values[0])
        if not order:  # row 0, whatever its score
            index, score = torch.cat([index.new_zeros(1), index[index != 0]]), torch.inf
        rows, place = index.tolist(), 0
        followed = tuple(each.index_select(0, index) for each in (v, precision, c))
        while score >= others:
            late = score < OUTSIDE * outside and len(order) % STRIDE == 0
            if not score > 0.0 or (order and late):
                return order
            order.append(rows[place])
            if len(order) == most or not changes.follow(*followed, place):
                return order
            scores = followed[2] / followed[1]
            place = int(scores.argmax())
            score = float(scores[place])
        if not score < others:  # not a number
            break
    return order


class _Changes:
    """û and ŵ of each choice: how it changes M⁻¹ and M⁻¹FM⁻¹. See `skbait.fisher.course`."""

    def __init__(self, matrices: torch.Tensor, most: int):
        size = matrices.shape[1]
        # One product with V_s makes all that a choice needs of the matrices and of the changes,
        # which are zero before they are known: no view is made anew on the way. û is kept twice,
        # so that what u and z change by are products with rows that are next to each other.
        rows = torch.cat([matrices, matrices.new_zeros(3 * most, size)])
        self.hats = rows[2 * size :].view(3, most, size)  # û, ŵ, û
        self.of_u, self.of_z = self.hats[0].T, self.hats[1:].view(-1, size).T
        self.operator = rows[: 2 * (size + most)]
        self.products = rows.new_empty(len(self.operator))
        self.u, self.z, self.past = self.products.split([size, size, 2 * most])
        self.known = self.applied = 0

    def follow(self, v: torch.Tensor, precision: torch.Tensor, c: torch.Tensor, s: int) -> bool:
        """Choose row s: change 1 + a and c of the rows v; False where rounding forbids it."""
        at_s, c_s = float(precision[s]), float(c[s])
        if not at_s > 0.0:
            return False
        g = 1.0 / at_s
        torch.mv(self.operator, v[s], out=self.products)
        # u - Σ û (û·v), z - Σ û (ŵ·v) + ŵ (û·v)
        self.u.addmv_(self.of_u, self.past[: self.hats.shape[1]], alpha=-1.0)
        self.z.addmv_(self.of_z, self.past, alpha=-1.0)
        u, w, again = self.hats[:, self.known].unbind()
        torch.mul(self.u, g**0.5, out=u)
        torch.mul(self.z, g**0.5, out=w).add_(u, alpha=-0.5 * g * c_s)
        again.copy_(u)
        self.known += 1
        p, w = torch.mv(v, u), torch.mv(v, w)
        precision.addcmul_(p, p, value=-1.0)
        c.addcmul_(p, w, value=-2.0)
        precision[s] = torch.inf
        return True

    def since_last(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Products of the rows v with every û and ŵ since the last call, (m, k) each."""
        new = self.hats[:2, self.applied : self.known]
        self.applied = self.known
        columns = new.reshape(-1, new.shape[2]).T
        products = (v @ padded(columns, len(v)))[:, : columns.shape[1]]
        return products.view(len(v), 2, -1).unbind(1)
