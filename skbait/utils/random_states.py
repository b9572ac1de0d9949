# SPDX-License-Identifier: BSD-3-Clause
"""The global random states of Python, NumPy and torch, kept while something is computed.

They belong to the whole process: while one thread keeps them, others that want to wait.
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

_turn = threading.RLock()  # re-entrant: blocks of one thread lie inside each other


def _renew_turn():
    """Free the lock in a forked process, in which the thread that may hold it does not exist."""
    global _turn
    _turn = threading.RLock()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_renew_turn)


@contextmanager
def random_states_kept(*, cuda: bool = False, seed: int | None = None) -> Iterator[None]:
    """Restore the states at the end of the block; threads take turns.

    Parameters
    ----------
    cuda : bool, default=False
        Whether those of CUDA devices are kept (and seeded) too, which starts CUDA.
    seed : int or None, default=None
        Seed all of them with this number at the start of the block; None: go on from where they
        are.
    """
    with _turn, _no_threads_of_joblib(), _states_kept(cuda, seed):
        yield


@contextmanager
def _states_kept(cuda, seed) -> Iterator[None]:
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
