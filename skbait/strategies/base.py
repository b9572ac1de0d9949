# SPDX-License-Identifier: BSD-3-Clause
"""The public face of every query strategy: `fit` and `query`, and all that is checked in them.

A strategy is a subclass with one method, ``_select(view, n)``. It sees a `View` and returns
positions; everything a user could get wrong has been refused before it is called, and what it
returns is checked afterwards.
"""

from __future__ import annotations

import numbers
from abc import ABCMeta, abstractmethod

import numpy as np
import torch
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import check_is_fitted, validate_data

from skbait._backend import resolve_device
from skbait._sklearn import (
    HasMethods,
    Interval,
    RealNotInt,
    validate_parameter_constraints,
)
from skbait.representation.base import classes_of
from skbait.strategies._checks import (
    as_candidates,
    as_choice,
    check_enough_labels,
    check_like_fit,
    check_model,
    draw_subset,
    is_fitted_name,
    is_open,
    leave_out_unlabeled,
    number_to_choose,
    rows_to_see,
)
from skbait.strategies.view import View
from skbait.utils.data import is_table, num_rows
from skbait.utils.finite import check_finite
from skbait.utils.fitting import fit_clone
from skbait.utils.introspection import input_tags_of, takes_nan
from skbait.utils.state import keep_random_states
from skbait.utils.targets import UNLABELED, as_vector, tidy
from skbait.utils.validation import (
    check_instance,
    check_rows,
    same_on_failure,
    seed_from,
)

__all__ = ["BaseQuery"]


