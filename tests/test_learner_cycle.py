# SPDX-License-Identifier: BSD-3-Clause
"""The cycle that `fit` plays under a budget: how many labels, which rows, what is remembered."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris, make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.metrics import accuracy_score, log_loss, make_scorer, top_k_accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, scale

from skbait import (
    ActiveLearner,
    BaitQuery,
    BaseQuery,
    BossQuery,
    MarginQuery,
    RandomQuery,
    TypiClustQuery,
)
from skbait.laplace import LaplaceClassifier, TemperatureClassifier
from skbait.utils.data import take_rows

X, Y = make_blobs(300, n_features=4, centers=4, cluster_std=3.0, random_state=3)
X = scale(X)  # for the solver of LogisticRegression to converge


def cycle(strategy=None, **params):
    settings = {"initial": 8, "budget": 40, "batch_size": 12, "random_state": 0} | params
    settings.setdefault("query_strategy", strategy or MarginQuery())
    return ActiveLearner(settings.pop("estimator", None), **settings)


class ReadLabels(np.ndarray):
    """Labels that write down which of them are read one by one or by position."""

    def __getitem__(self, key):
        if hasattr(self, "log"):
            self.log.append(np.arange(len(self))[key])
        return super().__getitem__(key)

    def __array_finalize__(self, obj):
        pass


# ---------------------------------------------------------------------------- the budget


@pytest.mark.parametrize("strategy", [MarginQuery(), RandomQuery(), BaitQuery()])
@pytest.mark.parametrize(
    ("budget", "batch_size", "expected"),
    [(40, 12, [8, 20, 32, 40]), (32, 12, [8, 20, 32]), (8, 5, [8]), (9, 50, [8, 9])],
)
def test_the_budget_is_used_exactly_and_the_last_batch_cut(strategy, budget, batch_size, expected):
    learner = cycle(strategy, budget=budget, batch_size=batch_size).fit(X, Y)
    assert learner.history_["n_labels"].tolist() == expected
    assert learner.n_labels_ == budget
    positions = learner.labeled_positions_
    assert positions.dtype == np.int64
    assert len(set(positions.tolist())) == budget
    np.testing.assert_array_equal(learner.y_labeled_, Y[positions])
    np.testing.assert_array_equal(learner.X_labeled_, X[positions])
    np.testing.assert_array_equal(np.concatenate(learner.history_["positions"]), positions)


@pytest.mark.parametrize("strategy", [MarginQuery(), RandomQuery()])
@pytest.mark.parametrize("initial", [8, 0.05, [0, 50, 100], RandomQuery(random_state=1)])
def test_labels_beyond_the_budget_are_not_looked_at(strategy, initial, rng):
    learner = cycle(strategy, initial=initial).fit(X, Y)
    corrupted = rng.integers(0, 1000, len(Y))
    corrupted[learner.labeled_positions_] = Y[learner.labeled_positions_]
    again = cycle(strategy, initial=initial).fit(X, corrupted)
    np.testing.assert_array_equal(again.labeled_positions_, learner.labeled_positions_)
    np.testing.assert_array_equal(again.predict_proba(X), learner.predict_proba(X))


def test_labels_are_read_once_each_and_no_others():
    from skbait._oracle import Oracle

    labels = Y.view(ReadLabels)
    oracle = Oracle(Y, len(Y))
    oracle._y = labels  # what stands behind an oracle, watched
    labels.log = []
    reading, asked = labels.log, []
    for positions in ([3, 1], [7], [200, 100, 0]):
        oracle.ask(np.array(positions))
        asked += positions
        assert oracle.labels.tolist() == Y[asked].tolist()
        assert not set(oracle.unasked().tolist()) & set(asked)
    assert np.concatenate(reading).tolist() == asked


def test_a_label_that_is_no_label_does_no_harm_where_it_is_not_read():
    learner = cycle().fit(X, Y)
    strange = Y.astype(float)
    strange[np.setdiff1d(np.arange(len(Y)), learner.labeled_positions_)] = 0.5
    np.testing.assert_array_equal(
        cycle().fit(X, strange).labeled_positions_, learner.labeled_positions_
    )
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        cycle().fit(X, Y + 0.5)


def test_rows_without_a_label_are_no_candidates():
    y = Y.copy()
    y[::2] = -1
    learner = cycle().fit(X, y)
    assert (learner.labeled_positions_ % 2 == 1).all()
    assert learner.n_labels_ == 40
    names = np.array([None, "a", "b", "c", "d"], dtype=object)[y + 1]
    named = cycle().fit(X, names)
    np.testing.assert_array_equal(named.labeled_positions_, learner.labeled_positions_)
    assert named.classes_.tolist() == ["a", "b", "c", "d"]


def test_a_budget_beyond_the_labels_takes_them_all_and_says_so():
    with pytest.warns(UserWarning, match="budget=500 is more than the 300 rows") as caught:
        learner = cycle(RandomQuery(), budget=500, batch_size=200).fit(X, Y)
    assert learner.history_["n_labels"].tolist() == [8, 208, 300]
    assert caught[0].filename == __file__


# ---------------------------------------------------------------------------- the start


def test_initial_rows_are_drawn_and_counted_until_two_classes_are_seen():
    y = np.zeros(300, dtype=int)
    y[:6] = 1  # rare: far more than `initial` rows are needed
    learner = ActiveLearner(
        GaussianNB(), RandomQuery(), initial=2, budget=290, batch_size=500, random_state=0
    ).fit(X, y)
    first = learner.history_["positions"][0]
    assert len(first) == learner.history_["n_labels"][0] > 2
    assert y[first[-1]] == 1
    assert not y[first[:-1]].any()
    assert learner.n_labels_ == 290


def test_one_class_under_the_whole_budget_is_an_error():
    y = np.zeros(300, dtype=int)
    y[17] = 1
    learner = cycle(budget=20, random_state=1)
    with pytest.raises(ValueError, match=r"two classes.* 20 labels .* 1 class: \[0\].*budget=20"):
        learner.fit(X, y)
    assert not hasattr(learner, "estimator_")


@pytest.mark.parametrize(("initial", "n"), [(8, 8), (np.int64(8), 8), (0.1, 30)])
def test_initial_as_number_or_fraction(initial, n):
    learner = cycle(initial=initial).fit(X, Y)
    assert learner.history_["n_labels"][0] == n


def test_initial_as_a_small_fraction_is_one_row_and_those_until_another_class():
    first = cycle(initial=0.001).fit(X, Y).history_["positions"][0]
    assert len(set(Y[first[:-1]].tolist())) == 1
    assert Y[first[-1]] != Y[first[0]]


def test_initial_as_positions():
    positions = [250, 3, 90]
    learner = cycle(initial=positions).fit(X, Y)
    assert learner.history_["positions"][0].tolist() == positions
    one_class = np.flatnonzero(Y == 2)[:5]
    learner = cycle(initial=one_class).fit(X, Y)
    first = learner.history_["positions"][0]
    assert first[:5].tolist() == one_class.tolist()
    assert len(set(Y[first].tolist())) == 2


def test_initial_as_strategy_without_a_model():
    learner = cycle(initial=RandomQuery(), batch_size=9).fit(X, Y)
    assert learner.history_["n_labels"][0] == 9
    again = cycle(initial=RandomQuery(), batch_size=9).fit(X, Y)
    np.testing.assert_array_equal(again.labeled_positions_, learner.labeled_positions_)
    other = cycle(initial=RandomQuery(), batch_size=9, random_state=1).fit(X, Y)
    assert other.labeled_positions_.tolist() != learner.labeled_positions_.tolist()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"budget": 0}, "'budget' parameter.* Got 0"),
        ({"budget": 2.5}, "'budget' parameter.* Got 2.5"),
        ({"batch_size": 0}, "'batch_size' parameter.* Got 0"),
        ({"initial": 0}, "'initial' parameter.* Got 0"),
        ({"initial": True}, "'initial' parameter.* Got True"),
        ({"budget": True}, "'budget' parameter.* Got True"),
        ({"batch_size": True}, "'batch_size' parameter.* Got True"),
        ({"refit_every": True}, "'refit_every' parameter.* Got True"),
        ({"query_strategy": MarginQuery(subset_size=True)}, "'subset_size' parameter.* Got True"),
        ({"initial": 1.0}, "'initial' parameter.* Got 1.0"),
        ({"initial": "ten"}, "'initial' parameter.* Got 'ten'"),
        ({"random_state": "x"}, "'random_state' parameter.* Got 'x'"),
        ({"scoring": 3}, "'scoring' parameter.* Got 3"),
        ({"estimator": "net"}, "'estimator' parameter.* Got 'net'"),
        ({"initial": 41}, "initial=41 is more than budget=40"),
        ({"initial": 0.5}, "initial=0.5 of 300 rows, that is 150, is more than budget=40"),
        ({"initial": [0, 300]}, "initial holds position 300, and X has 300 rows"),
        ({"initial": [-1]}, "initial holds position -1"),
        ({"initial": [4, 4]}, "initial=.*more than once"),
        ({"initial": [0.5]}, "initial=.* has to be"),
        ({"initial": np.zeros(300, dtype=bool)}, "initial=.{,40} has to be .*flatnonzero"),
        ({"initial": list(range(41))}, "initial holds 41 positions, and budget=40"),
        ({"initial": MarginQuery()}, "initial=MarginQuery.*needs a model"),
        ({"estimator": LinearRegression()}, "must be a classifier. Got the regressor Linear"),
    ],
)
def test_parameters_that_cannot_be_are_named(params, message):
    learner = cycle(**params)
    with pytest.raises(ValueError, match=message):
        learner.fit(X, Y)
    assert not hasattr(learner, "estimator_")


@pytest.mark.parametrize("name", ["initial", "query_strategy"])
def test_a_class_in_place_of_a_strategy(name):
    with pytest.raises(TypeError, match=rf"{name}=TypiClustQuery is a class.*TypiClustQuery\(\)"):
        cycle(**{name: TypiClustQuery}).fit(X, Y)


def test_initial_positions_need_a_label():
    y = Y.copy()
    y[5] = -1
    with pytest.raises(ValueError, match="initial holds position 5, whose row has no label"):
        cycle(initial=[0, 5]).fit(X, y)


def test_a_strategy_has_to_be_one():
    with pytest.raises(ValueError, match="'query_strategy' parameter"):
        cycle(LogisticRegression()).fit(X, Y)

    class Stutters(BaseEstimator):
        def fit(self, X, y):
            return self

        def query(self, X, n=1):
            return np.zeros(n, dtype=int)

    with pytest.raises(ValueError, match=r"Stutters.*asked for 12 different rows"):
        cycle(Stutters()).fit(X, Y)


# ---------------------------------------------------------------------------- same by hand


@pytest.mark.parametrize("strategy", [MarginQuery(), RandomQuery(), BaitQuery(), None])
@pytest.mark.parametrize("estimator", [None, SGDClassifier(loss="log_loss")])
def test_the_cycle_is_the_loop_played_by_hand(strategy, estimator):
    played = ActiveLearner(
        estimator, strategy, initial=10, budget=34, batch_size=12, random_state=7
    ).fit(X, Y)
    start = played.history_["positions"][0]
    by_hand = ActiveLearner(estimator, strategy, batch_size=12, random_state=7)
    by_hand.fit(X[start], Y[start])
    pool = np.delete(np.arange(len(X)), start)
    for n in (None, None):
        chosen = by_hand.query(X[pool], n)
        by_hand.teach(X[pool[chosen]], Y[pool[chosen]])
        pool = np.delete(pool, chosen)
    np.testing.assert_array_equal(by_hand.X_labeled_, played.X_labeled_)
    np.testing.assert_array_equal(by_hand.predict_proba(X), played.predict_proba(X))


def test_a_strategy_with_an_estimator_of_its_own_uses_that():
    other = cycle(MarginQuery(GaussianNB())).fit(X, Y)
    assert isinstance(other.estimator_, LogisticRegression)
    nb = cycle(MarginQuery(), estimator=GaussianNB()).fit(X, Y)
    assert isinstance(nb.estimator_, GaussianNB)
    # the same choices from the same model, whoever fits it
    np.testing.assert_array_equal(nb.labeled_positions_, other.labeled_positions_)
    assert cycle().fit(X, Y).labeled_positions_.tolist() != nb.labeled_positions_.tolist()


# ---------------------------------------------------------------------------- seeds


@pytest.mark.parametrize("strategy", [RandomQuery(), MarginQuery(), BaitQuery(subset_size=0.5)])
def test_the_seed_decides_everything(strategy):
    estimator = SGDClassifier(loss="log_loss")

    def play(random_state):
        return cycle(strategy, estimator=estimator, random_state=random_state).fit(X, Y)

    first, second, other = play(3), play(3), play(4)
    np.testing.assert_array_equal(first.labeled_positions_, second.labeled_positions_)
    np.testing.assert_array_equal(first.estimator_.coef_, second.estimator_.coef_)
    assert first.labeled_positions_.tolist() != other.labeled_positions_.tolist()
    instance = [play(np.random.RandomState(5)).labeled_positions_ for _ in range(2)]
    np.testing.assert_array_equal(*instance)


def test_without_a_seed_the_parts_keep_theirs():
    def play():
        learner = cycle(
            RandomQuery(random_state=0), initial=[0, 50, 100], budget=15, random_state=None
        )
        return learner.fit(X, Y)

    np.testing.assert_array_equal(play().labeled_positions_, play().labeled_positions_)
    free = [
        cycle(RandomQuery(), random_state=None).fit(X, Y).labeled_positions_.tolist()
        for _ in range(2)
    ]
    assert free[0] != free[1]


@pytest.mark.parametrize("random_state", [None, 0])
def test_the_global_random_state_is_left_alone(random_state):
    state = np.random.get_state()[1].copy()
    learner = cycle(
        RandomQuery(), estimator=SGDClassifier(loss="log_loss"), random_state=random_state
    ).fit(X, Y)
    learner.teach(X[:1], Y[:1])
    learner.query(X, 3)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_successive_random_batches_are_not_drawn_from_one_seed():
    learner = cycle(RandomQuery(), budget=68, batch_size=20).fit(X, Y)
    ranks = [
        np.searchsorted(np.setdiff1d(np.arange(300), np.concatenate(seen)), batch)
        for seen, batch in (
            (learner.history_["positions"][: i + 1], learner.history_["positions"][i + 1])
            for i in range(3)
        )
    ]
    assert len({tuple(rank.tolist()) for rank in ranks}) == 3


# ---------------------------------------------------------------------------- what is remembered


def test_history_is_a_table():
    learner = cycle().fit(X[:200], Y[:200], X_val=X[200:], y_val=Y[200:])
    table = pd.DataFrame(learner.history_)
    assert table.columns.tolist() == ["n_labels", "positions", "query_time", "fit_time", "score"]
    assert len(table) == 4
    assert np.isnan(table["query_time"][0])
    assert (table["query_time"][1:] > 0).all()
    assert (table["fit_time"] > 0).all()
    assert table["score"].iloc[-1] == learner.score(X[200:], Y[200:])
    # the score of a round is that of the model of the round
    shorter = cycle(budget=20).fit(X[:200], Y[:200])
    assert table["score"][1] == shorter.score(X[200:], Y[200:])


def test_history_goes_on_in_teach():
    learner = cycle(budget=20).fit(X[:200], Y[:200], X_val=X[200:], y_val=Y[200:])
    learner.teach(X[200:210], Y[200:210])
    learner.teach(X[210:215], Y[210:215], X_val=X[215:], y_val=Y[215:])
    assert learner.history_["n_labels"].tolist() == [8, 20, 30, 35]
    assert learner.history_["positions"][2:] == [None, None]
    assert np.isnan(learner.history_["score"]).tolist() == [False, False, True, False]
    assert len(learner.labeled_positions_) == 20
    assert learner.n_labels_ == 35


def test_several_scores():
    learner = cycle(scoring=["accuracy", "f1_macro"])
    learner.fit(X[:200], Y[:200], X_val=X[200:], y_val=Y[200:])
    assert {"score_accuracy", "score_f1_macro"} <= set(learner.history_)
    assert learner.history_["score_accuracy"][-1] == learner.score(X[200:], Y[200:])


@pytest.mark.parametrize("scoring", ["neg_log_loss", ["accuracy", "neg_log_loss"]])
def test_a_score_that_an_early_model_cannot_have_is_nan(scoring):
    """The first model knows two of four classes, for which the loss is not defined."""
    order = np.concatenate([np.flatnonzero(label == Y)[:5] for label in range(4)])
    learner = ActiveLearner(scoring=scoring)
    with pytest.warns(UserWarning, match="does not know all classes"):
        learner.fit(X[order[:10]], Y[order[:10]], X_val=X, y_val=Y)
    learner.teach(X[order[10:]], Y[order[10:]], X_val=X, y_val=Y)
    name = "score" if isinstance(scoring, str) else "score_neg_log_loss"
    assert np.isnan(learner.history_[name]).tolist() == [True, False]
    if not isinstance(scoring, str):
        assert (learner.history_["score_accuracy"] > 0.3).all()


def test_scores_that_cannot_be_had_are_warned_of_once():
    order = np.argsort(Y, kind="stable")
    learner = ActiveLearner(
        query_strategy=RandomQuery(),
        initial=[order[0], order[70]],
        budget=12,
        batch_size=1,
        scoring="neg_log_loss",
        random_state=0,
    )
    with pytest.warns(UserWarning, match=r"scoring failed \(ValueError") as told:
        learner.fit(X, Y, X_val=X, y_val=Y)
    assert np.isnan(learner.history_["score"]).sum() > 1
    told = [each for each in told if "scoring failed" in str(each.message)]
    assert [each.filename for each in told] == [__file__]


def test_a_scorer_that_fails_for_another_reason_is_an_error():
    def fails(estimator, X, y):
        raise RuntimeError("no such metric")

    for scoring in (fails, {"one": "accuracy", "other": fails}):
        with pytest.raises(RuntimeError, match="no such metric"):
            ActiveLearner(scoring=scoring).fit(X[:50], Y[:50], X_val=X, y_val=Y)
    two = Y < 2  # of four classes: reason enough for a log loss to fail, not for the other
    for scoring in (fails, {"one": "neg_log_loss", "other": fails}):
        with pytest.raises((RuntimeError, ValueError), match="no such metric"):
            ActiveLearner(scoring=scoring).fit(X[two], Y[two], X_val=X, y_val=Y)


@pytest.mark.parametrize(
    ("X_val", "y_val", "message"),
    [
        (X[:, :1], Y, "X_val has 1 features"),
        (X, Y.astype(str), r"y_val has string labels \['0', .*, but y has numeric labels \[0, 1"),
    ],
)
def test_held_out_rows_of_another_kind_are_an_error(X_val, y_val, message):
    with pytest.raises(ValueError, match=message):
        ActiveLearner().fit(X[Y < 2], Y[Y < 2], X_val=X_val, y_val=y_val)


def test_held_out_booleans():
    with pytest.raises(ValueError, match="y_val has boolean labels"):
        ActiveLearner().fit(X, Y, X_val=X, y_val=Y < 2)
    learner = ActiveLearner().fit(X, (Y < 2).astype(int), X_val=X, y_val=Y < 2)  # 0 and 1
    assert learner.history_["score"][0] == learner.score(X, Y < 2) > 0.5


@pytest.mark.parametrize(
    "scoring",
    [
        make_scorer(
            log_loss, response_method="predict_proba", greater_is_better=False, labels=range(4)
        ),
        make_scorer(top_k_accuracy_score, response_method="predict_proba", k=2, labels=range(4)),
        {"one": "roc_auc_ovr", "two": "accuracy"},
    ],
    ids=["log loss", "top k", "roc"],
)
def test_a_score_that_wants_all_classes_is_nan_without_them(scoring):
    """Such metrics fail on the rows of the known classes, too."""
    order = np.concatenate([np.flatnonzero(label == Y)[:5] for label in range(4)])
    learner = ActiveLearner(scoring=scoring)
    with pytest.warns(UserWarning, match="does not know all classes") as told:
        learner.fit(X[order[:15]], Y[order[:15]], X_val=X, y_val=Y)
    assert len(told) == 1
    learner.teach(X[order[15:]], Y[order[15:]], X_val=X, y_val=Y)
    scores = learner.history_["score_one" if isinstance(scoring, dict) else "score"]
    assert np.isnan(scores).tolist() == [True, False]


def test_held_out_columns_in_another_order_are_an_error():
    frame = pd.DataFrame(X, columns=list("abcd"))
    with pytest.raises(ValueError, match="number 0 is 'd' in X_val and 'a' in X"):
        ActiveLearner().fit(frame, Y, X_val=frame[list("dcba")], y_val=Y)


@pytest.mark.parametrize("scoring", ["f1", ["accuracy", "f1"]])
def test_a_score_that_no_model_can_have_is_an_error(scoring):
    """Even where the model does not know all classes: this is not why."""
    with pytest.raises(ValueError, match="average='binary'"):
        ActiveLearner(scoring=scoring).fit(X[Y < 3], Y[Y < 3], X_val=X, y_val=Y)
    with pytest.raises(ValueError, match="average='binary'"):  # two classes, for which it is one
        ActiveLearner(scoring=scoring).fit(X[Y < 2], Y[Y < 2], X_val=X, y_val=Y)


@pytest.mark.parametrize("scoring", ["acuracy", accuracy_score])
def test_a_scorer_that_is_none_is_an_error_without_held_out_rows(scoring):
    with pytest.raises(ValueError, match="scor"):
        ActiveLearner(scoring=scoring).fit(X, Y)


def test_an_oracle_wants_held_out_rows_before_the_first_training():
    with (
        patch("skbait.learner.fit_round", side_effect=AssertionError("trained")),
        pytest.raises(ValueError, match="BossQuery judges batches on held-out rows"),
    ):
        cycle(BossQuery()).fit(X, Y)
    assert cycle(BossQuery(), budget=8).fit(X, Y).n_labels_ == 8  # it has nothing to choose


class Surprise(BaseQuery):
    """An oracle that needs the labels of the pool, and no held-out rows."""

    _needs = frozenset({"probabilities", "pool labels"})

    def query(self, X_pool, n=1, *, y_pool, candidates=None, X_val=None, y_val=None):
        return self._query(X_pool, n, candidates=candidates, y_pool=np.asarray(y_pool))

    def _select(self, view, n):
        p = view.pool_probabilities
        surprise = -p[np.arange(len(p)), view.y_pool]
        return surprise.argsort(descending=True, stable=True)[:n], surprise


def test_an_oracle_without_held_out_rows():
    assert cycle(Surprise()).fit(X, Y).n_labels_ == 40


@pytest.mark.parametrize("subset_size", [0.039, 11])
def test_a_sub_pool_smaller_than_a_batch_is_refused_before_the_first_training(subset_size):
    """A fraction of 292 rows would do for the first batch, and no longer for the second."""
    learner = cycle(MarginQuery(subset_size=subset_size))
    with (
        patch("skbait.learner.fit_round", side_effect=AssertionError("trained")),
        pytest.raises(ValueError, match=rf"subset_size={subset_size} draws 11 of the .*n=12"),
    ):
        learner.fit(X, Y)
    assert learner.set_params(batch_size=11).fit(X[:300], Y[:300]).n_labels_ == 40


def test_weights_for_another_number_of_rows():
    with pytest.raises(ValueError, match=r"sample_weight has 299 entries.* 300 rows"):
        cycle().fit(X, Y, sample_weight=np.ones(299))


def test_one_scorer_is_also_that_of_score():
    learner = cycle(scoring="neg_log_loss").fit(X[:200], Y[:200], X_val=X[200:], y_val=Y[200:])
    assert learner.score(X[200:], Y[200:]) == learner.history_["score"][-1] < 0


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"X_val": X}, "X_val was given without y_val"),
        ({"y_val": Y}, "y_val was given without X_val"),
        ({"X_val": X, "y_val": Y[:-1]}, "X has 300 rows and y_val has 299"),
        ({"X_val": X[:2], "y_val": [1, -1]}, "y_val has 1 rows without a label"),
    ],
)
def test_held_out_data_that_cannot_be(kwargs, message):
    with pytest.raises(ValueError, match=message):
        cycle().fit(X, Y, **kwargs)


# ---------------------------------------------------------------------------- all sizes

IRIS = load_iris(return_X_y=True)


@given(
    initial=st.integers(1, 12),
    extra=st.integers(0, 20),
    batch_size=st.integers(1, 30),
    unlabeled=st.integers(0, 120),
    random_state=st.integers(0, 2**32 - 1),
)
def test_budgets_of_all_sizes(initial, extra, batch_size, unlabeled, random_state):
    features, y = IRIS[0], IRIS[1].copy()
    y[np.random.RandomState(random_state).permutation(150)[:unlabeled]] = -1
    budget = initial + extra
    learner = ActiveLearner(
        GaussianNB(),
        RandomQuery(),
        initial=initial,
        budget=budget,
        batch_size=batch_size,
        random_state=random_state,
    )
    if budget > 150 - unlabeled:
        with pytest.warns(UserWarning, match="every one of them"):
            learner.fit(features, y)
        assert learner.n_labels_ == 150 - unlabeled
        return
    failure = ""
    try:
        learner.fit(features, y)
    except ValueError as error:
        failure = str(error)
    if failure:  # the rows that were looked at, all that the budget allows, show one class
        assert f"{budget} labels (n_samples = {budget}) show 1 class" in failure
        assert budget < 15
        return
    assert learner.n_labels_ == budget
    assert (learner.y_labeled_ >= 0).all()
    steps = np.diff(learner.history_["n_labels"])
    assert (steps[:-1] == batch_size).all()
    assert (steps[-1:] <= batch_size).all()


@pytest.mark.parametrize("plain", [False, True], ids=["map", "view"])
@pytest.mark.parametrize("strategy", [MarginQuery(), BaitQuery(), RandomQuery()])
def test_few_candidates_of_a_large_map_are_not_copied(strategy, plain, tmp_path, monkeypatch):
    rng = np.random.RandomState(0)
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float64, (300, 4))
    X[:] = rng.normal(size=X.shape)
    X = np.asarray(X)[:] if plain else X  # a plain array still lies in the file
    query = clone(strategy).set_params(random_state=0).fit(X[:20], (X[:20, 0] > 0).astype(int))
    candidates = np.arange(200, 300)
    copied = query.query(X, 5, candidates=candidates)

    def refuse(*_):
        raise AssertionError("the candidates of a memory map were copied")

    monkeypatch.setattr("skbait.strategies._checks.memory_bytes", lambda device: 8 * 99 * 4 * 8)
    with monkeypatch.context() as patched:
        patched.setattr("skbait.strategies._checks.take_rows", refuse)
        assert query.query(X, 5, candidates=candidates).tolist() == copied.tolist()
    # of a sub-pool that was asked for, no other row is read, however large it is
    seen = []
    monkeypatch.setattr(
        "skbait.strategies._checks.check_finite", lambda rows, **_: seen.append(len(rows))
    )
    query.set_params(subset_size=120).query(X, 5)
    assert seen == [120]


def test_a_row_without_label_may_hold_nan():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(60, 4))
    y = (X[:, 0] > 0).astype(int)
    X[5], y[5] = np.nan, -1
    learner = ActiveLearner(initial=12, budget=40, batch_size=7, random_state=0).fit(X, y)
    assert learner.n_labels_ == 40
    assert 5 not in learner.labeled_positions_


def test_the_pool_is_not_copied_in_a_cycle(tmp_path, monkeypatch):
    """Of a memory map only the labelled rows are taken out: the model sees the pool as it is."""
    rng = np.random.RandomState(0)
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float64, (300, 4))
    X[:] = rng.normal(size=X.shape)
    y = (X[:, 0] > 0).astype(int)
    taken = []

    def counted(take_rows):
        def take(rows, positions):
            if rows is X:
                taken.append(len(np.atleast_1d(positions)))
            return take_rows(rows, positions)

        return take

    for module in ("skbait.learner", "skbait._cycle", "skbait.strategies._checks"):
        monkeypatch.setattr(f"{module}.take_rows", counted(take_rows))
    learner = ActiveLearner(query_strategy=BaitQuery(), budget=40, batch_size=10, random_state=0)
    learner.fit(X, y)
    assert taken, "the labelled rows are taken"
    assert max(taken) <= 40
    by_hand = ActiveLearner(query_strategy=BaitQuery(), batch_size=10, random_state=0)
    first = learner.labeled_positions_[:10]
    by_hand.fit(X[first], y[first])
    rest = np.setdiff1d(np.arange(300), first)
    expected = learner.labeled_positions_[10:20].tolist()
    assert by_hand.query(X, candidates=rest).tolist() == expected
    mask = np.isin(np.arange(300), rest)
    assert by_hand.query(X, 10, candidates=mask).tolist() == expected
    assert len(by_hand.query(X, candidates=rest[:4])) == 4


def test_initial_rows_by_a_strategy_that_needs_features_only(rng):
    X = rng.normal(size=(60, 1, 2, 2)).astype(np.float32)
    y = (X[:, 0, 0, 0] > 0).astype(int)
    flat = make_pipeline(FunctionTransformer(_flat), LogisticRegression())
    learner = ActiveLearner(
        flat, MarginQuery(), initial=TypiClustQuery(), budget=20, batch_size=10, random_state=0
    )
    learner.fit(X, y)
    assert learner.n_labels_ == 20
    alone = TypiClustQuery(random_state=0).fit(X[:1]).query(X, 10)
    assert len(set(alone.tolist())) == 10
    frozen = FrozenEstimator(LogisticRegression().fit(_flat(X), y))
    for strategy, words in (
        (TypiClustQuery(LogisticRegression()), r"initial=.* has to fit LogisticRegression"),
        (BaitQuery(), r"initial=.* needs a model \(features, probabilities\)"),
    ):
        with pytest.raises(ValueError, match=words):
            ActiveLearner(initial=strategy, budget=20).fit(_flat(X), y)
    learner = ActiveLearner(initial=TypiClustQuery(frozen), budget=10, batch_size=10)
    assert learner.fit(_flat(X), y).n_labels_ == 10


def _flat(X):
    return X.reshape(len(X), -1)


def test_the_first_row_that_is_not_finite_is_named_by_its_place_in_X():
    gaps, y = X.copy(), Y.copy()
    y[:40] = -1
    gaps[50, 1] = np.nan
    learner = ActiveLearner(
        make_pipeline(SimpleImputer(), LogisticRegression()),
        MarginQuery(),
        initial=TypiClustQuery(),
        budget=40,
        random_state=0,
    )
    words = r"X contains NaN, first in row 50.*TypiClustQuery\(\).* begin with a number of rows"
    with pytest.raises(ValueError, match=words):
        learner.fit(gaps, y)
    with pytest.raises(ValueError, match=r"leave such rows out, or fill in .* beforehand\.$"):
        clone(learner).set_params(estimator=LogisticRegression()).fit(gaps, y)
    assert learner.set_params(initial=RandomQuery()).fit(gaps, y).n_labels_ == 40


@pytest.mark.parametrize("strategy", [RandomQuery(), MarginQuery(), BaitQuery()])
def test_a_search_without_a_best_estimator_is_told_before_it_is_trained(strategy):
    search = GridSearchCV(Untrained(), {"C": [0.1, 1.0]}, refit=False)
    with pytest.raises(ValueError, match="refit=False; set refit=True"):
        cycle(strategy, estimator=search).fit(X, Y)


class Tuned(LogisticRegression):
    """A user's own: it trains what its search found."""

    def __init__(self, estimator=None):
        super().__init__()
        self.estimator = estimator

    def fit(self, X, y):
        found = clone(self.estimator).fit(X, y).cv_results_
        self.C = found["params"][found["rank_test_score"].argmin()]["C"]
        return super().fit(X, y)


