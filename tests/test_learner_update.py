# SPDX-License-Identifier: BSD-3-Clause
"""A learner whose model takes new labels in by updates instead of trainings."""

from __future__ import annotations

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch
from on_cpu import represent
from sklearn.datasets import make_blobs
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from skbait import ActiveLearner, BaitQuery, MarginQuery, get_query_names, make_query
from skbait.laplace import LaplaceClassifier
from skbait.representation import memory as memory_module
from skbait.representation.memory import FeatureMemory


@pytest.fixture
def rows(seed):
    X, y = make_blobs(200, 6, centers=4, cluster_std=4.0, random_state=seed)
    return X / 10, y


class Counting(nn.Module):
    """A small network that counts the rows it is given in evaluation."""

    seen = 0

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 16)
        self.head = nn.Linear(16, 4)

    def forward(self, X):
        if not self.training:
            Counting.seen += len(X)
        return self.head(torch.relu(self.body(X)))


def make_net(**params):
    return NeuralNetClassifier(
        Counting,
        criterion=nn.CrossEntropyLoss,
        max_epochs=5,
        lr=0.1,
        train_split=None,
        classes=np.arange(4),
        verbose=0,
        **params,
    )


def test_teach_is_the_update_of_the_classifier(rows):
    X, y = rows
    learner = ActiveLearner(LogisticRegression(), update="laplace", random_state=0)
    learner.fit(X[:40], y[:40])
    assert isinstance(learner.estimator_, LaplaceClassifier)
    before = learner.estimator_
    state = before.mean_
    learner.teach(X[40:50], y[40:50]).teach(X[50:51], y[50:51])
    alone = LaplaceClassifier(
        LogisticRegression(), update="newton", likelihood="categorical", prior_precision="auto"
    )
    alone.fit(X[:40], y[:40])
    alone.partial_fit(X[40:50], y[40:50]).partial_fit(X[50:51], y[50:51])
    np.testing.assert_allclose(learner.predict_proba(X), alone.predict_proba(X))
    assert learner.estimator_.estimator_ is before.estimator_, "nothing was trained"
    np.testing.assert_array_equal(before.mean_, state, "the model of before was changed")
    assert learner.n_labels_ == 51
    assert learner.history_["n_labels"].tolist() == [40, 50, 51]


def test_refit_every(rows):
    X, y = rows
    learner = ActiveLearner(update="laplace", refit_every=5, random_state=0).fit(X[:40], y[:40])
    bodies = [learner.estimator_.estimator_]
    for start in range(40, 52, 3):
        learner.teach(X[start : start + 3], y[start : start + 3])
        bodies.append(learner.estimator_.estimator_)
    trained = [one is not other for one, other in pairwise(bodies)]
    assert trained == [False, True, False, True]  # at 46 and at 52 labels
    fresh = ActiveLearner(update="laplace", random_state=0).fit(X[:52], y[:52])
    np.testing.assert_allclose(learner.predict_proba(X), fresh.predict_proba(X))


def test_budget_is_spent_by_updates(rows):
    X, y = rows
    learner = ActiveLearner(
        make_net(), BaitQuery(), initial=20, budget=50, batch_size=10, update="laplace",
        random_state=0,
    )  # fmt: skip
    learner.fit(X.astype(np.float32), y)
    assert learner.n_labels_ == 50
    by_hand = ActiveLearner(
        make_net(), BaitQuery(), batch_size=10, update="laplace", random_state=0
    )
    first = learner.labeled_positions_[:20]
    X32 = X.astype(np.float32)
    by_hand.fit(X32[first], y[first])
    for start in (20, 30, 40):
        asked = learner.labeled_positions_[:start]
        rest = np.setdiff1d(np.arange(200), asked)
        chosen = rest[by_hand.query(X32[rest])]
        assert chosen.tolist() == learner.labeled_positions_[start : start + 10].tolist()
        by_hand.teach(X32[chosen], y[chosen])


