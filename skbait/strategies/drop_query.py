# SPDX-License-Identifier: BSD-3-Clause
"""DropQuery: rows whose prediction does not survive dropout, one from each of n clusters."""

from __future__ import annotations

from numbers import Integral, Real

import torch

from skbait._backend import EXACT
from skbait._sklearn import Interval
from skbait.representation import Head
from skbait.strategies._clusters import draw_seed, spread_choice
from skbait.strategies._flips import class_weights, overtaken
from skbait.strategies.base import BaseQuery

__all__ = ["DropQuery", "drop_candidates"]

# Rows that get their masks by one call of the generator. Never another number: which features of
# a row are dropped must not depend on the memory that there is.
_MASK_ROWS = 1024


class DropQuery(BaseQuery):
    """Query one row of each of n clusters of those whose prediction changes under dropout.

    Features are dropped at random, three times, and the linear head predicts from what is left.
    Rows whose predicted label changes in most of the passes are candidates. k-means puts them
    into n clusters by the direction of their features, and the row nearest to each centre is
    chosen [1]_.

    Parameters
    ----------
    estimator : estimator, default=None
        Classifier with a linear last layer: a skorch net, a linear scikit-learn classifier with
        probabilities, `MLPClassifier`, a pipeline or search around one. `fit` fits a clone;
        a :class:`~sklearn.frozen.FrozenEstimator` is used as it is. None means
        :class:`~sklearn.linear_model.LogisticRegression`, and X is the embedding itself.
    n_passes : int, default=3
        Number of predictions under dropout.
    dropout : float, default=0.75
        Probability that a feature is dropped; those kept are scaled by ``1 / (1 - dropout)``.
    min_candidates : int, default=25
        Candidates wanted for each row to choose. Where ``min_candidates · n`` rows do not change
        in most of the passes, rows that change less often are taken too, and at last all.
    subset_size : int, float or None, default=None
        Choose from a random sub-pool of this many rows (float: this fraction of the pool).
    last_layer : str or None, default=None
        Name of the last linear layer of a net, where there is a choice.
    device : str or torch.device, default="auto"
        Where to compute; "auto" follows the net, else takes CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds the clone of `estimator`, `subset_size`, dropout and k-means.

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
    AlfaMixQuery : Candidates by mixing with labelled rows; the same clustering.

    Notes
    -----
    With features h and logits ``z(h) = W h + b``, a row is a candidate if

        ``#{t : argmax z(m_t ⊙ h / (1 - dropout)) ≠ argmax z(h)} > n_passes / 2``

    for masks m_t whose entries are 1 with probability ``1 - dropout``; the bound is lowered by
    one until there are ``min_candidates · n`` candidates. With N pool rows, D features, K
    classes, M candidates and n to choose, time is O(n_passes·N·D·(K + 1) + M·n·D) (k-means from a
    single start; on mini-batches where M·n is above five million), memory O(N + M·D). Rows come
    in the order of the size of their clusters.

    The public code draws its masks from the global random state, on whatever device it runs.
    Here a seed decides, the same on every device, and rows are distinct even where candidates
    are duplicates: what k-means cannot fill is drawn from the candidates, then from the pool.

    References
    ----------
    .. [1] S. R. Gupte, J. Aklilu, J. J. Nirschl, S. Yeung-Levy. Revisiting Active Learning in the
       Era of Vision Foundation Models. TMLR 2024, arXiv:2401.14555.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skbait.strategies.drop_query import DropQuery
    >>> X, y = load_digits(return_X_y=True)
    >>> query = DropQuery(LogisticRegression(C=0.01), random_state=0).fit(X[:50], y[:50])
    >>> query.query(X[50:], 5).shape
    (5,)
    """

    _needs = frozenset({"features", "head"})

    _stochastic = True

    _parameter_constraints = {
        **BaseQuery._parameter_constraints,
        "n_passes": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="neither")],
        "min_candidates": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        estimator=None,
        *,
        n_passes=3,
        dropout=0.75,
        min_candidates=25,
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
        self.n_passes = n_passes
        self.dropout = dropout
        self.min_candidates = min_candidates

    def _select(self, view, n):
        features = view.pool.features
        candidates = drop_candidates(
            features,
            view.head,
            n,
            torch.Generator().manual_seed(draw_seed(view.rng)),
            n_passes=int(self.n_passes),
            dropout=float(self.dropout),
            min_candidates=int(self.min_candidates),
        )
        return spread_choice(features, candidates.cpu().numpy(), n, view.rng), None


def drop_candidates(
    features: torch.Tensor,
    head: Head,
    n: int,
    generator: torch.Generator,
    *,
    n_passes: int = 3,
    dropout: float = 0.75,
    min_candidates: int = 25,
) -> torch.Tensor:
    """Return the rows whose predicted label changes under dropout of their features.

    Parameters
    ----------
    features : torch.Tensor of shape (N, D)
        Input of the linear head.
    head : Head
        The linear head.
    n : int
        How many rows will be chosen of the candidates.
    generator : torch.Generator
        Draws the masks; on the CPU, whatever the device of the features.
    n_passes : int, default=3
        Number of predictions under dropout.
    dropout : float, default=0.75
        Probability that a feature is dropped.
    min_candidates : int, default=25
        How many candidates for each of the n rows are wanted at least.

    Returns
    -------
    torch.Tensor of int64 of shape (M,)
        Positions, ascending: the rows that change in more than half of the passes, or in fewer
        where these are less than ``min_candidates · n``, or all.

    See Also
    --------
    skbait.DropQuery : Clusters the candidates, and takes a row of each cluster.

    Examples
    --------
    >>> import torch
    >>> from skbait.representation import Head
    >>> from skbait.strategies.drop_query import drop_candidates
    >>> features = torch.tensor([[1.0, 0.9], [9.0, 0.0]])
    >>> head = Head(torch.eye(2), torch.zeros(2))
    >>> generator = torch.Generator().manual_seed(0)
    >>> drop_candidates(features, head, 1, generator, dropout=0.5, min_candidates=1)
    tensor([0])
    """
    changes = _count_changes(features, head, generator, n_passes, dropout)  # (N,)
    wanted = min(min_candidates * n, len(changes))
    bound = n_passes // 2 + 1
    while int((changes >= bound).sum()) < wanted:
        bound -= 1
    return torch.nonzero(changes >= bound)[:, 0]


def _count_changes(features, head, generator, n_passes, dropout):
    """Return in how many passes each row gets another label than without dropout, (N,)."""
    device = features.device
    weight, bias = class_weights(head, device)  # (K, D), (K,)
    changes = torch.empty(len(features), dtype=torch.int64, device=device)
    for start in range(0, len(features), _MASK_ROWS):
        rows = features[start : start + _MASK_ROWS].to(EXACT)  # (B, D)
        labels = (rows @ weight.T + bias).argmax(dim=1)  # (B,)
        scaled = rows / (1 - dropout)
        count = torch.zeros_like(labels)
        for _ in range(n_passes):
            draws = torch.rand(rows.shape, generator=generator, dtype=torch.float32)  # (B, D)
            kept = draws >= dropout
            count += overtaken((scaled * kept.to(device)) @ weight.T + bias, labels)
        changes[start : start + _MASK_ROWS] = count
    return changes
