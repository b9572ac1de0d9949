# SPDX-License-Identifier: BSD-3-Clause
"""REFINE: its rounds against a plain reference; its members, jobs and records."""

from __future__ import annotations

import html
import pickle
from math import ceil

import joblib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.utils import estimator_html_repr
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.parallel import Parallel
from skorch import NeuralNetClassifier
from torch import nn

from skbait.learner import ActiveLearner
from skbait.strategies import BaitQuery, BaseQuery, MarginQuery, RandomQuery, View, _members
from skbait.strategies.refine import RefinePool, RefineQuery
from skbait.utils.estimator_checks import parametrize_with_query_checks
from skbait.utils.validation import seed_from

NINE = [
    "random",
    "margin",
    "badge",
    "bait",
    "typiclust",
    "alfamix",
    "dropquery",
    "max_herding",
    "uncertainty_herding",
]


def three():
    """Return members that cost little: one without a model, two with."""
    return [
        ("random", RandomQuery()),
        ("margin", MarginQuery()),
        ("bait", BaitQuery(variant="binary")),
    ]


def small(cls=RefineQuery, **params):
    defaults = {"strategies": three(), "n_rounds": 2, "n_batches": 2, "random_state": 0}
    if cls is RefineQuery:
        defaults["final_strategy"] = MarginQuery()
    return cls(**defaults | params)


class Spy(MarginQuery):
    """Notes the sub-pools that it is shown, in a list of the class."""

    seen = []

    def _select(self, view, n):
        Spy.seen.append(view.positions)
        return super()._select(view, n)


class AsksOnce(RandomQuery):
    """Has something to compute once a query."""

    _needs = frozenset({"features", "probabilities"})
    n_computed = 0

    def _select(self, view, n):
        def compute():
            AsksOnce.n_computed += 1
            return float(view.labeled.features.sum())

        view.once("sum", compute)
        return super()._select(view, n)


class Breaks(RandomQuery):
    def _select(self, view, n):
        raise ZeroDivisionError("over zero")


class Oracle(RandomQuery):
    _needs = frozenset({"features", "probabilities", "pool labels"})


@pytest.fixture(scope="module")
def digits(seed):
    X, y = load_digits(return_X_y=True)
    order = np.random.RandomState(seed).permutation(len(X))
    X, y = X[order] / 16, y[order]
    return X[:60], y[:60], X[60:660]


@pytest.fixture(scope="module")
def model(digits):
    X, y, _ = digits
    return FrozenEstimator(LogisticRegression(C=0.1).fit(X, y))


# ------------------------------------------------------------------------- the checks


@parametrize_with_checks([RefineQuery(), RefinePool()])
def test_sklearn_checks(estimator, check):
    check(estimator)


@parametrize_with_query_checks(
    [
        small(n_rounds=0, final_strategy=BaitQuery(variant="binary")),
        RefineQuery(n_rounds=1, n_batches=1),
    ]
)
def test_query_checks(strategy, check):
    check(strategy)


# ------------------------------------------------------------------------- the rounds


def refine_by_eye(query, model, X, y, pool, n):
    """Return the picks of REFINE, and the sizes, by choices of the members one after another.

    The final strategy must not be random.
    """

    def choose(member, rows, seed):
        view = View(pool[rows], X, y, estimator=model, rng=seed, needs=query._needs)
        return rows[member._choose(view, n)[0]]

    rng = np.random.RandomState(seed_from(query.random_state))
    entropy = rng.randint(np.iinfo(np.int32).max)
    left, sizes = np.arange(len(pool)), [len(pool)]
    for r in range(query.n_rounds):
        size = max(n, ceil(query.subsample * len(left)))
        if r == 0:
            size = max(n, min(size, query.max_first_subsample))
        union = set()
        for place, (_, member) in enumerate(query.strategies):
            for j in range(query.n_batches):
                seeds = np.random.SeedSequence(entropy, spawn_key=(r, place, j)).generate_state(2)
                rng = np.random.RandomState(int(seeds[0]))
                rows = np.sort(rng.choice(left, min(size, len(left)), replace=False))
                union |= set(choose(member, rows, int(seeds[1])).tolist())
        left = np.array(sorted(union))
        sizes.append(len(left))
    return choose(query.final_strategy, left, 0), sizes


