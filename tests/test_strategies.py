# SPDX-License-Identifier: BSD-3-Clause
"""Query strategies: scikit-learn's checks, skbait's own checks, the view, and every kind of X."""

from __future__ import annotations

import html
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, load_iris, make_blobs
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr, get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import TensorDataset

from skbait.laplace import LaplaceClassifier
from skbait.representation import Representation, represent
from skbait.strategies import (
    BadgeQuery,
    BaitQuery,
    BaseQuery,
    CoreSetQuery,
    MarginQuery,
    RandomQuery,
    View,
)
from skbait.utils.estimator_checks import (
    check_query_strategy,
    parametrize_with_query_checks,
    query_checks,
)

STRATEGIES = [RandomQuery, MarginQuery, BaitQuery]


class SmallCNN(nn.Module):
    """A network for images of any height and width with one channel, or for a dict with them."""

    def __init__(self, n_channels=1):
        super().__init__()
        self.conv = nn.Conv2d(n_channels, 6, 3)
        self.last = nn.Linear(6, 3)

    def forward(self, X):
        return self.last(torch.relu(self.conv(X)).mean(dim=(2, 3)))


class TwoInputs(SmallCNN):
    def forward(self, image, extra):
        return super().forward(image) + extra.sum(dim=1, keepdim=True)


def make_net(module=SmallCNN, cls=NeuralNetClassifier, **params):
    return cls(
        module,
        criterion=nn.CrossEntropyLoss,
        max_epochs=2,
        train_split=None,
        classes=range(3),
        verbose=0,
        batch_size=16,
        **params,
    )


def make_images(n=60, seed=0):
    """Return images whose brightness tells the class, (n, 1, 5, 6) in float32, and labels."""
    rng = np.random.RandomState(seed)
    y = np.arange(n) % 3
    X = rng.normal(size=(n, 1, 5, 6)).astype(np.float32) + y[:, None, None, None]
    return X.astype(np.float32), y


@pytest.fixture
def tables():
    X, y = make_blobs(n_samples=70, centers=3, n_features=4, cluster_std=4.0, random_state=1)
    return X[:20] / 10, y[:20], X[20:] / 10


# ------------------------------------------------------------------------- the checks


@parametrize_with_checks(
    [
        RandomQuery(),
        MarginQuery(),
        BaitQuery(),
        MarginQuery(make_pipeline(StandardScaler(), LogisticRegression()), subset_size=0.5),
    ]
)
def test_sklearn_checks(estimator, check):
    check(estimator)


@parametrize_with_query_checks(
    [
        RandomQuery(),
        MarginQuery(),
        MarginQuery(HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=3)),
        BaitQuery(),
        BaitQuery(variant="binary"),
        BaitQuery(variant="exact", subset_size=0.5),
        BaitQuery(make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss"))),
    ]
)
def test_query_checks(strategy, check):
    check(strategy)


IMAGES, LABELS = make_images()


@parametrize_with_query_checks(
    [MarginQuery(make_net()), BaitQuery(make_net())],
    data=(IMAGES[:24], LABELS[:24], IMAGES[24:]),
)
def test_query_checks_on_images(strategy, check):
    check(strategy)


# What the checks have to find, and which of them finds it


class Repeats(RandomQuery):
    def _select(self, view, n):
        return np.zeros(n, dtype=int), None


class TooMany(RandomQuery):
    def _select(self, view, n):
        return np.arange(n + 1), None


class TakesFirst(RandomQuery):
    _stochastic = False

    def _select(self, view, n):
        return np.arange(n), None


class SaysRandom(TakesFirst):
    _stochastic = True


class Forgets(RandomQuery):
    def _select(self, view, n):
        return np.random.RandomState().permutation(view.n_pool)[:n], None


class WritesToPool(RandomQuery):
    def _select(self, view, n):
        view.X_pool[0] = 0
        return super()._select(view, n)


class Remembers(RandomQuery):
    def _select(self, view, n):
        self.n_queries_ = getattr(self, "n_queries_", 0) + 1
        return super()._select(view, n)


class UsesGlobalState(RandomQuery):
    def fit(self, X, y=None):
        np.random.uniform()
        return super().fit(X, y)


class KnowsScale(BaitQuery):
    def __init__(self, estimator=None, *, regularization=1.0, random_state=None):
        super().__init__(estimator, regularization=regularization, random_state=random_state)


class WritesToProbabilities(MarginQuery):
    def _select(self, view, n):
        found = super()._select(view, n)
        view.pool_probabilities[:] = 0.1
        return found


class WritesToHead(BaitQuery):
    def _select(self, view, n):
        found = super()._select(view, n)
        view.pool.head.weight.mul_(2.0)
        return found


