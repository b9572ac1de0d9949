# SPDX-License-Identifier: BSD-3-Clause
"""Fitting clones: seeds, labels of every kind, and skorch's traps with what to do about each."""

from __future__ import annotations

import copy
import functools
import pickle
import random
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from on_cpu import probabilities, represent
from representation_nets import CNN, MLP, OneLogit, digits, initialized, make_net
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import get_scorer
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Callback, EarlyStopping
from skorch.dataset import ValidSplit
from skorch.helper import predefined_split
from torch import nn

from skbait import ActiveLearner, MarginQuery, representation
from skbait.utils.fitting import EncodedClassifier, fit_clone

IMAGES, DIGIT = digits()
X64, Y = load_iris(return_X_y=True)
X64 = StandardScaler().fit_transform(X64)
X = X64.astype(np.float32)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.module_.parameters()])


def iris_net(**params):
    return make_net(MLP, **{"batch_size": 150, **params})


# settings with which a few steps suffice to learn iris
QUICK = {"optimizer": torch.optim.Adam, "lr": 0.1, "max_epochs": 15, "batch_size": 150}


def global_states():
    return (
        torch.get_rng_state().numpy().tobytes(),
        np.random.get_state(legacy=False)["state"]["key"].tobytes(),
        np.random.get_state(legacy=False)["state"]["pos"],
        random.getstate(),
    )


# ---- seeds -------------------------------------------------------------------------------------


def fingerprint(fitted):
    p, _ = probabilities(fitted, X)
    return p.numpy().tobytes()


STOCHASTIC = {
    "sgd": SGDClassifier(loss="log_loss"),
    "forest": RandomForestClassifier(5),
    "pipeline": make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss")),
    "perceptron": MLPClassifier((5,), max_iter=30, tol=1.0),
    "search": GridSearchCV(SGDClassifier(loss="log_loss"), {"alpha": [1e-4, 1e-3]}, cv=2),
    "net": iris_net(module__hidden=7),
    "net in pipeline": make_pipeline(FunctionTransformer(), iris_net()),
    "net in search": GridSearchCV(iris_net(), {"lr": [0.1, 0.2]}, cv=2),
    "net with random split": iris_net(train_split=ValidSplit(0.3, stratified=False)),
}


@pytest.mark.parametrize("kind", STOCHASTIC)
def test_the_same_seed_gives_the_same_fit(kind):
    estimator = STOCHASTIC[kind]
    before = global_states()
    first = fingerprint(fit_clone(estimator, X, Y, random_state=3))
    assert global_states() == before
    torch.manual_seed(99), np.random.seed(99), random.seed(99)
    assert fingerprint(fit_clone(estimator, X, Y, random_state=3)) == first
    assert fingerprint(fit_clone(estimator, X, Y, random_state=4)) != first
    again = np.random.RandomState(5)
    two = [fingerprint(fit_clone(estimator, X, Y, random_state=again)) for _ in range(2)]
    assert two[0] != two[1]
    assert fingerprint(fit_clone(estimator, X, Y, random_state=np.random.RandomState(5))) == two[0]


@pytest.mark.parametrize("kind", ["sgd", "net"])
def test_without_a_seed_every_fit_is_another(kind):
    before = global_states()
    fits = {fingerprint(fit_clone(STOCHASTIC[kind], X, Y)) for _ in range(3)}
    assert len(fits) == 3
    assert global_states() == before


def test_seeds_of_the_clone():
    model = make_pipeline(StandardScaler(), SGDClassifier(random_state=7))
    fitted = fit_clone(model, X, Y, random_state=0)
    assert fitted[-1].random_state != 7
    assert model[-1].random_state == 7
    assert fit_clone(model, X, Y)[-1].random_state == 7


def test_the_same_weights_as_a_seeded_skorch_fit():
    """The checks beforehand must not disturb the stream of random numbers."""
    fitted = fit_clone(iris_net(), X, Y, random_state=np.random.RandomState(0))
    seed = np.random.RandomState(0).randint(2**31 - 1)
    torch.manual_seed(seed), np.random.seed(seed)
    assert torch.equal(weights(iris_net().fit(X, Y)), weights(fitted))


def test_the_estimator_and_the_data_stay_as_they_were():
    net = iris_net(classes=None)
    before = net.get_params()
    given, labels = X.copy(), NAMES.copy()
    fit_clone(net, given, labels, random_state=0)
    assert not net.initialized_
    after = net.get_params()
    assert after.keys() == before.keys()
    assert after["classes"] is None
    np.testing.assert_array_equal(given, X)
    np.testing.assert_array_equal(labels, NAMES)


