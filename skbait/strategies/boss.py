# SPDX-License-Identifier: BSD-3-Clause
"""BoSS: of many strategies' batches the one that helps most, by labels nobody has in practice."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from skbait._sklearn import Interval, StrOptions
from skbait.laplace.on_features import SHARED_STEP
from skbait.laplace.posterior import posterior_of_head
from skbait.numerics.heads import LOSSES, score_heads, train_heads, update_heads
from skbait.strategies._checks import as_candidates
from skbait.strategies._clusters import draw_seed
from skbait.strategies._flips import class_weights
from skbait.strategies._members import EnsembleQuery, Job, choose_all, draw_seeds
from skbait.strategies._oracle_members import DropQueryOracle, TypiClustOracle
from skbait.strategies.alfamix import AlfaMixQuery
from skbait.strategies.badge import BadgeQuery
from skbait.strategies.bait import BaitQuery
from skbait.strategies.core_set import CoreSetQuery
from skbait.strategies.drop_query import DropQuery
from skbait.strategies.margin import MarginQuery
from skbait.strategies.random import RandomQuery
from skbait.strategies.typiclust import TypiClustQuery
from skbait.utils.data import num_rows
from skbait.utils.finite import check_finite
from skbait.utils.introspection import takes_nan
from skbait.utils.labels import encode
from skbait.utils.targets import as_vector, has_label, tidy
from skbait.utils.validation import check_rows

__all__ = ["BossQuery"]

# Losses closer than this, relative to the smallest, are equal: what is left of rounding after a
# training does not decide.
_TIE = 1e-9


class BossQuery(EnsembleQuery):
    """Query the best of many strategies' batches, **by looking at the labels of the pool** (BoSS).

    **This is an oracle, for studies only.** It reads the labels that active learning sets out to
    save: those of every row that it considers, and those of a held-out set. What it gives is an
    upper bound, against which strategies that can be used in practice are measured. A learning
    curve of it is not a result that anybody could have had.

    Strategies propose `n_candidates` batches, each from a random sub-pool of its own. For each
    batch the last layer is re-trained, with the features as they are, on the labelled rows and
    the batch with its true labels. The batch whose last layer has the smallest loss on the
    held-out set is chosen [1]_.

    Parameters
    ----------
    estimator : estimator, default=None
        Classifier with a linear last layer, see :class:`BaitQuery`. All members see it: none has
        an `estimator`, a `last_layer`, a `device` or a `subset_size` of its own. None means
        :class:`~sklearn.linear_model.LogisticRegression`, and X is the embedding itself.
    strategies : list of (str, strategy or None) tuples, default=None
        The members by name, as in :class:`~sklearn.ensemble.VotingClassifier`: their parameters
        are reached as ``<name>__<parameter>``, and ``set_params(<name>=None)`` leaves a member
        out. None stands for the published ten: "random", "margin", "core_set", "badge", "bait"
        (with ``variant="binary"``), "typiclust", "alfamix", "dropquery", and two that look at the
        labels themselves, "typiclust_oracle" and "dropquery_oracle" (TypiClust* and DropQuery*).
        Members' `random_state` is not used.
    n_candidates : int, default=100
        Number of candidate batches. Each member proposes equally many, so what is left over by
        the number of members is not used.
    scoring : {"zero_one", "brier", "cross_entropy"}, default="zero_one"
        The loss on the held-out set: the share of wrong predictions, the squared distance of
        probabilities to labels, or the negative log-likelihood.
    update : {"retrain", "laplace"}, default="retrain"
        How the last layer learns a batch: by training it on all rows, or by the closed-form
        update of its Laplace posterior [2]_, in which only the batch is gone through: with a
        prior precision of 1 and steps of 3, the defaults of :class:`LaplaceClassifier`.
    n_epochs : int, default=50
        Passes over the rows in a training.
    learning_rate : float, default=1e-2
        Of the first epoch; it falls to zero along half a cosine.
    momentum : float, default=0.9
        Nesterov momentum of a training.
    weight_decay : float, default=5e-4
        Weight decay of a training.
    batch_size : int, default=64
        Rows in a minibatch of a training.
    subpool_factor : int, default=4
        A sub-pool has at least ``subpool_factor · n`` rows.
    max_subpool : int, default=5000
        A sub-pool has fewer rows than this, and than the pool, unless that is too few for
        `subpool_factor`.
    n_jobs : int or None, default=None
        Jobs of joblib's active backend that share the choices of the members. None means 1,
        unless in a :class:`joblib.parallel_config`. The choice does not depend on it.
    subset_size : int, float or None, default=None
        Choose from a random sub-pool of this many rows (float: this fraction of the pool).
    last_layer : str or None, default=None
        Name of the last linear layer of a net, where there is a choice.
    device : str or torch.device, default="auto"
        Where to compute; "auto" follows the net, else takes CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds the clone of `estimator`, `subset_size`, the sub-pools, the members and the order
        of the rows in training.

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
    candidate_losses_ : ndarray of float64 of shape (n_candidates,)
        Set by `query`, of the last one: the held-out loss of each candidate batch.
    candidate_names_ : ndarray of str of shape (n_candidates,)
        Set by `query`, of the last one: the name of the member that proposed each batch.
    winner_ : int
        Set by `query`, of the last one: which candidate was chosen.

    See Also
    --------
    RefineQuery : An ensemble of strategies that needs no labels of the pool.

    Notes
    -----
    With T candidates B_t, labelled rows 𝓛 and held-out rows V, the choice is

        ``argmin_t mean_{(x, y) ∈ V} loss(w_t · h(x), y)``, with ``w_t = train(w_0, 𝓛 ∪ B_t)``

    the first of equally good ones. Every training starts from the weights w₀ that the last layer
    of the model has now, so that a candidate is judged by what its rows change in this model.
    A single logit becomes the second of two. Classes that the model has not met, but the pool or
    the held-out set has, start with weights of zero. The last layer is trained by softmax
    cross-entropy, its bias included, whatever the loss of the model is. How far a training goes
    depends on the scale of the features: `learning_rate` is that of the paper, too small for
    features of norms far below 1.

    The T trainings are one, of T heads together, in float64 and in the same order of rows (see
    ``skbait.numerics.heads``). With R = L + n, K classes and D features it takes
    O(n_epochs · T · R · K · min(R, D)), and ``update="laplace"`` O(T·(n·D² + n³) + D³); the T
    choices of members from at most `max_subpool` rows come on top, and are most of the time for
    small R. Batches of the same rows are trained once.

    The public code trains one candidate after the other, each with minibatches of its own; here
    the order of the rows is common, so that candidates differ by their rows alone.

    References
    ----------
    .. [1] D. Huseljic, P. Hahn, M. Herde, C. Sandrock, B. Sick. BoSS: A Best-of-Strategies
       Selector as an Oracle for Deep Active Learning. arXiv:2603.13109.
    .. [2] D. Huseljic, M. Herde, L. Rauch, P. Hahn, Z. Huang, D. Kottke, S. Vogt, B. Sick.
       Efficient Bayesian Updates for Deep Active Learning via Laplace Approximations.
       arXiv:2210.06112.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skbait.strategies.boss import BossQuery
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X / 16
    >>> query = BossQuery(LogisticRegression(), n_candidates=20, random_state=0)
    >>> query = query.set_params(typiclust=None).fit(X[:50], y[:50])
    >>> chosen = query.query(
    ...     X[50:900], 5, y_pool=y[50:900], X_val=X[900:], y_val=y[900:]
    ... )
    >>> chosen.shape, query.candidate_losses_.shape
    ((5,), (18,))
    """

    _records = ("candidate_losses_", "candidate_names_", "winner_")

    _parameter_constraints = {
        **EnsembleQuery._parameter_constraints,
        "n_candidates": [Interval(Integral, 1, None, closed="left")],
        "scoring": [StrOptions(set(LOSSES))],
        "update": [StrOptions({"retrain", "laplace"})],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "subpool_factor": [Interval(Integral, 1, None, closed="left")],
        "max_subpool": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        estimator=None,
        *,
        strategies=None,
        n_candidates=100,
        scoring="zero_one",
        update="retrain",
        n_epochs=50,
        learning_rate=1e-2,
        momentum=0.9,
        weight_decay=5e-4,
        batch_size=64,
        subpool_factor=4,
        max_subpool=5000,
        n_jobs=None,
        subset_size=None,
        last_layer=None,
        device="auto",
        random_state=None,
    ):
        super().__init__(
            estimator,
            strategies=strategies,
            n_jobs=n_jobs,
            subset_size=subset_size,
            last_layer=last_layer,
            device=device,
            random_state=random_state,
        )
        self.n_candidates = n_candidates
        self.scoring = scoring
        self.update = update
        self.n_epochs = n_epochs
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.subpool_factor = subpool_factor
        self.max_subpool = max_subpool

    @staticmethod
    def _default_strategies():
        return [
            ("random", RandomQuery()),
            ("margin", MarginQuery()),
            ("core_set", CoreSetQuery()),
            ("badge", BadgeQuery()),
            ("bait", BaitQuery(variant="binary")),
            ("typiclust", TypiClustQuery()),
            ("alfamix", AlfaMixQuery()),
            ("dropquery", DropQuery()),
            ("typiclust_oracle", TypiClustOracle()),
            ("dropquery_oracle", DropQueryOracle()),
        ]

    @property
    def _needs(self):
        return super()._needs | {"features", "head", "pool labels"}

    def query(
        self,
        X_pool,
        n=1,
        *,
        y_pool=None,
        X_val=None,
        y_val=None,
        candidates=None,
        return_utilities=False,
    ):
        """Choose `n` rows of a pool, knowing its labels and those of a held-out set.

        Neither the strategy (but for its records of the query), nor its model, X_pool, or any
        global random state changes by it.

        Parameters
        ----------
        X_pool : {array-like, tensor, data frame, sparse matrix, dict, Dataset} of n_pool rows
            The candidates, of the same kind as the X of `fit`.
        n : int, default=1
            How many rows to choose.
        y_pool : array-like of shape (n_pool,)
            The labels of the rows of X_pool; of those that are no candidates they are not read.
            Required.
        X_val : {array-like, tensor, data frame, sparse matrix, dict, Dataset} of n_val rows
            Held-out rows, on which candidate batches are judged. Required.
        y_val : array-like of shape (n_val,)
            Their labels. Required.
        candidates : array-like of int or mask of shape (n_pool,), default=None
            Choose among these positions of X_pool only; None: among all.
        return_utilities : bool, default=False
            Whether to return utilities as well; single rows have none, they are NaN.

        Returns
        -------
        positions : ndarray of int64 of shape (n,)
            Positions in X_pool, all different, in the order of choice.
        utilities : ndarray of float64 of shape (n_pool,)
            Only with ``return_utilities=True``: NaN.
        """
        check_is_fitted(self)
        owner = type(self).__name__
        known = {"y_pool": y_pool, "X_val": X_val, "y_val": y_val}
        missing = [name for name, value in known.items() if value is None]
        if missing:
            raise ValueError(
                f"{owner}.query was called without {', '.join(missing)}: {owner} is an oracle "
                "that chooses by the labels of the pool, y_pool, and of held-out rows, X_val and "
                "y_val. Where these are not known, use another strategy, such as RefineQuery."
            )
        X_pool = check_rows(X_pool, name="X_pool", owner=owner)
        X_val = check_rows(X_val, name="X_val", owner=owner)
        if not takes_nan(self._own_model()):
            check_finite(X_val, name="X_val", owner=owner)
        rows = as_candidates(candidates, num_rows(X_pool))
        return self._query(
            X_pool,
            n,
            candidates=candidates,
            return_utilities=return_utilities,
            y_pool=self._known_labels(y_pool, "y_pool", X_pool, "X_pool", rows),
            held_out=(X_val, self._known_labels(y_val, "y_val", X_val, "X_val")),
        )

    def _known_labels(self, y, name, X, X_name, rows=None):
        """Return labels of the type of those in `fit`, of which none is missing for `rows`.

        Those of the other rows are arbitrary; None: all are known.
        """
        if len(y) != num_rows(X):
            raise ValueError(f"{name} has {len(y)} labels, but {X_name} has {num_rows(X)} rows.")
        y = as_vector(y, num_rows(X), name=name, owner=type(self).__name__)
        asked = np.arange(len(y)) if rows is None else rows
        unlabeled = [i for i in asked[~has_label(y[asked])] if y[i] not in self.classes_]
        if unlabeled:
            where = X_name if name == "y_val" else f"{X_name}, or out of candidates"
            raise ValueError(
                f"{name}[{unlabeled[0]}]={y[unlabeled[0]]!r} marks a row without a label: "
                f"{type(self).__name__} has to know them all. Leave such rows out of {where}."
            )
        known = tidy(y[asked], name=name)
        strings = "OUS"
        if (known.dtype.kind in strings) != (self.classes_.dtype.kind in strings):
            raise ValueError(
                f"{name} holds labels such as {known[0]!r}, but those in fit were such as "
                f"{self.classes_[0]!r}."
            )
        labels = np.full(len(y), known[0], dtype=known.dtype)
        labels[asked] = known
        return labels

    def _check_params(self, n_classes=None):
        super()._check_params(n_classes)
        n_members = len(self._members())
        if self.n_candidates < n_members:
            raise ValueError(
                f"n_candidates={self.n_candidates} is less than the {n_members} strategies, each "
                f"of which proposes a batch: choose at least {n_members}."
            )

    def _select(self, view, n):
        jobs = self._jobs(view, n)
        batches = np.stack(choose_all(view, jobs, n, n_jobs=self.n_jobs))  # (T, n)
        distinct, which = np.unique(np.sort(batches, axis=1), axis=0, return_inverse=True)
        losses = self._losses(view, distinct)[which.reshape(-1)]  # (T,)
        self.candidate_losses_ = losses
        self.candidate_names_ = np.array([job.name for job in jobs])
        self.winner_ = int(np.argmax(losses <= losses.min() * (1 + _TIE)))
        return batches[self.winner_], None

    def _jobs(self, view, n):
        """Return the choices to make: equally many of each member, each from a sub-pool."""
        least = min(self.subpool_factor * n, view.n_pool)
        most = min(self.max_subpool, view.n_pool)
        members, jobs = self._members(), []
        n_each = self.n_candidates // len(members)
        for name, member in members:
            for seed in draw_seeds(view.rng, n_each):
                size = view.rng.randint(least, most) if least < most else least
                rows = view.rng.permutation(view.n_pool)[:size]
                # ascending: the ties of a member stay in the order of the pool
                jobs.append(Job(name, member, np.sort(rows), seed))
        return jobs

    def _losses(self, view, batches):
        """Return the held-out loss (T,) of each batch (T, n) of positions in the pool."""
        device = view.device
        weight, bias = class_weights(view.head, device)  # (K, D), (K,)
        labels = view.classes.tolist()
        known = [view.y_labeled, view.y_pool[batches], view.held_out.y]
        new = set().union(*(np.unique(y).tolist() for y in known)) - set(labels)
        labels += sorted(new)
        weight = torch.cat([weight, weight.new_zeros(len(new), weight.shape[1])])
        bias = torch.cat([bias, bias.new_zeros(len(new))])

        def targets(y):
            return torch.from_numpy(encode(y.ravel(), labels)).view(y.shape).to(device)

        labeled, held_out = view.labeled.features, view.held_out
        own = view.pool.features[torch.from_numpy(batches).to(device)]  # (T, n, D)
        own_targets = targets(view.y_pool[batches])
        if self.update == "laplace":
            mean = torch.cat([weight, bias[:, None]], dim=1)
            covariance = posterior_of_head(mean, labeled).covariance
            heads = update_heads(weight, bias, covariance, own, own_targets, step=SHARED_STEP)
        else:
            heads = train_heads(
                weight,
                bias,
                labeled,
                targets(view.y_labeled),
                own,
                own_targets,
                n_epochs=int(self.n_epochs),
                learning_rate=float(self.learning_rate),
                momentum=float(self.momentum),
                weight_decay=float(self.weight_decay),
                batch_size=int(self.batch_size),
                generator=torch.Generator().manual_seed(draw_seed(view.rng)),
            )
        if not all(bool(torch.isfinite(part).all()) for part in heads):
            raise ValueError(
                f"learning_rate={self.learning_rate!r} makes the training of the last layer "
                "diverge; choose a smaller one."
            )
        losses = score_heads(
            *heads, held_out.pool.features, targets(held_out.y), loss=self.scoring
        )
        return losses.cpu().numpy()