class KnowsNoNumbers(RandomQuery):
    def _select(self, view, n):
        return super()._select(view, n)[0], np.full(view.n_pool, np.nan)


class Warns(RandomQuery):
    def _select(self, view, n):
        np.log(np.zeros(1))
        return super()._select(view, n)


@pytest.mark.parametrize("strategy, check", [
    (Repeats(), "check_positions"),
    (TooMany(), "check_positions"),
    (TakesFirst(), "check_permutation"),
    (SaysRandom(), "check_seeds_differ"),
    (Forgets(), "check_same_seed"),
    (WritesToPool(), "check_data_unchanged"),
    (WritesToProbabilities(), "check_view_unchanged"),
    (WritesToHead(), "check_view_unchanged"),
    (KnowsNoNumbers(), "check_utilities"),
    (Remembers(), "check_query_changes_nothing"),
    (UsesGlobalState(), "check_global_random_states"),
    (KnowsScale(), "check_scale"),
    (Warns(), "check_no_warnings"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_the_checks_find_what_they_are_for(strategy, check):
    (the_check,) = (each for each in query_checks() if each.__name__ == check)
    with pytest.raises((AssertionError, RuntimeError, ValueError, RuntimeWarning)):
        the_check(strategy)
    with pytest.raises(Exception) as caught:
        check_query_strategy(strategy)
    assert type(strategy).__name__ in caught.value.__notes__[0]
    expected = {check.__name__: "known" for check in query_checks()}
    check_query_strategy(strategy, expected_failed_checks=expected)


class Narrow(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


def test_the_checks_take_rough_utilities_of_float32():
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    net = make_net(Narrow).set_params(classes=range(10), max_epochs=3, lr=0.3, batch_size=32)
    (check,) = (each for each in query_checks() if each.__name__ == "check_permutation")
    check(BaitQuery(net, random_state=0), data=(X[:60], y[:60], X[60:120]))


def test_expected_failures_are_marked():
    mark = parametrize_with_query_checks(
        [RandomQuery()], expected_failed_checks=lambda strategy: {"check_bad_n": "why"}
    )
    marked = [case.id for case in mark.args[1] if case.marks]
    assert marked == ["RandomQuery()-check_bad_n"]


# ------------------------------------------------------------ scikit-learn's conventions


@pytest.mark.parametrize("cls", STRATEGIES)
def test_parameters(cls):
    strategy = cls(LogisticRegression(C=2), random_state=3)
    assert strategy.get_params()["estimator__C"] == 2
    strategy.set_params(estimator__C=5, subset_size=10)
    copied = clone(strategy)
    assert copied.estimator.C == 5
    assert copied.subset_size == 10
    assert copied.estimator is not strategy.estimator
    assert "C=5" in repr(strategy)
    assert "LogisticRegression" in html.unescape(estimator_html_repr(strategy))
    assert cls.__name__ in strategy._repr_html_()


def test_tags():
    assert get_tags(MarginQuery()).target_tags.required
    assert not get_tags(RandomQuery()).target_tags.required
    assert get_tags(MarginQuery()).input_tags.sparse
    assert not get_tags(MarginQuery(make_net())).input_tags.sparse
    assert get_tags(MarginQuery(HistGradientBoostingClassifier())).input_tags.allow_nan
    assert not get_tags(BaitQuery()).input_tags.allow_nan
    assert get_tags(RandomQuery()).estimator_type is None


@pytest.mark.parametrize("cls", STRATEGIES)
def test_feature_names(cls, tables):
    X, y, pool = tables
    names = list("abcd")
    strategy = cls(random_state=0).fit(pd.DataFrame(X, columns=names), y)
    assert strategy.feature_names_in_.tolist() == names
    assert strategy.n_features_in_ == 4
    chosen = strategy.query(pd.DataFrame(pool, columns=names), 5)
    with pytest.raises(ValueError, match="feature names"):
        strategy.query(pd.DataFrame(pool, columns=names[::-1]), 5)
    strategy.fit(X, y)
    assert not hasattr(strategy, "feature_names_in_")
    np.testing.assert_array_equal(strategy.query(pool, 5), chosen)


@pytest.mark.parametrize("params, words", [
    ({"subset_size": 0}, "'subset_size' parameter of MarginQuery.*Got 0"),
    ({"subset_size": True}, "'subset_size'.*True"),
    ({"device": "nowhere"}, "device='nowhere'"),
    ({"random_state": "seed"}, "'random_state'.*'seed'"),
    ({"estimator": 3}, "'estimator'.*Got 3"),
])  # fmt: skip
def test_bad_parameters(params, words, tables):
    X, y, pool = tables
    with pytest.raises(ValueError, match=words):
        MarginQuery(**params).fit(X, y)
    fitted = MarginQuery().fit(X, y).set_params(**params)
    if "estimator" not in params:
        with pytest.raises(ValueError, match=words):
            fitted.query(pool, 2)


def test_base_class_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        BaseQuery()


# ------------------------------------------------------------------------------ models


def test_estimators_that_will_not_do(tables):
    X, y, _ = tables
    with pytest.raises(TypeError, match=r"RidgeClassifier has no predict_proba"):
        MarginQuery(RidgeClassifier()).fit(X, y)
    with pytest.raises(TypeError, match=r"BaitQuery needs last-layer.*RandomForest.*register"):
        BaitQuery(RandomForestClassifier()).fit(X, y)
    with pytest.raises(TypeError, match=r"RandomForestClassifier.*register"):
        BaitQuery(FrozenEstimator(RandomForestClassifier().fit(X, y))).fit(X, y)
    with pytest.raises(TypeError, match=r"is a class; pass an instance, LogisticRegression\(\)"):
        MarginQuery(LogisticRegression).fit(X, y)
    with pytest.raises(ValueError, match=r"estimator=Pipeline\(steps=\[\]\) is an empty pipeline"):
        MarginQuery(Pipeline([])).fit(X, y)
    with pytest.raises(NotFittedError):
        MarginQuery(FrozenEstimator(LogisticRegression())).fit(X, y)
    with pytest.raises(TypeError, match=r"RandomQuery fits no model.*sample_weight"):
        RandomQuery().fit(X, y, sample_weight=np.ones(len(X)))


def test_registered_estimator(tables):
    X, y, pool = tables

    class Mine(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.inner_ = LogisticRegression().fit(X, y)
            self.classes_ = self.inner_.classes_
            return self

        def predict(self, X):
            return self.inner_.predict(X)

    @represent.register(Mine)
    def _(estimator, X, *, last_layer, device):
        X = np.asarray(X)
        p = estimator.inner_.predict_proba(X)
        return Representation(X, p, None, estimator.classes_)

    for cls in (BaitQuery, MarginQuery):
        ours = cls(Mine()).fit(X, y).query(pool, 5)
        np.testing.assert_array_equal(ours, cls(LogisticRegression()).fit(X, y).query(pool, 5))


def test_random_touches_no_model(tables):
    X, y, pool = tables

    class Explodes(BaseEstimator):
        def fit(self, X, y):
            raise AssertionError("a model was fitted")

    strategy = RandomQuery(Explodes(), random_state=0).fit(X, y)
    assert not hasattr(strategy, "estimator_")
    chosen = strategy.query(pool, 5)
    np.testing.assert_array_equal(chosen, RandomQuery(random_state=0).fit(X).query(pool, 5))


def test_random_is_uniform():
    X = np.zeros((6, 2))
    counts = np.zeros((6, 2))
    for seed in range(1200):
        chosen = RandomQuery(random_state=seed).fit(X).query(X, 2)
        counts[chosen, [0, 1]] += 1
    assert counts.min() > 140  # 200 expected, standard deviation 13
    assert counts.max() < 260


def test_margin_is_one_minus_the_difference(tables):
    X, y, pool = tables
    model = LogisticRegression().fit(X, y)
    chosen, utilities = (
        MarginQuery(FrozenEstimator(model)).fit(X, y).query(pool, 7, return_utilities=True)
    )
    p = np.sort(model.predict_proba(pool), axis=1)
    np.testing.assert_allclose(utilities, 1 - (p[:, -1] - p[:, -2]))
    np.testing.assert_array_equal(chosen, np.argsort(-utilities, kind="stable")[:7])


def test_margin_ties_in_pool_order(tables):
    X, y, pool = tables
    pool = np.concatenate([pool[:8]] * 3)
    chosen = MarginQuery().fit(X, y).query(pool, 24)
    by_copy = chosen.reshape(8, 3)
    np.testing.assert_array_equal(by_copy % 8, by_copy[:, :1] % 8 * np.ones(3, dtype=int))
    assert (np.diff(by_copy, axis=1) == 8).all()


def test_seed_reaches_the_model(tables):
    X, y, _ = tables
    one, same, other, own = (
        MarginQuery(SGDClassifier(loss="log_loss", random_state=own), random_state=seed)
        .fit(X, y)
        .estimator_
        for own, seed in [(None, 1), (None, 1), (None, 2), (7, None)]
    )
    np.testing.assert_array_equal(one.coef_, same.coef_)
    assert not np.array_equal(one.coef_, other.coef_)
    assert own.random_state == 7


def test_sample_weight(tables):
    X, y, _ = tables
    weight = np.linspace(0.1, 3, len(y))
    expected = LogisticRegression().fit(X, y, sample_weight=weight).coef_
    fitted = MarginQuery().fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(fitted.estimator_.coef_, expected)
    marked, all_weights = np.r_[y, -1, -1], np.r_[weight, 99, 99]
    fitted = MarginQuery().fit(np.r_[X, X[:2]], marked, sample_weight=all_weights)
    np.testing.assert_allclose(fitted.estimator_.coef_, expected)


def test_metadata_routing(tables):
    X, y, _ = tables
    weight = np.linspace(0.1, 3, len(y))
    expected = LogisticRegression().fit(X, y, sample_weight=weight).coef_
    with config_context(enable_metadata_routing=True):
        asks = LogisticRegression().set_fit_request(sample_weight=True)
        fitted = MarginQuery(asks).fit(X, y, sample_weight=weight)
        np.testing.assert_allclose(fitted.estimator_.coef_, expected)
        with pytest.raises(ValueError, match="sample_weight"):
            MarginQuery(LogisticRegression()).fit(X, y, sample_weight=weight)
        MarginQuery().fit(X, y)
        RandomQuery().fit(X, y)


# ------------------------------------------------------------------------------ labels


def test_rows_without_label(tables):
    X, y, _ = tables
    marked = y.copy()
    marked[::2] = -1
    strategy = MarginQuery().fit(X, marked)
    np.testing.assert_array_equal(strategy.y_labeled_, y[1::2])
    np.testing.assert_array_equal(strategy.X_labeled_, X[1::2])
    np.testing.assert_array_equal(strategy.classes_, [0, 1, 2])
    with pytest.raises(ValueError, match="no label in its 20 rows"):
        MarginQuery().fit(X, np.full(20, -1))
    with pytest.raises(ValueError, match=r"the one class 1 besides.*If -1 is one of your"):
        MarginQuery().fit(X, np.where(y == 0, 1, -1))


@pytest.mark.parametrize("cls", STRATEGIES)
def test_no_labels_at_all(cls, tables):
    """Over a fitted model, or without one, a strategy can start from nothing."""
    X, y, pool = tables
    strategy = cls(FrozenEstimator(LogisticRegression().fit(X, y)), random_state=0)
    strategy.fit(X, np.full(20, -1))
    assert len(strategy.y_labeled_) == 0
    assert len(set(strategy.query(pool, 5))) == 5


def test_minus_one_is_a_class_of_a_frozen_model(tables):
    X, y, _ = tables
    y = np.where(y == 0, 1, -1)
    strategy = BaitQuery(FrozenEstimator(LogisticRegression().fit(X, y))).fit(X, y)
    np.testing.assert_array_equal(strategy.y_labeled_, y)
    np.testing.assert_array_equal(strategy.classes_, [-1, 1])


def test_y_is_required(tables):
    with pytest.raises(ValueError, match="MarginQuery estimator requires y to be passed"):
        MarginQuery().fit(tables[0])


# -------------------------------------------------------------------- every kind of X


def as_kinds(X):
    """Return the same table in every kind of container that scikit-learn's models take."""
    yield X.tolist()
    yield X.astype(object)
    yield X.astype(np.longdouble)
    yield torch.from_numpy(X)
    yield pd.DataFrame(X)
    yield sparse.csr_array(X)
    yield sparse.coo_matrix(X)
    yield np.asfortranarray(X)
    yield X[:, ::-1].copy()[:, ::-1]


@pytest.mark.parametrize("cls", STRATEGIES)
@pytest.mark.parametrize("subset_size", [None, 30])
def test_tables_of_every_kind(cls, subset_size, tables):
    X, y, pool = tables
    strategy = cls(subset_size=subset_size, random_state=0)
    expected = strategy.fit(X, y).query(pool, 5)
    for X_kind, pool_kind in zip(as_kinds(X), as_kinds(pool), strict=True):
        chosen = strategy.fit(X_kind, y).query(pool_kind, 5)
        np.testing.assert_array_equal(chosen, expected, err_msg=str(type(X_kind)))


@pytest.mark.parametrize("cls", STRATEGIES)
def test_images_of_every_kind(cls, tmp_path):
    X, y = make_images(70)
    X, y, pool = X[:21], y[:21], X[21:]
    np.save(tmp_path / "pool.npy", pool)
    strategy = cls(make_net(), subset_size=40, random_state=0)
    expected = strategy.fit(X, y).query(pool, 6)
    assert not hasattr(strategy, "n_features_in_")
    kinds = [
        (torch.from_numpy(X), torch.from_numpy(pool)),
        (X, np.load(tmp_path / "pool.npy", mmap_mode="r")),
        (
            TensorDataset(torch.from_numpy(X), torch.from_numpy(y)),
            TensorDataset(torch.from_numpy(pool), torch.zeros(len(pool), dtype=torch.int64)),
        ),
        ({"X": X}, {"X": pool}),
    ]
    for X_kind, pool_kind in kinds:
        chosen = strategy.fit(X_kind, y).query(pool_kind, 6)
        np.testing.assert_array_equal(chosen, expected, err_msg=str(type(X_kind)))


@pytest.mark.parametrize("cls", STRATEGIES)
def test_dicts(cls):
    X, y = make_images(50)
    X = {"image": X, "extra": np.zeros((50, 2), dtype=np.float32)}
    strategy = cls(make_net(TwoInputs), random_state=0)
    strategy.fit({key: value[:20] for key, value in X.items()}, y[:20])
    pool = {key: value[20:] for key, value in X.items()}
    assert len(set(strategy.query(pool, 6))) == 6
    with pytest.raises(ValueError, match="keys of X in fit, \\['extra', 'image'\\]"):
        strategy.query({"image": pool["image"]}, 2)
    pool["extra"] = pool["extra"].copy()
    pool["extra"][3] = np.nan
    with pytest.raises(ValueError, match=r"X_pool\['extra'\] contains NaN, first in row 3"):
        strategy.query(pool, 2)


@pytest.mark.parametrize("cls", STRATEGIES)
def test_texts(cls):
    rng = np.random.RandomState(0)
    words = [["cat", "dog", "mouse"], ["one", "two", "three"]]
    y = np.arange(40) % 2
    X = [" ".join(rng.choice(words[label], 4)) for label in y]
    strategy = cls(make_pipeline(TfidfVectorizer(), LogisticRegression()), random_state=0)
    for kind in (list, np.array, pd.Series):
        strategy.fit(kind(X[:10]), y[:10])
        assert len(set(strategy.query(kind(X[10:]), 5))) == 5


def test_a_fit_writes_to_no_gradient():
    X, y = make_images(50)
    rows, pool = (torch.from_numpy(part).requires_grad_() for part in (X[:20], X[20:]))
    expected = BaitQuery(make_net(), random_state=0).fit(X[:20], y[:20]).query(X[20:], 5)
    chosen = BaitQuery(make_net(), random_state=0).fit(rows, y[:20]).query(pool, 5)
    np.testing.assert_array_equal(chosen, expected)
    assert rows.grad is None


def test_mixed_frames(tables):
    from sklearn.compose import make_column_transformer
    from sklearn.preprocessing import OneHotEncoder

    X, y, pool = tables
    frames = [
        pd.DataFrame(rows, columns=list("abcd")).assign(word=np.where(rows[:, 0] > 0, "x", "y"))
        for rows in (X, pool)
    ]
    columns = make_column_transformer((OneHotEncoder(), ["word"]), remainder="passthrough")
    strategy = BaitQuery(make_pipeline(columns, LogisticRegression())).fit(frames[0], y)
    assert len(set(strategy.query(frames[1], 5))) == 5


def test_nan_where_the_estimator_takes_it(tables):
    X, y, pool = tables
    X, pool = X.copy(), pool.copy()
    X[0, 0] = pool[7, 1] = np.nan
    for model in (
        make_pipeline(SimpleImputer(), LogisticRegression()),
        HistGradientBoostingClassifier(max_iter=2),
    ):
        assert len(MarginQuery(model).fit(X, y).query(pool, 5)) == 5
    imputed = BaitQuery(make_pipeline(SimpleImputer(), LogisticRegression()))
    assert len(imputed.fit(X, y).query(pool, 5)) == 5
    with pytest.raises(ValueError, match="NaN"):
        MarginQuery(make_pipeline(StandardScaler(), LogisticRegression())).fit(X, y)
    with pytest.raises(ValueError, match="Input X contains NaN, first in row 0"):
        MarginQuery().fit(X, y)


def test_only_the_sub_pool_is_read(tables):
    X, y, pool = tables
    pool = pool.copy()
    pool[30] = np.nan
    met = set()
    for seed in range(30):
        strategy = MarginQuery(subset_size=25, random_state=seed).fit(X, y)
        try:
            assert 30 not in strategy.query(pool, 20)
            met.add("finite")
        except ValueError as error:
            met.add(str(error)[:26])
    assert met == {"finite", "Input X_pool contains NaN,"}


@pytest.mark.parametrize("strategy", [
    MarginQuery(), BaitQuery(), RandomQuery(), CoreSetQuery(), BaitQuery(subset_size=40)
])  # fmt: skip
@pytest.mark.parametrize("kind", [np.asarray, pd.DataFrame, torch.from_numpy, sparse.csr_array])
def test_only_candidates_have_to_be_finite(kind, strategy, tables):
    X, y, pool = tables
    strategy = clone(strategy).set_params(random_state=0).fit(kind(X), y)
    bad = pool.copy()
    bad[3], bad[5] = np.nan, np.inf
    for n_candidates in (10, 45):
        candidates = np.random.RandomState(0).permutation(np.delete(np.arange(50), [3, 5]))
        candidates = candidates[:n_candidates]
        expected = strategy.query(kind(pool), 4, candidates=candidates)
        found = strategy.query(kind(bad), 4, candidates=candidates)
        np.testing.assert_array_equal(found, expected)
        # the error names the position in X_pool, be the candidates copied or not
        candidates = np.r_[candidates, 5]
        if strategy.subset_size is None:
            with pytest.raises(ValueError, match=r"X_pool contains infinity, first in row 5\."):
                strategy.query(kind(bad), 4, candidates=candidates)


def test_bad_candidates_are_told_in_a_line(tables):
    X, y, pool = tables
    strategy = MarginQuery().fit(X, y)
    for candidates, words in [
        (np.zeros(50, dtype=bool), "no candidate is left"),
        ([], "no candidate is left"),
        (np.zeros(51, dtype=bool), r"candidates=array.*shape \(51,\) and dtype bool.* 50 rows"),
        ("all", "candidates='all'"),
        ([0.5], r"candidates=\[0.5\], of shape \(1,\) and dtype float64, must be positions"),
    ]:
        with pytest.raises(ValueError, match=words) as caught:
            strategy.query(pool, 1, candidates=candidates)
        assert len(str(caught.value)) < 200


def test_only_labelled_rows_have_to_be_finite(tables):
    X, y, _ = tables
    bad, marked = X.copy(), y.copy()
    bad[4], marked[[2, 4]] = np.nan, -1
    np.testing.assert_array_equal(
        MarginQuery().fit(bad, marked).estimator_.coef_,
        MarginQuery().fit(X, marked).estimator_.coef_,
    )
    bad[7, 1] = np.nan
    with pytest.raises(ValueError, match=r"Input X contains NaN, first in row 7\."):
        MarginQuery().fit(bad, marked)


def test_of_a_dataset_the_model_sees_candidates_only():
    X, y = make_images(60)
    X[25] = np.nan  # in the pool row 5
    net = make_net(cls=CountingNet)
    strategy = BaitQuery(net, random_state=0).fit(X[:20], y[:20])
    pool = TensorDataset(torch.from_numpy(X[20:]), torch.zeros(40))
    candidates = np.delete(np.arange(40), 5)
    chosen = strategy.query(pool, 4, candidates=candidates)
    np.testing.assert_array_equal(chosen, strategy.query(X[20:], 4, candidates=candidates))


def test_a_large_map_has_to_be_finite_throughout(tables, tmp_path, monkeypatch):
    X, y, pool = tables
    pool = pool.copy()
    pool[5] = np.nan
    np.save(tmp_path / "pool.npy", pool)
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    candidates = np.delete(np.arange(50), 5)
    strategy = MarginQuery().fit(X, y)
    chosen = strategy.query(mapped, 5, candidates=candidates)
    np.testing.assert_array_equal(chosen, strategy.query(pool, 5, candidates=candidates))
    monkeypatch.setattr("skbait.strategies._checks.memory_bytes", lambda device: 8 * 48 * 32)
    with pytest.raises(ValueError, match=r"first in row 5\..*49 rows.*subset_size"):
        strategy.query(mapped, 5, candidates=candidates)
    assert len(strategy.set_params(subset_size=48).query(mapped, 5, candidates=candidates)) == 5


def test_other_shapes():
    X, y = make_images(40)
    strategy = MarginQuery(make_net()).fit(X[:20], y[:20])
    larger = np.concatenate([X[20:], X[20:]], axis=2)
    assert len(strategy.query(larger, 3)) == 3  # the network takes images of any size
    two_channels = np.concatenate([X[20:], X[20:]], axis=1)
    words = r"X_pool has rows of shape \(2, 5, 6\), but the rows of X in fit had shape \(1, 5, 6\)"
    with pytest.raises(ValueError, match=words):
        strategy.query(two_channels, 3)
    with pytest.raises(ValueError, match=r"X_pool has rows of shape \(30,\)"):
        strategy.query(X[20:].reshape(20, -1), 3)


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_diverged_network_is_named():
    X, y = make_images(40)
    strategy = MarginQuery(make_net()).fit(X[:20], y[:20])
    with torch.no_grad():
        strategy.estimator_.module_.last.weight[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"gives? .*NaN or infinity"):
        strategy.query(X[20:], 2)


class Unnormalised(LogisticRegression):
    """A classifier that gives what are no probabilities in row 7 of more than 20."""

    def __init__(self, value=0.0):
        super().__init__()
        self.value = value

    def predict_proba(self, X):
        found = super().predict_proba(X)
        if len(X) > 20:
            found[7] *= self.value
        return found


@pytest.mark.parametrize("value", [0.0, -1.0])
@pytest.mark.parametrize("strategy", [BaitQuery, BadgeQuery, MarginQuery])
def test_probabilities_that_are_none_are_named(strategy, value, tables):
    X, y, pool = tables
    query = strategy(Unnormalised(value)).fit(X, y)
    with pytest.raises(ValueError, match="Unnormalised gives no probabilities for row 7"):
        query.query(pool, 3)


def test_failed_fit_of_the_model_leaves_the_strategy(tables):
    X, y, pool = tables
    strategy = BaitQuery(random_state=0).fit(X, y)
    chosen, before = strategy.query(pool, 5), dict(vars(strategy))
    with pytest.raises(ValueError, match="class"):
        strategy.fit(X[:, :3], np.zeros(20, dtype=int))
    assert vars(strategy) == before
    np.testing.assert_array_equal(strategy.query(pool, 5), chosen)
    fresh = BaitQuery()
    with pytest.raises(ValueError, match="class"):
        fresh.fit(X, np.zeros(20, dtype=int))
    assert set(vars(fresh)) == set(fresh.get_params(deep=False)) | {"last_layer"}


def test_pickled_network():
    X, y = make_images(40)
    strategy = BaitQuery(make_net(), random_state=0).fit(X[:20], y[:20])
    again = pickle.loads(pickle.dumps(strategy))
    np.testing.assert_array_equal(again.query(X[20:], 5), strategy.query(X[20:], 5))


def test_bugs_of_a_strategy_are_named(tables):
    X, y, pool = tables
    for cls in (Repeats, TooMany):
        with pytest.raises(RuntimeError, match=rf"{cls.__name__}\._select must return 3 distinct"):
            cls().fit(X, y).query(pool, 3)

    class NoModel(RandomQuery):
        def _select(self, view, n):
            return view.pool_probabilities[:n, 0].argsort(), None

    with pytest.raises(RuntimeError, match="_needs"):
        NoModel().fit(X, y).query(pool, 3)

    class PositionsOnly(RandomQuery):
        def _select(self, view, n):
            return self.given(n)

    for given in (np.arange, torch.arange, lambda n: (np.arange(n),), lambda n: None):
        PositionsOnly.given = staticmethod(given)
        for n in (2, 3):
            words = r"PositionsOnly\._select must return a tuple of positions and utilities.*bug"
            with pytest.raises(RuntimeError, match=words):
                PositionsOnly().fit(X, y).query(pool, n)

    class ShortUtilities(RandomQuery):
        def _select(self, view, n):
            return np.arange(n), np.zeros(n)

    with pytest.raises(RuntimeError, match="one utility for each of 50 rows"):
        ShortUtilities().fit(X, y).query(pool, 3)


@pytest.mark.parametrize("device", ["meta", "cuda:1000", "somewhere"])
def test_devices_that_cannot_compute_are_named(device):
    X, y = load_iris(return_X_y=True)
    query = BaitQuery(device=device)
    with pytest.raises(ValueError, match=f"device='{device}' cannot be used"):
        query.fit(X, y).query(X, 2)


# ---------------------------------------------------------------------------- the view


class CountingNet(NeuralNetClassifier):
    """Counts the rows that go through the module."""

    def infer(self, x, **params):
        self.n_rows_seen = getattr(self, "n_rows_seen", 0) + len(x)
        return super().infer(x, **params)


def make_view(needs=("features", "probabilities")):
    X, y = make_images(60)
    net = make_net(cls=CountingNet)
    net.fit(X[:20], y[:20])
    net.n_rows_seen = 0
    return net, View(X[20:], X[:20], y[:20], estimator=net, rng=0, needs=frozenset(needs))


def test_view_computes_once_for_all_its_sub_views():
    net, view = make_view()
    assert view.n_pool == 40
    assert view.n_labeled == 20
    assert net.n_rows_seen == 0
    subs = [view.take(np.arange(i, 40, 3)).with_rng(i) for i in range(3)]
    for sub in subs:
        assert sub.pool.features.shape == (sub.n_pool, 6)
        assert sub.pool_probabilities.shape == (sub.n_pool, 3)
        assert sub.labeled is view.labeled
    seen = net.n_rows_seen
    assert 60 <= seen <= 66  # the adapter may look at the first rows beforehand
    np.testing.assert_array_equal(view.classes, [0, 1, 2])
    assert view.pool_probabilities is view.pool.probabilities
    assert net.n_rows_seen == seen


def test_sub_views():
    _, view = make_view()
    sub = view.take([30, 10, 20]).take(torch.tensor([2, 0]))
    np.testing.assert_array_equal(sub.positions, [20, 30])
    assert sub.n_pool == 2
    np.testing.assert_array_equal(sub.X_pool, view.X_pool[[20, 30]])
    assert torch.equal(sub.pool.features, view.pool.features[[20, 30]])
    assert torch.equal(sub.pool.logits, view.pool.logits[[20, 30]])
    assert torch.equal(sub.pool_probabilities, view.pool.probabilities[[20, 30]])
    assert sub.rng is view.rng
    other = sub.with_rng(5)
    assert other.rng is not sub.rng
    assert other.pool is sub.pool
    assert other.take([0]).n_pool == 1
    mask = np.isin(np.arange(40), [3, 7])
    np.testing.assert_array_equal(view.take(mask).positions, [3, 7])
    np.testing.assert_array_equal(view.take(torch.from_numpy(mask)).positions, [3, 7])
    with pytest.raises(ValueError, match="mask has 39 entries for 40 rows"):
        view.take(mask[1:])
    with pytest.raises(TypeError, match="integers or booleans, got float64"):
        view.take([0.5])


def test_a_strategy_chooses_on_a_sub_view():
    _, view = make_view()
    rows = np.arange(5, 30)
    for cls in STRATEGIES:
        sub = view.take(rows).with_rng(1)
        positions, utilities = cls()._choose(sub, 4)
        assert positions.dtype == np.int64
        assert len(set(positions)) == 4
        assert utilities.shape == (25,)
    expected = (1 - view.pool_probabilities[rows].sort(dim=1).values.diff(dim=1)[:, -1]).numpy()
    utilities = MarginQuery()._choose(view.take(rows), 4)[1]
    np.testing.assert_allclose(utilities, expected, rtol=1e-6)


def test_probabilities_alone_need_no_features(tables):
    X, y, pool = tables
    model = RandomForestClassifier(n_estimators=3, random_state=0).fit(X, y)
    view = View(pool, X, y, estimator=model, needs=frozenset({"probabilities"}))
    expected = model.predict_proba(pool)
    np.testing.assert_allclose(view.pool_probabilities.cpu(), expected)
    np.testing.assert_allclose(view.take([3]).pool_probabilities.cpu(), expected[3:4])
    with pytest.raises(TypeError, match="register"):
        _ = view.pool


def test_view_without_labels_or_model(tables):
    X, y, pool = tables
    model = LogisticRegression().fit(X, y)
    empty = View(pool, X[:0], y[:0], estimator=model)
    assert empty.labeled.features.shape == (0, 4)
    assert empty.labeled.probabilities.shape == (0, 3)
    blind = View(pool, X, y, classes=np.unique(y))
    np.testing.assert_array_equal(blind.classes, [0, 1, 2])
    for name in ("pool", "labeled", "pool_probabilities"):
        with pytest.raises(RuntimeError, match="no model"):
            getattr(blind, name)


def test_iris_has_unequal_classes_early():
    """A labelled set of which one class has a single row."""
    X, y = load_iris(return_X_y=True)
    rows = np.r_[0:3, 50:53, 100]
    for cls in STRATEGIES:
        chosen = cls(LogisticRegression(max_iter=1000), random_state=0).fit(X[rows], y[rows])
        assert len(set(chosen.query(X, 10))) == 10


def test_bait_on_mean_field_probabilities(tables):
    """The information is that of LaplaceClassifier's own probabilities; off by default."""
    X, y, pool = tables
    model = LogisticRegression(C=100.0).fit(X, y)
    query = BaitQuery(FrozenEstimator(model), probabilities="mean_field").fit(X, y)
    laplace = LaplaceClassifier(
        FrozenEstimator(model), likelihood="categorical", prior_precision="auto"
    ).fit(X, y)
    expected = BaitQuery(FrozenEstimator(laplace)).fit(X, y)
    assert query.query(pool, 8).tolist() == expected.query(pool, 8).tolist()
    _, softened = query.query(pool, 1, return_utilities=True)
    _, plain = BaitQuery(FrozenEstimator(model)).fit(X, y).query(pool, 1, return_utilities=True)
    assert not np.allclose(softened, plain)
    with pytest.raises(TypeError, match="BaitQuery needs a linear head"):
        BaitQuery(CalibratedClassifierCV(), probabilities="mean_field").fit(X, y)


def test_more_rows_than_candidates_are_told_from_more_than_the_pool(tables):
    X, y, pool = tables
    strategy = MarginQuery().fit(X, y)
    with pytest.raises(ValueError, match="n=5 is more than the 3 rows of X_pool that are cand"):
        strategy.query(pool, 5, candidates=[1, 2, 3])
