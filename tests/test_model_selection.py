# SPDX-License-Identifier: BSD-3-Clause
"""Comparisons of strategies: fair, resumable, the same however run; statistics by hand."""

from __future__ import annotations

import builtins
import json
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer, recall_score

from skbait import ActiveLearner
from skbait.laplace import LaplaceClassifier
from skbait.model_selection import (
    area_under_curve,
    compare_strategies,
    labels_saved,
    mean_curves,
    paired_tests,
    read_results,
    summarize_strategies,
    win_matrix,
    win_rates,
)
from skbait.model_selection.tables import as_columns, as_table
from skbait.strategies import BaitQuery, BossQuery, MarginQuery, RandomQuery

TIMES = ("query_time", "fit_time")


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:400] / 16, y[:400]


class FailingQuery(RandomQuery):
    """Raises an error as soon as it has to choose with an odd seed."""

    def _select(self, view, n):
        raise FloatingPointError("the pool is too deep")


class Constant:
    """A scorer as a bound method."""

    def __init__(self, value):
        self.value = value

    def score(self, estimator, X, y):
        return self.value


def small(X, y=None, strategies=("random", "margin"), **params):
    defaults = {"budget": 30, "batch_size": 10, "seeds": 2, "progress": False}
    estimator = params.pop("estimator", LogisticRegression(max_iter=1000))
    return compare_strategies(estimator, list(strategies), X, y, **defaults | params)


def assert_same(one, other, *, but=TIMES):
    one, other = as_columns(one), as_columns(other)
    assert list(one) == list(other)
    for name in one:
        if name not in but:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


# Runs


def test_a_file_that_cannot_be_written_is_told_before_the_first_training(tmp_path, digits):
    class Trained(LogisticRegression):
        def fit(self, X, y):
            raise AssertionError("trained")

    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "results.jsonl"):
        with pytest.raises(OSError, match=r"results_path=.* cannot be (written to|read)"):
            small(*digits, estimator=Trained(), results_path=path)


def test_finished_results_are_only_read(tmp_path, digits, monkeypatch):
    """They may lie where nothing can be written."""
    path = tmp_path / "results.jsonl"
    first = small(*digits, results_path=path)
    monkeypatch.setattr(Path, "mkdir", None)
    assert small(*digits, results_path=path).equals(first)


def test_what_is_recorded_of_an_error_tells_of_the_labels(digits):
    class Untrainable(LogisticRegression):
        def fit(self, X, y):
            raise ValueError("no")

    with pytest.warns(FitFailedWarning):
        results = small(*digits, estimator=Untrainable(), on_error="record")
    assert results.error.str.contains(r"^ValueError: no \(The training had \d+ labelled").all()


def test_a_row_a_round_in_a_fixed_order(digits):
    results = small({"one": digits, "two": (digits[0][:200], digits[1][:200])}, n_jobs=None)
    assert list(results.columns) == [
        "dataset", "strategy", "seed", "round", "n_labels", "score", *TIMES, "error",
    ]  # fmt: skip
    assert len(results) == 2 * 2 * 2 * 3
    assert list(results["n_labels"][:6]) == [10, 20, 30] * 2
    assert list(results["round"][:6]) == [0, 1, 2] * 2
    assert list(results["seed"][:6]) == [0] * 3 + [1] * 3
    assert list(dict.fromkeys(results["strategy"])) == ["random", "margin"]
    assert list(dict.fromkeys(results["dataset"])) == ["one", "two"]
    assert (results["error"] == "").all()
    assert results["query_time"].isna().to_numpy().tolist() == [True, False, False] * 8
    assert results["score"].between(0, 1).all()


def test_strategies_start_alike_and_a_run_is_the_learner_on_the_split(digits):
    X, y = digits
    results = as_columns(small(X, y, pool_size=200, test_size=80, seeds=[7]))
    first = results["score"][results["round"] == 0]
    assert first[0] == first[1]
    order = np.random.RandomState(7).permutation(len(y))
    test, pool = order[:80], np.sort(order[80:280])
    learner = ActiveLearner(
        LogisticRegression(max_iter=1000), MarginQuery(), budget=30, batch_size=10, random_state=7
    ).fit(X[pool], y[pool], X_val=X[test], y_val=y[test])
    expected = results["score"][results["strategy"] == "margin"]
    np.testing.assert_array_equal(learner.history_["score"], expected)