def test_global_states_survive_an_error():
    class Broken(MLP):
        def forward(self, x):
            torch.rand(1), np.random.rand()
            raise RuntimeError("out of luck")

    before = global_states()
    with pytest.raises(RuntimeError, match="out of luck"):
        fit_clone(make_net(Broken), X, Y, random_state=0)
    assert global_states() == before


def test_frozen_estimators_are_used_as_they_are():
    frozen = FrozenEstimator(LogisticRegression(max_iter=500).fit(X, Y))
    assert fit_clone(frozen, X[:5], Y[:5], random_state=0) is frozen
    with pytest.raises(NotFittedError):
        fit_clone(FrozenEstimator(LogisticRegression()), X, Y)


def test_fit_params_reach_the_estimator():
    weight = np.r_[np.ones(100), np.zeros(50)]
    fitted = fit_clone(LogisticRegression(max_iter=500), X, Y, sample_weight=weight)
    assert fitted.predict_proba(X)[:, 2].max() < 0.02


def test_other_estimators_are_just_fitted():
    fitted = fit_clone(NeuralNetRegressor(MLP, train_split=None, verbose=0), X, X[:, :3].copy())
    assert isinstance(fitted, NeuralNetRegressor)
    fitted = fit_clone(
        iris_net(), torch.utils.data.TensorDataset(*map(torch.tensor, (X, Y))), None
    )
    assert fitted.predict(X).shape == (150,)


# ---- labels ------------------------------------------------------------------------------------


LABELS = {
    "strings": (NAMES, None),
    "objects": (NAMES.astype(object), None),
    "shifted": (Y + 1, None),
    "scattered": (np.array([-5, 3, 40])[Y], None),
    "named by the net": (NAMES, ["virginica", "setosa", "versicolor"]),
    "numbered by the net": (Y + 1, [1, 2, 3]),
}


@pytest.mark.parametrize(
    "inside, kind",
    [("net", kind) for kind in LABELS]
    + [(inside, kind) for inside in ("pipeline", "search") for kind in ("strings", "shifted")],
)
def test_any_labels_work(inside, kind):
    y, classes = LABELS[kind]
    net = iris_net(classes=classes, **QUICK)
    model = {
        "net": net,
        "pipeline": make_pipeline(FunctionTransformer(), net),
        "search": GridSearchCV(net, {"lr": [0.1]}, cv=2),
    }[inside]
    fitted = fit_clone(model, X, y, random_state=0)
    assert isinstance(fitted, EncodedClassifier)
    assert fitted.score(X, y) > 0.8
    expected = np.unique(y if classes is None else classes)
    np.testing.assert_array_equal(fitted.classes_, expected)
    assert fitted.predict(X).dtype == expected.dtype
    seen = represent(fitted, X)
    np.testing.assert_array_equal(seen.classes, expected)
    np.testing.assert_array_equal(expected[seen.probabilities.argmax(1)], fitted.predict(X))
    np.testing.assert_array_equal(seen.probabilities, fitted.predict_proba(X))
    p, labels = probabilities(FrozenEstimator(fitted), X)
    np.testing.assert_array_equal(p, seen.probabilities)
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize(
    "y",
    [
        Y,
        Y.astype(np.int32),
        Y.astype(np.uint8),
        Y.astype(float),
        Y.tolist(),
        pd.Series(Y),
        torch.tensor(Y),
    ],
    ids=["int64", "int32", "uint8", "float", "list", "series", "tensor"],
)
def test_column_numbers_need_no_encoder(y):
    fitted = fit_clone(iris_net(**QUICK), X, y, random_state=0)
    assert type(fitted) is NeuralNetClassifier
    assert fitted.score(X, Y) > 0.7


@pytest.mark.parametrize(
    "y, kind",
    [
        (Y > 0, bool),
        (np.where(Y > 0, "yes", "no"), str),
        (np.where(Y > 0, 1, -1), int),
        ((Y > 0).astype(int), int),
        ((Y > 0).astype(np.float32), float),
    ],
)
def test_binary_nets_take_any_two_labels(y, kind):
    criterion, ending = nn.BCEWithLogitsLoss, "flat"
    if kind in (bool, int):
        criterion, ending = nn.BCELoss, "sigmoid"
    net = NeuralNetBinaryClassifier(
        OneLogit,
        module__ending=ending,
        criterion=criterion,
        train_split=None,
        verbose=0,
        **QUICK,
    )
    fitted = fit_clone(net, X, y, random_state=0)
    assert fitted.score(X, y) > 0.9
    predicted = fitted.predict(X)
    assert set(predicted.tolist()) == set(y.tolist())
    np.testing.assert_array_equal(represent(fitted, X).classes, np.unique(y))
    assert isinstance(fitted, EncodedClassifier) == (set(y.tolist()) != {0, 1} or kind is bool)