@pytest.mark.parametrize("params", [
    {},
    {"n_rounds": 4, "n_batches": 1, "subsample": 0.7},
    {"max_first_subsample": 40, "final_strategy": BaitQuery()},
    {"subsample": 1.0},
])  # fmt: skip
@pytest.mark.parametrize("n", [1, 6, 30])
def test_rounds_are_those_of_the_reference(params, n, digits, model, seed):
    X, y, pool = digits
    query = small(estimator=model, random_state=seed, **params).fit(X, y)
    expected, sizes = refine_by_eye(query, model, X, y, pool, n)
    np.testing.assert_array_equal(query.query(pool, n), expected)
    np.testing.assert_array_equal(query.pool_sizes_, sizes)


@given(
    n_pool=st.integers(1, 300),
    part=st.floats(0, 1),
    n_rounds=st.integers(0, 4),
    n_batches=st.integers(1, 5),
    subsample=st.floats(0.01, 1),
    cap=st.none() | st.integers(1, 300),
    first=st.none() | st.integers(1, 300),
)
def test_sizes(n_pool, part, n_rounds, n_batches, subsample, cap, first, digits, model):
    X, y, pool = digits
    n = max(1, int(part * n_pool))
    query = small(
        estimator=model,
        strategies=[("random", RandomQuery()), ("margin", MarginQuery())],
        n_rounds=n_rounds,
        n_batches=n_batches,
        subsample=subsample,
        max_pool=cap,
        max_first_subsample=first,
    ).fit(X, y)
    chosen = query.query(pool[:n_pool], n)
    assert len(set(chosen.tolist())) == n
    sizes = query.pool_sizes_
    assert sizes.dtype == np.int64
    assert sizes[0] == n_pool
    assert len(sizes) == n_rounds + 1
    assert (sizes >= n).all()
    assert (np.diff(sizes) <= 0).all()
    assert (sizes[1:] <= 2 * n_batches * n).all()
    if cap is not None:
        assert (sizes[1:] <= max(n, cap)).all()


def test_pool_falls_to_what_many_propose(digits, model, seed):
    X, y, pool = digits
    query = RefineQuery(model, n_batches=3, random_state=seed).fit(X, y)
    query.query(pool, 5)
    sizes = query.pool_sizes_
    assert (sizes[1:] <= 9 * 3 * 5).all()
    assert (np.diff(sizes) < 0).all()


def test_members_see_the_subsamples(digits, model):
    X, y, pool = digits
    query = small(estimator=model, strategies=[("spy", Spy())], n_batches=4, subsample=0.5)
    query.fit(X, y)
    for first, n, expected in ((100, 6, 100), (None, 6, 300), (10, 6, 10)):
        Spy.seen.clear()
        query.set_params(max_first_subsample=first).query(pool, n)
        second = max(n, ceil(query.pool_sizes_[1] / 2))
        for r, size in enumerate([expected] + [second] * (second > n)):
            batches = Spy.seen[4 * r : 4 * r + 4]
            assert [len(batch) for batch in batches] == [size] * 4
            assert all((np.diff(batch) > 0).all() for batch in batches), "in the pool's order"
            assert len({tuple(batch) for batch in batches}) > 1, "each batch has its own"
        assert len(Spy.seen) == 4 * (r + 1)


def test_a_pool_of_n_rows_asks_nobody(digits, model):
    X, y, pool = digits
    query = small(estimator=model, strategies=[("breaks", Breaks())]).fit(X, y)
    assert sorted(query.query(pool[:8], 8)) == list(range(8))
    assert query.pool_sizes_.tolist() == [8, 8, 8]
    assert query.n_proposed_ == {"breaks": 8}