def test_a_search_that_keeps_no_best_estimator_may_serve_others():
    inner = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, refit=False, cv=2)
    for estimator in (Tuned(inner), GridSearchCV(inner, {"refit": [True]}, cv=2)):
        learner = cycle(MarginQuery(), estimator=estimator, initial=28)
        assert learner.fit(X, Y).n_labels_ == 40
    pipeline = Pipeline([("model", inner)])
    search = GridSearchCV(pipeline, {"model": [LogisticRegression(C=c) for c in (0.1, 1.0)]}, cv=2)
    frozen = FrozenEstimator(search.fit(X, Y))
    assert len(BaitQuery(frozen).fit(X, Y).query(X, 3)) == 3


class FrozenError(ValueError):
    """An exception that takes no notes."""

    def add_note(self, note):
        raise AttributeError(note)


@pytest.mark.parametrize("error", [FrozenError("no"), ValueError("no")])
def test_a_failed_training_raises_its_own_error_with_one_note(error):
    class Untrainable(LogisticRegression):
        def fit(self, X, y):
            raise error

    laplace = LaplaceClassifier(Untrainable())
    with pytest.raises(type(error), match="no") as failed:
        ActiveLearner(TemperatureClassifier(laplace), RandomQuery()).fit(X, Y)
    assert failed.value is error
    assert len(getattr(error, "__notes__", ())) == (not isinstance(error, FrozenError))


def test_a_failed_training_tells_of_its_labels():
    """Beneath the error: too few of a class are often why."""
    calibrated = CalibratedClassifierCV(LogisticRegression(), cv=3)
    learner = ActiveLearner(calibrated, RandomQuery())
    y = np.repeat(["a", "b"], [8, 2])
    with pytest.raises(ValueError, match="less than 3 examples") as failed:
        learner.fit(X[:10], y)
    (note,) = failed.value.__notes__
    assert (
        note == "The training had 10 labelled rows of 2 classes; the rarest, 'b', has 2 of them."
    )


class Untrained(LogisticRegression):
    def fit(self, X, y):
        raise AssertionError("trained")
