# SPDX-License-Identifier: BSD-3-Clause
"""The active learner: an estimator, a query strategy, and the cycle of the two."""

from __future__ import annotations

import time
from copy import deepcopy
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import check_is_fitted

from skbait._cycle import choose, fit_round, followed
from skbait._delegation import (
    COLUMNS,
    DelegationMixin,
    check_columns,
    check_like,
    columns_of,
)
from skbait._history import HeldOut, as_table
from skbait._learner_checks import check_batches, check_classifier, check_strategy, check_values
from skbait._memory import Extras, Memory, Seeds
from skbait._oracle import Oracle
from skbait._sklearn import (
    HasMethods,
    Interval,
    InvalidParameterError,
    RealNotInt,
    StrOptions,
    fit_context,
)
from skbait._start import start
from skbait._updates import update_of, with_updates
from skbait.representation.base import (
    can_give_head,
    can_represent,
    classes_of,
    probabilities_adapter,
    represent_adapter,
)
from skbait.strategies import BaitQuery, BaseQuery
from skbait.strategies._checks import as_candidates
from skbait.utils.data import num_rows, take_rows
from skbait.utils.fitting import check_dtype
from skbait.utils.validation import check_instance, check_rows

__all__ = ["ActiveLearner"]


def fitted_state(model, memory):
    """Return the fitted attributes of a learner, but for its columns, by name."""
    classes = classes_of(model, memory.X)
    return {
        "estimator_": model,
        "classes_": np.unique(memory.y) if classes is None else classes,
        "X_labeled_": memory.X,
        "y_labeled_": memory.y,
        "n_labels_": len(memory.y),
        "labeled_positions_": memory.positions,
        "history_": as_table(memory.rounds),
        "_memory": memory,
    }


