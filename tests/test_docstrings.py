# SPDX-License-Identifier: BSD-3-Clause
"""Every public object is documented, and its Parameters section lists exactly its signature."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re

import pytest

import skbait

# numpydoc's sections, in numpydoc's order.
SECTIONS = [
    "Parameters",
    "Returns",
    "Yields",
    "Raises",
    "Warns",
    "Attributes",
    "See Also",
    "Notes",
    "References",
    "Examples",
]


def public_modules():
    """Yield every module of the package whose dotted name has no private part."""
    yield skbait
    for info in pkgutil.walk_packages(skbait.__path__, "skbait."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            yield importlib.import_module(info.name)


def is_ours(obj):
    return (getattr(obj, "__module__", None) or "").startswith("skbait")


def public_names(module):
    """Return the public names of a module: what it lists in `__all__`.

    A module without that list is an inner one, whatever its functions are called.
    """
    return [name for name in getattr(module, "__all__", []) if not name.startswith("_")]


def public_objects():
    """Map a dotted name to every public function, class and method, each once."""
    found = {}
    for module in public_modules():
        for name in public_names(module):
            obj = getattr(module, name)
            if not is_ours(obj) or not (inspect.isclass(obj) or inspect.isroutine(obj)):
                continue
            found.setdefault(f"{obj.__module__}.{obj.__qualname__}", obj)
            if inspect.isclass(obj):
                for function in public_methods(obj):
                    found.setdefault(f"{function.__module__}.{function.__qualname__}", function)
    return found


def public_methods(cls):
    """Yield the public methods and properties of a class that are written in this package."""
    for name in dir(cls):
        if name.startswith("_"):
            continue
        # The class's own dictionary, not getattr: `available_if` answers by instance.
        raw = next(vars(base)[name] for base in cls.__mro__ if name in vars(base))
        function = raw
        if isinstance(raw, property):
            function = raw.fget
        elif isinstance(raw, (staticmethod, classmethod)):
            function = raw.__func__
        elif hasattr(raw, "fn"):  # scikit-learn's available_if
            function = raw.fn
        function = inspect.unwrap(function) if callable(function) else function
        if inspect.isfunction(function) and is_ours(function):
            yield function


def split_sections(doc):
    """Map each numpydoc section of a docstring to its lines; '' holds what comes before them."""
    lines = inspect.cleandoc(doc).splitlines()
    sections, current = {"": []}, ""
    for line, under in zip(lines, [*lines[1:], ""], strict=True):
        if re.fullmatch(r"-{3,}", under.strip()) and line.strip() and not line.startswith(" "):
            current = line.strip()
            sections[current] = []
        elif not (current and re.fullmatch(r"-{3,}", line.strip())):
            sections[current].append(line)
    return sections


def described(lines):
    """Return the names that a Parameters section describes, in order, stars included."""
    names = []
    for line in lines:
        if line and not line.startswith(" "):
            names += [name.strip() for name in line.split(" : ")[0].split(",")]
    return names


def expected(obj):
    """Return the names in a signature as a Parameters section gives them."""
    if inspect.isclass(obj) and not is_ours(obj.__init__) and obj.__init__ is not object.__init__:
        return []  # a constructor from elsewhere is described there
    parameters = [
        each
        for each in inspect.signature(obj).parameters.values()
        if each.name not in ("self", "cls")
    ]
    star = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return [star.get(p.kind, "") + p.name for p in parameters if not p.name.startswith("_")]


def problems(obj):
    """Return what is wrong with the docstring of one object."""
    doc = obj.__doc__
    if not doc or not doc.strip():
        return ["no docstring"]
    found = []
    sections = split_sections(doc)
    summary = next((line for line in inspect.cleandoc(doc).splitlines() if line.strip()), "")
    if not summary.rstrip().endswith((".", "!", "?")):
        found.append(f"the first line is not a sentence: {summary!r}")
    known = [name for name in sections if name in SECTIONS]
    unknown = [name for name in sections if name and name not in SECTIONS]
    if unknown:
        found.append(f"unknown sections {unknown}")
    if known != sorted(known, key=SECTIONS.index):
        found.append(f"sections out of order: {known}")
    # A named tuple or dataclass of results may list its fields as attributes instead.
    dataclass_like = inspect.isclass(obj) and (
        hasattr(obj, "__dataclass_fields__") or issubclass(obj, tuple)
    )
    lines = sections.get("Parameters")
    if lines is None and dataclass_like:
        lines = sections.get("Attributes")
    wanted, got = expected(obj), described(lines or [])
    if wanted != got:
        found.append(f"the signature has {wanted}, the docstring describes {got}")
    for name in known:
        if not any(line.strip() for line in sections[name]):
            found.append(f"section {name} is empty")
    return found


OBJECTS = public_objects()


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_the_docstring_fits_the_object(name):
    found = problems(OBJECTS[name])
    assert not found, f"{name}: " + "; ".join(found)


@pytest.mark.parametrize("module", sorted(m.__name__ for m in public_modules()))
def test_modules_say_what_they_are(module):
    assert (importlib.import_module(module).__doc__ or "").strip(), module


@pytest.mark.parametrize("module", sorted(m.__name__ for m in public_modules()))
def test_all_lists_what_exists(module):
    imported = importlib.import_module(module)
    for name in getattr(imported, "__all__", []):
        assert hasattr(imported, name), f"{module}.{name}"


def test_the_public_face_is_found():
    seen = {name.rsplit(".", 1)[-1] for name in OBJECTS}
    assert {"ActiveLearner", "BaitQuery", "MarginQuery", "RandomQuery", "query"} <= seen
    assert {"fetch_cifar10", "represent", "select"} <= seen


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

    def missing(x, y):
        """Do a thing.

        Parameters
        ----------
        x : int
            One.
        """

    def bare(x):
        pass

    def disordered():
        """Do a thing.

        Returns
        -------
        int
            Three.

        Parameters
        ----------
        """

    assert problems(good) == []
    assert "describes ['x']" in problems(missing)[0]
    assert problems(bare) == ["no docstring"]
    assert "out of order" in problems(disordered)[0]
