"""`qwq chat` on a terminal that can move its cursor, as one who sits before it sees it."""

from __future__ import annotations

import re
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from qwq_local.cli.chatting.view import N_LAST_LINES
from qwq_local.history import History
from tests.panes import Pane, strange_bytes
from tests.programs import PROGRAM, SERVER, posix
from tests.waiting import wait_until

pytestmark = [posix, pytest.mark.slow]

READY: Final = r"(?m)^>(.*\n)+/help"
"""The line to type into, and the status of one that waits."""
QUESTION: Final = "What is 47 + 85?"


def varied(n_words: int) -> str:
    """A text that does not go round in circles."""
    return " ".join(f"word{number * number * 7919 % 10007}" for number in range(n_words))


@pytest.fixture
def pane(tmp_path: Path) -> Iterator[Callable[..., Pane]]:
    """Starts programs with data of their own, each on a terminal that is looked at."""
    made: list[Pane] = []

    def start(*command: str, columns: int = 80, rows: int = 50, **environment: str) -> Pane:
        made.append(Pane(*command, columns=columns, rows=rows, **{"QWQ_DATA": str(tmp_path), "TERM": "xterm-256color"} | environment))
        return made[-1]

    yield start
    for terminal in made:
        terminal.close()


@pytest.fixture
def chat(pane: Callable[..., Pane]) -> Callable[..., Pane]:
    """`qwq chat` with the demo model, which waits for a question."""

    def start(*arguments: str, **shape: object) -> Pane:
        terminal = pane(*PROGRAM, "chat", "-m", "demo", "--seed", "1", *arguments, **shape)
        terminal.await_text(READY)
        return terminal

    return start


@pytest.fixture
def scripted(pane: Callable[..., Pane], tmp_path: Path) -> Callable[..., Pane]:
    """`qwq chat` with a model that says what is given, at so many seconds a token."""

    def start(said: str, *arguments: str, token_seconds: float = 0.0, **shape: object) -> Pane:
        script = tmp_path / "said"
        script.write_text(said, "utf-8")
        terminal = pane(sys.executable, "-m", "tests.scripted_chat", f"{script}@{token_seconds}", "--seed", "1", *arguments, **shape)
        terminal.await_text(READY)
        return terminal

    return start


@pytest.fixture
def endless(scripted: Callable[..., Pane]) -> Callable[[], Pane]:
    """`qwq chat` with a model that thinks for longer than anyone waits."""
    return lambda: scripted(varied(2000) + "</think>Well.", token_seconds=0.01)


def kept(tmp_path: Path) -> History:
    return History.open(tmp_path / "chats.db")


def test_a_question_is_answered_and_the_thought_folded(chat: Callable[..., Pane]) -> None:
    terminal = chat()
    assert terminal.rows[0] == "demo. /help lists what can be typed, Ctrl-D ends."
    terminal.ask(QUESTION)
    terminal.await_text("47 \\+ 85 = 132")
    terminal.await_text(READY)
    assert re.search(r"> What is 47 \+ 85\?\n\nthought for \d+ s, \d+ tokens\n\n47 \+ 85 = 132\n", terminal.text)
    assert re.search(r"\ndemo · [\d,]+ of 512 tokens · [\d,.]+ tokens/s · native\n", terminal.text)
    terminal.ask("/new")
    terminal.await_text(r"\ndemo · 512 tokens · native\n")
    terminal.type("\x04")
    assert terminal.end() == 0
    assert "Ctrl-D ends" not in terminal.rows[-1]


def test_an_answer_is_stopped_and_what_it_said_stays(endless: Callable[[], Pane], tmp_path: Path) -> None:
    terminal = endless()
    for key in ("\x1b", "\x03"):
        terminal.ask(QUESTION)
        terminal.await_text(r"thinking \d+ s · \d+ tokens")
        terminal.type(key)
        terminal.await_text(r"\[stopped\]")
        terminal.await_gone("thinking")
        terminal.await_text(READY)
    assert len(re.findall(r"\[stopped\]", terminal.text)) == 2
    terminal.type("\x04")
    assert terminal.end() == 0
    with kept(tmp_path) as history:
        path = history.get(history.latest()[0].id).path()
    assert [message.state for message in path] == ["whole", "stopped"] * 2
    assert all(message.reasoning for message in path if message.role == "assistant")


