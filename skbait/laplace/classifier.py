# SPDX-License-Identifier: BSD-3-Clause
"""A classifier with a Laplace posterior over its last layer, updated in closed form."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
import torch
from sklearn import get_config
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import check_is_fitted

from skbait._sklearn import BaseSearchCV, HasMethods, Interval, StrOptions, fit_context
from skbait.laplace.on_features import OnFeatures, announced, rows_of_head, with_classes
from skbait.laplace.posterior import posterior_of_head
from skbait.laplace.wrapper import WrapsClassifier
from skbait.representation import Representation, can_give_head, can_represent, represent
from skbait.representation.base import represent_adapter, unknown_part
from skbait.utils.class_weights import class_weights, row_weights
from skbait.utils.data import num_rows, take_rows
from skbait.utils.fitting import fit_clone
from skbait.utils.introspection import layers_of, moves_threshold
from skbait.utils.state import keep_random_states
from skbait.utils.validation import same_on_failure, seed_from

__all__ = ["LaplaceClassifier"]

_LARGEST_FULL = 20_000  # weights in all: the matrix has 3.2 GB then


class LaplaceClassifier(OnFeatures, WrapsClassifier):
    """A classifier that learns from new labels in closed form, without being trained again.

    `fit` trains a clone of `estimator`, takes its last linear layer as the mean of a Gaussian
    over the weights, and computes the covariance from the rows it was trained on. `partial_fit`
    then updates that Gaussian with new labelled rows, in milliseconds; features below the last
    layer stay as they are.

    Parameters
    ----------
    estimator : classifier, default=None
        A classifier with a linear last layer: a skorch net, `LogisticRegression` and other
        linear classifiers with probabilities, `MLPClassifier`, a pipeline or search around one.
        `fit` trains a clone; a :class:`~sklearn.frozen.FrozenEstimator` is used as it is, and the
        rows given to `fit` have to be those that it was trained on. None stands for
        `LogisticRegression()`.
    covariance : {"shared", "full"}, default="shared"
        One covariance of the D + 1 weights of a class for all classes, or that of all K (D + 1)
        weights together. The full one costs K² times the memory and much more time.
    likelihood : {"gaussian", "categorical"}, default="gaussian"
        The curvature m that a row adds to a shared covariance: 1, or p̂ (1 - p̂) with the largest
        probability p̂. The full covariance always has the curvature of the softmax.
    prior_precision : float or "auto", default=1.0
        The precision λ of the Gaussian prior. It should be the weight decay (the L2 penalty,
        1/C; 2/C for a head with a single logit, which two rows share) that the estimator was
        trained with. "auto" takes that of the largest marginal likelihood.
    update : {"second_order", "newton", "first_order"}, default="second_order"
        What `partial_fit` does, see Notes.
    gamma : float or "auto", default="auto"
        Step length of the first and second-order updates. "auto" is 1e-3 for the first order;
        for the second 1, or 3 with ``likelihood="gaussian"`` and a shared covariance.
    n_newton : int, default=30
        Most Newton steps of ``update="newton"``; it stops earlier where they have become as small
        as rounding.
    prediction : {"mean_field", "monte_carlo", "plain"}, default="mean_field"
        How the uncertainty of the weights enters the probabilities: by dividing the logits by
        √(1 + π/8 · hᵀΣh), by averaging over `n_samples` heads, or not at all. With a full
        covariance the logits are those less their mean over the classes, and Σ is that of these.
    n_samples : int, default=100
        Number of heads for ``prediction="monte_carlo"``. They are the same in every call.
    last_layer : str or None, default=None
        Name of the last linear layer of a net, where there is a choice.
    device : str or torch.device, default="auto"
        Where to compute; "auto" follows the net, else takes CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds the clone of `estimator` and the heads of ``prediction="monte_carlo"``.

    Attributes
    ----------
    estimator_ : estimator
        The fitted clone. Updates do not change it.
    classes_ : ndarray of shape (K,)
        The classes, those that came with an update included.
    posterior_ : skbait.laplace.posterior.Posterior
        The Gaussian: one object, replaced by every update.
    prior_precision_ : float
        λ.
    class_weight_ : dict or None
        What a row counts, by its label: the `class_weight` that the estimator was trained with
        ("balanced" as it was in the training), or the `weight` of a net's criterion. None: all
        count once, as those of classes that are missing do.
    mean_ : ndarray of float64 of shape (K, D + 1) or (K, D)
        Mean of the weights, the bias last where there is one.
    covariance_ : ndarray of float64 of shape (D + 1, D + 1) or (K (D + 1), K (D + 1))
        Covariance of the weights of one class, or with ``covariance="full"`` of all of them,
        class after class.
    n_features_in_ : int
        Number of columns of X, where X is a table.
    feature_names_in_ : ndarray of str
        Names of the columns, where X is a data frame whose columns are all strings.

    See Also
    --------
    skbait.ActiveLearner : Takes new labels in by such updates with ``update="laplace"``.

    Notes
    -----
    With features h (D,), a 1 appended where the last layer has a bias, the Gaussian has the
    precision Σ⁻¹ = λI + Σ_i m_i h_i h_iᵀ, over all training rows. New rows (h, y) are taken in one
    after the other by

    - "second_order": Σ ← Σ - (Σh)(Σh)ᵀ m / (1 + m hᵀΣh), then μ_k ← μ_k + γ (y_k - p_k) Σh for
      every class k [1]_;
    - "first_order": μ_k ← μ_k + γ (y_k - p_k) h, Σ stays;
    - "newton": all rows at once, μ moves to the maximum of the Gaussian times their likelihood,
      and Σ⁻¹ grows by their curvature there. No γ is needed, nor does the order matter.

    An update of n rows takes O(n (D² + K D)) and one pass over Σ. After as many rows as it has
    columns, Σ is computed afresh from the precision, which is kept beside it, so that rounding
    errors do not add up.

    A head with a single logit z (two classes) becomes two rows, -w/2 and w/2, which give the same
    probabilities; the covariance is that of one row. The classes of a one-against-rest head
    (`SGDClassifier` with more than two) keep their sigmoids: each residual is y_k - sigmoid(z_k),
    and probabilities are scaled to a sum of one as the estimator does. A row there counts by its
    class in the problems of all classes, where `SGDClassifier` weighs it in that of its own only.
    A class first seen in an update starts with weights of zero, and in a full covariance with the
    prior alone, so that it is predicted nearly everywhere at first (a warning says so). A bias of
    zeros counts as none.

    **Which update.** "newton" with ``likelihood="categorical", prior_precision="auto"`` comes
    closest to retraining, whatever way the estimator is trained: see ``benchmarks/README.md``.
    The second-order update is faster and nearly as close where the estimator is trained with an
    L2 penalty. Without one its probabilities on the training rows come near 0 and 1, so that
    ``likelihood="categorical"`` leaves Σ large, and a single row that the model gets wrong may
    move the mean too far; with "gaussian" it moves the logits of a row by γ at most.

    It differs from the code published with [1]_: updates accumulate, where there each starts
    from the covariance of the last training; no training row is left out of it; the bias has a
    posterior as well; and the categorical update divides by 1 + m hᵀΣh. γ = 10, the value in [1]_,
    overshoots on features as long as those of networks (‖h‖² ≫ λ).

    References
    ----------
    .. [1] D. Huseljic, M. Herde, L. Rauch, P. Hahn, Z. Huang, D. Kottke, S. Vogt, B. Sick.
       Efficient Bayesian Updates for Deep Active Learning via Laplace Approximations.
       arXiv:2210.06112.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skbait.laplace import LaplaceClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X / 16
    >>> model = LaplaceClassifier(LogisticRegression(C=0.1), prior_precision=10.0)
    >>> before = model.fit(X[:100], y[:100]).score(X[1000:], y[1000:])
    >>> after = model.partial_fit(X[100:130], y[100:130]).score(X[1000:], y[1000:])
    >>> after > before
    True
    >>> model.mean_.shape, model.covariance_.shape
    ((10, 65), (65, 65))
    """

    _parameter_constraints = {
        "estimator": [HasMethods(["fit"]), None],
        "covariance": [StrOptions({"shared", "full"})],
        "likelihood": [StrOptions({"gaussian", "categorical"})],
        "prior_precision": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "update": [StrOptions({"second_order", "first_order", "newton"})],
        "gamma": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "n_newton": [Interval(Integral, 1, None, closed="left")],
        "prediction": [StrOptions({"mean_field", "monte_carlo", "plain"})],
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "last_layer": [str, None],
        "device": [str, torch.device],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        covariance="shared",
        likelihood="gaussian",
        prior_precision=1.0,
        update="second_order",
        gamma="auto",
        n_newton=30,
        prediction="mean_field",
        n_samples=100,
        last_layer=None,
        device="auto",
        random_state=None,
    ):
        self.estimator = estimator
        self.covariance = covariance
        self.likelihood = likelihood
        self.prior_precision = prior_precision
        self.update = update
        self.gamma = gamma
        self.n_newton = n_newton
        self.prediction = prediction
        self.n_samples = n_samples
        self.last_layer = last_layer
        self.device = device
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, **fit_params):
        """Fit a clone of the estimator, and the posterior of its last layer.

        Parameters
        ----------
        X : {array-like, tensor, data frame, sparse matrix, dict, Dataset} of n_rows rows
            The rows: whatever the estimator takes.
        y : array-like of shape (n_rows,)
            Their labels.
        **fit_params : dict
            For the estimator's `fit`. A `sample_weight` weighs the rows in the posterior, too.

        Returns
        -------
        self : LaplaceClassifier
            The fitted classifier. Where an error is raised it is as it was.
        """
        return self._fit(X, y, None, fit_params)

    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X, y, classes=None):
        """Update the posterior with further labelled rows; the first call fits.

        Parameters
        ----------
        X : {array-like, tensor, data frame, sparse matrix, dict, Dataset} of n_rows rows
            The rows, of the same kind as those given to `fit`.
        y : array-like of shape (n_rows,)
            Their labels. Classes may be new.
        classes : array-like of shape (n_classes,), default=None
            Classes to know of, where y misses some.

        Returns
        -------
        self : LaplaceClassifier
            The updated classifier. Where an error is raised it is as it was.
        """
        if not hasattr(self, "posterior_"):
            return self._fit(X, y, classes, {})
        with same_on_failure(self):
            self._validate_params()  # which scikit-learn leaves out once there is a fit
            X = self._check_rows(X)
            y = self._check_labels(y, num_rows(X))
            features = self._features_of(X, lambda X: self._represent(X).features)
            return self._partial_fit_features(features, y, classes)

    def predict(self, X):
        """Predict the classes of rows.

        Parameters
        ----------
        X : {array-like, tensor, data frame, sparse matrix, dict, Dataset} of n_rows rows
            The rows.

        Returns
        -------
        ndarray of shape (n_rows,)
            Predicted classes.
        """
        decisions = self._decisions(self._features_to_predict(X), rank_only=True)
        return self.classes_[decisions.argmax(dim=1).cpu().numpy()]

    def predict_proba(self, X):
        """Predict the probability of every class, as `prediction` says.

        Parameters
        ----------
        X : {array-like, tensor, data frame, sparse matrix, dict, Dataset} of n_rows rows
            The rows.

        Returns
        -------
        ndarray of float64 of shape (n_rows, n_classes)
            Probabilities, in the order of `classes_`.
        """
        return self._probabilities(self._features_to_predict(X)).cpu().numpy()

    def decision_function(self, X):
        """Compute the logits behind the probabilities.

        Parameters
        ----------
        X : {array-like, tensor, data frame, sparse matrix, dict, Dataset} of n_rows rows
            The rows.

        Returns
        -------
        ndarray of float64 of shape (n_rows, n_classes), or (n_rows,) for two classes
            The logits at the mean of the weights, for the mean field divided by what their
            variance asks for, for Monte Carlo the logarithms of the probabilities. For two
            classes the second minus the first.
        """
        found = self._decisions(self._features_to_predict(X)).cpu().numpy()
        return found[:, 1] - found[:, 0] if found.shape[1] == 2 else found

    def sample(self, n_samples=1, random_state=None):
        """Draw weights of the last layer from the posterior.

        Parameters
        ----------
        n_samples : int, default=1
            How many heads to draw.
        random_state : int, RandomState instance or None, default=None
            Seeds the draws; None takes fresh entropy from the operating system.

        Returns
        -------
        ndarray of float64 of shape (n_samples, n_classes, D + 1) or (n_samples, n_classes, D)
            The weights, each laid out as `mean_`.
        """
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples={n_samples!r} must be a whole number, at least 1.")
        generator = torch.Generator().manual_seed(seed_from(random_state))
        return self.posterior_.sample(int(n_samples), generator).cpu().numpy()

    @property
    def mean_(self):
        """Mean of the weights, (K, D + 1) or (K, D), float64."""
        return self.posterior_.mean.cpu().numpy().copy()

    @property
    def covariance_(self):
        """Covariance of the weights of one class, or of all, float64."""
        covariance = self.posterior_.covariance.cpu().numpy()
        return (covariance + covariance.T) * 0.5

    @property
    def prior_precision_(self):
        """The prior precision λ."""
        return self.posterior_.prior_precision

    # ---- inside -----------------------------------------------------------------------------

    def _fit(self, X, y, classes, fit_params):
        with same_on_failure(self):
            estimator = self._own_estimator()
            self._check_estimator(estimator)
            X = self._check_rows(X, reset=True)
            y = self._check_labels(y, num_rows(X))
            if classes is not None:
                classes = announced(classes, y)
            fit_params = self._for_estimator(fit_params)
            seed = None if self.random_state is None else seed_from(self.random_state)
            self.estimator_ = fit_clone(
                estimator, X, y, random_state=seed, classes=classes, **fit_params
            )
            self._check_threshold(self.estimator_)  # a search may have chosen one
            self._sampling_seed = seed_from(seed)
            vars(self).pop("_feature_memory", None)
            found = self._represent(X)
            if found.head is None:
                raise TypeError(
                    f"{type(estimator).__name__} has no linear last layer that gives its "
                    "probabilities, which LaplaceClassifier needs. Use the classifier without "
                    "what comes after that layer (a calibration), or another one."
                )
            mean, link, has_bias = rows_of_head(found.head)
            if self.covariance == "full" and mean.numel() > _LARGEST_FULL:
                raise ValueError(
                    f"covariance='full' of {mean.numel()} weights would be a matrix of "
                    f"{8e-9 * mean.numel() ** 2:.0f} GB; use covariance='shared'."
                )
            self.class_weight_ = class_weights(self.estimator_, y)
            weights = self._weights(y, _weights_of(estimator, fit_params))
            if weights is not None:
                weights = torch.as_tensor(weights, device=mean.device)
            posterior = posterior_of_head(
                mean,
                found.features,
                covariance=self.covariance,
                likelihood=self.likelihood,
                prior_precision=self.prior_precision,
                link=link,
                has_bias=has_bias,
                weights=weights,
            )
            labels = y if classes is None else np.concatenate([y, classes])
            self.classes_, self.posterior_ = with_classes(found.classes, posterior, labels)
        return self

    def _check_estimator(self, estimator):
        """Raise before any fit if an estimator is more, or less, than a linear head."""
        if not can_represent(estimator) or not can_give_head(estimator):
            _, name = unknown_part(estimator, can_give_head)
            raise TypeError(
                f"LaplaceClassifier needs a classifier whose probabilities come from a linear "
                f"last layer, and {name} is none that skbait knows: use "
                "LogisticRegression, SGDClassifier(loss='log_loss'), MLPClassifier, a skorch net, "
                "or a pipeline that ends in one of them."
            )
        self._check_threshold(estimator)

    def _check_threshold(self, estimator):
        """Raise if an estimator decides by something else than its probabilities."""
        if moves_threshold(estimator):
            raise TypeError(
                "LaplaceClassifier decides by its own probabilities, and would drop the decision "
                f"threshold of {type(estimator).__name__}: put FixedThresholdClassifier or "
                "TunedThresholdClassifierCV around LaplaceClassifier instead, and leave the "
                "threshold of a net at 0.5 (an ActiveLearner with such an estimator needs "
                "update='refit')."
            )

    def _weights(self, y, sample_weight):
        """Return what each training row weighs, (n_rows,); None: 1."""
        weights = row_weights(self.class_weight_, y)
        if sample_weight is None:
            return weights
        given = np.broadcast_to(np.asarray(sample_weight, dtype=np.float64), (len(y),))
        if not (given >= 0).all():
            raise ValueError(
                f"sample_weight holds {given[~(given >= 0)][0]}: weights in a posterior are 0 or "
                "more."
            )
        return given.copy() if weights is None else given * weights

    def _represent(self, X):
        return represent(self.estimator_, X, last_layer=self.last_layer, device=self.device)

    def _features_to_predict(self, X):
        check_is_fitted(self)
        self._validate_params()
        features = self._features_of(self._check_rows(X), lambda X: self._represent(X).features)
        return features.to(self.posterior_.mean.device)


def _weights_of(estimator, fit_params):
    """Return the weights of the rows, by the name that reaches the last step of pipelines."""
    if get_config()["enable_metadata_routing"]:
        for each in layers_of(estimator):
            if isinstance(each, Pipeline):
                routed = process_routing(each, "fit", **fit_params)
                fit_params = routed[each.steps[-1][0]].fit
            elif isinstance(each, BaseSearchCV):
                fit_params = process_routing(each, "fit", **fit_params).estimator.fit
        return fit_params.get("sample_weight")
    steps = [each.steps[-1][0] for each in layers_of(estimator) if isinstance(each, Pipeline)]
    name = "__".join([*steps, "sample_weight"])
    return fit_params.get(name, fit_params.get("sample_weight"))


@represent_adapter.register(LaplaceClassifier)
def _(estimator, X, *, last_layer, device) -> Representation:
    """Take the features of the estimator inside, and head and probabilities of the posterior."""
    check_is_fitted(estimator)
    layer = estimator.last_layer if last_layer is None else last_layer

    def compute(X):
        return represent_adapter(estimator.estimator_, X, last_layer=layer, device=device).features

    if last_layer not in (None, estimator.last_layer):
        _check_same_layer(estimator, X, last_layer)
    return estimator._represent_features(estimator._features_of(X, compute))


def _check_same_layer(estimator, X, last_layer) -> None:
    """Refuse another layer than that of the posterior: its weights are those of no other."""
    few = take_rows(X, np.arange(min(2, num_rows(X))))
    seen = []
    for layer in (estimator.last_layer, last_layer):
        with keep_random_states(estimator.estimator_, seed=0):  # dropout may be on
            found = represent_adapter(estimator.estimator_, few, last_layer=layer, device="auto")
            seen.append(found.features)
    if not torch.equal(*seen):
        raise ValueError(
            f"last_layer={last_layer!r} is not the layer whose weights this LaplaceClassifier "
            "has a posterior of. Leave it at None in the query strategy, or fit anew with this "
            "layer (last_layer of LaplaceClassifier)."
        )