def test_given_test_rows_are_the_ones_scored(digits):
    X, y = digits
    wrong = (y[300:] + 1) % 10
    results = small(X[:300], y[:300], X_test=X[300:], y_test=wrong, seeds=1)
    assert (as_columns(results)["score"] < 0.5).all()
    named = small({"data": (X[:300], y[:300], X[300:], wrong)}, seeds=1)
    assert_same(results, named)


def test_rows_without_a_label_are_neither_test_rows_nor_in_the_pool(digits):
    X, y = digits
    masked = np.where(np.arange(len(y)) % 2, y, -1)
    assert_same(small(X, masked, seeds=1), small(X[1::2], y[1::2], seeds=1))


def test_several_scorers_give_several_columns(digits):
    scoring = {"accuracy": "accuracy", "recall": make_scorer(recall_score, average="macro")}
    results = small(*digits, scoring=scoring, seeds=1)
    assert {"score_accuracy", "score_recall"} <= set(results.columns)
    plain = small(*digits, seeds=1)
    np.testing.assert_array_equal(results["score_accuracy"], plain["score"])
    assert list(summarize_strategies(results, score="score_recall")["n_seeds"]) == [1, 1]


def test_an_oracle_takes_part_and_changes_nothing_for_the_others(digits):
    boss = BossQuery(n_candidates=10, n_epochs=5)
    with_oracle = as_columns(
        small(*digits, strategies=["random", boss], val_size=60, seeds=1, budget=20)
    )
    without = as_columns(small(*digits, strategies=["random"], val_size=60, seeds=1, budget=20))
    rows = with_oracle["strategy"] == "random"
    np.testing.assert_array_equal(with_oracle["score"][rows], without["score"])
    assert (~rows).sum() == 2


def test_an_oracle_chooses_by_other_rows_than_those_scored(digits):
    X, y = digits
    seen = []

    class Spy(BossQuery):
        def query(self, X_pool, n, *, y_pool, X_val, y_val, candidates):
            seen.append((X_val, X_pool))
            return candidates[:n]

    small(
        X, y, strategies={"spy": Spy()}.values(), val_size=60, test_size=100, seeds=[3], budget=20
    )
    order = np.random.RandomState(3).permutation(len(y))
    np.testing.assert_array_equal(seen[0][0], X[order[100:160]])
    np.testing.assert_array_equal(seen[0][1], X[np.sort(order[160:])])


def test_jobs_make_no_difference(digits):
    serial = small(*digits, strategies=["random", BaitQuery(variant="binary")])
    parallel = small(*digits, strategies=["random", BaitQuery(variant="binary")], n_jobs=2)
    assert_same(serial, parallel)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_models_that_share_a_run_in_threads_do_not_wait_for_it(digits, n_jobs):
    model = LaplaceClassifier(LogisticRegression(max_iter=1000))
    bagging = BaggingClassifier(model, n_estimators=2, n_jobs=2)
    params = {"strategies": ["margin"], "estimator": bagging, "initial": 20}
    with joblib.parallel_config(backend="threading"):
        threads = small(*digits, n_jobs=n_jobs, **params)
    assert_same(threads, small(*digits, **params))


def test_a_strategy_need_not_be_ours(digits):
    class First(BaseEstimator):
        def fit(self, X, y):
            return self

        def query(self, X, n):
            return np.arange(n)

    results = small(*digits, strategies=[First()], seeds=1)
    assert list(dict.fromkeys(results["strategy"])) == ["First()"]
    assert len(results) == 3


def test_the_bar_counts_all_runs(digits, capsys):
    small(*digits, seeds=1, progress=True)
    assert "2/2" in capsys.readouterr().err


# Failures


def test_a_failure_is_raised_with_the_run_named(digits):
    with pytest.raises(RuntimeError, match=r"'bad' failed on data set 'digits' with seed 0: Fl.*"):
        compare_strategies(
            None, {"bad": FailingQuery()}, {"digits": digits}, budget=30, progress=False
        )


def test_a_failure_can_be_recorded(digits):
    both = {"bad": FailingQuery(), "random": "random"}
    with pytest.warns(FitFailedWarning, match="2 of 4 runs failed.*'bad'.*seed 0.*too deep"):
        results = compare_strategies(
            LogisticRegression(max_iter=1000), both, *digits, budget=30, seeds=2,
            on_error="record", progress=False,
        )  # fmt: skip
    failed = results[results["error"] != ""]
    assert list(failed["strategy"]) == ["bad", "bad"]
    assert failed["score"].isna().all()
    assert set(failed["error"]) == {"FloatingPointError: the pool is too deep"}
    with pytest.raises(
        ValueError, match=r"'bad' has no score on data set 'data' with seed 0.*deep"
    ):
        summarize_strategies(results)
    assert len(summarize_strategies(results[results["error"] == ""])) == 1


