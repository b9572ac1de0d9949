# SPDX-License-Identifier: BSD-3-Clause
"""BALD: choose rows on which posterior samples of the model disagree."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
import torch

from skbait._backend import EXACT, for_chunks, rows_per_chunk
from skbait._sklearn import Interval, StrOptions
from skbait.laplace.posterior import sample_heads
from skbait.numerics.ranking import largest
from skbait.representation import Head
from skbait.strategies.base import BaseQuery

__all__ = ["BaldQuery"]


class BaldQuery(BaseQuery):
    """Query by the mutual information between label and parameters (BALD).

    Heads are drawn from a posterior over the last layer. A row is informative where each of them
    is sure of its label and they do not agree.

    Parameters
    ----------
    estimator : estimator, default=None
        Classifier with a linear head on its features, see `BaitQuery`. `fit` fits a clone;
        a :class:`~sklearn.frozen.FrozenEstimator` is used as it is. None means
        :class:`~sklearn.linear_model.LogisticRegression`, and X is the embedding itself.
    posterior : {"laplace", "dropout"}, default="laplace"
        Where heads come from. "laplace": the Laplace approximation around the trained head, with
        one covariance for all classes. "dropout": the trained head with weights of random
        features set to zero.
    n_samples : int, default=50
        How many heads are drawn; the same ones for all rows.
    prior_precision : float, default=1.0
        The λ of ``posterior="laplace"``. It is relative to the squared length of the features.
    dropout : float, default=0.5
        Share of the features that ``posterior="dropout"`` leaves out of each head.
    batch : {"top", "power"}, default="top"
        "top" takes the n largest utilities, which are often alike. "power" draws rows without
        replacement, with probabilities proportional to ``utility ** coldness`` [2]_.
    coldness : float, default=1.0
        Exponent β of ``batch="power"``; the larger, the closer to "top".
    subset_size : int, float or None, default=None
        Choose from a random sub-pool of this many rows (float: this fraction of the pool).
    last_layer : str or None, default=None
        Name of the last linear layer of a net, where there is a choice.
    device : str or torch.device, default="auto"
        Where to compute; "auto" follows the net, else takes CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds the clone of `estimator`, `subset_size`, the heads and the draw of the batch.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.
    classes_ : ndarray of shape (n_classes,)
        The classes of `estimator_`.
    X_labeled_ : object
        The labelled rows.
    y_labeled_ : ndarray of shape (n_labeled,)
        Their labels.
    n_features_in_ : int
        Number of features seen in `fit`, where X is a table.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features seen in `fit`, where X has them.

    See Also
    --------
    BaitQuery : Query by Fisher information of the last layer.
    EntropyQuery : Query by the entropy of the probabilities, which noise raises too.

    Notes
    -----
    With p_s the probabilities of a row under head s of S, and p̄ their mean over s, the utility
    is::

        I = H(p̄) - 1/S Σ_s H(p_s) = 1/S Σ_s KL(p_s ‖ p̄)

    computed as the second form, whose terms are never negative. The heads are::

        laplace: each row of the head, its bias as the last number, from N(μ, Σ),
                 Σ⁻¹ = λ I + Σ_i h_i h_iᵀ over the labelled rows (h with a 1 for the bias)
        dropout: W_s = W diag(m_s) / (1 - dropout), m_s of zeros and ones, the bias as it is

    A mask is one draw for all rows, so that W_s is a set of parameters; common codes draw one for
    each row. ``batch="power"`` takes the n largest of ``β log I + G`` with G from the standard
    Gumbel distribution.

    With N pool rows, L labelled ones, D features, K classes and S heads, time is
    O(S·N·D·K + L·D² + D³), memory O(S·D·K) beyond the features: rows go through the heads in
    blocks, and the S·N·K probabilities are never held. Common codes hold them, and add a
    constant inside the logarithms.

    References
    ----------
    .. [1] N. Houlsby, F. Huszár, Z. Ghahramani, M. Lengyel. Bayesian Active Learning for
       Classification and Preference Learning. 2011, arXiv:1112.5745.
    .. [2] A. Kirsch, S. Farquhar, P. Atighehchian, A. Jesson, F. Branchaud-Charron, Y. Gal.
       Stochastic Batch Acquisition: A Simple Baseline for Deep Active Learning. TMLR 2023,
       arXiv:2106.12059.
    .. [3] Y. Gal, R. Islam, Z. Ghahramani. Deep Bayesian Active Learning with Image Data. ICML
       2017, arXiv:1703.02910 (the dropout posterior).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skbait.strategies.bald import BaldQuery
    >>> X, y = load_digits(return_X_y=True)
    >>> query = BaldQuery(LogisticRegression(C=0.01), random_state=0).fit(X[:50], y[:50])
    >>> query.query(X[50:], 5).shape
    (5,)
    """

    _stochastic = True

    _parameter_constraints = {
        **BaseQuery._parameter_constraints,
        "posterior": [StrOptions({"laplace", "dropout"})],
        "n_samples": [Interval(Integral, 2, None, closed="left")],
        "prior_precision": [Interval(Real, 0, None, closed="neither")],
        "dropout": [Interval(Real, 0, 1, closed="neither")],
        "batch": [StrOptions({"top", "power"})],
        "coldness": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        estimator=None,
        *,
        posterior="laplace",
        n_samples=50,
        prior_precision=1.0,
        dropout=0.5,
        batch="top",
        coldness=1.0,
        subset_size=None,
        last_layer=None,
        device="auto",
        random_state=None,
    ):
        super().__init__(
            estimator,
            subset_size=subset_size,
            last_layer=last_layer,
            device=device,
            random_state=random_state,
        )
        self.posterior = posterior
        self.n_samples = n_samples
        self.prior_precision = prior_precision
        self.dropout = dropout
        self.batch = batch
        self.coldness = coldness

    @property
    def _needs(self):
        needs = {"features", "head"}
        return frozenset(needs | {"samples"} if self.posterior == "laplace" else needs)

    def _select(self, view, n):
        utilities = mutual_information(view.pool.features, self._draw_heads(view))  # (N,)
        if self.batch == "top":
            return largest(utilities, n), utilities
        noise = torch.from_numpy(view.rng.gumbel(size=len(utilities))).to(utilities.device)
        keys = self.coldness * utilities.log() + noise  # minus infinity where nothing is to learn
        return torch.argsort(keys, descending=True, stable=True)[:n], utilities

    def _draw_heads(self, view):
        """Return heads drawn from the posterior."""
        generator = torch.Generator().manual_seed(int(view.rng.randint(np.iinfo(np.int32).max)))
        weight, bias, link = view.head.weight.to(EXACT), view.head.bias.to(EXACT), view.head.link
        if self.posterior == "laplace":
            weights, biases = sample_heads(
                weight,
                bias if bias.any() else None,  # zeros: there is no bias to be unsure of
                view.labeled.features,
                n_samples=int(self.n_samples),
                prior_precision=float(self.prior_precision),
                generator=generator,
            )  # (S, K', D), (S, K')
        else:
            shape = (int(self.n_samples), weight.shape[1])
            draws = torch.rand(shape, generator=generator, dtype=torch.float32)  # (S, D)
            kept = (draws >= self.dropout).to(weight) / (1.0 - self.dropout)
            weights, biases = weight * kept[:, None, :], bias.expand(len(kept), -1)
        return [Head(w, b, link) for w, b in zip(weights, biases, strict=True)]


def mutual_information(features, heads):
    """Return the mutual information between the label of each row and the head.

    Parameters
    ----------
    features : torch.Tensor of shape (N, D)
        The rows.
    heads : list of Head
        S equally probable heads, in float64.

    Returns
    -------
    torch.Tensor of shape (N,), float64
        From 0 to log K.
    """
    found = torch.empty(len(features), dtype=EXACT, device=features.device)

    def measure(rows: slice) -> None:
        h = features[rows].to(EXACT)
        p = torch.stack([head.probabilities(h) for head in heads])  # (S, rows, K)
        mean = p.mean(dim=0)  # (rows, K)
        # With t = p/p̄ - 1, of mean 0: p log(p/p̄) has the mean of p̄ ((1 + t) log(1 + t) - t) >= 0
        t = p.sub_(mean).div_(mean.clamp_min(torch.finfo(EXACT).tiny))
        terms = torch.special.xlog1py(1 + t, t).sub_(t)
        found[rows] = terms.mean(dim=0).mul_(mean).sum(dim=1).clamp_min_(0.0)

    width = 4 * len(heads) * heads[0].n_classes + features.shape[1]
    for_chunks(
        measure, len(features), rows_per_chunk(8 * width, len(features), device=features.device)
    )
    return found
