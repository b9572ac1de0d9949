# SPDX-License-Identifier: BSD-3-Clause
"""A slow, dense, float64 reference of BAIT's selection, written to be read.

Nothing here is clever on purpose. Every row of the pool gets its factor V_x = A_x ⊗ hᵀ written
out, M and F are P×P matrices built by summing V_xᵀV_x, and every decision of the forward and of
the backward pass starts again from a fresh M: nothing is carried from one step to the next, so
nothing can drift. The fast code in ``skbait.fisher`` is compared with this.

    I(x) = V_xᵀ V_x
    M(S) = λ I + w_L Σ_{x∈labelled} I(x) + w_S Σ_{x∈S} I(x)
    F    = mean of I(x) over pool and labelled rows
    tr( M(S)⁻¹ F )   is made small, by greedy addition and then greedy removal
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

#: Two scores that differ by less than this share of the better one are a tie: what decides then
#: is the order of additions inside a matrix product, in the reference as in the fast code.
TIE = 1e-9


def factor(probabilities, variant, top_c=2):
    """Return A, shape (N, r, K') with K' = K, or 1 for binary."""
    p = np.asarray(probabilities, dtype=np.float64)
    p = p / p.sum(axis=1, keepdims=True)  # float32 rows sum to one only to seven digits
    A = []
    for p_x in p:
        if variant == "binary":
            top = p_x.argmax()
            A.append([[np.sqrt(p_x[top] * one_minus_p(p_x, top))]])
            continue
        if variant == "exact":
            labels, weights = np.arange(len(p_x)), p_x
        elif variant == "exp":
            labels = np.argsort(-p_x, kind="stable")[:top_c]
            weights = p_x[labels] / p_x[labels].sum()
        else:
            raise ValueError(variant)
        # one row for each label y that is considered: √weight_y (e_y − p), with the full p
        rows = []
        for y, weight in zip(labels, weights, strict=True):
            residual = -p_x
            residual[y] = one_minus_p(p_x, y)
            rows.append(np.sqrt(weight) * residual)
        A.append(rows)
    return np.array(A)


def one_minus_p(p_x, y):
    """1 − p_y, as the sum of the others: where p_y is nearly 1 this keeps the digits."""
    return np.delete(p_x, y).sum()


def factor_rows(features, probabilities, variant, top_c=2):
    """Return V, shape (N, r, P): each of its rows is kron(row of A_x, h_x)."""
    h = np.asarray(features, dtype=np.float64)
    A = factor(probabilities, variant, top_c)  # (N, r, K')
    V = A[:, :, :, None] * h[:, None, None, :]  # (N, r, K', D)
    return V.reshape(len(h), A.shape[1], -1)


def sum_of_information(V):
    """Return Σ I(x) = Σ V_xᵀV_x, shape (P, P), of the rows in V, shape (N, r, P)."""
    return V.reshape(-1, V.shape[2]).T @ V.reshape(-1, V.shape[2])


@dataclass
class Problem:
    """V of pool and labelled rows, F, λ and the two weights: all that the selection looks at."""

    V: np.ndarray  # (N, r, P)
    V_labeled: np.ndarray  # (L, r, P)
    F: np.ndarray  # (P, P)
    lam: float
    w_labeled: float
    w_chosen: float
    content: np.ndarray  # (N,) the same number for rows with the same features and probabilities

    def M(self, chosen):
        """M after the rows `chosen` were added to the labelled ones."""
        identity = np.eye(len(self.F))
        return (
            self.lam * identity
            + self.w_labeled * sum_of_information(self.V_labeled)
            + self.w_chosen * sum_of_information(self.V[list(chosen)])
        )

    def objective(self, chosen):
        """tr( M(chosen)⁻¹ F )."""
        return np.trace(np.linalg.solve(self.M(chosen), self.F))

    def blocks(self, chosen, rows):
        """a = w_S V M⁻¹ Vᵀ and c = w_S V M⁻¹FM⁻¹ Vᵀ for each of `rows`, shape (rows, r, r)."""
        V = np.sqrt(self.w_chosen) * self.V[list(rows)]
        M_inv = np.linalg.inv(self.M(chosen))

        def sandwich(matrix):
            V_matrix = (V.reshape(-1, V.shape[2]) @ matrix).reshape(V.shape)
            return np.einsum("xip,xjp->xij", V_matrix, V)

        return sandwich(M_inv), sandwich(M_inv @ self.F @ M_inv)

    def gains(self, chosen, candidates=None):
        """How much the objective falls when one more row is added, for every candidate.

        tr(M⁻¹F) − tr((M + w_S VᵀV)⁻¹F) = tr((I + a)⁻¹ c), with a and c as in `blocks`
        """
        a, c = self.blocks(chosen, range(len(self.V)) if candidates is None else candidates)
        return np.trace(np.linalg.solve(np.eye(a.shape[1]) + a, c), axis1=1, axis2=2)

    def gains_by_inverse(self, chosen, candidates=None):
        """The same from the definition: one P×P inverse for each candidate."""
        candidates = range(len(self.V)) if candidates is None else candidates
        before = self.objective(chosen)
        return np.array([before - self.objective([*chosen, x]) for x in candidates])

    def costs(self, chosen):
        """How much the objective rises when one of `chosen` is taken out again, for each.

        tr((M − w_S VᵀV)⁻¹F) − tr(M⁻¹F) = tr((I − a)⁻¹ c), with a and c as in `blocks`
        """
        a, c = self.blocks(chosen, chosen)
        return np.trace(np.linalg.solve(np.eye(a.shape[1]) - a, c), axis1=1, axis2=2)

    def costs_by_inverse(self, chosen):
        """The same from the definition."""
        now = self.objective(chosen)
        return np.array([self.objective([s for s in chosen if s != x]) - now for x in chosen])


def problem(
    features,
    probabilities,
    labeled_features=None,
    labeled_probabilities=None,
    n=1,
    *,
    variant="exp",
    top_c=2,
    regularization="auto",
    weighting="posterior",
):
    """Write the selection problem out in full."""
    h, p = _float64(features), _float64(probabilities)
    if labeled_features is None:
        labeled_features, labeled_probabilities = h[:0], p[:0]
    V = factor_rows(h, p, variant, top_c)
    if len(labeled_features):
        V_labeled = factor_rows(
            _float64(labeled_features), _float64(labeled_probabilities), variant, top_c
        )
    else:
        V_labeled = V[:0]
    n_parameters = V.shape[2]
    F = (sum_of_information(V) + sum_of_information(V_labeled)) / (len(V) + len(V_labeled))
    lam = 0.1 * np.trace(F) / n_parameters if regularization == "auto" else float(regularization)
    if weighting == "posterior":
        w_labeled, w_chosen = 1.0, 1.0
    elif weighting == "original":
        n_labeled = len(V_labeled)
        w_labeled, w_chosen = 1.0 / (n_labeled + n), n / (n_labeled + n)
    else:
        raise ValueError(weighting)
    _, content = np.unique(np.hstack([h, p]), axis=0, return_inverse=True)
    return Problem(V, V_labeled, F, lam, w_labeled, w_chosen, content.ravel())


@dataclass
class Reference:
    """What the reference selection did."""

    picks: list[int]  # in the order in which the forward pass added those that stayed
    forward: list[int]  # all that the forward pass added
    gains: np.ndarray  # (N,) each candidate's gain before the first addition
    objective: float  # tr(M⁻¹F) of the picks
    gap: float = np.inf  # the closest call: smallest relative distance of the first two scores
    problem: Problem | None = field(default=None, repr=False)


def select(problem, n, *, oversample=2.0, naive=False, prefer=()):
    """Greedy forward addition of oversample·n rows, then greedy backward removal to n.

    ``naive=True`` scores every addition and removal by a P×P inverse of its own. Rows in `prefer`
    win where scores are a tie (see `TIE`): given the picks of other code, this follows it through
    its ties without letting it decide anything else.
    """
    score = problem.gains_by_inverse if naive else problem.gains
    score_removal = problem.costs_by_inverse if naive else problem.costs
    n_rows = len(problem.V)
    n_forward = min(int(oversample * n), n_rows)
    gap = np.inf
    first_gains = score([])
    chosen: list[int] = []
    while len(chosen) < n_forward:
        rest = [x for x in range(n_rows) if x not in chosen]
        gains = score(chosen, rest)
        best, gap_here = _extreme(gains, rest, floor=problem.objective(chosen), prefer=prefer)
        gap = min(gap, gap_here)
        chosen.append(rest[best])
    forward = list(chosen)
    while len(chosen) > n:
        costs = score_removal(chosen)
        avoid = [x for x in chosen if x not in prefer]
        worst, gap_here = _extreme(
            -costs, chosen, floor=problem.objective(chosen), prefer=avoid if len(prefer) else ()
        )
        gap = min(gap, gap_here)
        del chosen[worst]
    return Reference(
        picks=chosen,
        forward=forward,
        gains=first_gains,
        objective=problem.objective(chosen),
        gap=gap,
        problem=problem,
    )


def assert_same_picks(got, problem, n, *, oversample=2.0, reference=None):
    """Check picks against the reference: same rows, same order, unless there was an exact tie.

    With a tie among rows of the same content the picks must have the same content. Any other tie
    is resolved the way of `got`, and the reference must then come to the same rows.
    """
    got = [int(x) for x in got]
    assert len(got) == n
    assert len(set(got)) == n, f"picks are not distinct: {got}"
    assert all(0 <= x < len(problem.V) for x in got)
    if reference is None:
        reference = select(problem, n, oversample=oversample)
    if reference.gap > TIE:
        assert got == reference.picks, (got, reference.picks, f"gap {reference.gap:.1e}")
        return
    guided = select(problem, n, oversample=oversample, prefer=got)
    got_content = sorted(problem.content[got])
    if got_content != sorted(problem.content[guided.picks]):
        # rows of different content that tie (no information, say): the objective must not tell
        np.testing.assert_allclose(
            problem.objective(got), guided.objective, rtol=1e-9, err_msg=f"{got} {guided.picks}"
        )


def _extreme(scores, rows, floor, prefer=()):
    """Return the place of the largest score and its relative lead over the second."""
    best = int(np.argmax(scores))
    # a score below the rounding error of the objective itself is noise
    scale = max(abs(scores[best]), 1e-4 * floor, np.finfo(float).tiny)
    lead = (scores[best] - np.delete(scores, best)) / scale
    gap = lead.min() if len(lead) else np.inf
    if gap <= TIE and len(prefer):
        tied = [i for i in range(len(rows)) if scores[best] - scores[i] <= TIE * scale]
        wanted = [i for i in tied if rows[i] in prefer]
        if wanted:
            order = {x: place for place, x in enumerate(prefer)}
            best = min(wanted, key=lambda i: order[rows[i]])
    return best, gap


def _float64(array):
    if hasattr(array, "detach"):
        array = array.detach().cpu().numpy()
    return np.asarray(array, dtype=np.float64)
