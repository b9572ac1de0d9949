# SPDX-License-Identifier: BSD-3-Clause
"""Displays: what they draw is what they were given, and what they cannot draw they name."""

from __future__ import annotations

import builtins
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import MDS

from skbait import ActiveLearner
from skbait.plotting import AcquisitionCurveDisplay, QueryDisplay, WinMatrixDisplay
from skbait.plotting.images import as_images, look_like_images
from skbait.plotting.sheet import sheet_of
from skbait.strategies import BaitQuery, MarginQuery, RandomQuery

matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def pyplot():
    """Pyplot without a window; whatever a test draws is drawn once more in full, and closed."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    for number in pyplot.get_fignums():
        pyplot.figure(number).canvas.draw()
    pyplot.close("all")


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:300] / 16, y[:300]


def fitted(digits, strategy=None, *, seed=0, **fit_params):
    X, y = digits
    learner = ActiveLearner(
        LogisticRegression(max_iter=1000), strategy, budget=20, batch_size=5, random_state=seed
    )
    return learner.fit(X[:200], y[:200], **fit_params)


@pytest.fixture(scope="module")
def learner(digits):
    return fitted(digits, MarginQuery(), X_val=digits[0][200:], y_val=digits[1][200:])


RESULTS = {
    "dataset": ["d"] * 8,
    "strategy": ["random"] * 4 + ["bait"] * 4,
    "seed": [0, 0, 1, 1] * 2,
    "n_labels": [10, 20] * 4,
    "score": [0.1, 0.3, 0.3, 0.7, 0.1, 0.6, 0.3, 0.8],
}


# Acquisition curves


def test_curves_of_results_are_means_with_bands(pyplot):
    display = AcquisitionCurveDisplay.from_results(RESULTS)
    assert display.names == ["random", "bait"]
    assert [line.get_label() for line in display.lines_] == ["random", "bait"]
    np.testing.assert_allclose(display.lines_[0].get_xydata(), [[10, 0.2], [20, 0.5]])
    np.testing.assert_allclose(display.lines_[1].get_xydata(), [[10, 0.2], [20, 0.7]])
    band = display.fill_between_[0].get_paths()[0].vertices
    assert {tuple(np.round(point, 9)) for point in band} == {
        (10, 0.1), (10, 0.3), (20, 0.3), (20, 0.7),
    }  # fmt: skip
    assert display.errorbar_ is None
    assert display.figure_ is display.ax_.figure
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("Labels", "Score")
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == display.names


@pytest.mark.filterwarnings("error")
def test_what_the_user_says_wins_whatever_it_is_spelled(digits):
    display = AcquisitionCurveDisplay.from_results(
        RESULTS, curve_kwargs={"ls": "--", "c": "k"}, fill_between_kw={"lw": 2, "color": "r"}
    )
    assert {line.get_linestyle() for line in display.lines_} == {"--"}
    assert {line.get_color() for line in display.lines_} == {"k"}
    assert display.fill_between_[0].get_linewidth()[0] == 2
    display.plot(error_style="errorbar", errorbar_kw={"c": "g"})
    X, y = digits
    query = MarginQuery().fit(X[:50], y[:50])
    red = (1.0, 0.0, 0.0, 1.0)
    for labels in ({}, {"y": y[50:250]}):
        for name in ("c", "color"):
            display = QueryDisplay.from_query(
                query, X[50:250], 5, chosen_kw={name: "r"}, pool_kw={name: "b"}, **labels
            )
            assert tuple(display.chosen_.get_facecolor()[0]) == red
        display = QueryDisplay.from_query(
            query,
            X[50:250],
            5,
            chosen_kw={"edgecolor": "r", "lw": 3},
            labeled_kw={"linewidth": 3},
            **labels,
        )
        assert tuple(display.chosen_.get_edgecolor()[0]) == red
        assert display.chosen_.get_linewidth()[0] == display.labeled_.get_linewidth()[0] == 3
    display = QueryDisplay(coordinates=np.eye(5, 2), chosen=np.arange(4))
    display.plot(kind="scatter", chosen_kw={"c": [1, 2, 3, 4], "cmap": "viridis"})
    assert display.colorbar_ is None
    norm = matplotlib.colors.Normalize(0, 2)
    display = WinMatrixDisplay.from_results(RESULTS, text_kw={"size": 5}, im_kw={"norm": norm})
    assert display.im_.norm is norm


def test_curves_are_drawn_where_and_how_one_wants(pyplot):
    _, ax = pyplot.subplots()
    display = AcquisitionCurveDisplay.from_results(
        RESULTS,
        strategies=["bait"],
        ax=ax,
        score_name="Accuracy",
        error_style="errorbar",
        curve_kwargs={"bait": {"color": "black", "lw": 3}},
        errorbar_kw={"capsize": 5},
    )
    assert display.ax_ is ax
    assert ax.get_ylabel() == "Accuracy"
    assert display.lines_[0].get_color() == "black"
    assert display.lines_[0].get_linewidth() == 3
    assert len(display.errorbar_) == 1
    assert display.fill_between_ is None
    bars = display.errorbar_[0].lines[2][0].get_segments()
    np.testing.assert_allclose(bars, [[[10, 0.1], [10, 0.3]], [[20, 0.6], [20, 0.8]]])
    again = display.plot(error_style=None, curve_kwargs={"lw": 2}, score_name="Other")
    assert again is display
    assert display.ax_ is not ax
    assert display.errorbar_ is display.fill_between_ is None
    assert display.ax_.get_ylabel() == "Other"


def test_every_one_of_many_curves_looks_different():
    names = [f"s{i}" for i in range(25)]
    results = {
        "dataset": ["d"] * 25, "strategy": names, "seed": [0] * 25, "n_labels": [10] * 25,
        "score": np.linspace(0, 1, 25),
    }  # fmt: skip
    display = AcquisitionCurveDisplay.from_results(results)
    looks = {(line.get_color(), line.get_linestyle()) for line in display.lines_}
    assert len(looks) == 25
    assert display.fill_between_ == [None] * 25  # a single seed has no standard error


NAMES = ["price $_$", "a$b_$c", "cost $5 vs $6", "_hidden"]


def results_of(names):
    rows = [(name, n, 0.01 * i * n) for i, name in enumerate(names) for n in (10, 20)]
    strategy, n_labels, score = zip(*rows, strict=True)
    common = {"dataset": ["d"] * len(rows), "seed": [0] * len(rows)}
    return common | {"strategy": strategy, "n_labels": n_labels, "score": score}


def test_names_are_drawn_as_they_are():
    """Those with $ are no formulas, and those that begin with _ are not left out."""
    as_drawn = [*(name.replace("$", r"\$") for name in NAMES[:3]), "\u200b_hidden"]
    curves = AcquisitionCurveDisplay.from_results(results_of(NAMES))
    curves.figure_.canvas.draw()
    assert [text.get_text() for text in curves.ax_.get_legend().get_texts()] == as_drawn
    matrix = WinMatrixDisplay.from_results(results_of(NAMES))
    matrix.figure_.canvas.draw()
    assert {text.get_text() for text in matrix.ax_.get_yticklabels()} == set(as_drawn)


def test_a_curve_without_a_name_and_names_of_several_lines():
    curves = AcquisitionCurveDisplay.from_results(results_of(["", "margin"]))
    assert len(curves.ax_.get_legend().get_texts()) == 2
    for names in ([f"a\nb\nc\nd {i}" for i in range(30)], [f"name {i}" for i in range(300)]):
        curves = AcquisitionCurveDisplay.from_results(results_of(names))
        curves.figure_.canvas.draw()
        legend = curves.ax_.get_legend().get_window_extent()
        inside = curves.figure_.bbox.padded(1)
        assert all(inside.contains(*corner) for corner in legend.corners())


def test_curves_beside_others_in_axes_of_ones_own(pyplot):
    _, ax = pyplot.subplots()
    ax.plot([10, 20], [0.5, 0.5], label="all labels")
    for names in (["a", "_b"], ["c"]):
        AcquisitionCurveDisplay.from_results(results_of(names), ax=ax)
    drawn = [text.get_text() for text in ax.get_legend().get_texts()]
    assert drawn == ["all labels", "a", "\u200b_b", "c"]


def test_long_names_leave_room_for_the_matrix():
    """Those of strategies as Python prints them."""
    long = "BaitQuery(regularization=0.01, weighting='original', variant='exact', random_state=0)"
    display = WinMatrixDisplay.from_results(results_of([long, "random"]))
    display.figure_.canvas.draw()
    inches = display.ax_.get_window_extent().size / display.figure_.dpi
    assert (inches > 1.0).all()
    inside = display.figure_.bbox.padded(1)
    for text in (*display.ax_.get_xticklabels(), *display.ax_.get_yticklabels()):
        corners = text.get_window_extent().corners()
        assert all(inside.contains(*corner) for corner in corners)


def test_the_legend_of_many_curves_stands_beside_them():
    display = AcquisitionCurveDisplay.from_results(results_of([f"s{i}" for i in range(30)]))
    display.figure_.canvas.draw()
    legend = display.ax_.get_legend().get_window_extent()
    assert legend.x0 >= display.ax_.get_window_extent().x1
    assert legend.x1 <= display.figure_.bbox.x1


def test_one_data_set_at_a_time():
    two = {name: values * 2 for name, values in RESULTS.items()}
    two["dataset"] = ["d"] * 8 + ["e"] * 8
    two["score"] = RESULTS["score"] + [0.0] * 8
    with pytest.raises(ValueError, match="2 data sets: draw one of them, by dataset='d'"):
        AcquisitionCurveDisplay.from_results(two)
    display = AcquisitionCurveDisplay.from_results(two, dataset="e")
    assert (display.lines_[0].get_ydata() == 0).all()
    with pytest.raises(ValueError, match="dataset='f' is not in the results; there are 'd', 'e'"):
        AcquisitionCurveDisplay.from_results(two, dataset="f")


def test_curves_of_learners(digits, learner):
    display = AcquisitionCurveDisplay.from_learner(learner)
    assert display.names == ["MarginQuery()"]
    np.testing.assert_allclose(display.lines_[0].get_ydata(), learner.history_["score"])
    np.testing.assert_allclose(display.lines_[0].get_xdata(), [10, 15, 20])
    held_out = {"X_val": digits[0][200:], "y_val": digits[1][200:]}
    other = fitted(digits, MarginQuery(), seed=1, **held_out)
    display = AcquisitionCurveDisplay.from_learner({"margin": [learner, other], "one": other})
    assert display.names == ["margin", "one"]
    mean = (learner.history_["score"] + other.history_["score"]) / 2
    np.testing.assert_allclose(display.lines_[0].get_ydata(), mean)
    assert display.fill_between_[0] is not None
    assert display.fill_between_[1] is None
    random = fitted(digits, RandomQuery(), **held_out)
    display = AcquisitionCurveDisplay.from_learner([learner, random])
    assert display.names == ["MarginQuery()", "RandomQuery()"]
    with pytest.raises(ValueError, match=r"two learners with MarginQuery.*by a dict"):
        AcquisitionCurveDisplay.from_learner([learner, other])


def test_rounds_without_a_score_are_left_out(digits, learner):
    X, y = digits
    half = ActiveLearner(LogisticRegression(max_iter=1000)).fit(X[:50], y[:50])
    half.teach(X[50:100], y[50:100], X_val=X[200:], y_val=y[200:])
    display = AcquisitionCurveDisplay.from_learner(half)
    assert display.lines_[0].get_xdata().tolist() == [100]
    assert display.lines_[0].get_marker() == "o"


def test_a_strategy_that_is_not_drawn_does_no_harm():
    columns = {name: list(values) for name, values in RESULTS.items()}
    n = len(columns["seed"])
    broken = {name: [*values, values[0]] for name, values in columns.items()}
    broken["strategy"][n], broken["score"][n] = "broken", np.nan
    names = list(dict.fromkeys(columns["strategy"]))
    display = AcquisitionCurveDisplay.from_results(broken, strategies=names[:1])
    assert display.names == names[:1]
    with pytest.raises(ValueError, match="'broken' has no score"):
        AcquisitionCurveDisplay.from_results(broken)


def test_curves_that_cannot_be_drawn_are_named(digits, learner):
    with pytest.raises(ValueError, match=r"score='score'.*give its fit \(or teach\) X_val"):
        AcquisitionCurveDisplay.from_learner(fitted(digits))
    with pytest.raises(ValueError, match=r"score='score_f1'.*there are score"):
        AcquisitionCurveDisplay.from_learner(learner, score="score_f1")
    with pytest.raises(ValueError, match="without a history_"):
        AcquisitionCurveDisplay.from_learner(LogisticRegression())
    with pytest.raises(ValueError, match="holds no learner"):
        AcquisitionCurveDisplay.from_learner({})
    with pytest.raises(ValueError, match="strategies holds 'badge'"):
        AcquisitionCurveDisplay.from_results(RESULTS, strategies=["badge"])
    for names in ("bait", []):
        with pytest.raises(ValueError, match="has to be a list of names"):
            AcquisitionCurveDisplay.from_results(RESULTS, strategies=names)
    with pytest.raises(ValueError, match="error_style='cloud'"):
        AcquisitionCurveDisplay.from_results(RESULTS, error_style="cloud")
    with pytest.raises(ValueError, match="curve_kwargs names the curve 'badge'"):
        AcquisitionCurveDisplay.from_results(RESULTS, curve_kwargs={"badge": {"lw": 1}})


# Win matrix


def test_win_matrix():
    display = WinMatrixDisplay.from_results(RESULTS)
    assert display.names == ["bait", "random"]
    np.testing.assert_array_equal(display.wins, [[np.nan, 1], [0, np.nan]])
    assert display.text_[0, 1].get_text() == "1.00"
    assert display.text_[1, 0].get_text() == "0.00"
    assert display.text_[0, 0] is None
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == display.names
    assert display.ax_.get_ylabel() == "Winner"
    assert display.colorbar_ is not None
    assert display.im_.get_clim() == (0, 1)
    display.plot(include_values=False, colorbar=False, cmap="viridis", xticks_rotation=45)
    assert display.text_ is None
    assert display.colorbar_ is None
    assert display.im_.get_cmap().name == "viridis"


# Queries


def test_a_map_of_a_query(digits, pyplot):
    X, y = digits
    query = BaitQuery(LogisticRegression(max_iter=1000), random_state=0).fit(X[:40], y[:40])
    _, ax = pyplot.subplots()
    display = QueryDisplay.from_query(query, X[40:], 7, ax=ax)
    np.testing.assert_array_equal(display.chosen, query.query(X[40:], 7))
    assert display.ax_ is ax
    expected = PCA(2, random_state=0).fit_transform(np.concatenate([X[40:], X[:40]]))
    np.testing.assert_allclose(display.coordinates, expected)
    np.testing.assert_allclose(display.chosen_.get_offsets(), expected[display.chosen])
    np.testing.assert_allclose(display.labeled_.get_offsets(), expected[260:])
    assert len(display.pool_.get_offsets()) == 300
    assert display.im_ is display.colorbar_ is None
    known = QueryDisplay.from_query(query, X[40:], [5, 2], y=y[40:])
    assert known.chosen.tolist() == [5, 2]
    assert len(known.pool_.get_offsets()) == 260
    assert len(np.unique(known.pool_.get_array())) == 10


def names_in_legend(display):
    return [each.get_text() for each in display.ax_.get_legend().get_texts()]


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (range(10), [*map(str, range(10))]),
        (["cat", "5$", "dog"], [r"5\$", "cat", "dog"]),
        ([True, False], ["False", "True"]),
        ([7, -1, 12, 3], ["3", "7", "12", "no label"]),
        ([7, None, 12, 3], ["3", "7", "12", "no label"]),
        (["b", None, "a"], ["a", "b", "no label"]),
        ([*range(10), -1], [*map(str, range(10)), "no label"]),
        (range(11), ["pool"]),
        ([-1], ["pool"]),
    ],
)
def test_the_legend_names_the_classes(classes, names):
    has_none = any(each is None for each in classes)
    y = np.resize(np.array(list(classes), dtype=object if has_none else None), 60)
    at = np.random.RandomState(0).rand(60, 2)
    display = QueryDisplay(chosen=np.arange(3), coordinates=at, labeled=np.arange(3, 5), y=y)
    display.plot()
    display.figure_.canvas.draw()
    assert names_in_legend(display) == [*names, "labelled before", "picked"]
    drawn = display.pool_.to_rgba(display.pool_.get_array())[:, :3]
    if names != ["pool"]:  # as the points are
        handles = display.ax_.get_legend().legend_handles
        for name, handle in zip(names, handles, strict=False):
            mark = (-1, None) if name == "no label" else (name.replace("\\", ""),)
            rows = [i for i in range(60) if y[i] in mark or str(y[i]) in mark]
            color = matplotlib.colors.to_rgb(handle.get_markerfacecolor())
            np.testing.assert_allclose(drawn[rows], np.tile(color, (len(rows), 1)))
    if -1 in list(classes) or has_none:
        gray = drawn[[i for i in range(60) if y[i] in (-1, None)]]
        np.testing.assert_allclose(gray, 0.75)


@pytest.mark.parametrize("classes", [3, 12])
def test_picked_points_have_the_colours_of_their_classes(classes):
    """With a black edge, as their sign in the legend has it; unless the user says otherwise."""
    y = np.resize([*range(classes), -1], 60)
    display = QueryDisplay(chosen=np.arange(20, 34), coordinates=np.eye(60, 2), y=y).plot()
    display.figure_.canvas.draw()
    pool = display.pool_.to_rgba(display.pool_.get_array())[20:34, :3]
    np.testing.assert_allclose(display.chosen_.get_facecolors()[:, :3], pool)
    assert (display.chosen_.get_edgecolors() == [[0, 0, 0, 1]]).all()
    sign = display.ax_.get_legend().legend_handles[-1]
    assert names_in_legend(display)[-1] == "picked"
    assert sign.get_markerfacecolor() == "none"
    assert sign.get_markeredgecolor() == "black"
    display.plot(pool_kw={"cmap": "viridis"})
    display.figure_.canvas.draw()
    pool = display.pool_.to_rgba(display.pool_.get_array())[20:34, :3]
    np.testing.assert_allclose(display.chosen_.get_facecolors()[:, :3], pool)
    lime, red = matplotlib.colors.to_rgba("lime"), matplotlib.colors.to_rgba("C3")
    for given, color in (
        ({"chosen_kw": {"color": "lime"}}, lime),
        ({"pool_kw": {"c": "0.5"}}, red),
    ):
        display.plot(**given)
        display.figure_.canvas.draw()
        np.testing.assert_allclose(display.chosen_.get_facecolors(), [color])


def test_what_the_user_says_of_the_pool_wins(digits):
    X, y = digits
    query = MarginQuery(LogisticRegression(max_iter=1000)).fit(X[:40], y[:40])
    for given, names in (({"color": "0.5"}, ["pool"]), ({"label": "all"}, ["all"])):
        display = QueryDisplay.from_query(query, X[40:], 2, y=y[40:], pool_kw=given)
        assert names_in_legend(display) == [*names, "labelled before", "picked"]
    again = QueryDisplay.from_query(query, X[40:], 2, y=y[40:], pool_kw={"cmap": "viridis"})
    again.plot(ax=again.ax_)
    assert names_in_legend(again) == [*map(str, range(10)), "labelled before", "picked"]


def test_a_map_by_the_features_of_the_model(digits):
    from sklearn.neural_network import MLPClassifier

    X, y = digits
    net = MLPClassifier((5,), max_iter=20, random_state=0, tol=1.0)
    query = MarginQuery(net).fit(X[:40], y[:40])
    display = QueryDisplay.from_query(query, X[40:], 3)
    model = query.estimator_
    hidden = np.maximum(X[40:] @ model.coefs_[0] + model.intercepts_[0], 0)
    known = np.maximum(X[:40] @ model.coefs_[0] + model.intercepts_[0], 0)
    both = np.concatenate([hidden, known])
    shift = PCA(2, random_state=0).fit_transform(both)
    np.testing.assert_allclose(display.coordinates, shift, atol=1e-6)


def test_coordinates_may_be_given_or_made_by_any_transformer(digits):
    X, y = digits
    query = MarginQuery(LogisticRegression(max_iter=1000)).fit(X[:20], y[:20])
    at = np.random.RandomState(0).normal(size=(280, 2))
    display = QueryDisplay.from_query(query, X[20:], 3, projection=at)
    assert display.coordinates.shape == (280, 2)
    assert display.labeled_ is None
    display = QueryDisplay.from_query(query, X[20:50], 3, projection=at[:50])
    assert len(display.labeled_.get_offsets()) == 20
    mds = MDS(2, n_init=1, max_iter=5, init="random", random_state=0)
    display = QueryDisplay.from_query(query, X[20:50], 3, projection=mds)
    assert display.coordinates.shape == (50, 2)
    with pytest.raises(ValueError, match=r"projection has shape \(7, 2\).*\(280, 2\) or \(300, 2"):
        QueryDisplay.from_query(query, X[20:], 3, projection=at[:7])
    with pytest.raises(ValueError, match=r"gave shape \(300, 3\).*two columns"):
        QueryDisplay.from_query(query, X[20:], 3, projection=PCA(3))


def test_a_map_of_a_strategy_without_a_model_and_of_one_feature():
    X = np.arange(10.0)[:, None]
    query = RandomQuery(random_state=0).fit(X[:1])
    display = QueryDisplay.from_query(query, X, 3)
    assert display.coordinates.shape[1] == 2
    assert (display.coordinates[:, 1] == 0).all()


def test_a_map_of_a_learner_round_by_round(digits, learner):
    X, y = digits
    display = QueryDisplay.from_learner(learner, X[:200], y=y[:200])
    np.testing.assert_array_equal(display.labeled, learner.labeled_positions_[:10])
    np.testing.assert_array_equal(display.chosen, learner.labeled_positions_[10:])
    assert display.rounds.tolist() == [1] * 5 + [2] * 5
    np.testing.assert_array_equal(display.chosen_.get_array(), display.rounds)
    assert display.colorbar_ is not None
    second = QueryDisplay.from_learner(learner, X[:200], rounds=2)
    np.testing.assert_array_equal(second.labeled, learner.labeled_positions_[:15])
    np.testing.assert_array_equal(second.chosen, learner.labeled_positions_[15:])
    assert second.colorbar_ is None
    first = QueryDisplay.from_learner(learner, X[:200], rounds=[1])
    assert len(first.labeled) == 10


def test_a_learner_taught_by_hand_goes_by_its_query(digits):
    X, y = digits
    by_hand = ActiveLearner(LogisticRegression(max_iter=1000), MarginQuery(), random_state=0)
    by_hand.fit(X[:30], y[:30])
    with pytest.raises(ValueError, match="from_query"):
        QueryDisplay.from_learner(by_hand, X[:30])
    display = QueryDisplay.from_query(by_hand, X[30:], 4)
    np.testing.assert_array_equal(display.chosen, by_hand.query(X[30:], 4))
    assert len(display.labeled) == 30


def test_a_sheet_of_images(digits, learner):
    X, y = digits
    display = QueryDisplay.from_learner(
        learner, X[:200], y=y[:200], kind="images", image_shape=(8, 8), n_columns=3
    )
    np.testing.assert_allclose(
        display.images.reshape(10, 64), X[learner.labeled_positions_[10:]], atol=1e-12
    )
    texts = [text.get_text() for text in display.texts_]
    assert texts[:10] == [str(label) for label in y[display.chosen]]
    assert texts[10:] == ["round 1", "round 2"]
    sheet = display.im_.get_array()
    assert sheet.shape == (4 * (8 + 3), 3 * (8 + 1))  # two lines a round
    np.testing.assert_allclose(sheet[3:11, :8], display.images[0])
    assert display.pool_ is display.chosen_ is None


def test_a_display_draws_what_it_has(digits, learner):
    flat = QueryDisplay.from_learner(learner, digits[0][:200])
    with pytest.raises(ValueError, match="kind='images' needs images"):
        flat.plot(kind="images")
    X = digits[0].reshape(-1, 8, 8)
    query = RandomQuery(random_state=0).fit(X[:5], digits[1][:5])
    display = QueryDisplay.from_query(query, X, 12)
    assert display.plot(kind="images").im_.get_array().shape == (2 * 9, 10 * 9)
    sheet = QueryDisplay.from_query(query, X, 12, kind="images")
    with pytest.raises(ValueError, match="kind='scatter' needs coordinates"):
        sheet.plot()


def test_queries_that_cannot_be_drawn_are_named(digits, learner):
    X, _ = digits
    with pytest.raises(ValueError, match="kind='film'"):
        QueryDisplay.from_learner(learner, X[:200], kind="film")
    with pytest.raises(ValueError, match="rounds=3 has to name rounds from 1 to 2"):
        QueryDisplay.from_learner(learner, X[:200], rounds=3)
    with pytest.raises(ValueError, match=r"rounds=\[1, 1\] .* each once"):
        QueryDisplay.from_learner(learner, X[:200], rounds=[1, 1])
    with pytest.raises(ValueError, match="image_shape=8 has to be"):
        QueryDisplay.from_query(learner, X, 2, kind="images", image_shape=8)
    with pytest.raises(ValueError, match="and there are 20 rows"):
        QueryDisplay.from_learner(learner, X[:20])
    with pytest.raises(ValueError, match=r"chosen=.*positions"):
        QueryDisplay.from_query(learner, X, [0.5])
    with pytest.raises(ValueError, match=r"chosen=.{,40} has to be .*flatnonzero"):
        QueryDisplay.from_query(learner, X, np.zeros(len(X), dtype=bool))
    with pytest.raises(ValueError, match="n_columns=0"):
        QueryDisplay.from_query(learner, X, 2, kind="images", image_shape=(8, 8), n_columns=0)


@pytest.mark.parametrize("shape", [(4, 6), (1, 4, 6), (4, 6, 1), (3, 4, 6), (4, 6, 3)])
@pytest.mark.parametrize("tensor", [False, True])
def test_images_of_any_layout(shape, tensor, rng):
    X = rng.random((5, *shape))
    X[0].flat[:2] = 0, 1
    assert look_like_images(X)
    images = as_images(torch.as_tensor(X) if tensor else X, None)
    colour = 3 in shape
    assert images.shape == ((5, 4, 6, 3) if colour else (5, 4, 6))
    if shape[0] == 3:
        np.testing.assert_array_equal(images, np.moveaxis(X, 1, 3))
    np.testing.assert_array_equal(as_images(X.reshape(5, -1), shape), images)
    sheet, corners = sheet_of(images, 2, None)
    assert sheet.shape[:2] == (3 * 5, 2 * 7)
    for image, (top, left) in zip(images, corners, strict=True):
        np.testing.assert_array_equal(sheet[top : top + 4, left : left + 6], image)


def test_values_of_images():
    levels = np.array([[[0, 255], [51, 102]]], dtype=np.uint8)
    np.testing.assert_allclose(as_images(levels, None), [[[0, 1], [0.2, 0.4]]])
    np.testing.assert_allclose(as_images(levels[:, 1:], None), [[[0.2, 0.4]]])
    np.testing.assert_allclose(as_images(np.array([[[-2.0, 2.0, 0.0]]]), None), [[[0, 1, 0.5]]])
    assert (as_images(np.ones((1, 2, 2)), None) == 0).all()
    with pytest.raises(ValueError, match=r"image_shape=\(3, 3\) has 9 values, but a row has 4"):
        as_images(np.zeros((1, 4)), (3, 3))
    with pytest.raises(ValueError, match=r"are no images.*image_shape"):
        as_images(np.zeros((1, 4)), None)
    with pytest.raises(TypeError, match="not a dict"):
        as_images({"image": np.zeros((1, 4, 4))}, None)


@pytest.mark.parametrize("name", ["0", "a $_$ name", "a name that is much too long for a cell"])
@pytest.mark.parametrize("shape", [(8, 8), (8, 40), (40, 8)])
def test_a_sheet_has_room_for_every_image_and_its_name(shape, name, pyplot):
    rows = np.random.default_rng(0).random((12, *shape))
    query = RandomQuery().fit(np.zeros((2, 320)), [0, 1])
    for n_columns in (None, 1):
        display = QueryDisplay.from_query(
            query, rows, np.arange(12), y=np.repeat(name, 12), kind="images"
        ).plot(kind="images", n_columns=n_columns)
        display.figure_.canvas.draw()
        pixel = display.im_.get_window_extent().width / display.im_.get_array().shape[1]
        assert pixel * 8 > 0.5 * display.figure_.dpi
        boxes = [text.get_window_extent() for text in display.texts_]
        assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
        inside = display.figure_.bbox.padded(1)
        assert all(inside.contains(*corner) for box in boxes for corner in box.corners())


def sheet(n, shape, name, **params):
    images = np.random.default_rng(0).random((n, *shape))
    return QueryDisplay(chosen=np.arange(n), images=images, y=np.repeat(name, n), **params)


def overlaps(display):
    """How many texts of a sheet lie on each other, or on the images."""
    display.figure_.canvas.draw()
    picture = display.im_.get_array()
    height, width = picture.shape[:2]
    boxes = [text.get_window_extent() for text in display.texts_]
    on_each_other = sum(one.overlaps(two) for i, one in enumerate(boxes) for two in boxes[:i])
    white = picture.reshape(height, width, -1).min(axis=2) == 1.0
    on_images = 0
    for box in boxes:
        (left, low), (right, high) = display.ax_.transData.inverted().transform(box.get_points())
        rows = slice(max(0, math.ceil(high)), max(0, math.floor(low) + 1))
        columns = slice(max(0, math.ceil(left)), max(0, math.floor(right) + 1))
        on_images += not white[rows, columns].all()
    return on_each_other, on_images


@pytest.mark.parametrize(
    ("n", "size", "n_columns"), [(100, (6.4, 4.8), None), (30, (3, 3), None), (40, (6, 4), 20)]
)
def test_labels_in_axes_of_ones_own_lie_on_nothing(n, size, n_columns, pyplot):
    _, ax = pyplot.subplots(figsize=size, layout="constrained")
    display = sheet(n, (8, 8), "cat").plot(ax, kind="images", n_columns=n_columns)
    assert overlaps(display) == (0, 0)
    assert display.texts_[0].get_text() == "cat"


@pytest.mark.parametrize("shape", [(2, 40), (1, 28), (40, 2), (32, 32, 3)])
@pytest.mark.parametrize("name", ["cat", "LAWN MOWER"])
@pytest.mark.parametrize("points", [10, 14])
def test_labels_of_any_size_lie_on_nothing(shape, name, points, pyplot):
    with pyplot.rc_context({"font.size": points}):
        display = sheet(12, shape, name).plot(kind="images")
        assert overlaps(display) == (0, 0)
        assert display.texts_[0].get_text() == name


def test_a_sheet_is_bounded(pyplot):
    for name, n_columns in (("a" * 20, 100), ("automobile", 50)):
        display = sheet(100, (8, 8), name).plot(kind="images", n_columns=n_columns)
        assert display.figure_.get_size_inches()[0] < 21
        assert overlaps(display) == (0, 0)
    display = sheet(300, (8, 8), "cat", rounds=np.arange(300)).plot(kind="images")
    assert 50 < display.figure_.get_size_inches()[1] < 101
    assert overlaps(display) == (0, 0)
    _, ax = pyplot.subplots(figsize=(4, 3), layout="constrained")
    display = sheet(20, (8, 8), "automobile").plot(ax, kind="images")
    assert overlaps(display) == (0, 0)  # cut


def test_labels_stand_apart_and_are_small_where_cells_are():
    display = sheet(8, (8, 8), "LAWN MOWER").plot(kind="images")
    assert overlaps(display) == (0, 0)
    one, two = (text.get_window_extent() for text in display.texts_[:2])
    assert two.x0 - one.x1 > 2
    small = sheet(100, (8, 8), "WWWWWW").plot(kind="images", n_columns=100)
    assert small.texts_[0].get_fontsize() < 0.8 * display.texts_[0].get_fontsize()


def test_labels_without_a_letter_and_axes_without_room(pyplot):
    display = sheet(3, (8, 8), "cat")
    display.y = np.array(["", " ", "\u200b"], dtype=object)
    assert overlaps(display.plot(kind="images")) == (0, 0)
    ax = pyplot.figure().add_axes([0, 0, 1, 0])
    assert sheet(30, (8, 8), "cat").plot(ax, kind="images").ax_ is ax


def test_rows_without_a_label_are_named_so():
    display = sheet(3, (8, 8), "cat")
    for y in (np.array([-1, 0, 1]), np.array([None, "0", "1"], dtype=object)):
        display.y = y
        display.plot(kind="images")
        assert [text.get_text() for text in display.texts_] == ["no label", "0", "1"]


def test_a_map_of_what_has_the_shape_of_images():
    query = RandomQuery().fit(np.zeros((2, 64)), [0, 1])
    display = QueryDisplay.from_query(query, torch.rand(20, 8, 8).bfloat16(), np.arange(3))
    assert display.images.shape == (3, 8, 8)
    at = np.random.default_rng(0).random((20, 2))
    words = np.full((20, 2, 3), "a")
    display = QueryDisplay.from_query(query, words, np.arange(3), projection=at)
    assert display.images is None
    with pytest.raises(ValueError, match="could not convert"):
        QueryDisplay.from_query(query, words, np.arange(3), kind="images")


def test_an_error_leaves_no_figure_and_what_was_drawn(pyplot):
    open_before = pyplot.get_fignums()
    with pytest.raises(ValueError, match="names the curve 'x'"):
        AcquisitionCurveDisplay.from_results(RESULTS, curve_kwargs={"x": {}})
    with pytest.raises(ValueError, match="format"):
        WinMatrixDisplay.from_results(RESULTS, values_format="zz")
    assert pyplot.get_fignums() == open_before
    display = sheet(3, (8, 8), "cat").plot(kind="images")
    _, ax = pyplot.subplots()
    with pytest.raises(ValueError, match="format"):
        WinMatrixDisplay.from_results(RESULTS, ax=ax, values_format="zz")
    with pytest.raises(ValueError, match="names the curve 'x'"):
        AcquisitionCurveDisplay.from_results(RESULTS, ax=ax, curve_kwargs={"x": {}})
    assert not ax.has_data()
    drawn = vars(display).copy()
    with pytest.raises(ValueError, match="n_columns=0"):
        display.plot(kind="images", n_columns=0)
    display.coordinates = drawn["coordinates"] = np.random.default_rng(0).random((3, 2))
    open_before = pyplot.get_fignums()
    with pytest.raises(AttributeError, match="zz"):
        display.plot(chosen_kw={"zz": 1})
    assert pyplot.get_fignums() == open_before
    assert vars(display) == drawn
    curves = AcquisitionCurveDisplay.from_results(RESULTS)
    drawn, open_before = vars(curves).copy(), pyplot.get_fignums()
    with pytest.raises(AttributeError, match="zz"):
        curves.plot(fill_between_kw={"zz": 1})
    assert pyplot.get_fignums() == open_before
    assert all(vars(curves)[name] is drawn[name] for name in drawn)


def test_rounds_of_a_sheet_and_its_size():
    rows = np.random.default_rng(0).random((12, 8, 8))
    query = RandomQuery().fit(np.zeros((2, 64)), [0, 1])
    display = QueryDisplay.from_query(query, rows, np.arange(12), kind="images")
    display.rounds = np.repeat([1, 2, 3], [5, 4, 3])
    display.plot(kind="images").figure_.canvas.draw()
    assert [text.get_text() for text in display.texts_] == ["round 1", "round 2", "round 3"]
    picture, inside = display.im_.get_window_extent(), display.figure_.bbox.padded(1)
    for text in display.texts_:
        box = text.get_window_extent()
        assert box.x1 < picture.x0
        assert all(inside.contains(*corner) for corner in box.corners())
    display = QueryDisplay.from_query(
        query, np.random.default_rng(0).random((20, 8, 400)), np.arange(20), kind="images"
    ).plot(kind="images", n_columns=10)
    assert (display.figure_.get_size_inches() <= 21).all()


def test_pixels_that_are_no_numbers_spoil_no_others():
    images = np.arange(32.0).reshape(2, 4, 4)
    images[0, 0, 0], images[1, 0, 0], images[1, 0, 1] = np.nan, np.inf, -np.inf
    drawn = as_images(images, None)
    assert drawn[0, 0, 0] == drawn[1, 0, 0] == drawn[1, 3, 3] == 1.0
    assert drawn[0, 0, 1] == drawn[1, 0, 1] == 0.0
    assert (as_images(np.full((1, 2, 2), np.nan), None) == 1.0).all()


def test_without_matplotlib_one_is_told_what_to_install(monkeypatch):
    real_import = builtins.__import__

    def without_matplotlib(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(builtins, "__import__", without_matplotlib)
        with pytest.raises(ImportError, match=r"WinMatrixDisplay.plot draws .*skbait\[plot\]"):
            WinMatrixDisplay.from_results(RESULTS)
