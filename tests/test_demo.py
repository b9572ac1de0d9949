# SPDX-License-Identifier: BSD-3-Clause
"""The demo runs in small, on both kinds of images, and says what to do where it cannot."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
from conftest import ROOT


@pytest.fixture(scope="module")
def demo():
    spec = importlib.util.spec_from_file_location("demo", ROOT / "examples" / "demo.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo"] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["demo"]


def test_digits(demo, tmp_path, capsys):
    output = tmp_path / "plot.png"
    arguments = ["--seeds", "1", "--budget", "50", "--jobs", "1", "--output", str(output)]
    n_labels, scores = demo.main(arguments)
    assert n_labels.tolist() == [20, 40, 50]
    assert {name: each.shape for name, each in scores.items()} == dict.fromkeys(
        ["BAIT", "margin", "random"], (1, 3)
    )
    # the same first rows, the same seed of the network: the same start
    assert len({float(each[0, 0]) for each in scores.values()}) == 1
    assert output.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    for n in n_labels:
        assert f"\n{n:>6}  " in printed


def test_cifar10(demo, tmp_path, rng, monkeypatch):
    arrays = {}
    for part, n in ("train", 40), ("test", 20):
        arrays[f"X_{part}"] = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        arrays[f"y_{part}"] = np.arange(n) % 10
    np.savez(tmp_path / "cifar10.npz", target_names=np.arange(10).astype(str), **arrays)
    task = demo.cifar10(tmp_path)
    assert task.X.shape == (40, 3, 32, 32)
    assert task.X.dtype == np.float32
    assert -1 <= task.X.min() < task.X.max() <= 1
    small = {"initial": 12, "batch_size": 4, "budget": 16, "seeds": 1}
    small["net"] = task.net.set_params(max_epochs=1)
    monkeypatch.setitem(demo.TASKS, "cifar10", lambda home: demo.replace(task, **small))
    output = tmp_path / "plot.png"
    n_labels, _ = demo.main(["--data", "cifar10", "--jobs", "1", "--output", str(output)])
    assert n_labels.tolist() == [12, 16]
    assert output.exists()


def test_cifar10_without_data_says_what_to_do(demo, tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("skbait.datasets._cifar10.fetch_file", unreachable)
    with pytest.raises(SystemExit, match=r"demo: CIFAR-10 is not in .*SKBAIT_DATA"):
        demo.main(["--data", "cifar10", "--data-home", str(tmp_path / "none")])


@pytest.mark.parametrize("arguments", [["--budget", "20"], ["--budget", "9999"], ["--seeds", "0"]])
def test_what_cannot_be_compared_is_refused(demo, arguments, capsys):
    with pytest.raises(SystemExit):
        demo.main(arguments)
    assert f"error: {' '.join(arguments)}" in capsys.readouterr().err
