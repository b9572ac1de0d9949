# SPDX-License-Identifier: BSD-3-Clause
"""TemperatureClassifier: from few labels on, for any classifier, without changing a decision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from on_cpu import represent
from representation_nets import CNN, digits, make_net
from scipy import sparse
from sklearn import config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    FixedThresholdClassifier,
    TunedThresholdClassifierCV,
    cross_val_score,
)
from sklearn.neural_network import MLPClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch.utils.data import TensorDataset

from skbait import ActiveLearner, BaitQuery
from skbait.laplace import LaplaceClassifier, TemperatureClassifier

X, Y = load_digits(return_X_y=True)
X = X / 16
TEST = slice(1000, None)


def logistic(C=0.1):
    return LogisticRegression(C=C, max_iter=1000)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([TemperatureClassifier(), TemperatureClassifier(cv=3, random_state=0)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("n_labels", [60, 200])
@pytest.mark.parametrize("C", [0.1, 1e3])
def test_it_mends_probabilities_and_keeps_decisions(C, n_labels):
    own = logistic(C).fit(X[:n_labels], Y[:n_labels])
    model = TemperatureClassifier(logistic(C), random_state=0).fit(X[:n_labels], Y[:n_labels])
    np.testing.assert_array_equal(model.predict(X[TEST]), own.predict(X[TEST]))
    before = log_loss(Y[TEST], own.predict_proba(X[TEST]))
    after = log_loss(Y[TEST], model.predict_proba(X[TEST]))
    assert after < before - 0.05
    assert (model.temperature_ < 1) == (C < 1)
    np.testing.assert_allclose(
        model.predict_proba(X[TEST]),
        _softmax(own.decision_function(X[TEST]) / model.temperature_),
        atol=1e-12,
    )


def _softmax(z):
    return torch.softmax(torch.as_tensor(z), 1).numpy()


def test_with_many_labels_it_agrees_with_scikit_learn():
    data, y = make_classification(600, n_informative=8, n_classes=3, random_state=0)
    own = logistic(100.0).fit(data[:200], y[:200])
    model = TemperatureClassifier(FrozenEstimator(own)).fit(data[200:], y[200:])
    theirs = CalibratedClassifierCV(FrozenEstimator(own), method="temperature", ensemble=False)
    theirs.fit(data[200:], y[200:])
    beta = theirs.calibrated_classifiers_[0].calibrators[0].beta_
    assert model.temperature_ == pytest.approx(1 / beta, rel=0.02)


def test_it_serves_where_scikit_learn_refuses():
    with pytest.raises(ValueError, match="class"):
        CalibratedClassifierCV(logistic(), method="temperature").fit(X[:20], Y[:20])
    assert TemperatureClassifier(logistic()).fit(X[:20], Y[:20]).temperature_ > 0
    # one row a class: every held-out row is of a class that the others do not have
    assert TemperatureClassifier(logistic()).fit(X[:10], Y[:10]).temperature_ == pytest.approx(1)
    assert TemperatureClassifier(logistic()).fit(X[:2], Y[:2]).temperature_ == pytest.approx(1)


def test_a_few_rows_that_are_right_do_not_make_it_certain():
    own = logistic(1.0).fit(X, Y)
    model = TemperatureClassifier(FrozenEstimator(own)).fit(X[:3], Y[:3])
    assert 0.2 < model.temperature_ < 1


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(20, random_state=0),
        SGDClassifier(loss="log_loss", random_state=0),
        LaplaceClassifier(logistic()),
    ],
)
def test_any_classifier_with_probabilities(estimator):
    model = TemperatureClassifier(estimator, random_state=0).fit(X[:100], Y[:100])
    p = model.predict_proba(X[TEST])
    assert np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(1), 1)
    before = model.estimator_.predict_proba(X[TEST])
    assert log_loss(Y[TEST], p) < log_loss(Y[TEST], before)


def test_networks_with_named_labels_and_the_same_seed():
    images, numbers = digits()
    names = np.array([f"digit {k}" for k in numbers])
    found = [
        TemperatureClassifier(make_net(CNN, max_epochs=1), cv=2, random_state=0).fit(
            images[:60], names[:60]
        )
        for _ in range(2)
    ]
    assert found[0].temperature_ == found[1].temperature_
    assert found[0].classes_.tolist() == [f"digit {k}" for k in range(10)]
    model, read_only = found[0], images[60:90].copy()
    read_only.flags.writeable = False
    expected = model.classes_[model.predict_proba(read_only).argmax(1)]
    for kind in (lambda X: X, torch.from_numpy, lambda X: TensorDataset(torch.tensor(X))):
        np.testing.assert_array_equal(model.predict(kind(read_only)), expected)


def test_the_seed_of_the_estimator_stays_where_none_is_given():
    own = MLPClassifier((4,), max_iter=20, tol=1.0, random_state=0)
    first, second = (TemperatureClassifier(own).fit(X[:60], Y[:60]).estimator_ for _ in range(2))
    np.testing.assert_array_equal(first.coefs_[0], second.coefs_[0])
    np.testing.assert_array_equal(first.coefs_[0], own.fit(X[:60], Y[:60]).coefs_[0])
    seeded = TemperatureClassifier(own, random_state=1).fit(X[:60], Y[:60]).estimator_
    assert not np.array_equal(first.coefs_[0], seeded.coefs_[0])


def test_bad_input_leaves_it_as_it_was():
    model = TemperatureClassifier(logistic()).fit(X[:50], Y[:50])
    before = dict(vars(model))
    for rows, labels in ((X[:5] * np.nan, Y[:5]), (X[:5], Y[:4]), (X[:5], [0.5] * 5)):
        with pytest.raises(ValueError, match=r"NaN|inconsistent|Unknown label"):
            model.fit(rows, labels)
        assert vars(model) == before


def test_rows_in_the_wrong_dtype_are_named():
    images, y = digits()
    fitted = TemperatureClassifier(make_net(CNN), random_state=0).fit(images[:100], y[:100])
    for method in (fitted.predict, fitted.predict_proba):
        with pytest.raises(ValueError, match=r"X is float64.*pass X.astype\(np.float32\)"):
            method(images[:5].astype(np.float64))


def test_decision_thresholds_are_kept():
    binary = (Y > 4).astype(int)
    for wrapped in (
        FixedThresholdClassifier(logistic(), threshold=0.9),
        TunedThresholdClassifierCV(logistic(), scoring="f1", cv=2, random_state=0),
    ):
        model = TemperatureClassifier(wrapped, random_state=0).fit(X[:100], binary[:100])
        expected = model.estimator_.predict(X[TEST])
        assert (expected != model.predict_proba(X[TEST]).argmax(1)).any()
        for kind in (np.asarray, torch.from_numpy, sparse.csr_array, np.ndarray.tolist):
            np.testing.assert_array_equal(model.predict(kind(X[TEST])), expected)


def test_represent_scales_the_head():
    model = TemperatureClassifier(logistic(), random_state=0).fit(X[:100], Y[:100])
    seen = represent(model, X[TEST])
    np.testing.assert_allclose(seen.probabilities, model.predict_proba(X[TEST]))
    np.testing.assert_allclose(seen.head.probabilities(seen.features), seen.probabilities)
    query = BaitQuery(FrozenEstimator(model)).fit(X[:100], Y[:100])
    assert len(query.query(X[TEST], 4)) == 4
    model.set_params(estimator=SGDClassifier(loss="log_loss", random_state=0)).fit(X, Y)
    assert represent(model, X).head is None


def test_arguments_of_fit_go_to_the_estimator_cut_to_the_folds():
    class Checks(LogisticRegression):
        def fit(self, X, y, sample_weight=None):
            np.testing.assert_array_equal(sample_weight, 1.0 + y)
            return super().fit(X, y, sample_weight)

    model = TemperatureClassifier(Checks(), random_state=0)
    model.fit(X[:100], Y[:100], sample_weight=1.0 + Y[:100])
    learner = ActiveLearner(TemperatureClassifier(Checks()))
    learner.fit(X[:100], Y[:100], sample_weight=1.0 + Y[:100])
    with config_context(enable_metadata_routing=True):
        model = TemperatureClassifier(Checks().set_fit_request(sample_weight=True))
        model.set_score_request(sample_weight=True)
        scores = cross_val_score(model, X[:100], Y[:100], params={"sample_weight": 1.0 + Y[:100]})
        assert np.isfinite(scores).all()


def test_the_deepest_of_two_valleys_is_found():
    """Tiny logits that are right: T = 0.01 is far better than the valley at T = 0.7."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(60, 1))
    X = X[abs(X[:, 0]) > 0.3]
    y = (X[:, 0] > 0).astype(int)
    model = LogisticRegression().fit(X, y)
    model.coef_[:], model.intercept_[:] = 0.01, 0.0
    tempered = TemperatureClassifier(FrozenEstimator(model)).fit(X, y)
    assert tempered.temperature_ == pytest.approx(0.01, rel=1e-3)
    np.testing.assert_allclose(
        np.exp(tempered.predict_log_proba(X)), tempered.predict_proba(X), rtol=1e-12
    )