def test_features_of_a_pool_are_computed_once(rows):
    X, y = rows
    X = X.astype(np.float32)
    learner = ActiveLearner(make_net(), MarginQuery(), update="laplace", random_state=0)
    learner.fit(X[:40], y[:40])
    pool, labels = X[40:], y[40:]
    chosen = learner.query(pool, 1)
    Counting.seen = 0
    for _ in range(3):
        learner.teach(pool[chosen], labels[chosen])
        pool, labels = np.delete(pool, chosen, axis=0), np.delete(labels, chosen)
        chosen = learner.query(pool, 1)
        learner.predict(pool)
    assert Counting.seen == 0, "the rest of a pool goes through the network again"
    learner.predict(X[:3] + 1)
    assert Counting.seen >= 3, "new rows have to go through it"
    refit = ActiveLearner(
        make_net(), MarginQuery(), update="laplace", refit_every=1, random_state=0
    ).fit(X[:40], y[:40])
    refit.query(X[40:], 1)
    refit.teach(X[40:41], y[40:41])
    Counting.seen = 0
    refit.query(X[41:], 1)
    assert Counting.seen >= 159, "another body has other features"


def test_the_same_choice_with_and_without_memory(rows):
    X, y = rows
    learner = ActiveLearner(BaitQuery().estimator, update="laplace", random_state=0)
    learner.fit(X[:40], y[:40]).query(X[40:], 5)
    learner.teach(X[40:45], y[40:45])
    restored = pickle.loads(pickle.dumps(learner))  # remembers nothing
    np.testing.assert_array_equal(learner.query(X[45:], 20), restored.query(X[45:], 20))
    np.testing.assert_array_equal(learner.predict_proba(X), restored.predict_proba(X))


def test_new_classes_and_strings(rows):
    X, y = rows
    names = np.array(["ant", "bee", "cat", "dog"])[y]
    known = names != "bee"
    learner = ActiveLearner(update="laplace", random_state=0).fit(X[known][:40], names[known][:40])
    assert learner.classes_.tolist() == ["ant", "cat", "dog"]
    learner.teach(X[~known], names[~known])
    assert learner.classes_.tolist() == ["ant", "bee", "cat", "dog"]
    assert (learner.predict(X[~known]) == "bee").any()
    assert len(learner.query(X, 3)) == 3


def test_a_classifier_that_is_given_is_used_as_it_is(rows):
    X, y = rows
    model = LaplaceClassifier(
        make_pipeline(StandardScaler(), LogisticRegression()), update="newton", prior_precision=2.0
    )
    learner = ActiveLearner(model, update="laplace", random_state=0).fit(X[:40], y[:40])
    assert isinstance(learner.estimator_.estimator_, type(model.estimator))
    learner.teach(X[40:60], y[40:60])
    assert learner.estimator_.update == "newton"
    assert learner.set_params(estimator__prior_precision=3.0).estimator.prior_precision == 3.0


def test_failures(rows):
    X, y = rows
    with pytest.raises(ValueError, match="update='laplace' cannot weigh rows, but sample_weight"):
        ActiveLearner(update="laplace").fit(X, y, sample_weight=np.ones(200))
    learner = ActiveLearner(update="laplace", random_state=0).fit(X[:40], y[:40])
    before = dict(vars(learner))
    with pytest.raises(ValueError, match="sample_weight"):
        learner.teach(X[:3], y[:3], sample_weight=np.ones(3))
    with pytest.raises(ValueError, match="6 features"):
        learner.teach(X[:3, :4], y[:3])
    with pytest.raises(ValueError, match="NaN"):
        learner.teach(np.full((3, 6), np.nan), y[:3])
    assert vars(learner) == before
    for params in ({"update": "never"}, {"refit_every": 0}, {"refit_every": 2.5}):
        with pytest.raises(ValueError, match=next(iter(params))):
            ActiveLearner(**params).fit(X, y)
    with pytest.raises(TypeError, match="linear last layer"):
        ActiveLearner(RandomForestClassifier(), update="laplace").fit(X, y)


