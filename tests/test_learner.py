# SPDX-License-Identifier: BSD-3-Clause
"""A learner used by hand: fit, query, teach; what it takes, and that failures change nothing."""

from __future__ import annotations

import copy
import pickle
from unittest.mock import patch

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from representation_nets import MLP, make_net
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris, make_blobs
from sklearn.ensemble import BaggingClassifier, HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skbait import ActiveLearner, BaitQuery, MarginQuery, RandomQuery
from skbait.laplace import TemperatureClassifier
from skbait.representation import can_represent, probabilities, represent

X, Y = make_blobs(120, n_features=3, centers=3, cluster_std=2.0, random_state=1)
X_POOL = X[40:]


def fitted(estimator=None, strategy=None, X=X, y=Y, **params):
    params = {"random_state": 0} | params
    return ActiveLearner(estimator, strategy or MarginQuery(), **params).fit(X[:40], y[:40])


def state_of(learner):
    """Everything that a learner is: its attributes, and what their values hash to."""
    return {name: (id(value), joblib.hash(value)) for name, value in vars(learner).items()}


class Fails(ClassifierMixin, BaseEstimator):
    """A classifier whose training fails where a row says so."""

    def fit(self, X, y):
        if (np.asarray(X) > 1000).any():
            raise RuntimeError("training diverged")
        self.classes_ = np.unique(y)
        self.inner_ = LogisticRegression().fit(X, y)
        return self

    def predict(self, X):
        return self.inner_.predict(X)

    def predict_proba(self, X):
        return self.inner_.predict_proba(X)


# ---------------------------------------------------------------------------- the loop


@pytest.mark.parametrize("strategy", [BaitQuery(), MarginQuery(), RandomQuery()])
def test_the_loop_of_the_readme(strategy):
    learner = ActiveLearner(LogisticRegression(), strategy, random_state=0).fit(X[:10], Y[:10])
    pool, oracle = X[10:], Y[10:]
    for _ in range(3):
        chosen = learner.query(pool, 5)
        assert chosen.dtype == np.int64
        assert chosen.shape == (5,)
        assert len(set(chosen.tolist())) == 5
        learner.teach(pool[chosen], oracle[chosen])
        pool, oracle = np.delete(pool, chosen, axis=0), np.delete(oracle, chosen)
    assert learner.n_labels_ == 25
    assert learner.history_["n_labels"].tolist() == [10, 15, 20, 25]
    assert learner.predict(X).shape == (120,)


def test_teaching_in_parts_is_fitting_on_the_whole():
    # LogisticRegression has no randomness: only the rows and their order matter
    learner = fitted().teach(X[40:50], Y[40:50]).teach(X[50:51], Y[50:51])
    whole = LogisticRegression().fit(X[:51], Y[:51])
    np.testing.assert_array_equal(learner.estimator_.coef_, whole.coef_)
    assert isinstance(learner.estimator_, LogisticRegression)


def test_every_model_is_a_fresh_clone():
    learner = fitted(SGDClassifier(loss="log_loss", warm_start=True))
    first = learner.estimator_
    coef = first.coef_.copy()
    learner.teach(X[40:50], Y[40:50])
    assert learner.estimator_ is not first
    np.testing.assert_array_equal(first.coef_, coef)
    assert not hasattr(learner.estimator, "coef_")
    assert learner.estimator_.t_ == 1 + 50 * learner.estimator_.n_iter_


def test_query_takes_a_batch_where_no_number_is_given():
    learner = fitted(batch_size=7)
    assert len(learner.query(X_POOL)) == 7
    assert len(learner.query(X_POOL[:3])) == 3
    np.testing.assert_array_equal(learner.query(X_POOL), learner.query(X_POOL, 7))


@pytest.mark.parametrize("strategy", [BaitQuery(), RandomQuery(), MarginQuery(subset_size=0.5)])
def test_query_changes_nothing(strategy):
    learner = fitted(SGDClassifier(loss="log_loss"), strategy)
    before, pool = state_of(learner), X_POOL.copy()
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    chosen = learner.query(X_POOL, 5)
    assert state_of(learner) == before
    np.testing.assert_array_equal(pool, X_POOL)
    np.testing.assert_array_equal(learner.query(X_POOL, 5), chosen)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_utilities_come_along_where_asked_for():
    chosen, utilities = fitted().query(X_POOL, 5, return_utilities=True)
    assert chosen.shape == (5,)
    assert utilities.shape == (80,)


