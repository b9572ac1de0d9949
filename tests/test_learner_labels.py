# SPDX-License-Identifier: BSD-3-Clause
"""Reading labels: what counts as none, in which form the others come out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import DataConversionWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_score

from skbait import ActiveLearner, RandomQuery
from skbait._oracle import Oracle, join
from skbait.utils.targets import as_vector, has_label, tidy

NAN = float("nan")


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        ([0, -1, 1], [True, False, True]),
        (np.array([0, -1], dtype=np.int8), [True, False]),
        (np.array([0, 255], dtype=np.uint8), [True, True]),
        ([0.0, -1.0, NAN, 1.0], [True, False, False, True]),
        ([True, False], [True, True]),
        (["a", None, NAN, "b"], [True, False, False, True]),
        (["a", "nan", "None", "-1", ""], [True] * 5),
        (["a", -1], [True, False]),
        ([True, None, False], [True, False, True]),
        (np.array(["a", "b"]), [True, True]),
        (np.array([1, -1, None], dtype=object), [True, False, False]),
        (pd.Series(["a", None, "b"]), [True, False, True]),
        (pd.Series(["a", pd.NA], dtype="string"), [True, False]),
        (pd.Series([1, pd.NA, -1], dtype="Int64"), [True, False, False]),
        (pd.Series([True, pd.NA], dtype="boolean"), [True, False]),
        (pd.Series(["a", None], dtype="category"), [True, False]),
        (torch.tensor([3, -1]), [True, False]),
        ([True, -1], [True, False]),
        ([np.True_, NAN, False], [True, False, True]),
        (np.ma.masked_array([4, 5, 6], [0, 1, 0]), [True, False, True]),
    ],
)
def test_marks_for_no_label(y, expected):
    assert has_label(as_vector(y, len(expected))).tolist() == expected


LARGE = 2**53  # float64 takes this and the next number for one


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        ([True, False, -1], [True, False]),
        ([True, False, NAN], [True, False]),
        (np.ma.masked_array([True, False, True], [0, 0, 1]), [True, False]),
        (pd.array([LARGE, LARGE + 1, pd.NA], dtype="Int64"), [LARGE, LARGE + 1]),
        (pd.Series([LARGE, LARGE + 1, pd.NA], dtype="Int64"), [LARGE, LARGE + 1]),
        (pd.Series([True, False, pd.NA], dtype="boolean"), [True, False]),
        ([LARGE, LARGE + 1, None], [LARGE, LARGE + 1]),
    ],
)
def test_a_mark_alters_no_label(y, expected):
    vector = as_vector(y, 3)
    labels = tidy(vector[has_label(vector)])
    assert labels.tolist() == expected
    assert labels.dtype == np.array(expected).dtype


def test_columns_of_polars_with_missing_labels():
    polars = pytest.importorskip("polars")
    vector = as_vector(polars.Series([LARGE, LARGE + 1, None]), 3)
    assert tidy(vector[has_label(vector)]).tolist() == [LARGE, LARGE + 1]


@pytest.mark.parametrize(
    ("labels", "kind", "expected"),
    [
        (np.array([2, 0], dtype=object), "i", [2, 0]),
        (np.array([np.int8(2), 0], dtype=object), "i", [2, 0]),
        (np.array([True, np.False_], dtype=object), "b", [True, False]),
        (np.array([2.0, 1], dtype=object), "f", [2.0, 1.0]),
        (np.array(["b", "a"], dtype=object), "O", ["b", "a"]),
        (np.array(["b", "a"]), "U", ["b", "a"]),
        (np.array([1.0, 2.0]), "f", [1.0, 2.0]),
    ],
)
def test_tidy_gives_the_plainest_dtype(labels, kind, expected):
    out = tidy(labels)
    assert out.dtype.kind == kind
    assert out.tolist() == expected


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0.5, 1.0]), "Unknown label type: continuous"),
        (np.array([np.inf, 1.0]), "Input y contains infinity"),
        (np.array(["a", 1], dtype=object), "labels of type int, str"),
        (np.array(["2020-01-01"], dtype="M8[D]"), "Unknown label type: datetime64"),
    ],
)
def test_labels_that_are_none_are_named(labels, message):
    with pytest.raises(ValueError, match=message):
        tidy(labels)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed, but the target y is None"),
        ([0, 1], "inconsistent numbers of samples: X has 3 rows and y has 2"),
        (np.zeros((3, 2)), "y should be a 1d array"),
        ([1, 2, 3j], "Complex data not supported"),
    ],
)
def test_vectors_that_are_none_are_named(y, message):
    with pytest.raises(ValueError, match=message):
        as_vector(y, 3)


def test_a_column_is_taken_with_scikit_learns_warning():
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        assert as_vector(np.zeros((3, 1), dtype=int), 3).shape == (3,)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([3, 1, 2], [3, 1, 2]),
        (["a", None, "b"], ["a", "b"]),
        (pd.array([LARGE + 1, pd.NA, 0], dtype="Int64"), [LARGE + 1, 0]),
    ],
)
def test_a_frame_of_one_column_is_a_column(column, expected):
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        y = as_vector(pd.DataFrame({"y": column}), 3)
    assert tidy(y[has_label(y)]).tolist() == expected
    with pytest.raises(ValueError, match="1d array"):
        as_vector(pd.DataFrame({"y": column, "z": column}), 3)


@pytest.mark.parametrize("labels", [[0, 1], [True, False]])
def test_labels_in_objects_are_scored_with_and_without_marks(labels):
    X = np.repeat([[0.0], [1.0]], 10, axis=0)
    y = np.repeat(np.array(labels, dtype=object), 10)
    y[3] = None
    learner = ActiveLearner(LogisticRegression(), RandomQuery()).fit(X, y)
    assert learner.score(X, y) == 1.0
    assert learner.score(X[5:], y[5:]) == 1.0
    folds = KFold(4, shuffle=True, random_state=0)
    assert cross_val_score(learner, X, y, cv=folds, error_score="raise").min() == 1.0


def test_many_classes_in_few_labels_are_no_regression():
    assert len(tidy(np.arange(30))) == 30  # scikit-learn's own check warns here


@pytest.mark.parametrize(
    ("old", "new", "kind", "expected"),
    [
        ([0, 1], [2], "i", [0, 1, 2]),
        ([0, 1], [2.0], "i", [0, 1, 2]),
        ([0.0, 1.0], [2], "f", [0, 1, 2]),
        (["a", "b"], ["longer"], "U", ["a", "b", "longer"]),
        ([True, False], [True], "b", [True, False, True]),
    ],
)
def test_join(old, new, kind, expected):
    out = join(np.array(old), np.array(new))
    assert out.dtype.kind == kind
    assert out.tolist() == expected


def test_join_takes_strings_in_either_form():
    out = join(np.array(["a"], dtype=object), np.array(["bcd"]))
    assert out.tolist() == ["a", "bcd"]


@pytest.mark.parametrize(("old", "new"), [([0, 1], ["a"]), ([True], [1]), (["a"], [True])])
def test_join_refuses_labels_of_another_kind(old, new):
    with pytest.raises(ValueError, match=r"labels .*but the learner was fitted with"):
        join(np.array(old), np.array(new))


def test_an_oracle_reads_what_it_is_asked():
    oracle = Oracle(np.array([5, -1, 7, 6]), 4)
    assert oracle.answerable.tolist() == [0, 2, 3]
    oracle.ask(np.array([3]))
    oracle.ask(np.array([0]))
    assert oracle.asked.tolist() == [3, 0]
    assert oracle.labels.tolist() == [6, 5]
    assert oracle.unasked().tolist() == [2]


@pytest.mark.parametrize(
    ("old", "new", "dtype"),
    [
        (np.array([1, 2], dtype=np.uint64), np.array([3, 4]), np.int64),
        (np.array([1, 2], dtype=np.uint8), np.array([3, 4], dtype=np.int8), np.int16),
        (np.array([1, 2], dtype=np.uint8), np.array([1.0, 2.0]), np.uint8),
        (np.array([1, 2], dtype=np.uint8), np.array([1.0, 300.0]), np.int64),
        (np.array([1, 2]), np.array([1.0, 0.5]), np.float64),
        (np.array([2**60], dtype=np.uint64), np.array([2**60 + 1]), np.int64),
    ],
)
def test_whole_numbers_stay_whole(old, new, dtype):
    joined = join(old, new)
    assert joined.dtype == dtype
    assert joined.tolist() == old.tolist() + new.tolist()


def test_labels_beyond_int64_are_refused_beside_signed_ones():
    with pytest.raises(ValueError, match="y holds the label 9223372036854775813, which int64"):
        join(np.array([1, 2**63 + 5], dtype=np.uint64), np.array([1, 2]))
