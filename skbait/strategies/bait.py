# SPDX-License-Identifier: BSD-3-Clause
"""BAIT: choose rows by the Fisher information of the last layer."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
import torch

from skbait._sklearn import Interval, StrOptions
from skbait.fisher import VARIANTS, WEIGHTINGS, select
from skbait.laplace.likelihood import class_probabilities
from skbait.laplace.on_features import rows_of_head
from skbait.laplace.posterior import posterior_of_head
from skbait.laplace.prediction import mean_field_logits
from skbait.strategies.base import BaseQuery


def mean_field_probabilities(view):
    """Return probabilities of pool and labelled rows under a Laplace posterior of the head.

    Parameters
    ----------
    view : View
        With features and a linear head. The covariance is that of its labelled rows, with the
        categorical likelihood and the prior precision of the largest marginal likelihood.

    Returns
    -------
    tuple of torch.Tensor of shape (N, K) and (L, K), float64
        The probabilities; those of the model where no row is labelled.
    """
    if view.n_labeled == 0:
        return view.pool.probabilities, view.labeled.probabilities

    def posterior():
        mean, link, has_bias = rows_of_head(view.head)
        return posterior_of_head(
            mean,
            view.labeled.features,
            likelihood="categorical",
            prior_precision="auto",
            link=link,
            has_bias=has_bias,
        )

    found = view.once("bait: posterior", posterior)
    return tuple(
        class_probabilities(mean_field_logits(found, rows.features), found.link)
        for rows in (view.pool, view.labeled)
    )


class BaitQuery(BaseQuery):
    """Query by Fisher information of the last layer (BAIT).

    Chooses the rows S that minimise ``tr(M⁻¹F)``: F is the mean Fisher information of the last
    layer over the pool and the labelled rows, and M the information that the labelled rows and S
    carry, plus a prior. Rows are added greedily, more than asked for, and then removed greedily.

    Parameters
    ----------
    estimator : estimator, default=None
        Classifier with a linear last layer: a skorch net, a linear scikit-learn classifier with
        probabilities, `MLPClassifier`, a pipeline or search around one, or what is registered
        with :func:`skbait.representation.represent`. `fit` fits a clone;
        a :class:`~sklearn.frozen.FrozenEstimator` is used as it is. None means
        :class:`~sklearn.linear_model.LogisticRegression`, and X is the embedding itself.
    variant : {"exp", "exact", "binary"}, default="exp"
        Which Fisher information. "exact" takes the expectation over all labels [1]_, "exp" over
        the `top_c` most probable ones, "binary" that of "is the prediction right?" [2]_.
    top_c : int, default=2
        Number of labels in the expectation of ``variant="exp"``, at most the number of classes.
    regularization : "auto" or float, default="auto"
        The prior precision λ. "auto" is ``kappa · tr(F) / P``, with P the number of parameters of
        the last layer: the choice then does not depend on the scale of the features.
    kappa : float, default=0.1
        How large λ is with ``regularization="auto"``, relative to the mean information of a row
        about one parameter; no effect otherwise.
    weighting : {"posterior", "original"}, default="posterior"
        "posterior" counts labelled and chosen rows alike, so that M is the precision of the
        Laplace posterior. "original" weighs them as the published code of BAIT does: 1/(L+n) a
        labelled row, n/(L+n) a chosen one.
    oversample : float, default=2.0
        The forward pass chooses ``oversample · n`` rows, the backward pass removes what exceeds
        n. With 1.0 there is no backward pass.
    fisher_samples : int or None, default=None
        Average F over this many rows drawn at random instead of over all. For pools so large
        that the kernels between all rows (many classes) cost too much.
    probabilities : {"model", "mean_field"}, default="model"
        Whose class probabilities make the information: those of the model, or those of the mean
        field of a Laplace posterior of its linear head [3]_. The latter keep p̂(1 - p̂) from
        vanishing on rows that a network has memorised, but depend on the scale of the features.
    subset_size : int, float or None, default=None
        Choose from a random sub-pool of this many rows (float: this fraction of the pool).
    last_layer : str or None, default=None
        Name of the last linear layer of a net, where there is a choice.
    device : str or torch.device, default="auto"
        Where to compute; "auto" follows the net, else takes CUDA where there is one.
    chunk_size : int or None, default=None
        Rows of the pool computed at a time; None chooses by memory. It never changes the choice.
    random_state : int, RandomState instance or None, default=None
        Seeds the clone of `estimator`, `subset_size` and `fisher_samples`.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.
    classes_ : ndarray of shape (n_classes,)
        The classes of `estimator_`.
    n_features_in_ : int
        Number of features seen in `fit`, where X is a table.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features seen in `fit`, where X has them.
    X_labeled_ : object
        The labelled rows.
    y_labeled_ : ndarray of shape (n_labeled,)
        Their labels.

    See Also
    --------
    MarginQuery : Query by the margin between the two most probable classes.
    RandomQuery : Query at random.

    Notes
    -----
    With N pool rows, L labelled ones, D features, K classes, r rows of a factor (`top_c`, K - 1
    or 1), Q = K - 1 (binary: 1) and m = ``oversample · n`` forward steps, time is
    O(N·D²·Q² + (Q·D)³ + m·N·D·Q·r) or, where Q·D is large, O(N²·(D + r²·Q + r³·L) + m·N·D·Q·r);
    in between, the N² kernels give way to a matrix, O(N·D²·Q² + N·r³·L² + L·(Q·D)²). Memory is
    O(N·(D + r·Q + r²)) plus four (Q·D)² matrices or N·r²·L numbers. Every choice among close
    scores is made in float64, so the picks do not depend on chunks, threads or device; rows with
    the same content are chosen in the order of the pool. (Where λ is below 1e-11 of tr(F), a
    warning says that float64 is not enough.) Utilities are made in the dtype of the features: in
    float32 about three of their digits are the same in any order and size of chunks.

    References
    ----------
    .. [1] J. Ash, S. Goel, A. Krishnamurthy, S. Kakade. Gone Fishing: Neural Active Learning with
       Fisher Embeddings. NeurIPS 2021, arXiv:2106.09675, algorithm 1.
    .. [2] D. Huseljic, P. Hahn, M. Herde, L. Rauch, B. Sick. Fast Fishing: Approximating BAIT for
       Efficient and Scalable Deep Active Image Classification. ECML PKDD 2024, arXiv:2404.08981.
    .. [3] D. Huseljic, M. Herde, L. Rauch, P. Hahn, Z. Huang, D. Kottke, S. Vogt, B. Sick.
       Efficient Bayesian Updates for Deep Active Learning via Laplace Approximations.
       arXiv:2210.06112.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skbait import BaitQuery
    >>> X, y = load_digits(return_X_y=True)
    >>> query = BaitQuery(LogisticRegression(C=0.01), random_state=0).fit(X[:50], y[:50])
    >>> query.query(X[50:], 5).shape
    (5,)
    """

    _parameter_constraints = {
        **BaseQuery._parameter_constraints,
        "variant": [StrOptions(set(VARIANTS))],
        "top_c": [Interval(Integral, 1, None, closed="left")],
        "regularization": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "kappa": [Interval(Real, 0, None, closed="neither")],
        "weighting": [StrOptions(set(WEIGHTINGS))],
        "oversample": [Interval(Real, 1, None, closed="left")],
        "probabilities": [StrOptions({"model", "mean_field"})],
        "fisher_samples": [Interval(Integral, 1, None, closed="left"), None],
        "chunk_size": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        estimator=None,
        *,
        variant="exp",
        top_c=2,
        regularization="auto",
        kappa=0.1,
        weighting="posterior",
        oversample=2.0,
        fisher_samples=None,
        probabilities="model",
        subset_size=None,
        last_layer=None,
        device="auto",
        chunk_size=None,
        random_state=None,
    ):
        super().__init__(
            estimator,
            subset_size=subset_size,
            last_layer=last_layer,
            device=device,
            random_state=random_state,
        )
        self.variant = variant
        self.top_c = top_c
        self.regularization = regularization
        self.kappa = kappa
        self.weighting = weighting
        self.oversample = oversample
        self.fisher_samples = fisher_samples
        self.probabilities = probabilities
        self.chunk_size = chunk_size

    @property
    def _needs(self):
        head = {"head"} if self.probabilities == "mean_field" else set()
        return frozenset({"features", "probabilities"} | head)

    @property
    def _stochastic(self):
        return self.fisher_samples is not None

    def _check_params(self, n_classes=None):
        if self.variant == "exp" and n_classes is not None and self.top_c > n_classes:
            raise ValueError(
                f"top_c={self.top_c} is more than the {n_classes} classes that the estimator has "
                f"seen so far; choose at most {n_classes}, or label rows of more classes first."
            )

    def _select(self, view, n):
        pool, labeled = view.pool, view.labeled
        generator = torch.Generator().manual_seed(int(view.rng.randint(np.iinfo(np.int32).max)))
        dtype = torch.promote_types(pool.features.dtype, labeled.features.dtype)
        p_pool, p_labeled = pool.probabilities, labeled.probabilities
        if self.probabilities == "mean_field":
            p_pool, p_labeled = mean_field_probabilities(view)
        chosen = select(
            pool.features.to(dtype),
            p_pool,
            labeled.features.to(dtype),
            p_labeled,
            n,
            variant=self.variant,
            top_c=int(self.top_c),
            regularization=self.regularization,
            kappa=float(self.kappa),
            weighting=self.weighting,
            oversample=float(self.oversample),
            fisher_samples=self.fisher_samples,
            chunk_size=self.chunk_size,
            generator=generator,
        )
        return chosen.positions, chosen.gains
