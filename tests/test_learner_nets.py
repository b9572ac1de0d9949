# SPDX-License-Identifier: BSD-3-Clause
"""A learner around a skorch network: images, searches, seeds, skorch's traps."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier
from torch import nn
from torch.utils.data import Dataset

from skbait import ActiveLearner, BaitQuery, MarginQuery, RandomQuery
from skbait.laplace import LaplaceClassifier, TemperatureClassifier
from skbait.model_selection import compare_strategies
from skbait.representation import represent

X, Y = load_digits(return_X_y=True)
X = (X[:300] / 16).astype(np.float32).reshape(-1, 1, 8, 8)
Y = Y[:300]
POOL = X[100:]


class CNN(nn.Module):
    """A small network for digits; dropout makes its training random beyond the weights."""

    def __init__(self, n_classes=10, width=4):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.2)
        )
        self.head = nn.Linear(9 * width, n_classes)

    def forward(self, X):
        return self.head(self.body(X))


class TwoInputs(nn.Module):
    """Takes a dict: an image and a number."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(65, 10)

    def forward(self, image, ink):
        return self.head(torch.cat([image.flatten(1), ink], dim=1))


class Images(Dataset):
    """A map-style Dataset of images without labels, as a pool is."""

    def __init__(self, images):
        self.images = torch.as_tensor(images)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, position):
        return self.images[position]


def net(module=CNN, **params):
    settings = {
        "criterion": nn.CrossEntropyLoss,
        "max_epochs": 2,
        "lr": 0.1,
        "batch_size": 64,
        "train_split": None,
        "classes": range(10),
        "verbose": 0,
    } | params
    return NeuralNetClassifier(module, **settings)


def learner(estimator=None, strategy=None, **params):
    settings = {"initial": 20, "batch_size": 10, "random_state": 0} | params
    return ActiveLearner(estimator or net(), strategy or BaitQuery(), **settings)


def test_a_grid_search_of_the_whole_cycle_on_images():
    search = GridSearchCV(
        learner(budget=40),
        {"query_strategy__variant": ["exp", "binary"], "estimator__lr": [0.1, 0.01]},
        cv=2,
        error_score="raise",
    )
    search.fit(X, Y)
    assert len(search.cv_results_["params"]) == 4
    best = search.best_estimator_
    assert best.n_labels_ == 40
    assert best.estimator_.lr == search.best_params_["estimator__lr"]
    assert best.X_labeled_.shape == (40, 1, 8, 8)
    assert not hasattr(best, "n_features_in_")
    assert search.predict(X).shape == (300,)


@pytest.mark.parametrize("strategy", [BaitQuery(variant="binary"), MarginQuery()])
def test_the_loop_by_hand_and_the_cycle_agree(strategy):
    played = learner(strategy=strategy, budget=40).fit(X, Y)
    start = played.history_["positions"][0]
    by_hand = learner(strategy=strategy).fit(X[start], Y[start])
    pool = np.delete(np.arange(300), start)
    for _ in range(2):
        chosen = by_hand.query(X[pool])
        by_hand.teach(X[pool[chosen]], Y[pool[chosen]])
        pool = np.delete(pool, chosen)
    np.testing.assert_array_equal(by_hand.y_labeled_, played.y_labeled_)
    np.testing.assert_array_equal(by_hand.predict_proba(X), played.predict_proba(X))


def test_the_seed_decides_weights_and_choices_and_the_global_states_stay():
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    first, second, other = (
        learner(random_state=seed, budget=30).fit(X, Y, X_val=POOL, y_val=Y[100:])
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.labeled_positions_, second.labeled_positions_)
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    assert not np.array_equal(first.predict_proba(X), other.predict_proba(X))
    first.query(POOL, 5)
    first.score(X, Y)
    first.teach(POOL[:3], Y[100:103])
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)


class Augmented(Images):
    """Images that are another every time, by the global states."""

    def __getitem__(self, position):
        return self.images[position] + torch.rand(()) * 1e-3 * np.random.rand()