@pytest.mark.parametrize(
    ("n", "pool", "message"),
    [
        (0, X_POOL, "n=0"),
        (81, X_POOL, "n=81"),
        (2.0, X_POOL, "n=2.0"),
        (2, X_POOL[:, :2], "X has 2 features, but ActiveLearner is expecting 3"),
        (2, np.full((4, 3), np.nan), "NaN"),
        (2, X_POOL[:0], "X_pool is empty"),
        (None, X_POOL[:0], "X_pool is empty"),
    ],
)
def test_queries_that_cannot_be_are_named(n, pool, message):
    learner = fitted()
    with pytest.raises((ValueError, TypeError), match=message):
        learner.query(pool, n)


def test_before_fit_there_is_nothing_to_ask():
    learner = ActiveLearner()
    for call in (
        lambda: learner.query(X),
        lambda: learner.teach(X, Y),
        lambda: learner.predict(X),
        lambda: learner.score(X, Y),
    ):
        with pytest.raises(NotFittedError):
            call()


def test_defaults_are_bait_on_a_logistic_regression():
    learner = ActiveLearner(random_state=0).fit(X[:40], Y[:40])
    assert isinstance(learner.estimator_, LogisticRegression)
    query = BaitQuery(FrozenEstimator(learner.estimator_)).fit(X[:40], Y[:40])
    np.testing.assert_array_equal(learner.query(X_POOL, 6), query.query(X_POOL, 6))
    assert learner.estimator is None
    assert learner.query_strategy is None


# ---------------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["a", "b", "c"], ["a", "b", "c"]),
        ([7, 3, 5], [3, 5, 7]),
        ([False, True, True], [False, True]),
    ],
)
def test_labels_of_all_kinds(names, classes):
    y = np.array(names)[Y]
    learner = fitted(y=y)
    assert learner.classes_.tolist() == classes
    assert learner.y_labeled_.dtype.kind == y.dtype.kind
    learner.teach(X[40:60], y[40:60].tolist())
    assert learner.classes_.tolist() == classes
    assert set(learner.predict(X).tolist()) <= set(names)
    assert learner.score(X, y) > 0.5


@pytest.mark.parametrize("names", [["a", "b", "zebra"], [1, 2, 3]])
def test_a_class_first_seen_in_teach_is_taken_in(names):
    y = np.array(names)[Y]
    known = np.flatnonzero(Y < 2)
    learner = ActiveLearner(query_strategy=BaitQuery(), random_state=0)
    learner.fit(X[known[:20]], y[known[:20]])
    assert learner.classes_.tolist() == names[:2]
    new = np.flatnonzero(Y == 2)[:5]
    learner.teach(X[new], y[new])
    assert learner.classes_.tolist() == names
    assert learner.predict_proba(X).shape == (120, 3)
    assert names[2] in learner.predict(X).tolist()
    assert len(learner.query(X, 5)) == 5


def test_rows_without_a_label_are_left_out():
    y = Y.copy()
    y[::2] = -1
    learner = ActiveLearner().fit(X, y)
    np.testing.assert_array_equal(learner.labeled_positions_, np.arange(1, 120, 2))
    np.testing.assert_array_equal(learner.X_labeled_, X[1::2])
    assert learner.classes_.tolist() == [0, 1, 2]
    learner.teach(X[:4], [0, -1, -1, 1])
    assert learner.n_labels_ == 62
    np.testing.assert_array_equal(learner.X_labeled_[-2:], X[[0, 3]])


def test_labels_minus_one_and_one_are_not_two_classes():
    y = np.where(Y > 0, 1, -1)
    with pytest.warns(UserWarning, match="y holds 1 and -1 only.* give it another name"):
        learner = ActiveLearner(GaussianNB()).fit(X, y)
    assert learner.classes_.tolist() == [1]
    with pytest.raises(ValueError, match=r"1 class: \[1\].*40 have none"):
        ActiveLearner(GaussianNB(), MarginQuery(), budget=40).fit(X, y)