@pytest.mark.parametrize("final", [MarginQuery(), RandomQuery(), BaitQuery(), None])
def test_no_rounds_is_the_final_strategy_alone(final, digits, model):
    X, y, pool = digits
    query = RefineQuery(model, final_strategy=final, n_rounds=0, random_state=3).fit(X, y)
    alone = clone(query._final()).set_params(estimator=model, random_state=3).fit(X, y)
    chosen, utilities = query.query(pool, 7, return_utilities=True)
    expected, expected_utilities = alone.query(pool, 7, return_utilities=True)
    np.testing.assert_array_equal(chosen, expected)
    np.testing.assert_array_equal(utilities, expected_utilities)
    assert query.pool_sizes_.tolist() == [600]
    assert query._stochastic == alone._stochastic


# ------------------------------------------------------------------------ the records


def test_records_of_a_query(digits, model):
    X, y, pool = digits
    query = small(estimator=model)
    assert not hasattr(query.fit(X, y), "pool_sizes_")
    chosen = query.query(pool, 10)
    assert list(query.n_proposed_) == ["random", "margin", "bait"]
    assert all(0 <= count <= 10 for count in query.n_proposed_.values())
    assert sum(query.n_proposed_.values()) >= 10, "each row was proposed by somebody"
    sizes, proposed = query.pool_sizes_, query.n_proposed_
    with pytest.raises(ValueError, match="n=0"):
        query.query(pool, 0)
    assert query.pool_sizes_ is sizes
    assert query.n_proposed_ is proposed
    restored = pickle.loads(pickle.dumps(query))
    np.testing.assert_array_equal(restored.query(pool, 10), chosen)
    assert not hasattr(query.fit(X, y), "pool_sizes_")


def test_proposals_are_counted_for_each_member(digits, model):
    X, y, pool = digits
    query = small(
        estimator=model, strategies=[("a", MarginQuery()), ("b", MarginQuery())], subsample=1.0
    ).fit(X, y)
    query.query(pool, 10)  # both propose the same rows, those with the smallest margin
    assert query.n_proposed_ == {"a": 10, "b": 10}
    assert query.pool_sizes_.tolist() == [600, 10, 10]


# ------------------------------------------------------------------------ the members


def test_default_members():
    query = RefineQuery()
    assert query.strategies is None
    assert [name for name, _ in query._members()] == NINE
    assert dict(query._members())["bait"].variant == "binary"
    assert query._needs >= {"features", "probabilities"}
    assert type(query._final()).__name__ == "UncertaintyHerdingQuery"


def test_members_are_parameters():
    query = RefineQuery()
    assert {*NINE, "bait__variant"} <= set(query.get_params())
    assert not set(NINE) & set(query.get_params(deep=False))
    query.set_params(margin=None, bait__variant="exact")
    assert dict(query.strategies)["margin"] is None
    assert dict(query.strategies)["bait"].variant == "exact"
    assert len(query._members()) == 8
    copied = clone(query).set_params(badge=None)
    assert dict(copied.strategies)["bait"].variant == "exact"
    assert dict(query.strategies)["badge"] is not None
    query.set_params(margin=MarginQuery(), final_strategy=BaitQuery(), n_rounds=1)
    assert len(query._members()) == 9
    with pytest.raises(ValueError, match="bogus"):
        query.set_params(bogus=3)


def test_a_member_replaced_by_none_drops_out(digits, model):
    """What the others propose stays what it was."""
    X, y, pool = digits
    strategies = [("random", RandomQuery()), ("bait", BaitQuery()), ("margin", MarginQuery())]
    query = small(RefinePool, estimator=model, strategies=strategies, n_rounds=1).fit(X, y)
    whole = set(query.filter(pool, 6).tolist())
    parts = []
    for name, _ in strategies:
        alone = clone(query).set_params(
            **{other: None for other, _ in strategies if other != name}
        )
        parts.append(set(alone.fit(X, y).filter(pool, 6).tolist()))
    assert whole == set().union(*parts)
    query = small(estimator=model).set_params(margin=None).fit(X, y)
    query.query(pool, 6)
    assert list(query.n_proposed_) == ["random", "bait"]


