# SPDX-License-Identifier: BSD-3-Clause
"""Leave things as they were: global random states, and the training flags of networks.

A query must not change what the user's own code does next. Two things change behind one's back
as soon as a network is asked for predictions: every pass of a torch ``DataLoader`` draws a seed
from torch's global generator, and skorch puts the modules in evaluation mode and leaves them so.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from skbait.utils.nets import as_nets_take, explain_dtype, find_nets, modules_of, uses_cuda
from skbait.utils.random_states import random_states_kept


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
    with random_states_kept(cuda=cuda, seed=seed):
        yield


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
