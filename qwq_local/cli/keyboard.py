"""Lines that somebody types."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def typed_line() -> str:
    """A line of standard input with its end, "" where there is no more; a Ctrl-C is heard whenever it is pressed.

    Python's own readline sleeps on until a key is pressed where a signal comes just before it begins to read: the signal only leaves a
    mark, which is looked at before, and after. Here the signal is something to read, too.
    """
    if os.name != "posix" or not sys.stdin.isatty() or threading.current_thread() is not threading.main_thread():
        return sys.stdin.readline()
    line = b""
    with _signals() as signals:
        while not line.endswith(b"\n") and (letter := _next_byte(sys.stdin.fileno(), signals)):
            line += letter
    return line.decode(sys.stdin.encoding, "replace")


def _next_byte(keyboard: int, signals: int) -> bytes:
    """One at a time, since what Python has read ahead no select tells of; none at the end."""
    while keyboard not in select.select([keyboard, signals], [], [])[0]:
        os.read(signals, 4096)  # Python handles the signal now; what it does not end by that goes on
    return os.read(keyboard, 1)


@contextmanager
def _signals() -> Iterator[int]:
    """What becomes readable when a signal comes."""
    told, telling = os.pipe()
    os.set_blocking(telling, False)
    former = signal.set_wakeup_fd(telling, warn_on_full_buffer=False)
    try:
        yield told
    finally:
        signal.set_wakeup_fd(former)
        os.close(telling)
        os.close(told)
