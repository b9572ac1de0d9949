# SPDX-License-Identifier: BSD-3-Clause
"""Calibration errors, the best temperature, and its cross-validation on labelled rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from skbait.numerics.temperature import best_temperature, expected_calibration_error
from skbait.strategies import _temperature as cv
from skbait.strategies._temperature import (
    N_FOLDS,
    TEMPERATURES,
    cross_validated_temperature,
    rows_by_class,
    with_two_columns,
)


def error_by_loops(logits, labels, n_bins):
    """The definition, bin by bin."""
    p = torch.softmax(logits.double(), dim=1).numpy()
    total = 0.0
    for b in range(n_bins):
        inside = [
            i
            for i in range(len(p))
            if b / n_bins < p[i].max() <= (b + 1) / n_bins or (b == 0 and p[i].max() == 0)
        ]
        if inside:
            accuracy = np.mean([p[i].argmax() == labels[i] for i in inside])
            confidence = np.mean([p[i].max() for i in inside])
            total += len(inside) / len(p) * abs(accuracy - confidence)
    return total


@given(st.integers(1, 40), st.integers(2, 5), st.integers(1, 20), st.integers(0, 10**6))
def test_error_is_the_definition(n_rows, n_classes, n_bins, seed):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(scale=3, size=(n_rows, n_classes)))
    labels = torch.from_numpy(rng.integers(n_classes, size=n_rows))
    expected = error_by_loops(logits, labels, n_bins)
    assert expected_calibration_error(logits, labels, n_bins) == pytest.approx(expected, abs=1e-12)
    assert expected_calibration_error(logits.float(), labels, n_bins) == pytest.approx(
        error_by_loops(logits.float(), labels, n_bins), abs=1e-12
    )


def test_errors_by_hand():
    certain = torch.tensor([[50.0, 0.0], [50.0, 0.0]])
    assert expected_calibration_error(certain, torch.tensor([0, 0])) == pytest.approx(0, abs=1e-12)
    assert expected_calibration_error(certain, torch.tensor([1, 1])) == pytest.approx(1)
    assert expected_calibration_error(certain, torch.tensor([0, 1])) == pytest.approx(0.5)
    undecided = torch.zeros(4, 2)  # a confidence of 1/2, on the edge of two bins of four
    assert expected_calibration_error(undecided, torch.tensor([0, 1, 0, 1]), 4) == 0
    # in one bin errors of opposite sign cancel, in two they do not
    logits = torch.tensor([[1.0, 0.0], [4.0, 0.0]])
    one, two = (expected_calibration_error(logits, torch.tensor([0, 1]), b) for b in (1, 4))
    assert one < two


def test_best_temperature_undoes_a_scale(rng):
    logits = torch.from_numpy(rng.normal(scale=1.5, size=(5_000, 4)))
    p = torch.softmax(logits, dim=1).numpy()
    labels = torch.from_numpy((p.cumsum(axis=1) < rng.uniform(size=(len(p), 1))).sum(axis=1))
    for scale in (1.0, 2.0, 7.0):
        found = best_temperature(scale * logits, labels, TEMPERATURES)
        assert found == pytest.approx(scale, rel=0.1)


def test_the_first_of_equal_temperatures():
    logits, labels = torch.zeros(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    assert best_temperature(logits, labels, [3.0, 1.0, 2.0]) == 3.0
    assert best_temperature(logits, labels, iter([5.0])) == 5.0


def test_two_columns():
    z = torch.tensor([[-2.0], [0.5]])
    torch.testing.assert_close(
        torch.softmax(with_two_columns(z), 1)[:, 1:], torch.sigmoid(z.double())
    )
    assert with_two_columns(torch.zeros(3, 4)).shape == (3, 4)


# ------------------------------------------------------------------- cross-validation


def test_rows_by_class():
    rows, codes = rows_by_class(np.array(["b", "a", "b", "c", "a", "b"]))
    np.testing.assert_array_equal(rows, [0, 2, 5, 1, 4])  # "c" is alone
    np.testing.assert_array_equal(codes, [0, 0, 0, 1, 1])
    for alone in (np.array([3, 1, 2]), np.array([], dtype=int)):
        assert len(rows_by_class(alone)[0]) == 0


@given(st.lists(st.integers(0, 6), max_size=60))
def test_every_class_is_known_in_every_fold(labels):
    rows, codes = rows_by_class(np.array(labels, dtype=int))
    for fold in range(N_FOLDS):
        held_out = np.arange(len(rows)) % N_FOLDS == fold
        assert set(codes[held_out]) <= set(codes[~held_out])
    counts = np.bincount(labels) if labels else np.array([])
    assert len(rows) == counts[counts > 1].sum()


def noisy_data(n):
    """Return classes that overlap, in enough dimensions to be learned by heart: train, test."""
    X, y = make_blobs(n, 40, centers=3, cluster_std=4.0, center_box=(-1, 1), random_state=0)
    return X[: n // 2], y[: n // 2], X[n // 2 :], y[n // 2 :]


def temperature_of(model, X, y):
    p = torch.from_numpy(model.fit(X, y).predict_proba(X))
    return cross_validated_temperature(torch.from_numpy(X), y, p)


def test_overconfident_models_are_cooled_down():
    X, y, X_test, y_test = noisy_data(400)
    confident = LogisticRegression(C=1e3, max_iter=2000)
    cautious = LogisticRegression(C=1e-4)
    found = temperature_of(confident, X, y)
    assert found > 3
    assert temperature_of(cautious, X, y) == 1
    logits, labels = torch.from_numpy(confident.decision_function(X_test)), torch.tensor(y_test)
    before, after = (expected_calibration_error(logits / t, labels) for t in (1, found))
    assert after < 0.5 * before


def test_it_is_near_that_of_the_model_trained_on_the_folds():
    X, y, *_ = noisy_data(400)
    rows, codes = rows_by_class(y)
    for strength in (0.1, 10.0):
        model = LogisticRegression(C=strength, max_iter=5000)
        folds = PredefinedSplit(np.arange(len(rows)) % N_FOLDS)
        logits = cross_val_predict(model, X[rows], codes, cv=folds, method="decision_function")
        expected = best_temperature(torch.tensor(logits), torch.tensor(codes), TEMPERATURES)
        assert temperature_of(model, X, y) == pytest.approx(expected, rel=0.5)


def test_too_few_labels():
    X, y, *_ = noisy_data(400)
    model = LogisticRegression(C=1e3, max_iter=2000)
    few = [np.flatnonzero(y == label)[:3] for label in range(3)]
    assert temperature_of(model, X[np.concatenate(few)], y[np.concatenate(few)]) == 1
    p = torch.full((40, 3), 1 / 3)
    features = torch.from_numpy(X[:40])
    assert cross_validated_temperature(features, np.zeros(40, dtype=int), p) == 1
    assert cross_validated_temperature(features, np.arange(40), p) == 1
    assert cross_validated_temperature(features, np.r_[np.zeros(39), 1], p) == 1
    assert cross_validated_temperature(features[:0], y[:0], p[:0]) == 1


def test_names_order_and_scale_do_not_matter():
    X, y, *_ = noisy_data(300)
    model = LogisticRegression(C=1e3, max_iter=2000).fit(X, y)
    p = torch.from_numpy(model.predict_proba(X))
    features = torch.from_numpy(X)
    expected = cross_validated_temperature(features, y, p)
    for labels in (2 - y, np.array(["x", "b", "m"])[y], np.array([5.5, -1, 0])[y]):
        assert cross_validated_temperature(features, labels, p) == expected
    assert cross_validated_temperature(1e3 * features, y, p) == expected
    found = cross_validated_temperature(features.float(), y, p.float())
    assert found == pytest.approx(expected, rel=0.05)
    assert cross_validated_temperature(features, y, p[:, [2, 0, 1]]) == expected


@pytest.mark.parametrize("kind", ["two classes", "duplicates", "zeros", "certain", "one feature"])
def test_nasty_rows(kind):
    X, y, *_ = noisy_data(120)
    p = torch.softmax(torch.from_numpy(X[:, :3]), dim=1)
    if kind == "two classes":
        y = y % 2
    elif kind == "duplicates":
        X = np.repeat(X[:6], 10, axis=0)
    elif kind == "zeros":
        X = np.zeros_like(X)
    elif kind == "certain":
        p = torch.eye(3)[y].double()
    elif kind == "one feature":
        X = X[:, :1]
    assert cross_validated_temperature(torch.from_numpy(X), y, p) in TEMPERATURES


def test_many_rows_are_thinned_out(monkeypatch):
    X, y, *_ = noisy_data(400)
    fitted = []

    class Counting(LogisticRegression):
        def fit(self, X, y):
            fitted.append(len(X))
            return super().fit(X, y)

    monkeypatch.setattr(cv, "LogisticRegression", Counting)
    monkeypatch.setattr(cv, "MOST_ROWS", 60)
    assert temperature_of(LogisticRegression(C=1e3, max_iter=2000), X, y) in TEMPERATURES
    assert max(fitted) == 60
