# SPDX-License-Identifier: BSD-3-Clause
"""Leave things as they were: global random states, and the training flags of networks.

A query must not change what the user's own code does next. Two things change behind one's back
as soon as a network is asked for predictions: every pass of a torch ``DataLoader`` draws a seed
from torch's global generator, and skorch puts the modules in evaluation mode and leaves them so.

The states belong to the whole process: while one thread keeps them, others that want to wait.
"""

from __future__ import annotations

import os
import random
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import joblib
import numpy as np
import torch
from joblib.parallel import get_active_backend

from skbait.utils.nets import as_nets_take, explain_dtype, find_nets, modules_of, uses_cuda

_turn = threading.RLock()  # re-entrant: blocks of one thread lie inside each other


def _renew_turn():
    """Free the lock in a forked process, in which the thread that may hold it does not exist."""
    global _turn
    _turn = threading.RLock()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_renew_turn)


@contextmanager
def keep_random_states(estimator=None, *, seed: int | None = None) -> Iterator[None]:
    """Restore the global random states of Python, NumPy and torch at the end of the block.

    Threads take turns: one block at a time, with those inside it. joblib's threads would draw from
    the same states in any order, or wait for a turn that only ends with them; so where they are
    what `joblib.Parallel` uses (as in joblib's own workers), its tasks inside the block run one
    after the other. Its processes are not affected. Any other thread that is started inside the
    block and has a block of its own must not be waited for.

    Parameters
    ----------
    estimator : object or None, default=None
        What is going to compute inside the block. The states of CUDA devices are kept (and
        seeded) if it holds a net that uses one: asking for them otherwise would start CUDA.
    seed : int or None, default=None
        Seed all of them with this number at the start of the block; None: go on from where they
        are.
    """
    cuda = any(uses_cuda(net) for net in find_nets(estimator))
    with _turn, _no_threads_of_joblib(), _states_kept(cuda, seed):
        yield


def in_this_process():
    """Return a context in which `joblib.Parallel` runs its tasks one after the other.

    Its processes have random states of their own, which nobody seeds.
    """
    return joblib.parallel_config(backend="sequential")


def _no_threads_of_joblib():
    """Return a context in which `joblib.Parallel` starts no threads if it did by default."""
    backend, _ = get_active_backend()
    threads = getattr(backend, "uses_threads", False)
    return in_this_process() if threads else nullcontext()


@contextmanager
def _states_kept(cuda, seed) -> Iterator[None]:
    """Keep the states as `keep_random_states` does, those of CUDA devices if asked to."""
    python_state = random.getstate()
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 - the global one is meant
    with warnings.catch_warnings():
        # fork_rng remarks on the number of devices, where there are several
        warnings.filterwarnings("ignore", message=".*available devices.*")
        fork = torch.random.fork_rng(devices=None if cuda else [], device_type="cuda")
        fork.__enter__()
    try:
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            if cuda:
                torch.manual_seed(seed)
            else:  # manual_seed would also reach CUDA devices, whose states are not kept
                torch.default_generator.manual_seed(seed)
        yield
    finally:
        fork.__exit__(None, None, None)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


@contextmanager
def keep_training_flags(estimator) -> Iterator[None]:
    """Restore the ``training`` flag of every module of every net inside `estimator`.

    Parameters
    ----------
    estimator : object
        An estimator that may hold nets. Flags are kept module by module: a frozen part of a
        network may be in evaluation mode while the rest is in training mode.
    """
    flags = [
        (module, module.training)
        for net in find_nets(estimator)
        for top in modules_of(net, criteria=True).values()
        for module in top.modules()
    ]
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training


@contextmanager
def asking(estimator, X) -> Iterator:
    """Ask a fitted estimator for something inside the block, and leave all else as it was.

    Parameters
    ----------
    estimator : object
        The estimator. A pass through a net draws from torch, and leaves it in evaluation mode; so
        may rows of a Dataset draw that are looked at here.
    X : object
        The rows that it is asked for.

    Yields
    ------
    object
        X as the nets inside take it: see `skbait.utils.nets.as_nets_take`.
    """
    with keep_random_states(estimator), keep_training_flags(estimator):
        X = as_nets_take(estimator, X)
        with explain_dtype(estimator, X):
            yield X


@contextmanager
def read_only_arrays_allowed() -> Iterator[None]:
    """Silence torch's warning that an array is read-only: nothing here writes to its input.

    It comes from memory maps opened with ``mode="r"`` and from the arrays that joblib maps.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        yield
