# SPDX-License-Identifier: BSD-3-Clause
"""The code in README.md and CONTRIBUTING.md runs as it stands; what they point at exists."""

from __future__ import annotations

import importlib
import re

import pytest
from conftest import ROOT

from skbait.utils.estimator_checks import check_query_strategy

TEXT, GUIDE = [
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")
]


def blocks_of(text):
    """Return the Python code in a page."""
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


BLOCKS = blocks_of(TEXT)


def test_the_first_block_is_ten_lines():
    lines = [line for line in BLOCKS[0].splitlines() if line.strip()]
    assert len(lines) <= 12


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_code_runs(number, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # whatever an example writes
    exec(compile(BLOCKS[number], f"README.md, block {number + 1}", "exec"), {})


def test_the_guides_strategy_is_one(monkeypatch, tmp_path):
    # as a module, because a strategy has to be picklable
    (tmp_path / "guide_strategy.py").write_text(blocks_of(GUIDE)[0], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    check_query_strategy(importlib.import_module("guide_strategy").LeastConfidentQuery())


def test_files_it_names_exist():
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", TEXT)
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing


def test_make_targets_it_names_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", TEXT, flags=re.MULTILINE))
    assert {"demo", "test"} <= named <= targets