def test_booleans_on_a_net_with_two_outputs():
    fitted = fit_clone(iris_net(module__n_classes=2, **QUICK), X, Y > 0, random_state=0)
    assert fitted.predict(X).dtype == bool
    assert fitted.score(X, Y > 0) > 0.9


def test_binary_nets_and_a_single_label():
    net = NeuralNetBinaryClassifier(OneLogit, train_split=None, verbose=0)
    assert represent(fit_clone(net, X[:50], Y[:50]), X).classes.tolist() == [0, 1]
    fitted = fit_clone(net, X[:50], Y[:50] > 0)
    assert fitted.classes_.tolist() == [False, True]
    fitted = fit_clone(net, X[:50], NAMES[:50], classes=["setosa", "other"])
    assert fitted.classes_.tolist() == ["other", "setosa"]
    with pytest.raises(ValueError, match="all labelled rows are 'setosa': label a row of the"):
        fit_clone(net, X[:50], NAMES[:50])
    with pytest.raises(ValueError, match=r"takes two classes, but y holds 3.*NeuralNetClassifier"):
        fit_clone(net, X, Y)


def test_the_encoder_is_an_estimator_and_shows_the_net():
    fitted = fit_clone(iris_net(), X, NAMES, random_state=0)
    assert isinstance(fitted.module_, MLP)
    assert len(fitted.history) == 2
    assert not hasattr(fitted, "partial_fit")
    assert not hasattr(fitted, "decision_function")
    with pytest.raises(AttributeError, match="nothing_like_it"):
        fitted.nothing_like_it  # noqa: B018
    for same in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(same.predict(X), fitted.predict(X))
    fresh = clone(fitted)
    assert not hasattr(fresh, "module_")
    with pytest.raises(NotFittedError):
        fresh.predict(X)
    again = EncodedClassifier(iris_net()).fit(X, NAMES)
    assert again.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    with pytest.raises(ValueError, match=r"y holds 'setosa', but the classes are 'a', 'b'\."):
        EncodedClassifier(iris_net(), classes=["a", "b"]).fit(X[:5], NAMES[:5])
    calibrated = CalibratedClassifierCV(iris_net(), ensemble=False, cv=2)
    fitted = fit_clone(calibrated, X, NAMES, random_state=0)
    np.testing.assert_array_equal(represent(fitted, X).classes, np.unique(NAMES))


class Unlabelled(torch.utils.data.Dataset):
    """Rows without labels, or with wrong ones."""

    def __init__(self, X, wrong):
        self.X, self.wrong = X, wrong

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return (self.X[i], -1) if self.wrong else self.X[i]


@pytest.mark.parametrize("wrong", [True, False])
@pytest.mark.parametrize("y", [Y, NAMES], ids=["numbers", "strings"])
def test_the_labels_of_a_dataset_are_those_of_y(y, wrong):
    expected = fit_clone(iris_net(), X, y, random_state=0)
    fitted = fit_clone(iris_net(), Unlabelled(X, wrong), y, random_state=0)
    torch.testing.assert_close(weights(fitted), weights(expected))
    with pytest.raises(ValueError, match="150 rows, y has 100"):
        fit_clone(iris_net(), Unlabelled(X, wrong), y[:100])


def test_other_kinds_of_x(tmp_path):
    np.save(tmp_path / "x.npy", X)
    expected = weights(fit_clone(iris_net(), X, Y, random_state=0))
    for given in (
        np.load(tmp_path / "x.npy", mmap_mode="r"),
        torch.from_numpy(X),
        sparse.csr_array(X),
        {"x": X},
    ):
        fitted = fit_clone(iris_net(), given, Y, random_state=0)
        torch.testing.assert_close(weights(fitted), expected)


# ---- traps -------------------------------------------------------------------------------------


@pytest.fixture
def no_training(monkeypatch):
    """Fail as soon as a net takes a training step: the checks have to come before."""

    def train_step(self, batch, **fit_params):
        raise AssertionError("training has begun")

    monkeypatch.setattr(NeuralNet, "train_step", train_step)