@pytest.mark.parametrize("budget", [None, 40])
@pytest.mark.parametrize(
    ("model", "name"),
    [
        (GaussianNB(), "GaussianNB"),
        (make_pipeline(StandardScaler(), GaussianNB()), "GaussianNB (inside Pipeline)"),
        (
            make_pipeline(StandardScaler(), CalibratedClassifierCV(GaussianNB())),
            "GaussianNB (inside Pipeline)",
        ),
        (BaggingClassifier(LogisticRegression()), "BaggingClassifier"),
    ],
)
def test_a_model_that_the_strategy_cannot_use_is_refused_before_it_is_trained(model, name, budget):
    learner = ActiveLearner(model, BaitQuery(), budget=budget)
    with (
        patch("skbait._cycle.fit_clone", side_effect=AssertionError("trained")),
        pytest.raises(TypeError, match="BaitQuery needs last-layer features") as told,
    ):
        learner.fit(X, Y)
    assert f"from {name}. " in str(told.value)
    assert f"represent.register({name.split()[0]})" in str(told.value)
    own = BaitQuery(LogisticRegression(max_iter=1000))  # the way out
    assert len(ActiveLearner(model, own).fit(X, Y).query(X, 2)) == 2


class Untagged:
    """Does all that a classifier of scikit-learn does, and is none: without tags."""

    def get_params(self, deep=True):
        return {}

    def set_params(self):
        return self

    def fit(self, X, y):
        self.model = LogisticRegression(max_iter=1000).fit(X, y)
        self.classes_ = self.model.classes_
        return self

    def predict(self, X):
        return self.model.predict(X)

    def predict_proba(self, X):
        return self.model.predict_proba(X)


def test_an_estimator_without_tags():
    learner = ActiveLearner(Untagged(), MarginQuery()).fit(X[:40], Y[:40]).teach(X[40:], Y[40:])
    assert learner.predict(X).shape == (120,)
    model = TemperatureClassifier(Untagged()).fit(X, Y)
    assert model.predict_proba(X).shape == (120, 3)


def test_a_class_in_place_of_an_object_is_named():
    with pytest.raises(TypeError, match=r"query_strategy=BaitQuery is a class; .* BaitQuery\(\)"):
        ActiveLearner(None, BaitQuery).fit(X, Y)
    with pytest.raises(TypeError, match="estimator=GaussianNB is a class"):
        ActiveLearner(GaussianNB).fit(X, Y)


@pytest.mark.parametrize("inside", ["pipeline", None])
def test_tensors_with_a_gradient_are_predicted_as_they_are_learned(inside):
    estimator = (
        LogisticRegression()
        if inside is None
        else make_pipeline(StandardScaler(), LogisticRegression())
    )
    rows = torch.tensor(X, requires_grad=True)
    learner = ActiveLearner(estimator, BaitQuery()).fit(rows, Y, X_val=rows, y_val=Y)
    assert len(learner.query(rows, 2)) == 2
    assert learner.predict(rows).shape == (120,)
    assert learner.score(rows, Y) > 0.5
    assert represent(learner.estimator_, rows).features.shape == (120, 3)


class Unreadable(torch.utils.data.Dataset):
    """Rows on a disk that fails."""

    def __len__(self):
        return 20

    def __getitem__(self, position):
        raise OSError("disk unreadable")


def test_what_a_dataset_fails_with_comes_through():
    net = make_net(MLP, max_epochs=1, classes=range(3))
    data = np.pad(X, ((0, 0), (0, 1))).astype(np.float32)
    learner = ActiveLearner(net, MarginQuery()).fit(data, Y)
    with pytest.raises(OSError, match="disk unreadable"):
        learner.query(Unreadable(), 3)


def test_what_the_learner_keeps_is_a_copy():
    mine, labels = X.copy(), Y.copy()
    learner = ActiveLearner().fit(mine, labels)
    mine[:], labels[:] = 0, 0
    np.testing.assert_array_equal(learner.X_labeled_, X)
    np.testing.assert_array_equal(learner.y_labeled_, Y)


