# SPDX-License-Identifier: BSD-3-Clause
"""LaplaceClassifier: scikit-learn's checks, every kind of head, updates, bad input."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from on_cpu import represent
from representation_nets import CNN, MLP, OneLogit, digits, make_net
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier
from torch import nn

from skbait import ActiveLearner, BaitQuery, MarginQuery
from skbait.laplace import LaplaceClassifier

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
DIGITS, DIGIT = load_digits(return_X_y=True)
DIGITS = DIGITS / 16


def logistic(**params):
    return LogisticRegression(**{"C": 0.1, "max_iter": 1000} | params)


def one_hot(y, n_classes):
    return torch.eye(n_classes, dtype=torch.float64)[torch.as_tensor(y)]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [
        LaplaceClassifier(),
        LaplaceClassifier(covariance="full", update="newton", prior_precision="auto"),
        LaplaceClassifier(prediction="monte_carlo", random_state=0),
        LaplaceClassifier(
            SGDClassifier(loss="log_loss", random_state=0), likelihood="categorical"
        ),
    ]
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


# ---------------------------------------------------------------------------- heads


def estimators():
    search = GridSearchCV(logistic(), {"C": [0.1, 1.0]}, cv=2)
    return {
        "logistic": logistic(),
        "without a bias": logistic(fit_intercept=False),
        "pipeline": make_pipeline(StandardScaler(), PCA(3), logistic()),
        "search": make_pipeline(StandardScaler(), search),
        "one against rest": SGDClassifier(loss="log_loss", random_state=0),
        "discriminant": LinearDiscriminantAnalysis(),
        "perceptron": MLPClassifier((7,), max_iter=2000, random_state=0),
    }


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", estimators())
def test_plain_predictions_are_the_estimators_own(name, n_classes):
    rows = np.isin(Y, range(n_classes))
    estimator = FrozenEstimator(estimators()[name].fit(X[rows], Y[rows]))
    model = LaplaceClassifier(estimator, prediction="plain").fit(X[rows], Y[rows])
    np.testing.assert_allclose(
        model.predict_proba(X), estimator.predict_proba(X), rtol=1e-9, atol=1e-12
    )
    np.testing.assert_array_equal(model.predict(X), estimator.predict(X))
    if hasattr(estimator, "decision_function"):
        np.testing.assert_allclose(
            model.decision_function(X), estimator.decision_function(X), atol=1e-9
        )
    features = represent(estimator, X).features.shape[1]
    bias = name != "without a bias"
    assert model.mean_.shape == (n_classes, features + bias)
    assert model.covariance_.shape == (features + bias,) * 2
    assert model.mean_.dtype == model.covariance_.dtype == np.float64


@pytest.mark.parametrize("ending", ["flat", "column"])
def test_networks_with_one_logit(ending):
    net = NeuralNetBinaryClassifier(
        OneLogit, module__ending=ending, train_split=None, verbose=0, max_epochs=3
    )
    rows = Y < 2
    data, y = X[rows].astype(np.float32), Y[rows]
    model = LaplaceClassifier(net, prediction="plain", random_state=0).fit(data, y)
    np.testing.assert_allclose(
        model.predict_proba(data), model.estimator_.predict_proba(data), atol=1e-6
    )
    np.testing.assert_allclose(model.mean_[0], -model.mean_[1])
    assert model.mean_.shape == (2, 6)
    assert model.partial_fit(data[:3], 1 - y[:3]).mean_.shape == (2, 6)


def test_networks_on_images_with_named_labels():
    images, numbers = digits()
    names = np.array([f"digit {k}" for k in numbers])
    net = make_net(CNN, max_epochs=5)
    model = LaplaceClassifier(net, prediction="plain", random_state=0)
    model.fit(images[:300], names[:300])
    np.testing.assert_allclose(
        model.predict_proba(images[300:400]),
        model.estimator_.predict_proba(images[300:400]),
        atol=1e-5,
    )
    before = model.score(images[1000:], names[1000:])
    model.set_params(update="newton").partial_fit(images[300:1000], names[300:1000])
    assert model.score(images[1000:], names[1000:]) > before
    assert model.mean_.shape == (10, 17)
    assert not hasattr(model, "n_features_in_")


def test_every_training_row_counts_whatever_the_batches():
    images, y = digits()
    # a last batch of one row, and an iterator that drops it while training
    net = make_net(CNN, batch_size=100, iterator_train__drop_last=True, classes=range(10))
    model = LaplaceClassifier(net, random_state=0).fit(images[:201], y[:201])
    features = represent(model.estimator_, images[:201]).features.double().numpy()
    rows = np.c_[features, np.ones(201)]
    np.testing.assert_allclose(
        model.covariance_, np.linalg.inv(np.eye(17) + rows.T @ rows), rtol=1e-8, atol=1e-12
    )


def test_fit_weighs_rows_as_the_estimator_does():
    weights = np.arange(len(Y)) % 3
    weighted = LaplaceClassifier(logistic(tol=1e-10)).fit(X, Y, sample_weight=weights)
    repeated = LaplaceClassifier(logistic(tol=1e-10)).fit(
        np.repeat(X, weights, axis=0), np.repeat(Y, weights)
    )
    np.testing.assert_allclose(weighted.mean_, repeated.mean_, atol=1e-5)
    np.testing.assert_allclose(weighted.covariance_, repeated.covariance_, rtol=1e-9)
    pipe = LaplaceClassifier(make_pipeline(make_pipeline(logistic(tol=1e-10))))
    pipe.fit(X, Y, pipeline__logisticregression__sample_weight=weights)
    np.testing.assert_allclose(pipe.covariance_, weighted.covariance_, rtol=1e-9)
    with config_context(enable_metadata_routing=True):
        alias = make_pipeline(logistic(tol=1e-10).set_fit_request(sample_weight="w"))
        alias = LaplaceClassifier(alias).fit(X, Y, w=weights)
    np.testing.assert_allclose(alias.covariance_, weighted.covariance_, rtol=1e-9)
    threefold = LaplaceClassifier(logistic()).fit(X, Y, sample_weight=3.0)
    expected = LaplaceClassifier(logistic()).fit(X, Y, sample_weight=np.full(len(Y), 3.0))
    np.testing.assert_array_equal(threefold.covariance_, expected.covariance_)


# ---------------------------------------------------------------------------- posterior


@pytest.mark.parametrize("likelihood", ["gaussian", "categorical"])
def test_mean_and_covariance_are_those_of_the_definition(likelihood):
    model = LaplaceClassifier(logistic(), likelihood=likelihood, prior_precision=2.0).fit(X, Y)
    own = model.estimator_
    np.testing.assert_allclose(model.mean_, np.c_[own.coef_, own.intercept_])
    rows = np.c_[X, np.ones(len(X))]
    top = own.predict_proba(X).max(axis=1)
    m = np.ones(len(X)) if likelihood == "gaussian" else top * (1 - top)
    expected = np.linalg.inv(2 * np.eye(5) + (rows.T * m) @ rows)
    np.testing.assert_allclose(model.covariance_, expected, rtol=1e-9, atol=1e-15)
    np.testing.assert_array_equal(model.covariance_, model.covariance_.T)
    assert model.prior_precision_ == 2.0


def test_the_full_covariance_is_class_major():
    model = LaplaceClassifier(logistic(), covariance="full", prior_precision=0.5).fit(X, Y)
    rows, p = np.c_[X, np.ones(len(X))], model.estimator_.predict_proba(X)
    precision = 0.5 * np.eye(15)
    for h, q in zip(rows, p, strict=True):
        precision += np.kron(np.diag(q) - np.outer(q, q), np.outer(h, h))
    np.testing.assert_allclose(model.covariance_, np.linalg.inv(precision), rtol=1e-8, atol=1e-12)


def test_the_documented_update_formula():
    model = LaplaceClassifier(logistic(), gamma=10.0).fit(X[:100], Y[:100])
    model.partial_fit(X[:1], [2])  # a class that the first hundred rows do not have
    assert model.classes_.tolist() == [0, 1, 2]
    base = LaplaceClassifier(logistic(), gamma=10.0).fit(X[:100], Y[:100])
    h = np.append(X[0], 1.0)
    mean = np.vstack([base.mean_, np.zeros(5)])
    p = np.exp(mean @ h) / np.exp(mean @ h).sum()
    image = base.covariance_ @ h
    covariance = base.covariance_ - np.outer(image, image) / (1 + h @ image)
    np.testing.assert_allclose(model.covariance_, covariance, rtol=1e-9)
    expected = mean + 10 * np.outer(np.array([0, 0, 1]) - p, covariance @ h)
    np.testing.assert_allclose(model.mean_, expected, rtol=1e-9)


@pytest.mark.parametrize("update", ["second_order", "first_order", "newton"])
@pytest.mark.parametrize("covariance", ["shared", "full"])
def test_updates_accumulate(covariance, update):
    model = LaplaceClassifier(logistic(), covariance=covariance, update=update).fit(X[::5], Y[::5])
    whole, parts = copy.deepcopy(model), copy.deepcopy(model)
    whole.partial_fit(X[1:50:5], Y[1:50:5])
    for i in range(1, 50, 5):
        parts.partial_fit(X[i : i + 1], Y[i : i + 1])
    if update != "newton":
        np.testing.assert_allclose(parts.mean_, whole.mean_, rtol=1e-9)
        np.testing.assert_allclose(parts.covariance_, whole.covariance_, rtol=1e-9, atol=1e-15)
    else:  # not the same, since the curvature is that of another place; but near
        assert np.abs(parts.mean_ - whole.mean_).max() < 0.3
    assert np.abs(parts.mean_ - model.mean_).max() > 1e-6


def test_an_update_nearly_replaces_a_training():
    start, new, test = slice(0, 100), slice(100, 200), slice(1000, None)
    base = logistic().fit(DIGITS[start], DIGIT[start])
    again = logistic().fit(DIGITS[:200], DIGIT[:200]).score(DIGITS[test], DIGIT[test])
    for options in ({"update": "newton"}, {}):
        model = LaplaceClassifier(
            FrozenEstimator(base), likelihood="categorical", prior_precision=10.0, **options
        )
        model.fit(DIGITS[start], DIGIT[start]).partial_fit(DIGITS[new], DIGIT[new])
        assert model.score(DIGITS[test], DIGIT[test]) > again - 0.02
        assert model.score(DIGITS[test], DIGIT[test]) > base.score(DIGITS[test], DIGIT[test])


def test_auto_prior_precision():
    model = LaplaceClassifier(logistic(), prior_precision="auto", likelihood="categorical")
    found = model.fit(X, Y).prior_precision_
    assert 0.1 < found < 100
    other = LaplaceClassifier(logistic(), prior_precision=found, likelihood="categorical")
    np.testing.assert_allclose(model.covariance_, other.fit(X, Y).covariance_)


def test_samples():
    model = LaplaceClassifier(logistic()).fit(X, Y)
    drawn = model.sample(2000, random_state=0)
    assert drawn.shape == (2000, 3, 5)
    np.testing.assert_array_equal(drawn, model.sample(2000, random_state=0))
    np.testing.assert_allclose(drawn.mean(0), model.mean_, atol=0.1)
    np.testing.assert_allclose(np.cov(drawn[:, 1].T), model.covariance_, atol=0.1)
    assert not np.array_equal(model.sample(), model.sample())
    with pytest.raises(ValueError, match="n_samples=0"):
        model.sample(0)


# ---------------------------------------------------------------------------- predictions


def test_the_mean_field_is_less_certain_and_decides_alike():
    model = LaplaceClassifier(logistic(), prior_precision=0.1).fit(X, Y)
    plain = copy.deepcopy(model).set_params(prediction="plain")
    mean_field, certain = model.predict_proba(X), plain.predict_proba(X)
    assert (mean_field.max(1) < certain.max(1)).all()
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))
    sampled = copy.deepcopy(model).set_params(prediction="monte_carlo", n_samples=3000)
    np.testing.assert_allclose(sampled.predict_proba(X), mean_field, atol=0.1)
    np.testing.assert_array_equal(sampled.predict_proba(X), sampled.predict_proba(X))
    np.testing.assert_allclose(np.log(mean_field), model.predict_log_proba(X))


@pytest.mark.parametrize("prediction", ["mean_field", "monte_carlo", "plain"])
@pytest.mark.parametrize("covariance", ["shared", "full"])
def test_predictions_do_not_depend_on_the_batch(covariance, prediction):
    model = LaplaceClassifier(
        logistic(), covariance=covariance, prediction=prediction, random_state=0
    )
    model.fit(X[::3], Y[::3]).partial_fit(X[1:20], Y[1:20])
    whole = model.predict_proba(X)
    np.testing.assert_allclose(whole.sum(1), 1.0)
    rows = np.vstack([model.predict_proba(X[i : i + 1]) for i in range(0, 150, 10)])
    np.testing.assert_allclose(rows, whole[::10], rtol=1e-12)


def test_predictions_do_not_depend_on_the_batch_size_of_a_net():
    images, y = digits()
    net, found = make_net(CNN, classes=range(10)).fit(images[:200], y[:200]), []
    for size in (7, 200):
        net.set_params(batch_size=size)
        model = LaplaceClassifier(FrozenEstimator(net)).fit(images[:200], y[:200])
        found.append(model.partial_fit(images[200:220], y[200:220]).predict_proba(images[300:400]))
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def test_predictions_do_not_depend_on_the_threads():
    model = LaplaceClassifier(logistic()).fit(DIGITS[:200], DIGIT[:200])
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            twin = copy.deepcopy(model).partial_fit(DIGITS[200:260], DIGIT[200:260])
            found.append(twin.predict_proba(DIGITS[300:]))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)


# ---------------------------------------------------------------------------- classes


def test_classes_first_seen_in_an_update_are_learned():
    model = LaplaceClassifier(logistic(), update="newton").fit(X[Y != 1], Y[Y != 1])
    assert model.classes_.tolist() == [0, 2]
    model.partial_fit(X[Y == 1], Y[Y == 1])
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.mean_.shape == (3, 5)
    assert model.predict_proba(X).shape == (150, 3)
    assert model.score(X, Y) > 0.85


def test_the_first_partial_fit_fits_and_classes_announces():
    model = LaplaceClassifier(logistic()).partial_fit(X, Y, classes=[0, 1, 2, 7])
    assert model.classes_.tolist() == [0, 1, 2, 7]
    fitted = LaplaceClassifier(logistic()).fit(X, Y)
    np.testing.assert_array_equal(model.mean_[:3], fitted.mean_)
    assert not model.mean_[3].any()
    fitted.partial_fit(X[:1], Y[:1], classes=[0, 1, 2, 5])
    assert fitted.classes_.tolist() == [0, 1, 2, 5]
    for classes in (["a", "b"], [0.5, 1.0]):
        with pytest.raises(ValueError, match=r"same form|Unknown label type"):
            fitted.partial_fit(X[:1], Y[:1], classes=classes)


def test_a_net_may_announce_classes_that_are_not_labelled_yet():
    net = make_net(MLP, max_epochs=2, classes=range(3))
    data = X.astype(np.float32)
    model = LaplaceClassifier(net, random_state=0).fit(data[Y != 1], Y[Y != 1])
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.partial_fit(data[Y == 1], Y[Y == 1]).mean_.shape == (3, 6)


def test_labels_are_taken_in_any_form():
    names = np.array(["c", "a", "b"])[Y]
    model = LaplaceClassifier(logistic()).fit(X[::2], names[::2])
    assert model.partial_fit(X[1::2], names[1::2].tolist()).classes_.tolist() == ["a", "b", "c"]
    assert model.partial_fit(X[:2], np.array(["a", "z"], dtype=object)).classes_[-1] == "z"
    whole = LaplaceClassifier(logistic()).fit(X, Y).partial_fit(X[:3], Y[:3].astype(float))
    assert whole.classes_.dtype.kind == "i"
    truth = LaplaceClassifier(logistic()).fit(X, Y > 0)
    assert truth.partial_fit(X[:2], [True, False]).classes_.dtype == bool


# ---------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "rows, labels, message",
    [
        (X[:2] * np.nan, [0, 1], "NaN"),
        (X[:2, :3], [0, 1], "X has 3 features, but LaplaceClassifier is expecting 4"),
        (X[:2], [0, 1, 1], "inconsistent numbers of samples"),
        (X[:2], [0.5, 1.25], "Unknown label type"),
        (X[:2], ["a", "b"], "are string, but the classes .* numeric"),
        (X[:2], [None, 1], "Unknown label type"),
        (X[:0], [], "0 sample"),
        (X[0], [0], "Expected 2D array"),
    ],
)
@pytest.mark.parametrize("update", ["second_order", "newton"])
def test_bad_input_leaves_the_posterior_as_it_was(rows, labels, message, update):
    model = LaplaceClassifier(logistic(), update=update).fit(X, Y)
    before, posterior = dict(vars(model)), model.posterior_
    with pytest.raises((ValueError, TypeError), match=message):
        model.partial_fit(rows, labels)
    assert vars(model) == before
    assert model.posterior_ is posterior


@pytest.mark.parametrize("update", ["second_order", "newton"])
def test_rows_that_tell_nothing_change_nothing(update):
    model = LaplaceClassifier(LogisticRegression(fit_intercept=False), update=update).fit(X, Y)
    before = model.mean_
    np.testing.assert_array_equal(model.partial_fit(np.zeros((2, 4)), [0, 1]).mean_, before)


def test_labels_are_of_one_kind():
    model = LaplaceClassifier(logistic()).fit(X, Y > 0)
    with pytest.raises(ValueError, match=r"numeric, but the classes \[False, True\].* boolean"):
        model.partial_fit(X[:3], [2, 1, 1])


def test_new_classes_in_a_full_covariance_are_warned_of():
    model = LaplaceClassifier(logistic(), covariance="full").fit(X[Y != 1], Y[Y != 1])
    with pytest.warns(UserWarning, match="predicted nearly everywhere: fit afresh") as told:
        model.partial_fit(X[Y == 1][:1], [1])
    assert told[0].filename == __file__


def test_an_overflowing_update_is_refused():
    model = LaplaceClassifier(logistic(), update="first_order", gamma=1e300).fit(X, Y)
    posterior = model.posterior_
    with pytest.raises(ValueError, match="gamma=1e\\+300"):
        model.partial_fit(X * 1e8, Y)
    assert model.posterior_ is posterior


@pytest.mark.parametrize(
    "estimator, message",
    [
        (RandomForestClassifier(), "RandomForestClassifier is none that skbait knows"),
        (CalibratedClassifierCV(LogisticRegression()), "CalibratedClassifierCV"),
        (SGDClassifier(), "SGDClassifier"),
        (LogisticRegression, "pass an instance"),
    ],
)
def test_estimators_without_a_linear_head_are_named(estimator, message):
    model = LaplaceClassifier(estimator)
    with pytest.raises(TypeError, match=message):
        model.fit(X, Y)
    assert not hasattr(model, "estimator_")


@pytest.mark.parametrize("wrap", [
    lambda model: model,
    FrozenEstimator,
    lambda model: make_pipeline(StandardScaler(), model),
    lambda model: GridSearchCV(model, {"estimator__C": [1.0]}),
])  # fmt: skip
def test_a_decision_threshold_is_not_dropped(wrap):
    y = (Y > 0).astype(int)
    threshold = FixedThresholdClassifier(logistic(), threshold=0.9).fit(X, y)
    for model in (
        LaplaceClassifier(wrap(threshold)),
        ActiveLearner(wrap(threshold), MarginQuery(), update="laplace"),
    ):
        with pytest.raises(TypeError, match=r"threshold .* around LaplaceClassifier"):
            model.fit(X, y)
        assert not hasattr(model, "estimator_")
    around = FixedThresholdClassifier(LaplaceClassifier(logistic()), threshold=0.9).fit(X, y)
    p = around.estimator_.predict_proba(X)[:, 1]
    np.testing.assert_array_equal(around.predict(X), p >= 0.9)


def test_a_full_covariance_that_would_not_fit_is_refused():
    wide = np.random.default_rng(0).normal(size=(6, 7000))
    with pytest.raises(ValueError, match="covariance='full' of 21003 weights"):
        LaplaceClassifier(logistic(max_iter=5000), covariance="full").fit(wide, [0, 1, 2] * 2)


def test_a_failed_fit_leaves_a_fitted_classifier_as_it_was():
    model = LaplaceClassifier(logistic()).fit(X, Y)
    before = dict(vars(model))
    with pytest.raises(ValueError, match="class"):
        model.fit(X, np.zeros(len(X), dtype=int))
    assert vars(model) == before


# ---------------------------------------------------------------------------- in the house


def test_rows_of_any_kind():
    frame = pd.DataFrame(X, columns=list("abcd"))
    expected = LaplaceClassifier(logistic()).fit(X, Y).partial_fit(X[:9], Y[:9])
    framed = LaplaceClassifier(logistic()).fit(frame, Y).partial_fit(frame[:9], Y[:9])
    assert framed.feature_names_in_.tolist() == list("abcd")
    np.testing.assert_allclose(framed.predict_proba(frame), expected.predict_proba(X))
    scattered = sparse.csr_matrix(X)
    found = LaplaceClassifier(logistic()).fit(scattered, Y).partial_fit(scattered[:9], Y[:9])
    np.testing.assert_allclose(found.mean_, expected.mean_, atol=1e-3)
    tensor = LaplaceClassifier(make_net(MLP), random_state=0)
    tensor.fit(torch.as_tensor(X, dtype=torch.float32), torch.as_tensor(Y))
    assert tensor.predict(torch.as_tensor(X, dtype=torch.float32)).shape == (150,)


def test_represent_sees_the_posterior():
    model = LaplaceClassifier(logistic(), prediction="plain").fit(X[::2], Y[::2])
    model.partial_fit(X[1::2], Y[1::2])
    seen = represent(model, X)
    np.testing.assert_array_equal(seen.features, X)
    np.testing.assert_array_equal(seen.probabilities, model.predict_proba(X))
    np.testing.assert_allclose(seen.head.logits(seen.features), seen.logits)
    model.set_params(prediction="mean_field")
    seen = represent(model, X)
    np.testing.assert_array_equal(seen.probabilities, model.predict_proba(X))
    head = model._represent_features(seen.features).head
    np.testing.assert_array_equal(head.weight.cpu(), model.mean_[:, :4])


@pytest.mark.parametrize("strategy", [BaitQuery, MarginQuery])
def test_strategies_choose_by_it(strategy):
    model = LaplaceClassifier(logistic()).fit(DIGITS[:100], DIGIT[:100])
    query = strategy(FrozenEstimator(model), random_state=0).fit(DIGITS[:100], DIGIT[:100])
    chosen = query.query(DIGITS[100:600], 7)
    assert len(set(chosen.tolist())) == 7
    assert len(strategy(LaplaceClassifier(logistic())).fit(X, Y).query(X, 3)) == 3


def test_updates_on_features_that_are_at_hand():
    """What a learner does that keeps the features of its pool."""
    images, y = digits()
    model = LaplaceClassifier(make_net(CNN, classes=range(10)), random_state=0)
    model.fit(images[:200], y[:200])
    features = represent(model, images[200:260]).features
    quick = copy.copy(model)._partial_fit_features(features, y[200:260])
    slow = copy.copy(model).partial_fit(images[200:260], y[200:260])
    np.testing.assert_allclose(quick.mean_, slow.mean_, atol=1e-12)
    assert quick.posterior_ is not model.posterior_
    np.testing.assert_allclose(
        quick._represent_features(features).probabilities, slow.predict_proba(images[200:260])
    )


def test_remembered_features_are_computed_once():
    images, y = digits()
    model = LaplaceClassifier(make_net(CNN, classes=range(10)), random_state=0)
    model.fit(images[:100], y[:100]).remember_features()
    before = model.predict_proba(images[100:160])
    passes = []
    handle = model.estimator_.module_.register_forward_hook(lambda *_: passes.append(1))
    try:
        twin = copy.copy(model).partial_fit(images[120:130], y[120:130])
        after = twin.predict_proba(images[100:160])
    finally:
        handle.remove()
    assert not passes
    assert not np.allclose(before, after)
    np.testing.assert_array_equal(model.predict_proba(images[100:160]), before)


def test_it_can_be_cloned_pickled_searched_and_cross_validated():
    model = LaplaceClassifier(logistic(), gamma=2.0, random_state=0).fit(X, Y).partial_fit(X, Y)
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(
        twin.partial_fit(X[:5], Y[:5]).mean_, model.partial_fit(X[:5], Y[:5]).mean_
    )
    assert not hasattr(clone(model), "posterior_")
    grid = {"estimator__C": [0.1, 1.0], "likelihood": ["gaussian", "categorical"]}
    search = GridSearchCV(LaplaceClassifier(logistic()), grid, cv=2, scoring="neg_log_loss")
    assert search.fit(X, Y).best_score_ > -0.7
    assert cross_val_score(make_pipeline(PCA(2), model), X, Y, cv=3).mean() > 0.8


def test_the_same_seed_gives_the_same_network():
    images, y = digits()
    means = [
        LaplaceClassifier(make_net(CNN, classes=range(10)), random_state=3)
        .fit(images[:100], y[:100])
        .mean_
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*means)


def test_global_random_states_are_left_alone():
    images, y = digits()
    model = LaplaceClassifier(make_net(CNN, classes=range(10)), prediction="monte_carlo")
    states = np.random.get_state()[1].copy(), torch.get_rng_state()
    model.fit(images[:100], y[:100]).partial_fit(images[100:110], y[100:110])
    model.predict_proba(images[:50])
    model.sample(3)
    np.testing.assert_array_equal(np.random.get_state()[1], states[0])
    assert torch.equal(torch.get_rng_state(), states[1])


@pytest.mark.parametrize(
    ("name", "value"), [("update", "none"), ("prediction", "montecarlo"), ("n_samples", 0)]
)
def test_parameters_set_after_the_fit_are_checked(name, value):
    X, y = load_iris(return_X_y=True)
    model = LaplaceClassifier(LogisticRegression(max_iter=1000)).fit(X, y)
    model.set_params(**{name: value})
    for use in (lambda: model.partial_fit(X, y), lambda: model.predict_proba(X)):
        with pytest.raises(ValueError, match=f"'{name}' parameter of LaplaceClassifier"):
            use()


def test_another_layer_than_that_of_the_posterior_is_refused():
    """Its features, of the same width here, would go with weights that are not theirs."""
    X, y = load_iris(return_X_y=True)
    X = X.astype(np.float32)

    class Three(nn.Sequential):
        def __init__(self):
            super().__init__(
                nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3)
            )

    net = make_net(Three, criterion=nn.CrossEntropyLoss, max_epochs=1)
    model = LaplaceClassifier(net, random_state=0).fit(X, y)
    torch.testing.assert_close(
        represent(model, X, last_layer="4").probabilities, represent(model, X).probabilities
    )
    with pytest.raises(ValueError, match="last_layer='2' is not the layer"):
        represent(model, X, last_layer="2")
    learner = ActiveLearner(net, BaitQuery(last_layer="4"), update="laplace").fit(X, y)
    assert learner.estimator_.last_layer == "4"
    assert len(learner.query(X, 3)) == 3
    own = BaitQuery(net, last_layer="2")  # of a model of its own: that is not for the learner's
    assert ActiveLearner(net, own, update="laplace").fit(X, y).estimator_.last_layer is None


def test_the_layer_of_a_net_that_goes_on_dropping_out_is_known():
    X, y = load_iris(return_X_y=True)

    class Drops(MLP):
        def forward(self, x):
            return self.head(nn.functional.dropout(self.body(x), training=True))

    X = X.astype(np.float32)
    model = LaplaceClassifier(make_net(Drops), random_state=0).fit(X, y)
    assert represent(model, X, last_layer="head").probabilities.shape == (150, 3)


def test_the_threshold_of_a_binary_net_is_not_dropped():
    X, y = load_iris(return_X_y=True)
    net = NeuralNetBinaryClassifier(OneLogit, train_split=None, verbose=0)
    assert LaplaceClassifier(net).fit(X.astype(np.float32), y > 0).classes_.tolist() == [0, 1]
    with pytest.raises(TypeError, match="drop the decision threshold of NeuralNetBinary"):
        LaplaceClassifier(net.set_params(threshold=0.9)).fit(X.astype(np.float32), y > 0)
    search = GridSearchCV(net.set_params(threshold=0.5), {"threshold": [0.9]}, cv=2)
    with pytest.raises(TypeError, match="drop the decision threshold"):
        LaplaceClassifier(search).fit(X.astype(np.float32), (y > 0).astype(int))


def rare(seed=0, n=600):
    """Rows of which a tenth are of the second class."""
    rng = np.random.RandomState(seed)
    y = (rng.uniform(size=n) < 0.1).astype(int)
    return (rng.normal(size=(n, 4)) + 1.2 * y[:, None]).astype(np.float32), y


class LinearNet(nn.Sequential):
    def __init__(self, n_outputs=2):
        super().__init__(nn.Linear(4, n_outputs))


QUICK = {"optimizer": torch.optim.Adam, "lr": 0.1, "max_epochs": 20, "verbose": 0}


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (LogisticRegression(), None),
        (LogisticRegression(class_weight={1: 5}), {1: 5.0}),
        (make_pipeline(StandardScaler(), LogisticRegression(class_weight={0: 2})), {0: 2.0}),
        (FrozenEstimator(LogisticRegression(class_weight={1: 5}).fit(*rare())), {1: 5.0}),
        (
            GridSearchCV(LogisticRegression(), {"class_weight": [{1: 4}]}, cv=2),
            {1: 4.0},
        ),
        (
            NeuralNetClassifier(
                LinearNet,
                criterion=nn.CrossEntropyLoss,
                criterion__weight=torch.tensor([0.5, 3.0]),
                train_split=None,
                **QUICK,
            ),
            {0: 0.5, 1: 3.0},
        ),
        (
            NeuralNetBinaryClassifier(
                LinearNet,
                module__n_outputs=1,
                criterion__pos_weight=torch.tensor([7.0]),
                train_split=None,
                **QUICK,
            ),
            {0: 1.0, 1: 7.0},
        ),
    ],
)
def test_the_weights_of_classes_are_those_of_the_training(estimator, expected):
    X, y = rare()
    model = LaplaceClassifier(estimator).fit(X, y)
    assert model.class_weight_ == expected
    names = np.array(["common", "rare"])[y]
    if not isinstance(estimator, FrozenEstimator) and expected and 0 in expected and 1 in expected:
        named = LaplaceClassifier(estimator).fit(X, names).class_weight_
        assert named == {"common": expected[0], "rare": expected[1]}


def test_balanced_classes_weigh_as_in_the_training():
    X, y = rare()
    model = LaplaceClassifier(LogisticRegression(class_weight="balanced"), update="newton")
    model.fit(X[:200], y[:200])
    counts = np.bincount(y[:200])
    assert model.class_weight_ == pytest.approx({0: 100 / counts[0], 1: 100 / counts[1]})
    weights = np.array([model.class_weight_[label] for label in y[:200]])
    alike = LaplaceClassifier(LogisticRegression()).fit(X[:200], y[:200], sample_weight=weights)
    torch.testing.assert_close(
        model.posterior_.precision, alike.posterior_.precision, rtol=1e-6, atol=1e-6
    )
    both = LaplaceClassifier(LogisticRegression(class_weight={1: 3})).fit(
        X[:200], y[:200], sample_weight=np.full(200, 2.0)
    )
    once = LaplaceClassifier(LogisticRegression()).fit(
        X[:200], y[:200], sample_weight=np.where(y[:200] == 1, 6.0, 2.0)
    )
    torch.testing.assert_close(both.posterior_.precision, once.posterior_.precision)


@pytest.mark.parametrize("update", ["newton", "second_order", "first_order"])
def test_updates_do_not_lose_a_rare_class_that_weighs_more(update):
    X, y = rare(n=3000)
    model = LaplaceClassifier(
        LogisticRegression(class_weight="balanced"),
        update=update,
        likelihood="categorical",
        prior_precision="auto",
    ).fit(X[:300], y[:300])
    before = (model.predict(X[2000:]) == y[2000:])[y[2000:] == 1].mean()
    model.partial_fit(X[300:2000], y[300:2000])
    after = (model.predict(X[2000:]) == y[2000:])[y[2000:] == 1].mean()
    assert min(before, after) > 0.7


def test_a_learner_keeps_to_the_weights_of_classes():
    X, y = rare(n=3000)
    recalls = []
    for update in ("refit", "laplace"):
        learner = ActiveLearner(
            LogisticRegression(class_weight="balanced"),
            MarginQuery(),
            initial=200,
            budget=500,
            batch_size=50,
            update=update,
            random_state=0,
        ).fit(X[:2000], y[:2000])
        recalls.append((learner.predict(X[2000:]) == y[2000:])[y[2000:] == 1].mean())
    assert min(recalls) > 0.7, recalls