def test_a_label_that_no_training_would_take_is_refused_at_once(rows):
    """Taken in, it would make every later training fail, whatever is taught then."""
    X, y = rows[0].astype(np.float32), rows[1]
    learner = ActiveLearner(
        make_net(), MarginQuery(), update="laplace", refit_every=5, random_state=0
    ).fit(X[:40], y[:40])
    before = dict(vars(learner))
    with pytest.raises(ValueError, match=r"y holds 11, but classes= on the net is 0, 1, 2, 3"):
        learner.teach(X[40:41], [11])
    assert vars(learner) == before
    for i in range(40, 50):
        learner.teach(X[i : i + 1], y[i : i + 1])
    assert learner.n_labels_ == 50


def test_a_label_without_an_output_in_a_pipeline(rows):
    X, y = rows[0].astype(np.float32), rows[1]
    net = make_net().set_params(classes=None, module=Counting)
    model = make_pipeline(StandardScaler(), net)
    learner = ActiveLearner(model, MarginQuery(), update="laplace", refit_every=8, random_state=0)
    learner.fit(X[:40], y[:40])
    with pytest.raises(ValueError, match=r"y has 5 classes .* has 4 outputs"):
        learner.teach(X[40:42], [4, 0])
    assert learner.teach(X[40:60], y[40:60]).n_labels_ == 60


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
@pytest.mark.parametrize("covariance", ["shared", "full"])
@pytest.mark.parametrize("prediction", ["mean_field", "plain"])
def test_predictions_are_those_of_the_largest_decision(rows, prediction, covariance, link):
    X, y = rows
    y = y if link == "softmax" else y % 2
    model = LaplaceClassifier(covariance=covariance, prediction=prediction).fit(X[:80], y[:80])
    likeliest = model.classes_[model.predict_proba(X).argmax(1)]
    np.testing.assert_array_equal(model.predict(X), likeliest)


@pytest.mark.parametrize("name", get_query_names())
def test_every_strategy_over_an_updated_model(name, rows):
    """Also those that read the head: it is the mean of the posterior."""
    X, y = rows
    small = {"refine": {"n_rounds": 1}, "boss": {"n_candidates": 10, "n_epochs": 2}}
    strategy = make_query(name, **small.get(name, {}))
    learner = ActiveLearner(LogisticRegression(), strategy, update="laplace", random_state=0)
    learner.fit(X[:40], y[:40]).teach(X[40:45], y[40:45])
    known = {"y_pool": y[45:150], "X_val": X[150:], "y_val": y[150:]} if name == "boss" else {}
    chosen = learner.query(X[45:150], 5, **known)
    assert len(set(chosen.tolist())) == 5


# ---- the memory itself ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float32", "images", "uint8", "tensor", "frame", "dict"])
def test_memory_knows_rows_by_content(kind, rng):
    pd = pytest.importorskip("pandas")
    plain = rng.normal(size=(30, 12)).astype(np.float32)
    made = {
        "float32": lambda X: X,
        "images": lambda X: X.reshape(-1, 3, 2, 2),
        "uint8": lambda X: (10 * X).astype(np.uint8),
        "tensor": torch.from_numpy,
        "frame": pd.DataFrame,
        "dict": lambda X: {"a": X[:, :5], "b": X[:, 5:]},
    }[kind]
    asked = []

    def compute(X):
        parts = [X[name] for name in sorted(X)] if isinstance(X, dict) else [X]
        flat = np.hstack(
            [np.asarray(part, dtype=np.float64).reshape(len(part), -1) for part in parts]
        )
        asked.append(len(flat))
        return torch.from_numpy(flat @ np.ones((flat.shape[1], 2)))

    memory = FeatureMemory()
    order = rng.permutation(30)
    for rows_asked, new in (
        (order[:20], 20),
        (order[5:15], 0),
        (order, 10),
        (order[[3, 3, 29]], 0),
    ):
        asked.clear()
        found = memory.features(made(plain[rows_asked]), compute)
        assert sum(asked) == new
        assert torch.equal(found, compute(made(plain[rows_asked])))


