# SPDX-License-Identifier: BSD-3-Clause
"""The direction of the imports, read from the source (`make imports` runs this file alone).

learner -> strategies -> representation, fisher -> torch; what is small and shared lies below all
of them. A new folder or module has to be entered in `MAY_IMPORT`, so that its place is decided,
not drifted into.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

PACKAGE = "skbait"
ROOT = Path(__file__).resolve().parents[1]

# area of the package -> the areas it may import; an area is a file or folder directly below the
# package, or one of the exceptions in `area_of`
BASE = {"_backend", "_sklearn"}
MAY_IMPORT = {
    "_backend": set(),
    "_sklearn": set(),
    "utils": BASE,
    "fisher": {"_backend"},
    "numerics": {"_backend"},
    "representation": BASE | {"utils"},
    "laplace": BASE | {"utils", "fisher", "numerics", "representation"},
    "strategies": BASE | {"utils", "fisher", "numerics", "representation", "laplace"},
    "learner": BASE | {"utils", "representation", "strategies", "laplace"},
    "datasets": BASE | {"utils"},
    "model_selection": BASE | {"utils", "strategies", "learner"},
    "plotting": BASE | {"utils", "representation", "model_selection"},
    # public, for those who write strategies; nothing in the package imports it
    "utils.estimator_checks": BASE | {"utils", "representation", "strategies", "learner"},
    "": {"learner", "strategies", "laplace"},  # skbait/__init__.py: the public names
}
# The learner may grow private modules beside it: they belong to it.
LEARNER = {
    "learner",
    "_cycle",
    "_delegation",
    "_history",
    "_learner_checks",
    "_memory",
    "_oracle",
    "_start",
    "_updates",
}

# Areas that hold to a short list of what they import from outside the package (besides the
# standard library), and packages that only some areas may know.
ONLY = {
    "fisher": {"torch"},
    "numerics": {"torch"},
    "_backend": {"torch", "numpy"},
    "_sklearn": {"sklearn"},
}
CONFINED = {
    "skorch": {"representation", "utils", "utils.estimator_checks"},
    "matplotlib": {"plotting"},
    "rich": set(),
    "pandas": {"model_selection"},
}
# Devices and default dtypes are one module's business.
OWNED_BY_BACKEND = (
    "torch.cuda",
    "torch.mps",
    "torch.backends",
    "torch.set_default_device",
    "torch.set_default_dtype",
    "torch.set_num_threads",
)


def area_of(module):
    """Return the area of a dotted module name inside the package, '' for the package itself."""
    parts = module.split(".")[1:]
    if not parts:
        return ""
    if parts[0] in LEARNER:
        return "learner"
    if parts[:2] == ["utils", "estimator_checks"]:
        return "utils.estimator_checks"
    return parts[0]


def module_name(path, root):
    """Return the dotted name of the module at `path`."""
    parts = list(path.relative_to(root).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def imported_names(tree, module, *, is_package):
    """Yield (line, dotted name) of everything imported, wherever in the file it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                base = module.split(".")
                drop = node.level - (1 if is_package else 0)
                base = base[: len(base) - drop] if drop else base
                source = ".".join(base + ([source] if source else []))
            for alias in node.names:
                yield node.lineno, f"{source}.{alias.name}"


