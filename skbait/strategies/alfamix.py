# SPDX-License-Identifier: BSD-3-Clause
"""AlfaMix: rows whose prediction changes when their features are mixed with labelled ones."""

from __future__ import annotations

import math
from numbers import Real

import numpy as np
import torch

from skbait._backend import EXACT, for_chunks, rows_per_chunk
from skbait._sklearn import Interval
from skbait.representation import Head
from skbait.strategies._clusters import spread_choice
from skbait.strategies._flips import class_weights, overtaken
from skbait.strategies.base import BaseQuery

__all__ = ["AlfaMixQuery"]


class AlfaMixQuery(BaseQuery):
    """Query one row of each of n clusters of those whose prediction a little mixing changes.

    The features of a row are mixed with the mean features of each labelled class, so little and
    in such proportions that the loss of the predicted label grows fastest. Rows whose prediction
    changes for any class are candidates. k-means puts them into n clusters by the direction of
    their features, and the row nearest to each centre is chosen [1]_.

    Parameters
    ----------
    estimator : estimator, default=None
        Classifier with a linear last layer: a skorch net, a linear scikit-learn classifier with
        probabilities, `MLPClassifier`, a pipeline or search around one. `fit` fits a clone;
        a :class:`~sklearn.frozen.FrozenEstimator` is used as it is. None means
        :class:`~sklearn.linear_model.LogisticRegression`, and X is the embedding itself.
    eps : float, default=0.2
        How much is mixed: ε is ``eps / √D`` with D features.
    subset_size : int, float or None, default=None
        Choose from a random sub-pool of this many rows (float: this fraction of the pool).
    last_layer : str or None, default=None
        Name of the last linear layer of a net, where there is a choice.
    device : str or torch.device, default="auto"
        Where to compute; "auto" follows the net, else takes CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds the clone of `estimator`, `subset_size`, k-means, and what is drawn where there are
        too few candidates.

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
    DropQuery : Candidates by dropout; the same clustering.

    Notes
    -----
    For a row with features h and predicted label ŷ, an anchor h* and the gradient
    ``g = ∂(-log p_ŷ)/∂h`` the closed form of [1]_ mixes elementwise,

        ``α = ε ‖h* - h‖ g / (‖g‖ (h* - h))``,    ``h̃ = (1 - α) h + α h*``,    ``ε = eps / √D``

    The quotient cancels: ``h̃ = h + ε ‖h* - h‖ g/‖g‖``. All anchors move a row in the same
    direction, along which the logits are linear, so that a label once overtaken stays so:
    **a row changes for any anchor if it does for the farthest.** That is what is computed, with
    time O(N·D·(A + K)) for N pool rows, A labelled classes and K classes instead of O(N·A·D·K),
    and then k-means from a single start over the M candidates, O(M·n·D) a step (on mini-batches
    where M·n is above five million). Memory is O(N + M·D). Rows come in the order of the size of
    their clusters.

    The gradient is that of the head at hand: ``Wᵀ(p - e_ŷ)`` for softmax, and likewise for a
    single logit; for one-against-rest heads, whose p are sigmoids scaled to a sum of one,
    ``Wᵀ((1 - σ) ⊙ (p - e_ŷ))``. Where it is zero (a certain prediction) a row stays as it is.

    The public code uses the mean of *all* labelled rows as the anchor of a class without labels;
    here there are anchors only for classes that have some, and no candidates while there is no
    label at all. Where h and h* agree in a coordinate the quotient above is 0/0; the public code
    leaves such coordinates as they are by adding 1e-8 below, here they move by the limit. The
    public code can also enlarge ε until there are enough candidates; here, as in [1]_, what is
    missing is drawn at random.

    References
    ----------
    .. [1] A. Parvaneh, E. Abbasnejad, D. Teney, R. Haffari, A. van den Hengel, J. Q. Shi. Active
       Learning by Feature Mixing. CVPR 2022, arXiv:2203.07034.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skbait.strategies.alfamix import AlfaMixQuery
    >>> X, y = load_digits(return_X_y=True)
    >>> query = AlfaMixQuery(LogisticRegression(C=0.01), random_state=0).fit(X[:50], y[:50])
    >>> query.query(X[50:], 5).shape
    (5,)
    """

    _needs = frozenset({"features", "head"})

    _stochastic = True

    _parameter_constraints = {
        **BaseQuery._parameter_constraints,
        "eps": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        estimator=None,
        *,
        eps=0.2,
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
        self.eps = eps

    def _select(self, view, n):
        features = view.pool.features
        anchors = view.once(
            (__name__, "anchors"), lambda: class_means(view.labeled.features, view.y_labeled)
        )
        changes = changed_by_mixing(features, view.head, anchors, float(self.eps))  # (N,)
        candidates = torch.nonzero(changes)[:, 0].cpu().numpy()
        return spread_choice(features, candidates, n, view.rng), None


def class_means(features: torch.Tensor, y: np.ndarray) -> torch.Tensor:
    """Return the mean features (A, D) of the classes that are among the labels, in float64."""
    labels, index = np.unique(y, return_inverse=True)
    index = torch.from_numpy(index).to(features.device)
    sums = torch.zeros(len(labels), features.shape[1], dtype=EXACT, device=features.device)
    sums.index_add_(0, index, features.to(EXACT))
    return sums / torch.bincount(index, minlength=len(labels))[:, None]


def changed_by_mixing(
    features: torch.Tensor, head: Head, anchors: torch.Tensor, eps: float
) -> torch.Tensor:
    """Tell which predictions change when rows are mixed with any of the anchors.

    Parameters
    ----------
    features : torch.Tensor of shape (N, D)
        Features h of the rows.
    head : Head
        The linear head.
    anchors : torch.Tensor of shape (A, D), float64
        Features to mix with; none: nothing changes.
    eps : float
        How much is mixed, times √D.

    Returns
    -------
    torch.Tensor of bool of shape (N,)
        Whether the row's label is overtaken.
    """
    n_rows, width = features.shape
    changes = torch.zeros(n_rows, dtype=torch.bool, device=features.device)
    if len(anchors) == 0:
        return changes
    weight, bias = class_weights(head, features.device)  # (K, D), (K,)
    middle = anchors.mean(dim=0)  # distances from near by: they are sums of large squares else
    anchors = anchors - middle

    def mix(rows: slice) -> None:
        h = features[rows].to(EXACT)  # (B, D)
        logits = h @ weight.T + bias  # (B, K)
        labels = logits.argmax(dim=1)
        g = loss_gradient(logits, labels, head.link) @ weight  # (B, D), up to a factor
        norms = torch.linalg.vector_norm(g, dim=1, keepdim=True)
        g = g / torch.where(norms > 0, norms, torch.ones_like(norms))
        farthest = torch.cdist(  # (B,)
            h - middle, anchors, compute_mode="use_mm_for_euclid_dist"
        ).amax(dim=1)
        step = eps / math.sqrt(width) * farthest
        changes[rows] = overtaken(logits + step[:, None] * (g @ weight.T), labels)

    per_row = 8 * (4 * width + 4 * len(weight) + len(anchors))
    for_chunks(mix, n_rows, rows_per_chunk(per_row, n_rows, device=features.device))
    return changes


def loss_gradient(logits: torch.Tensor, labels: torch.Tensor, link: str) -> torch.Tensor:
    """Return the direction of the gradient of ``-log p_label`` with respect to logits.

    Parameters
    ----------
    logits : torch.Tensor of shape (B, K), float64
        A logit for every class.
    labels : torch.Tensor of int64 of shape (B,)
        A class for each row.
    link : {"softmax", "sigmoid", "ovr"}
        How logits become probabilities p; "sigmoid" is "softmax" with a logit for each of two
        classes.

    Returns
    -------
    torch.Tensor of shape (B, K)
        The gradient, ``p - e_label`` for softmax and ``(1 - σ) ⊙ (p - e_label)`` for
        one-against-rest, scaled such that its largest entry is 1; zeros where all others are.
    """
    ovr = link == "ovr"
    others = torch.softmax(torch.nn.functional.logsigmoid(logits) if ovr else logits, dim=1)
    own = labels[:, None]
    others = others.scatter(1, own, 0.0)  # (B, K), p of the other classes
    # p_label - 1 would be zero already where p_label is 1 but for rounding
    gradient = others.scatter(1, own, -others.sum(dim=1, keepdim=True))
    if ovr:
        gradient = gradient * torch.sigmoid(-logits)
    peak = gradient.abs().amax(dim=1, keepdim=True)  # small numbers would vanish when squared
    return gradient / torch.where(peak > 0, peak, torch.ones_like(peak))
