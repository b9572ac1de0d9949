# SPDX-License-Identifier: BSD-3-Clause
"""Strategies by name, and the label-efficiency run that goes through all of them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

import skbait.strategies
from benchmarks import labels
from skbait.strategies import BaitQuery, BaseQuery, MarginQuery
from skbait.strategies.core_set import CoreSetQuery
from skbait.strategies.registry import get_query_names, make_query


def test_names_are_sorted_and_all_can_be_made():
    names = get_query_names()
    assert names == sorted(set(names))
    assert {"random", "margin", "badge", "bait_exact", "core_set", "refine", "boss"} <= set(names)
    for name in names:
        strategy = make_query(name)
        assert isinstance(strategy, BaseQuery)
        assert make_query(name) is not strategy
        clone(strategy)


def test_every_strategy_of_the_package_has_a_name():
    made = {type(make_query(name)) for name in get_query_names()}
    for info in pkgutil.iter_modules(skbait.strategies.__path__, "skbait.strategies."):
        if info.name.rpartition(".")[2].startswith("_"):
            continue
        module = importlib.import_module(info.name)
        for _, cls in inspect.getmembers(module, inspect.isclass):
            strategy = issubclass(cls, BaseQuery) and not inspect.isabstract(cls)
            if strategy and cls.__module__ == info.name and hasattr(cls, "query"):
                if isinstance(inspect.getattr_static(cls, "query"), property):
                    continue  # RefinePool, which has none
                assert cls in made, cls


@pytest.mark.parametrize("name", ["core_set", "coreset", "CoreSet", "core-set", "K-Center Greedy"])
def test_spelling_makes_no_difference(name):
    assert type(make_query(name)) is CoreSetQuery


def test_names_of_variants():
    assert make_query("bait").get_params() == BaitQuery().get_params()
    for variant in ("exp", "binary", "exact"):
        assert make_query(f"bait_{variant}").variant == variant
    assert make_query("BAIT Binary", oversample=1.5).oversample == 1.5
    with pytest.raises(TypeError, match="variant"):
        make_query("bait_binary", variant="exact")


def test_parameters_are_passed_on():
    strategy = make_query("margin", random_state=3, subset_size=10)
    assert type(strategy) is MarginQuery
    assert strategy.random_state == 3
    with pytest.raises(TypeError, match="bogus"):
        make_query("margin", bogus=1)


@pytest.mark.parametrize("name, close", [
    ("bagde", "badge"),
    ("uncertanty herding", "uncertainty_herding"),
    ("Fisher's sieve", None),
])  # fmt: skip
def test_unknown_names(name, close):
    with pytest.raises(ValueError, match="not the name of a query strategy") as caught:
        make_query(name)
    message = str(caught.value)
    assert repr(name) in message
    assert all(known in message for known in get_query_names())
    assert (f"Did you mean {close!r}?" in message) if close else ("Did you mean" not in message)


@pytest.mark.parametrize("name", [None, 3, MarginQuery()])
def test_names_are_strings(name):
    with pytest.raises(TypeError, match="must be a string"):
        make_query(name)


# ------------------------------------------------------------ the label-efficiency run


@pytest.fixture
def features(tmp_path):
    """Write features in the form of the run, and return the folder."""
    X, y = load_digits(return_X_y=True)
    parts = {"X_train": X[:1500], "y_train": y[:1500], "X_test": X[1500:], "y_test": y[1500:]}
    np.savez(tmp_path / labels.FEATURES, **parts)
    return tmp_path


def test_label_efficiency_run(features, capsys, monkeypatch):
    monkeypatch.setattr(labels, "N_HELD_OUT", 200)
    results = features / "new" / "results.jsonl"
    options = ["--data-home", str(features), "--results", str(results), "--jobs", "1"]
    options += ["--cycles", "2", "--pool", "300", "--components", "16", "--seeds", "2"]
    options += ["--strategies", "random", "margin", "bait_exp"]
    labels.main(options)
    first = capsys.readouterr().out
    rows = [line for line in first.splitlines() if line.startswith("| ")]
    assert {row.split("|")[1].strip() for row in rows[2:]} == {"random", "margin", "bait_exp"}
    assert len(results.read_text().splitlines()) == 6
    curves = labels.done_before(results, labels_setting())
    assert {tuple(record["n_labels"]) for record in curves.values()} == {(10, 20, 30)}
    starts = {(seed, record["accuracy"][0]) for (_, seed), record in curves.items()}
    assert len(starts) == 2, "all strategies begin with the same labels"
    # nothing is run again; with another strategy, only that one is
    labels.main([*options, "entropy"])
    assert len(results.read_text().splitlines()) == 8
    again = capsys.readouterr().out
    assert [line.split()[0] for line in again.splitlines() if ":" in line] == ["entropy"] * 2


def labels_setting():
    return {
        "n_pool": 300,
        "initial": 10,
        "batch_size": 10,
        "n_cycles": 2,
        "n_components": 16,
        "C": 0.01,
    }


def test_label_efficiency_run_without_features(tmp_path):
    with pytest.raises(SystemExit, match="SKBAIT_DATA"):
        labels.main(["--data-home", str(tmp_path)])
