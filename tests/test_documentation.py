# SPDX-License-Identifier: BSD-3-Clause
"""The pages in doc/: their code runs, and what they point at exists. `make doc` builds them."""

from __future__ import annotations

import ast
import doctest
import importlib
import re

import pytest
from conftest import ROOT, load_api_reference
from test_docstrings import MODULES

DOC = ROOT / "doc"
API = load_api_reference()
GENERATED = {"_build", "_templates", "api", "auto_examples"}
# pages that are made in the build
MADE = {"api/index", "auto_examples/index", *(f"api/{module}" for module in API.API_REFERENCE)}
PAGES = sorted(
    path
    for path in [*DOC.rglob("*.rst"), *DOC.rglob("*.md")]
    if path.relative_to(DOC).parts[0] not in GENERATED | {"sg_execution_times.rst"}
)
NAMES = [path.relative_to(DOC).with_suffix("").as_posix() for path in PAGES]
EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))
each_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)
each_example = pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])


def text_of(page):
    return page.read_text(encoding="utf-8")


def target_of(page, target):
    """Return the name of the page that a `:doc:` on a page points at."""
    home = DOC if target.startswith("/") else page.parent
    return (home / target.lstrip("/")).resolve().relative_to(DOC).as_posix()


def roles(text, role):
    """Return the targets of a role in a text, without their titles."""
    found = re.findall(rf":{role}:`([^`]+)`", text)
    return [re.sub(r"^.*<([^>]+)>$", r"\1", each, flags=re.DOTALL) for each in found]


def labels():
    """Return every label that a page or the gallery defines."""
    found = {"genindex", "modindex", "search"}
    for page in PAGES:
        found |= {
            name.lower() for name in re.findall(r"^\.\. _([^:`]+):\s*$", text_of(page), re.M)
        }
    return found | {f"sphx_glr_auto_examples_{path.name}" for path in EXAMPLES}


def toctree(page):
    """Return the names of the pages in the toctrees of a page."""
    found = []
    for block in re.findall(r"^\.\. toctree::\n((?:[ \t]+.*\n|\n)*)", text_of(page) + "\n", re.M):
        entries = [line.strip() for line in block.splitlines()]
        entries = [entry for entry in entries if entry and not entry.startswith(":")]
        found += [target_of(page, re.sub(r"^.*<(.+)>$", r"\1", entry)) for entry in entries]
    return found


# -- The API reference ---------------------------------------------------------------------------


def test_the_table_holds_every_public_name_and_nothing_else():
    public = {}
    for module in MODULES:
        imported = importlib.import_module(module)
        names = [name for name in getattr(imported, "__all__", []) if not name.startswith("_")]
        public |= {f"{module}.{name}": getattr(imported, name) for name in names}
    table = API.objects()
    assert table.keys() <= public.keys()
    by_name = {}
    for full, obj in table.items():
        by_name.setdefault(full.rpartition(".")[2], []).append(obj)
    twice = [name for name, found in by_name.items() if len(found) > 1]
    assert not twice, "in the table twice"
    missing = [
        full
        for full, obj in public.items()
        if not any(obj is each for each in by_name.get(full.rpartition(".")[2], []))
    ]
    assert not missing, "public, but not in doc/api_reference.py"


def test_the_table_has_the_shortest_name():
    for full, obj in API.objects().items():
        home, _, name = full.rpartition(".")
        while "." in home:
            home = home.rpartition(".")[0]
            above = importlib.import_module(home)
            assert getattr(above, name, None) is not obj, f"{full} is also {home}.{name}"


# -- Pages ---------------------------------------------------------------------------------------


@each_page
def test_the_code_on_the_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # whatever it writes
    failed, _ = doctest.testfile(
        str(page),
        module_relative=False,
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
        encoding="utf-8",
    )
    assert not failed, "see what was printed"


@each_page
def test_links_lead_to_pages_labels_and_files(page):
    text = text_of(page)
    wrong = [each for each in roles(text, "doc") if target_of(page, each) not in {*NAMES, *MADE}]
    wrong += [each for each in roles(text, "ref") if each.lower() not in labels()]
    files = re.findall(
        r"(?:image|figure|literalinclude|include|download)(?:::|}) *([\w./-]+)", text
    )
    files += roles(text, "download")
    files += re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
    for name in files:
        made = name.lstrip("/").startswith("auto_examples/")  # an image of the gallery
        home = DOC if name.startswith("/") else page.parent
        if not made and not (home / name.lstrip("/")).exists():
            wrong.append(name)
    assert not wrong


def test_every_page_is_reached_from_the_first():
    reached, ahead = set(), ["index"]
    while ahead:
        name = ahead.pop()
        if name in reached:
            continue
        reached.add(name)
        if name in NAMES:
            ahead += toctree(PAGES[NAMES.index(name)])
    assert reached == {*NAMES, *MADE} - {f"api/{module}" for module in API.API_REFERENCE}


# -- Gallery and build ---------------------------------------------------------------------------


def test_there_is_a_gallery():
    assert EXAMPLES
    assert any((ROOT / "examples").glob("GALLERY_HEADER.*"))


@each_example
def test_the_example_is_one_for_the_gallery(path):
    lines = ast.get_docstring(ast.parse(text_of(path))).splitlines()
    title, line = lines[1:3] if set(lines[0]) == {"="} else lines[:2]
    assert set(line) == {"="}, "a title begins the docstring"
    assert len(line) >= len(title)
    assert "\n# %%\n" in text_of(path), "code and text take turns"


def test_make_builds_the_documentation_and_warnings_are_errors():
    makefile = text_of(ROOT / "Makefile")
    recipe = re.search(r"^doc: .*\n((?:\t.*\n)+)", makefile, re.M)[1]
    assert "sphinx" in recipe
    assert " -W " in recipe
    assert "step make doc" in text_of(ROOT / ".ci" / "run")