def test_thoughts_are_unfolded_and_folded_by_a_key(scripted: Callable[..., Pane]) -> None:
    thought = "".join(f"Line {number} of the thought.\n" for number in range(40))
    terminal = scripted(f"{thought}</think>\n\nDone.", token_seconds=0.004)
    terminal.ask(QUESTION)
    terminal.await_text("Line 12 of")
    terminal.await_gone("Line 3 of")
    assert len(re.findall(r"Line \d+ ", terminal.text)) <= N_LAST_LINES
    terminal.type("\x14")
    terminal.await_text("Line 3 of")
    terminal.type("\x14")
    terminal.await_gone("Line")
    terminal.await_text("thinking")
    terminal.type("\x14")
    terminal.await_text("Line")
    terminal.type("\x14")
    terminal.await_text("Done.")
    terminal.await_text(READY)
    assert re.search(r"thought for \d+ s, [\d,]+ tokens\nLine 0 of(.*\n)*Line 39 of the thought.\n\nDone\.\n", terminal.text)
    terminal.ask("/thoughts")
    terminal.settle()
    assert terminal.text.count("Line 39 of") == 2


def test_a_thought_is_ended_by_a_key(endless: Callable[[], Pane]) -> None:
    terminal = endless()
    terminal.ask(QUESTION)
    terminal.await_text("thinking")
    terminal.type("\x0e")
    terminal.await_text(r"\[the answer was asked for\]")
    terminal.type("\x1b")
    terminal.await_text(READY)


def test_what_is_typed_while_it_answers_begins_the_next_question(scripted: Callable[..., Pane]) -> None:
    terminal = scripted("Hm.</think>" + varied(60), token_seconds=0.004)
    terminal.ask("a")
    terminal.await_text("word")
    terminal.type("what next?")
    terminal.await_text(r"(?m)^> what next\?\n.*tokens/s")
    terminal.await_text(r"(?m)^> what next\?\n.*\n/help")
    terminal.type("\r")
    terminal.await_text(r"> what next\?\n\nthought")
    terminal.type("and then?\r")
    terminal.await_text(r"> and then\?\n\nthought")
    terminal.await_text(READY)


def test_ctrl_d_in_mid_answer_ends_the_chat_after_it_unless_something_is_typed(scripted: Callable[..., Pane]) -> None:
    terminal = scripted("Hm.</think>" + varied(60) + "\n\nThe end.", token_seconds=0.003)
    terminal.ask("a")
    terminal.await_text("word")
    terminal.type("\x04")
    terminal.await_text("ends after this")
    terminal.type("b")
    terminal.await_gone("ends after this")
    terminal.await_text(r"(?m)^> b\n.*\n/help")
    terminal.type("\r")
    terminal.await_text(r"(?s)> b\n.*word")
    terminal.type("\x04")
    assert terminal.end() == 0
    assert terminal.text.count("The end.") == 2


def test_a_question_is_edited_and_answered_again(chat: Callable[..., Pane], tmp_path: Path) -> None:
    terminal = chat()
    terminal.ask(QUESTION)
    terminal.await_text("= 132")
    terminal.await_text(READY)
    terminal.ask("/retry")
    terminal.await_text("(?s)132.*132")
    terminal.await_text(READY)
    terminal.ask("/edit")
    terminal.await_text(r"> What is 47 \+ 85\?\n.*\n/help")
    terminal.type("\b" * 8 + "30 + 12?\r")
    terminal.await_text(r"30 \+ 12 = 42|42")
    terminal.await_text(READY)
    terminal.type("\x04")
    assert terminal.end() == 0
    with kept(tmp_path) as history:
        messages = history.get(history.latest()[0].id).messages
    questions = [message for message in messages.values() if message.role == "user"]
    assert [(message.content, message.parent_id) for message in questions] == [(QUESTION, None), ("What is 30 + 12?", None)]
    answers = [message.parent_id for message in messages.values() if message.role == "assistant"]
    assert answers == [questions[0].id, questions[0].id, questions[1].id]


def test_a_chat_is_gone_on_with(chat: Callable[..., Pane]) -> None:
    terminal = chat()
    terminal.ask(QUESTION)
    terminal.await_text("= 132")
    terminal.await_text(READY)
    terminal.type("\x04")
    assert terminal.end() == 0
    again = chat("--continue")
    again.await_text(r"What is 47 \+ 85\?: 2 messages\n> What is 47 \+ 85\?\n  .*132")
    again.ask("/new")
    again.await_text(READY)
    again.ask("/chats strawberry")
    again.await_text("There are no such chats.")
    again.ask("/chats")
    again.await_text(r"[0-9a-f]{8}  \d{4}-\d\d-\d\d \d\d:\d\d  What is 47(.*\n)+>.*\n.*\n/help")

    def is_back_at_the_question() -> bool:
        again.type("\x1b[A")  # earlier lines come a moment after the line is drawn; the question is the oldest of them
        again.settle(0.2)
        return re.search(r"(?m)^> What is 47 \+ 85\?\n.*\n/help", again.text) is not None

    wait_until(is_back_at_the_question)


