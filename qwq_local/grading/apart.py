"""A comparison that an answer could make endless is made in a process of its own, with limits on time and memory, kept for the next one.

A power tower in a box keeps Python in one uninterruptible operation, and so does a pattern that backtracks; a thread could not be taken
out of it, and a signal reaches the main thread only. At most `N_PROCESSES` run at a time, and they end with this one: their standard input
does.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from qwq_local.errors import QwqError
from qwq_local.grading.wanted import Grade

LIMIT_SECONDS: Final = 10.0
"""For one comparison; those of ordinary answers take milliseconds."""
LIMIT_BYTES: Final = 2 << 30
"""Of address space, where the system can limit it (not on Windows)."""
N_PROCESSES: Final = 2
FLAG: Final = "--qwq-comparing-process"
EXIT_LATE: Final = 1
"""How faulthandler's watchdog ends a process (docs.python.org/3/library/faulthandler.html)."""
READY: Final = b"ready\n"

_room = threading.BoundedSemaphore(N_PROCESSES)
_idle: list[_Process] = []


def compare_apart(kind: str, given: str, seconds: float = LIMIT_SECONDS, **wanted: Any) -> Grade:  # noqa: ANN401 - what JSON can say
    """What the comparison of this kind (`child.py` has them) makes of an answer, or a grade that says which limit it went over.

    It may be called in any thread. Raises QwqError where no such process can be started.
    """
    request = {"kind": kind, "given": given, "wanted": wanted, "seconds": seconds}
    with _room:
        process = _take()
        try:
            answer = process.ask(request)
        except BaseException:  # Ctrl-C, while it may still compute
            process.end(at_once=True)
            raise
        if answer is not None:
            _idle.append(process)
            return Grade(**answer)
        return Grade(False, given, _why(process.end(), seconds))


def _take() -> _Process:
    while _idle:
        with suppress(IndexError):  # another thread was faster
            process = _idle.pop()
            if process.is_alive():
                return process
            process.end()
    return _Process()


def _why(status: int, seconds: float) -> str:
    if status == EXIT_LATE:
        return f"comparing it took longer than {seconds:g} s"
    return f"comparing it ended the process that did so, with exit status {status}: it may need more than {LIMIT_BYTES >> 30} GiB"


class _Process:
    """One that compares, started and ready."""

    def __init__(self) -> None:
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                _command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise QwqError(f"No process to compare answers in can be started: {error}", hint="End other programs and try again.") from error
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None, "it was asked for"
        assert stdout is not None, "likewise"
        self._stdin, self._stdout = stdin, stdout
        if self._stdout.readline() != READY:
            raise QwqError(
                f"The process that compares answers ended as it started, with exit status {self.end()}.",
                hint="To see why: python -c 'from qwq_local.grading.child import main; main()'",
            )

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """Its answer, a grade's fields; None where it ended over it."""
        with suppress(BrokenPipeError):
            self._stdin.write(json.dumps(request).encode() + b"\n")
            self._stdin.flush()
            if (line := self._stdout.readline()).endswith(b"\n"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        return None

    def end(self, *, at_once: bool = False) -> int:
        """Its exit status; where it has not ended, it does by losing its input, or at once."""
        if at_once:
            self._process.kill()
        with suppress(BrokenPipeError):
            self._stdin.close()
        self._stdout.close()
        return self._process.wait()


def _command() -> list[str]:
    """The program that starts it, with the same modules in reach as here."""
    if getattr(sys, "frozen", False):
        return [sys.executable, FLAG]
    code = f"import sys; sys.path[:] = {[str(entry) for entry in sys.path]!r}; from qwq_local.grading.child import main; main()"
    return [sys.executable, "-P", "-c", code]


@atexit.register
def _end_all() -> None:
    while _idle:
        _idle.pop().end()
