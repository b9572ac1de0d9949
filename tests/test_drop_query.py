# SPDX-License-Identifier: BSD-3-Clause
"""DropQuery: its candidates against a loop over rows, its choice, its seeds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbait import _backend
from skbait.representation import Head
from skbait.strategies.drop_query import DropQuery, drop_candidates
from skbait.utils.estimator_checks import parametrize_with_query_checks


@parametrize_with_checks([DropQuery()])
def test_sklearn_checks(estimator, check):
    check(estimator)


@parametrize_with_query_checks(
    [
        DropQuery(),
        DropQuery(
            make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss")),
            n_passes=4,
            dropout=0.5,
            min_candidates=2,
        ),
    ]
)
def test_query_checks(strategy, check):
    check(strategy)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make_head(rng, link, width):
    n_logits = 1 if link == "sigmoid" else 4
    weight, bias = rng.normal(size=(n_logits, width)), rng.normal(size=n_logits)
    return Head(torch.from_numpy(weight), torch.from_numpy(bias), link)


def changes_reference(features, head, seed, n_passes, dropout):
    """Row by row; blocks of 1024 rows get their masks pass by pass."""
    draws = generator(seed)
    changes = np.zeros(len(features), dtype=int)
    for start in range(0, len(features), 1024):
        block = features[start : start + 1024]
        for _ in range(n_passes):
            masks = torch.rand(block.shape, generator=draws) >= dropout
            for i, (h, mask) in enumerate(zip(block, masks, strict=True)):
                before = head.probabilities(h).argmax()
                after = head.probabilities(mask * h / (1 - dropout)).argmax()
                changes[start + i] += int(before != after)
    return changes


@pytest.mark.parametrize("link", ["softmax", "sigmoid", "ovr"])
@pytest.mark.parametrize("n_passes, dropout", [(3, 0.75), (1, 0.3), (4, 0.5)])
def test_candidates_agree_with_the_reference(link, n_passes, dropout, rng):
    features = torch.from_numpy(rng.normal(size=(1100, 5)))
    head = make_head(rng, link, 5)
    changes = changes_reference(features, head, 3, n_passes, dropout)
    settings = {"n_passes": n_passes, "dropout": dropout}
    found = drop_candidates(features, head, 1, generator(3), **settings)
    np.testing.assert_array_equal(found, np.flatnonzero(changes > n_passes / 2))
    # the bound goes down one by one, to 0 in the end
    for bound in range(n_passes // 2 + 1, -1, -1):
        expected = np.flatnonzero(changes >= bound)
        found = drop_candidates(
            features, head, len(expected), generator(3), **settings, min_candidates=1
        )
        np.testing.assert_array_equal(found, expected)


@given(n_rows=st.integers(1, 40), n=st.integers(1, 40), wanted=st.integers(1, 30))
def test_there_are_enough_candidates(n_rows, n, wanted):
    rng = np.random.default_rng(n_rows)
    features = torch.from_numpy(rng.normal(size=(n_rows, 3)))
    head = make_head(rng, "softmax", 3)
    found = drop_candidates(features, head, n, generator(), min_candidates=wanted)
    assert len(found) >= min(n_rows, wanted * n)
    assert (torch.diff(found) > 0).all()


def test_candidates_depend_on_the_seed_only(rng, monkeypatch):
    features = torch.from_numpy(rng.normal(size=(3000, 6)))
    head = make_head(rng, "softmax", 6)
    first = drop_candidates(features, head, 10, generator(1))
    state = torch.get_rng_state()
    monkeypatch.setattr(_backend, "CHUNK_BYTES", 1)
    again = drop_candidates(features, head, 10, generator(1))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, drop_candidates(features, head, 10, generator(2)))


def test_candidates_do_not_depend_on_the_default_dtype(rng):
    features = torch.from_numpy(rng.normal(size=(500, 6)))
    head = make_head(rng, "softmax", 6)
    expected = drop_candidates(features, head, 1, generator(1))
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        found = drop_candidates(features, head, 1, generator(1))
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(found, expected)


def test_rows_without_features_never_change():
    """Zero features, or equal logits of two classes, are no reason for a change."""
    features = torch.cat([torch.zeros(50, 4), torch.rand(50, 4, generator=generator())])
    weight = torch.tensor([[1.0, 2.0, 3.0, 4.0]] * 2 + [[-9.0] * 4])
    head = Head(weight, torch.zeros(3))
    found = drop_candidates(features, head, 1, generator(), min_candidates=1)
    assert len(found) == 100  # not one row changes, so that all are candidates


@pytest.fixture
def problem(seed):
    X, y = make_blobs(400, centers=4, n_features=8, cluster_std=6.0, random_state=seed)
    model = FrozenEstimator(LogisticRegression(max_iter=5000).fit(X / 10, y))
    return X / 10, y, model


def test_the_choice_is_from_the_candidates(problem):
    X, y, model = problem
    query = DropQuery(model, min_candidates=1, random_state=0).fit(X[:20], y[:20])
    seen = []
    with pytest.MonkeyPatch.context() as patch:

        def spy(*args, **kwargs):
            seen.append(drop_candidates(*args, **kwargs))
            return seen[-1]

        patch.setattr("skbait.strategies.drop_query.drop_candidates", spy)
        chosen = query.query(X, 10)
    (candidates,) = seen
    assert 10 < len(candidates) < 400
    assert np.isin(chosen, candidates.cpu()).all()


def test_uncertain_rows_are_preferred(problem):
    X, y, model = problem
    margins = np.sort(model.predict_proba(X), axis=1)
    margins = margins[:, -1] - margins[:, -2]
    query = DropQuery(model, dropout=0.3, min_candidates=1, random_state=0).fit(X[:20], y[:20])
    chosen = query.query(X, 40)
    assert margins[chosen].mean() < 0.9 * margins.mean()


@pytest.mark.parametrize(
    "params", [{"n_passes": 0}, {"dropout": 0.0}, {"dropout": 1.0}, {"min_candidates": 0}]
)
def test_bad_parameters(params, problem):
    X, y, model = problem
    (name,) = params
    with pytest.raises(ValueError, match=f"'{name}' parameter of DropQuery"):
        DropQuery(model, **params).fit(X, y)
