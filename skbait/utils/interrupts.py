# SPDX-License-Identifier: BSD-3-Clause
"""Ctrl-C during the training of a network, which skorch takes for the end of the training."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C come out of the block as KeyboardInterrupt, whoever would catch it inside.

    skorch catches it, and gives back a network that was trained in part, as if nothing had
    happened. Callbacks end a training by raising KeyboardInterrupt themselves (``EarlyStopping``
    does), and that goes on to mean the end of the training: only the signal counts. It is heard
    in the main thread alone, and where Python handles it.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    inside, process = True, os.getpid()

    def note(number, frame):
        try:
            return handler(number, frame)
        except KeyboardInterrupt as error:
            if inside and os.getpid() == process:  # a worker that was forked catches it itself
                raise _Pressed(error) from None
            raise

    def restore():
        nonlocal inside
        inside = False
        if signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, handler)

    note.is_inside = True  # for a block within this one, which leaves the last word to it
    try:
        try:
            signal.signal(signal.SIGINT, note)
            yield
        finally:
            restore()
    except _Pressed as pressed:
        restore()  # should it have come just before
        if hasattr(handler, "is_inside"):
            raise
        raise pressed.args[0] from None


class _Pressed(BaseException):
    """Ctrl-C, as nobody catches it on the way: holds what the handler raised."""
