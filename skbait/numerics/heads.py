# SPDX-License-Identifier: BSD-3-Clause
"""Many linear heads of one shape, trained (or updated) and scored together.

T heads are trained on fixed features, each on the same L shared rows and on n rows of its own, all
from the same initial weights, by the stochastic gradient descent that ``torch.optim.SGD`` with
Nesterov momentum and ``CosineAnnealingLR`` do. With w the weights of a head (the bias included,
weight decay too), g the gradient of the mean cross-entropy of a minibatch, and the rate of epoch e
of E being ``η = learning_rate · (1 + cos(πe/E)) / 2``::

    g ← g + weight_decay · w
    v ← momentum · v + g
    w ← w - η · (g + momentum · v)

All heads see their rows in the same order: minibatches are drawn from the positions 0..L+n-1, of
which the last n stand for a head's own rows. So the shared rows of a minibatch take one matrix
product for all heads, and heads differ by the rows they were given, not by the luck of a shuffle.

What a step costs depends on the width of the features. Steps move w within the span of the rows
only, and shrink what lies outside it, by a factor that is the same for all heads. Where L + n is
less than D + 1, the move is therefore kept in coordinates of an orthonormal basis of the span,
of which the part of the shared rows is common to all heads; nothing is lost by it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import one_hot

from skbait._backend import EXACT, for_chunks, rows_per_chunk

LOSSES = ("zero_one", "brier", "cross_entropy")
"""What heads can be scored by."""


@dataclass(frozen=True)
class _Rows:
    """Rows of one group of heads, in the coordinates in which these are trained.

    `shared` (L, q) and `own` (T, n, q) are the rows; `shared_start` (K, L) and `own_start`
    (T, K, n) their logits under the initial weights; `shared_onehot` and `own_onehot`, of the same
    shapes, their labels. Of the basis of the coordinates, `common` (P, L) holds what is the same
    for all heads and `further` (T, P, n) the rest; None: the coordinates are the features.
    """

    shared: torch.Tensor
    own: torch.Tensor
    shared_start: torch.Tensor
    own_start: torch.Tensor
    shared_onehot: torch.Tensor
    own_onehot: torch.Tensor
    common: torch.Tensor | None = None
    further: torch.Tensor | None = None


class _Order:
    """The minibatches of one epoch: in each the shared rows, and the positions of own rows."""

    def __init__(self, order: torch.Tensor, n_shared: int, batch_size: int):
        is_shared = order < n_shared
        self.shared = order[is_shared]
        self.own = order[~is_shared] - n_shared
        self.n_shared = [int(part.sum()) for part in is_shared.split(batch_size)]
        self.n_own = [int((~part).sum()) for part in is_shared.split(batch_size)]

    def minibatches(self, rows: _Rows):
        """Yield for each minibatch its rows, starting logits and labels: shared, then own."""
        shared, own = self.shared.to(rows.own.device), self.own.to(rows.own.device)
        return zip(
            rows.shared[shared].split(self.n_shared),  # (m, q) each
            rows.shared_start[:, shared].split(self.n_shared, dim=1),  # (K, m)
            rows.shared_onehot[:, shared].split(self.n_shared, dim=1),
            rows.own[:, own].split(self.n_own, dim=1),  # (T, m', q)
            rows.own_start[:, :, own].split(self.n_own, dim=2),  # (T, K, m')
            rows.own_onehot[:, :, own].split(self.n_own, dim=2),
            strict=True,
        )


def train_heads(
    weight: torch.Tensor,
    bias: torch.Tensor,
    shared_features: torch.Tensor,
    shared_targets: torch.Tensor,
    own_features: torch.Tensor,
    own_targets: torch.Tensor,
    *,
    n_epochs: int = 50,
    learning_rate: float = 1e-2,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    batch_size: int = 64,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Train T softmax heads by stochastic gradient descent, each on rows of its own and on shared.

    Parameters
    ----------
    weight : torch.Tensor of shape (K, D)
        The weights that all heads start from.
    bias : torch.Tensor of shape (K,)
        The biases that all heads start from; they are trained too.
    shared_features : torch.Tensor of shape (L, D)
        Features of the rows that are common to all heads; L may be 0.
    shared_targets : torch.Tensor of int64 of shape (L,)
        Their classes, 0..K-1.
    own_features : torch.Tensor of shape (T, n, D)
        Features of each head's own rows.
    own_targets : torch.Tensor of int64 of shape (T, n)
        Their classes.
    n_epochs : int, default=50
        Passes over the L + n rows.
    learning_rate : float, default=1e-2
        Of the first epoch; it falls to zero along half a cosine.
    momentum : float, default=0.9
        Nesterov momentum.
    weight_decay : float, default=5e-4
        Of weights and biases.
    batch_size : int, default=64
        Rows of a minibatch; the last one of an epoch holds what is left.
    generator : torch.Generator
        Of the CPU; it gives one order of the L + n rows for each epoch, the same for all heads.

    Returns
    -------
    weights : torch.Tensor of float64 of shape (T, K, D)
        The trained weights.
    biases : torch.Tensor of float64 of shape (T, K)
        The trained biases.

    Notes
    -----
    With R = L + n rows, P = D + 1 and q = min(R, P), time is O(n_epochs · R · T · K · q) and
    memory O(T · (K + n) · P), for as many heads at a time as `CHUNK_BYTES` allow. All is computed
    in float64.
    """
    n_shared, (n_heads, n_own, _) = len(shared_features), own_features.shape
    initial = torch.cat([weight, bias[:, None]], dim=1).to(EXACT)  # (K, P)
    shared = _with_ones(shared_features)  # (L, P)
    shared_onehot = one_hot(shared_targets, len(weight)).to(EXACT).T.contiguous()  # (K, L)
    epochs = [
        _Order(torch.randperm(n_shared + n_own, generator=generator), n_shared, batch_size)
        for _ in range(n_epochs)
    ]
    trained = initial.new_empty(n_heads, *initial.shape)  # (T, K, P)

    def train_some(heads: slice) -> None:
        own = _with_ones(own_features[heads])
        own_onehot = one_hot(own_targets[heads], len(weight)).to(EXACT).mT.contiguous()
        rows = _coordinates(initial, shared, own, shared_onehot, own_onehot)
        trained[heads] = _descend(
            initial,
            rows,
            epochs,
            learning_rate=learning_rate,
            momentum=momentum,
            decay=weight_decay,
        )

    width = min(n_shared + n_own, initial.shape[1])
    bytes_per_head = 8 * width * (3 * len(weight) + n_own)
    size = rows_per_chunk(bytes_per_head, n_heads, device=weight.device)
    for_chunks(train_some, n_heads, size)
    return trained[:, :, :-1], trained[:, :, -1]