@pytest.mark.parametrize("wrapper", [None, LaplaceClassifier, TemperatureClassifier])
def test_whatever_is_asked_of_a_frozen_net_leaves_it_and_the_global_states(wrapper):
    """Also where the rows themselves draw random numbers, and the user's net is in training."""
    fitted = net().fit(X[:100], Y[:100])
    frozen = FrozenEstimator(fitted)
    rows, pool = Augmented(X[:60]), Augmented(POOL)
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    asked = learner(frozen if wrapper is None else wrapper(frozen), MarginQuery())
    fitted.module_.train()
    fitted.module_.body.eval()
    asked.fit(rows, Y[:60], X_val=pool, y_val=Y[100:])
    asked.teach(Augmented(X[60:70]), Y[60:70], X_val=pool, y_val=Y[100:])
    asked.query(pool, 3)
    asked.predict(pool), asked.predict_proba(pool), asked.score(pool, Y[100:])
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)
    module = fitted.module_
    assert module.training
    assert module.head.training
    assert not any(part.training for part in module.body.modules())


def test_learners_in_threads_keep_to_their_seeds_and_leave_the_global_states():
    rows, labels, n_threads = X[:100], Y[:100], 4
    barrier = threading.Barrier(n_threads)

    def play(_):
        barrier.wait(timeout=60)
        return learner(strategy=MarginQuery(), budget=40).fit(rows, labels)

    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    alone = learner(strategy=MarginQuery(), budget=40).fit(rows, labels)
    with ThreadPoolExecutor(n_threads) as pool:
        played = list(pool.map(play, range(n_threads)))
    for each in played:
        np.testing.assert_array_equal(each.labeled_positions_, alone.labeled_positions_)
        np.testing.assert_array_equal(each.predict_proba(rows), alone.predict_proba(rows))
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_a_comparison_in_threads_has_the_scores_of_one_without():
    params = {"budget": 40, "initial": 20, "seeds": 2, "progress": False}
    serial = compare_strategies(net(), ["random", "margin"], X, Y, **params)
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    with joblib.parallel_config(backend="threading"):
        threads = compare_strategies(net(), ["random", "margin"], X, Y, n_jobs=4, **params)
    np.testing.assert_array_equal(threads["score"], serial["score"])
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_a_query_leaves_the_net_as_it_is():
    fitted = learner().fit(X[:100], Y[:100])
    module = fitted.estimator_.module_.train()
    hooks = [dict(m._forward_hooks) | dict(m._forward_pre_hooks) for m in module.modules()]
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    before = sorted(vars(fitted.estimator_))
    fitted.query(POOL, 5)
    assert all(m.training for m in module.modules())
    assert hooks == [dict(m._forward_hooks) | dict(m._forward_pre_hooks) for m in module.modules()]
    assert all(torch.equal(value, weights[name]) for name, value in module.state_dict().items())
    assert sorted(vars(fitted.estimator_)) == before


@pytest.mark.parametrize(
    "names", [np.array(list("abcdefghij")), np.arange(10) * 7 + 3, np.arange(10) % 2 == 1]
)
def test_labels_of_all_kinds(names):
    y = names[Y]
    classes = np.unique(names)
    estimator = net(classes=None, module__n_classes=len(classes))
    played = learner(estimator, budget=60, initial=50).fit(X, y)
    np.testing.assert_array_equal(played.classes_, classes)
    assert played.predict(X).dtype.kind == y.dtype.kind
    played.teach(POOL[:2], y[100:102])
    assert len(played.query(POOL, 4)) == 4
    assert played.score(X, y) == pytest.approx(np.mean(played.predict(X) == y))


def test_classes_come_one_after_the_other():
    known = np.flatnonzero(Y < 5)[:40]
    fitted = learner().fit(X[known], Y[known])
    np.testing.assert_array_equal(fitted.classes_, np.arange(10))
    new = np.flatnonzero(Y >= 5)[:40]
    fitted.teach(X[new], Y[new])
    assert fitted.n_labels_ == 80
    assert len(fitted.query(POOL, 5)) == 5


