"""Tools on the command line: the demo model calls those of a real MCP server, and its user is asked."""

from __future__ import annotations

import io
import json
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.agent import RoundsSpent, ToolAnswered, ToolCalled, ToolResult
from qwq_local.cli import _run
from qwq_local.cli.options import ToolFlags
from qwq_local.cli.terminal import DIM, OTHER_WIDTH, PLAIN, cut, one_line, width_of
from qwq_local.cli.tools import AgentPrinter, Permission
from qwq_local.engine import Answering, Thinking
from qwq_local.runtime import ToolCall
from tests.programs import PROGRAM, SERVER, Ended, Qwq, assert_told, posix
from tests.terminals import Terminal

WEATHER = "What is the weather in Paris?"
CALL = ToolCall("get_weather", '{"city": "Paris"}')


@pytest.fixture
def ask(qwq: Qwq) -> Callable[..., Ended]:
    """`qwq ask` of the demo model in this process, with the tools of the server and nobody to be asked."""

    def run(*arguments: str, server: str = SERVER) -> Ended:
        return qwq("ask", "-m", "demo", "--seed", "1", "--mcp", server, *arguments)

    return run


# The whole


def test_the_model_calls_a_tool_and_answers_from_its_result(ask: Callable[..., Ended]) -> None:
    ended = ask("--allow-tool", "add", "--allow-tool", "get_*", WEATHER)
    assert (ended.code, ended.out) == (0, "It is 18C in Paris.\n")
    thought, told, rest = ended.err.partition('→ get_weather {"city": "Paris"}\n← 18C\n')
    assert told
    assert thought.endswith("\n\n")
    assert rest.startswith("The tool says 18C.")


def test_several_rounds_are_one_json_object_with_its_calls(ask: Callable[..., Ended]) -> None:
    ended = ask("--allow-tools", "--json", WEATHER)
    reply = json.loads(ended.out)
    assert reply["tool_calls"] == [{"name": "get_weather", "arguments": '{"city": "Paris"}', "result": "18C", "is_error": False}]
    assert (reply["content"], reply["finish_reason"], reply["seed"]) == ("It is 18C in Paris.", "stop", 1)
    assert "I call get_weather." in reply["reasoning_content"]
    assert "The tool says 18C." in reply["reasoning_content"]
    assert ended.err == '→ get_weather {"city": "Paris"}\n← 18C\n'


def test_json_of_tools_that_were_not_called_says_so(ask: Callable[..., Ended]) -> None:
    assert json.loads(ask("--json", "--think-tokens", "0", "--max-tokens", "1", WEATHER).out)["tool_calls"] == []


def test_a_call_that_nobody_can_be_asked_about_is_refused_and_the_flag_is_named(ask: Callable[..., Ended]) -> None:
    ended = ask("--allow-tool", "add", "--json", WEATHER)
    assert ended.code == 0
    assert "[not called, since nobody can be asked; to allow it: --allow-tool get_weather]\n" in ended.err
    assert "← failed: The user did not allow this call.\n" in ended.err
    [first, *_] = json.loads(ended.out)["tool_calls"]
    assert (first["is_error"], first["result"]) == (True, "The user did not allow this call.")


def test_the_servers_of_a_file_are_used(ask: Callable[..., Ended], tmp_path: Path) -> None:
    command, *arguments = shlex.split(SERVER)
    path = tmp_path / "servers.json"
    path.write_text(json.dumps({"mcpServers": {"tasks": {"command": command, "args": arguments}}}))
    assert ask("--allow-tools", WEATHER, server=str(path)).out == "It is 18C in Paris.\n"


@pytest.mark.parametrize(
    ("server", "told"),
    [("no-such-command", "no-such-command"), (shlex.join([sys.executable, "-c", "1/0"]), "division by zero"), ("x.json", "x.json")],
)
def test_a_server_that_cannot_be_used_is_told_before_the_model_is_loaded(ask: Callable[..., Ended], server: str, told: str) -> None:
    assert_told(ask("-m", "/no/such/model.gguf", WEATHER, server=server), 1, told)


