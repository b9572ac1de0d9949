# SPDX-License-Identifier: BSD-3-Clause
"""The Laplace posterior of a last linear layer: a Gaussian, its construction, its samples.

The weights of class k, with the bias as their last number, are μ_k (P,), P = D + 1 or D. With one
covariance for all classes (``shared``) they are independent, ``w_k ~ N(μ_k, Σ)``; with the full
one they are one vector of K·P numbers, class after class. Both are the same thing: `copies`
vectors of `blocks`·P numbers with a common covariance, where shared means K copies of one block
and full means one copy of K blocks.

The precision, of which the covariance is the inverse, is

    shared:  λ I + Σ_i m_i h_i h_iᵀ,        m_i = 1 ("gaussian") or p̂_i (1 - p̂_i) ("categorical")
    full:    λ I + Σ_i W_i ⊗ h_i h_iᵀ,      W_i = diag(p_i) - p_i p_iᵀ

so a row adds ``Jᵀ Aᵀ A J`` with J = I ⊗ hᵀ of `blocks` rows and a small root A of its curvature.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from skbait._backend import EXACT, rows_per_chunk
from skbait.laplace.evidence import best_prior_precision
from skbait.laplace.likelihood import curvature_root, response, top_variance


def with_bias(features: torch.Tensor, has_bias: bool) -> torch.Tensor:
    """Return features (N, D) in float64, with a column of ones where the head has a bias."""
    features = features.to(EXACT)
    if not has_bias:
        return features
    return torch.cat([features, features.new_ones(len(features), 1)], dim=1)


def row_chunks(features: torch.Tensor, columns: int) -> Iterator[slice]:
    """Yield slices of rows for which float64 matrices of so many columns stay small."""
    size = rows_per_chunk(8 * columns, len(features), device=features.device)
    for start in range(0, len(features), size):
        yield slice(start, start + size)


def inverse(precision: torch.Tensor) -> torch.Tensor:
    """Return the inverse of a precision matrix, exactly symmetric, or say what is wrong."""
    covariance = torch.cholesky_inverse(_cholesky(precision))
    return ((covariance + covariance.T) * 0.5).contiguous()


def _cholesky(precision):
    root, info = torch.linalg.cholesky_ex(precision)
    if bool(info.any()):
        raise ArithmeticError(
            "the posterior precision is not positive definite in float64: prior_precision is too "
            "small for features of this scale, or they are not finite. Raise prior_precision or "
            "scale the features down."
        )
    return root


@dataclass(frozen=True)
class Posterior:
    """A Gaussian over the weights of a head. Its tensors (float64) are not to be written to.

    Parameters
    ----------
    mean : torch.Tensor of shape (K, P)
        Mean of the weights, the bias last.
    precision, covariance : torch.Tensor of shape (P, P) or (K·P, K·P)
        Shared by the classes, or full. Each is the inverse of the other.
    prior_precision : float
        λ.
    likelihood : {"gaussian", "categorical"}
        Curvature of a row in a shared covariance.
    link : {"softmax", "ovr"}
        How logits become probabilities.
    has_bias : bool
        Whether P = D + 1.
    downdates : int
        Rank of what was taken from `covariance` since it was computed from `precision` afresh.
    """

    mean: torch.Tensor
    precision: torch.Tensor
    covariance: torch.Tensor
    prior_precision: float
    likelihood: str
    link: str
    has_bias: bool
    downdates: int = 0

    @classmethod
    def prior(
        cls,
        mean: torch.Tensor,
        *,
        covariance: str = "shared",
        likelihood: str = "gaussian",
        prior_precision: float = 1.0,
        link: str = "softmax",
        has_bias: bool = True,
    ) -> Posterior:
        """Return the Gaussian before any row: precision λ I around a mean (K, P)."""
        mean = mean.to(EXACT)
        blocks = len(mean) if covariance == "full" else 1
        eye = torch.eye(blocks * mean.shape[1], dtype=EXACT, device=mean.device)
        return cls(
            mean,
            eye * prior_precision,
            eye / prior_precision,
            float(prior_precision),
            likelihood,
            link,
            has_bias,
        )

    @property
    def n_classes(self) -> int:
        """K."""
        return self.mean.shape[0]

    @property
    def width(self) -> int:
        """P, the number of weights of a class."""
        return self.mean.shape[1]

    @property
    def blocks(self) -> int:
        """1 where the covariance is shared, K where it is full."""
        return len(self.precision) // self.width

    @property
    def copies(self) -> int:
        """K where the covariance is shared, 1 where it is full."""
        return self.n_classes // self.blocks

    def rows(self, features: torch.Tensor) -> torch.Tensor:
        """Return features (n, D) as rows (n, P) in float64."""
        return with_bias(features, self.has_bias)

    def roots(self, r: torch.Tensor) -> torch.Tensor:
        """Return the root A of the curvature of rows with response r (n, K); (n, b, b)."""
        if self.blocks > 1:
            return curvature_root(r, self.link)
        if self.likelihood == "gaussian":
            return torch.ones_like(r[:, :1, None])
        return top_variance(r, self.link).sqrt()[:, None, None]

    def added(self, precision, rows: torch.Tensor, roots: torch.Tensor) -> torch.Tensor:
        """Return a precision plus the information of rows (n, P) with roots (n, b, b)."""
        if self.blocks == 1:
            scaled = rows * roots[:, 0]
            return torch.addmm(precision, scaled.T, scaled)
        weights = roots.mT @ roots  # (n, K, K)
        strips = [
            rows.T @ (weights[:, k, :, None] * rows[:, None, :]).reshape(len(rows), -1)
            for k in range(self.blocks)
        ]
        return precision + torch.cat(strips)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, K) at the mean."""
        return self.rows(features) @ self.mean.T

    @property
    def contrasts(self) -> bool:
        """Whether logits count less their mean over the classes.

        So it is under a softmax, which does not see what they have in common. That is known by the
        prior alone, and a full covariance holds it.
        """
        return self.blocks > 1 and self.link == "softmax"

    def own_covariances(self) -> torch.Tensor:
        """Return the covariance (b, P, P) of each class's weights, or of their `contrasts`."""
        image = self.covariance.view(self.blocks, self.width, self.blocks, self.width)
        own = image.diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # (b, P, P)
        if self.contrasts:
            with_mean = image.mean(dim=2)  # covariance of each with the mean of all
            own = own - with_mean - with_mean.mT + with_mean.mean(dim=0)
        return own

    def with_classes(self, order: torch.Tensor) -> Posterior:
        """Return the posterior with further classes, whose weights have their prior around zero.

        Parameters
        ----------
        order : torch.Tensor of shape (K',), K' >= K
            Which class comes where: k < K is a present one, and a larger number a new one.
        """
        n_new = len(order) - self.n_classes
        order = order.to(self.mean.device)
        mean = torch.cat([self.mean, self.mean.new_zeros(n_new, self.width)])[order]
        if self.blocks == 1:
            return replace(self, mean=mean)
        own = torch.arange(self.width, device=order.device)
        weights = (order[:, None] * self.width + own).flatten()  # where each weight was
        eye = torch.eye(n_new * self.width, dtype=EXACT, device=order.device)
        matrices = {}
        for name, corner in (
            ("precision", self.prior_precision * eye),
            ("covariance", eye / self.prior_precision),
        ):
            whole = torch.block_diag(getattr(self, name), corner)
            matrices[name] = whole[weights][:, weights]
        return replace(self, mean=mean, **matrices)

    def sample(self, n_samples: int, generator: torch.Generator) -> torch.Tensor:
        """Draw heads (n_samples, K, P); the same on every device for a generator on the CPU."""
        shape = (n_samples * self.copies, len(self.precision))
        noise = torch.randn(shape, dtype=EXACT, device=generator.device, generator=generator)
        root = _cholesky(self.precision)
        # Λ = L Lᵀ, so that L⁻ᵀ z has the covariance Λ⁻¹
        moves = torch.linalg.solve_triangular(root.T, noise.to(root.device).T, upper=True).T
        return self.mean + moves.reshape(n_samples, self.n_classes, self.width)


