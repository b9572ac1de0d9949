# SPDX-License-Identifier: BSD-3-Clause
"""Heads trained together against heads trained one by one by torch's own optimiser."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skbait import _backend
from skbait.numerics.heads import LOSSES, score_heads, train_heads, update_heads

SETTINGS = {
    "n_epochs": 50,
    "learning_rate": 1e-2,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "batch_size": 64,
}


def make_problem(n_heads, n_shared, n_own, width, n_classes, seed=0):
    """Return the arguments of `train_heads` up to the settings."""
    g = torch.Generator().manual_seed(seed)
    return (
        0.3 * torch.randn(n_classes, width, generator=g),
        0.3 * torch.randn(n_classes, generator=g),
        torch.randn(n_shared, width, generator=g),
        torch.randint(n_classes, (n_shared,), generator=g),
        torch.randn(n_heads, n_own, width, generator=g),
        torch.randint(n_classes, (n_heads, n_own), generator=g),
    )


def train_one(weight, bias, X, y, order, settings, dtype):
    """Train one head as anybody would; `order` holds a permutation of the rows for each epoch."""
    layer = nn.Linear(weight.shape[1], len(weight), dtype=dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    optimizer = torch.optim.SGD(
        layer.parameters(),
        lr=settings["learning_rate"],
        momentum=settings["momentum"],
        weight_decay=settings["weight_decay"],
        nesterov=settings["momentum"] > 0,
    )
    n_epochs = settings["n_epochs"]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_epochs)
    for rows in order:
        for batch in rows.split(settings["batch_size"]):
            optimizer.zero_grad()
            nn.functional.cross_entropy(layer(X[batch].to(dtype)), y[batch]).backward()
            optimizer.step()
        schedule.step()
    return layer.weight.detach(), layer.bias.detach()


def train_separately(problem, settings, seed, dtype=torch.float64):
    weight, bias, shared, shared_y, own, own_y = problem
    g = torch.Generator().manual_seed(seed)
    n_rows = len(shared) + own.shape[1]
    order = [torch.randperm(n_rows, generator=g) for _ in range(settings["n_epochs"])]
    heads = [
        train_one(
            weight,
            bias,
            torch.cat([shared, rows]),
            torch.cat([shared_y, labels]),
            order,
            settings,
            dtype,
        )
        for rows, labels in zip(own, own_y, strict=True)
    ]
    return tuple(torch.stack(part) for part in zip(*heads, strict=True))


def train_together(problem, settings, seed):
    return train_heads(*problem, **settings, generator=torch.Generator().manual_seed(seed))


def assert_heads_close(one, other, atol=1e-9):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=atol)


@pytest.mark.parametrize("width", [12, 100], ids=["as they are", "in their span"])
def test_losses_are_those_of_separate_trainings(width, seed):
    """In float32, as separate trainings are run: the losses agree to 1e-4."""
    problem = make_problem(6, 60, 9, width, 4, seed)
    features = torch.randn(300, width, generator=torch.Generator().manual_seed(seed + 1))
    targets = torch.randint(4, (300,), generator=torch.Generator().manual_seed(seed + 2))
    together = train_together(problem, SETTINGS, seed)
    apart = train_separately(problem, SETTINGS, seed, torch.float32)
    for loss in LOSSES:
        scores = [score_heads(*heads, features, targets, loss=loss) for heads in (together, apart)]
        assert scores[0].shape == (6,)
        assert len(scores[0].unique()) > 1
        # a prediction on the border of two classes may fall to either side
        np.testing.assert_allclose(*scores, atol=1e-4 if loss != "zero_one" else 1e-4 + 1 / 300)


@pytest.mark.parametrize("n_shared", [0, 1, 7, 40])
@pytest.mark.parametrize("n_own", [1, 5, 30])
@pytest.mark.parametrize("width", [1, 10, 60])
def test_weights_are_those_of_separate_trainings(n_shared, n_own, width, seed):
    problem = make_problem(3, n_shared, n_own, width, 3, seed)
    settings = {**SETTINGS, "batch_size": 16, "learning_rate": 0.1, "n_epochs": 12}
    expected = train_separately(problem, settings, seed)
    assert_heads_close(train_together(problem, settings, seed), expected)


@given(
    st.integers(1, 4),
    st.integers(0, 20),
    st.integers(1, 8),
    st.integers(1, 24),
    st.integers(2, 5),
    st.integers(1, 30),
    st.sampled_from([0.0, 0.5, 0.95]),
    st.sampled_from([0.0, 5e-4, 0.3]),
    st.integers(0, 2**31 - 1),
)
def test_any_shape_and_setting(
    n_heads, n_shared, n_own, width, n_classes, batch_size, momentum, decay, draw
):
    problem = make_problem(n_heads, n_shared, n_own, width, n_classes, draw)
    settings = {
        "n_epochs": 4,
        "learning_rate": 0.05,
        "momentum": momentum,
        "weight_decay": decay,
        "batch_size": batch_size,
    }
    expected = train_separately(problem, settings, draw)
    assert_heads_close(train_together(problem, settings, draw), expected)


def test_rows_that_add_nothing_to_the_span(seed):
    """Duplicates among shared rows, own rows that are shared or equal, features of zero."""
    problem = list(make_problem(4, 10, 6, 80, 3, seed))
    shared, own = problem[2], problem[4]
    shared[1:5] = shared[0]
    shared[5] = 0
    own[0] = shared[6]
    own[1, :3] = shared[6:9]
    own[2] = 0
    own[3] = own[3, :1] * 1e-12 + shared[7]
    together = train_together(problem, SETTINGS, seed)
    assert_heads_close(together, train_separately(problem, SETTINGS, seed))


def test_unscaled_features(seed):
    """Large features, along one direction for the most part, as networks have them."""
    problem = list(make_problem(3, 20, 5, 64, 4, seed))
    for i in (2, 4):
        problem[i] = problem[i] + 30
    settings = {**SETTINGS, "learning_rate": 1e-4}
    together = train_together(problem, settings, seed)
    assert_heads_close(together, train_separately(problem, settings, seed), atol=1e-8)


@pytest.mark.parametrize("width", [10, 100])
def test_heads_do_not_depend_on_those_beside_them(width, seed, monkeypatch):
    problem = make_problem(40, 30, 4, width, 3, seed)
    settings = {**SETTINGS, "n_epochs": 5}
    whole = train_together(problem, settings, seed)
    weight, bias, shared, shared_y, own, own_y = problem
    few = train_together((weight, bias, shared, shared_y, own[7:9], own_y[7:9]), settings, seed)
    assert_heads_close(few, [part[7:9] for part in whole], atol=1e-12)
    monkeypatch.setattr(_backend, "CHUNK_BYTES", 1)  # groups of 16
    assert_heads_close(train_together(problem, settings, seed), whole, atol=1e-12)


def test_nothing_given_is_changed_and_seeds_count(seed):
    problem = make_problem(2, 100, 3, 8, 3, seed)
    copies = [tensor.clone() for tensor in problem]
    first = train_together(problem, SETTINGS, seed)
    assert all(torch.equal(a, b) for a, b in zip(problem, copies, strict=True))
    assert all(part.dtype == torch.float64 for part in first)
    again, other = (train_together(problem, SETTINGS, s) for s in (seed, seed + 1))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])


def test_scores_by_hand(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    weights, biases = rng.normal(size=(5, 3, 4)), rng.normal(size=(5, 3))
    X, y = rng.normal(size=(50, 4)), rng.integers(3, size=50)
    logits = np.einsum("tkd,md->tmk", weights, X) + biases[:, None]
    p = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    expected = {
        "zero_one": (logits.argmax(axis=2) != y).mean(axis=1),
        "brier": np.square(p - np.eye(3)[y]).sum(axis=2).mean(axis=1),
        "cross_entropy": -np.log(p[:, np.arange(50), y]).mean(axis=1),
    }
    given_ = [torch.from_numpy(each) for each in (weights, biases, X, y)]
    for loss in LOSSES:
        np.testing.assert_allclose(score_heads(*given_, loss=loss), expected[loss], rtol=1e-12)
    monkeypatch.setattr(_backend, "CHUNK_BYTES", 1)
    for loss in LOSSES:
        np.testing.assert_allclose(score_heads(*given_, loss=loss), expected[loss], rtol=1e-12)


def test_scores_of_certain_heads():
    """Logits beyond what an exponential holds, and logits that are all equal."""
    weights = torch.tensor([[[1e6], [-1e6]], [[0.0], [0.0]]])
    args = weights, torch.zeros(2, 2), torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 0])
    assert score_heads(*args, loss="zero_one").tolist() == [0.5, 0.0]
    assert score_heads(*args, loss="brier").tolist() == [1.0, 0.5]
    np.testing.assert_allclose(score_heads(*args, loss="cross_entropy"), [1e6, np.log(2)])


def update_one(weight, bias, covariance, X, y, step):
    """The update of one head by the formula, row by row."""
    mean = torch.cat([weight, bias[:, None]], dim=1).double()
    sigma = covariance.clone()
    for x, label in zip(X.double(), y, strict=True):
        h = torch.cat([x, x.new_ones(1)])
        p = torch.softmax(mean @ h, dim=0)
        image = sigma @ h
        sigma = sigma - torch.outer(image, image) / (1 + h @ image)
        target = nn.functional.one_hot(label, len(mean))
        mean = mean + step * torch.outer(target - p, sigma @ h)
    return mean[:, :-1], mean[:, -1]


@pytest.mark.parametrize("n_own", [1, 4, 25])
@pytest.mark.parametrize("width", [1, 6, 30])
def test_updates_by_the_formula(n_own, width, seed, monkeypatch):
    weight, bias, shared, _, own, own_y = make_problem(20, 12, n_own, width, 3, seed)
    if n_own > 1:
        own[0, 1] = own[0, 0]
        own[1] = 0
    with_ones = torch.cat([shared, torch.ones(12, 1)], dim=1).double()
    covariance = torch.linalg.inv(torch.eye(width + 1) + with_ones.T @ with_ones)
    expected = zip(
        *(
            update_one(weight, bias, covariance, X, y, 10.0)
            for X, y in zip(own, own_y, strict=True)
        ),
        strict=True,
    )
    expected = [torch.stack(part) for part in expected]
    assert_heads_close(update_heads(weight, bias, covariance, own, own_y, step=10.0), expected)
    monkeypatch.setattr(_backend, "CHUNK_BYTES", 1)
    assert_heads_close(update_heads(weight, bias, covariance, own, own_y, step=10.0), expected)
