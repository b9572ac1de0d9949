# SPDX-License-Identifier: BSD-3-Clause
"""Fingerprints: equal for equal settings, different for others, the same as they ever were."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import pickle
import subprocess
import sys
import threading

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from representation_nets import make_net
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer, recall_score
from sklearn.pipeline import make_pipeline
from torch import nn

from skbait import ActiveLearner
from skbait.model_selection.fingerprints import fingerprint
from skbait.strategies import BaitQuery


class Scorer:
    """A scorer as a bound method."""

    def __init__(self, value):
        self.value = value

    def score(self, estimator, X, y):
        return self.value

    @classmethod
    def zero(cls, estimator, X, y):
        return 0.0


class Derived(Scorer):
    pass


class Model(BaseEstimator):
    def __init__(self, a=1, b=None):
        self.a = a
        self.b = b


def made_with(value):
    """Return callables, and objects that hold them, which differ by `value` alone."""

    def function(estimator, X, y):
        return value

    def recursive(n):
        return recursive(n - 1) if n else value

    def default(estimator, X, y, given=value):
        return given

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(2, value)

    class WithProperty(Model):
        @property
        def value(self):
            return value

    class Local:
        def __init__(self, value):
            self.value = value

        def score(self, estimator, X, y):
            return self.value

    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return {
        "function": function,
        "recursive": recursive,
        "default": default,
        "class": Net,
        "estimator": WithProperty(),
        "method": Scorer(value).score,
        "method of a local class": Local(value).score,
        "wrapper": wrapper,
        "cached": functools.cache(function),
        "partial": functools.partial(recall_score, average=value),
        "partial of a method": functools.partial(Scorer(value).score),
        "partial of a lambda": functools.partial(lambda a: a, value),
        "wrapped partial": functools.update_wrapper(functools.partial(function, value), function),
        "scorer": make_scorer(function),
        "of a builtin type": str(value).join,
        "in a dict": {"a": [function]},
    }


LAMBDAS = [
    lambda estimator, X, y: estimator.score(X, y),
    lambda estimator, X, y: estimator.predict(X, y),
    lambda estimator, X, y: -1.0,
    lambda estimator, X, y: 1.0,
    lambda estimator, X, *, y: 1.0,
    lambda estimator, X, y=None: 1.0,
    lambda estimator, X, y: y in {"a", "b", "c"},
    lambda estimator, X, y: y in {"a", "b", "d"},
]


def test_parameters_are_told_apart_and_nothing_else():
    one = ActiveLearner(LogisticRegression(), BaitQuery(), scoring=recall_score)
    other = ActiveLearner(LogisticRegression(), BaitQuery(), scoring=recall_score)
    assert fingerprint(learner=one) == fingerprint(learner=other)
    changed = ActiveLearner(LogisticRegression(), BaitQuery(top_c=3), scoring=recall_score)
    assert fingerprint(learner=one) != fingerprint(learner=changed)
    X = np.arange(6.0).reshape(2, 3)
    assert fingerprint(X=X) == fingerprint(X=X.copy()) != fingerprint(X=X + 1)
    assert fingerprint(X={"a": X}) != fingerprint(X={"b": X})


@pytest.mark.parametrize("kind", made_with(1))
def test_callables_are_told_apart_by_what_is_in_them(kind):
    one, again, other = (fingerprint(it=made_with(value)[kind]) for value in (1, 1, 2))
    assert one == again != other


def test_lambdas_are_told_apart_by_their_code():
    assert len({fingerprint(scoring=each) for each in LAMBDAS}) == len(LAMBDAS)


def test_bound_methods_of_a_class_are_told_apart_by_the_class():
    assert fingerprint(it=Scorer.zero) == fingerprint(it=f"{__name__}.Scorer.zero")
    assert fingerprint(it=Scorer.zero) != fingerprint(it=Derived.zero)


def test_what_cannot_be_pickled_counts_by_its_class():
    assert fingerprint(it=threading.Lock()) == fingerprint(it=threading.Lock())
    assert fingerprint(it=threading.Lock()) != fingerprint(it=threading.RLock())


def test_callables_have_the_same_fingerprint_in_every_process():
    code = (
        "import test_fingerprints as t\n"
        "print(t.fingerprint(made=t.made_with(1), lambdas=t.LAMBDAS))"
    )
    folders = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": folders},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
    assert len(found.pop().strip()) == 16


@pytest.mark.parametrize(
    "value, expected",
    [
        ([None, True, 3, 0.5, "text", math.nan, math.inf], "d984bd7a592f3bfc"),
        ({"a": {"b": (1, [2, None])}}, "4f197c50d6712bfe"),
        (json.dumps, "167212eca49dee06"),
        (math.sqrt, "9a88aa30e81426cf"),
        (json.JSONDecoder, "14de1500c0663436"),
        (int, "f597b83105ae127c"),
        (Model(2, b=[Model()]), "85c6a4f9748c02ee"),
        (Scorer.zero, "db23eba3a9ba35e6"),
    ],
)
def test_stored_results_are_still_found(value, expected):
    assert fingerprint(value=value) == expected


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6.0).reshape(2, 3),
        np.array(3),
        np.zeros((0, 2)),
        np.arange(3)[:, None],
        np.array(["a", "b"]),
        np.array(["a", None], dtype=object),
        {"a", "b"},
        b"bytes",
        Scorer(1),
        functools.partial(recall_score, average="macro"),
    ],
)
def test_arrays_and_objects_count_by_the_hash_of_joblib(value):
    text = json.dumps({"value": joblib.hash(value, coerce_mmap=True)})
    assert fingerprint(value=value) == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_equal_numbers_and_arrays_are_equal(tmp_path):
    assert fingerprint(n=30) == fingerprint(n=np.int64(30)) == fingerprint(n=np.uint8(30))
    assert (
        fingerprint(n=0.25) == fingerprint(n=np.float64(0.25)) == fingerprint(n=np.float32(0.25))
    )
    assert fingerprint(n=True) == fingerprint(n=np.True_) != fingerprint(n=1)
    X = np.arange(20.0).reshape(5, 4)
    mapped = np.memmap(tmp_path / "X", dtype=X.dtype, mode="w+", shape=X.shape, order="F")
    mapped[:] = X
    for same in (np.asfortranarray(X), np.hstack([X, X])[:, :4], mapped):
        assert fingerprint(X=same) == fingerprint(X=X)
    objects = X.astype(object)
    assert fingerprint(X=np.asfortranarray(objects)) == fingerprint(X=objects)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csr_array])
def test_sparse_matrices_count_by_their_content(form, kind):
    dense = np.arange(12.0).reshape(3, 4) * (np.arange(12).reshape(3, 4) % 3 == 0)
    A = kind(dense).asformat(form)
    first = fingerprint(A=A)
    if form == "csr":
        A.max()
        assert A.has_sorted_indices
    assert fingerprint(A=A) == first == fingerprint(A=A.copy())
    np.testing.assert_array_equal(A.toarray(), dense)
    others = [A * 2, A.astype(np.float32), A.T, A.asformat("csr" if form != "csr" else "csc")]
    assert len({first, *(fingerprint(A=each) for each in others)}) == 5


def test_sparse_matrices_are_the_same_in_another_order():
    A = sparse.csr_matrix(([1.0, 2.0], [1, 0], [0, 2]), shape=(1, 2))
    B = sparse.csr_matrix(([2.0, 1.0], [0, 1], [0, 2]), shape=(1, 2))
    assert fingerprint(A=A) == fingerprint(A=B)
    np.testing.assert_array_equal(A.indices, [1, 0])  # as it was


def test_what_is_frozen_counts_by_what_it_learned():
    X, y = np.random.RandomState(0).randn(60, 4).astype(np.float32), np.arange(60) % 2
    two = [
        FrozenEstimator(make_pipeline(PCA(2), LogisticRegression()).fit(X[i:], y[i:]))
        for i in (0, 20)
    ]
    found = {fingerprint(a=model) for model in two}
    assert len(found) == 2
    assert {fingerprint(a=pickle.loads(pickle.dumps(model))) for model in two} == found
    net = make_net(nn.Linear, module__in_features=4, module__out_features=2).fit(X, y)
    before = fingerprint(a=FrozenEstimator(net))
    assert fingerprint(a=FrozenEstimator(pickle.loads(pickle.dumps(net)))) == before
    net.partial_fit(X, y)
    assert fingerprint(a=FrozenEstimator(net)) != before
    found = set()
    for activation in (nn.ReLU(), nn.Tanh(), nn.LeakyReLU(0.1), nn.LeakyReLU(0.2)):
        layers = nn.Sequential(nn.Linear(4, 2), activation)
        layers[0].load_state_dict({"weight": torch.ones(2, 4), "bias": torch.ones(2)})
        net = make_net(layers).initialize()
        found.add(fingerprint(a=FrozenEstimator(net)))
    assert len(found) == 4


def test_frames_count_by_their_content():
    frame = pd.DataFrame(
        {
            "number": np.arange(6.0),
            "when": pd.date_range("2020", periods=6),
            "missing": pd.array([1, None, 3] * 2, dtype="Int64"),
            "kind": pd.Categorical(["a", "b", "a"] * 2),
            "text": ["u", "v", "w"] * 2,
        }
    )
    expected = fingerprint(a=frame)
    frame.loc[3], frame.values, frame.T  # looked at only
    assert fingerprint(a=frame) == expected
    assert fingerprint(a=frame.copy()) == expected
    others = [
        frame.rename(columns={"text": "name"}),
        frame.assign(number=frame["number"] + 1),
        frame.set_index(frame.index + 1),
        frame.astype({"kind": "str"}),
        frame[frame.columns[::-1]],
    ]
    assert len({expected, *(fingerprint(a=other) for other in others)}) == 6
    assert fingerprint(a=frame["text"]) == fingerprint(a=frame["text"].copy())