def posterior_of_head(
    mean: torch.Tensor,
    features: torch.Tensor,
    *,
    covariance: str = "shared",
    likelihood: str = "gaussian",
    prior_precision: float | str = 1.0,
    link: str = "softmax",
    has_bias: bool = True,
    weights: torch.Tensor | None = None,
) -> Posterior:
    """Return the posterior around a trained head.

    Parameters
    ----------
    mean : torch.Tensor of shape (K, P)
        The head, a row a class, the bias last where there is one.
    features : torch.Tensor of shape (L, D)
        All rows that it was trained on.
    covariance : {"shared", "full"}, default="shared"
        One (P, P) covariance for all classes, or the (K·P, K·P) one of all weights.
    likelihood : {"gaussian", "categorical"}, default="gaussian"
        Curvature of a row in a shared covariance; the full one has that of the link.
    prior_precision : float or "auto", default=1.0
        λ; "auto": that of the largest evidence.
    link : {"softmax", "ovr"}, default="softmax"
        How logits become probabilities.
    has_bias : bool, default=True
        Whether P = D + 1.
    weights : torch.Tensor of shape (L,) or None, default=None
        How often each row counts; None: once.

    Returns
    -------
    Posterior
        The posterior.
    """
    options = {"likelihood": likelihood, "link": link, "has_bias": has_bias}
    start = Posterior.prior(mean, covariance=covariance, **options)
    information = torch.zeros_like(start.precision)
    for chunk in row_chunks(features, len(information)):
        rows = start.rows(features[chunk])
        roots = start.roots(response(rows @ start.mean.T, link))
        if weights is not None:
            roots = roots * weights[chunk].to(EXACT).sqrt()[:, None, None]
        information = start.added(information, rows, roots)
    lam = prior_precision
    if lam == "auto":
        lam = best_prior_precision(information, start.mean)
    precision = information
    precision.diagonal().add_(lam)
    return replace(
        start, precision=precision, covariance=inverse(precision), prior_precision=float(lam)
    )