class BaseQuery(BaseEstimator, metaclass=ABCMeta):
    """Base class of query strategies: it owns `fit` and `query`, a subclass chooses.

    Parameters
    ----------
    estimator : estimator, default=None
        The classifier that the choice is for. `fit` fits a clone of it; a
        :class:`~sklearn.frozen.FrozenEstimator` is used as it is. None means
        :class:`~sklearn.linear_model.LogisticRegression`, and X is the embedding itself.
    subset_size : int, float or None, default=None
        Choose from a random sub-pool: of this many rows (all of a smaller pool), or of this
        fraction of the pool, rounded up. None takes the whole pool.
    last_layer : str or None, default=None
        Name of the last linear layer of a net, where there is a choice.
    device : str or torch.device, default="auto"
        Where to compute; "auto" follows the net, else takes CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds the clone of `estimator`, the sub-pool and the choice. An int makes every query of
        the same pool choose the same rows. None draws from the operating system; the global
        states of NumPy and torch are neither read nor changed.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator; strategies that need no model have none.
    classes_ : ndarray of shape (n_classes,)
        The classes of `estimator_`, else those among the labels.
    X_labeled_ : object
        The labelled rows: X itself where every row has a label, so do not write to it.
    y_labeled_ : ndarray of shape (n_labeled,)
        Their labels.
    n_features_in_ : int
        Number of features seen in `fit`, where X is a table.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features seen in `fit`, where X has them.

    See Also
    --------
    skbait.utils.estimator_checks.check_query_strategy : Tests a strategy.

    Notes
    -----
    **Writing a strategy.** Define ``__init__`` with the parameters that it has (all of them: they
    are read from its signature), say in the class attribute ``_needs`` what it reads of the view,
    and write ``_select``::

        class EntropyQuery(BaseQuery):
            _needs = frozenset({"probabilities"})

            def _select(self, view, n):
                entropy = torch.special.entr(view.pool_probabilities).sum(dim=1)  # (N,)
                return torch.argsort(entropy, descending=True, stable=True)[:n], entropy

    It may need "probabilities" of the pool, "features" of pool and labelled rows, the linear
    "head" that makes the probabilities of the features, posterior "samples" of that head, and
    "pool labels" (for oracles); see :class:`skbait.strategies.View`. A pairing with a model that
    cannot give them fails in `fit`, before anything is computed. A strategy that needs "features"
    alone works without a model too: where `estimator` is None the rows of X are the features, and
    labels may be missing.

    The positions are those in the pool of the view. Randomness comes from ``view.rng`` only; a
    strategy that draws from it says ``_stochastic = True``. Parameters are checked in
    ``_check_params``.

    **Rows without a label** are left out by `fit`, as in scikit-learn's semi-supervised module:
    -1 marks them among numbers, None or NaN among strings. Only where a frozen estimator has -1
    among its classes it is a class.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_iris
    >>> from skbait import BaseQuery
    >>> class MyEntropyQuery(BaseQuery):
    ...     _needs = frozenset({"probabilities"})
    ...
    ...     def _select(self, view, n):
    ...         entropy = torch.special.entr(view.pool_probabilities).sum(dim=1)
    ...         return torch.argsort(entropy, descending=True, stable=True)[:n], entropy
    >>> X, y = load_iris(return_X_y=True)
    >>> MyEntropyQuery().fit(X[::10], y[::10]).query(X, 3).shape
    (3,)
    """

    _needs: frozenset = frozenset()
    """What `_select` reads of the view, a set of the names above; a property where it depends on
    the parameters."""

    _stochastic = False
    """Whether the choice depends on `random_state` (otherwise than by `subset_size`)."""

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit"]), None],
        "subset_size": [
            Interval(numbers.Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="right"),
            None,
        ],
        "last_layer": [str, None],
        "device": [str, torch.device],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        subset_size=None,
        last_layer=None,
        device="auto",
        random_state=None,
    ):
        self.estimator = estimator
        self.subset_size = subset_size
        self.last_layer = last_layer
        self.device = device
        self.random_state = random_state

    def fit(self, X, y=None, **fit_params):
        """Fit a clone of `estimator` on the labelled rows, and keep these.

        Parameters
        ----------
        X : {array-like, tensor, data frame, sparse matrix, dict, Dataset} of n_rows rows
            The rows: whatever the estimator takes.
        y : array-like of shape (n_rows,)
            Their labels; -1, None or NaN where a row has none. May only be left out for a
            strategy that needs no model.
        **fit_params : dict
            For the estimator's `fit`, such as `sample_weight`. With scikit-learn's metadata
            routing enabled, what the estimator requests.

        Returns
        -------
        self : BaseQuery
            The fitted strategy. Where an error is raised it is as it was.
        """
        with same_on_failure(self):
            model = self._check_settings()
            for name in [name for name in vars(self) if is_fitted_name(name)]:
                delattr(self, name)
            X, y, fit_params = self._check_labeled(X, y, model, fit_params)
            self.X_labeled_, self.y_labeled_ = X, y
            if model is None:
                self.classes_ = np.unique(y)
            else:
                self.estimator_ = self._fit_model(model, X, y, fit_params)
                if is_open(model):
                    check_model(self.estimator_, self._needs, owner=type(self).__name__)
                classes = classes_of(self.estimator_, X)
                if classes is not None:
                    self.classes_ = classes
        return self

    def query(self, X_pool, n=1, *, candidates=None, return_utilities=False):
        """Choose `n` rows of a pool.

        Neither the strategy nor its model, X_pool, or any global random state changes by it.

        Parameters
        ----------
        X_pool : {array-like, tensor, data frame, sparse matrix, dict, Dataset} of n_pool rows
            The candidates, of the same kind as the X of `fit`.
        n : int, default=1
            How many rows to choose.
        candidates : array-like of int or mask of shape (n_pool,), default=None
            Choose among these positions of X_pool only, as from a pool of these rows in this
            order; None: among all. It saves a copy of the rows that are left after some have
            been labelled. The other rows may hold NaN, but those of a memory map of which the
            candidates are too many to be copied.
        return_utilities : bool, default=False
            Whether to return each candidate's own score as well.

        Returns
        -------
        positions : ndarray of int64 of shape (n,)
            Positions in X_pool, all different, in the order of choice.
        utilities : ndarray of float64 of shape (n_pool,)
            Only with ``return_utilities=True``: what the strategy scores each row by, before
            any row is chosen; larger is better. NaN for rows that are no candidates or outside
            the sub-pool of `subset_size`, and throughout for strategies that score sets of rows
            only.
        """
        return self._query(X_pool, n, candidates=candidates, return_utilities=return_utilities)

    def _query(self, X_pool, n, *, candidates=None, return_utilities=False, **known):
        """Choose rows, with what an oracle knows (`y_pool`, `held_out`); see `query`."""
        check_is_fitted(self)
        with same_on_failure(self):
            self._check_common_params()
            self._check_params(len(self.classes_) if self._knows_model_classes() else None)
            X_pool = check_rows(X_pool, name="X_pool", owner=type(self).__name__)
            n_pool = num_rows(X_pool)
            check_like_fit(self, X_pool)
            candidates = as_candidates(candidates, n_pool)
            n_candidates = n_pool if candidates is None else len(candidates)
            n = number_to_choose(n, n_pool, candidates)
            seed = seed_from(self.random_state)
            rng = np.random.RandomState(seed)
            drawn = draw_subset(self.subset_size, n_candidates, n, rng)
            if drawn is not None:
                candidates = drawn if candidates is None else candidates[drawn]
            X_seen, inside = rows_to_see(
                X_pool,
                candidates,
                drawn=drawn is not None,
                check=not takes_nan(self._own_model()),
                owner=type(self).__name__,
            )
            if X_seen is not X_pool:
                known = {name: _of_rows(name, value, candidates) for name, value in known.items()}
            view = View(
                X_seen,
                self.X_labeled_,
                self.y_labeled_,
                estimator=getattr(self, "estimator_", None),
                classes=getattr(self, "classes_", None),
                rng=rng,
                needs=self._needs,
                last_layer=self.last_layer,
                device=self.device,
                **known,
            )
            if inside is not None:
                view = view.take(inside)
            positions, utilities = self._choose(view, n, seed=seed)
        if candidates is not None:
            positions = candidates[positions]
            scored, utilities = utilities, np.full(n_pool, np.nan)
            utilities[candidates] = scored
        return (positions, utilities) if return_utilities else positions

    @abstractmethod
    def _select(self, view, n):
        """Choose `n` rows of the pool of a view.

        Parameters
        ----------
        view : View
            The pool, the labelled rows, and a random generator.
        n : int
            How many, from 1 to ``view.n_pool``.

        Returns
        -------
        positions : tensor or ndarray of shape (n,)
            Positions in the pool of the view, all different, in the order of choice.
        utilities : tensor or ndarray of shape (view.n_pool,), or None
            What each row is scored by on its own; larger is better. None: nothing.
        """

    def _check_params(self, n_classes=None):
        """Raise for parameters of the subclass that cannot be; by default all can.

        It is called at the start of `fit`, and of `query` with the number of classes of the
        model where that is known.
        """

    def get_metadata_routing(self):
        """Get the metadata routing of this object.

        Returns
        -------
        MetadataRouter
            What `fit` passes on to the `fit` of the estimator.
        """
        router = MetadataRouter(owner=self)
        if self._uses_model():
            mapping = MethodMapping().add(caller="fit", callee="fit")
            router.add(estimator=self._own_model(), method_mapping=mapping)
        return router

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self._uses_model()
        if self._uses_model():
            tags.input_tags = input_tags_of(self._own_model())
        else:
            tags.input_tags.sparse = True
        tags.input_tags.allow_nan = takes_nan(self._own_model())
        return tags

    def _uses_model(self):
        """Tell whether there is a model: features alone may be the rows themselves."""
        if self._needs == {"features"}:
            return self.estimator is not None
        return bool(self._needs)

    def _own_model(self):
        """Return the estimator that the parameter `estimator` stands for."""
        return LogisticRegression() if self.estimator is None else self.estimator

    def _knows_model_classes(self):
        return self._uses_model() and hasattr(self, "classes_")

    def _check_common_params(self):
        """Raise for values that parameters of this class cannot have."""
        params = self.get_params(deep=False)
        validate_parameter_constraints(
            self._parameter_constraints, params, caller_name=type(self).__name__
        )
        resolve_device(self.device)

    def _check_settings(self):
        """Check all parameters, and return what `_unfitted_model` does."""
        self._check_common_params()
        self._check_params()
        return self._unfitted_model()

    def _unfitted_model(self):
        """Return the estimator to fit, None where no model is needed, or say what it lacks."""
        check_instance(self.estimator, "estimator")
        if not self._uses_model():
            return None
        model = self._own_model()
        check_model(model, self._needs, owner=type(self).__name__)
        return model

    def _check_labeled(self, X, y, model, fit_params):
        """Return the labelled rows, their labels, and the arguments that go with them."""
        owner = type(self).__name__
        if fit_params and model is None:
            raise TypeError(
                f"{owner} fits no model, so its fit takes no {', '.join(sorted(fit_params))}."
            )
        X = check_rows(X, owner=owner)
        n_rows = num_rows(X)
        frozen = isinstance(model, FrozenEstimator) and self._needs == {"features"}
        if y is None and (model is None or frozen):
            y = np.full(n_rows, UNLABELED)
        y = as_vector(y, n_rows, owner=f"This {owner} estimator")
        if is_table(X):
            validate_data(self, X, skip_check_array=True)
        X, y, fit_params, rows = leave_out_unlabeled(X, y, fit_params, model)
        if not takes_nan(self._own_model()):
            check_finite(X, owner=owner, positions=rows)
        check_enough_labels(y, n_rows, model, owner=owner)
        return X, tidy(y), fit_params

    def _fit_model(self, model, X, y, fit_params):
        """Return the fitted clone of a model."""
        if get_config()["enable_metadata_routing"]:
            fit_params = process_routing(self, "fit", **fit_params).estimator.fit
        seed = None if self.random_state is None else seed_from(self.random_state)
        return fit_clone(model, X, y, random_state=seed, **fit_params)

    def _choose(self, view, n, *, seed=None):
        """Call `_select` on a view, and blame the subclass where the result cannot be.

        What holds several strategies calls this, not `query`, to choose on a view of its own. A
        pass through a network may be random (dropout that stays on, a Dataset that augments):
        `seed` is where the global states start for it.
        """
        state = keep_random_states(getattr(self, "estimator_", None), seed=seed)
        with state, torch.no_grad():
            found = self._select(view, n)
        return as_choice(found, n, view.n_pool, owner=f"{type(self).__name__}._select")


def _of_rows(name, value, rows):
    """Return what an oracle knows, for some rows of the pool."""
    return value[rows] if name == "y_pool" and value is not None else value
