"""`qwq ask` on a real terminal, and Ctrl-C at every moment."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qwq_local.cli.activity import ERASE
from qwq_local.cli.terminal import DIM, PLAIN
from tests.programs import PROGRAM, WAIT_SECONDS, posix
from tests.terminals import Terminal

QUESTION = "What is 47 + 85?"

INTERRUPTED = (130, -signal.SIGINT)
"""A shell says 130 of both: where the signal comes in the middle of a dataclass being made, CPython ends by the signal after all."""


def assert_clean(terminal: Terminal) -> None:
    """Nothing dim is left on, the cursor stands at the start of a line, and no traceback was shown."""
    assert terminal.shown.rfind(PLAIN.encode()) >= terminal.shown.rfind(DIM.encode())
    assert terminal.shown.endswith((b"\n", ERASE.encode()))
    assert b"Traceback" not in terminal.shown
    assert b"Exception ignored" not in terminal.shown


def without_status(shown: bytes) -> bytes:
    """What was shown, without the line that says that a model loads; it is there on a busy machine."""
    return re.sub(rb"\r\x1b\[K([^\r]*\r\x1b\[K)*", b"", shown)


@posix
@pytest.mark.parametrize("is_there", [b"\x1b[2m", b"\x1b[0m\r\n\r\n"], ids=["in the thought", "in the answer"])
def test_ctrl_c_in_mid_answer_is_130_and_leaves_the_terminal_clean(
    on_terminal: Callable[..., Terminal], endless_model: Path, is_there: bytes
) -> None:
    arguments = ["ask", "-m", str(endless_model), "--ctx", "32000", "--max-tokens", "31000", "--seed", "1", QUESTION]
    terminal = on_terminal(*PROGRAM, *arguments)
    terminal.read_until(lambda shown: is_there in shown)
    assert terminal.child.poll() is None
    terminal.child.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert_clean(terminal)


@posix
def test_ctrl_c_in_mid_prompt_is_130(on_terminal: Callable[..., Terminal], endless_model: Path, tmp_path: Path) -> None:
    (tmp_path / "long").write_text("word " * 20_000, "utf-8")
    arguments = ["ask", "-m", str(endless_model), "--ctx", "32000", "-f", str(tmp_path / "long")]
    terminal = on_terminal(sys.executable, "-X", "importtime", *PROGRAM[1:], *arguments)
    terminal.read_until(lambda shown: b"llama_cpp.llama_cpp" in shown)
    terminal.child.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert_clean(terminal)


@posix
@pytest.mark.parametrize("imported", [b"qwq_local.cli.options", b" jinja2", b"qwq_local.cli.answer", b"llama_cpp.llama_cpp"])
def test_ctrl_c_while_loading_is_130(on_terminal: Callable[..., Terminal], endless_model: Path, imported: bytes) -> None:
    arguments = ["ask", "-m", str(endless_model), "--ctx", "32000", "--max-tokens", "31000", QUESTION]
    terminal = on_terminal(sys.executable, "-X", "importtime", *PROGRAM[1:], *arguments)
    terminal.read_until(lambda shown: imported in shown)
    assert imported in terminal.shown
    terminal.child.send_signal(signal.SIGINT)
    assert terminal.end() in INTERRUPTED
    assert_clean(terminal)


@posix
def test_ctrl_c_while_the_question_is_awaited_is_130() -> None:
    command = [sys.executable, "-X", "importtime", *PROGRAM[1:], "ask", "-m", "demo"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stderr is not None
        assert any(b"qwq_local.cli.answer" in line for line in child.stderr)
        child.send_signal(signal.SIGINT)
        _, rest = child.communicate(timeout=WAIT_SECONDS)
    assert child.returncode in INTERRUPTED
    assert b"Traceback" not in rest


@posix
def test_a_terminal_gets_dimmed_thoughts_and_no_color_is_obeyed(on_terminal: Callable[..., Terminal]) -> None:
    command = [*PROGRAM, "ask", "-m", "demo", "--seed", "1", QUESTION]
    dimmed = on_terminal(*command)
    assert dimmed.end() == 0
    plain = on_terminal(*command, NO_COLOR="1")
    assert plain.end() == 0
    assert DIM.encode() in dimmed.shown
    assert b"\x1b" not in without_status(plain.shown)
    assert without_status(dimmed.shown).replace(DIM.encode(), b"").replace(PLAIN.encode(), b"") == without_status(plain.shown)
    assert plain.shown.count(rb"\boxed{132}") == 1
    assert_clean(dimmed)