def test_number_of_batches_follows_the_members(digits, model):
    X, y, pool = digits
    query = small(estimator=model, strategies=[("a", Spy()), ("b", Spy())], n_batches=None)
    query.set_params(n_rounds=1)
    for dropped, n_calls in (({}, 100), ({"b": None}, 100), ({"a": Spy(), "b": None}, 100)):
        Spy.seen.clear()
        query.set_params(**dropped).fit(X, y).query(pool, 3)
        assert len(Spy.seen) == n_calls
    Spy.seen.clear()
    many = [(f"s{i}", Spy()) for i in range(9)]
    query.set_params(strategies=many).fit(X, y).query(pool, 3)
    assert len(Spy.seen) == 99


@pytest.mark.parametrize("strategies, words", [
    (3, "'strategies' parameter of RefineQuery"),
    ([], "at least one"),
    ([("a", None)], "at least one"),
    ([MarginQuery()], r"\(name, strategy\)"),
    ([("a", "margin")], "'a' must be an instance"),
    ([("a", MarginQuery)], "'a' must be an instance"),
    ([("a", MarginQuery()), ("a", RandomQuery())], "different"),
    ([("a__b", MarginQuery())], "'__'"),
    ([("n_rounds", MarginQuery())], "n_rounds"),
    ([("a", MarginQuery(LogisticRegression()))], r"a__estimator.*set estimator of RefineQuery"),
    ([("a", MarginQuery(subset_size=9))], r"a__subset_size=9.*set subset_size of RefineQuery"),
    ([("a", BaitQuery(last_layer="x"))], "a__last_layer='x'"),
    ([("a", BaitQuery(variant="none"))], "'a'.*'variant'.*'none'"),
    ([("a", BaitQuery(top_c=0))], "'a'.*'top_c'"),
    ([("a", Oracle())], r"a \(Oracle\) needs labels of the pool.*RefinePool.*candidates="),
])  # fmt: skip
def test_bad_members(strategies, words, digits):
    X, y, _ = digits
    query = RefineQuery(strategies=strategies)
    with pytest.raises(ValueError, match=words):
        query.fit(X, y)
    assert set(vars(query)) == set(query.get_params(deep=False)), "nothing is fitted"
    repr(query), query._repr_html_()


@pytest.mark.parametrize("params, words", [
    ({"n_rounds": -1}, "'n_rounds'"),
    ({"n_rounds": 1.5}, "'n_rounds'"),
    ({"subsample": 0}, "'subsample'"),
    ({"subsample": 1.1}, "'subsample'"),
    ({"n_batches": 0}, "'n_batches'"),
    ({"max_pool": 0}, "'max_pool'"),
    ({"max_first_subsample": 0}, "'max_first_subsample'"),
    ({"n_jobs": 1.5}, "'n_jobs'"),
    ({"final_strategy": "margin"}, "'final_strategy'"),
    ({"final_strategy": MarginQuery(LogisticRegression())}, "final_strategy__estimator"),
    ({"final_strategy": Oracle()}, r"final_strategy \(Oracle\) needs labels"),
    ({"final_strategy": RefinePool()}, "final_strategy=RefinePool chooses no rows"),
    ({"strategies": [("a", RefinePool())]}, "a=RefinePool chooses no rows"),
])  # fmt: skip
def test_bad_parameters(params, words, digits):
    X, y, _ = digits
    with pytest.raises(ValueError, match=words):
        small(**params).fit(X, y)