def test_trap_train_split_that_cannot_split(no_training):
    net = NeuralNetClassifier(MLP, criterion=nn.CrossEntropyLoss, verbose=0)  # skorch's default
    few = [0, 1, 50, 51, 100, 101]
    message = (
        r"train_split=ValidSplit\(5, stratified=True\) on the net sets rows aside.* the 6 "
        r"labelled rows cannot be split.*Set train_split=None on the net"
    )
    with pytest.raises(ValueError, match=message):
        fit_clone(net, X[few], Y[few])
    with pytest.raises(ValueError, match=message):
        fit_clone(make_pipeline(StandardScaler(), net), X[few], Y[few])
    with pytest.raises(ValueError, match=message):
        fit_clone(GridSearchCV(net, {}), X[few], Y[few])


def test_trap_train_split_that_takes_a_whole_class(no_training):
    rows = [*range(20), *range(50, 70), 100]  # a single row of class 2
    net = iris_net(train_split=ValidSplit(5, stratified=False))
    message = r"none of class 0 would be left to train on.*Set train_split=None"
    with pytest.raises(ValueError, match=message):
        fit_clone(net, X[40:100], Y[40:100], classes=[0, 1, 2])
    net = iris_net(train_split=ValidSplit(5, stratified=True), classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"none of class 'virginica' would be left"):
        fit_clone(iris_net(train_split=net.train_split), X[rows], NAMES[rows])


def test_train_split_where_it_works():
    valid = torch.utils.data.TensorDataset(torch.tensor(X[:9]), torch.tensor(Y[:9]))

    def own(dataset, y=None, **fit_params):
        return dataset, None

    def needs_more(dataset, y=None, groups=None):
        assert groups is not None
        return dataset, None

    for split in (ValidSplit(5, stratified=True), ValidSplit(0.2), predefined_split(valid), own):
        fitted = fit_clone(iris_net(train_split=split), X, Y, random_state=0)
        assert represent(fitted, X).features.shape == (150, 5)
    with pytest.raises(AssertionError):
        fit_clone(iris_net(train_split=needs_more), X, Y)


def test_trap_missing_classes(no_training):
    for net, example in (
        (make_net(CNN), r"classes=range\(10\)"),
        (make_net(CNN, criterion=nn.NLLLoss, module__ending="softmax"), r"classes=range\(10\)"),
        (make_net(CNN, module__n_classes=12), r"classes=range\(12\)"),
    ):
        with pytest.raises(
            ValueError,
            match=rf"hold 8 of the 1[02] classes.*0, 1, 2, 3, 4, 5, 6, 7.*set {example}",
        ):
            fit_clone(net, IMAGES[:8], DIGIT[:8])
    with pytest.raises(ValueError, match=r"hold 2 of the 3 .*set classes=\[\.\.\.\], all 3"):
        fit_clone(iris_net(), X[:99], NAMES[:99])
    with pytest.raises(ValueError, match=r"hold 8 of the 10 classes.*set classes=range\(10\)"):
        fit_clone(GridSearchCV(make_net(CNN), {}, cv=2), IMAGES[:8], DIGIT[:8])


def test_missing_classes_that_are_known():
    rows = slice(0, 99)
    for params, kwargs in (
        ({"classes": [0, 1, 2]}, {}),
        ({"classes": np.arange(3)}, {}),
        ({}, {"classes": [0, 1, 2]}),
    ):
        fitted = fit_clone(iris_net(**params), X[rows], Y[rows], random_state=0, **kwargs)
        assert type(fitted) is NeuralNetClassifier
        assert fitted.classes_.tolist() == [0, 1, 2]
        assert represent(fitted, X).probabilities.shape == (150, 3)
    names = ["setosa", "versicolor", "virginica"]
    for params, kwargs in (({"classes": names}, {}), ({}, {"classes": names})):
        fitted = fit_clone(iris_net(**params), X[rows], NAMES[rows], random_state=0, **kwargs)
        assert fitted.classes_.tolist() == names
        assert set(fitted.predict(X)) <= set(names)
    fitted = fit_clone(iris_net(classes=names), X[:5], NAMES[:5])  # a single class
    assert fitted.classes_.tolist() == names
    plain = NeuralNet(MLP, nn.CrossEntropyLoss, train_split=None, verbose=0)
    assert represent(fit_clone(plain, X[rows], Y[rows]), X).classes.tolist() == [0, 1, 2]


