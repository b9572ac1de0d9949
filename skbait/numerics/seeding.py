# SPDX-License-Identifier: BSD-3-Clause
"""D² sampling (the seeding of k-means++) of gradients that are never formed.

The gradient of the loss of the predicted label ŷ with respect to the last layer is
``g = a ⊗ h`` with ``a = p - e_ŷ``, K·D numbers a row. The distance of two of them follows from
the distances and norms of their factors:

    ‖a ⊗ h - b ⊗ z‖² = ½ ( ‖a - b‖² (‖h‖² + ‖z‖²) + ‖h - z‖² (‖a‖² + ‖b‖²)
                           - ‖a - b‖² ‖h - z‖² + (‖a‖² - ‖b‖²) (‖h‖² - ‖z‖²) )

Unlike ``‖a‖²‖h‖² + ‖b‖²‖z‖² - 2 (a·b)(h·z)``, to which it is equal, this does not cancel where the
gradients are close: duplicates are at a distance of exactly 0.
"""

from __future__ import annotations

import torch

from skbait._backend import EXACT
from skbait.numerics.distances import nearest_distances, widened
from skbait.numerics.ranking import first_of_largest


def draw(probabilities: torch.Tensor, rng) -> int:
    """Draw one row.

    Parameters
    ----------
    probabilities : torch.Tensor of shape (N,), float64
        Not negative, and not all zero; they need not sum to one.
    rng : numpy.random.RandomState
        One number is drawn from it.

    Returns
    -------
    int
        A position whose probability is not 0.
    """
    total = probabilities.cpu().cumsum(0)  # in order: a sum in parallel has other last digits
    target = torch.nextafter(total[-1], total.new_zeros(()))  # below it a row is always found
    target = torch.minimum(total[-1] * rng.random_sample(), target)
    return int(torch.searchsorted(total, target, right=True))


def uniform(is_open: torch.Tensor) -> torch.Tensor:
    """Return equal probabilities of the rows that are open.

    Parameters
    ----------
    is_open : torch.Tensor of shape (N,), bool
        Which rows.

    Returns
    -------
    torch.Tensor of shape (N,), float64
        The probabilities, 0 for the others.
    """
    return is_open.to(EXACT) / is_open.sum()


def gradient_coefficients(probabilities: torch.Tensor) -> torch.Tensor:
    """Return a = p - e_ŷ, with ŷ the first of the most probable classes.

    Parameters
    ----------
    probabilities : torch.Tensor of shape (N, K)
        Class probabilities p.

    Returns
    -------
    torch.Tensor of shape (N, K), float64
        The coefficients.
    """
    a = probabilities.to(EXACT, copy=True)
    predicted = a.argmax(dim=1, keepdim=True)  # (N, 1)
    return a.scatter_add_(1, predicted, a.new_full((len(a), 1), -1.0))


class GradientSeeding:
    """D² sampling of rows by their gradients: the state after some choices.

    Parameters
    ----------
    coefficients : torch.Tensor of shape (N, K)
        a of every row.
    features : torch.Tensor of shape (N, D)
        h of every row, on the same device.

    Attributes
    ----------
    squared_norms : torch.Tensor of shape (N,), float64
        ‖a ⊗ h‖².
    nearest : torch.Tensor of shape (N,), float64, or None
        Squared distance of every gradient to that of the nearest chosen row; None before the
        first choice.
    """

    def __init__(self, coefficients: torch.Tensor, features: torch.Tensor):
        self.factors = widened(coefficients), widened(features)
        # as distances to the origin, so that equal rows have equal norms to the last bit
        self.factor_norms = [
            nearest_distances(rows, rows.new_zeros(1, rows.shape[1])).square_()
            for rows in self.factors
        ]  # ‖a‖², ‖h‖²
        self.squared_norms = self.factor_norms[0] * self.factor_norms[1]
        self.nearest = None
        self.is_open = torch.ones(len(features), dtype=torch.bool, device=features.device)

    def probabilities(self) -> torch.Tensor:
        """Return the probability of every row to be the next choice.

        Returns
        -------
        torch.Tensor of shape (N,), float64
            Before the first choice, 1 for the row of the largest norm (the first of equal ones).
            Then proportional to `nearest`; where that is 0 for all rows, the same for all that
            are not chosen.
        """
        if self.nearest is None:
            found = torch.zeros_like(self.squared_norms)
            found[first_of_largest(self.squared_norms)] = 1.0
            return found
        top = self.nearest.max()
        if not top > 0:
            return uniform(self.is_open)
        found = self.nearest / top  # the sum of the squares themselves might overflow
        return found.div_(found.sum())

    def add(self, row: int) -> None:
        """Choose a row.

        Parameters
        ----------
        row : int
            Its position.
        """
        added = self.squared_distances(row)
        self.nearest = added if self.nearest is None else torch.minimum(self.nearest, added)
        self.nearest[row] = 0.0
        self.is_open[row] = False

    def squared_distances(self, row: int) -> torch.Tensor:
        """Return the squared distance of every gradient to that of one row.

        Parameters
        ----------
        row : int
            Its position; b and z are its a and h.

        Returns
        -------
        torch.Tensor of shape (N,), float64
            ``‖a ⊗ h - b ⊗ z‖²``, by the formula above.
        """
        a2, h2 = self.factor_norms
        b2, z2 = a2[row], h2[row]
        ab2, hz2 = (nearest_distances(rows, rows[row, None]).square_() for rows in self.factors)
        found = (a2 - b2) * (h2 - z2)
        found += ab2 * (h2 + z2)
        found += hz2 * (a2 + b2)
        found -= ab2 * hz2
        return found.mul_(0.5).clamp_min_(0.0)


def k_means_plus_plus(coefficients: torch.Tensor, features: torch.Tensor, n: int, rng):
    """Choose rows by D² sampling of their gradients a ⊗ h.

    Parameters
    ----------
    coefficients : torch.Tensor of shape (N, K)
        a of every row.
    features : torch.Tensor of shape (N, D)
        h of every row, on the same device.
    n : int
        How many to choose, at most N.
    rng : numpy.random.RandomState
        One number is drawn from it for each choice.

    Returns
    -------
    positions : torch.Tensor of shape (n,), int64
        The choice in order, all different.
    squared_norms : torch.Tensor of shape (N,), float64
        ‖a ⊗ h‖² of every row.

    Notes
    -----
    Time O(n·N·(D + K)); memory that of the factors in float64.
    """
    seeding = GradientSeeding(coefficients, features)
    chosen: list[int] = []
    for _ in range(n):
        if chosen:
            seeding.add(chosen[-1])
        chosen.append(draw(seeding.probabilities(), rng))
    return torch.tensor(chosen), seeding.squared_norms