# ---------------------------------------------------------------------------- failures

BAD_LESSONS = {
    "columns": (X[:5, :2], Y[:5], "X has 2 features"),
    "one dimension": (X[0], Y[:3], "1D array"),
    "three dimensions": (X[:6].reshape(2, 3, 3), Y[:2], "rows of shape"),
    "lengths": (X[:5], Y[:4], "inconsistent numbers of samples"),
    "NaN": (np.full((2, 3), np.nan), Y[:2], "NaN"),
    "no rows": (X[:0], Y[:0], "empty"),
    "no labels": (X[:2], [-1, -1], "y holds no label"),
    "no y": (X[:2], None, "target y is None"),
    "kind of label": (X[:2], ["a", "b"], "string labels .*fitted with numeric"),
    "kind of X": ({"a": X[:2]}, Y[:2], "cannot be joined"),
    "texts": (X[:2].astype(str), Y[:2], "dtypes float64 and <U32 cannot be joined"),
    "regression": (X[:2], [0.5, 1.5], "continuous"),
    "training": (X[:2] + 1e6, Y[:2], "training diverged"),
}


@pytest.mark.parametrize("lesson", BAD_LESSONS.values(), ids=list(BAD_LESSONS))
def test_a_failed_teach_leaves_the_learner_as_it_was(lesson):
    rows, labels, message = lesson
    learner = fitted(Fails())
    before, twin = state_of(learner), pickle.loads(pickle.dumps(learner))
    with pytest.raises((ValueError, TypeError, RuntimeError), match=message):
        learner.teach(rows, labels)
    assert state_of(learner) == before
    for one in (learner, twin):
        one.teach(X[40:50], Y[40:50])
    np.testing.assert_array_equal(learner.predict_proba(X), twin.predict_proba(X))
    np.testing.assert_array_equal(learner.query(X, 9), twin.query(X, 9))


# What cannot be learned in any fit, not only after another one.
BAD_STARTS = {
    name: BAD_LESSONS[name]
    for name in ("one dimension", "lengths", "NaN", "no rows", "no labels", "no y", "regression")
} | {"training": (X + 1e6, Y, "training diverged")}


@pytest.mark.parametrize("lesson", BAD_STARTS.values(), ids=list(BAD_STARTS))
@pytest.mark.parametrize("play", [False, True])
def test_a_failed_fit_leaves_the_learner_as_it_was(lesson, play):
    rows, labels, message = lesson
    learner = fitted(Fails(), initial=1, random_state=np.random.RandomState(0))
    learner.set_params(budget=max(1, min(20, len(rows))) if play else None)
    before = state_of(learner)
    with pytest.raises((ValueError, TypeError, RuntimeError), match=message):
        learner.fit(rows, labels)
    assert state_of(learner) == before
    first = learner.set_params(budget=None).fit(X, Y)
    assert first.n_labels_ == 120


def test_a_cycle_that_fails_midway_leaves_the_learner_as_it_was():
    rows = X.copy()
    rows[Y == 2] += 1e6  # sooner or later one of them is labelled
    learner = fitted(Fails(), RandomQuery(), batch_size=5, initial=np.flatnonzero(Y < 2)[:6])
    learner.set_params(budget=60)
    before = state_of(learner)
    with pytest.raises(RuntimeError, match="training diverged"):
        learner.fit(rows, Y)
    assert state_of(learner) == before


def test_a_new_fit_forgets_the_old_one():
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    learner = ActiveLearner().fit(frame, Y)
    assert learner.feature_names_in_.tolist() == ["a", "b", "c"]
    learner.teach(frame[:3], Y[:3])
    learner.fit(X[:, :2], Y)
    assert not hasattr(learner, "feature_names_in_")
    assert learner.n_features_in_ == 2
    assert len(learner.history_["n_labels"]) == 1
    np.testing.assert_array_equal(learner.predict(X[:, :2]), learner.estimator_.predict(X[:, :2]))


# ---------------------------------------------------------------------------- kinds of X