def test_a_binary_net():
    y = (Y > 4).astype(int)
    estimator = NeuralNetBinaryClassifier(
        CNN, module__n_classes=1, train_split=None, max_epochs=2, verbose=0
    )
    fitted = learner(estimator, budget=30).fit(X, y)
    assert fitted.predict_proba(X).shape == (300, 2)
    assert len(fitted.query(POOL, 5)) == 5


def test_inputs_of_all_kinds():
    expected = learner(budget=30).fit(X, Y)
    image_and_ink = {"image": X, "ink": X.mean(axis=(2, 3))}
    for rows, estimator in (
        (torch.as_tensor(X), net()),
        (Images(X), net()),
        (image_and_ink, net(TwoInputs)),
    ):
        played = learner(estimator, budget=30).fit(rows, Y)
        assert played.n_labels_ == 30
        if estimator.module is CNN:
            np.testing.assert_array_equal(played.labeled_positions_, expected.labeled_positions_)
        chosen = played.query(rows, 5)
        taken = (
            {key: value[chosen] for key, value in rows.items()}
            if isinstance(rows, dict)
            else torch.utils.data.Subset(rows, chosen.tolist())
            if isinstance(rows, Dataset)
            else rows[torch.as_tensor(chosen)]
        )
        played.teach(taken, Y[chosen])
        assert played.n_labels_ == 35
        assert len(played.query(rows, 5)) == 5


def test_a_dataset_is_taught_the_labels_given_and_not_its_own():
    class WithWrongLabels(Images):
        def __getitem__(self, position):
            return self.images[position], 0

    right = learner().fit(Images(X), Y)
    wrong = learner().fit(WithWrongLabels(X), Y)
    np.testing.assert_array_equal(wrong.predict_proba(X), right.predict_proba(X))


def test_a_memory_map_of_images(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, X)
    played = learner(budget=30).fit(np.load(path, mmap_mode="r"), Y)
    expected = learner(budget=30).fit(X, Y)
    np.testing.assert_array_equal(played.labeled_positions_, expected.labeled_positions_)


def test_inside_a_pipeline_that_casts():
    pipeline = make_pipeline(FunctionTransformer(lambda X: X.astype(np.float32)), net())
    played = learner(pipeline, budget=30).fit(X.astype(np.float64), Y)
    assert len(played.query(X.astype(np.float64), 5)) == 5


def test_pickle():
    fitted = learner().fit(X[:100], Y[:100])
    twin = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(twin.query(POOL, 5), fitted.query(POOL, 5))
    twin.teach(POOL[:5], Y[100:105])
    fitted.teach(POOL[:5], Y[100:105])
    np.testing.assert_array_equal(twin.predict_proba(X), fitted.predict_proba(X))


def test_a_learner_is_represented_by_its_net():
    fitted = learner().fit(X[:100], Y[:100])
    seen = represent(fitted, POOL)
    assert seen.features.shape == (200, 36)
    assert seen.probabilities.shape == (200, 10)


def test_the_html_shows_the_net():
    assert "NeuralNetClassifier" in learner()._repr_html_()
    assert "NeuralNetClassifier" in repr(learner())


# ---------------------------------------------------------------------------- skorch's traps


@pytest.mark.parametrize(
    ("estimator", "rows", "message"),
    [
        (net(train_split=NeuralNetClassifier(CNN).train_split), X, "train_split=None"),
        (net(classes=None), X, r"set classes=range\(10\) on the net"),
        (net(CNN()), X, "module=CNN.* on the net is an instance"),
        (net(), X.astype(np.float64), r"pass X.astype\(np.float32\)"),
        (net(), (X * 16).astype(np.int64), r"pass X.astype\(np.float32\)"),
        (net(module__n_classes=5, classes=None), X, "the module of the net has 5 outputs"),
    ],
)
@pytest.mark.parametrize("budget", [None, 25])
def test_traps_are_caught_and_the_learner_is_as_it_was(estimator, rows, message, budget):
    start = np.flatnonzero(Y < 7)[:12]
    fitted = learner(estimator, initial=start, budget=budget)
    with pytest.raises(ValueError, match=message):
        fitted.fit(rows if budget else rows[start], Y if budget else Y[start])
    assert not hasattr(fitted, "estimator_")
    assert not hasattr(fitted, "history_")


