# SPDX-License-Identifier: BSD-3-Clause
"""The linear head: it gives the probabilities of the model, or there is none."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from skbait.representation import Head, can_give_head, represent, rows_as_features
from skbait.strategies import BaseQuery


@pytest.fixture
def rows(seed):
    rng = np.random.RandomState(seed)
    y = np.arange(60) % 3
    return rng.normal(size=(60, 5)) + y[:, None], y


MODELS = [
    LogisticRegression(),
    LogisticRegression(fit_intercept=False),
    SGDClassifier(loss="log_loss", random_state=0),
    LinearDiscriminantAnalysis(),
    MLPClassifier((7,), max_iter=5, random_state=0),
    make_pipeline(StandardScaler(), LogisticRegression()),
]


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_head_gives_the_probabilities_of_the_model(rows, model, n_classes):
    X, y = rows
    seen = represent(model.fit(X, np.minimum(y, n_classes - 1)), X)
    assert seen.head.n_classes == n_classes
    torch.testing.assert_close(seen.head.probabilities(seen.features), seen.probabilities)
    torch.testing.assert_close(seen.head.logits(seen.features), seen.logits)
    assert can_give_head(model)
    assert represent(FrozenEstimator(model), X).head.link == seen.head.link


@pytest.mark.parametrize("bias", [True, False])
def test_head_of_a_net(rows, bias):
    X, y = rows
    module = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3, bias=bias))
    net = NeuralNetClassifier(module, criterion=nn.CrossEntropyLoss, max_epochs=1, verbose=0)
    X = X.astype(np.float32)
    seen = represent(net.fit(X, y), X)
    torch.testing.assert_close(seen.head.probabilities(seen.features), seen.probabilities)
    before = seen.head.weight.clone()
    net.partial_fit(X, y)
    assert torch.equal(seen.head.weight, before), "training goes on without the head"


class Tempered(nn.Module):
    """Divides its logits by a temperature."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, X):
        return torch.softmax(self.linear(X) / 5, dim=1)


def test_no_head_where_probabilities_come_about_otherwise(rows):
    X, y = rows
    calibrated = CalibratedClassifierCV(LogisticRegression(), cv=3)
    assert not can_give_head(calibrated)
    assert not can_give_head(make_pipeline(StandardScaler(), calibrated))
    assert represent(calibrated.fit(X, y), X).head is None
    huber = SGDClassifier(loss="modified_huber", random_state=0).fit(X, y)
    assert represent(huber, X).head is None
    net = NeuralNetClassifier(Tempered, max_epochs=1, verbose=0)
    assert represent(net.fit(X.astype(np.float32), y), X.astype(np.float32)).head is None


class HeadQuery(BaseQuery):
    """Reads the head and chooses the first rows."""

    _needs = frozenset({"features", "head"})

    def _select(self, view, n):
        assert view.head.weight.shape[1] == view.pool.features.shape[1]
        return np.arange(n), None


def test_a_missing_head_is_named_before_or_after_the_fit(rows):
    X, y = rows
    calibrated = CalibratedClassifierCV(LogisticRegression(), cv=3)
    with pytest.raises(TypeError, match=r"Sampling needs a linear head.*CalibratedClassifierCV"):
        type("Sampling", (HeadQuery,), {"_needs": frozenset({"features", "samples"})})(
            calibrated
        ).fit(X, y)
    with pytest.raises(TypeError, match=r"HeadQuery needs a linear head.*CalibratedClassifierCV"):
        HeadQuery(calibrated).fit(X, y)
    huber = HeadQuery(SGDClassifier(loss="modified_huber", random_state=0)).fit(X, y)
    with pytest.raises(TypeError, match=r"linear head.*SGDClassifier"):
        huber.query(X, 2)
    frozen = HeadQuery(FrozenEstimator(huber.estimator_)).fit(X, y)
    with pytest.raises(TypeError, match=r"linear head.*SGDClassifier"):
        frozen.query(X, 2)
    assert HeadQuery().fit(X, y).query(X, 2).tolist() == [0, 1]


@pytest.mark.parametrize(
    "weight, bias, link, words",
    [
        (np.ones((3, 2)), np.ones(2), "softmax", r"bias of a head with 3 logits.*\(2,\)"),
        (np.ones(3), np.ones(3), "softmax", "weight"),
        (np.ones((1, 2)), np.ones(1), "softmax", "link='softmax' does not go with 1"),
        (np.ones((3, 2)), np.ones(3), "probit", "link='probit'"),
    ],
)
def test_bad_heads(weight, bias, link, words):
    with pytest.raises(ValueError, match=words):
        Head(weight, bias, link)


def test_one_against_rest_far_from_every_class():
    head = Head(np.eye(3), np.full(3, -1e4), "ovr")
    assert torch.equal(head.probabilities(torch.zeros(2, 3)), torch.full((2, 3), 1 / 3))


def test_rows_as_features():
    images = np.zeros((4, 3, 2, 2), dtype=np.float32)
    assert rows_as_features(images).shape == (4, 12)
    assert rows_as_features(torch.zeros(4, 2, dtype=torch.float64)).dtype == torch.float64
    with pytest.raises(TypeError, match=r"X is a dict.*pass an estimator"):
        rows_as_features({"a": np.zeros((4, 2))})
    with pytest.raises(TypeError, match="as numbers"):
        rows_as_features(np.array([["a"], ["b"]]))


def test_rows_of_data_frames_as_features():
    values = np.arange(12.0).reshape(4, 3)
    frame = pd.DataFrame(values, columns=list("abc")).assign(d=[True, False, True, True])
    expected = np.column_stack([values, [1, 0, 1, 1]])
    for same in (frame, frame.convert_dtypes(), frame.astype({"a": np.float32, "b": "int8"})):
        found = rows_as_features(same)
        assert found.dtype == torch.float64
        np.testing.assert_array_equal(found, expected)
    sparse_frame = pd.DataFrame.sparse.from_spmatrix(sparse.csr_matrix(values))
    np.testing.assert_array_equal(rows_as_features(sparse_frame), values)
    assert rows_as_features(frame[["a"]].astype(np.float32)).dtype == torch.float32
    assert rows_as_features(frame["a"]).shape == (4, 1)
    frame["word"] = ["x", "y", "z", "x"]
    with pytest.raises(TypeError, match=r"cannot be used as features.*'x'.*encode them"):
        rows_as_features(frame)


def test_numbers_longer_than_float64_become_float64():
    found = rows_as_features(np.array([[1.5, 2], [3, 4]], dtype=np.longdouble))
    assert found.dtype == torch.float64
    np.testing.assert_array_equal(found, [[1.5, 2], [3, 4]])