def as_frame(X):
    return pd.DataFrame(X, columns=["a", "b", "c"], index=np.arange(len(X)) * 10)


@pytest.mark.parametrize(
    "convert",
    [
        as_frame,
        sparse.csr_array,
        sparse.csc_matrix,
        sparse.coo_array,
        torch.as_tensor,
        np.ndarray.tolist,
        np.asfortranarray,
    ],
)
def test_tables_of_all_kinds(convert):
    expected = ActiveLearner(query_strategy=MarginQuery(), budget=30, batch_size=10, initial=10)
    expected.set_params(random_state=0).fit(X, Y)
    learner = clone(expected).fit(convert(X), Y)
    np.testing.assert_array_equal(learner.labeled_positions_, expected.labeled_positions_)
    assert learner.n_features_in_ == 3
    chosen = learner.query(convert(X_POOL), 4)
    np.testing.assert_array_equal(chosen, expected.query(X_POOL, 4))
    learner.teach(convert(X_POOL[chosen]), Y[40:][chosen])
    expected.teach(X_POOL[chosen], Y[40:][chosen])
    np.testing.assert_allclose(
        learner.predict_proba(convert(X)), expected.predict_proba(X), rtol=0, atol=1e-6
    )


def test_texts():
    words = np.array(["plum apple", "rock stone", "cloud rain"])
    texts = [f"{words[label]} {'abc'[i % 3]}" for i, label in enumerate(Y)]
    learner = ActiveLearner(
        make_pipeline(TfidfVectorizer(), LogisticRegression()),
        MarginQuery(),
        budget=20,
        batch_size=5,
        random_state=0,
    ).fit(texts, Y)
    assert learner.score(texts, Y) == 1.0
    assert len(learner.query(texts, 3)) == 3


def test_a_memory_map(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, X)
    rows = np.load(path, mmap_mode="r")
    learner = ActiveLearner(budget=30, batch_size=10, random_state=0).fit(rows, Y)
    again = ActiveLearner(budget=30, batch_size=10, random_state=0).fit(X, Y)
    np.testing.assert_array_equal(learner.labeled_positions_, again.labeled_positions_)
    assert not isinstance(learner.X_labeled_, np.memmap) or learner.X_labeled_.base is None


def test_missing_values_where_the_estimator_takes_them():
    holes = X.copy()
    holes[::7, 0] = np.nan
    pipe = make_pipeline(SimpleImputer(), LogisticRegression())
    for estimator in (pipe, HistGradientBoostingClassifier(max_iter=3)):
        learner = ActiveLearner(estimator, MarginQuery(), random_state=0).fit(holes[:60], Y[:60])
        assert learner.__sklearn_tags__().input_tags.allow_nan
        learner.teach(holes[60:70], Y[60:70])
        assert len(learner.query(holes, 5)) == 5


# ---------------------------------------------------------------------------- as an estimator


def test_methods_are_those_of_the_estimator():
    assert not hasattr(ActiveLearner(LinearSVC()), "predict_proba")
    assert hasattr(ActiveLearner(LinearSVC()), "decision_function")
    assert not hasattr(ActiveLearner(GaussianNB()), "decision_function")
    learner = fitted()
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        np.testing.assert_array_equal(
            getattr(learner, method)(X), getattr(learner.estimator_, method)(X)
        )
    assert learner.score(X, Y, sample_weight=Y) == learner.estimator_.score(X, Y, sample_weight=Y)


def test_a_learner_is_represented_by_its_model():
    learner = fitted()
    seen, expected = represent(learner, X), represent(learner.estimator_, X)
    torch.testing.assert_close(seen.features, expected.features)
    torch.testing.assert_close(seen.probabilities, expected.probabilities)
    torch.testing.assert_close(probabilities(learner, X)[0], expected.probabilities)
    assert can_represent(learner)
    assert can_represent(ActiveLearner())
    assert not can_represent(ActiveLearner(GaussianNB()))
    with pytest.raises(NotFittedError):
        represent(ActiveLearner(), X)