def test_a_schema_and_tools_exclude_each_other(ask: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text("{}")
    ended = ask("--schema", str(tmp_path / "schema.json"), WEATHER)
    assert (ended.code, ended.out) == (2, "")
    assert "--schema and --mcp" in ended.err


@pytest.mark.parametrize("flags", [["--allow-tools"], ["--allow-tool", "add"]])
def test_tools_that_nobody_offers_are_wrong_usage(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["ask", "-m", "demo", *flags, WEATHER]) == 2
    assert " ".join(flags) in capsys.readouterr().err


@posix
@pytest.mark.slow
def test_the_user_is_asked_on_a_terminal(on_terminal: Callable[..., Terminal]) -> None:
    terminal = on_terminal(*PROGRAM, "ask", "-m", "demo", "--seed", "1", "--mcp", SERVER, "--max-tokens", "60", WEATHER)
    terminal.await_text("[a]lways this tool: ")
    assert f'{DIM}→ get_weather {{"city": "Paris"}}{PLAIN}\r\n'.encode() in terminal.shown
    terminal.type("what?\n")
    terminal.await_text("[a]lways this tool: ")
    terminal.type("\x04")
    terminal.await_text("← failed: The user did not allow")
    assert terminal.end() == 0


@posix
@pytest.mark.slow
def test_ctrl_c_at_the_question_is_130_and_ends_the_server(on_terminal: Callable[..., Terminal]) -> None:
    terminal = on_terminal(*PROGRAM, "ask", "-m", "demo", "--seed", "1", "--mcp", SERVER, WEATHER)
    terminal.await_text("[a]lways this tool: ")
    [server] = psutil.Process(terminal.child.pid).children()
    terminal.child.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert not server.is_running()
    assert terminal.shown.endswith(b"\r\n")
    assert b"Traceback" not in terminal.shown


# Permission


class Typing(io.StringIO):
    """A terminal on which somebody types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], io.StringIO]:
    """Puts text before a terminal; gives what the terminal shows."""

    def type_text(text: str) -> io.StringIO:
        monkeypatch.setattr(sys, "stdin", Typing(text))
        monkeypatch.setattr(sys, "stderr", Typing())
        monkeypatch.setattr("qwq_local.cli.tools._forget_typed", lambda: None)
        monkeypatch.setattr("qwq_local.cli.tools.typed_line", sys.stdin.readline)
        assert isinstance(sys.stderr, io.StringIO)
        return sys.stderr

    return type_text


@pytest.mark.parametrize(
    ("text", "is_allowed"), [("y\n", True), (" Yes \n", True), ("n\n", False), ("no\n", False), ("", False), ("maybe\n\ny\n", True)]
)
def test_an_answer_is_asked_for_until_it_is_one(typed: Callable[[str], io.StringIO], text: str, is_allowed: bool) -> None:
    shown = typed(text)
    assert Permission(ToolFlags(("x",)))(CALL) == is_allowed
    assert shown.getvalue().count("call it? [y]es / [n]o / [a]lways this tool: ") == max(text.count("\n"), 1)


@pytest.mark.parametrize(
    ("flags", "is_allowed"),
    [
        (ToolFlags(("x",), allows_all=True), True),
        (ToolFlags(("x",), ("get_weather",)), True),
        (ToolFlags(("x",), ("add", "get_*")), True),
        (ToolFlags(("x",), ("weather", "GET_*")), False),
    ],
)
def test_flags_allow_tools_by_their_names_and_patterns(typed: Callable[[str], io.StringIO], flags: ToolFlags, is_allowed: bool) -> None:
    shown = typed("")
    assert Permission(flags)(CALL) == is_allowed
    assert ("call it?" in shown.getvalue()) != is_allowed


def test_always_holds_for_that_tool_only(typed: Callable[[str], io.StringIO]) -> None:
    shown = typed("a\nn\n")
    permission = Permission(ToolFlags(("x",)))
    other = ToolCall("get_weathers", "{}")
    assert [permission(call) for call in (CALL, CALL, other)] == [True, True, False]
    assert shown.getvalue().count("call it?") == 2


def test_what_is_too_long_for_a_line_is_shown_whole_before_it_is_asked_about(typed: Callable[[str], io.StringIO]) -> None:
    shown = typed("n\n")
    Permission(ToolFlags(("x",)))(ToolCall("run", '{"command": "' + "echo " * 100 + '; rm -r ~"}'))
    assert "; rm -r ~" in shown.getvalue()


# Lines


@given(st.text(), st.text())
def test_no_control_character_of_a_tool_reaches_a_terminal(name: str, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        shown = Typing()
        patch.setattr(sys, "stderr", shown)
        printer = AgentPrinter(shows_thoughts=True)
        call = ToolCall(name, text)
        printer.show(ToolCalled(call))
        printer.show(ToolAnswered(call, ToolResult(text, is_error=True)))
    lines = shown.getvalue().replace(DIM, "").replace(PLAIN, "").split("\n")
    assert len(lines) == 3
    assert [c for line in lines for c in line if ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u202e\u2066\u200f"] == []


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("", 3, ""), ("中文字", 6, "中文字"), ("中文字", 5, "中…"), ("abc", 0, "…")],
)
def test_a_line_is_cut_to_the_columns_it_has(text: str, width: int, shown: str) -> None:
    assert cut(text, width) == shown


def test_a_line_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert one_line("a\n\n b\tc\x1b[2J\u202ed") == "a b c[2Jd"
    assert width_of(sys.stderr) == OTHER_WIDTH
    assert capsys.readouterr().err == ""


def test_calls_stand_on_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    printer = AgentPrinter(shows_thoughts=True)
    events: list[Any] = [Thinking("hm"), Answering("I look."), ToolCalled(CALL), RoundsSpent(20), Thinking("so"), Answering("18C")]
    for event in events:
        printer.show(event)
    printer.finish()
    out, err = capsys.readouterr()
    assert out == "I look.\n18C\n"
    assert err == 'hm\n\n→ get_weather {"city": "Paris"}\n[tools were called in 20 rounds: now the answer]\nso\n\n'
