# SPDX-License-Identifier: BSD-3-Clause
"""BoSS: its promises as a strategy, its members, and the choice of the best batch."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch import NeuralNetClassifier
from torch import nn

from skbait.strategies._members import EnsembleQuery, Job, choose_all
from skbait.strategies._oracle_members import DropQueryOracle, TypiClustOracle
from skbait.strategies.bait import BaitQuery
from skbait.strategies.base import BaseQuery
from skbait.strategies.boss import BossQuery
from skbait.strategies.drop_query import drop_candidates
from skbait.strategies.margin import MarginQuery
from skbait.strategies.random import RandomQuery
from skbait.strategies.view import View
from skbait.utils.estimator_checks import parametrize_with_query_checks


class From(BaseQuery):
    """Chooses the n rows from a position on, or back from there."""

    def __init__(
        self,
        estimator=None,
        *,
        start=0,
        back=False,
        subset_size=None,
        last_layer=None,
        device="auto",
        random_state=None,
    ):
        super().__init__(
            estimator,
            subset_size=subset_size,
            last_layer=last_layer,
            device=device,
            random_state=random_state,
        )
        self.start = start
        self.back = back

    def _select(self, view, n):
        rows = np.arange(self.start, self.start + n) % view.n_pool
        return rows[::-1] if self.back else rows, None


FEW = [
    ("random", RandomQuery()),
    ("margin", MarginQuery()),
    ("bait", BaitQuery(variant="binary")),
    ("typiclust_oracle", TypiClustOracle()),
    ("dropquery_oracle", DropQueryOracle()),
]


def few(**params):
    """Return a BoSS of few members and candidates."""
    return BossQuery(**{"strategies": FEW, "n_candidates": 10, "n_epochs": 3} | params)


def fixed(starts, **params):
    """Return a BoSS whose candidates are known: each from one position of the whole pool."""
    members = [(f"from{start}", From(start=start)) for start in starts]
    return BossQuery(
        FrozenEstimator(params.pop("model")),
        strategies=members,
        n_candidates=len(members),
        subpool_factor=10**6,
        **params,
    )


@pytest.fixture
def data(seed):
    """Labelled rows, a pool and held-out rows, with their labels."""
    X, y = make_blobs(
        n_samples=420, centers=3, n_features=6, cluster_std=4.0, random_state=seed + 1
    )
    X /= 5
    return (X[:30], y[:30]), (X[30:220], y[30:220]), (X[220:], y[220:])


@pytest.fixture
def ask(data):
    """Return a function that fits a strategy on the data and queries it with all labels."""
    (X, y), (X_pool, y_pool), (X_val, y_val) = data

    def query(strategy, n=5, **params):
        known = {"y_pool": y_pool, "X_val": X_val, "y_val": y_val} | params
        return strategy.fit(X, y).query(X_pool, n, **known)

    return query


# ------------------------------------------------------------------------- the checks


@parametrize_with_checks([few(), BossQuery(n_candidates=10, n_epochs=1)])
def test_sklearn_checks(estimator, check):
    check(estimator)


@parametrize_with_query_checks(
    [
        BossQuery(strategies=FEW[1:], n_candidates=8, n_epochs=2),
        BossQuery(strategies=FEW[:2], n_candidates=4, scoring="brier", update="laplace"),
    ]
)
def test_query_checks(strategy, check):
    check(strategy)


def test_all_ten_members(ask):
    strategy = BossQuery(n_candidates=24, n_epochs=2, random_state=0)
    positions = ask(strategy)
    assert len(set(positions)) == 5
    names = [name for name, _ in BossQuery._default_strategies()]
    assert len(names) == 10
    assert strategy.candidate_names_.tolist() == np.repeat(names, 2).tolist()
    assert strategy.candidate_losses_.shape == (20,)


@pytest.mark.parametrize("update", ["retrain", "laplace"])
@pytest.mark.parametrize("scoring", ["zero_one", "brier", "cross_entropy"])
def test_equal_seeds_give_equal_batches_in_any_number_of_jobs(scoring, update, ask):
    strategy = few(scoring=scoring, update=update, random_state=3)
    positions = ask(strategy)
    losses = strategy.candidate_losses_
    np.testing.assert_array_equal(ask(clone(strategy)), positions)
    with joblib.parallel_config(backend="threading"):
        np.testing.assert_array_equal(ask(clone(strategy).set_params(n_jobs=3)), positions)
    if scoring == "brier":  # processes are slow to start
        other = clone(strategy).set_params(n_jobs=2)
        np.testing.assert_array_equal(ask(other), positions)
        np.testing.assert_array_equal(other.candidate_losses_, losses)
    others = {tuple(ask(clone(strategy).set_params(random_state=s))) for s in range(5)}
    assert len(others) > 1


def test_networks(seed):
    rng = np.random.default_rng(seed)
    y = np.arange(120) % 3
    X = (rng.normal(size=(120, 1, 4, 4)) + y[:, None, None, None]).astype(np.float32)
    net = NeuralNetClassifier(
        make_module,
        criterion=nn.CrossEntropyLoss,
        max_epochs=3,
        train_split=None,
        classes=range(3),
        verbose=0,
    )
    strategy = few(estimator=net, random_state=seed).fit(X[:20], y[:20])
    known = {"y_pool": y[20:80], "X_val": X[80:], "y_val": y[80:]}
    assert len(set(strategy.query(X[20:80], 4, **known))) == 4


def make_module():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3))


def test_pipelines_and_frames(data):
    pd = pytest.importorskip("pandas")
    tables = [(pd.DataFrame(X, columns=list("abcdef")), pd.Series(y)) for X, y in data]
    (X, y), (X_pool, y_pool), (X_val, y_val) = tables
    model = make_pipeline(StandardScaler(), LogisticRegression())
    strategy = few(estimator=model, random_state=0).fit(X, y)
    chosen = strategy.query(X_pool, 4, y_pool=y_pool, X_val=X_val, y_val=y_val)
    assert len(set(chosen)) == 4


# ----------------------------------------------------------------- what has to be known


def test_labels_are_asked_for(data):
    (X, y), (X_pool, y_pool), (X_val, y_val) = data
    known = {"y_pool": y_pool, "X_val": X_val, "y_val": y_val}
    with pytest.raises(NotFittedError):
        few().query(X_pool, 2, **known)
    strategy = few(random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="without y_pool, X_val, y_val: BossQuery is an oracle"):
        strategy.query(X_pool, 2)
    with pytest.raises(ValueError, match="without y_val:"):
        strategy.query(X_pool, 2, y_pool=y_pool, X_val=X_val)
    for wrong, words in [
        ({"y_pool": y_pool[:-1]}, "y_pool has 189 labels, but X_pool has 190 rows"),
        ({"y_val": y_val[:-1]}, "y_val has 199 labels, but X_val has 200 rows"),
        ({"y_pool": np.where(y_pool == y_pool[7], -1, y_pool)}, "marks a row without a label"),
        ({"y_val": y_val.astype(str)}, "y_val holds labels such as"),
        ({"y_val": y_val + 0.5}, "Unknown label type: continuous"),
        ({"X_val": X_val[:, :4]}, r"has rows of shape \(4,\)"),
        ({"X_val": X_val[:, 0]}, "X_val"),
        ({"X_val": np.where(X_val > 2, np.nan, X_val)}, "Input X_val contains NaN"),
        ({"X_val": X_val[:0]}, "X_val is empty"),
    ]:
        with pytest.raises(ValueError, match=words):
            strategy.query(X_pool, 2, **{**known, **wrong})
    assert not hasattr(strategy, "winner_")


def test_only_candidates_are_looked_at(data):
    (X, y), (X_pool, y_pool), (X_val, y_val) = data
    strategy = few(random_state=0).fit(X, y)
    among = np.r_[150:190, 3:40]
    known = {"X_val": X_val, "y_val": y_val}
    chosen = strategy.query(X_pool, 4, y_pool=y_pool, candidates=among, **known)
    alone = strategy.query(X_pool[among], 4, y_pool=y_pool[among], **known)
    np.testing.assert_array_equal(chosen, among[alone])
    # nor are other rows' labels, be they marks of missing ones
    names = np.array(["a", "b", "c"], dtype=object)
    strategy.fit(X, names[y])
    known = {"X_val": X_val, "y_val": names[y_val]}
    few_and_most = among[:30], np.delete(np.arange(190), 7)
    for among in few_and_most:
        expected = strategy.query(X_pool, 4, y_pool=names[y_pool], candidates=among, **known)
        marked = np.full(190, None)
        marked[among] = names[y_pool[among]]
        found = strategy.query(X_pool, 4, y_pool=marked, candidates=among, **known)
        np.testing.assert_array_equal(found, expected)
    marked[20] = None
    with pytest.raises(ValueError, match=r"y_pool\[20\]=None marks .* or out of candidates\."):
        strategy.query(X_pool, 4, y_pool=marked, candidates=among, **known)


def test_a_class_that_the_model_has_not_met(data):
    """Rows of a new class are worth their labels: without them all of it is predicted wrongly."""
    (X, y), (X_pool, y_pool), (X_val, y_val) = data
    old = y != 2
    order = np.argsort(y_pool != 2, kind="stable")  # rows of class 2 first
    for names in (np.array([0, 1, 2]), np.array(["a", "b", "zoo"])):
        model = LogisticRegression().fit(X[old], names[y[old]])
        strategy = fixed([0, 170], model=model, scoring="cross_entropy", learning_rate=0.1)
        chosen = strategy.fit(X[old], names[y[old]]).query(
            X_pool[order], 10, y_pool=names[y_pool[order]], X_val=X_val, y_val=names[y_val]
        )
        np.testing.assert_array_equal(chosen, np.arange(10))
        assert strategy.winner_ == 0
        laplace = few(estimator=FrozenEstimator(model), update="laplace", random_state=0)
        chosen = laplace.fit(X[old], names[y[old]]).query(
            X_pool, 3, y_pool=names[y_pool], X_val=X_val, y_val=names[y_val]
        )
        assert len(set(chosen)) == 3


# --------------------------------------------------------------------- the best batch


def train_plainly(weight, bias, X, y, n_epochs, lr):
    """Train a head on all rows at once, where their order does not matter."""
    layer = nn.Linear(weight.shape[1], len(weight), dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(weight))
        layer.bias.copy_(torch.as_tensor(bias))
    optimizer = torch.optim.SGD(
        layer.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_epochs)
    for _ in range(n_epochs):
        optimizer.zero_grad()
        nn.functional.cross_entropy(layer(torch.tensor(X)), torch.tensor(y)).backward()
        optimizer.step()
        schedule.step()
    return lambda rows: layer(torch.tensor(rows)).detach().numpy()


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("scoring", ["zero_one", "brier", "cross_entropy"])
def test_losses_of_known_candidates(scoring, n_classes, data):
    data = [(X[y < n_classes], y[y < n_classes]) for X, y in data]
    (X, y), (X_pool, y_pool), (X_val, y_val) = data
    model = LogisticRegression().fit(X, y)
    weight, bias = model.coef_, model.intercept_
    if n_classes == 2:  # a single logit
        weight, bias = np.vstack([0 * weight, weight]), np.append(0, bias)
    starts = [0, 10, 20, 30, 40]
    strategy = fixed(starts, model=model, scoring=scoring, batch_size=64, learning_rate=0.05)
    chosen = strategy.fit(X, y).query(X_pool, 10, y_pool=y_pool, X_val=X_val, y_val=y_val)
    expected = []
    for start in starts:
        rows = np.vstack([X, X_pool[start : start + 10]])
        labels = np.append(y, y_pool[start : start + 10])
        logits = train_plainly(weight, bias, rows, labels, 50, 0.05)(X_val)
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        if scoring == "zero_one":
            expected.append((logits.argmax(axis=1) != y_val).mean())
        elif scoring == "brier":
            expected.append(np.square(p - np.eye(n_classes)[y_val]).sum(axis=1).mean())
        else:
            expected.append(-np.log(p[np.arange(len(y_val)), y_val]).mean())
    np.testing.assert_allclose(strategy.candidate_losses_, expected, rtol=1e-6)
    best = int(np.argmin(expected))
    assert strategy.winner_ == best
    np.testing.assert_array_equal(chosen, np.arange(starts[best], starts[best] + 10))


def test_laplace_updates_of_known_candidates(data):
    (X, y), (X_pool, y_pool), (X_val, y_val) = data
    model = LogisticRegression().fit(X, y)
    starts = [0, 40, 80]
    strategy = fixed(starts, model=model, scoring="cross_entropy", update="laplace")
    strategy.fit(X, y).query(X_pool, 10, y_pool=y_pool, X_val=X_val, y_val=y_val)
    expected = []
    for start in starts:
        mean = np.column_stack([model.coef_, model.intercept_])
        H = np.column_stack([X, np.ones(len(X))])
        sigma = np.linalg.inv(np.eye(7) + H.T @ H)
        for i in range(start, start + 10):
            h = np.append(X_pool[i], 1)
            p = np.exp(mean @ h) / np.exp(mean @ h).sum()
            sigma = sigma - np.outer(sigma @ h, sigma @ h) / (1 + h @ sigma @ h)
            mean = mean + 3 * np.outer(np.eye(3)[y_pool[i]] - p, sigma @ h)
        logits = np.column_stack([X_val, np.ones(len(X_val))]) @ mean.T
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        expected.append(-log_p[np.arange(len(y_val)), y_val].mean())
    np.testing.assert_allclose(strategy.candidate_losses_, expected, rtol=1e-9)


def test_diverging_trainings_are_told(ask):
    with pytest.raises(ValueError, match=r"learning_rate=1e\+200 makes the training"):
        ask(few(learning_rate=1e200, random_state=0))


@pytest.mark.parametrize("update", ["retrain", "laplace"])
def test_the_batch_is_never_worse_than_any_candidate(update, ask):
    for random_state in range(5):
        strategy = few(update=update, random_state=random_state)
        ask(strategy)
        losses = strategy.candidate_losses_
        assert np.isfinite(losses).all()
        assert losses[strategy.winner_] == losses.min()
        assert not (losses[: strategy.winner_] == losses.min()).any()  # the first of equal ones


def test_the_order_within_a_batch_does_not_matter(data):
    (X, y), (X_pool, y_pool), (X_val, y_val) = data
    model = LogisticRegression().fit(X, y)
    strategy = fixed([20], model=model, scoring="cross_entropy")
    strategy.set_params(
        strategies=[("there", From(start=20)), ("back", From(start=20, back=True))],
        n_candidates=4,
    )
    chosen = strategy.fit(X, y).query(X_pool, 6, y_pool=y_pool, X_val=X_val, y_val=y_val)
    assert len(set(strategy.candidate_losses_)) == 1
    np.testing.assert_array_equal(chosen, np.arange(20, 26))  # in the order of the first


def test_rounding_does_not_decide(data):
    """Batches whose rows are equal, but not the same, are equally good."""
    (X, y), (X_pool, y_pool), (X_val, y_val) = data
    model = LogisticRegression().fit(X, y)
    pool, labels = np.tile(X_pool[:20], (6, 1)), np.tile(y_pool[:20], 6)
    strategy = fixed([100, 20, 60, 0, 80], model=model, scoring="cross_entropy")
    strategy.fit(X, y).query(pool, 7, y_pool=labels, X_val=X_val, y_val=y_val)
    np.testing.assert_allclose(strategy.candidate_losses_, strategy.candidate_losses_[0])
    assert strategy.winner_ == 0


# ------------------------------------------------------------------------- the members


def test_members_are_parameters(ask):
    strategy = BossQuery(n_candidates=10, n_epochs=1, random_state=0)
    assert "bait__variant" in strategy.get_params()
    strategy.set_params(typiclust=None, badge=None, alfamix=None, bait__variant="exp")
    assert strategy.get_params()["bait__variant"] == "exp"
    assert strategy.get_params()["badge"] is None
    ask(strategy)
    assert set(strategy.candidate_names_) == {
        "random",
        "margin",
        "core_set",
        "bait",
        "dropquery",
        "typiclust_oracle",
        "dropquery_oracle",
    }
    assert clone(strategy).get_params()["badge"] is None
    strategy.set_params(strategies=None)
    assert strategy.get_params()["badge"] is not None


def test_members_are_drawn():
    drawn = estimator_html_repr(few().set_params(margin=None))
    assert "RandomQuery" in drawn
    assert "typiclust_oracle" in drawn
    assert "MarginQuery" not in drawn


def test_a_list_of_members_is_not_written_to():
    members = [("a", RandomQuery()), ("b", MarginQuery())]
    strategy = BossQuery(strategies=members)
    assert strategy.strategies is members
    strategy.set_params(b=None)
    assert members[1][1] is not None


def test_members_that_cannot_be(data):
    (X, y), *_ = data
    for strategies, words in [
        ([], "at least one strategy is needed"),
        ([("a", None)], "at least one strategy is needed"),
        ([("a", RandomQuery)], "must be an instance of a query strategy"),
        ([RandomQuery()], "is not a pair"),
        (
            [("a", RandomQuery()), ("a", MarginQuery())],
            r"the names \['a', 'a'\] must be different",
        ),
        ([("a__b", RandomQuery())], "must not be empty or contain '__'"),
        ([("n_jobs", RandomQuery())], r"\['n_jobs'\] are parameters of BossQuery"),
        ([("a", MarginQuery(LogisticRegression()))], "a__estimator=LogisticRegression"),
        ([("a", MarginQuery(subset_size=0.5))], "a__subset_size=0.5"),
        ([("a", BaitQuery(variant="best"))], "in the member 'a': The 'variant' parameter"),
        ((("a", RandomQuery()),), "'strategies' parameter of BossQuery must be an instance of"),
    ]:
        with pytest.raises(ValueError, match=words):
            BossQuery(strategies=strategies).fit(X, y)
    with pytest.raises(ValueError, match="n_candidates=9 is less than the 10 strategies"):
        BossQuery(n_candidates=9).fit(X, y)
    top = few(strategies=[("a", BaitQuery(variant="exp", top_c=4))]).fit(X, y)
    with pytest.raises(ValueError, match="in the member 'a': top_c=4 is more than the 3 classes"):
        top.query(X, 2, y_pool=y, X_val=X, y_val=y)


def test_records_are_no_part_of_the_state(ask, data):
    strategy = few(random_state=0).fit(*data[0])
    before = joblib.hash(strategy)
    ask(strategy)
    assert strategy.winner_ == np.argmin(strategy.candidate_losses_)
    assert joblib.hash(strategy) == before
    assert not hasattr(pickle.loads(pickle.dumps(strategy)), "winner_")
    strategy.fit(*data[0])
    assert not hasattr(strategy, "winner_")


@pytest.mark.parametrize(
    "n_pool, n, max_subpool, sizes",
    [
        (1000, 10, 300, (40, 299)),
        (1000, 10, 5000, (40, 999)),
        (30, 10, 5000, (30, 30)),
        (1000, 10, 30, (40, 40)),
        (1, 1, 5000, (1, 1)),
    ],
)
def test_sizes_of_sub_pools(n_pool, n, max_subpool, sizes, seed):
    view = View(np.zeros((n_pool, 2)), np.zeros((3, 2)), np.arange(3), rng=seed)
    strategy = BossQuery(n_candidates=2000, max_subpool=max_subpool)
    jobs = strategy._jobs(view, n)
    assert len(jobs) == 2000
    found = np.array([len(job.rows) for job in jobs])
    assert found.min() == sizes[0]
    assert found.max() <= sizes[1]
    assert found.max() >= 0.95 * sizes[1]
    assert all((np.diff(job.rows) > 0).all() for job in jobs)
    assert len({job.seed for job in jobs}) > 1990


def test_who_failed_is_told(data):
    class Broken(MarginQuery):
        def _select(self, view, n):
            raise ArithmeticError("no idea")

    (X, y), (X_pool, _), _ = data
    view = View(X_pool, X, y, estimator=LogisticRegression().fit(X, y), rng=0)
    with pytest.raises(ArithmeticError, match="no idea") as caught:
        choose_all(view, [Job("b", Broken(), None, 0)], 3)
    assert "'b'" in caught.value.__notes__[0]
    assert issubclass(BossQuery, EnsembleQuery)


# ------------------------------------------------------- members that look at labels


def medoids(X, y_pool, y_labeled, rows, n):
    """Choose as TypiClust* does, slowly; return the choice and how many labels each class has."""
    counts = {label: int(np.sum(y_labeled == label)) for label in np.unique(y_pool)}
    left, chosen = list(rows), []
    for _ in range(n):
        present = [label for label in sorted(counts) if any(y_pool[i] == label for i in left)]
        label = min(present, key=lambda each: counts[each])
        own = [i for i in left if y_pool[i] == label]
        cost = [sum(np.square(X[i] - X[j]).sum() for j in own) for i in own]
        chosen.append(own[int(np.argmin(cost))])
        left.remove(chosen[-1])
        counts[label] += 1
    return chosen, counts


def oracle_view(data, seed, **params):
    (X, y), (X_pool, y_pool), _ = data
    model = LogisticRegression().fit(X, y)
    return View(
        X_pool[:40],
        X,
        y,
        estimator=model,
        rng=seed,
        needs=frozenset({"features", "head", "pool labels"}),
        y_pool=y_pool[:40],
        **params,
    )


@pytest.mark.parametrize("n", [1, 7, 25, 40])
def test_typiclust_oracle(n, data, seed):
    view = oracle_view(data, seed)
    chosen, _ = TypiClustOracle()._choose(view, n)
    X, y = view.X_pool, view.y_pool
    expected, counts = medoids(X, y, view.y_labeled, range(40), n)
    # with two rows of a class left, both are equally far from their mean: the first is taken
    np.testing.assert_array_equal(chosen, expected)
    if n == 7:
        assert max(counts.values()) - min(counts.values()) <= 5


def test_typiclust_oracle_begins_with_the_class_that_has_no_label(data, seed):
    (X, y), (X_pool, y_pool), _ = data
    one = y != 1
    model = LogisticRegression().fit(X[one], y[one])
    needs = frozenset({"features", "pool labels"})
    view = View(X_pool, X[one], y[one], estimator=model, rng=seed, needs=needs, y_pool=y_pool)
    chosen, _ = TypiClustOracle()._choose(view, 5)
    assert (y_pool[chosen] == 1).all()


def test_dropquery_oracle(data, seed):
    view = oracle_view(data, seed)
    member = DropQueryOracle(min_candidates=2)
    chosen, _ = member._choose(view.with_rng(5), 6)
    generator = torch.Generator().manual_seed(
        int(np.random.RandomState(5).randint(np.iinfo(np.int32).max))
    )
    rows = drop_candidates(view.pool.features, view.head, 6, generator, min_candidates=2)
    expected, _ = medoids(view.X_pool, view.y_pool, view.y_labeled, rows.cpu().numpy(), 6)
    np.testing.assert_array_equal(chosen, expected)


def test_oracle_members_on_duplicates(data, seed):
    (X, y), (X_pool, y_pool), _ = data
    needs = frozenset({"features", "head", "pool labels"})
    pool, labels = np.repeat(X_pool[:3], 5, axis=0), np.repeat(y_pool[:3], 5)
    model = LogisticRegression().fit(X, y)
    view = View(pool, X, y, estimator=model, rng=seed, needs=needs, y_pool=labels)
    for member in (TypiClustOracle(), DropQueryOracle()):
        chosen, _ = member._choose(view, 15)
        assert sorted(chosen) == list(range(15))
    first, _ = TypiClustOracle()._choose(view, 1)
    assert first[0] % 5 == 0