def test_memory_forgets_what_was_not_used_for_longest(monkeypatch, rng):
    monkeypatch.setattr(memory_module, "MOST_BYTES", 2 * 10 * (3 * 8 + 220))
    memory, asked = FeatureMemory(), []

    def compute(X):
        asked.append(len(X))
        return torch.from_numpy(X.copy())

    blocks = [rng.normal(size=(10, 3)) for _ in range(3)]
    for block in (blocks[0], blocks[1], blocks[0], blocks[2], blocks[0], blocks[1]):
        assert torch.equal(memory.features(block, compute), torch.from_numpy(block))
    assert len(asked) == 4, "the second block was forgotten for the third, the first was not"


def test_memory_counts_what_rows_are_known_by(monkeypatch, rng):
    monkeypatch.setattr(memory_module, "MOST_BYTES", 2**20)
    memory = FeatureMemory()
    for _ in range(30):  # narrow features: 8 bytes a row beside some 200
        memory.features(rng.normal(size=(500, 1)), lambda X: torch.from_numpy(X.copy()))
    assert 2000 < len(memory._place) < 5500


def test_memory_in_threads(monkeypatch, rng):
    monkeypatch.setattr(memory_module, "MOST_BYTES", 10_000)
    memory, interval = FeatureMemory(), sys.getswitchinterval()
    pools = [rng.normal(size=(40, 3)) for _ in range(4)]

    def ask(seed):
        for i in np.random.default_rng(seed).integers(4, size=60):
            found = memory.features(pools[i], lambda X: torch.from_numpy(X.copy()))
            assert torch.equal(found, torch.from_numpy(pools[i]))

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(ask, range(4)))
    finally:
        sys.setswitchinterval(interval)
    assert len(pickle.loads(pickle.dumps(memory))._place) == 0


def test_memory_does_not_confuse_types_and_shapes(rng):
    X = rng.integers(0, 9, size=(4, 6))
    memory = FeatureMemory()
    for rows_now in (X, X.astype(np.int32), X.astype(float), X.reshape(4, 2, 3), X[:, :3]):
        found = memory.features(rows_now, lambda X: torch.from_numpy(X.reshape(4, -1) * 2.0))
        assert torch.equal(found, torch.from_numpy(rows_now.reshape(4, -1) * 2.0))


def test_representation_of_an_updated_model(rows):
    X, y = rows
    learner = ActiveLearner(update="laplace", random_state=0).fit(X[:40], y[:40])
    learner.teach(X[40:60], y[40:60])
    seen = represent(learner, X)
    np.testing.assert_allclose(seen.probabilities, learner.predict_proba(X))


@pytest.mark.parametrize("as_rows", [np.array, torch.tensor], ids=["array", "tensor"])
def test_what_the_caller_does_to_rows_later_changes_nothing(as_rows, rows):
    X, y = rows
    learner = ActiveLearner(query_strategy=MarginQuery(), update="laplace", random_state=0)
    learner.fit(X[:40], y[:40])
    pool = as_rows(X[40:])
    expected = learner.predict_proba(pool), learner.query(pool, 5)
    pool += 1.0
    np.testing.assert_array_equal(learner.predict_proba(as_rows(X[40:])), expected[0])
    assert learner.query(as_rows(X[40:]), 5).tolist() == expected[1].tolist()


def test_updates_begin_where_they_were_not_asked_for(rows):
    X, y = rows
    learner = ActiveLearner(LogisticRegression(), MarginQuery(), random_state=0)
    for update in ("laplace", "refit", "laplace"):
        learner.set_params(update="refit").fit(X[:40], y[:40]).set_params(update=update)
        learner.teach(X[40:45], y[40:45])
        assert isinstance(learner.estimator_, LaplaceClassifier) == (update == "laplace")
        trained = learner.estimator_.estimator_ if update == "laplace" else None
        learner.teach(X[45:50], y[45:50])
        if update == "laplace":
            assert learner.estimator_.estimator_ is trained


def test_memory_of_rows_in_bfloat16(rows):
    X = torch.tensor(rows[0]).bfloat16()
    memory, asked = FeatureMemory(), []

    def compute(X):
        asked.append(len(X))
        return X.float()

    for _ in range(2):
        assert torch.equal(memory.features(X, compute), X.float())
    assert asked == [len(X)]
