# SPDX-License-Identifier: BSD-3-Clause
"""Strategies by name, and the label-efficiency run that goes through all of them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest
from sklearn.base import clone

import skbait.strategies
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
