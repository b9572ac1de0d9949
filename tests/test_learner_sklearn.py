# SPDX-License-Identifier: BSD-3-Clause
"""A learner in scikit-learn's house: checks, searches, pipelines, metadata routing, callbacks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.datasets import load_digits, make_blobs
from sklearn.decomposition import PCA
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, get_scorer, make_scorer
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, scale
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbait import ActiveLearner, BaitQuery, MarginQuery, RandomQuery

X, Y = make_blobs(200, n_features=4, centers=4, cluster_std=3.0, random_state=3)
X = scale(X)
DIGITS, DIGIT = load_digits(return_X_y=True)
DIGITS = DIGITS[:500] / 16
DIGIT = DIGIT[:500]


def cycle(estimator=None, strategy=None, **params):
    settings = {"initial": 8, "budget": 40, "batch_size": 12, "random_state": 0} | params
    return ActiveLearner(estimator, strategy or MarginQuery(), **settings)


# ---------------------------------------------------------------------------- check_estimator

# scikit-learn excuses its own semi-supervised classifiers from this one check, by name: it
# trains on labels -1 and 1, and -1 marks a row without a label. The rest of the check, labels
# that are strings, is in `test_learner.py`.
EXPECTED_TO_FAIL = {"check_classifiers_classes": "-1 marks a row without a label"}


@pytest.mark.filterwarnings("ignore:budget=.* is more than:UserWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [
        ActiveLearner(),
        ActiveLearner(query_strategy=MarginQuery(), budget=40, batch_size=15),
        ActiveLearner(query_strategy=RandomQuery(), initial=0.2, budget=60, batch_size=25),
    ],
    expected_failed_checks=lambda estimator: EXPECTED_TO_FAIL,
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


# ---------------------------------------------------------------------------- searches, pipelines


def test_a_grid_search_over_strategy_and_estimator_at_once():
    search = GridSearchCV(
        cycle(strategy=BaitQuery(), budget=30),
        {
            "query_strategy__variant": ["exp", "binary"],
            "estimator__C": [0.1, 1.0],
            "batch_size": [11],
        },
        cv=2,
    )
    search.set_params(estimator__estimator=LogisticRegression())
    search.fit(X, Y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.n_labels_ == 30
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    alone = clone(search.estimator).set_params(**search.best_params_).fit(X, Y)
    np.testing.assert_array_equal(alone.predict(X), search.predict(X))


def test_a_grid_search_may_exchange_the_strategy():
    strategies = [RandomQuery(), MarginQuery(), BaitQuery()]
    search = GridSearchCV(cycle(budget=20), {"query_strategy": strategies}, cv=2).fit(X, Y)
    assert len(search.cv_results_["params"]) == 3


def test_cross_validation_is_of_the_whole_cycle():
    scores = cross_val_score(cycle(), X, Y, cv=3)
    assert scores.shape == (3,)
    again = cross_validate(cycle(), X, Y, cv=3, return_estimator=True)
    np.testing.assert_array_equal(again["test_score"], scores)
    assert [learner.n_labels_ for learner in again["estimator"]] == [40, 40, 40]


def test_rows_without_a_label_are_no_mistakes_in_a_score():
    some = np.where(np.arange(len(Y)) % 2, Y, -1)
    weights = np.linspace(1, 2, len(Y))
    learner = cycle().fit(X, some)
    assert learner.score(X, some) == learner.score(X[1::2], Y[1::2])
    expected = learner.score(X[1::2], Y[1::2], sample_weight=weights[1::2])
    assert learner.score(X, some, sample_weight=weights) == expected
    names = np.array(["a", "b", "c", "d"], dtype=object)
    marked = np.where(some < 0, None, names[some])
    assert cycle().fit(X, marked).score(X, marked) == learner.score(X, some)
    assert cross_val_score(cycle(), X, some, cv=3, error_score="raise").min() > 0.4
    with pytest.raises(ValueError, match="no label in its 200 rows"):
        learner.score(X, np.full(200, -1))
    signs = np.where(Y % 2, 1, -1)
    frozen = ActiveLearner(FrozenEstimator(LogisticRegression().fit(X, signs))).fit(X, Y % 2)
    assert frozen.score(X, signs) == accuracy_score(signs, frozen.predict(X))  # here -1 is one


def test_in_a_pipeline_and_around_one():
    inside = make_pipeline(MinMaxScaler(), PCA(20, random_state=0), cycle()).fit(DIGITS, DIGIT)
    assert inside.score(DIGITS, DIGIT) > 0.5
    around = cycle(make_pipeline(PCA(9), LogisticRegression()), BaitQuery(), initial=10)
    around.fit(DIGITS, DIGIT)
    assert around.estimator_[0].n_samples_ == 40
    assert len(around.query(DIGITS, 3)) == 3
    inside.set_params(activelearner__query_strategy__subset_size=0.5)
    assert inside[-1].query_strategy.subset_size == 0.5


def test_nested_parameters_and_clones():
    learner = ActiveLearner(LogisticRegression(C=3), BaitQuery(top_c=3), budget=40)
    params = learner.get_params()
    assert params["estimator__C"] == 3
    assert params["query_strategy__top_c"] == 3
    twin = clone(learner).set_params(query_strategy__variant="exact", estimator__C=1)
    assert learner.query_strategy.variant == "exp"
    assert twin.query_strategy is not learner.query_strategy
    assert "variant='exact'" in repr(twin)


def test_the_html_shows_both_parts():
    learner = ActiveLearner(LogisticRegression(C=3), BaitQuery(), budget=40, random_state=0)
    for each in (learner, clone(learner).fit(X, Y)):
        html = each._repr_html_()
        assert "LogisticRegression" in html
        assert "BaitQuery" in html


# ---------------------------------------------------------------------------- metadata routing


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


class Weighs(ClassifierMixin, BaseEstimator):
    """Remembers what it was fitted and scored with."""

    seen: list = []

    def fit(self, X, y, sample_weight=None, flavour=None):
        self.seen.append((type(self).__name__, len(y), sample_weight, flavour))
        self.model_ = GaussianNB().fit(X, y, sample_weight)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X)

    def predict_proba(self, X):
        return self.model_.predict_proba(X)


class AlsoWeighs(Weighs):
    """Another type, to be told apart."""


@pytest.fixture
def seen():
    Weighs.seen.clear()
    yield Weighs.seen
    Weighs.seen.clear()


@pytest.mark.usefixtures("routing")
def test_metadata_go_to_the_estimator_that_requests_them(seen):
    weights = np.linspace(1, 2, len(Y))
    learner = cycle(Weighs().set_fit_request(sample_weight=True, flavour=True))
    learner.fit(X, Y, sample_weight=weights, flavour="sweet")
    for _, n, sample_weight, flavour in seen:
        np.testing.assert_array_equal(sample_weight, weights[learner.labeled_positions_[:n]])
        assert flavour == "sweet"
    learner.teach(X[:2], Y[:2], sample_weight=[7, 8])
    assert seen[-1][2].tolist()[-2:] == [7, 8]
    assert seen[-1][3] == "sweet"
    learner.teach(X[:3], Y[:3], sample_weight=[7, 8, 9], flavour="abc")  # not a letter a row
    assert seen[-1][2].tolist()[-3:] == [7, 8, 9]
    assert seen[-1][3] == "abc"


@pytest.mark.usefixtures("routing")
def test_metadata_that_nobody_requests_are_refused(seen):
    with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="sample_weight"):
        cycle(Weighs()).fit(X, Y, sample_weight=np.ones(len(Y)))
    assert not seen


@pytest.mark.usefixtures("routing")
def test_metadata_go_to_the_strategy_that_has_an_estimator_of_its_own(seen):
    weights = np.linspace(1, 2, len(Y))
    learner = cycle(
        Weighs().set_fit_request(sample_weight=False),
        MarginQuery(AlsoWeighs().set_fit_request(sample_weight=True)),
    )
    learner.fit(X, Y, sample_weight=weights)
    names = [name for name, *_ in seen]
    assert names == ["Weighs", "AlsoWeighs"] * 3 + ["Weighs"]
    for name, n, sample_weight, _ in seen:
        if name == "Weighs":
            assert sample_weight is None
        else:
            np.testing.assert_array_equal(sample_weight, weights[learner.labeled_positions_[:n]])


@pytest.mark.usefixtures("routing")
def test_metadata_go_to_the_scorer():
    scorer = make_scorer(accuracy_score).set_score_request(sample_weight="weight_val")
    learner = cycle(LogisticRegression().set_fit_request(sample_weight=False), scoring=scorer)
    weight_val = np.r_[np.ones(10), np.zeros(40)]
    learner.fit(X[:150], Y[:150], X_val=X[150:], y_val=Y[150:], weight_val=weight_val)
    expected = accuracy_score(Y[150:160], learner.predict(X[150:160]))
    assert learner.history_["score"][-1] == expected
    assert learner.score(X[150:], Y[150:], weight_val=weight_val) == expected


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("update", ["refit", "laplace"])
def test_weights_of_a_score_go_where_they_are_requested(update):
    weights = np.r_[np.ones(50), np.zeros(150)]
    asks = LogisticRegression().set_score_request(sample_weight=True)
    for estimator in (asks, make_pipeline(MinMaxScaler(), asks)):
        learner = ActiveLearner(estimator, update=update).fit(X[:80], Y[:80])
        expected = accuracy_score(Y[:50], learner.predict(X[:50]))
        assert learner.score(X, Y, sample_weight=weights) == expected
    with pytest.raises(UnsetMetadataPassedError):
        ActiveLearner(update=update).fit(X, Y).score(X, Y, sample_weight=weights)
    scorer = get_scorer("accuracy").set_score_request(sample_weight=True)
    learner = ActiveLearner(update=update, scoring=scorer).fit(X[:80], Y[:80])
    assert learner.score(X, Y, sample_weight=weights) == expected


@pytest.mark.usefixtures("routing")
def test_held_out_data_through_a_pipeline_that_transforms_them():
    learner = cycle().set_fit_request(X_val=True, y_val=True)
    pipeline = Pipeline([("scale", MinMaxScaler()), ("learn", learner)], transform_input=["X_val"])
    pipeline.fit(X[:150], Y[:150], X_val=X[150:], y_val=Y[150:])
    assert pipeline[-1].history_["score"][-1] == pipeline.score(X[150:], Y[150:])


@pytest.mark.usefixtures("routing")
def test_a_search_routes_through_the_learner(seen):
    weights = np.linspace(1, 2, len(Y))
    learner = cycle(
        Weighs().set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
    )
    GridSearchCV(learner, {"budget": [20]}, cv=2).fit(X, Y, sample_weight=weights)
    assert all(len(sample_weight) == n for _, n, sample_weight, _ in seen)


def test_without_routing_a_search_passes_weights_on_as_well(seen):
    weights = np.linspace(1, 2, len(Y))
    GridSearchCV(cycle(Weighs()), {"budget": [20]}, cv=2).fit(X, Y, sample_weight=weights)
    assert {n for _, n, *_ in seen} == {8, 20}
    assert all(len(sample_weight) == n for _, n, sample_weight, _ in seen)


# ---------------------------------------------------------------------------- callbacks


class Records:
    """A callback that writes down what it is told, and may ask to stop."""

    def __init__(self, stop_at=None, fail_at=None):
        self.calls = []
        self.stop_at = stop_at
        self.fail_at = fail_at

    def setup(self, estimator, context):
        self.calls.append(("setup", type(estimator).__name__, context.task_name))

    def teardown(self, estimator, context):
        self.calls.append(("teardown", type(estimator).__name__, context.task_name))

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        n = None if y is None else len(y)
        self.calls.append(("begin", type(estimator).__name__, context.task_name, n))

    def on_fit_task_end(
        self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None
    ):
        if context.task_name == "lbfgs-iter":
            return False
        n = None if y is None else len(y)
        self.calls.append(("end", type(estimator).__name__, context.task_name, n))
        self.fitted, self.metadata = fitted_estimator, metadata
        if n is not None and n == self.fail_at:
            raise RuntimeError("the callback fails")
        return n is not None and n == self.stop_at


class RecordsEverywhere(Records):
    """The same, handed on to the estimators inside."""

    max_propagation_depth = None


def test_a_callback_sees_the_rounds():
    callback = Records()
    learner = cycle(GaussianNB()).set_callbacks(callback).fit(X, Y)
    name = "ActiveLearner"
    rounds = [
        call
        for n in (8, 20, 32, 40)
        for call in (("begin", name, "round", None), ("end", name, "round", n))
    ]
    assert callback.calls == [
        ("setup", name, "fit"),
        ("begin", name, "fit", 8),
        *rounds,
        ("end", name, "fit", 40),
        ("teardown", name, "fit"),
    ]
    np.testing.assert_array_equal(callback.fitted.predict(X), learner.predict(X))
    learner.teach(X[:2], Y[:2])
    assert [call[:3] for call in callback.calls[12:]] == [
        ("setup", name, "teach"),
        ("begin", name, "teach"),
        ("begin", name, "round"),
        ("end", name, "round"),
        ("end", name, "teach"),
        ("teardown", name, "teach"),
    ]


def test_a_callback_stops_the_cycle():
    callback = Records(stop_at=20)
    learner = cycle().set_callbacks(callback).fit(X, Y)
    assert learner.n_labels_ == 20
    assert learner.history_["n_labels"].tolist() == [8, 20]
    assert callback.calls[-1][0] == "teardown"
    full = cycle().fit(X, Y)
    np.testing.assert_array_equal(learner.labeled_positions_, full.labeled_positions_[:20])


def test_a_callback_that_fails_leaves_the_learner_as_it_was():
    learner = cycle().fit(X, Y)
    before = dict(vars(learner))
    callback = Records(fail_at=20)
    learner.set_callbacks(callback)
    with pytest.raises(RuntimeError, match="the callback fails"):
        learner.fit(X, Y)
    assert callback.calls[-1][0] == "teardown"
    learner.set_callbacks()
    assert vars(learner) == before


def test_callbacks_are_handed_on_to_an_estimator_that_has_them():
    callback = RecordsEverywhere()
    learner = cycle(LogisticRegression(max_iter=500)).set_callbacks(callback).fit(X, Y)
    calls = [call for call in callback.calls if call[2] == "fit"]
    assert calls.count(("end", "LogisticRegression", "fit", 40)) == 1
    # set up and torn down once, by the learner alone
    assert [call[1] for call in calls if call[0] in ("setup", "teardown")] == 2 * ["ActiveLearner"]
    assert not hasattr(learner.estimator_, "_parent_callback_ctx")
    assert not hasattr(learner.estimator_, "_skl_callbacks")
    expected = cycle(LogisticRegression(max_iter=500)).fit(X, Y)
    np.testing.assert_array_equal(learner.predict_proba(X), expected.predict_proba(X))


def test_callbacks_end_quietly_at_an_estimator_without_them():
    callback = RecordsEverywhere()  # any warning is an error here
    cycle(GaussianNB()).set_callbacks(callback).fit(X, Y)
    assert {call[1] for call in callback.calls} == {"ActiveLearner"}


def test_callbacks_leave_a_frozen_estimator_alone():
    model = LogisticRegression().fit(X[:50], Y[:50])
    before = dict(vars(model))
    learner = cycle(FrozenEstimator(model), budget=20).set_callbacks(RecordsEverywhere())
    learner.fit(X, Y)
    assert vars(model) == before
    np.testing.assert_array_equal(learner.predict(X), model.predict(X))


def test_callbacks_reach_a_learner_inside_other_estimators():
    callback = RecordsEverywhere()
    search = GridSearchCV(Pipeline([("learn", cycle(GaussianNB(), budget=20))]), {}, cv=2)
    search.set_callbacks(callback).fit(X, Y)
    ends = [call for call in callback.calls if call[:3] == ("end", "ActiveLearner", "round")]
    assert [n for *_, n in ends] == [8, 20] * 3


def test_a_progress_bar_over_the_rounds(capsys):
    pytest.importorskip("rich")
    learner = cycle().set_callbacks(ProgressBar()).fit(X, Y)
    assert "ActiveLearner - fit" in capsys.readouterr().out
    learner.set_callbacks(ProgressBar(max_propagation_depth=0)).fit(X, Y)
    out = capsys.readouterr().out
    assert "ActiveLearner - fit" in out
    assert "100%" in out
    assert "LogisticRegression" not in out


def test_the_scoring_monitor_logs_every_round():
    monitor = ScoringMonitor(scoring="accuracy")
    learner = cycle().set_callbacks(monitor).fit(X, Y, sample_weight=np.ones(len(Y)))
    log = pd.DataFrame(monitor.get_logs().data)
    rounds = log[log["task_name"] == "round"]
    assert len(rounds) == 4
    scorer = get_scorer("accuracy")
    rows = learner.labeled_positions_
    assert rounds["accuracy"].iloc[-1] == scorer(learner, X[rows], Y[rows])