def test_number_of_classes_is_known_in_query(digits, model):
    X, y, pool = digits
    query = small(estimator=model, strategies=[("a", BaitQuery(top_c=11))]).fit(X, y)
    n_classes = len(query.classes_)  # a small sample may miss one
    with pytest.raises(ValueError, match=rf"'a'.*top_c=11 is more than the {n_classes} classes"):
        query.query(pool, 3)


def test_models_that_will_not_do(digits):
    """The message names the member and the model, and nothing was fitted."""
    X, y, _ = digits

    class Explodes(RandomForestClassifier):
        def fit(self, X, y):
            raise AssertionError("fitted")

    with pytest.raises(TypeError, match=r"bait \(BaitQuery\) of RefineQuery.*Explodes"):
        small(estimator=Explodes()).fit(X, y)
    with pytest.raises(TypeError, match=r"final_strategy \(BaitQuery\) of RefineQuery.*Explodes"):
        small(
            estimator=Explodes(),
            strategies=[("margin", MarginQuery())],
            final_strategy=BaitQuery(),
        ).fit(X, y)
    with pytest.raises(TypeError, match=r"margin \(MarginQuery\) of RefinePool.*RidgeClassifier"):
        small(RefinePool, estimator=RidgeClassifier()).fit(X, y)


def test_any_classifier_does_for_members_that_need_probabilities(digits):
    X, y, pool = digits
    strategies = [("random", RandomQuery()), ("margin", MarginQuery())]
    query = small(estimator=RandomForestClassifier(5), strategies=strategies).fit(X, y)
    assert query._needs == {"probabilities"}
    assert len(set(query.query(pool, 5))) == 5


def test_no_model_where_none_is_needed(digits):
    X, _, pool = digits
    query = small(strategies=[("random", RandomQuery())], final_strategy=RandomQuery()).fit(X)
    assert not hasattr(query, "estimator_")
    assert len(set(query.query(pool, 5))) == 5


def test_a_member_that_fails_is_named(digits, model):
    X, y, pool = digits
    query = small(estimator=model, strategies=[("fine", MarginQuery()), ("broken", Breaks())])
    with pytest.raises(ZeroDivisionError) as caught:
        query.fit(X, y).query(pool, 3)
    assert "broken" in caught.value.__notes__[0]


def test_drawing_shows_the_members():
    drawn = html.unescape(estimator_html_repr(small(estimator=LogisticRegression(C=7))))
    for word in ("RandomQuery", "MarginQuery", "BaitQuery", "C=7", "final_strategy"):
        assert word in drawn
    assert "BadgeQuery" in RefineQuery()._repr_html_()


def test_metadata_routing(digits):
    X, y, pool = digits
    weight = np.linspace(0.1, 3, len(y))
    expected = LogisticRegression().fit(X, y, sample_weight=weight).coef_
    with config_context(enable_metadata_routing=True):
        asks = LogisticRegression().set_fit_request(sample_weight=True)
        query = small(estimator=asks).fit(X, y, sample_weight=weight)
        np.testing.assert_allclose(query.estimator_.coef_, expected)
        assert len(query.query(pool, 3)) == 3


