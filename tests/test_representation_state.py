# SPDX-License-Identifier: BSD-3-Clause
"""What a representation leaves behind: nothing. And how it streams."""

from __future__ import annotations

import copy
import multiprocessing
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from representation_nets import CNN, MLP, digits, initialized, make_net
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch import NeuralNetClassifier
from torch import nn

from skbait.representation import probabilities, represent
from skbait.utils.state import find_nets, keep_random_states

X, Y = digits()
FEW = X[:50]


def snapshot(net):
    """Everything about a net and the process that must not change."""
    module = net.module_
    return {
        "weights": {k: v.clone() for k, v in module.state_dict().items()},
        "training": [m.training for m in (*module.modules(), net.criterion_)],
        "hooks": [
            len(getattr(m, name))
            for m in module.modules()
            for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
        ],
        "attributes": [sorted(vars(m)) for m in module.modules()],
        "net": sorted(vars(net)),
        "gradients": [p.grad is None for p in module.parameters()],
        "requires_grad": [p.requires_grad for p in module.parameters()],
        "dtypes": [p.dtype for p in module.parameters()],
        "history": copy.deepcopy(net.history),
        "grad mode": torch.is_grad_enabled(),
        "numpy": np.random.get_state(legacy=False)["state"]["key"].copy(),
        "numpy position": np.random.get_state(legacy=False)["state"]["pos"],
        "torch": torch.get_rng_state().clone(),
        "python": random.getstate(),
    }


def assert_same(before, after):
    for key, value in before.items():
        if key == "weights":
            assert all(torch.equal(value[k], after[key][k]) for k in value)
        elif isinstance(value, torch.Tensor):
            assert torch.equal(value, after[key]), key
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, after[key], err_msg=key)
        else:
            assert value == after[key], key


class Noisy(CNN):
    """Draws random numbers of all three kinds whenever it runs."""

    def forward(self, x):
        torch.rand(1), np.random.rand(), random.random()
        return super().forward(x)


@pytest.fixture(params=["training", "evaluation", "mixed"])
def net(request):
    net = initialized(make_net(Noisy, max_epochs=1)).partial_fit(FEW, Y[:50])
    net.module_.train(request.param != "evaluation")
    if request.param == "mixed":
        net.module_.norm.eval()
    return net


def wrapped(net):
    """The net by itself and inside everything that it may be inside of."""
    pipeline = make_pipeline(FunctionTransformer(), net)
    pipeline.__sklearn_is_fitted__ = lambda: True
    frozen = FrozenEstimator(net)
    search = GridSearchCV(net, {})
    search.best_estimator_ = pipeline
    calibrated = CalibratedClassifierCV(frozen).fit(X[:200], Y[:200])
    return [net, pipeline, frozen, search, calibrated]


def test_nothing_is_left_behind(net):
    for estimator in wrapped(net):
        before = snapshot(net)
        represent(estimator, FEW)
        assert_same(before, snapshot(net))
        probabilities(estimator, FEW)
        assert_same(before, snapshot(net))
    voting = VotingClassifier([("a", net)], voting="soft")
    voting.estimators_, voting.classes_, voting.weights = [net], np.arange(10), None
    voting.le_ = None
    before = snapshot(net)
    probabilities(voting, FEW)
    assert_same(before, snapshot(net))


@pytest.mark.parametrize("ask", [represent, probabilities])
@pytest.mark.parametrize("fails_at", [1, 2])  # the pass of two rows; the pass over all
def test_nothing_is_left_behind_by_an_error(net, ask, fails_at):
    calls = []

    def fail(module, args):
        calls.append(len(args[0]))
        if (len(calls) >= fails_at and fails_at != 1) or (fails_at == 1):
            raise RuntimeError("out of luck")

    handle = net.module_.norm.register_forward_pre_hook(fail)
    before = snapshot(net)
    with pytest.raises(RuntimeError, match="out of luck"):
        ask(net, X[:200])
    assert_same(before, snapshot(net))
    assert len(calls) >= fails_at
    handle.remove()
    represent(net, X[:200])


