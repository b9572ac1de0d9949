# SPDX-License-Identifier: BSD-3-Clause
"""Features, logits, probabilities and head belong together, or an error or a warning says no."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from representation_nets import MLP, digits, make_net
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn
from torch.utils.data import Dataset

from skbait import BaitQuery, BaldQuery, CoreSetQuery, MarginQuery
from skbait.representation import represent
from skbait.utils.introspection import takes_nan

X = np.random.RandomState(0).randn(200, 4).astype(np.float32)
Y = np.arange(200) % 3


def net_of(module, **params):
    return make_net(module, **{"batch_size": 16, "lr": 0.01} | params)


class Sorts(MLP):
    """As networks do that pack sequences by their length; `undo` says when."""

    undo = "late"

    def forward(self, x):
        order = x[:, 0].argsort()
        back = order.argsort()
        h = self.body(x[order])
        return self.head(h[back]) if self.undo == "early" else self.head(h)[back]


class SortsBody(Sorts):
    undo = "early"


class Mixes(MLP):
    def forward(self, x):
        z = super().forward(x)
        return z - z.mean(0)


@pytest.mark.parametrize("batch_size", [16, 512])
@pytest.mark.parametrize("module", [Sorts, Mixes])
def test_rows_that_move_after_the_last_layer_are_refused(module, batch_size):
    net = net_of(module, batch_size=batch_size).fit(X, Y)
    with pytest.raises(ValueError, match="not made of what 'head' gives for the same row"):
        represent(net, X)
    with pytest.raises(ValueError, match="sorted or mixed"):
        CoreSetQuery(FrozenEstimator(net)).fit(X[:20], Y[:20]).query(X[20:], 3)
    assert len(MarginQuery(FrozenEstimator(net)).fit(X[:20], Y[:20]).query(X[20:], 3)) == 3


def test_rows_that_move_before_the_last_layer_do_no_harm():
    net = net_of(SortsBody).fit(X, Y)
    seen = represent(net, X)
    torch.testing.assert_close(seen.head.probabilities(seen.features), seen.probabilities)
    np.testing.assert_allclose(seen.probabilities, net.predict_proba(X), rtol=1e-6)


class InPlace(MLP):
    def forward(self, x):
        z = super().forward(x)
        return z if self.training else torch.softmax(z / 2, dim=1).mul_(0.9).add_(0.1 / 3).log_()


class Saturated(MLP):
    def forward(self, x):
        return torch.log(torch.softmax(3e3 * super().forward(x), dim=1))


class Detached(MLP):
    def forward(self, x):
        z = super().forward(x)
        return z if self.training else torch.from_numpy(z.numpy() / 2)


class Particular(MLP):
    """Takes whole batches only, but for the two rows that are looked at first."""

    def forward(self, x):
        if len(x) not in (2, 20):
            raise RuntimeError("20 rows, please")
        return super().forward(x) / 2


class Negative(MLP):
    def forward(self, x):
        return -super().forward(x)


class Masked(MLP):
    def forward(self, x):
        return super().forward(x).index_fill(1, torch.tensor([0]), -torch.inf)


class NoisyLogits(MLP):
    def forward(self, x):
        z = super().forward(x)
        return z + 0.1 * torch.randn_like(z)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "module", [InPlace, Saturated, Detached, Particular, Negative, Masked, NoisyLogits]
)
def test_what_follows_the_layer_row_by_row_is_no_reason_to_refuse(module):
    torch.manual_seed(0)
    net = net_of(module, batch_size=20).initialize()
    if module is not Detached:
        seen = represent(net, X)
        assert seen.head is None
        torch.testing.assert_close(seen.features, net.module_.body(torch.from_numpy(X)).detach())
    assert represent(net, X, last_layer="head").features.shape == (200, 5)


class LowRank(nn.Linear):
    """A linear layer that does more than its weights say."""

    def __init__(self):
        super().__init__(64, 3)
        self.weight.data *= 10
        self.down = nn.Parameter(torch.randn(64, 1))
        self.up = nn.Parameter(torch.randn(1, 3) * 0.1)

    def forward(self, x):
        return super().forward(x) + 0.1 * (x @ self.down @ self.up)


def test_a_layer_that_does_more_than_its_weights_has_no_head():
    torch.manual_seed(0)
    net = net_of(LowRank).initialize()
    rows = np.random.RandomState(0).randn(500, 64).astype(np.float32)
    assert represent(net, rows).head is None


class TimesFour(nn.Linear):
    def forward(self, x):
        return 4 * super().forward(x)


def test_saturated_probabilities_do_not_hide_another_head():
    y = np.arange(100) % 3
    rows = (60 * np.eye(6)[y]).astype(np.float32)
    for layer, kept in ((nn.Linear, True), (TimesFour, False)):
        net = net_of(layer, module__in_features=6, module__out_features=3, max_epochs=30, lr=0.1)
        assert (represent(net.fit(rows, y), rows).head is not None) == kept


class Shifted(MLP):
    def forward(self, x):
        z = super().forward(x)
        return 2 * (z - z.max())


def test_a_shift_of_all_logits_is_no_mixture():
    assert represent(net_of(Shifted).initialize(), X).head is None


class Prototypes(MLP):
    """Distances to prototypes, after a linear embedding as wide as there are classes."""

    def __init__(self):
        super().__init__()
        del self.head
        self.embedding = nn.Linear(5, 3)
        self.prototypes = nn.Parameter(torch.randn(3, 3))

    def forward(self, x):
        return -torch.cdist(self.embedding(self.body(x)), self.prototypes.flip(0))


def test_a_layer_that_does_not_rank_the_classes_is_warned_of():
    torch.manual_seed(0)
    net = net_of(Prototypes).initialize()
    net.module_.embedding.weight.data *= 10.0
    net.module_.prototypes.data = -10.0 * torch.eye(3)
    with pytest.warns(UserWarning, match="'embedding' was taken for the last layer"):
        assert represent(net, X).head is None
    represent(net, X, last_layer="embedding")  # no warning: it was named


class HalfPrecision(MLP):
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(x)


def test_half_precision_keeps_its_head():
    images, y = digits()
    rows = images.reshape(len(images), -1)
    net = net_of(
        HalfPrecision,
        module__width=64,
        module__n_classes=10,
        max_epochs=60,
        lr=0.5,
        batch_size=32,
    )
    torch.manual_seed(0)
    net.fit(rows[:200], y[:200])
    for start in range(0, 1600, 200):
        assert represent(net, rows[start : start + 200]).head is not None


def test_a_temperature_is_seen_whatever_the_first_rows():
    rows = X.copy()
    rows[:100] *= 100.0  # saturated: the same with and without the temperature
    net = net_of(MLP, predict_nonlinearity=lambda z: torch.softmax(z / 3, dim=-1))
    net.fit(X, Y)
    for order in (slice(None), slice(None, None, -1)):
        assert represent(net, rows[order].copy()).head is None
    with pytest.raises(TypeError, match="linear head"):
        BaldQuery(FrozenEstimator(net)).fit(rows[:60], Y[:60]).query(rows, 3)


class CompiledInside(MLP):
    def __init__(self):
        super().__init__()
        self.run = torch.compile(super().forward, backend="eager")

    def forward(self, x):
        return self.run(x)


@pytest.mark.filterwarnings("ignore")  # torch.compile's own
def test_compiled_functions_inside():
    net = net_of(CompiledInside).fit(X, Y)
    expected = net.predict_proba(X)  # compiled by now
    seen = represent(net, X)
    assert seen.features.shape == (200, 5)
    np.testing.assert_allclose(seen.probabilities, expected, rtol=1e-5, atol=1e-6)


def test_in_inference_mode():
    query = BaitQuery(net_of(MLP), random_state=0).fit(X[:60], Y[:60])
    expected = query.query(X[60:], 3)
    with torch.inference_mode():
        np.testing.assert_array_equal(query.query(X[60:], 3), expected)


# ---------------------------------------------------------------------------- seeds of passes


class DropsOut(MLP):
    def forward(self, x):
        return self.head(nn.functional.dropout(self.body(x), 0.5))


class Noisy(Dataset):
    def __len__(self):
        return 140

    def __getitem__(self, position):
        noise = np.random.randn(4).astype(np.float32)
        return torch.from_numpy(X[60 + position] + noise) + torch.randn(4), 0


@pytest.mark.parametrize("strategy", [MarginQuery, BaitQuery])
@pytest.mark.parametrize("kind", ["module", "rows"])
def test_the_seed_decides_where_a_pass_is_random(strategy, kind):
    module, pool = (DropsOut, X[60:]) if kind == "module" else (MLP, Noisy())
    query = strategy(net_of(module), random_state=0).fit(X[:60], Y[:60])
    chosen = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        before = torch.get_rng_state()
        chosen.append(query.query(pool, 4).tolist())
        assert torch.equal(torch.get_rng_state(), before)
    assert chosen[0] == chosen[1]
    other = strategy(net_of(module), random_state=1).fit(X[:60], Y[:60])
    assert other.query(pool, 4).tolist() != chosen[0]


@pytest.mark.parametrize(
    "wrapper",
    [
        lambda net: CalibratedClassifierCV(net, cv=2, n_jobs=2),
        lambda net: BaggingClassifier(net, n_estimators=2, n_jobs=2),
        lambda net: GridSearchCV(net, {"lr": [0.01, 0.1]}, cv=2, n_jobs=2),
    ],
)
def test_nets_that_would_be_trained_in_processes_have_a_seed(wrapper):
    model = wrapper(net_of(MLP))
    chosen = [
        MarginQuery(model, random_state=0).fit(X[:60], Y[:60]).query(X[60:], 4) for _ in range(2)
    ]
    np.testing.assert_array_equal(*chosen)


# ---------------------------------------------------------------------------- models


def test_ridge_inside_a_calibration():
    model = CalibratedClassifierCV(RidgeClassifier(), cv=2)
    for y in (Y, Y > 0):
        assert len(BaitQuery(model).fit(X[:60], y[:60]).query(X[60:], 3)) == 3


def test_sparse_coefficients():
    model = LogisticRegression(l1_ratio=1.0, C=0.1, solver="saga").fit(X, Y)
    expected = represent(model, X)
    seen = represent(model.sparsify(), X)
    torch.testing.assert_close(seen.head.weight, expected.head.weight)
    torch.testing.assert_close(seen.probabilities, expected.probabilities)


def test_who_takes_nan():
    imputed = make_pipeline(SimpleImputer(), LogisticRegression())
    union = make_union(SimpleImputer(), MissingIndicator(features="all"))
    plain = LogisticRegression()
    assert takes_nan(make_pipeline(union, plain))
    for part in ("passthrough", StandardScaler()):
        handed_on = FeatureUnion([("a", SimpleImputer()), ("b", part)])
        assert not takes_nan(make_pipeline(handed_on, plain))
        assert takes_nan(make_pipeline(handed_on, SimpleImputer(), plain))
    scaled = StandardScaler().fit(X)
    for step in (make_pipeline(StandardScaler()), FrozenEstimator(scaled)):
        assert not takes_nan(make_pipeline(step, plain))
    assert takes_nan(VotingClassifier([("a", imputed), ("b", "drop")]))
    assert not takes_nan(VotingClassifier([("a", imputed), ("b", plain)]))
    holes = X.copy()
    holes[::7, 0] = np.nan
    query = BaitQuery(make_pipeline(union, plain)).fit(holes[:60], Y[:60])
    assert len(query.query(holes[60:], 3)) == 3


def test_searches_are_judged_by_what_they_find():
    loss = GridSearchCV(SGDClassifier(random_state=0), {"loss": ["log_loss"]}, cv=2)
    assert len(BaitQuery(loss).fit(X[:60], Y[:60]).query(X[60:], 3)) == 3
    placeholder = Pipeline([("model", LinearSVC())])
    found = GridSearchCV(placeholder, {"model": [LogisticRegression()]}, cv=2)
    assert len(MarginQuery(found).fit(X[:60], Y[:60]).query(X[60:], 3)) == 3
    forest = Pipeline([("model", LogisticRegression())])
    forest = GridSearchCV(forest, {"model": [RandomForestClassifier(5)]}, cv=2)
    query = BaitQuery(forest)
    with pytest.raises(TypeError, match="needs last-layer features"):
        query.fit(X[:60], Y[:60])
    assert not hasattr(query, "estimator_")
    with pytest.raises(TypeError, match="LinearSVC has no predict_proba"):
        MarginQuery(GridSearchCV(LinearSVC(), {"C": [1.0]}, cv=2)).fit(X[:60], Y[:60])


class Unlabelled(Dataset):
    def __len__(self):
        return 140

    def __getitem__(self, position):
        return X[60 + position], None


def test_a_dataset_whose_labels_are_none():
    query = BaitQuery(net_of(MLP), random_state=0).fit(X[:60], Y[:60])
    np.testing.assert_array_equal(query.query(Unlabelled(), 3), query.query(X[60:], 3))
