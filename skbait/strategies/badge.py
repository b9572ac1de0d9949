# SPDX-License-Identifier: BSD-3-Clause
"""BADGE: choose diverse rows with large gradients."""

from __future__ import annotations

from skbait.numerics.seeding import gradient_coefficients, k_means_plus_plus
from skbait.strategies.base import BaseQuery

__all__ = ["BadgeQuery"]


class BadgeQuery(BaseQuery):
    """Query by D² sampling of gradient embeddings (BADGE).

    The embedding of a row is the gradient of the loss of its predicted label with respect to the
    last layer: long where the model is uncertain. Rows are drawn as k-means++ draws its first
    centres, each with a probability proportional to the squared distance of its embedding to the
    nearest one chosen before.

    Parameters
    ----------
    estimator : estimator, default=None
        Classifier with a linear last layer: a skorch net, a linear scikit-learn classifier with
        probabilities, `MLPClassifier`, a pipeline or search around one, or what is registered
        with :func:`skbait.representation.represent`. `fit` fits a clone;
        a :class:`~sklearn.frozen.FrozenEstimator` is used as it is. None means
        :class:`~sklearn.linear_model.LogisticRegression`, and X is the embedding itself.
    subset_size : int, float or None, default=None
        Choose from a random sub-pool of this many rows (float: this fraction of the pool).
    last_layer : str or None, default=None
        Name of the last linear layer of a net, where there is a choice.
    device : str or torch.device, default="auto"
        Where to compute; "auto" follows the net, else takes CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds the clone of `estimator`, `subset_size` and the sampling.

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
    BaitQuery : Query by Fisher information, for which the gradients under all labels count.
    CoreSetQuery : Query the rows farthest from everything labelled.

    Notes
    -----
    With p the probabilities and h the features of a row, ŷ its most probable class and S the rows
    chosen so far::

        g(x) = (p - e_ŷ) ⊗ h                            K·D numbers, never formed
        first choice: the largest ‖g(x)‖ = ‖p - e_ŷ‖ ‖h‖
        then: P(x) ∝ min over s in S of ‖g(x) - g(s)‖²

    The distances follow from those of p - e_ŷ and of h, see `skbait.numerics.seeding`. Labelled
    rows play no part. Where all distances are 0, rows that are not chosen are equally probable.
    Utilities are ‖g(x)‖².

    With N rows, D features and K classes, time is O(n·N·(D + K)), memory O(N·(D + K)).

    The published form needs the N × K·D embeddings, 7.7 GB in float32 at N = 50,000, D = 384 and
    K = 100, and divides by zero once only duplicates of chosen rows are left; versions built on
    scikit-learn's k-means++ begin at a random row and may return fewer than n rows. Distances here
    are exact to float64, 0 for duplicates and the same whatever the chunks and threads; rows are
    always distinct.

    References
    ----------
    .. [1] J. Ash, C. Zhang, A. Krishnamurthy, J. Langford, A. Agarwal. Deep Batch Active Learning
       by Diverse, Uncertain Gradient Lower Bounds. ICLR 2020, arXiv:1906.03671, algorithm 1.
    .. [2] D. Arthur, S. Vassilvitskii. k-means++: The Advantages of Careful Seeding. SODA 2007.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skbait.strategies.badge import BadgeQuery
    >>> X, y = load_digits(return_X_y=True)
    >>> query = BadgeQuery(LogisticRegression(C=0.01), random_state=0).fit(X[:50], y[:50])
    >>> query.query(X[50:], 5).shape
    (5,)
    """

    _needs = frozenset({"features", "probabilities"})
    _stochastic = True

    def __init__(
        self,
        estimator=None,
        *,
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

    def _select(self, view, n):
        coefficients = gradient_coefficients(view.pool.probabilities)  # (N, K)
        return k_means_plus_plus(coefficients, view.pool.features, n, view.rng)
