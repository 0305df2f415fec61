"""Lines that somebody types: nothing that is pressed is lost."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import pytest

from tests.programs import posix
from tests.terminals import Terminal

READER = """
from qwq_local.cli.keyboard import typed_line
{before}
try:
    print("ready", flush=True)
    while line := typed_line():
        print(repr(line), flush=True)
    print("end")
except KeyboardInterrupt:
    print("interrupted")
"""
INTERRUPTED_AT_THE_LAST_MOMENT = """
import ctypes, functools, signal, sys
class Keyboard:
    isatty, readline = sys.stdin.isatty, sys.stdin.readline
    fileno = functools.partial(getattr(ctypes.CDLL(None), "raise"), signal.SIGINT)  # leaves the signal's mark, and gives 0
sys.stdin = Keyboard()
"""
TAKES_ALL_THAT_IS_TYPED_AT_ONCE = """
import select, termios, time, tty
before = termios.tcgetattr(0)
tty.setcbreak(0)
print("ready", flush=True)
select.select([0], [], [])
time.sleep(0.2)
termios.tcsetattr(0, termios.TCSANOW, before)
"""
TELLS_OF_A_SIGNAL = """
import signal
signal.signal(signal.SIGUSR1, lambda *_: print("called", flush=True))
"""


@pytest.fixture
def read(on_terminal: Callable[..., Terminal]) -> Callable[[str], Terminal]:
    """Starts what reads lines from a terminal of its own."""

    def start(before: str = "") -> Terminal:
        terminal = on_terminal(sys.executable, "-c", READER.format(before=before))
        terminal.await_text("ready")
        return terminal

    return start


@posix
def test_lines_come_one_by_one_until_the_end(read: Callable[..., Terminal]) -> None:
    terminal = read()
    terminal.type("one\ntwo\n\n")
    for line in (r"'one\n'", r"'two\n'", r"'\n'"):
        terminal.await_text(line)
    terminal.type("\x04")
    terminal.await_text("end")
    assert terminal.end() == 0


@posix
def test_lines_that_came_at_once_are_read_one_by_one(read: Callable[..., Terminal]) -> None:
    terminal = read(TAKES_ALL_THAT_IS_TYPED_AT_ONCE)
    terminal.type("one\ntwo\n")
    for line in (r"'one\n'", r"'two\n'"):
        terminal.await_text(line)
    terminal.type("\x04")
    assert terminal.end() == 0


@posix
def test_ctrl_c_ends_the_wait(read: Callable[..., Terminal]) -> None:
    terminal = read()
    terminal.child.send_signal(signal.SIGINT)
    terminal.await_text("interrupted")
    assert terminal.end() == 0


@posix
@pytest.mark.timeout(30)
def test_ctrl_c_just_before_the_wait_is_not_lost(read: Callable[..., Terminal]) -> None:
    terminal = read(INTERRUPTED_AT_THE_LAST_MOMENT)
    terminal.await_text("interrupted")
    assert terminal.end() == 0


@posix
def test_other_signals_are_handled_and_the_wait_goes_on(read: Callable[..., Terminal]) -> None:
    terminal = read(TELLS_OF_A_SIGNAL)
    for _ in range(3):
        terminal.child.send_signal(signal.SIGUSR1)
        terminal.await_text("called")
    terminal.type("one\n")
    terminal.await_text(r"'one\n'")
    terminal.child.send_signal(signal.SIGINT)
    terminal.await_text("interrupted")
    assert terminal.end() == 0