PLAIN = NeuralNet(CNN, nn.CrossEntropyLoss, verbose=0, max_epochs=1)


@pytest.mark.parametrize(
    "around",
    [
        lambda plain: plain,
        make_pipeline,
        lambda plain: GridSearchCV(plain, {"lr": [0.1]}, scoring="accuracy"),
    ],
    ids=["net", "pipeline", "search"],
)
def test_outputs_are_no_classes(around):
    with pytest.raises(ValueError, match=r"skorch's NeuralNet.*use NeuralNetClassifier\(module"):
        ActiveLearner(around(PLAIN)).fit(X[:20], Y[:20])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"estimator": PLAIN}, "skorch's NeuralNet"),
        ({"estimator": Ridge()}, "must be a classifier. Got the regressor"),
        ({"query_strategy": MarginQuery}, "query_strategy=MarginQuery is a class"),
    ],
    ids=["net", "regressor", "class"],
)
def test_what_is_set_after_fit_is_checked_by_teach(changed, message):
    fitted = learner(net()).fit(X[:100], Y[:100])
    before, labels = fitted.estimator_, len(fitted.y_labeled_)
    with pytest.raises((ValueError, TypeError), match=message):
        fitted.set_params(**changed).teach(X[100:110], Y[100:110])
    if "query_strategy" in changed:
        with pytest.raises(TypeError, match=message):
            fitted.query(X[100:110], 2)
    assert fitted.estimator_ is before
    assert len(fitted.y_labeled_) == labels


class ByClass(NeuralNet):
    """A plain net that predicts classes."""

    def predict(self, X):
        return self.predict_proba(X).argmax(axis=1)


class Around(ClassifierMixin, BaseEstimator):
    """What predicts classes by the outputs of what it holds."""

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X, y):
        self.classes_ = np.arange(10)
        self.estimator_ = clone(self.estimator).fit(X, y)
        return self

    def predict(self, X):
        return self.classes_[self.estimator_.predict(X).argmax(axis=1)]


@pytest.mark.parametrize(
    ("estimator", "update"),
    [
        (ByClass(CNN, nn.CrossEntropyLoss, verbose=0, max_epochs=1), "refit"),
        (Around(PLAIN), "refit"),
        (LaplaceClassifier(PLAIN), "refit"),
        (PLAIN, "laplace"),
    ],
    ids=["own predict", "around", "posterior", "updates"],
)
def test_what_makes_classes_of_outputs(estimator, update):
    played = ActiveLearner(estimator, MarginQuery(net()), update=update, budget=30, batch_size=5)
    predicted = played.set_params(initial=np.arange(20)).fit(X[:60], Y[:60]).predict(X[:30])
    assert predicted.shape == (30,)
    assert set(predicted.tolist()) <= set(range(10))


def test_nan_in_images_is_refused():
    fitted = learner().fit(X[:100], Y[:100])
    broken = X[:2].copy()
    broken[1, 0, 3, 3] = np.nan
    before = fitted.estimator_
    with pytest.raises(ValueError, match="contains NaN"):
        fitted.teach(broken, Y[:2])
    with pytest.raises(ValueError, match="contains NaN"):
        fitted.query(broken, 1)
    assert fitted.estimator_ is before
    assert fitted.n_labels_ == 100


