"""Programs on terminals whose screen is looked at, as a person would: pyte makes of the bytes what is seen."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from typing import Final

import pyte

from tests.programs import WAIT_SECONDS

PATIENCE_SECONDS: Final = 30.0
IDLE_SECONDS: Final = 1.0
"""A program that has drawn nothing for so long is not about to."""


class Pane:
    """A program on a terminal of so many columns and rows; `shown` are all bytes that it was sent."""

    def __init__(self, *command: str, columns: int = 80, rows: int = 50, **environment: str) -> None:
        self._ours, theirs = os.openpty()
        self._screen = pyte.HistoryScreen(columns, rows, history=10_000, ratio=0.001)
        self._stream = pyte.ByteStream(self._screen)
        self._set_size(columns, rows)
        self.child = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | environment, start_new_session=True
        )
        os.close(theirs)
        self.shown = b""

    @property
    def rows(self) -> list[str]:
        """What is on the screen, without the spaces at the ends of lines and the empty lines below."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip().split("\n")

    @property
    def text(self) -> str:
        """What is on the screen, and above it what has left it."""
        above = ["".join(row[column].data for column in range(self._screen.columns)).rstrip() for row in self._screen.history.top]
        return "\n".join([*above, *self.rows])

    @property
    def screen(self) -> pyte.HistoryScreen:
        """The screen itself, with the colours of its letters."""
        return self._screen

    def await_text(self, pattern: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Read on until the screen has a text of that pattern; fail where the program ends without it."""
        self._await(lambda: re.search(pattern, self.text) is not None, pattern, seconds)

    def await_gone(self, pattern: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Read on until the screen has it no more."""
        self._await(lambda: re.search(pattern, "\n".join(self.rows)) is None, f"no {pattern}", seconds)

    def settle(self, seconds: float = 0.3) -> None:
        """Read until nothing has come for so long."""
        while self._read(seconds):
            pass

    def glance(self) -> None:
        """Read what there is, without waiting for more."""
        self._read(0.01)

    def type(self, text: str) -> None:
        """Press keys."""
        data = text.encode()
        while data:  # a terminal takes some kilobytes at a time
            self._read(0)
            _, ready, _ = select.select([], [self._ours], [], 0.1)
            if ready:
                data = data[os.write(self._ours, data[:512]) :]

    def ask(self, text: str) -> None:
        """Type a line and send it."""
        self.type(text)
        self.type("\r")

    def resize(self, columns: int, rows: int, *, wraps: bool = False, told: bool = True) -> None:
        """Another size, of which the program is told. With `wraps` what stands there is wrapped, as most terminals do.

        The program stands still meanwhile, from when it has drawn: nothing that it draws for the old size comes after the change.
        """
        self._read(IDLE_SECONDS)
        self.child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.child.pid, os.WSTOPPED | os.WNOWAIT)
        while self._read(0):
            pass
        self._wrap(columns, rows) if wraps else self._screen.resize(rows, columns)
        self._set_size(columns, rows)
        if told:
            self.child.send_signal(signal.SIGWINCH)
        self.child.send_signal(signal.SIGCONT)

    def end(self) -> int:
        """Read all that is still shown; the exit code."""
        while self._read(WAIT_SECONDS):
            pass
        return self.child.wait(WAIT_SECONDS)

    def hang_up(self) -> None:
        """Close the terminal, as a window that is closed does."""
        os.close(self._ours)
        self._ours = -1

    def close(self) -> None:
        """End it, however it stands."""
        self.child.kill()
        self.child.wait()
        if self._ours >= 0:
            os.close(self._ours)

    def _wrap(self, columns: int, rows: int) -> None:
        screen, cursor = self._screen, self._screen.cursor
        lines = [line.rstrip() for line in screen.display]
        wrapped = [[line[at : at + columns] for at in range(0, len(line) or 1, columns)] for line in lines]
        x, y = cursor.x % columns, sum(map(len, wrapped[: cursor.y])) + cursor.x // columns
        screen.resize(rows, columns)
        screen.erase_in_display(2)
        for number, line in enumerate([line for parts in wrapped for line in parts][:rows], start=1):
            screen.cursor_position(number, 1)
            screen.draw(line)
        screen.cursor_position(y + 1, x + 1)

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _await(self, is_there: Callable[[], bool], what: str, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not is_there():
            assert time.monotonic() < until, f"{what} does not come:\n{self.text}"
            if not self._read(0.2) and self.child.poll() is not None:
                assert is_there(), f"ended with {self.child.returncode} before {what}:\n{self.text}"
                return

    def _read(self, seconds: float) -> bool:
        """What has come, or comes within so many seconds; False where nothing does."""
        ready, _, _ = select.select([self._ours], [], [], seconds)
        if not ready:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # Linux says EIO once the other side is closed
            return False
        self.shown += data
        self._stream.feed(data)
        return bool(data)


_SEQUENCE: Final = re.compile(rb"\x1b\[[?>]?[0-9;]*[A-Za-z]|\x1b\[[0-9;]* q|\x1b[=>]")


def strange_bytes(shown: bytes) -> bytes:
    """What is left of the bytes sent to a terminal without the escape sequences that move its cursor and style text."""
    return _SEQUENCE.sub(b"", shown)
