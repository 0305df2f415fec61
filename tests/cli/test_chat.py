"""`qwq chat`, through a pipe and on a terminal."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import pytest

from qwq_local.agent import AgentEvent, NoTools
from qwq_local.answering import Gathered
from qwq_local.cli import _run
from qwq_local.cli.chatting.commands import hear
from qwq_local.cli.chatting.face import Face
from qwq_local.cli.chatting.session import Session
from qwq_local.cli.chatting.talk import Talk
from qwq_local.engine import Answering, Finished, Timings, Usage
from qwq_local.errors import ContextLengthError
from qwq_local.history import History
from qwq_local.models.inventory import demo_model
from qwq_local.prompt import Message
from qwq_local.runtime import ToolCall
from tests.programs import PROGRAM, SERVER, Ended, Qwq, posix
from tests.terminals import Terminal

if TYPE_CHECKING:
    from qwq_local.cli.chatting.duty import Duty


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


def test_another_model_does_without_the_draft_of_the_one_before(chat: Callable[..., Ended], nano_draft: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(demo_model().path.read_bytes())
    ended = chat(f"/ctx 400\n/model {other}\n/model {nano_draft}\nWhat is 47 + 85?", "--draft-model", str(nano_draft))
    assert (ended.code, r"\boxed{132}" in ended.out) == (0, True)
    assert ended.err.count(f"The draft model {nano_draft} was for the model before, and is not used any more.") == 1


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


# The talk


class Script(Face):
    """A face that nobody looks at, and what it was told."""

    def __init__(self, *, is_watched: bool = True) -> None:
        self._is_watched = is_watched
        self.told: list[str] = []
        self.prefilled = ""

    @property
    def is_watched(self) -> bool:
        return self._is_watched

    def tell(self, text: str) -> None:
        self.told.append(text)

    def tell_error(self, error: str, hint: str) -> None:
        self.told.append(f"error: {error} {hint}")

    def show(self, event: AgentEvent) -> None:
        pass

    def answering(self) -> AbstractContextManager[object]:
        return nullcontext()

    def allows(self, call: ToolCall) -> bool:
        raise AssertionError(call)

    def confirms(self, question: str) -> bool:
        self.told.append(question)
        return False

    def prefill(self, text: str) -> None:
        self.prefilled = text

    def tell_progress(self, share: float) -> None:
        pass


class ScriptedDuty:
    """A model whose answers are made up, and what each of them was asked with. "…" before an error is said before it."""

    name, n_ctx = "made-up", 512

    def __init__(self, *answers: str | BaseException) -> None:
        self._answers = list(answers)
        self.asked: list[list[str]] = []

    def stream(self, messages: Sequence[Message], **_: Any) -> Any:
        self.asked.append([message["content"] for message in messages])
        return ScriptedAnswer(self._answers.pop(0))


class ScriptedAnswer:
    def __init__(self, answer: str | BaseException) -> None:
        self._answer = answer
        self.gathered = Gathered()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[AgentEvent]:
        event = Answering(self._answer if isinstance(self._answer, str) else "so f")
        self.gathered.add(event)
        yield event
        if isinstance(self._answer, BaseException):
            raise self._answer
        yield Finished("stop", Usage(1, 1, 0), Timings(0, 0, 0), "native", 1)


@pytest.fixture
def history() -> Iterator[History]:
    with History.open(None) as found:
        yield found


def talk_with(
    history: History, *answers: str | BaseException, system: str = "", is_watched: bool = True
) -> tuple[Talk, ScriptedDuty, Script]:
    """A talk with a model whose answers are made up."""
    duty, face = ScriptedDuty(*answers), Script(is_watched=is_watched)
    return Talk(Session(history, system=system, options={}), cast("Duty", duty), NoTools(), face), duty, face


def contents(talk: Talk) -> list[str]:
    return [message.content for message in talk.session.path()]


def test_the_history_grows_until_it_is_begun_again(history: History) -> None:
    talk, duty, _ = talk_with(history, "A", "B", "C", system="S")
    for line in ("a", "b", "/new", "c"):
        hear(talk, line)
    assert duty.asked == [["S", "a"], ["S", "a", "A", "b"], ["S", "c"]]
    assert contents(talk) == ["c", "C"]
    assert [summary.n_messages for summary in history.latest()] == [2, 4]


def test_what_was_said_before_an_interrupt_stays(history: History) -> None:
    talk, _, face = talk_with(history, KeyboardInterrupt(), "B")
    hear(talk, "a")
    assert face.told == ["[stopped]"]
    hear(talk, "b")
    assert contents(talk) == ["a", "so f", "b", "B"]
    assert [message.state for message in talk.session.path()] == ["whole", "stopped", "whole", "whole"]


def test_an_error_takes_its_turn_back_and_it_can_be_asked_again(history: History) -> None:
    talk, duty, face = talk_with(history, "A", ContextLengthError(900, 512, 2048), "C", "B")
    for line in ("a", "b", "c"):
        hear(talk, line)
    assert face.told[0].startswith("error: The prompt is 900 tokens long")
    assert contents(talk) == ["a", "A", "c", "C"]
    hear(talk, "/edit b")
    assert duty.asked[-1] == ["a", "A", "b"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ContextLengthError(900, 512)])
def test_where_nobody_watches_errors_are_raised(history: History, error: BaseException) -> None:
    talk, _, _ = talk_with(history, error, is_watched=False)
    with pytest.raises(type(error)):
        hear(talk, "a")


@pytest.mark.parametrize("line", ["/etc/passwd holds what?", "/new or old?", "a /new", "//", "/set\ntemperature"])
def test_a_line_that_only_looks_like_a_command_is_said(history: History, line: str) -> None:
    talk, duty, _ = talk_with(history, "A")
    hear(talk, line)
    assert duty.asked == [[line]]


def test_an_answer_and_a_question_may_have_siblings(history: History) -> None:
    talk, duty, face = talk_with(history, "A", "B", "C")
    for line in ("a", "/retry", "/edit"):
        hear(talk, line)
    assert face.prefilled == "a"
    hear(talk, "b")
    assert duty.asked == [["a"], ["a"], ["b"]]
    chat = history.latest()[0]
    messages = history.get(chat.id).messages.values()
    assert [message.content for message in messages if message.parent_id is None] == ["a", "b"]
    assert contents(talk) == ["b", "C"]


def test_what_cannot_be_done_is_told_with_what_can(history: History, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"gr\xfcn")
    (tmp_path / "there.md").write_text("kept")
    talk, _, face = talk_with(history, "A")
    hear(talk, "/retry")
    hear(talk, "a")
    for line, told in {
        "/set": "To change one",
        "/set heat 1": "nothing called 'heat'",
        "/set temperature": "What should temperature be?",
        "/set temperature hot": "must be a number",
        "/set temperature 9": "between 0 and 5",
        "/set top_k 2.5": "must be a whole number",
        "/set hesitation-penalty -1": "hesitation_penalty is -1.0, but must lie between 0 and 100",
        "/think much": "must be a whole number",
        "/ctx many": "must be a whole number",
        "/file": "Which file?",
        f"/file {tmp_path / 'latin'}": "not UTF-8 text (byte 2)",
        f"/file {tmp_path / 'none'}": "cannot be read: No such file",
        "/open": "Which chat?",
        "/open zzz": "zzz",
        "/save": "Which file?",
        "/save chat.pdf": "not written as .pdf",
        f"/save {tmp_path / 'there.md'}": "Write over it?",
        f"/save {tmp_path / 'none' / 'chat.md'}": "cannot be written: No such file",
        "/tools": "There are no tools",
    }.items():
        face.told.clear()
        hear(talk, line)
        assert told in face.told[0], line
    assert (tmp_path / "there.md").read_text() == "kept"
    assert talk.session.options == {}


def test_options_are_kept_in_the_chat(history: History) -> None:
    talk, _, face = talk_with(history, "A", "B")
    for line in ("a", "/set temperature 0.8", "/set top-k 20", "/think 500", "/system Be brief."):
        hear(talk, line)
    chat = history.get(history.latest()[0].id)
    assert (chat.options, chat.system) == ({"temperature": 0.8, "top_k": 20, "think_tokens": 500}, "Be brief.")
    for line in ("/set top_k default", "/think off"):
        hear(talk, line)
    assert talk.session.options == {"temperature": 0.8, "thinks": False}
    assert face.told[-1] == "It answers without thinking."


def test_a_file_goes_with_the_next_question_only(history: History, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Some notes.")
    talk, duty, face = talk_with(history, "A", "B")
    hear(talk, f"/file {tmp_path / 'notes.txt'}")
    assert "11 characters go with the next question" in face.told[0]
    for line in ("a", "b"):
        hear(talk, line)
    assert duty.asked == [["a\n\nSome notes."], ["a\n\nSome notes.", "A", "b"]]


@pytest.mark.parametrize("suffix", ["md", "json"])
def test_a_chat_is_saved(history: History, tmp_path: Path, suffix: str) -> None:
    talk, _, _ = talk_with(history, "An answer.")
    hear(talk, "A question?")
    hear(talk, f"/save {tmp_path}/chat.{suffix}")
    text = (tmp_path / f"chat.{suffix}").read_text("utf-8")
    assert "A question?" in text
    assert "An answer." in text


# On a terminal


@pytest.fixture
def talk(on_terminal: Callable[..., Terminal]) -> Callable[..., Terminal]:
    """`qwq chat` on a terminal, which waits for the first line."""

    def start(*arguments: str) -> Terminal:
        terminal = on_terminal(*PROGRAM, "chat", *arguments, TERM="dumb")
        terminal.await_text("> ")
        return terminal

    return start


@posix
@pytest.mark.slow
def test_a_conversation_on_a_terminal(talk: Callable[..., Terminal]) -> None:
    terminal = talk("-m", "demo", "--seed", "1")
    assert b"demo. /help lists what can be typed, Ctrl-D ends.\r\n" in terminal.shown
    terminal.type("What is 47 + 85?\n")
    terminal.await_text("carry")
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
    on_terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    script = tmp_path / "said"
    script.write_text(" ".join(f"word{number}" for number in range(2000)))
    terminal = on_terminal(sys.executable, "-m", "tests.scripted_chat", f"{script}@0.01", "--seed", "1", TERM="dumb")
    terminal.await_text("> ")
    for _ in range(2):
        terminal.type("What is 47 + 85?\n")
        terminal.await_text("word0 word1")
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


def test_a_full_disk_keeps_nobody_from_asking(tmp_path: Path) -> None:
    with History.open(tmp_path / "chats.db") as history, closing(Session(history, system="", options={})) as session:
        assert session.ask("first", None) == ""
        (n_pages,) = history._connection.execute("PRAGMA page_count").fetchone()
        history._connection.execute(f"PRAGMA max_page_count = {n_pages}")  # as a disk that is full
        problem = session.ask("x" * 100_000, session.leaf_id)
        assert "full" in problem
        assert "not kept" in problem
        assert [message["content"] for message in session.messages()] == ["first", "x" * 100_000]