@pytest.mark.parametrize("strategy", [BaitQuery, MarginQuery])
def test_a_learner_serves_a_strategy_as_estimator(strategy):
    learner = fitted()
    frozen = strategy(FrozenEstimator(learner)).fit(X[:40], Y[:40])
    np.testing.assert_array_equal(
        frozen.query(X_POOL, 5), fitted(None, strategy()).query(X_POOL, 5)
    )
    anew = strategy(ActiveLearner(random_state=0)).fit(X[:40], Y[:40])
    np.testing.assert_array_equal(anew.query(X_POOL, 5), frozen.query(X_POOL, 5))


def test_pickle_and_copy():
    learner = fitted(SGDClassifier(loss="log_loss"))
    for twin in (pickle.loads(pickle.dumps(learner)), copy.deepcopy(learner)):
        np.testing.assert_array_equal(twin.predict_proba(X), learner.predict_proba(X))
        np.testing.assert_array_equal(twin.query(X_POOL, 5), learner.query(X_POOL, 5))
        twin.teach(X[40:50], Y[40:50])
        again = copy.deepcopy(learner).teach(X[40:50], Y[40:50])
        np.testing.assert_array_equal(twin.predict_proba(X), again.predict_proba(X))


def test_a_shallow_copy_learns_by_itself():
    learner = fitted()
    twin = copy.copy(learner).teach(X[40:50], Y[40:50])
    assert (learner.n_labels_, twin.n_labels_) == (40, 50)
    assert len(learner.history_["n_labels"]) == 1


# ---------------------------------------------------------------------------- sample weights


def test_sample_weights_follow_their_rows():
    weights = np.linspace(0.1, 3, 120)
    y = Y.copy()
    y[:20] = -1
    learner = ActiveLearner(random_state=0).fit(X, y, sample_weight=weights)
    alone = LogisticRegression().fit(X[20:], y[20:], sample_weight=weights[20:])
    np.testing.assert_array_equal(learner.estimator_.coef_, alone.coef_)
    learner.teach(X[:4], [0, 1, -1, 2], sample_weight=weights[:4])
    rows = [*range(20, 120), 0, 1, 3]
    labels = np.r_[y[20:], 0, 1, 2]
    alone = LogisticRegression().fit(X[rows], labels, sample_weight=weights[rows])
    np.testing.assert_array_equal(learner.estimator_.coef_, alone.coef_)


def test_sample_weights_in_the_cycle():
    weights = np.linspace(0.1, 3, 120)
    learner = ActiveLearner(query_strategy=MarginQuery(), budget=25, batch_size=5, random_state=0)
    learner.fit(X, Y, sample_weight=weights)
    rows = learner.labeled_positions_
    alone = LogisticRegression().fit(X[rows], Y[rows], sample_weight=weights[rows])
    np.testing.assert_array_equal(learner.estimator_.coef_, alone.coef_)


class NeedsAFlag(LogisticRegression):
    """Takes an argument that may be None, but has to be there."""

    def fit(self, X, y, flag):
        self.flag_ = flag
        return super().fit(X, y)


def test_sample_weights_in_containers_of_two_kinds():
    weights = np.linspace(1, 2, len(X))
    learner = ActiveLearner().fit(X[2:], Y[2:], sample_weight=pd.Series(weights[2:]))
    learner.teach(X[:2], Y[:2], sample_weight=weights[:2].tolist())
    rows = np.r_[2 : len(X), :2]
    alone = LogisticRegression().fit(X[rows], Y[rows], sample_weight=weights[rows])
    np.testing.assert_allclose(learner.estimator_.coef_, alone.coef_)
    learner = ActiveLearner(NeedsAFlag()).fit(X, Y, flag=None)
    assert learner.teach(X[:2], Y[:2], flag=None).estimator_.flag_ is None
    learner = ActiveLearner().fit(X, Y, sample_weight=None)
    with pytest.raises(ValueError, match="sample_weight has an entry for each row of teach only"):
        learner.teach(X[:2], Y[:2], sample_weight=weights[:2])


def test_sample_weights_come_with_every_row_or_none():
    weights = np.ones(120)
    learner = ActiveLearner().fit(X, Y, sample_weight=weights)
    with pytest.raises(ValueError, match="sample_weight has an entry for each row of fit only"):
        learner.teach(X[:2], Y[:2])
    learner = ActiveLearner().fit(X, Y)
    with pytest.raises(ValueError, match="sample_weight has an entry for each row of teach only"):
        learner.teach(X[:2], Y[:2], sample_weight=weights[:2])