@pytest.mark.parametrize(
    "scoring, column",
    [
        (None, "score"),
        ({"a": "accuracy", "b": "f1_macro"}, "score_b"),
        (["f1_macro"], "score_f1_macro"),
    ],
)
def test_a_comparison_that_fails_altogether_has_scores_to_be_missed(
    digits, tmp_path, scoring, column
):
    path = tmp_path / "results.jsonl"
    with pytest.warns(FitFailedWarning, match="1 of 1 runs failed"):
        results = small(
            *digits, strategies=[FailingQuery()], seeds=1, scoring=scoring, on_error="record",
            results_path=path,
        )  # fmt: skip
    assert results[column].isna().all()
    assert list(results.columns)[4] == "n_labels"
    with pytest.raises(ValueError, match=f"has no {column} on .*the pool is too deep"):
        summarize_strategies(results, score=column)
    assert len(read_results(path)) == 1


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"strategies": []}, "strategies"),
        ({"strategies": ["random", "random"]}, "'random' more than once"),
        ({"strategies": ["rondom"]}, "Did you mean 'random'"),
        ({"seeds": 0}, "seeds=0"),
        ({"seeds": True}, "seeds=True"),
        ({"seeds": [1, 1]}, r"seeds=\[1, 1\]"),
        ({"test_size": 1.5}, "test_size=1.5"),
        ({"test_size": 400}, "test_size=400 and val_size=None leave none of the 400"),
        ({"pool_size": 390}, "pool_size=390 asks for 390 rows, and 300"),
        ({"budget": 301}, "budget=301 is more than the 300 rows"),
        ({"batch_size": 0}, "batch_size"),
        ({"initial": [1, 2]}, r"initial=\[1, 2\]"),
        ({"initial": 50, "budget": 40}, r"^initial=50 is more than budget=40 labels\."),
        ({"initial": 0.5, "budget": 40}, "^initial=0.5 is more than budget=40 labels of the 300"),
        ({"strategies": [MarginQuery]}, "strategies=MarginQuery is a class"),
        ({"on_error": "ignore"}, "on_error='ignore'"),
        ({"strategies": ["boss"]}, "val_size=None, but strategy 'boss'"),
        ({"y": None}, "y=None"),
        ({"X_test": np.zeros((2, 64))}, "no y_test"),
    ],
)
def test_bad_arguments_are_named(digits, changes, message):
    params = {"X": digits[0], "y": digits[1], **changes}
    with pytest.raises((ValueError, TypeError), match=message):
        small(**params)


def test_bad_data_sets_are_named(digits):
    with pytest.raises(ValueError, match="data set 'd' has to be"):
        small({"d": digits[0]})
    with pytest.raises(ValueError, match=r"data set 'd'.*y_test has rows without a label"):
        small({"d": (*digits, digits[0][:2], np.array([1, -1]))})


# The file of results


def test_an_interrupted_comparison_goes_on(digits, tmp_path):
    path = tmp_path / "deep" / "results.jsonl"
    whole = small(*digits, results_path=path)
    text = path.read_text()
    assert_same(read_results(path).sort_values(["strategy", "seed", "round"]),
                whole.sort_values(["strategy", "seed", "round"]), but=())  # fmt: skip
    # a crash in the middle of the third line
    lines = text.splitlines(keepends=True)
    path.write_text("".join(lines[:2]) + lines[2][:40])
    assert len(read_results(path)) == 2 * 3
    assert_same(small(*digits, results_path=path), whole)
    kept = path.read_text().splitlines(keepends=True)
    assert kept[:2] == lines[:2]
    found = sorted(json.loads(line)["strategy"] for line in kept)
    assert found == sorted(json.loads(line)["strategy"] for line in lines)
    # nothing is run again, and nothing written
    stored = path.read_bytes()
    assert_same(small(*digits, results_path=path), small(*digits, results_path=path), but=())
    assert path.read_bytes() == stored
    # what was there is used as it is
    more = as_columns(small(*digits, results_path=path, seeds=3))
    rows = more["seed"] < 2
    assert_same(
        {n: v[rows] for n, v in more.items()}, read_results_of(stored, tmp_path, whole), but=()
    )


