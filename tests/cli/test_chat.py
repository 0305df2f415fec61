"""`qwq chat`, through a pipe and on a terminal."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwq_local.cli import _run
from qwq_local.cli.conversation import Conversation
from qwq_local.cli.terminal import DIM
from qwq_local.errors import ContextLengthError
from qwq_local.prompt import Message
from tests.programs import PROGRAM, SERVER, Ended, Qwq, posix
from tests.terminals import Terminal


@pytest.fixture
def chat(qwq: Qwq) -> Callable[..., Ended]:
    """`qwq chat` with the demo model in this process, with lines from a pipe."""

    def run(lines: str | bytes, *arguments: str) -> Ended:
        data = lines.encode() if isinstance(lines, str) else lines
        return qwq("chat", "-m", "demo", "--seed", "1", *arguments, stdin=data)

    return run


# Through a pipe


def test_each_line_is_a_turn(chat: Callable[..., Ended]) -> None:
    ended = chat("What is 47 + 85?\n\n/new\nWhat is 30 + 12?")
    assert ended.code == 0
    first, second = ended.out.splitlines()
    assert r"\boxed{132}" in first
    assert r"\boxed{42}" in second
    assert "carry" in ended.err


def test_thoughts_can_be_left_out(chat: Callable[..., Ended]) -> None:
    ended = chat("What is 47 + 85?\n", "--no-thoughts")
    assert (ended.code, ended.err) == (0, "")
    assert r"\boxed{132}" in ended.out


def test_commands_are_not_said_to_the_model(chat: Callable[..., Ended]) -> None:
    ended = chat("/help\n/foo\n /exit \nWhat is 47 + 85?\n")
    assert (ended.code, ended.out) == (0, "")
    assert "/new" in ended.err
    assert "There is no /foo" in ended.err


def test_the_tools_of_a_server_are_called(chat: Callable[..., Ended]) -> None:
    ended = chat("What is the weather in Paris?\n", "--mcp", SERVER, "--allow-tools")
    assert (ended.code, ended.out) == (0, "It is 18C in Paris.\n")
    assert '→ get_weather {"city": "Paris"}\n← 18C\n' in ended.err


def test_an_error_ends_a_conversation_that_nobody_watches(chat: Callable[..., Ended]) -> None:
    ended = chat("word " * 2000 + "\nWhat is 47 + 85?\n")
    assert (ended.code, ended.out) == (1, "")
    assert "error: The prompt is" in ended.err


def test_a_line_that_is_not_utf_8_is_named(chat: Callable[..., Ended]) -> None:
    ended = chat(b"/help\ngr\xfcn\n")
    assert (ended.code, ended.out) == (1, "")
    assert "Line 2 of standard input is not UTF-8" in ended.err


def test_closed_streams_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert _run(["chat", "-m", "demo"]) == 1
    assert "Standard input is closed" in capsys.readouterr().err


def test_the_settings_file_holds_for_chat_too(chat: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWQ_MAX_TOKENS", "5")
    ended = chat("What is 47 + 85?\n")
    assert "[cut short after 5 tokens" in ended.err


# The history


def conversation(*answers: str | BaseException, system: str | None = None, is_watched: bool = True) -> tuple[Conversation, list[Any]]:
    """One whose answers are made up, and what each of them was asked with."""
    script = list(answers)
    asked: list[list[Message]] = []

    def answer(history: list[Message]) -> None:
        asked.append(list(history))
        given = script.pop(0)
        history.append({"role": "assistant", "content": given if isinstance(given, str) else "so f"})
        if isinstance(given, BaseException):
            raise given

    return Conversation(system, answer, is_watched=is_watched), asked


def contents(history: list[Message]) -> list[str]:
    return [message["content"] for message in history]


def test_the_history_grows_until_it_is_begun_again() -> None:
    chat, asked = conversation("A", "B", "C", system="S")
    for line in ("a", "b", "/new", "c"):
        chat.hear(line)
    assert [contents(history) for history in asked] == [["S", "a"], ["S", "a", "A", "b"], ["S", "c"]]
    assert contents(chat.history) == ["S", "c", "C"]


def test_what_was_said_before_an_interrupt_stays(capsys: pytest.CaptureFixture[str]) -> None:
    chat, _ = conversation(KeyboardInterrupt(), "B")
    chat.hear("a")
    assert "[stopped]" in capsys.readouterr().err
    chat.hear("b")
    assert contents(chat.history) == ["a", "so f", "b", "B"]


def test_an_error_takes_its_turn_back(capsys: pytest.CaptureFixture[str]) -> None:
    chat, _ = conversation("A", ContextLengthError(900, 512, 2048), "C")
    for line in ("a", "b", "c"):
        chat.hear(line)
    assert "error: The prompt is 900 tokens long" in capsys.readouterr().err
    assert contents(chat.history) == ["a", "A", "c", "C"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ContextLengthError(900, 512)])
def test_where_nobody_watches_errors_are_raised(error: BaseException) -> None:
    chat, _ = conversation(error, is_watched=False)
    with pytest.raises(type(error)):
        chat.hear("a")


@pytest.mark.parametrize("line", ["/etc/passwd holds what?", "/new or old?", "a /new", "//"])
def test_a_line_that_only_looks_like_a_command_is_said(line: str) -> None:
    chat, asked = conversation("A")
    chat.hear(line)
    assert contents(asked[0]) == [line]


# On a terminal


@pytest.fixture
def talk(on_terminal: Callable[..., Terminal]) -> Callable[..., Terminal]:
    """`qwq chat` on a terminal, which waits for the first line."""

    def start(*arguments: str) -> Terminal:
        terminal = on_terminal(*PROGRAM, "chat", *arguments)
        terminal.await_text("> ")
        return terminal

    return start


@posix
@pytest.mark.slow
def test_a_conversation_on_a_terminal(talk: Callable[..., Terminal]) -> None:
    terminal = talk("-m", "demo", "--seed", "1")
    assert b"demo. /help lists what can be typed, Ctrl-D ends.\r\n" in terminal.shown
    terminal.type("What is 47 + 85?\n")
    terminal.await_text(DIM)
    terminal.await_text(r"\boxed{132}")
    terminal.await_text("> ")
    terminal.type("word " * 700 + "\n")
    terminal.await_text("error: The prompt is")
    terminal.await_text("> ")
    terminal.type("\x04")
    assert terminal.end() == 0
    assert terminal.shown.endswith(b"\n")


@posix
@pytest.mark.slow
def test_ctrl_c_stops_an_answer_and_gives_up_a_line_and_the_conversation_goes_on(
    talk: Callable[..., Terminal], endless_model: Path
) -> None:
    terminal = talk("-m", str(endless_model), "--ctx", "32000", "--seed", "1")
    for _ in range(2):
        terminal.type("What is 47 + 85?\n")
        terminal.await_text(DIM)
        terminal.child.send_signal(signal.SIGINT)
        terminal.await_text("[stopped]")
        terminal.await_text("> ")
    terminal.type("half a li")
    terminal.await_text("half a li")
    time.sleep(0.3)  # readline misses a signal in the moment between a key and the next
    terminal.child.send_signal(signal.SIGINT)
    terminal.await_text("[Ctrl-D or /exit ends]")
    terminal.await_text("> ")
    terminal.type("/exit\n")
    assert terminal.end() == 0
    assert b"Traceback" not in terminal.shown


@posix
@pytest.mark.slow
def test_a_tool_is_allowed_once_for_the_whole_conversation(talk: Callable[..., Terminal]) -> None:
    terminal = talk("-m", "demo", "--seed", "1", "--mcp", SERVER)
    terminal.type("What is the weather in Paris?\n")
    terminal.await_text("[a]lways this tool: ")
    terminal.type("a\n")
    for line in ("/new\n", "What is the weather in Paris?\n"):
        terminal.await_text("> ")
        terminal.type(line)
    terminal.await_text("18C in Paris.")
    terminal.await_text("> ")
    terminal.type("/exit\n")
    assert terminal.end() == 0
    assert terminal.shown.count(b"call it?") == 1
    assert terminal.shown.count("← 18C".encode()) == 2