def test_without_a_history_nothing_is_kept(chat: Callable[..., Pane], tmp_path: Path) -> None:
    terminal = chat("--no-history")
    terminal.ask(QUESTION)
    terminal.await_text("= 132")
    terminal.await_text(READY)
    terminal.type("\x04")
    assert terminal.end() == 0
    assert not (tmp_path / "chats.db").exists()


def test_a_file_of_chats_that_another_program_holds_is_waited_for(chat: Callable[..., Pane], tmp_path: Path) -> None:
    terminal = chat()
    terminal.ask(QUESTION)
    terminal.await_text("= 132")
    terminal.await_text(READY)
    with closing(sqlite3.connect(tmp_path / "chats.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        terminal.ask("Is it?")
        terminal.await_text(r"waiting … [1-9] s")
        other.execute("ROLLBACK")
    terminal.await_text(r"(?s)> Is it\?.*thought for.*/help")
    terminal.type("\x04")
    assert terminal.end() == 0
    with kept(tmp_path) as history:
        assert len(history.get(history.latest()[0].id).messages) == 4


def test_a_tool_is_allowed_by_a_key(chat: Callable[..., Pane]) -> None:
    terminal = chat("--mcp", SERVER)
    terminal.ask("What is the weather in Paris?")
    terminal.await_text(r"→ get_weather \{\"city\": \"Paris\"\}")
    terminal.await_text(r"call it\? \[y\]es")
    terminal.type("a")
    terminal.await_text("It is 18C in Paris")
    terminal.await_text(READY)
    terminal.ask("/new")
    terminal.await_text(READY)
    terminal.ask("What is the weather in Paris?")
    terminal.await_text("(?s)It is 18C.*It is 18C")
    assert terminal.shown.count(b"call it?") == 1


def test_a_terminal_that_is_closed_ends_the_program_and_the_answer_is_kept(endless: Callable[[], Pane], tmp_path: Path) -> None:
    terminal = endless()
    terminal.ask(QUESTION)
    terminal.await_text("thinking")
    terminal.settle(0.05)
    time.sleep(0.2)
    terminal.child.send_signal(signal.SIGHUP)
    assert terminal.end() == 128 + signal.SIGHUP
    with kept(tmp_path) as history:
        [_, answer] = history.get(history.latest()[0].id).path()
    assert answer.state == "stopped"
    assert answer.reasoning


def test_a_window_that_goes_away_ends_it_too(endless: Callable[[], Pane], tmp_path: Path) -> None:
    terminal = endless()
    terminal.ask(QUESTION)
    terminal.await_text("thinking")
    terminal.hang_up()
    assert terminal.child.wait(30) != 0
    with kept(tmp_path) as history:
        assert history.get(history.latest()[0].id).path()[-1].state == "stopped"


def test_an_enormous_paste_is_shown_short_and_sent_whole(scripted: Callable[..., Pane]) -> None:
    terminal = scripted("Hm.</think>Thanks.")
    text = "".join(f"line {number}\n" for number in range(100_000))
    terminal.type(f"Read this: \x1b[200~{text}\x1b[201~")
    terminal.await_text(r"> Read this: \[pasted 100,001 lines\]")
    terminal.type("\r")
    terminal.await_text("error: The prompt is 1,")
    terminal.await_text(READY)
    terminal.type("\x04")
    assert terminal.end() == 0


RICH: Final = """I think.</think>
# A title

Some *text* with `code`, \\(x^2\\) and [a link](http://a.b/c), long enough to be wrapped by terminals of eighty columns or less.

- 漢字 and 🎉
  1. two

```python
def f(x):
    return x + 1
```

| a | b |
|---|---|
| 1 | 2 |

> quoted

So it is \\boxed{132}.
"""


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_answers_are_laid_out_at_any_width(scripted: Callable[..., Pane], columns: int) -> None:
    terminal = scripted(RICH, columns=columns, rows=80)
    terminal.ask("a")
    terminal.await_text(r"132")
    terminal.await_text(r"(?m)^/help")
    shown = terminal.text
    for part in ("A title", "code", "x²", " • 漢字 and 🎉" if columns > 20 else " • 漢字", "return x + 1", "▌ quoted", "(http://a.b/c)"):
        assert part in shown.replace("漢 字 ", "漢字").replace("🎉 ", "🎉"), part
    assert "boxed" not in shown
    assert "**" not in shown


def test_colours_can_be_forbidden(scripted: Callable[..., Pane]) -> None:
    terminal = scripted(RICH, NO_COLOR="1")
    terminal.ask("a")
    terminal.await_text(r"132")
    terminal.await_text(READY)
    assert "return x + 1" in terminal.text
    styles = {number for found in re.findall(rb"\x1b\[([0-9;]*)m", terminal.shown) for number in found.split(b";")}
    assert styles <= {b"", b"0", b"1", b"2", b"3", b"4", b"7", b"9"}


def test_a_terminal_may_change_its_size_in_mid_answer(scripted: Callable[..., Pane]) -> None:
    terminal = scripted("Hm.</think>" + varied(80) + "\n\nThe end.", token_seconds=0.004)
    terminal.ask("a")
    terminal.await_text("word")
    for columns, rows in ((40, 20), (10, 5), (120, 40)):
        terminal.resize(columns, rows)
        terminal.settle(0.05)
        time.sleep(0.2)
    terminal.await_text("The end.")
    terminal.await_text(READY)


@pytest.mark.parametrize("told", [True, False], ids=["told of it", "told too late"])
def test_a_terminal_that_wraps_its_lines_when_it_gets_narrower_keeps_nothing_of_what_changed(
    endless: Callable[[], Pane], told: bool
) -> None:
    terminal = endless()
    terminal.ask(QUESTION)
    terminal.await_text(r"thinking \d+ s · \d{3} tokens(\n.*){3}\n>")
    for columns in (50, 25, 110):
        terminal.resize(columns, 50, wraps=True, told=told)
        for _ in range(3):  # until it was surely drawn in the new width
            shown = re.findall(r"· \d+ tokens", terminal.text)
            while re.findall(r"· \d+ tokens", terminal.text) == shown:
                terminal.settle(0.05)
    assert len(re.findall("thinking", terminal.text)) == len(re.findall("Esc stop", terminal.text)) == 1
    assert "demo. /help lists" in terminal.text


HOSTILE: Final = [
    "\x1b[2J\x1b[H\x1b[31mred",
    "\x1b]0;title\x07",
    "\x1b]8;;http://evil\x1b\\text\x1b]8;;\x1b\\",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x9b31mred",
    "\x9d0;title\x9c",
    "\x90q#0\x9c",
    "\x1bP+q544e\x1b\\",
    "\x1b_Gf=24;AAAA\x1b\\",
    "\x1b[6n",
    "\x1bc",
    "\x1b[?1049h",
    "\u202egnp.exe",
    "\u2066hidden\u2069",
    "\x07\x07\x07",
    "password\b\b\b\b\b\b\b\bxxxxxxxx",
    "over\rwritten",
    "\x1b(0lqqk",
    "\x00\x05\x0e\x0f",
    "&#27;[2J&#x9b;31m&#8238;&#7;",
]


def hostile_answer() -> str:
    """Each of them in the thought, in text, a heading, a list, a table, a link, a code block with its language, a quote, and a formula."""
    parts = []
    for bad in HOSTILE:
        inline = bad.replace("\r", " ")
        parts.append(
            f"Text {bad} here.\n\n# Heading {inline}\n\n- item {inline}\n\n| a | {inline} |\n|---|---|\n| {inline} | b |\n\n"
            f"[{inline}](http://x/{inline.replace(' ', '')})\n\n```{inline.replace('`', '')}\ncode {bad}\n```\n\n> {inline}\n\n"
            f"`{inline}` <b title='{inline}'> \\({inline}\\)\n\n"
        )
    return "\n".join(HOSTILE) + "</think>" + "".join(parts) + "\n\nThe end."


def test_nothing_that_a_model_writes_controls_the_terminal(scripted: Callable[..., Pane]) -> None:
    terminal = scripted(hostile_answer())
    terminal.type("\x14")
    terminal.ask("a")
    terminal.await_text("The end.")
    terminal.await_text(READY)
    terminal.ask("/thoughts")
    terminal.settle()
    terminal.ask("/save /nowhere/\x1b[2J.md")
    terminal.settle()
    rest = strange_bytes(terminal.shown).decode()
    assert {letter for letter in rest if ord(letter) < 32 or 127 <= ord(letter) < 160} <= set("\r\n\b")
    assert not set(rest) & set("\u202e\u2066\u2069")
    sequences = {found[-1:] for found in re.findall(rb"\x1b\[[?>]?[0-9;]*[A-Za-z]", terminal.shown)}
    assert sequences <= {b"m", b"h", b"l", b"J", b"K", b"A", b"B", b"C", b"D"}
    assert b"\x1b[2J" not in terminal.shown
    assert b"\x1b[?1049" not in terminal.shown