def test_trap_labels_beyond_the_outputs(no_training):
    with pytest.raises(ValueError, match=r"y has 10 classes .*has 5 outputs: give it as many"):
        fit_clone(make_net(CNN, module__n_classes=5), IMAGES, DIGIT)
    with pytest.raises(ValueError, match=r"classes= on the net has 10 labels.*has 12 outputs"):
        fit_clone(make_net(CNN, module__n_classes=12, classes=range(10)), IMAGES, DIGIT)
    with pytest.raises(ValueError, match=r"y holds 8, 9, but classes= on the net is 0, 1, 2, 3"):
        fit_clone(make_net(CNN, module__n_classes=8, classes=range(8)), IMAGES, DIGIT)
    with pytest.raises(ValueError, match=r"hold 2 of the 3 classes.*0, 7.*\[\.\.\.\]"):
        fit_clone(iris_net(), X[:99], 7 * Y[:99])
    plain = NeuralNet(MLP, nn.CrossEntropyLoss, train_split=None)
    with pytest.raises(ValueError, match=r"y holds 7, but the 3 outputs.*use NeuralNetClassifier"):
        fit_clone(plain, X[:99], 7 * Y[:99])


def test_trap_instantiated_module(no_training):
    trained = initialized(make_net(MLP(), train_split=None))
    message = (
        r"module=MLP\(\.\.\.\) on the net is an instance.*Pass the class.*module=MLP, "
        r"module__<argument>=.*FrozenEstimator"
    )
    for model in (
        trained,
        make_net(MLP()),
        make_pipeline(StandardScaler(), make_net(MLP())),
        GridSearchCV(make_net(MLP()), {}),
        NeuralNetBinaryClassifier(MLP()),
    ):
        with pytest.raises(ValueError, match=message):
            fit_clone(model, X, Y)


def test_modules_that_are_made_anew():
    start = MLP()

    def pretrained():
        return copy.deepcopy(start)

    fitted = fit_clone(make_net(pretrained, lr=0.0), X, Y)
    torch.testing.assert_close(fitted.module_.state_dict(), start.state_dict())
    fit_clone(make_net(functools.partial(MLP, hidden=9)), X, Y)
    # with module__ parameters skorch makes a new one of the instance's class
    fitted = fit_clone(make_net(start, module__hidden=9), X, Y)
    assert fitted.module_.head.in_features == 9


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "uint8", "bool"])
def test_trap_dtype_of_x(no_training, dtype):
    message = rf"X is {dtype}, but the parameters of MLP are float32: pass X.astype\(np.float32\)"
    given = X.astype(dtype)
    for model in (
        iris_net(),
        NeuralNetBinaryClassifier(OneLogit, train_split=None),
        GridSearchCV(iris_net(), {}),
        CalibratedClassifierCV(iris_net()),
    ):
        y = Y > 0 if isinstance(model, NeuralNetBinaryClassifier) else Y
        with pytest.raises(ValueError, match=message.replace("MLP", "(MLP|OneLogit)")):
            fit_clone(model, given, y)
    with pytest.raises(ValueError, match=rf"X is {dtype}.*pass X.to\(torch.float32\)"):
        fit_clone(iris_net(), torch.from_numpy(given), Y)
    with pytest.raises(ValueError, match=rf"X is {dtype}.*let the Dataset give float32"):
        fit_clone(iris_net(), Unlabelled(given, wrong=False), Y)
    with pytest.raises(ValueError, match=rf"X\['x'\] is {dtype}.*pass X\['x'\].astype"):
        fit_clone(iris_net(), {"x": given}, Y)


def test_trap_dtype_in_a_pipeline():
    message = r"steps of the Pipeline before the net.*X is float64.*FunctionTransformer"
    pipeline = make_pipeline(StandardScaler(), iris_net())
    with pytest.raises(ValueError, match=message):
        fit_clone(pipeline, X64, Y)
    with pytest.raises(ValueError, match=message):
        fit_clone(GridSearchCV(pipeline, {}, cv=2), X64, Y)
    assert fit_clone(pipeline, X, Y).predict(X).shape == (150,)


def test_traps_of_labels_in_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), iris_net())
    with pytest.raises(ValueError, match=r"hold 2 of the 3 classes.*set classes="):
        fit_clone(pipeline, X[:99], Y[:99])
    with pytest.raises(ValueError, match=r"y has 3 classes .*has 2 outputs"):
        fit_clone(pipeline.set_params(neuralnetclassifier__module__n_classes=2), X, Y)
    named = iris_net(classes=NAMES[::50], module__n_classes=5)
    with pytest.raises(ValueError, match=r"has 3 labels.*has 5 outputs"):
        fit_clone(make_pipeline(StandardScaler(), named), X, NAMES)
    broken = make_pipeline(FunctionTransformer(lambda Z: Z[:, :2]), iris_net())
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        fit_clone(broken, X, Y)
    broken = make_pipeline(FunctionTransformer(lambda Z: 1 / 0), iris_net())
    with pytest.raises(ZeroDivisionError):
        fit_clone(broken, X, Y)


