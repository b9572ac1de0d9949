# SPDX-License-Identifier: BSD-3-Clause
"""Every public object is documented by numpydoc's rules, for what the API reference shows."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import pydoc

import pytest
from conftest import load_api_reference
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import ERROR_MSGS, validate

import skbait

API = load_api_reference()

# numpydoc's checks that are left out everywhere, and those that concern the entries of the API
# reference alone, their methods left out.
LEFT_OUT = {
    "ES01",  # a summary that says all needs no second paragraph
    "RT02",  # what is returned has a name, as in scikit-learn: "self : ActiveLearner"
}
LEFT_OUT_FOR_METHODS = {
    "SA01",  # the page of the class has the links,
    "EX01",  # and the example
}


def public_modules():
    """Yield every module of the package whose dotted name has no private part."""
    yield skbait
    for info in pkgutil.walk_packages(skbait.__path__, "skbait."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            yield importlib.import_module(info.name)


MODULES = sorted(module.__name__ for module in public_modules())


def documented():
    """Map a name to each class and function of the API reference, and to their methods."""
    found = {}
    for name, obj in API.objects().items():
        if inspect.isclass(obj) or inspect.isroutine(obj):
            found[name] = obj
        if inspect.isclass(obj):
            found |= {f"{name}.{member}": each for member, _, each in API.members(obj)}
    return found


OBJECTS = documented()


def problems(obj, *, is_method=False):
    """Return what numpydoc finds wrong with the docstring of one object."""
    left_out = LEFT_OUT | LEFT_OUT_FOR_METHODS if is_method else LEFT_OUT
    errors = validate(get_doc_object(obj))["errors"]
    return [f"{code}: {message}" for code, message in errors if code not in left_out]


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_the_docstring_is_by_numpydocs_rules(name):
    found = problems(OBJECTS[name], is_method=name not in API.objects())
    assert not found, f"{name}: " + "; ".join(found)


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_what_to_see_also_exists(name):
    """A short name is looked up where the object is: an entry without a page breaks the build."""
    scopes = ["", f"{name}.", f"{name.rpartition('.')[0]}."]
    for entries, _ in get_doc_object(OBJECTS[name])["See Also"]:
        for entry, _ in entries:
            here = any(scope + entry in OBJECTS for scope in scopes)
            elsewhere = not entry.startswith("skbait.") and pydoc.locate(entry) is not None
            assert here or elsewhere, f"{name}: {entry} has no page; write its whole name"


def test_what_is_left_out_is_a_check_of_numpydocs():
    assert (LEFT_OUT | LEFT_OUT_FOR_METHODS).issubset(ERROR_MSGS)


@pytest.mark.parametrize("module", MODULES)
def test_modules_say_what_they_are(module):
    assert (importlib.import_module(module).__doc__ or "").strip(), module


@pytest.mark.parametrize("module", MODULES)
def test_all_lists_what_exists(module):
    imported = importlib.import_module(module)
    for name in getattr(imported, "__all__", []):
        assert hasattr(imported, name), f"{module}.{name}"


def test_methods_are_looked_at_too():
    assert {"skbait.ActiveLearner.teach", "skbait.BaseQuery.query"} <= set(OBJECTS)
    assert "skbait.LaplaceClassifier.mean_" in OBJECTS  # a property
    assert "skbait.ActiveLearner.predict_proba" in OBJECTS  # by available_if
    assert "skbait.ActiveLearner.get_params" not in OBJECTS  # scikit-learn's


def test_the_check_finds_what_it_is_for():
    def good(x, *rest, y=1, **more):
        """Do a thing.

        Parameters
        ----------
        x : int
            One.
        *rest : int
            Others.
        y : int, default=1
            Two.
        **more : dict
            More.

        Returns
        -------
        int
            Three.
        """
        return 3

    def missing(x, y):
        """Do a thing.

        Parameters
        ----------
        x : int
            One.
        """

    def bare(x):
        pass

    assert problems(good, is_method=True) == []
    assert any(found.startswith("PR01") for found in problems(missing))
    assert any(found.startswith("EX01") for found in problems(missing))
    assert problems(bare) == ["GL08: The object does not have a docstring"]