def test_gradients_and_optimizer_of_the_user_survive(net):
    module = net.module_
    module(torch.from_numpy(FEW)).sum().backward()
    grads = [p.grad.clone() for p in module.parameters()]
    with torch.no_grad():
        represent(net, FEW)
        assert not torch.is_grad_enabled()
    assert all(torch.equal(p.grad, g) for p, g in zip(module.parameters(), grads, strict=True))
    seen = represent(net, FEW)
    assert not any(t.requires_grad for t in (seen.features, seen.probabilities, seen.logits))


def test_x_is_not_written_to():
    net = initialized(make_net())
    given = FEW.copy()
    represent(net, given)
    np.testing.assert_array_equal(given, FEW)


def test_dropout_is_off_whatever_the_flags_were():
    net = initialized(make_net())
    net.module_.train()
    torch.testing.assert_close(represent(net, FEW).features, represent(net, FEW).features)


@pytest.mark.parametrize(
    "params",
    [
        {"batch_size": 1},
        {"batch_size": 7},
        {"batch_size": -1},
        {"iterator_valid__batch_size": 13},
        {"batch_size": 49},
    ],
)
def test_batch_size_does_not_matter(params):
    expected = represent(initialized(make_net()), FEW)
    seen = represent(initialized(make_net(**params)), FEW)
    torch.testing.assert_close(seen.features, expected.features)
    torch.testing.assert_close(seen.probabilities, expected.probabilities)


@pytest.mark.parametrize("setting", ["shuffle", "drop_last"])
def test_an_iterator_that_loses_rows_or_their_order(setting):
    net = initialized(make_net())
    setattr(net, f"iterator_valid__{setting}", True)  # skorch would warn of the first
    with pytest.raises(ValueError, match=f"iterator_valid__{setting}=True"):
        represent(net, FEW)


def test_an_iterator_that_loses_rows_by_itself():
    def lossy(dataset, **kwargs):
        return torch.utils.data.DataLoader(dataset, drop_last=len(dataset) > 2, **kwargs)

    net = initialized(make_net(iterator_valid=lossy, batch_size=20))
    with pytest.raises(ValueError, match="50 rows, but only 40"):
        represent(net, FEW)


def test_workers_of_the_iterator(seed):
    net = initialized(make_net(iterator_valid__num_workers=1))
    state = torch.get_rng_state()
    seen = represent(net, FEW)
    assert torch.equal(state, torch.get_rng_state())
    torch.testing.assert_close(seen.features, represent(initialized(make_net()), FEW).features)


