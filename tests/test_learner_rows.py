# SPDX-License-Identifier: BSD-3-Clause
"""A learner hands its estimator the same rows to train on and to predict, whatever they are."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest
import torch
from representation_nets import make_net
from sklearn.ensemble import HistGradientBoostingClassifier, StackingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from torch import nn
from torch.utils.data import TensorDataset

from skbait import ActiveLearner, BaitQuery, MarginQuery

Y = np.array([int(i % 3 == 1) for i in range(60)])
MIXED = [["AB"[i % 2], i % 3] for i in range(60)]
TOKENS = [["good", "film"], ["bad"], ["good"], ["bad", "film", "really"]] * 15
SENTIMENT = [1, 0, 1, 0] * 15


def encoded():
    return make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())


@pytest.mark.parametrize("update", ["refit", "laplace"])
@pytest.mark.parametrize(
    "convert", [list, lambda rows: np.array(rows, dtype=object), pd.DataFrame]
)
def test_strings_beside_numbers(convert, update):
    rows = convert(MIXED)
    learner = ActiveLearner(encoded(), MarginQuery(), update=update)
    learner.fit(rows, Y, X_val=rows, y_val=Y)
    assert learner.history_["score"] == [1.0]
    assert learner.score(rows, Y) == 1.0
    np.testing.assert_array_equal(learner.predict(rows), Y)
    assert len(learner.query(rows, 3)) == 3
    learner.teach(convert(MIXED[:2]), Y[:2])
    assert learner.score(rows, Y) == 1.0


def test_objects_and_lists_of_them_are_joined():
    learner = ActiveLearner(encoded(), MarginQuery()).fit(np.array(MIXED, dtype=object), Y)
    learner.teach(MIXED[:2], Y[:2])
    assert learner.score(MIXED, Y) == 1.0


def test_what_is_missing_in_objects_is_left_to_the_estimator():
    rows = np.array([[1, None], [2, 3], [None, 4]] * 20, dtype=object)
    y = [0, 1, 1] * 20
    learner = ActiveLearner(encoded(), MarginQuery()).fit(rows, y)
    assert learner.score(rows, y) == 1.0
    imputer = SimpleImputer(missing_values=None, strategy="most_frequent")
    learner = ActiveLearner(make_pipeline(imputer, LogisticRegression()), MarginQuery())
    assert len(learner.fit(rows, y).query(rows, 2)) == 2
    with pytest.raises(ValueError, match="contains NaN"):
        ActiveLearner().fit(rows, y)


def as_objects(rows):
    found = np.empty(len(rows), dtype=object)
    found[:] = rows
    return found


@pytest.mark.parametrize("convert", [list, as_objects, pd.Series])
@pytest.mark.parametrize("strategy", [MarginQuery(), BaitQuery()])
def test_texts_in_tokens(strategy, convert):
    rows = convert(TOKENS)
    pipe = make_pipeline(TfidfVectorizer(analyzer=lambda tokens: tokens), LogisticRegression())
    learner = ActiveLearner(
        pipe, strategy, initial=8, budget=16, batch_size=4, random_state=0
    ).fit(rows, SENTIMENT)
    assert learner.score(rows, SENTIMENT) == 1.0
    learner.teach(convert([["good", "good"], ["bad"]]), [1, 0])
    assert len(learner.query(rows, 3)) == 3


def test_objects_that_are_no_numbers():
    day = datetime.date(2026, 1, 1)
    rows = np.array([[day + datetime.timedelta(i), i] for i in range(60)], dtype=object)
    weekday = FunctionTransformer(lambda X: [[row[0].weekday(), row[1] % 3] for row in X])
    learner = ActiveLearner(make_pipeline(weekday, encoded()), MarginQuery()).fit(rows, Y)
    assert learner.score(rows, Y) == 1.0


def test_new_categories_in_a_frame():
    frame = pd.DataFrame({"a": pd.Categorical(["p", "q"] * 30), "b": np.arange(60.0)})
    learner = ActiveLearner(HistGradientBoostingClassifier(max_iter=3), MarginQuery())
    learner.fit(frame, Y)
    learner.teach(pd.DataFrame({"a": pd.Categorical(["p"]), "b": [1.0]}), [1])
    assert learner.predict(frame).shape == (60,)


@pytest.mark.parametrize("held_out", [{}, {"scoring": "accuracy"}])
def test_a_dataset_without_labels_can_be_predicted(held_out):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(40, 4, generator=generator)
    y = (X[:, 0] > 0).long().numpy()
    net = make_net(nn.Linear, module__in_features=4, module__out_features=2)
    rows = TensorDataset(X)
    learner = ActiveLearner(net, random_state=0, **held_out).fit(rows, y, X_val=rows, y_val=y)
    np.testing.assert_array_equal(learner.predict(rows), learner.predict(X))
    assert learner.score(rows, y) == learner.history_["score"][-1] == learner.score(X, y)
    learner.teach(rows, y, X_val=rows, y_val=y)


def test_nan_is_named_by_its_row_in_what_was_given():
    rows = np.zeros((200, 3))
    rows[:, 0] = np.arange(200)
    rows[150, 1] = np.nan
    y = np.full(200, -1)
    y[140:160] = np.arange(20) % 2
    with pytest.raises(ValueError, match="first in row 150"):
        ActiveLearner().fit(rows, y)
    with pytest.raises(ValueError, match="first in row 150"):
        ActiveLearner(initial=[3, 150, 7], budget=10).fit(rows, np.arange(200) % 2)
    learner = ActiveLearner().fit(rows[:100], np.arange(100) % 2)
    with pytest.raises(ValueError, match="first in row 2"):
        learner.teach(rows[148:152], [-1, 0, 1, 0])


def test_estimators_that_predict_only_once_they_are_fitted():
    rows = np.array([[i % 2, i % 3] for i in range(60)])
    stack = StackingClassifier([("a", LogisticRegression())], cv=2)
    with pytest.raises(ValueError, match="StandardScaler, which does not predict"):
        ActiveLearner(StandardScaler()).fit(rows, Y)
    for estimator in (stack, make_pipeline(stack)):
        assert not hasattr(estimator, "predict_proba")
        learner = ActiveLearner(estimator, MarginQuery(), random_state=0).fit(rows, Y)
        assert learner.score(rows, Y) > 0.6
        assert len(learner.query(rows, 3)) == 3
        assert len(MarginQuery(estimator).fit(rows, Y).query(rows, 3)) == 3