def _descend(initial, rows, epochs, *, learning_rate, momentum, decay):
    """Return the trained weights (T, K, P) of a group of heads.

    The weights of head t are ``scale · initial + move[t] @ basis_t.T``, basis_t being
    `common` and ``further[t]`` side by side.
    """
    n_heads, _, width = rows.own.shape
    n_classes = len(initial)
    move = rows.own.new_zeros(n_heads, n_classes, width)  # (T, K, q)
    velocity = torch.zeros_like(move)
    scale, scale_velocity = 1.0, 0.0
    for epoch, order in enumerate(epochs):
        rate = learning_rate * (1 + math.cos(math.pi * epoch / len(epochs))) / 2
        for x, start, onehot, own_x, own_start, own_onehot in order.minibatches(rows):
            logits = (move.view(-1, width) @ x.T).view(n_heads, n_classes, -1)  # (T, K, m)
            own_logits = torch.bmm(move, own_x.mT)  # (T, K, m')
            # the classes are not the last dimension, where a softmax over few numbers is slow
            errors = logits.add_(start, alpha=scale).softmax(dim=1).sub_(onehot)
            own_errors = own_logits.add_(own_start, alpha=scale).softmax(dim=1).sub_(own_onehot)
            before, share = velocity, 1 / (len(x) + own_x.shape[1])
            velocity = torch.addmm(
                before.view(-1, width),
                errors.view(n_heads * n_classes, -1),
                x,
                beta=momentum,
                alpha=share,
            ).view_as(move)
            velocity.baddbmm_(own_errors, own_x, alpha=share).add_(move, alpha=decay)
            # g + momentum · v, where g is what was added to momentum · v
            move.sub_(velocity, alpha=rate * (1 + momentum)).add_(before, alpha=rate * momentum)
            # the initial weights have no gradient but that of the decay
            scale_velocity = momentum * scale_velocity + decay * scale
            scale -= rate * (decay * scale + momentum * scale_velocity)
    if rows.common is not None:
        in_common, in_further = move.split([rows.common.shape[1], rows.further.shape[2]], dim=2)
        move = in_common @ rows.common.T + in_further @ rows.further.mT  # (T, K, P)
    return scale * initial + move


