# SPDX-License-Identifier: BSD-3-Clause
"""The example that labels one by one runs in small."""

from __future__ import annotations

import importlib.util

from conftest import ROOT


def test_it_runs(tmp_path, capsys):
    path = ROOT / "examples" / "one_by_one.py"
    spec = importlib.util.spec_from_file_location("one_by_one", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    output = tmp_path / "plot.png"
    curves = module.main(
        ["--initial", "20", "--labels", "24", "--every", "2", "--output", str(output)]
    )
    assert list(curves) == list(module.LEARNERS)
    for n_labels, waited, accuracy in curves.values():
        assert n_labels.tolist() == [20, 22, 24]
        assert (waited[1:] > 0).all()
        assert ((accuracy > 0) & (accuracy <= 1)).all()
    assert output.read_bytes().startswith(b"\x89PNG")
    assert "seconds a label" in capsys.readouterr().out
