# SPDX-License-Identifier: BSD-3-Clause
"""scikit-learn's own models, what wraps them, and types that users register."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from on_cpu import probabilities, represent
from representation_nets import MLP, digits, initialized, make_net
from scipy import sparse
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from skbait import BaitQuery, MarginQuery, _backend, representation
from skbait._sklearn import LinearClassifierMixin
from skbait.representation import Representation, can_represent
from skbait.representation.base import represent_adapter

X, Y = load_iris(return_X_y=True)
BINARY = (Y == 1).astype(int)


@pytest.fixture
def small_chunks(monkeypatch):
    """Make blocks as small as they get: 256 rows."""
    monkeypatch.setattr(_backend, "CHUNK_BYTES", 1)


# ---- linear models -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "y", [Y, BINARY, np.array(["a", "b", "c"])[Y]], ids=["three", "two", "str"]
)
@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(max_iter=500),
        LogisticRegressionCV(
            Cs=2,
            cv=2,
            l1_ratios=(0,),
            max_iter=2000,
            scoring="accuracy",
            use_legacy_attributes=False,
        ),
        SGDClassifier(loss="log_loss", random_state=0),
        SGDClassifier(loss="modified_huber", random_state=0),
        LinearDiscriminantAnalysis(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_linear_classifiers(model, y):
    model.fit(X, y)
    seen = represent(model, X)
    np.testing.assert_array_equal(seen.features, X)
    np.testing.assert_allclose(seen.probabilities, model.predict_proba(X), rtol=1e-12, atol=1e-15)
    expected = X @ model.coef_.T + model.intercept_
    np.testing.assert_allclose(seen.logits, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(seen.classes, model.classes_)
    assert seen.logits.shape == (150, 1 if y is BINARY else 3)
    p, classes = probabilities(model, X)
    np.testing.assert_allclose(p, seen.probabilities, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(classes, model.classes_)


def test_the_features_share_the_memory_of_x_and_keep_its_dtype():
    model = LogisticRegression(max_iter=500).fit(X, Y)
    for dtype in (np.float32, np.float64):
        given = X.astype(dtype)
        given.flags.writeable = False
        seen = represent(model, given, device="cpu")
        assert seen.features.numpy().dtype == dtype
        assert np.shares_memory(seen.features.numpy(), given)
    assert represent(model, np.asfortranarray(X), device="cpu").features.stride() == (1, 150)
    assert represent(model, X.astype(int)).features.dtype == torch.float64
    assert represent(model, X.astype(np.float16)).features.dtype == torch.float64


def test_every_kind_of_x_gives_the_same(tmp_path):
    model = LogisticRegression(max_iter=500).fit(X, Y)
    np.save(tmp_path / "pool.npy", X)
    kinds = {
        "list": X.tolist(),
        "tensor": torch.from_numpy(X),
        "memory map": np.load(tmp_path / "pool.npy", mmap_mode="r"),
        "reversed twice": X[::-1].copy()[::-1],
        "other byte order": X.astype(X.dtype.newbyteorder()),
        "csr": sparse.csr_array(X),
        "csc": sparse.csc_matrix(X),
        "coo": sparse.coo_array(X),
    }
    for kind, given in kinds.items():
        seen = represent(model, given)
        np.testing.assert_array_equal(seen.features, X, err_msg=kind)
        np.testing.assert_allclose(seen.probabilities, model.predict_proba(X), err_msg=kind)
        np.testing.assert_allclose(probabilities(model, given)[0], model.predict_proba(X))
    frame = pd.DataFrame(X, columns=list("abcd"))
    seen = represent(LogisticRegression(max_iter=500).fit(frame, Y), frame)
    np.testing.assert_array_equal(seen.features, X)
    with pytest.raises(ValueError, match="feature names"):
        represent(LogisticRegression(max_iter=500).fit(frame, Y), frame[list("dcba")])


def test_a_model_whose_coefficients_were_set_by_hand():
    model = LogisticRegression()
    model.coef_, model.intercept_ = np.arange(8.0).reshape(2, 4)[:1], np.array([0.5])
    model.classes_ = np.array([0, 1])
    seen = represent(FrozenEstimator(model), X)
    np.testing.assert_array_equal(seen.features, X)
    np.testing.assert_allclose(seen.logits[:, 0], X @ model.coef_[0] + 0.5)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array, pd.DataFrame, list, torch.tensor])
def test_blocks_give_what_the_whole_gives(small_chunks, make):
    given = np.tile(X, (5, 1))
    fitted = LogisticRegression(max_iter=500).fit(X, Y)
    mlp = MLPClassifier((6,), max_iter=20, early_stopping=True, tol=1.0).fit(X, Y)
    for model in (fitted, mlp, make_pipeline(FunctionTransformer(), fitted)):
        if make is pd.DataFrame and model is not mlp:
            model = make_pipeline(FunctionTransformer(np.asarray), fitted)
        elif make is pd.DataFrame:
            continue
        seen = represent(model, make(given))
        once = represent(model, X)
        for name in ("features", "probabilities", "logits"):
            expected = np.tile(getattr(once, name), (5, 1))
            np.testing.assert_allclose(getattr(seen, name), expected, rtol=1e-12, atol=1e-14)
        p, _ = probabilities(model, make(given))
        np.testing.assert_allclose(p, seen.probabilities, rtol=1e-12, atol=1e-15)


def test_sparse_text_streams(small_chunks):
    texts = [f"word{i % 7} word{i % 11} word{i}" for i in range(600)]
    y = np.arange(600) % 7
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, y)
    seen = represent(pipeline, texts)
    Z = pipeline[0].transform(texts)
    np.testing.assert_allclose(seen.features, Z.toarray())
    np.testing.assert_allclose(seen.probabilities, pipeline.predict_proba(texts))
    np.testing.assert_allclose(represent(pipeline[-1], Z).features, Z.toarray())


def test_bad_input_is_named():
    model = LogisticRegression(max_iter=500).fit(X, Y)
    with pytest.raises(ValueError, match="3 features, but LogisticRegression is expecting 4"):
        represent(model, X[:, :3])
    broken = X.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        represent(model, broken)
    with pytest.raises(ValueError, match="0 sample"):
        represent(model, X[:0])
    with pytest.raises(NotFittedError):
        represent(LogisticRegression(), X)
    with pytest.raises(ValueError, match="last_layer='fc' names a module of a network"):
        represent(make_pipeline(StandardScaler(), model).fit(X, Y), X, last_layer="fc")
    with pytest.raises(ValueError, match="device='gpu'"):
        represent(model, X, device="gpu")


@pytest.mark.parametrize(
    "model",
    [LinearSVC(), RidgeClassifier(), Perceptron(), SGDClassifier(), SGDClassifier("hinge")],
)
def test_linear_models_without_probabilities(model):
    model.fit(X, Y)
    assert not can_represent(model)
    for ask in (represent, probabilities):
        with pytest.raises(TypeError, match=rf"{type(model).__name__} has no predict_proba"):
            ask(model, X)


# ---- the perceptron ----------------------------------------------------------------------------


def test_probabilities_of_sparse_rows_are_asked_for_as_they_are():
    """Nothing of the size of the dense matrix is made."""
    rng = np.random.default_rng(0)
    columns = rng.integers(3_000_000, size=8000, dtype=np.int32)
    where = np.repeat(np.arange(400, dtype=np.int32), 20), columns
    rows = sparse.csr_array((rng.normal(size=8000), where), shape=(400, 3_000_000))
    y = np.arange(400) % 2
    model = SGDClassifier(loss="log_loss", max_iter=1, tol=None, random_state=0).fit(rows, y)
    found, _ = probabilities(model, rows)
    np.testing.assert_allclose(found, model.predict_proba(rows), rtol=1e-12, atol=1e-15)
    assert len(MarginQuery(FrozenEstimator(model)).fit(rows, y).query(rows, 3)) == 3


def test_several_columns_of_labels_are_refused_for_probabilities_too():
    two = MLPClassifier((4,), max_iter=5, random_state=0)
    with pytest.warns(Warning, match=r"(?s).*converge"):
        two.fit(X, np.column_stack([BINARY, 1 - BINARY]))
    for ask in (represent, probabilities):
        with pytest.raises(ValueError, match="multi-label y"):
            ask(two, X)


class Prepares(LogisticRegression):
    """Makes columns of its own, and clips its probabilities."""

    def fit(self, X, y, sample_weight=None):
        return super().fit(np.hstack([X, X**2]), y)

    def decision_function(self, X):
        return super().decision_function(np.hstack([X, X**2]) if X.shape[1] == 4 else X)

    def predict_proba(self, X):
        return super().predict_proba(X).clip(0.01, 0.99)


class WithoutCoef(LinearClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.stack([1 - expit(X[:, 0]), expit(X[:, 0])], axis=1)


@pytest.mark.parametrize("model", [Prepares(max_iter=1000), WithoutCoef()])
def test_probabilities_of_linear_models_of_ones_own_are_theirs(model):
    model.fit(X, BINARY)
    found, _ = probabilities(model, X)
    np.testing.assert_array_equal(found, model.predict_proba(X))
    assert len(MarginQuery(model).fit(X, BINARY).query(X, 3)) == 3


@pytest.mark.parametrize("scale", [5.0, 40.0, 300.0])
def test_both_of_two_classes_have_all_their_digits(scale):
    """1 - p has lost them where p is nearly 1; which class is the second must not matter."""
    model = LogisticRegression().fit(X, BINARY)
    model.coef_, model.intercept_ = scale * model.coef_, scale * model.intercept_
    swapped = LogisticRegression().fit(X, BINARY)
    swapped.coef_, swapped.intercept_ = -model.coef_, -model.intercept_
    one, other = (represent(each, X).probabilities for each in (model, swapped))
    torch.testing.assert_close(one, other.flip(1), rtol=0, atol=0)
    z = model.decision_function(X)
    np.testing.assert_allclose(one, expit(np.stack([-z, z], axis=1)), rtol=1e-12)
    for each in (model, make_pipeline(FunctionTransformer(), FrozenEstimator(model))):
        alone, _ = probabilities(each, X)
        np.testing.assert_array_equal(alone, one)
    picks = [
        BaitQuery(FrozenEstimator(each), variant=variant).fit(X[:9], BINARY[:9]).query(X[9:], 6)
        for each in (model, swapped)
        for variant in ("exp", "binary")
    ]
    np.testing.assert_array_equal(picks[:2], picks[2:])


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("y", [Y, BINARY], ids=["three", "two"])
@pytest.mark.parametrize("hidden", [(7,), (6, 5), ()])
def test_multilayer_perceptron(activation, y, hidden):
    model = MLPClassifier(hidden, activation=activation, max_iter=5, random_state=0)
    with pytest.warns(Warning, match=r"(?s).*converge"):
        model.fit(X, y)
    seen = represent(model, X)
    assert seen.features.shape == (150, hidden[-1] if hidden else 4)
    np.testing.assert_allclose(seen.probabilities, model.predict_proba(X), rtol=1e-12, atol=1e-15)
    if y is BINARY:
        np.testing.assert_allclose(torch.sigmoid(seen.logits[:, 0]), seen.probabilities[:, 1])
    else:
        np.testing.assert_allclose(torch.softmax(seen.logits, 1), seen.probabilities)
    from_csr = represent(model, sparse.csr_array(X))
    np.testing.assert_allclose(from_csr.features, seen.features)
    assert can_represent(model)


def test_perceptron_in_float32_and_on_several_labels():
    model = MLPClassifier((7,), max_iter=20, tol=1.0, n_iter_no_change=1)
    many = clone(model).fit(X, np.column_stack([BINARY, BINARY]))
    model.fit(X.astype(np.float32), Y)
    assert represent(model, X.astype(np.float32)).features.dtype == torch.float32
    with pytest.raises(ValueError, match="multi-label"):
        represent(many, X)
    with pytest.raises(NotFittedError):
        represent(MLPClassifier(), X)


# ---- wrappers ----------------------------------------------------------------------------------


def test_pipeline():
    pipeline = make_pipeline(StandardScaler(), PCA(2), LogisticRegression()).fit(X, Y)
    seen = represent(pipeline, X)
    np.testing.assert_allclose(seen.features, pipeline[:-1].transform(X))
    np.testing.assert_allclose(seen.probabilities, pipeline.predict_proba(X))
    assert can_represent(pipeline)
    alone = Pipeline([("only", LogisticRegression(max_iter=500))]).fit(X, Y)
    np.testing.assert_array_equal(represent(alone, X).features, X)
    idle = Pipeline([("idle", "passthrough"), ("model", LogisticRegression(max_iter=500))])
    np.testing.assert_array_equal(represent(idle.fit(X, Y), X).features, X)
    with pytest.raises(NotFittedError):
        represent(make_pipeline(StandardScaler(), LogisticRegression()), X)


@pytest.mark.parametrize(
    "search",
    [
        GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1]}, cv=2),
        RandomizedSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1]}, n_iter=2, cv=2),
        HalvingGridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1]}, cv=2),
        GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression()),
            {"logisticregression__C": [1]},
            cv=2,
        ),
    ],
    ids=["grid", "random", "halving", "pipeline"],
)
def test_searches(search):
    assert can_represent(search)
    with pytest.raises(NotFittedError):
        represent(search, X)
    search.fit(X, Y)
    assert can_represent(search)
    seen = represent(search, X)
    np.testing.assert_allclose(seen.probabilities, search.predict_proba(X))
    np.testing.assert_array_equal(seen.features, represent(search.best_estimator_, X).features)


def test_a_search_without_refit():
    search = GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1]}, refit=False).fit(X, Y)
    for ask in (represent, probabilities):
        with pytest.raises(ValueError, match=r"refit=False.*refit=True"):
            ask(search, X)


@pytest.mark.parametrize("ensemble", [True, False])
@pytest.mark.parametrize("base", [LinearSVC(), LogisticRegression(max_iter=500), None])
def test_calibrated(ensemble, base):
    model = CalibratedClassifierCV(base, ensemble=ensemble).fit(X, Y)
    assert can_represent(model)
    seen = represent(model, X)
    np.testing.assert_array_equal(seen.features, X)
    np.testing.assert_allclose(seen.probabilities, model.predict_proba(X))
    assert seen.logits is None
    np.testing.assert_array_equal(seen.classes, model.classes_)


def test_calibrated_around_more():
    scaled = make_pipeline(StandardScaler(), LinearSVC())
    model = CalibratedClassifierCV(scaled, ensemble=False).fit(X, Y)
    assert can_represent(model)
    np.testing.assert_allclose(represent(model, X).features, StandardScaler().fit_transform(X))
    frozen = FrozenEstimator(LogisticRegression(max_iter=500).fit(X, Y))
    model = CalibratedClassifierCV(frozen).fit(X, Y)
    assert can_represent(model)
    np.testing.assert_array_equal(represent(model, X).features, X)
    assert not can_represent(CalibratedClassifierCV(RandomForestClassifier()))


def test_thresholds_and_frozen_and_nested():
    inner = LogisticRegression(max_iter=500)
    for model in (FixedThresholdClassifier(inner), TunedThresholdClassifierCV(inner, cv=2)):
        model.fit(X, BINARY)
        seen = represent(model, X)
        np.testing.assert_allclose(seen.probabilities, model.predict_proba(X))
        assert can_represent(model)
    nested = make_pipeline(
        StandardScaler(),
        GridSearchCV(
            make_pipeline(
                PCA(3), CalibratedClassifierCV(make_pipeline(StandardScaler(), LinearSVC()), cv=2)
            ),
            {"pca__n_components": [2, 3]},
            cv=2,
        ),
    ).fit(X, Y)
    frozen = FrozenEstimator(FrozenEstimator(nested))
    assert can_represent(frozen)
    seen = represent(frozen, X)
    assert seen.features.shape[1] == nested[-1].best_params_["pca__n_components"]
    np.testing.assert_allclose(seen.probabilities, nested.predict_proba(X))
    with pytest.raises(NotFittedError):
        represent(FrozenEstimator(LogisticRegression()), X)


def test_a_net_inside_everything(small_chunks):
    images, y = digits()
    flat, y = images.reshape(len(images), -1)[:600], y[:600]
    to_images = FunctionTransformer(lambda Z: np.asarray(Z, np.float32).reshape(-1, 1, 8, 8))
    pipeline = make_pipeline(StandardScaler(), to_images, make_net(max_epochs=1))
    search = GridSearchCV(pipeline, {"neuralnetclassifier__lr": [0.1]}, cv=2)
    assert can_represent(search)
    search.fit(flat, y)
    expected = search.predict_proba(flat)
    for model in (search, search.best_estimator_, FrozenEstimator(search)):
        seen = represent(model, flat)
        assert seen.features.shape == (600, 16)
        np.testing.assert_allclose(seen.probabilities, expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(probabilities(model, flat)[0], expected, rtol=1e-4, atol=1e-6)
    named = represent(search, flat, last_layer="head")
    torch.testing.assert_close(named.features, seen.features)
    calibrated = CalibratedClassifierCV(FrozenEstimator(search), cv=2).fit(flat, y)
    seen = represent(calibrated, flat[:50])
    assert seen.logits is None
    np.testing.assert_allclose(seen.probabilities, calibrated.predict_proba(flat[:50]), rtol=1e-5)


# ---- any classifier, and registered types ------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(10, random_state=0),
        GaussianNB(),
        make_pipeline(StandardScaler(), GaussianNB()),
    ],
)
def test_probabilities_of_any_classifier(model, small_chunks):
    model.fit(X, Y)
    given = np.tile(X, (3, 1))
    p, classes = probabilities(model, given)
    np.testing.assert_allclose(p, model.predict_proba(given))
    np.testing.assert_array_equal(classes, model.classes_)
    assert not can_represent(model)
    with pytest.raises(TypeError, match=r"represent\.register\((RandomForestC|GaussianNB)"):
        represent(model, X)


def test_probabilities_that_are_not_to_be_had():
    with pytest.raises(TypeError, match="SVC has no predict_proba"):
        probabilities(SVC().fit(X, Y), X)
    two = MultiOutputClassifier(LogisticRegression(max_iter=500))
    with pytest.raises(ValueError, match="several outputs"):
        probabilities(two.fit(X, np.column_stack([BINARY, BINARY])), X)
    with pytest.raises(ValueError, match=r"at least two classes.*knows 1"):
        probabilities(RandomForestClassifier(5).fit(X, np.zeros(150)), X)


class Foreign(ClassifierMixin, BaseEstimator):
    """A classifier that skbait has never heard of."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self