def dotted_uses(tree):
    """Yield (line, 'a.b.c') of every attribute chain that begins with a plain name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            chain, inner = [node.attr], node.value
            while isinstance(inner, ast.Attribute):
                chain.append(inner.attr)
                inner = inner.value
            if isinstance(inner, ast.Name):
                yield node.lineno, ".".join([inner.id, *reversed(chain)])


def is_private(dotted):
    """Tell whether one part of a dotted name begins with a single underscore."""
    return any(
        part.startswith("_") and not (part.startswith("__") and part.endswith("__"))
        for part in dotted.split(".")
    )


def violations_in(source, module, *, is_package=False):
    """Return what is wrong with the imports of one module, as lines of text."""
    tree = ast.parse(source)
    area = area_of(module)
    found = []

    def wrong(line, text):
        found.append(f"{module}:{line}: {text}")

    if area not in MAY_IMPORT:
        return [f"{module}: area {area!r} has no place in MAY_IMPORT (tests/test_imports.py)"]
    for line, name in imported_names(tree, module, is_package=is_package):
        top = name.split(".")[0]
        if top == PACKAGE:
            target = area_of(name)
            if target not in MAY_IMPORT:
                # `from skbait import Name`: a public name, which lives in the package itself
                target = ""
            if target not in MAY_IMPORT[area] | {area}:
                wrong(line, f"{area or PACKAGE} may not import {name}")
            continue
        if top in sys.stdlib_module_names:
            continue
        if area in ONLY and top not in ONLY[area]:
            wrong(line, f"{area} may import only {sorted(ONLY[area])}, not {name}")
        if top in CONFINED and area not in CONFINED[top]:
            wrong(line, f"{top} is not for {area or PACKAGE}")
        if top == "sklearn" and is_private(name) and area != "_sklearn":
            wrong(line, f"private name {name}: only skbait/_sklearn.py imports those")
        if area != "_backend" and name.startswith(OWNED_BY_BACKEND):
            wrong(line, f"{name} is for skbait/_backend.py")
    seen = set()
    for line, name in dotted_uses(tree):
        if name.startswith("sklearn.") and is_private(name) and area != "_sklearn":
            wrong(line, f"private name {name}: only skbait/_sklearn.py uses those")
        owned = next((own for own in OWNED_BY_BACKEND if (name + ".").startswith(own + ".")), None)
        if owned and area != "_backend" and (line, owned) not in seen:
            seen.add((line, owned))
            wrong(line, f"{owned} is for skbait/_backend.py")
    return found


def violations(root=ROOT):
    """Return what is wrong in the whole package."""
    found = []
    for path in sorted((root / PACKAGE).rglob("*.py")):
        found += violations_in(
            path.read_text(encoding="utf-8"),
            module_name(path, root),
            is_package=path.name == "__init__.py",
        )
    return found


def test_imports_run_in_the_direction_of_the_design():
    found = violations()
    assert not found, "\n".join(found)


def test_the_check_finds_what_it_is_for():
    cases = [
        ("skbait.fisher.core", "from skbait.representation import represent", "may not import"),
        ("skbait.fisher.core", "import numpy as np", "may import only"),
        ("skbait.fisher.core", "from ..strategies.base import BaseQuery", "may not import"),
        ("skbait.representation.x", "def f():\n    import skbait.learner", "may not import"),
        ("skbait.strategies.bait", "from skbait import ActiveLearner", "may not import"),
        ("skbait.strategies.bait", "from ..utils.estimator_checks import c", "may not import"),
        ("skbait.learner", "from sklearn.utils import _safe_indexing", "private name"),
        ("skbait.learner", "from sklearn.utils._tags import get_tags", "private name"),
        ("skbait.learner", "import sklearn\nsklearn.utils._joblib.hash", "private name"),
        ("skbait.learner", "import skorch", "skorch is not for learner"),
        ("skbait.fisher.core", "import torch\ntorch.cuda.empty_cache()", "torch.cuda"),
        ("skbait.fisher.core", "from torch import cuda", "torch.cuda"),
        ("skbait.surprise", "import numpy", "no place"),
    ]
    for module, source, expected in cases:
        found = violations_in(source, module)
        assert found, (module, source)
        assert expected in found[0], (module, source, found)


def test_the_check_lets_pass_what_is_right():
    cases = [
        ("skbait.strategies.bait", "from skbait.fisher import select", False),
        ("skbait.strategies", "from .base import BaseQuery\nfrom ..utils.data import x", True),
        ("skbait.learner", "from ._cycle import play\nfrom .strategies import BaitQuery", False),
        ("skbait", "from .learner import ActiveLearner", True),
        ("skbait._sklearn", "from sklearn.utils import _safe_indexing", False),
        ("skbait.fisher.core", "import math\nimport torch\nfrom skbait._backend import x", False),
        ("skbait.learner", "import sklearn\nsklearn.__version__", False),
    ]
    for module, source, is_package in cases:
        assert violations_in(source, module, is_package=is_package) == []


if __name__ == "__main__":
    problems = violations()
    print("\n".join(problems) or "imports run in the direction of the design")
    sys.exit(bool(problems))