def test_iris_by_name():
    bunch = load_iris(as_frame=True)
    names = bunch.target_names[bunch.target]
    learner = ActiveLearner(
        LogisticRegression(max_iter=1000), budget=40, batch_size=10, random_state=0
    ).fit(bunch.data, names)
    assert learner.feature_names_in_.tolist() == bunch.feature_names
    assert learner.score(bunch.data, names) > 0.9


# ---------------------------------------------------------------------------- other strategies


class Own(BaseEstimator):
    """A strategy that is none of skbait's: the last rows, or what is wrong."""

    def __init__(self, what="last"):
        self.what = what

    def fit(self, X, y):
        return self

    def query(self, X, n, return_utilities=False):
        last = list(range(len(X)))[::-1][:n]
        picks = {"last": last, "same": [0] * n, "more": [*last, 0], "words": ["a"] * n}[self.what]
        return (picks, np.arange(len(X)) / 2) if return_utilities else picks


def test_a_strategy_that_is_none_of_skbaits_chooses_in_the_same_form():
    learner = fitted(strategy=Own())
    picks = learner.query(X_POOL, 3)
    assert picks.dtype == np.int64
    np.testing.assert_array_equal(picks, [79, 78, 77])
    np.testing.assert_array_equal(learner.query(X_POOL, 2, candidates=[9, 4, 7]), [7, 4])
    picks, utilities = learner.query(X_POOL, 2, candidates=[9, 4, 7], return_utilities=True)
    np.testing.assert_array_equal(picks, [7, 4])
    np.testing.assert_array_equal(utilities[[9, 4, 7]], [0, 0.5, 1])
    assert np.isnan(utilities).sum() == 77
    np.testing.assert_array_equal(learner.query(X_POOL, 1, return_utilities=True)[1][-1:], 39.5)
    with pytest.raises(ValueError, match="n=81 is more than the 80 rows of X_pool"):
        learner.query(X_POOL, 81)


class Picky(Own):
    """It knows of candidates, and has two utilities for each row, or gets labels of the pool."""

    def query(self, X, n, candidates=None, return_utilities=False, y_pool=None):
        picks = np.asarray(candidates)[:n]
        return (picks, np.zeros((2, len(X)))) if return_utilities else picks


class Labelled(Own):
    def query(self, X, n, y_pool):
        return np.argsort(y_pool, kind="stable")[:n] if len(y_pool) == len(X) else None


def test_what_a_strategy_knows_itself_is_left_to_it():
    learner = fitted(strategy=Picky())
    np.testing.assert_array_equal(learner.query(X_POOL, 2, candidates=[9, 4, 7]), [9, 4])
    utilities = learner.query(X_POOL, 2, candidates=[9, 4, 7], return_utilities=True)[1]
    assert utilities.shape == (2, 80)
    y_pool = np.arange(80)[::-1]
    learner = fitted(strategy=Labelled())
    picks = learner.query(X_POOL, 2, candidates=[9, 4, 7], y_pool=y_pool)
    np.testing.assert_array_equal(picks, [9, 7])

    class Wide(Own):
        def query(self, X, n, return_utilities=False):
            return np.arange(n), np.zeros((n, len(X)))

    with pytest.raises(ValueError, match=r"gave utilities of shape \(2, 3\) for 3 rows"):
        fitted(strategy=Wide()).query(X_POOL, 2, candidates=[1, 2, 3], return_utilities=True)


@pytest.mark.parametrize("what", ["same", "more", "words"])
def test_a_strategy_that_is_none_of_skbaits_is_checked(what):
    with pytest.raises(ValueError, match="was asked for 3 different rows of 80 and gave"):
        fitted(strategy=Own(what)).query(X_POOL, 3)


def test_a_batch_size_that_cannot_be():
    with pytest.raises(ValueError, match="batch_size='many'"):
        fitted().set_params(batch_size="many").query(X_POOL)
