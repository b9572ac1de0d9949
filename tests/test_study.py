# SPDX-License-Identifier: BSD-3-Clause
"""The study's tables are those of its results, and its questions can be asked."""

from __future__ import annotations

import pandas as pd
import pytest
from conftest import ROOT
from sklearn.linear_model import LogisticRegression

from benchmarks import study, study_report
from benchmarks.study_sets import SETS
from skbait import BaitQuery
from skbait.model_selection import compare_strategies

PAGE = ROOT / "doc" / "study"
TABLES = sorted(path.stem for path in PAGE.glob("*.csv"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Every table and plot of the page, made from the stored results."""
    folder = tmp_path_factory.mktemp("page")
    study_report.report(PAGE / study_report.RESULTS, folder)
    return folder


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_what_the_results_say(name, made):
    assert (made / f"{name}.csv").read_text() == (PAGE / f"{name}.csv").read_text()


def test_every_table_is_there(made):
    assert TABLES
    assert sorted(path.stem for path in made.glob("*.csv")) == TABLES


def test_every_strategy_has_ten_seeds_on_every_data_set():
    results = pd.read_csv(PAGE / study_report.RESULTS)
    counts = results.groupby(["dataset", "strategy"])["seed"].nunique()
    for name in SETS:
        for strategy in study.strategies_for(name, list(study.QUESTIONS)):
            assert counts.get((name, strategy), 0) == 10, (name, strategy)
    for name, sizes in study.BATCH_SIZES.items():
        for size in sizes:
            assert (counts[f"{name}, batches of {size}"][list(study.IN_BATCHES)] == 6).all()


def test_what_the_study_calls_the_default_is_the_default():
    told = set(study.BAIT)
    free = {"estimator", "fisher_samples", "subset_size", "last_layer", "device", "chunk_size"}
    assert set(study.bait().get_params(deep=False)) - free - {"random_state"} == told
    assert study.bait().get_params() == BaitQuery().get_params()
    named = study.QUESTIONS["strategies"][study_report.DEFAULT]
    assert named.get_params() == BaitQuery().get_params()


def test_a_name_means_one_strategy():
    seen = {}
    for strategies in study.QUESTIONS.values():
        for name, strategy in strategies.items():
            assert repr(seen.setdefault(name, strategy)) == repr(strategy), name
    assert set(study_report.SETTINGS) <= set(seen)
    assert set(study_report.MEMBERS) | set(study_report.DRAWN) <= set(seen)


def test_the_two_classes_have_no_five_most_probable_ones():
    assert "bait_exp_c5" not in study.strategies_for("breast_cancer", list(study.QUESTIONS))
    assert "bait_exp_c5" in study.strategies_for("digits", list(study.QUESTIONS))


@pytest.mark.parametrize("question", list(study.QUESTIONS))
def test_a_question_can_be_asked(question, rng):
    X, y = rng.normal(size=(150, 4)), rng.integers(0, 3, size=150)
    strategies = {
        name: strategy
        for name, strategy in study.QUESTIONS[question].items()
        if name not in ("refine", "boss", "bait_exp_c5")  # slow; and of three classes
    }
    results = compare_strategies(
        LogisticRegression(),
        strategies,
        X,
        y,
        initial=15,
        budget=20,
        batch_size=5,
        seeds=1,
        progress=False,
    )
    assert set(results["strategy"]) == set(strategies)


def test_runs_are_collected_and_those_of_before_stay(tmp_path):
    path = tmp_path / "results.csv.gz"
    for n_seeds, question in ((2, "oversample"), (3, "top_c")):
        folder = tmp_path / question
        study.run(["breast_cancer"], [question], n_seeds, 1, folder)
        assert study.path_of("breast_cancer", folder).exists()
        study_report.collect(folder, path)
    first = path.read_bytes()
    results = pd.read_csv(path)
    counts = results.groupby("strategy")["seed"].nunique()
    assert counts.to_dict() == {"bait_exp_c1": 3, "bait_exp_forward_only": 2}
    assert results["score"].between(0.5, 1).all()
    study_report.collect(folder, path)  # the same again
    assert path.read_bytes() == first
    with pytest.raises(SystemExit, match="holds no results"):
        study_report.collect(tmp_path / "nowhere", path)