class ActiveLearner(
    DelegationMixin, ClassifierMixin, MetaEstimatorMixin, CallbackSupportMixin, BaseEstimator
):
    """A classifier that chooses which rows to have labelled next.

    Used by hand, `fit` learns from the rows that have a label, `query` says which rows of a
    pool to have labelled, and `teach` takes their labels in::

        learner.fit(X_start, y_start)
        chosen = learner.query(X_pool, 50)
        learner.teach(X_pool[chosen], ask_people(chosen))

    With `budget`, `fit` plays this cycle by itself. `y` is the oracle then: the learner starts
    from few rows, asks for `batch_size` more a round, and never looks at more than `budget`
    labels. So a grid search or a cross-validation of the learner is one of the whole cycle.

    After each batch of labels a fresh clone of the estimator is fitted on everything labelled,
    or, with ``update="laplace"``, the last layer of the present model is updated in closed form.

    Parameters
    ----------
    estimator : classifier, default=None
        What learns: any scikit-learn classifier, or a network wrapped by skorch. It is cloned
        and never fitted itself. None stands for `LogisticRegression()`, for which X has to be
        the embedding of the rows.
    query_strategy : query strategy, default=None
        What chooses: an instance of a subclass of `BaseQuery`, or anything with its `fit` and
        `query`. Where its own `estimator` is None it sees the model of the learner; otherwise
        its estimator is fitted on the labelled rows for the choice alone. None stands for
        `BaitQuery()`.
    initial : int, float, array-like of int or query strategy, default=10
        The rows with which the cycle starts; only used with `budget`. A number of rows or,
        between 0 and 1, a fraction of them is drawn at random. Positions in X are taken as they
        are. A query strategy that needs no model chooses `batch_size` rows. In every case, as
        long as all labels are of one class, further rows are drawn at random and counted.
    budget : int, default=None
        Number of labels that `fit` may look at, the initial ones included. None: `fit` learns
        from every row that has a label, and chooses none.
    batch_size : int, default=50
        Number of rows chosen in a round. The last batch is smaller where the budget ends.
    update : {"refit", "laplace"}, default="refit"
        What follows new labels. "refit" trains a fresh clone on everything labelled. "laplace"
        puts the estimator into a `LaplaceClassifier` (with ``update="newton"``,
        ``likelihood="categorical"`` and ``prior_precision="auto"``; one that is given is used as
        it is) and updates the posterior of its last layer (the one that the query strategy names
        by its `last_layer`, where it does), in milliseconds. The features of the
        model then stay what they are between two trainings, and are computed once for each row.
    refit_every : int or None, default=None
        With ``update="laplace"``: train afresh as soon as this many labels have come since the
        last training. None: never.
    scoring : str, callable, list, tuple or dict, default=None
        How to score held-out rows, as in `sklearn.model_selection.cross_validate`; None: the
        `score` of the estimator. A single scorer is also used by the `score` method.
    random_state : int, RandomState instance or None, default=None
        Seeds the choice of initial rows, the query strategy and every clone of the estimator,
        each round anew, in place of their own `random_state`. None: parts that bring their own
        seed keep it, the rest is seeded afresh in every fit. The global random states of NumPy
        and torch are left alone in either case.

    Attributes
    ----------
    estimator_ : estimator
        The model of the last round, fitted on everything labelled.
    classes_ : ndarray of shape (n_classes,)
        Classes of the model.
    n_features_in_ : int
        Number of columns of X, where X is a table.
    feature_names_in_ : ndarray of str
        Names of the columns, where X is a data frame whose columns are all strings.
    X_labeled_ : data
        The labelled rows, in the order in which they came.
    y_labeled_ : ndarray of shape (`n_labels_`,)
        Their labels.
    n_labels_ : int
        Number of labels used.
    labeled_positions_ : ndarray of int64
        Positions of the labelled rows in the X passed to `fit`, in the order in which their
        labels were asked for. Rows that came by `teach` are in no such X, and left out.
    history_ : dict of str to ndarray or list
        The rounds so far, a column each, as `pandas.DataFrame` takes it: `n_labels` after the
        round, `positions` asked for in it (in the X of `fit`; None for rows that came by
        `teach`), `query_time` and `fit_time` in seconds (`query_time` is NaN where the learner
        did not choose), and `score` (or `score_<name>` for several) on held-out rows where
        there were any.

    See Also
    --------
    BaitQuery : The default query strategy.
    sklearn.semi_supervised.SelfTrainingClassifier : Labels rows by its own predictions.

    Notes
    -----
    **Labels** are integers, booleans or strings. -1 marks a row without a label; among strings
    and other objects None and NaN do. A classifier whose classes are -1 and 1 has to be given
    other names for them. With a budget, rows without a label are no candidates.

    **Rows** may be whatever the estimator takes: arrays of any dimension, tensors, data frames,
    sparse matrices, dicts of arrays, torch Datasets.

    **Arguments of the estimator's fit**, `sample_weight` for one, are given to `fit` and
    `teach`: those with one entry for each row are cut to the labelled rows. Without metadata
    routing everything goes to the estimator as it is; with it, to the estimator and the scorer
    as they request. A weight for the held-out rows then needs a name of its own:
    ``scorer.set_score_request(sample_weight="weight_val")``.

    **Callbacks** (`set_callbacks`) see a fit as a task and each round in it as a subtask, at
    whose end `fitted_estimator` predicts like the learner of that moment; a callback that
    returns True there ends the cycle before its budget. Callbacks that say so (by
    `max_propagation_depth`) are passed on to an estimator that supports callbacks, and then hear
    of the end of a round from that estimator, which no stop ends. A network has skorch's own.

    A `fit` or `teach` that fails leaves the learner as it was.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbait import ActiveLearner, MarginQuery
    >>> X, y = load_iris(return_X_y=True)
    >>> learner = ActiveLearner(
    ...     query_strategy=MarginQuery(), budget=30, batch_size=10, random_state=0
    ... ).fit(X, y)
    >>> learner.history_["n_labels"]
    array([10, 20, 30])
    >>> learner.predict(X[:3])
    array([0, 0, 0])
    """

    _parameter_constraints: dict = {
        # some have predict only once they are fitted
        "estimator": [HasMethods(["fit"]), None],
        "query_strategy": [HasMethods(["fit", "query", "get_params"]), None],
        "initial": [
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="neither"),
            "array-like",
            HasMethods(["fit", "query", "get_params"]),
        ],
        "budget": [Interval(Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "update": [StrOptions({"refit", "laplace"})],
        "refit_every": [Interval(Integral, 1, None, closed="left"), None],
        "scoring": [str, callable, list, tuple, dict, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator=None,
        query_strategy=None,
        *,
        initial=10,
        budget=None,
        batch_size=50,
        update="refit",
        refit_every=None,
        scoring=None,
        random_state=None,
    ):
        self.estimator = estimator
        self.query_strategy = query_strategy
        self.initial = initial
        self.budget = budget
        self.batch_size = batch_size
        self.update = update
        self.refit_every = refit_every
        self.scoring = scoring
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, *, X_val=None, y_val=None, **fit_params):
        """Learn from the labelled rows, or play the cycle under a budget with y as oracle.

        Parameters
        ----------
        X : data of n_rows rows
            The rows.
        y : array-like of shape (n_rows,)
            Their labels; -1, None or NaN where a row has none. With a `budget` only that many
            of them are looked at.
        X_val, y_val : data and array-like, default=None
            Held-out rows and labels. Each round is scored on them, for `history_`.
        **fit_params : dict
            Arguments of the estimator's `fit`.

        Returns
        -------
        self : ActiveLearner
            Fitted learner.
        """
        X = check_rows(X, owner="ActiveLearner")
        columns = columns_of(X)
        self._check_parts()
        oracle = Oracle(y, num_rows(X))
        routed = self._route("fit", fit_params)
        to_fit = Extras(routed.estimator, num_rows(X))
        to_query = Extras(routed.query_strategy, num_rows(X))
        held_out = self._held_out(X_val, y_val, routed.scorer, before_training=True)
        check_like(X_val, columns)
        seeds = Seeds(deepcopy(self.random_state))
        limit = start(
            X,
            oracle,
            initial=self.initial,
            budget=self.budget,
            batch_size=self.batch_size,
            estimator=self._get_estimator(),
            seeds=seeds,
        )
        held_out.check_labels(oracle.labels)
        check_batches(self._get_strategy(), oracle, limit, self.batch_size, X_val)
        n_rounds = 1 + -(-(limit - len(oracle.asked)) // self.batch_size)

        context = self._init_callback_context(max_subtasks=n_rounds)
        context.call_on_fit_task_begin(
            estimator=self, X=lambda: take_rows(X, oracle.asked), y=lambda: oracle.labels
        )
        model, memory, chosen, query_time = None, None, oracle.asked, np.nan
        for _ in range(n_rounds):
            task = context.subcontext(task_name="round")
            with followed(self._get_estimator(), task, self) as estimator:
                if memory is not None:
                    n = min(self.batch_size, limit - len(oracle.asked))
                    started = time.perf_counter()
                    chosen = self._choose(X, oracle, n, model, memory, (X_val, y_val))
                    query_time = time.perf_counter() - started
                    oracle.ask(chosen)
                memory = Memory(
                    take_rows(X, oracle.asked),
                    oracle.labels,
                    to_fit.take(oracle.asked),
                    to_query.take(oracle.asked),
                    oracle.asked,
                    seeds,
                    () if memory is None else memory.rounds,
                    0 if memory is None else memory.n_trained,
                )
                check_values(self._get_estimator(), memory.X, oracle.asked)
                model, memory = fit_round(
                    estimator,
                    memory,
                    held_out=held_out,
                    chosen=chosen,
                    query_time=query_time,
                    update=self._update_of(model, memory),
                )
            state = columns | fitted_state(model, memory)
            if self._end_task(task, memory, state):
                break
        self._end_task(context, memory, state)
        Seeds(self.random_state)  # draws from an instance, now that nothing can fail any more
        return self._take_on(state)

    @fit_context(prefer_skip_nested_validation=False)
    def teach(self, X, y, *, X_val=None, y_val=None, **fit_params):
        """Take in further labelled rows: fit a fresh clone on all, or update the model.

        Parameters
        ----------
        X : data of n_rows rows
            The rows, of the same kind as those given to `fit`.
        y : array-like of shape (n_rows,)
            Their labels, of the same kind as those given to `fit`; classes may be new. Rows
            without a label (-1, None or NaN) are left out.
        X_val, y_val : data and array-like, default=None
            Held-out rows and labels on which the new model is scored, for `history_`.
        **fit_params : dict
            Arguments of the estimator's `fit`. What `fit` got with an entry for each row is
            needed here for the new rows.

        Returns
        -------
        self : ActiveLearner
            The learner, which knows more. Where an error is raised it is as it was.
        """
        check_is_fitted(self)
        self._check_parts()  # they may be others than `fit` saw
        X = check_rows(X, owner="ActiveLearner")
        check_columns(self, X)
        n_rows = num_rows(X)
        oracle = Oracle(y, n_rows)
        known = oracle.answerable
        if not len(known):
            raise ValueError(f"y holds no label in its {n_rows} rows: nothing to be taught.")
        oracle.ask(known)
        routed = self._route("fit", fit_params)
        trains = self.update == "refit"  # an update takes less time than a look at a fresh net
        held_out = self._held_out(X_val, y_val, routed.scorer, before_training=trains)
        check_like(X_val, vars(self))
        held_out.check_labels(self.y_labeled_)
        memory = self._memory
        to_fit = Extras(routed.estimator, n_rows, like=memory.fit_params)
        to_query = Extras(routed.query_strategy, n_rows, like=memory.query_params)
        taught = take_rows(X, known)
        check_values(self._get_estimator(), taught, known)
        memory = memory.extended(taught, oracle.labels, to_fit.take(known), to_query.take(known))
        columns = {name: value for name, value in vars(self).items() if name in COLUMNS}
        context = self._init_callback_context(task_name="teach", max_subtasks=1)
        context.call_on_fit_task_begin(estimator=self, X=memory.X, y=memory.y)
        task = context.subcontext(task_name="round")
        with followed(self._get_estimator(), task, self) as estimator:
            model, memory = fit_round(
                estimator,
                memory,
                held_out=held_out,
                chosen=None,
                query_time=np.nan,
                update=self._update_of(self.estimator_, memory),
            )
        state = columns | fitted_state(model, memory)
        self._end_task(task, memory, state)
        self._end_task(context, memory, state)
        return self._take_on(state)

    def query(self, X_pool, n=None, *, candidates=None, return_utilities=False, **query_params):
        """Choose the rows of a pool to have labelled next.

        Nothing changes by it: asked again, the learner chooses the same rows.

        Parameters
        ----------
        X_pool : data of n_pool rows
            Rows without labels, of the same kind as those given to `fit`.
        n : int, default=None
            How many to choose. None: `batch_size`, or all rows where there are fewer.
        candidates : array-like of int or mask of shape (n_pool,), default=None
            Choose among these positions of `X_pool` only; None: among all.
        return_utilities : bool, default=False
            Whether to return the query strategy's own score of each row as well.
        **query_params : dict
            Further arguments of the strategy's `query`: what an oracle such as `BossQuery` has
            to know.

        Returns
        -------
        positions : ndarray of int64 of shape (n,)
            Positions in `X_pool`, in the order of choice, all different.
        utilities : ndarray of shape (n_pool,)
            Only where asked for: the scores, NaN for rows that were not looked at.
        """
        check_is_fitted(self)
        check_instance(self.query_strategy, "query_strategy")
        X_pool = check_rows(X_pool, name="X_pool", owner="ActiveLearner")
        check_columns(self, X_pool)
        if n is None:
            if not isinstance(self.batch_size, Integral) or self.batch_size < 1:
                raise InvalidParameterError(
                    f"batch_size={self.batch_size!r} must be an integer of at least 1."
                )
            among = as_candidates(candidates, num_rows(X_pool))
            n = min(self.batch_size, num_rows(X_pool) if among is None else len(among))
        if candidates is not None:
            query_params["candidates"] = candidates
        if return_utilities:
            query_params["return_utilities"] = True
        return choose(
            self._get_strategy(), self.estimator_, self._memory, X_pool, n, **query_params
        )

    def __sklearn_is_fitted__(self):
        return hasattr(self, "estimator_")

    def _get_estimator(self):
        estimator = LogisticRegression() if self.estimator is None else self.estimator
        if self.update == "laplace":
            return with_updates(estimator, self._get_strategy())
        return estimator

    def _check_parts(self):
        """Refuse what cannot work together, before anything is fitted."""
        check_instance(self.estimator, "estimator")
        estimator = self._get_estimator()
        check_classifier(estimator)
        check_instance(self.query_strategy, "query_strategy")
        check_instance(self.initial, "initial")
        if self.budget is not None or self.query_strategy is not None:
            check_strategy(self._get_strategy(), estimator)

    def _update_of(self, model, memory):
        """Return what updates a model by the labels it does not know; None: train afresh."""
        if self.update != "laplace":
            return None
        return update_of(self._get_estimator(), model, memory, refit_every=self.refit_every)

    def _get_strategy(self):
        return BaitQuery() if self.query_strategy is None else self.query_strategy

    def _held_out(self, X_val, y_val, score_params, *, before_training):
        """Return what scores the models of the rounds."""
        estimator = self._get_estimator()
        if X_val is not None:  # before a training, not after it
            X_val = check_rows(X_val, name="X_val", owner="ActiveLearner")
            check_values(estimator, X_val, name="X_val")
            if before_training:
                check_dtype(estimator, X_val, name="X_val")
        return HeldOut(
            X_val,
            y_val,
            estimator=estimator,
            scoring=self.scoring,
            score_params=score_params,
        )

    def _choose(self, X, oracle, n, model, memory, held_out):
        """Return the positions in X, among those not asked for, of the rows to ask for next."""
        strategy, known = self._get_strategy(), {"candidates": oracle.unasked()}
        if isinstance(strategy, BaseQuery) and "pool labels" in strategy._needs:
            X_val, y_val = held_out
            known.update(y_pool=oracle.everything(), X_val=X_val, y_val=y_val)
        return choose(strategy, model, memory, X, n, **known)

    def _end_task(self, task, memory, state):
        """Tell the callbacks that a task has ended; return whether one of them says stop."""
        weight = memory.fit_params.params.get("sample_weight")
        return task.call_on_fit_task_end(
            estimator=self,
            X=memory.X,
            y=memory.y,
            metadata=None if weight is None else {"sample_weight": weight},
            reconstruction_attributes=state,
        )

    def _take_on(self, state):
        """Replace every fitted attribute by those of `state`."""
        kept = {name: value for name, value in vars(self).items() if name not in COLUMNS}
        self.__dict__ = kept | state  # in one go: Ctrl-C finds all of it, or nothing
        return self


# A learner is seen through its model, by `represent` and by the strategies that use it.


@represent_adapter.register(ActiveLearner)
def _represent_learner(estimator, X, *, last_layer, device):
    check_is_fitted(estimator)
    return represent_adapter(estimator.estimator_, X, last_layer=last_layer, device=device)


@probabilities_adapter.register(ActiveLearner)
def _probabilities_of_learner(estimator, X, *, device):
    check_is_fitted(estimator)
    return probabilities_adapter(estimator.estimator_, X, device=device)


def _model_of(learner):
    """Return the model of a learner, or the estimator that will be one."""
    fitted = getattr(learner, "estimator_", None)
    return learner._get_estimator() if fitted is None else fitted


can_represent.register(ActiveLearner, lambda learner: can_represent(_model_of(learner)))
can_give_head.register(ActiveLearner, lambda learner: can_give_head(_model_of(learner)))
