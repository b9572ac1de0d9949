# SPDX-License-Identifier: BSD-3-Clause
"""Picks of the original BAIT selection, from the shared goldens: same rows, same order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import reference
import torch
from conftest import SHARED
from fisher_problems import one_thread as one_thread  # autouse
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from skbait import BaitQuery
from skbait.fisher import select

NAMES = sorted(path.name for path in (SHARED / "goldens").glob("*.npz"))


@pytest.fixture(params=NAMES or ["no goldens here"])
def golden(request, shared_dir):
    """One case as a dict, with the softmax of the given linear layer added."""
    path = Path(shared_dir) / "goldens" / request.param
    if not path.is_file():
        pytest.skip(f"no goldens in {shared_dir}")
    with np.load(path) as arrays:
        case = {key: arrays[key] for key in arrays.files}
    case = {key: value.item() if value.ndim == 0 else value for key, value in case.items()}
    for rows in ["pool", "labeled"]:
        logits = torch.from_numpy(case[f"X_{rows}"] @ case["coef"].T)
        case[f"p_{rows}"] = torch.softmax(logits, dim=1).numpy()
    return case


def options_of(case):
    """The options as the parameters of select and of BaitQuery are called."""
    options = {key: case[key] for key in ["variant", "regularization", "weighting"]}
    if case["variant"] == "exp":
        options["top_c"] = case["top_c"]
    return options


def tensors_of(case, dtype):
    names = ["X_pool", "p_pool", "X_labeled", "p_labeled"]
    return [torch.from_numpy(case[name]).to(dtype) for name in names]


@pytest.mark.parametrize("naive", [False, True])
def test_reference(golden, naive):
    """What the other tests compare with is the published selection."""
    problem = reference.problem(
        *tensors_of(golden, torch.float64), golden["n"], **options_of(golden)
    )
    solved = reference.select(problem, golden["n"], naive=naive)
    assert solved.picks == golden["picks"].tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["dense", "factored", "auto"])
def test_select(golden, form, dtype):
    for chunk_size in [None, 7]:
        selection = select(
            *tensors_of(golden, dtype),
            golden["n"],
            form=form,
            chunk_size=chunk_size,
            **options_of(golden),
        )
        assert selection.positions.tolist() == golden["picks"].tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bait_query(golden, dtype):
    """The same through the public strategy, over a classifier whose weights are given."""
    n_classes, n_features = golden["coef"].shape
    classifier = LogisticRegression()
    classifier.coef_ = golden["coef"]
    classifier.intercept_ = np.zeros(n_classes)
    classifier.classes_ = np.arange(n_classes)
    classifier.n_features_in_ = n_features
    query = BaitQuery(FrozenEstimator(classifier), **options_of(golden))
    y = golden["p_labeled"].argmax(axis=1)
    query.fit(golden["X_labeled"].astype(dtype), y)
    chosen, utilities = query.query(
        golden["X_pool"].astype(dtype), golden["n"], return_utilities=True
    )
    assert chosen.dtype == np.int64
    np.testing.assert_array_equal(chosen, golden["picks"])
    assert utilities.shape == (len(golden["X_pool"]),)
    assert np.isfinite(utilities).all()


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_scale_of_the_features_with_the_default_regularization(golden, scale):
    """Features times s, weights over s: the logits and so the default's picks stay."""

    def picks(s):
        classifier = LogisticRegression()
        classifier.coef_ = golden["coef"] / s
        classifier.intercept_ = np.zeros(len(golden["coef"]))
        classifier.classes_ = np.arange(len(golden["coef"]))
        classifier.n_features_in_ = golden["coef"].shape[1]
        query = BaitQuery(FrozenEstimator(classifier), variant=golden["variant"])
        query.fit(s * golden["X_labeled"], golden["p_labeled"].argmax(axis=1))
        return query.query(s * golden["X_pool"], golden["n"])

    np.testing.assert_array_equal(picks(scale), picks(1.0))