def test_x_of_integers_that_is_meant():
    class Embedded(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(20, 3)
            self.head = nn.Linear(12, 3)

        def forward(self, x):
            return self.head(self.embedding(x).flatten(1))

    class Bytes(MLP):
        def forward(self, x):
            return super().forward(x.float() / 255)

    ids = (2 * X).astype(np.int64) + 10
    assert represent(fit_clone(make_net(Embedded), ids, Y), ids).features.shape == (150, 12)
    fit_clone(make_net(Bytes), ids.astype(np.uint8), Y)


def test_sizes_that_are_set_when_training_starts():
    class SetWidth(Callback):
        def on_train_begin(self, net, X=None, y=None, **kwargs):
            net.set_params(module__width=X.shape[1])

    net = iris_net(module__width=99, callbacks=[("width", SetWidth())])
    fitted = fit_clone(net, X, NAMES, random_state=0)
    assert fitted.module_.body[0].in_features == 4
    with pytest.raises(ValueError, match="hold 2 of the 3 classes"):
        fit_clone(net, X[:99], Y[:99], random_state=0)


def test_parameters_of_callbacks_do_not_disturb_the_checks():
    net = iris_net(callbacks__print_log=None, callbacks__valid_acc__name="accuracy")
    with pytest.raises(ValueError, match="hold 2 of the 3 classes"):
        fit_clone(net, X[:99], Y[:99])
    assert fit_clone(net, X, Y).predict(X).shape == (150,)


def test_trap_a_last_batch_of_one_row():
    message = (
        r"the 65 labelled rows, in batches of batch_size=64, leave.*iterator_train__drop_last"
    )
    net = make_net(NormedMLP, classes=range(3))
    for model in (net, make_pipeline(StandardScaler(), net)):
        with pytest.raises(ValueError, match=message):
            fit_clone(model, X[:65], Y[:65])
    fit_clone(
        make_net(NormedMLP, classes=range(3), iterator_train__drop_last=True), X[:65], Y[:65]
    )
    net.set_params(train_split=ValidSplit(5), batch_size=13)
    with pytest.raises(ValueError, match="what train_split leaves of the 50 labelled rows"):
        fit_clone(net, X[::3], Y[::3])  # 40 of 50


class NormedMLP(MLP):
    """An MLP that normalises its inputs by batch."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        return super().forward(self.norm(x))


def test_trap_early_stopping_without_validation():
    stopper = EarlyStopping(patience=2)
    with pytest.raises(ValueError, match=r"'valid_loss'.* train_split=None .*='train_loss'"):
        fit_clone(iris_net(callbacks=[stopper], train_split=None), X, Y, random_state=0)


@pytest.mark.parametrize("setting", ["drop_last", "shuffle"])
def test_trap_iterator_that_leaves_out_rows(no_training, setting):
    with pytest.raises(ValueError, match=f"iterator_valid__{setting}=True"):
        fit_clone(iris_net(**{f"iterator_valid__{setting}": True}), X, Y)


class Interrupting(Callback):
    """Presses Ctrl-C in the second epoch, or ends the training as callbacks of skorch do."""

    begun = 0

    def __init__(self, how):
        self.how = how

    def on_train_begin(self, net, **kwargs):
        Interrupting.begun += 1

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2 and self.how == "signal":
            signal.raise_signal(signal.SIGINT)
        if len(net.history) == 2 and self.how == "callback":
            raise KeyboardInterrupt


@pytest.fixture
def handler():
    """Python's own handler of Ctrl-C, which is not there in a process of the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_the_fit_and_not_only_the_training(handler):
    trained = iris_net(callbacks=[Interrupting("signal")], max_epochs=5)
    with pytest.raises(KeyboardInterrupt):
        fit_clone(trained, X, Y, random_state=0)
    assert signal.getsignal(signal.SIGINT) is handler
    Interrupting.begun = 0
    search = GridSearchCV(iris_net(callbacks=[Interrupting("signal")]), {"lr": [0.1, 0.2]})
    with pytest.raises(KeyboardInterrupt):
        fit_clone(search, X, Y, random_state=0)
    assert Interrupting.begun == 1, "the rest of the search was trained first"
    learner = ActiveLearner(iris_net(max_epochs=5), MarginQuery(), random_state=0)
    learner.fit(X[::5], Y[::5])
    learner.set_params(estimator__callbacks=[Interrupting("signal")])
    before = dict(vars(learner))
    with pytest.raises(KeyboardInterrupt):
        learner.teach(X[30:40], Y[30:40])
    assert vars(learner) == before


class Nesting(Callback):
    """Trains another net after each epoch, during which Ctrl-C is pressed."""

    def on_epoch_end(self, net, **kwargs):
        fit_clone(iris_net(callbacks=[Interrupting("signal")], max_epochs=3), X, Y)


def test_ctrl_c_while_a_net_is_trained_within_the_training_of_another(handler):
    with pytest.raises(KeyboardInterrupt):
        fit_clone(iris_net(callbacks=[Nesting()], max_epochs=3), X, Y)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_handler_may_say_what_it_raises():
    class Stopped(KeyboardInterrupt):
        pass

    def stop(*_):
        raise Stopped("by hand")

    before = signal.signal(signal.SIGINT, stop)
    try:
        with pytest.raises(Stopped, match="by hand"):
            fit_clone(iris_net(callbacks=[Interrupting("signal")], max_epochs=3), X, Y)
        assert signal.getsignal(signal.SIGINT) is stop
    finally:
        signal.signal(signal.SIGINT, before)


def test_callbacks_end_a_training_by_an_interrupt():
    model = fit_clone(iris_net(callbacks=[Interrupting("callback")], max_epochs=5), X, Y)
    assert len(model.history) == 2


def test_a_handler_of_ones_own_decides_about_ctrl_c():
    """One that raises nothing lets the training go on."""
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    try:
        model = fit_clone(iris_net(callbacks=[Interrupting("signal")], max_epochs=5), X, Y)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(model.history) == 5
    assert heard == [1]


def test_compiled_nets_are_checked_uncompiled(no_training):
    net = iris_net(compile=True, compile__backend="eager")
    with pytest.raises(ValueError, match="hold 2 of the 3 classes"):
        fit_clone(net, X[:99], Y[:99])


def test_y_that_is_no_column():
    with pytest.raises(ValueError, match="y should be a 1d array"):
        fit_clone(iris_net(), X, np.eye(3)[Y])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_net_on_cuda_is_seeded():
    before = torch.cuda.get_rng_state()
    fits = [
        fit_clone(make_net(device="cuda"), IMAGES[:200], DIGIT[:200], random_state=s)
        for s in (0, 0, 1)
    ]
    assert torch.equal(before, torch.cuda.get_rng_state())
    torch.testing.assert_close(weights(fits[0]), weights(fits[1]))
    assert not torch.allclose(weights(fits[0]), weights(fits[2]))
    assert representation.represent(fits[0], IMAGES).features.is_cuda


@pytest.mark.parametrize("kind", ["net", "linear", "one logit"])
def test_labels_are_sorted_whatever_the_order_of_the_outputs(kind, rng):
    """scikit-learn's scorers take column j to be that of the j-th label in sorted order."""
    names = ["virginica", "setosa", "versicolor"][: 2 if kind == "one logit" else 3]
    rows = np.isin(NAMES, names)
    X_now, y = X[rows], NAMES[rows]
    order = sorted(range(len(names)), key=names.__getitem__)
    if kind == "net":
        fitted = fit_clone(iris_net(classes=names, **QUICK), X_now, y, random_state=0)
    else:
        fitted = EncodedClassifier(LogisticRegression(), classes=names).fit(X_now, y)
    assert fitted.classes_.tolist() == sorted(names)
    found = fitted.predict_proba(X_now)
    np.testing.assert_array_equal(found, fitted.estimator_.predict_proba(X_now)[:, order])
    np.testing.assert_array_equal(fitted.classes_[found.argmax(1)], fitted.predict(X_now))
    assert fitted.score(X_now, y) > 0.9
    assert get_scorer("neg_log_loss")(fitted, X_now, y) > -0.4
    seen = represent(fitted, X_now)
    assert seen.classes.tolist() == sorted(names)
    np.testing.assert_allclose(seen.probabilities, found, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(seen.head.probabilities(seen.features), found, rtol=1e-4)
    np.testing.assert_allclose(seen.logits, seen.head.logits(seen.features), atol=1e-4)
    alone, classes = probabilities(fitted, X_now)
    np.testing.assert_allclose(alone, found, rtol=1e-6, atol=1e-7)
    assert classes.tolist() == sorted(names)


def test_a_label_declared_twice():
    with pytest.raises(ValueError, match=r"classes= on the net is 'a', 'b', 'a', with a label"):
        fit_clone(iris_net(classes=["a", "b", "a"]), X[:20], np.array(["a", "b"] * 10))


@pytest.mark.parametrize("pos_label", [None, "no", "yes"])
@pytest.mark.parametrize("names", [["yes", "no"], ["no", "yes"]])
def test_a_threshold_is_that_of_the_positive_label(names, pos_label):
    y = np.where(Y > 0, "yes", "no")
    net = iris_net(module__n_classes=2, classes=names, **QUICK)
    model = FixedThresholdClassifier(
        net, threshold=0.9, pos_label=pos_label, response_method="predict_proba"
    )
    fitted = fit_clone(model, X, y, random_state=0)
    column = fitted.classes_.tolist().index(pos_label or "yes")
    sure = fitted.predict_proba(X)[:, column] >= 0.9
    np.testing.assert_array_equal(fitted.predict(X) == fitted.classes_[column], sure)


def test_trap_no_batch_at_all():
    net = make_net(MLP, classes=range(3), iterator_train__drop_last=True)  # batches of 64
    vote = VotingClassifier([("net", net), ("linear", LogisticRegression())])
    for estimator in (net, make_pipeline(StandardScaler(), net), vote):
        with pytest.raises(ValueError, match=r"not trained.* gave no batch.*batch_size=64"):
            fit_clone(estimator, X[:60], Y[:60])
    fit_clone(net, X[:65], Y[:65])
    assert fit_clone(net.set_params(max_epochs=0), X[:60], Y[:60]).predict(X).shape == (150,)


class LogProbabilities(MLP):
    """An MLP that gives logarithms of probabilities."""

    def forward(self, x):
        return torch.log_softmax(super().forward(x), 1)


def test_trap_a_logarithm_of_logarithms(no_training):
    """skorch's NeuralNetClassifier takes it itself, and learns nonsense from NaN."""
    for module in (LogProbabilities, MLP):
        for seed in range(10):  # logits may be positive by chance
            with pytest.raises(ValueError, match="criterion=NLLLoss NeuralNetClassifier takes"):
                fit_clone(make_net(module, criterion=nn.NLLLoss), X, Y, random_state=seed)


def test_trap_a_logarithm_of_logarithms_behind_a_step():
    for module in (LogProbabilities, MLP):
        net = make_net(module, criterion=nn.NLLLoss, max_epochs=1)
        with pytest.raises(ValueError, match="criterion=NLLLoss NeuralNetClassifier takes"):
            fit_clone(make_pipeline(FunctionTransformer(), StandardScaler(), net), X, Y)


def test_a_loss_of_ones_own_may_take_logarithms():
    class Own(NeuralNetClassifier):
        def get_loss(self, y_pred, y_true, *args, **kwargs):
            return self.criterion_(y_pred, y_true)

    net = Own(LogProbabilities, criterion=nn.NLLLoss, train_split=None, verbose=0, **QUICK)
    fitted = fit_clone(net.set_params(predict_nonlinearity=torch.exp), X, Y, random_state=0)
    assert (fitted.predict(X) == Y).mean() > 0.9


def test_a_frozen_net_is_not_asked_for_its_loss():
    net = make_net(LogProbabilities, criterion=nn.NLLLoss, classes=range(3))
    net = initialized(net.set_params(predict_nonlinearity=torch.exp))
    learner = ActiveLearner(FrozenEstimator(net)).fit(X, Y, X_val=X, y_val=Y)
    assert np.isfinite(learner.history_["score"]).all()


def test_logarithms_of_probabilities_where_they_belong():
    plain = NeuralNet(LogProbabilities, nn.NLLLoss, train_split=None, verbose=0, **QUICK)
    for net in (make_net(LogProbabilities, **QUICK), plain):
        p, _ = probabilities(fit_clone(net, X, Y, random_state=0), X)
        assert (p.argmax(1).numpy() == Y).mean() > 0.9


def test_a_loss_that_is_no_number_is_warned_of():
    class Odd(nn.CrossEntropyLoss):
        def forward(self, output, target):
            return super().forward(output, target) + torch.nan

    with pytest.warns(RuntimeWarning, match="loss of the net's training is not a number"):
        fit_clone(make_net(MLP, criterion=Odd, classes=range(3)), X, Y)


@pytest.mark.parametrize("names", ["abcd", range(4)])
def test_trap_a_frame_for_a_module_that_takes_an_array(names):
    frame = pd.DataFrame(X, columns=list(names))
    with pytest.raises(ValueError, match=r"columns of a data frame .* X.to_numpy\(np.float32\)"):
        fit_clone(make_net(MLP, classes=range(3)), frame, Y)
    net = make_net(MLP, classes=range(3), module__depth=3)
    as_array = FunctionTransformer(lambda rows: rows.to_numpy(np.float32))
    with pytest.raises(TypeError, match="depth"):  # which is not for the frame
        fit_clone(make_pipeline(as_array, net), frame, Y)