def read_results_of(stored, folder, like):
    """Return the table of a file's content, in the order of another table."""
    path = folder / "copy.jsonl"
    path.write_bytes(stored)
    table = as_columns(read_results(path))
    key = list(zip(table["strategy"], table["seed"], table["round"], strict=True))
    order = [
        key.index(each) for each in zip(like["strategy"], like["seed"], like["round"], strict=True)
    ]
    return {name: values[order] for name, values in table.items()}


def test_a_crash_before_the_first_line_ends_is_survived(digits, tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text('{"setting": "12')
    assert_same(small(*digits, results_path=path, seeds=1), small(*digits, seeds=1))
    assert len(path.read_text().splitlines()) == 2


def test_a_run_of_another_setting_is_not_taken_for_it(digits, tmp_path):
    X, y = digits
    path = tmp_path / "results.jsonl"
    common = {"results_path": path, "seeds": 1, "strategies": ["random"]}

    def n_stored():
        return len(path.read_text().splitlines())

    small(X, y, **common)
    small(X, y, **common)
    assert n_stored() == 1
    small(X, y, **common | {"budget": 20})
    small(X + 1, y, **common)
    small(X, y, **common, estimator=LogisticRegression(C=2, max_iter=1000))
    small(X, y, **common, pool_size=100)
    small(X, y, **common, scoring="balanced_accuracy")
    assert n_stored() == 6
    with pytest.raises(ValueError, match="'random' on data set 'data' with seed 0 under two"):
        read_results(path)


def test_failed_runs_are_made_again(digits, tmp_path):
    path = tmp_path / "results.jsonl"
    params = {"strategies": [RandomQuery()], "seeds": 1, "results_path": path}
    small(*digits, **params)
    line = json.loads(path.read_text())
    path.write_text(json.dumps(line | {"columns": {}, "error": "MemoryError: "}) + "\n")
    assert list(read_results(path)["error"]) == ["MemoryError: "]
    assert (small(*digits, **params)["error"] == "").all()
    assert (read_results(path)["error"] == "").all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_scores_that_are_no_numbers_are_stored(digits, tmp_path, value):
    params = {"strategies": ["random"], "seeds": 1, "scoring": Constant(value).score}
    stored = small(*digits, results_path=tmp_path / "results.jsonl", **params)
    np.testing.assert_array_equal(stored["score"], [value] * 3)
    text = (tmp_path / "results.jsonl").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert_same(read_results(tmp_path / "results.jsonl"), stored, but=())
    assert_same(small(*digits, results_path=tmp_path / "results.jsonl", **params), stored, but=())


def test_a_file_of_something_else_is_refused(digits, tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text("strategy,seed\n")
    with pytest.raises(ValueError, match=r"line 1 is not a result.*Name another file"):
        small(*digits, results_path=path)
    assert path.read_text() == "strategy,seed\n"
    for columns in ('{"score": ["high"]}', '{"score": 1}', "[1]"):
        path.write_text(
            f'{{"setting": "", "dataset": "", "strategy": "", "seed": 0, "columns": {columns}}}\n'
        )
        with pytest.raises(ValueError, match="line 1 is not a result"):
            read_results(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_results(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "content", [b'{"lr": 0.1}', b'{"setting": "dark"}', b"three weeks of work", b"\x80\x04K\x01."]
)
def test_a_file_of_something_else_without_an_end_of_line_is_kept(digits, tmp_path, content):
    path = tmp_path / "results.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"line 1 is not a result.*Name another file"):
        small(*digits, results_path=path)
    with pytest.raises(ValueError, match="line 1 is not a result"):
        read_results(path)
    assert path.read_bytes() == content


def test_what_a_crash_may_leave_is_cut_off_and_a_whole_line_is_not(digits, tmp_path):
    path = tmp_path / "results.jsonl"
    params = {"strategies": ["random"], "seeds": 1, "results_path": path}
    first = small(*digits, **params)
    whole = path.read_bytes()
    for length in (1, 5, 30, len(whole) - 2):
        path.write_bytes(whole + whole[:length])
        assert_same(read_results(path), first, but=())
        small(*digits, **params | {"seeds": [0, 1]})
        assert path.read_bytes().startswith(whole)
        assert len(path.read_bytes().splitlines()) == 2
    path.write_bytes(whole + bytes(50))  # after a loss of power
    assert_same(read_results(path), first, but=())
    small(*digits, **params | {"seeds": [0, 1]})
    assert len(path.read_bytes().splitlines()) == 2
    zeros = bytes(50)  # after a loss of power
    for kept in (1, 5, 12, 13, 60):
        path.write_bytes(whole + whole[:kept] + zeros)
        assert_same(read_results(path), first, but=())
        small(*digits, **params | {"seeds": [0, 1]})
        assert path.read_bytes().startswith(whole)
        assert len(path.read_bytes().splitlines()) == 2
    for end in (b"", zeros):  # as some editors leave it
        path.write_bytes(whole.rstrip(b"\n") + end)
        assert_same(read_results(path), first, but=())
        small(*digits, **params | {"seeds": [0, 1]})
        assert path.read_bytes().startswith(whole)
        assert len(path.read_bytes().splitlines()) == 2


def of_line(**changes):
    """A change of what a line holds, and of its columns."""
    own = {name: changes.pop(name) for name in ("dataset", "seed") if name in changes}
    return lambda line: line | own | {"columns": line["columns"] | changes}


@pytest.mark.parametrize(
    "change",
    [
        of_line(dataset=["data"]),
        of_line(dataset={}),
        of_line(seed=True),
        of_line(score=[0.5]),
        of_line(round=[1, 2, 3]),
        of_line(n_labels=[10, None, 30]),
        of_line(n_labels=[10, "inf", 30]),
        of_line(n_labels=[10, 20.5, 30]),
        of_line(score=[0.5, 10**400, 0.7]),
        of_line(score="123"),
        of_line(score=[True, True, False]),
        of_line(n_labels=[], score=[], query_time=[], fit_time=[]),
        lambda line: (
            line | {"columns": {k: v for k, v in line["columns"].items() if k != "score"}}
        ),
    ],
)
def test_damaged_lines_are_named(digits, tmp_path, change):
    path = tmp_path / "results.jsonl"
    small(*digits, strategies=["random"], seeds=1, results_path=path)
    line = json.loads(path.read_text())
    for end in ("\n", ""):
        path.write_text("\n" + json.dumps(change(line)) + end)
        with pytest.raises(ValueError, match="line 2 is not a result of compare_strategies"):
            read_results(path)


def constant(value):
    return lambda estimator, X, y: value


@pytest.mark.parametrize(
    "one, other",
    [
        (lambda e, X, y: e.score(X, y), lambda e, X, y: -1.0),
        (constant(0.5), constant(-1.0)),
        (Constant(0.5).score, Constant(-1.0).score),
    ],
)
def test_a_run_with_another_function_as_scorer_is_not_taken_for_it(digits, tmp_path, one, other):
    params = {"strategies": ["random"], "seeds": 1, "results_path": tmp_path / "results.jsonl"}
    first = small(*digits, scoring=one, **params)
    assert (small(*digits, scoring=other, **params)["score"] == -1).all()
    assert_same(small(*digits, scoring=one, **params), first, but=())


def test_a_run_of_equal_settings_is_recognised(digits, tmp_path):
    X, y = digits
    path = tmp_path / "results.jsonl"
    params = {"strategies": ["random"], "seeds": 1, "results_path": path}
    first = small(X, y, **params)
    for same in ({"budget": np.int64(30)}, {"test_size": np.float64(0.25)}, {"X": X.copy("F")}):
        assert_same(small(**{"X": X, "y": y} | params | same), first, but=())
    assert len(read_results(path)) == 3


def test_means_over_other_numbers_of_labels_are_told():
    runs = {"random": [(10, 0.5), (20, 0.8), (40, 0.84)], "late": [(30, 0.8), (40, 0.81)]}
    rows = [("d", name, 0, *point) for name, points in runs.items() for point in points]
    names = ("dataset", "strategy", "seed", "n_labels", "score")
    with pytest.warns(UserWarning, match="do not begin and end with as many labels on data set"):
        summarize_strategies({name: [row[i] for row in rows] for i, name in enumerate(names)})


@pytest.mark.filterwarnings("error")
def test_seeds_may_begin_with_other_numbers_of_labels():
    """More are drawn until two classes are seen: for each seed alike."""
    rows = [
        ("d", name, seed, n, 0.5)
        for name in ("random", "bait")
        for seed, start in ((0, 2), (1, 3))
        for n in (start, 10)
    ]
    names = ("dataset", "strategy", "seed", "n_labels", "score")
    summarize_strategies({name: [row[i] for row in rows] for i, name in enumerate(names)})


# Statistics, on a table whose numbers can be checked by hand


@pytest.fixture
def table():
    """Two strategies, two seeds; `bait` on seed 1 ties with random."""
    scores = {
        ("random", 0): [0.2, 0.4, 0.6],
        ("random", 1): [0.2, 0.6, 0.8],
        ("bait", 0): [0.2, 0.8, 0.9],
        ("bait", 1): [0.2, 0.6, 0.8],
    }
    rows = [
        ("d", strategy, seed, n, s)
        for (strategy, seed), values in scores.items()
        for n, s in zip([10, 20, 40], values, strict=True)
    ]
    names = ("dataset", "strategy", "seed", "n_labels", "score")
    return as_table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def test_area_under_curve(table):
    areas = area_under_curve(table)
    # (10·0.3 + 20·0.5)/30, (10·0.4 + 20·0.7)/30, (10·0.5 + 20·0.85)/30, the second again
    np.testing.assert_allclose(areas["area"], [13 / 30, 18 / 30, 22 / 30, 18 / 30])
    np.testing.assert_allclose(areas["final"], [0.6, 0.8, 0.9, 0.8])
    assert list(areas["strategy"]) == ["random"] * 2 + ["bait"] * 2


def undefined(scores, strategy):
    """Rounds of one run, the first ones without a score."""
    n = len(scores)
    return {
        "dataset": ["d"] * n,
        "strategy": [strategy] * n,
        "seed": [0] * n,
        "n_labels": [10 * (i + 1) for i in range(n)],
        "score": scores,
        "error": [""] * n,
    }


def test_rounds_before_a_score_is_defined_are_left_out_for_all():
    one, other = undefined([0.1, 0.2, 0.3, 0.4], "a"), undefined([np.nan, np.nan, 0.3, 0.4], "b")
    table = {name: [*one[name], *other[name]] for name in one}
    areas = area_under_curve(table)
    np.testing.assert_allclose(areas["area"], [0.35, 0.35])
    np.testing.assert_allclose(areas["final"], [0.4, 0.4])
    np.testing.assert_array_equal(mean_curves(table)["n_labels"], [30, 40, 30, 40])
    assert paired_tests(table, baseline="a")["difference"][0] == 0.0
    stored = {**table, "error": [np.nan] * len(table["error"])}  # as a file of commas has it
    np.testing.assert_allclose(area_under_curve(stored)["area"], areas["area"])
    with pytest.raises(ValueError, match="NaN to the end of the run"):
        area_under_curve(undefined([0.1, np.nan], "c"))
    with pytest.raises(ValueError, match="only the first rounds"):
        area_under_curve(undefined([0.1, np.nan, 0.3], "c"))
    short = undefined([0.1, 0.2], "c")
    with pytest.raises(ValueError, match="compare runs of one budget"):
        area_under_curve({name: [*other[name], *short[name]] for name in other})


def test_a_loss_that_early_models_cannot_have(digits):
    X, y = digits
    with pytest.warns(UserWarning, match="does not know all classes"):
        results = compare_strategies(
            None,
            ["random", "margin"],
            X,
            y,
            initial=12,
            budget=92,
            batch_size=40,
            seeds=2,
            scoring=["accuracy", "neg_log_loss"],
            progress=False,
        )
    assert "score" not in results
    assert not results["score_accuracy"].isna().any()
    assert results["score_neg_log_loss"].isna().any()
    means = summarize_strategies(results, score="score_neg_log_loss")
    assert (means["area"] < 0).all()


def test_mean_curves(table):
    means = mean_curves(table)
    np.testing.assert_allclose(means["mean"], [0.2, 0.5, 0.7, 0.2, 0.7, 0.85])
    # of two values the standard error is half their distance
    np.testing.assert_allclose(means["standard_error"], [0, 0.1, 0.1, 0, 0.1, 0.05], atol=1e-12)
    assert list(means["n_labels"]) == [10, 20, 40] * 2
    assert set(means["n_seeds"]) == {2}


def test_curves_at_different_numbers_of_labels_are_interpolated():
    table = {
        "dataset": ["d"] * 4,
        "strategy": ["bait"] * 4,
        "seed": [0, 0, 1, 1],
        "n_labels": [10, 20, 12, 20],
        "score": [0.0, 1.0, 0.4, 0.8],
    }
    means = mean_curves(table)
    assert list(means["n_labels"]) == [12, 20]
    np.testing.assert_allclose(means["mean"], [0.3, 0.9])  # (0.2 + 0.4)/2, (1 + 0.8)/2
    table["n_labels"] = [10, 20, 22, 30]
    with pytest.raises(ValueError, match="ends at 20 labels and another begins at 22"):
        mean_curves(table)


def test_summarize_strategies(table):
    summary = summarize_strategies(table)
    assert list(summary["strategy"]) == ["bait", "random"]
    np.testing.assert_allclose(summary["area"], [20 / 30, 15.5 / 30])
    np.testing.assert_allclose(summary["area_error"], [2 / 30, 2.5 / 30])
    np.testing.assert_allclose(summary["final"], [0.85, 0.7])
    np.testing.assert_allclose(summary["final_error"], [0.05, 0.1])


def test_win_rates_and_matrix(table):
    rates = win_rates(table)
    assert list(rates["strategy"]) == ["bait"]
    assert list(rates["win_rate"]) == [0.75]  # a win and a tie
    wins, names = win_matrix(table)
    assert names == ["bait", "random"]
    np.testing.assert_array_equal(wins, [[np.nan, 0.75], [0.25, np.nan]])


def test_data_sets_weigh_the_same_in_the_win_matrix(table):
    columns = as_columns(table)
    rows = (columns["seed"] == 0) & (columns["n_labels"] == 10)
    lost = {name: values[rows] for name, values in columns.items()}
    lost |= {"dataset": np.array(["e", "e"]), "score": np.array([0.9, 0.1])}
    both = {name: np.concatenate([columns[name], lost[name]]) for name in columns}
    wins, names = win_matrix(both)
    assert names == ["random", "bait"]
    np.testing.assert_array_equal(wins, [[np.nan, 0.625], [0.375, np.nan]])


def test_labels_saved(table):
    saved = labels_saved(table)
    assert list(saved["strategy"]) == ["random", "bait"]
    np.testing.assert_allclose(saved["target"], 0.7)
    np.testing.assert_allclose(saved["labels_needed"], [40, 20])
    np.testing.assert_allclose(saved["labels_saved"], [0, 20])
    np.testing.assert_allclose(saved["share_saved"], [0, 0.5])
    other = labels_saved(table, baseline="bait")  # .85 is never reached by random
    np.testing.assert_array_equal(other["labels_needed"], [np.nan, 40])


def long_table(differences, *, base=0.5):
    n = len(differences)
    return {
        "dataset": ["d"] * (2 * n),
        "strategy": ["random"] * n + ["bait"] * n,
        "seed": list(range(n)) * 2,
        "n_labels": [10] * (2 * n),
        "score": [base] * n + [base + each for each in differences],
    }


def test_paired_tests():
    table = long_table([0.1, 0.2, 0.3])
    tests = as_columns(paired_tests(table))
    np.testing.assert_allclose(tests["difference"], [0.2])
    np.testing.assert_allclose(tests["standard_error"], [0.1 / np.sqrt(3)])
    assert tests["p_value"] == [0.25]  # three signs alike: 2 of 2**3
    p_value = as_columns(paired_tests(table, test="t"))["p_value"]
    # t = 0.2 / (0.1/√3) = 2√3 with two degrees of freedom: p = 1 − t/√(t² + 2)
    np.testing.assert_allclose(p_value, [1 - np.sqrt(12 / 14)])


@pytest.mark.parametrize("test", ["wilcoxon", "t"])
def test_paired_tests_where_there_is_nothing_to_test(test):
    assert as_columns(paired_tests(long_table([0.0] * 6), test=test))["p_value"] == [1.0]
    assert np.isnan(as_columns(paired_tests(long_table([0.1]), test=test))["p_value"]).all()
    equal = as_columns(paired_tests(long_table([0.1] * 6), test=test))["p_value"]
    assert equal[0] <= 0.03125
    some = as_columns(paired_tests(long_table([0.0, 0.0, 0.1, 0.1, -0.1, 0.2]), test=test))
    assert 0 < some["p_value"][0] < 1


def test_seeds_that_one_strategy_lacks_are_left_out(table):
    columns = as_columns(table)
    rows = ~((columns["strategy"] == "bait") & (columns["seed"] == 1))
    rates = as_columns(win_rates({name: values[rows] for name, values in columns.items()}))
    assert rates["n_seeds"] == [1]
    assert rates["win_rate"] == [1.0]


def test_labels_are_saved_on_the_seeds_in_common(table):
    columns = as_columns(table)
    rows = ~((columns["strategy"] == "bait") & (columns["seed"] == 1))
    fewer = {name: values[rows] for name, values in columns.items()}
    saved = as_columns(labels_saved(fewer))
    np.testing.assert_array_equal(saved["n_seeds"], [2, 1])
    np.testing.assert_allclose(saved["target"], [0.7, 0.6])  # random's, on the seeds of each
    np.testing.assert_allclose(saved["labels_needed"][1], 10 + 10 * 0.4 / 0.6)
    with pytest.warns(UserWarning, match="different seeds on data set 'd'"):
        summarize_strategies(fewer)
    columns["seed"] = np.where(columns["strategy"] == "bait", columns["seed"] + 7, columns["seed"])
    with pytest.raises(ValueError, match="no seed in common"):
        labels_saved(columns)


@pytest.mark.parametrize("unit", [1.0, 100.0, 3.0, 1e9])
def test_ties_are_ties_in_every_unit(unit):
    """As fractions .86 - .83 and .87 - .84 differ by rounding."""
    one = np.array([83, 94, 84, 85, 91, 86, 91, 84])
    two = np.array([86, 93, 87, 86, 91, 87, 92, 85])
    table = long_table(np.zeros(8))
    table["score"] = [*one / unit, *two / unit]
    np.testing.assert_allclose(as_columns(paired_tests(table))["p_value"], [0.09375])


def test_a_diverged_run_hides_no_other():
    table = long_table(np.zeros(4))
    table["score"] = [-1e14, -2.0, -2.0, -2.0, -1e14, -1.0, -1.0, -1.0]
    assert as_columns(win_rates(table))["win_rate"] == [0.875]


def test_infinite_scores_tie():
    table = long_table([0.0, 0.0, -0.1, 0.1])
    for i in (0, 4):  # both, of the same seed
        table["score"][i] = -np.inf
    table["score"][1] = -np.inf  # that of random alone
    assert as_columns(win_rates(table))["win_rate"] == [(0.5 + 1 + 0 + 1) / 4]


def test_what_a_statistic_cannot_use_is_named(table):
    columns = as_columns(table)
    with pytest.raises(ValueError, match=r"baseline='margin'.*'random', 'bait'"):
        paired_tests(table, baseline="margin")
    for value in (None, "much"):
        with pytest.raises(ValueError, match=f"column 'score' of results holds {value!r}"):
            mean_curves(columns | {"score": np.full(12, value, dtype=object)})
    with pytest.raises(ValueError, match="baseline='margin'"):
        labels_saved(table, baseline="margin")
    with pytest.raises(ValueError, match=r"no column 'accuracy'.*score"):
        mean_curves(table, score="accuracy")
    with pytest.raises(ValueError, match="metric='best'"):
        win_matrix(table, metric="best")
    with pytest.raises(ValueError, match="test='z'"):
        paired_tests(table, test="z")
    with pytest.raises(TypeError, match="results is a list"):
        summarize_strategies([1, 2])
    twice = {name: np.concatenate([values, values]) for name, values in columns.items()}
    with pytest.raises(ValueError, match="'random' on data set 'd' with seed 0 twice at 10"):
        summarize_strategies(twice)
    rows = ~((columns["strategy"] == "bait") & (columns["n_labels"] == 40))
    with pytest.raises(ValueError, match=r"'bait' has 10 to 20 labels.*one budget"):
        win_rates({name: values[rows] for name, values in columns.items()})


def test_without_pandas_tables_are_dicts(table, monkeypatch):
    with_pandas = as_columns(summarize_strategies(table))
    columns = as_columns(table)
    real_import = builtins.__import__

    def without_pandas(name, *args, **kwargs):
        if name == "pandas":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    results = small(*load_iris(return_X_y=True), seeds=1)
    assert type(results) is dict
    assert results["strategy"].dtype == object
    assert len(results["score"]) == len(results["error"]) == 6
    without = summarize_strategies(columns)
    assert type(without) is dict
    assert_same(without, with_pandas, but=())