def _coordinates(initial, shared, own, shared_onehot, own_onehot) -> _Rows:
    """Return rows in a basis of their span, where that is smaller than the features are wide."""
    starts = initial @ shared.T, initial @ own.mT
    (n_shared, width), n_own = shared.shape, own.shape[1]
    if n_shared + n_own >= width:
        return _Rows(shared, own, *starts, shared_onehot, own_onehot)
    common, seen = torch.linalg.qr(shared.T)  # (P, L), (L, L): shared.T = common @ seen
    inside = own @ common  # (T, n, L)
    # Rows that add nothing to the span leave rounding errors, and their part of the basis is
    # arbitrary: their coordinates there are as small as these errors.
    further, outside = torch.linalg.qr((own - inside @ common.T).mT)  # (T, P, n), (T, n, n)
    shared = torch.cat([seen.T, shared.new_zeros(n_shared, n_own)], dim=1)  # (L, q)
    own = torch.cat([inside, outside.mT], dim=2)  # (T, n, q)
    return _Rows(shared, own, *starts, shared_onehot, own_onehot, common, further)


def _with_ones(features):
    features = features.to(EXACT)
    return torch.cat([features, features.new_ones(*features.shape[:-1], 1)], dim=-1)


def update_heads(
    weight: torch.Tensor,
    bias: torch.Tensor,
    covariance: torch.Tensor,
    own_features: torch.Tensor,
    own_targets: torch.Tensor,
    *,
    step: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Update T copies of a softmax head in closed form, each with new rows of its own.

    The head is the mean μ of a Gaussian posterior, of which Σ is the covariance of each class.
    Row by row, with p of the old mean and the new Σ in the second line::

        Σ ← Σ - Σh (Σh)ᵀ / (1 + hᵀΣh)
        μ_k ← μ_k + step · (y_k - p_k) Σh

    Parameters
    ----------
    weight : torch.Tensor of shape (K, D)
        The weights of the head.
    bias : torch.Tensor of shape (K,)
        Its biases.
    covariance : torch.Tensor of float64 of shape (P, P)
        Σ of the weights of a class and its bias, P = D + 1.
    own_features : torch.Tensor of shape (T, n, D)
        Features of each copy's new rows.
    own_targets : torch.Tensor of int64 of shape (T, n)
        Their classes.
    step : float
        More than 1 because Σ takes the curvature of the softmax for 1.

    Returns
    -------
    weights : torch.Tensor of float64 of shape (T, K, D)
        The updated weights.
    biases : torch.Tensor of float64 of shape (T, K)
        The updated biases.

    Notes
    -----
    What becomes of Σ does not depend on the labels. With ``L Lᵀ = I + X Σ Xᵀ`` for the new rows X
    (n, P) of a copy, and U the factor L with its columns divided by their diagonal d, the i-th
    row's new Σh is ``(U⁻¹ X Σ)_i / d_i²``, and its product with a later row j is ``U_ji``. So what
    is done in turn are the residuals of the rows alone. Time is O(T · (n·P² + n³)), memory
    O(T · (n² + n·P)).
    """
    n_heads, n_own, _ = own_features.shape
    mean = torch.cat([weight, bias[:, None]], dim=1).to(EXACT)  # (K, P)
    updated = mean.new_empty(n_heads, *mean.shape)  # (T, K, P)

    def update_some(heads: slice) -> None:
        rows = _with_ones(own_features[heads])  # (t, n, P)
        onehot = one_hot(own_targets[heads], len(mean)).to(EXACT)  # (t, n, K)
        image = rows @ covariance  # (t, n, P)
        gram = image @ rows.mT  # (t, n, n)
        gram.diagonal(dim1=1, dim2=2).add_(1)
        lower = torch.linalg.cholesky(gram)
        diagonal = lower.diagonal(dim1=1, dim2=2)  # (t, n)
        unit = lower / diagonal[:, None]  # (t, n, n)
        logits = rows @ mean.T  # (t, n, K), of the mean before the first row
        residuals = torch.empty_like(onehot)
        for i in range(n_own):
            moved = torch.bmm(unit[:, i : i + 1, :i], residuals[:, :i])[:, 0]  # (t, K)
            now = logits[:, i] + step * moved
            residuals[:, i] = onehot[:, i] - torch.softmax(now, dim=1)
        scaled = residuals / diagonal[:, :, None].square()
        combination = torch.linalg.solve_triangular(unit.mT, scaled, upper=True)  # (t, n, K)
        updated[heads] = mean + step * combination.mT @ image

    bytes_per_head = 8 * n_own * (3 * n_own + 2 * mean.shape[1])
    size = rows_per_chunk(bytes_per_head, n_heads, device=covariance.device)
    for_chunks(update_some, n_heads, size)
    return updated[:, :, :-1], updated[:, :, -1]


def score_heads(
    weights: torch.Tensor,
    biases: torch.Tensor,
    features: torch.Tensor,
    targets: torch.Tensor,
    *,
    loss: str = "zero_one",
) -> torch.Tensor:
    """Return the mean loss of each of T softmax heads on given rows.

    Parameters
    ----------
    weights : torch.Tensor of shape (T, K, D)
        The weights.
    biases : torch.Tensor of shape (T, K)
        The biases.
    features : torch.Tensor of shape (M, D)
        Features of the rows.
    targets : torch.Tensor of int64 of shape (M,)
        Their classes.
    loss : {"zero_one", "brier", "cross_entropy"}, default="zero_one"
        "zero_one" is the share of rows whose largest logit is not that of their class (of equal
        ones the first counts), "brier" ``Σ_k (p_k - y_k)²``, "cross_entropy" ``-log p_y``.

    Returns
    -------
    torch.Tensor of float64 of shape (T,)
        The losses.
    """
    n_heads, n_classes, _ = weights.shape
    weights, biases = weights.to(EXACT), biases.to(EXACT)
    losses = weights.new_empty(n_heads, len(features))  # (T, M)

    def score_some(rows: slice) -> None:
        logits = (
            torch.matmul(weights, features[rows].to(EXACT).T) + biases[:, :, None]
        )  # (T, K, m)
        wanted = targets[rows].expand(n_heads, 1, -1)  # (T, 1, m)
        if loss == "zero_one":
            value = (logits.argmax(dim=1, keepdim=True) != wanted).to(EXACT)
        elif loss == "brier":
            p = torch.softmax(logits, dim=1)
            value = (p * p).sum(dim=1, keepdim=True) - 2 * p.gather(1, wanted) + 1
        else:
            value = torch.logsumexp(logits, dim=1, keepdim=True) - logits.gather(1, wanted)
        losses[:, rows] = value[:, 0]

    size = rows_per_chunk(24 * n_heads * n_classes, len(features), device=features.device)
    for_chunks(score_some, len(features), size)
    return losses.mean(dim=1)