def _anonymous_memory():
    """Bytes of this process that are not pages of a file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return 1024 * int(line.split()[1])
    return pytest.skip("no RssAnon here")


class Watched(nn.Module):
    """Notes the rows of each batch and the memory in use."""

    rows: list[int] = []
    memory: list[int] = []

    def __init__(self, width):
        super().__init__()
        self.body, self.head = nn.Linear(width, 8), nn.Linear(8, 3)

    def forward(self, x):
        self.rows.append(len(x))
        self.memory.append(_anonymous_memory())
        return self.head(self.body(x))


def test_a_memory_map_is_read_in_batches(tmp_path):
    n_rows, width = 6000, 8192  # 196 MB, in a file that takes no room on the disk
    pool = np.memmap(tmp_path / "pool", dtype=np.float32, mode="w+", shape=(n_rows, width))
    del pool
    pool = np.memmap(tmp_path / "pool", dtype=np.float32, mode="r", shape=(n_rows, width))
    net = initialized(make_net(Watched, module__width=width, batch_size=64))
    represent(net, pool[:200])
    for ask in (represent, probabilities):
        Watched.rows.clear(), Watched.memory.clear()
        start = _anonymous_memory()
        ask(net, pool)
        assert sum(Watched.rows) == n_rows + 2
        assert max(Watched.rows) == 64
        assert max(Watched.memory) - start < pool.nbytes / 8


def test_nets_are_found_wherever_they_are():
    a, b = make_net(), make_net()
    nested = make_pipeline(FunctionTransformer(), VotingClassifier([("a", a), ("b", b)]))
    assert set(map(id, find_nets(GridSearchCV(nested, {})))) == {id(a), id(b)}
    assert find_nets(FrozenEstimator(a)) == [a]
    assert find_nets(None) == find_nets(X) == find_nets(NeuralNetClassifier) == []


def test_seeded_states_end_where_they_were():
    before = torch.get_rng_state(), np.random.get_state(legacy=False), random.getstate()
    draws = []
    for _ in range(2):
        with keep_random_states(seed=3):
            draws.append((torch.rand(1).item(), np.random.rand(), random.random()))
    assert draws[0] == draws[1]
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(
        before[1]["state"]["key"], np.random.get_state(legacy=False)["state"]["key"]
    )
    assert before[2] == random.getstate()


def draw(seed):
    """Return numbers of all three generators, seeded; others would have time to draw between."""
    with keep_random_states(seed=seed):
        first = torch.rand(1).item(), np.random.rand(), random.random()
        time.sleep(0.01)
        return first, (torch.rand(1).item(), np.random.rand(), random.random())


def in_threads(call, arguments):
    """Return what a function gives for each argument, called in threads that start together."""
    barrier = threading.Barrier(len(arguments))

    def started(argument):
        barrier.wait(timeout=60)
        return call(argument)

    with ThreadPoolExecutor(len(arguments)) as pool:
        return list(pool.map(started, arguments, timeout=60))


def test_threads_take_turns_with_the_states():
    seeds = [0, 1, 2, 3]
    expected = [draw(seed) for seed in seeds]
    before = torch.get_rng_state(), np.random.get_state(legacy=False), random.getstate()
    assert in_threads(draw, seeds) == expected
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(
        before[1]["state"]["key"], np.random.get_state(legacy=False)["state"]["key"]
    )
    assert before[2] == random.getstate()


@pytest.mark.parametrize("config", [{"backend": "threading"}, {"prefer": "threads"}])
def test_nobody_waits_for_threads_of_joblib_that_wait_for_their_turn(config):
    def outer(seed):
        with joblib.parallel_config(**config), keep_random_states(seed=seed):
            return joblib.Parallel(n_jobs=2)(joblib.delayed(draw)(each) for each in (4, 5))

    expected = [draw(seed) for seed in (4, 5)]
    assert in_threads(outer, [0, 1]) == [expected, expected]


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_a_thread_of_its_parent():
    ready, done = threading.Event(), threading.Event()

    def hold():
        with keep_random_states():
            ready.set()
            done.wait(timeout=60)

    holder = threading.Thread(target=hold)
    holder.start()
    ready.wait(timeout=60)
    child = multiprocessing.get_context("fork").Process(target=draw, args=(0,))
    child.start()
    child.join(timeout=30)
    done.set()
    holder.join()
    alive = child.is_alive()
    child.kill()
    child.join()
    assert not alive
    assert child.exitcode == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_net_on_cuda():
    net = initialized(make_net(device="cuda"))
    before = torch.cuda.get_rng_state()
    seen = represent(net, FEW)
    assert seen.features.is_cuda
    assert seen.probabilities.is_cuda
    assert seen.logits.is_cuda
    assert torch.equal(before, torch.cuda.get_rng_state())
    on_host = represent(net, FEW, device="cpu")
    assert on_host.features.device.type == "cpu"
    torch.testing.assert_close(seen.features.cpu(), on_host.features)
    np.testing.assert_allclose(on_host.probabilities, net.predict_proba(FEW), rtol=1e-5)
    with keep_random_states(net, seed=0):
        torch.rand(1, device="cuda")
    assert torch.equal(before, torch.cuda.get_rng_state())
    pipeline = make_pipeline(FunctionTransformer(), net)
    assert represent(pipeline, FEW).features.is_cuda
    small = initialized(make_net(MLP, device="cuda"))
    assert probabilities(small, FEW[:, 0, 0, :4])[0].is_cuda