@pytest.fixture
def registered():
    """Register an adapter that records what it was called with, and forget it afterwards."""
    calls = []

    class Mine(Foreign):
        pass

    @representation.represent.register(Mine)
    def _(estimator, X, *, last_layer, device):
        calls.append((last_layer, device))
        p = np.full((len(X), 3), 1 / 3)
        return Representation(X[:, :2], p, None, estimator.classes_)

    return Mine, calls


def test_a_registered_type(registered):
    kind, calls = registered
    model = kind().fit(X, Y)
    assert can_represent(model)
    assert can_represent(make_pipeline(StandardScaler(), model))
    seen = represent(model, X)
    np.testing.assert_array_equal(seen.features, X[:, :2])
    assert isinstance(seen.probabilities, torch.Tensor)
    assert calls == [(None, "auto")]
    represent(make_pipeline(StandardScaler(), model).fit(X, Y), X, last_layer="top", device="cpu")
    assert calls[-1] == ("top", "cpu")
    np.testing.assert_array_equal(probabilities(model, X)[0], seen.probabilities)


def test_an_unknown_type():
    model = Foreign().fit(X, Y)
    assert not can_represent(model)
    with pytest.raises(TypeError, match=r"from Foreign\..*represent\.register\(Foreign\)"):
        represent(model, X)
    with pytest.raises(TypeError, match=r"from Foreign\."):
        represent(make_pipeline(StandardScaler(), model).fit(X, Y), X)
    with pytest.raises(TypeError, match="Foreign has no predict_proba"):
        probabilities(model, X)