def sample_heads(
    head_weight: torch.Tensor,
    head_bias: torch.Tensor | None,
    features_labeled: torch.Tensor,
    *,
    n_samples: int,
    prior_precision: float = 1.0,
    likelihood: str = "gaussian",
    probabilities: torch.Tensor | None = None,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw heads from the Laplace posterior with one covariance for all logits.

    Each row of the head, its bias as the last number, is drawn from N(μ, Σ) with::

        Σ⁻¹ = λ I + Σ_i m_i h_i h_iᵀ

    Parameters
    ----------
    head_weight : torch.Tensor of shape (K', D)
        The trained head; K' = 1 for a model with a single logit.
    head_bias : torch.Tensor of shape (K',) or None
        Its bias; None: it has none, and the drawn ones are zero.
    features_labeled : torch.Tensor of shape (L, D)
        The rows that it was trained on; L may be 0.
    n_samples : int
        How many heads to draw, S.
    prior_precision : float, default=1.0
        The λ.
    likelihood : {"gaussian", "categorical"}, default="gaussian"
        m_i = 1, or p̂_i (1 - p̂_i) with p̂ the largest probability.
    probabilities : torch.Tensor of shape (L, K) or None, default=None
        Probabilities of the labelled rows, for "categorical".
    generator : torch.Generator
        Where the randomness comes from. On the CPU it gives the same heads for every device.

    Returns
    -------
    weights : torch.Tensor of shape (S, K', D), float64
        Weights of the drawn heads.
    biases : torch.Tensor of shape (S, K'), float64
        Their biases.

    See Also
    --------
    skbait.BaldQuery : Asks where such heads disagree.
    skbait.LaplaceClassifier.sample : Draws from the posterior of a fitted classifier.

    Examples
    --------
    >>> import torch
    >>> from skbait.laplace import sample_heads
    >>> weights, biases = sample_heads(
    ...     torch.zeros(3, 2),
    ...     torch.zeros(3),
    ...     torch.ones(5, 2),
    ...     n_samples=10,
    ...     generator=torch.Generator().manual_seed(0),
    ... )
    >>> weights.shape, biases.shape
    (torch.Size([10, 3, 2]), torch.Size([10, 3]))
    """
    has_bias = head_bias is not None
    mean = head_weight.to(EXACT)
    if has_bias:
        mean = torch.cat([mean, head_bias.to(EXACT)[:, None]], dim=1)
    rows = with_bias(features_labeled, has_bias)
    if likelihood == "categorical":
        top = probabilities.to(EXACT).amax(dim=1, keepdim=True)
        rows = rows * (top * (1 - top)).clamp_min(0).sqrt()
    prior = Posterior.prior(mean, prior_precision=prior_precision, has_bias=has_bias)
    heads = replace(prior, precision=prior.precision + rows.T @ rows).sample(n_samples, generator)
    if not has_bias:
        return heads, heads.new_zeros(heads.shape[:2])
    return heads[..., :-1], heads[..., -1]