def test_a_training_that_fails_leaves_the_learner_as_it_was():
    fitted = learner(strategy=RandomQuery()).fit(X[:100], Y[:100])
    before = dict(vars(fitted))
    with (
        patch.object(CNN, "forward", side_effect=RuntimeError("no memory")),
        pytest.raises(RuntimeError, match="no memory"),
    ):
        fitted.teach(POOL[:5], Y[100:105])
    assert vars(fitted) == before
    fitted.teach(POOL[:5], Y[100:105])
    assert fitted.n_labels_ == 105


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score"])
def test_float64_rows_are_told_from_float32_ones(method):
    learner = ActiveLearner(net(), MarginQuery(), random_state=0).fit(X[:60], Y[:60])
    arguments = (X.astype(np.float64), Y)[: 2 if method == "score" else 1]
    with pytest.raises(ValueError, match=r"X is float64.*CNN are float32: pass X.astype\(np"):
        getattr(learner, method)(*arguments)


def test_other_errors_of_a_network_are_its_own():
    """Where the steps before the net cast X, its dtype is not why anything fails."""

    def broken(*_):
        raise RuntimeError("the scorer fails")

    cast = FunctionTransformer(lambda rows: np.asarray(rows, dtype=np.float32))
    inside = ActiveLearner(make_pipeline(cast, net()), MarginQuery(), scoring=broken)
    inside.fit(X[:60], Y[:60])
    with pytest.raises(RuntimeError, match="the scorer fails"):
        inside.score(X.astype(np.float64), Y)


@pytest.mark.parametrize("around", [None, "laplace", TemperatureClassifier])
@pytest.mark.parametrize("wrong", ["float64", "nan", "nan in a list"])
def test_held_out_rows_are_looked_at_before_a_training(wrong, around):
    held_out = X[200:].astype(np.float64) if wrong == "float64" else X[200:].copy()
    message = r"X_val cannot be scored: X is float64"
    if wrong != "float64":
        held_out[3] = np.nan
        held_out = held_out.tolist() if wrong == "nan in a list" else held_out
        message = r"X_val contains NaN, first in row 3"
    estimator = around(net()) if callable(around) else net()
    update = "laplace" if around == "laplace" else "refit"
    learner = ActiveLearner(estimator, update=update).fit(X[:60], Y[:60])
    with (
        patch.object(NeuralNetClassifier, "fit", side_effect=AssertionError("trained")),
        pytest.raises(ValueError, match=message),
    ):
        learner.fit(X[:60], Y[:60], X_val=held_out, y_val=Y[200:])  # the second time, too


def test_a_loaded_net_tells_its_classes_by_its_outputs():
    """Without classes= skorch does not know them, and few labels are not all of them."""
    loaded = net(classes=None).initialize()
    seen = ActiveLearner(FrozenEstimator(loaded)).fit(X[:5], [0, 2, 4, 6, 8])
    np.testing.assert_array_equal(seen.classes_, np.arange(10))
    assert seen.predict_proba(X[:2]).shape == (2, 10)
    tempered = TemperatureClassifier(FrozenEstimator(loaded)).fit(X[:50], Y[:50])
    np.testing.assert_array_equal(tempered.classes_, np.arange(10))
    scores = net(classes=None, criterion=nn.MultiMarginLoss).initialize()  # no probabilities
    seen = ActiveLearner(FrozenEstimator(scores), RandomQuery()).fit(X[:5], [0, 2, 4, 6, 8])
    np.testing.assert_array_equal(seen.classes_, [0, 2, 4, 6, 8])


def test_a_net_that_computes_in_bfloat16():
    class Narrow(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 10)

        def forward(self, x):
            return self.linear(x.flatten(1)).bfloat16()

    narrow = learner(net(Narrow))
    with pytest.raises(ValueError, match=r"gives bfloat16.*output.float\(\)"):
        narrow.fit(X[:50], Y[:50], X_val=X[:9], y_val=Y[:9])
    narrow.fit(X[:50], Y[:50])
    with pytest.raises(ValueError, match=r"gives bfloat16.*output.float\(\)"):
        narrow.predict(X[:9])