def test_in_a_learner_and_a_search(digits):
    X, y, _ = digits
    learner = ActiveLearner(
        LogisticRegression(C=0.1),
        small(random_state=None),
        initial=20,
        budget=30,
        batch_size=5,
        random_state=0,
    )
    grid = {"query_strategy__margin": [MarginQuery(), None], "query_strategy__n_rounds": [0, 1]}
    search = GridSearchCV(learner, grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_estimator_.n_labels_ == 30


# --------------------------------------------------------------------------- the jobs


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_jobs_do_not_change_the_choice(backend, digits, model):
    X, y, pool = digits
    query = small(estimator=model, n_batches=3, n_rounds=2).fit(X, y)
    expected = query.query(pool, 6)
    records = query.pool_sizes_, query.n_proposed_
    query.set_params(n_jobs=2)
    with joblib.parallel_config(backend=backend):
        np.testing.assert_array_equal(query.query(pool, 6), expected)
    np.testing.assert_array_equal(query.pool_sizes_, records[0])
    assert query.n_proposed_ == records[1]


@pytest.fixture
def share(monkeypatch):
    """Share the choices out as for a number of processes, but make all of them in this one."""

    def share(n_jobs):
        monkeypatch.setattr(_members, "effective_n_jobs", lambda _: n_jobs)
        monkeypatch.setattr(_members, "Parallel", lambda n_jobs: Parallel(n_jobs=1))

    return share


def test_more_jobs_than_batches(digits, model, share):
    X, y, pool = digits
    query = small(estimator=model, n_batches=1, n_rounds=2).fit(X, y)
    expected = query.query(pool, 6)
    share(8)
    np.testing.assert_array_equal(query.query(pool, 6), expected)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_what_is_computed_once_is_computed_once(n_jobs, digits, model, share):
    X, y, pool = digits
    query = small(estimator=model, strategies=[("a", AsksOnce())]).fit(X, y)
    AsksOnce.n_computed = 0
    share(n_jobs)
    query.query(pool, 6)
    assert AsksOnce.n_computed == 1


def test_the_model_runs_over_the_pool_once(seed):
    """Count the rows that pass through a net: those of the pool and the labelled ones."""
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(200, 6)).astype(np.float32)
    y = np.arange(200) % 3

    class Net(nn.Module):
        n_rows = 0

        def __init__(self):
            super().__init__()
            self.body, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, X):
            Net.n_rows += len(X)
            return self.last(torch.relu(self.body(X)))

    net = NeuralNetClassifier(
        Net,
        criterion=nn.CrossEntropyLoss,
        max_epochs=2,
        train_split=None,
        verbose=0,
        batch_size=16,
    )
    query = small(estimator=net, n_batches=4, n_rounds=3).fit(X[:30], y[:30])
    Net.n_rows = 0
    query.query(X[30:], 5)
    # one pass over pool and labelled rows, and one batch of each to find the last layer
    assert 200 <= Net.n_rows <= 200 + 2 * 16


# ----------------------------------------------------------------- the filter alone


def test_filter_is_that_of_the_query(digits, model):
    X, y, pool = digits
    query = small(estimator=model).fit(X, y)
    chosen = query.query(pool, 6)
    filtering = small(RefinePool, estimator=model).fit(X, y)
    kept = filtering.filter(pool, 6)
    assert kept.dtype == np.int64
    assert (np.diff(kept) > 0).all()
    assert len(kept) == filtering.pool_sizes_[-1] == query.pool_sizes_[-1]
    after = MarginQuery(model).fit(X, y).query(pool, 6, candidates=kept)
    np.testing.assert_array_equal(after, chosen)
    np.testing.assert_array_equal(filtering.filter(pool, 6), kept)


def test_filter_of_some_candidates(digits, model):
    X, y, pool = digits
    filtering = small(RefinePool, estimator=model).fit(X, y)
    some = np.arange(0, len(pool), 7)
    kept = filtering.filter(pool, 4, candidates=some)
    np.testing.assert_array_equal(kept, some[filtering.filter(pool[some], 4)])
    sub = filtering.set_params(subset_size=50, n_rounds=0).filter(pool, 4)
    assert len(sub) == 50
    assert filtering.pool_sizes_.tolist() == [50]
    assert filtering.set_params(subset_size=None).filter(pool, 4).tolist() == list(range(600))


def test_filter_is_no_strategy(digits):
    X, y, pool = digits
    filtering = small(RefinePool)
    assert not hasattr(filtering, "query")
    with pytest.raises(AttributeError, match=r"filter.*candidates="):
        _ = filtering.query
    with pytest.raises(ValueError, match="n=601"):
        filtering.fit(X, y).filter(pool, 601)
    assert issubclass(RefineQuery, BaseQuery)
