"""Where answers go: streams that are closed, full or narrow, and what a terminal shows."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.cli import main
from qwq_local.cli.terminal import DIM, PLAIN, AnswerPrinter, LoadingBar, has_colour
from qwq_local.engine import Answering, Thinking
from tests.programs import PROGRAM, WAIT_SECONDS, assert_told, posix, program

QUESTION = "What is 47 + 85?"


@posix
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_closed_stdout_is_told(more: list[str]) -> None:
    assert_told(program("ask", "-m", "demo", *more, QUESTION, redirect=">&-"), 1, "Standard output is closed")


@posix
def test_closed_stderr_costs_nothing_but_the_thoughts() -> None:
    ended = program("ask", "-m", "demo", "--seed", "1", "--temperature", "0", QUESTION, redirect="2>&-")
    assert ended.code == 0
    assert r"\boxed{132}" in ended.out
    assert "warning" not in ended.out
    assert ended.out.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_full_disk_under_stdout_is_told(more: list[str]) -> None:
    ended = program("ask", "-m", "demo", "--seed", "1", "--no-thoughts", *more, QUESTION, redirect=">/dev/full")
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert "No space left" in ended.err


@posix
@pytest.mark.slow
def test_a_reader_that_leaves_early_ends_a_long_answer_quietly(endless_model: Path) -> None:
    arguments = ["ask", "-m", str(endless_model), "--ctx", "32000", "--max-tokens", "31000", "--no-thoughts", "--seed", "1", QUESTION]
    with subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            assert child.stdout.read(1), child.stderr.read()
            child.stdout.close()
            assert child.wait(WAIT_SECONDS) == 1
            assert child.stderr.read() == b""
        finally:
            child.kill()


@pytest.mark.parametrize(
    "arguments", [["ask", "-m", "demo", "--seed", "1", QUESTION], ["ask", "-m", "demo", "--seed", "1", "--json", QUESTION]]
)
def test_a_stdout_without_the_letter_shows_something_else_for_it(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    monkeypatch.setattr(sys, "argv", ["qwq", *arguments])
    monkeypatch.setattr("qwq_local.llama._vocabulary.LlamaVocabulary._piece", lambda self, token: "é".encode())  # noqa: ARG005
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    narrow.flush()
    assert isinstance(narrow.buffer, io.BytesIO)
    assert narrow.buffer.getvalue()


class Screen(io.StringIO):
    """A terminal that shows what it got."""

    def isatty(self) -> bool:
        return True


def screens(monkeypatch: pytest.MonkeyPatch) -> tuple[Screen, Screen]:
    """Terminals for stdout and stderr."""
    out, err = Screen(), Screen()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    return out, err


EVENTS = st.lists(st.builds(Thinking, st.text(min_size=1)) | st.builds(Answering, st.text(min_size=1)))


@given(EVENTS)
def test_no_control_character_of_a_model_reaches_a_terminal(events: list[Thinking | Answering]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        out, err = screens(patch)
        printer = AnswerPrinter(shows_thoughts=True)
        for event in events:
            printer.show(event)
        printer.finish()
    assert err.getvalue().count(DIM) == err.getvalue().count(PLAIN)
    shown = out.getvalue() + err.getvalue().replace(DIM, "").replace(PLAIN, "")
    assert [c for c in shown if (ord(c) < 32 or 127 <= ord(c) < 160) and c not in "\n\t"] == []


def test_a_thought_that_follows_an_answer_begins_on_its_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = screens(monkeypatch)
    printer = AnswerPrinter(shows_thoughts=True)
    for event in (Answering("a"), Thinking("b"), Answering("c")):
        printer.show(event)
    printer.finish()
    assert out.getvalue() == "a\nc\n"


def test_a_pipe_gets_the_answer_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    printer = AnswerPrinter(shows_thoughts=True)
    printer.show(Answering("a\x1b[31m\r"))
    printer.finish()
    assert pipe.getvalue() == "a\x1b[31m\r\n"


def test_thoughts_are_dimmed_and_set_off_from_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = screens(monkeypatch)
    printer = AnswerPrinter(shows_thoughts=True)
    for event in (Thinking("a"), Thinking("b"), Answering("c"), Answering("d")):
        printer.show(event)
    printer.finish()
    assert err.getvalue() == f"{DIM}a{PLAIN}{DIM}b{PLAIN}\n\n"
    assert out.getvalue() == "cd\n"


@pytest.mark.parametrize(("variable", "value", "is_colourful"), [("NO_COLOR", "1", False), ("NO_COLOR", "", True), ("TERM", "dumb", False)])
def test_colour_is_left_out_where_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, is_colourful: bool) -> None:
    monkeypatch.setenv(variable, value)
    assert has_colour(Screen()) == is_colourful
    assert not has_colour(io.StringIO())


def test_the_loading_bar_is_for_long_loads_and_takes_itself_away(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = screens(monkeypatch)
    bar = LoadingBar(0.0)
    bar.update(0.1, 0.4)
    bar.clear()
    assert err.getvalue() == ""
    bar.update(0.5, 1.0)
    bar.clear()
    assert err.getvalue() == "\rloading  50%\r\x1b[K"
    assert out.getvalue() == ""