@pytest.mark.parametrize(
    "give, message",
    [
        (lambda X: X, "must return a skbait.representation.Representation, got ndarray"),
        (
            lambda X: Representation(X[:9], np.full((9, 2), 0.5), None, [0, 1]),
            "9 rows of features",
        ),
        (lambda X: Representation(X, np.full((150, 2), 0.5), None, [0, 1, 2]), "2 columns.*are 3"),
        (lambda X: Representation(X, np.full((9, 2), 0.5), None, [0, 1]), "150 rows, prob.* 9"),
        (lambda X: Representation(X, np.ones((150, 1)), None, [0]), "at least two classes"),
        (lambda X: Representation(X[:, 0], np.ones((150, 2)), None, [0, 1]), "two dimensions"),
        (lambda X: Representation(X, None, None, [0, 1]), "has no predict_proba"),
    ],
)
def test_an_adapter_that_is_wrong(give, message):
    class Wrong(Foreign):
        pass

    representation.represent.register(Wrong, lambda estimator, X, *, last_layer, device: give(X))
    with pytest.raises((TypeError, ValueError), match=message):
        represent(Wrong().fit(X, Y), X)
    assert Wrong in represent_adapter.registry


def test_representation_takes_arrays_and_moves():
    p = np.full((150, 2), 0.5)
    seen = Representation(X.astype(np.float16), p, p[:, :1], ["a", "b"])
    assert seen.features.dtype == torch.float32
    assert isinstance(seen.classes, np.ndarray)
    assert seen.to(torch.device("cpu")).features.data_ptr() == seen.features.data_ptr()
    net = initialized(make_net(MLP))
    assert represent(net, X.astype(np.float32), device="cpu").logits.shape == (150, 3)
