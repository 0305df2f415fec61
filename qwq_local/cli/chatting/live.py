"""A chat on a terminal that can move its cursor.

What is finished is printed once and stays in the scrollback; below it are the part that still changes, the line to type into, and a status.

One application of prompt_toolkit runs all the time, so that no key is lost; what a line asks for is done in a thread beside it.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.renderer import print_formatted_text

from qwq_local.agent import AgentEvent
from qwq_local.cli.chatting.about_chats import look_back
from qwq_local.cli.chatting.commands import hear
from qwq_local.cli.chatting.fragments import DIM, Line, one_line, wrapped
from qwq_local.cli.chatting.keys import bindings
from qwq_local.cli.chatting.pastes import Pastes
from qwq_local.cli.chatting.posting import Began, Ended, Item, Loading, PostingFace, Prefilled, Question, Told
from qwq_local.cli.chatting.screen import STYLE, Screen, echo
from qwq_local.cli.chatting.status import IDLE_KEYS, KEYS, fitting
from qwq_local.cli.chatting.talk import Talk
from qwq_local.cli.chatting.view import FOLDINGS, AnswerView, Folding, written_per_second
from qwq_local.cli.terminal import duration
from qwq_local.engine import Finished

POLL_SECONDS: Final = 0.06
"""How often what has come is shown; less often where showing it takes long."""
QUIET_SECONDS: Final = 1.0
"""Before it is told that what is done takes its time."""
_ENDING_SIGNALS: Final = tuple(found for name in ("SIGHUP", "SIGTERM") if (found := getattr(signal, name, None)))


class LiveChat:
    """The terminal's side of a talk, whose face is a PostingFace."""

    def __init__(self, talk: Talk, face: PostingFace, *, shows_thoughts: bool) -> None:
        self._talk, self._face = talk, face
        talk.toolbox = face.stoppable(talk.toolbox)
        self._folding: Folding = FOLDINGS[0] if shows_thoughts else FOLDINGS[-1]
        self._pastes = Pastes()
        self._job: threading.Thread | None = None
        self._began_at = 0.0
        self._failure: BaseException | None = None
        self._view: AnswerView | None = None
        self._question: Question | None = None
        self._loading: float | None = None
        self._last: tuple[str, str, Finished] | None = None  # of which chat, by which model
        self._sends_next = self._ends_next = False
        self._ended_by: int | None = None
        self._screen = Screen(self._changing, self._status, bindings(self), talk.session.history)

    def run(self) -> None:
        """Talk until the user ends it. Raises SystemExit where a signal does."""
        self._do(self._greet)
        try:
            self._screen.application.run(pre_run=self._watch_signals)
        except EOFError:  # the terminal is gone
            self._ended_by = self._ended_by or _ENDING_SIGNALS[0]
        except OSError:
            if self._ended_by is None:
                raise
        finally:
            self._leave()
        if self._failure:
            raise self._failure
        if self._ended_by is not None:
            sys.exit(128 + self._ended_by)

    # What keys do

    @property
    def is_busy(self) -> bool:
        """Whether something is being done."""
        return self._job is not None

    @property
    def is_asking(self) -> bool:
        """Whether a key is awaited that answers a question."""
        return self._question is not None

    @property
    def _is_ending(self) -> bool:
        return self._ends_next and not self._screen.buffer.text

    def send(self) -> None:
        """Say what was typed, or do it; once what is being done is over."""
        buffer = self._screen.buffer
        typed = buffer.text
        self._sends_next = self.is_busy
        if self.is_busy:
            return
        if not typed.strip():
            return
        buffer.append_to_history()
        buffer.reset()
        self._print([*echo(typed, self._screen.width), []])
        line = self._pastes.whole(typed)
        self._do(lambda: hear(self._talk, line))

    def stop(self) -> None:
        """End what is being done."""
        self._face.stop()
        self._talk.duty.stop()
        self._question = None
        self._sends_next = False

    def answer_now(self) -> None:
        """Let the model stop thinking."""
        self._talk.duty.answer_now()

    def fold(self) -> None:
        """Show more of the thought, or less."""
        self._folding = FOLDINGS[(FOLDINGS.index(self._folding) + 1) % len(FOLDINGS)]
        if self._view:
            self._view.folding = self._folding

    def clear(self) -> None:
        """Give up what was typed."""
        if not self._screen.buffer.text:
            self._print([one_line("[Ctrl-D or /exit ends]", self._screen.width, DIM)])
        self._screen.buffer.reset()
        self._talk.edits = False

    def end(self) -> None:
        """End the conversation, once what is being done is over and unless something is typed meanwhile."""
        self._ends_next = self.is_busy
        if not self.is_busy:
            self._screen.application.exit()

    def decide(self, letter: str) -> None:
        """The answer to a question; other keys are none."""
        question = self._question
        if question and letter and letter in question.letters:
            self._question = None
            question.answer.set_result(letter)

    def paste(self, text: str) -> None:
        """Into the line; a long one as a placeholder."""
        self._screen.buffer.insert_text(self._pastes.shown(text))

    # What is done beside

    def _greet(self) -> None:
        self._face.tell(f"{self._talk.duty.name}. /help lists what can be typed, Ctrl-D ends.")
        if self._talk.session.chat_id:
            look_back(self._talk)

    def _do(self, work: Callable[[], None]) -> None:
        self._face.begin()
        self._talk.duty.begin()
        self._began_at = time.perf_counter()
        self._job = threading.Thread(target=self._work, args=(work,), name="qwq-talk")
        self._job.start()
        if self._screen.application.is_running:
            self._screen.application.create_background_task(self._follow(self._job))

    def _work(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised in the main thread
            self._failure = error

    async def _follow(self, job: threading.Thread) -> None:
        """Show what comes, until the work is done."""
        while job.is_alive():
            took = self._show()
            await asyncio.sleep(max(POLL_SECONDS, 4 * took))
        self._show()
        self._job = self._view = self._loading = self._question = None
        if self._talk.is_over or self._failure or self._is_ending:
            self._screen.application.exit()
        elif self._sends_next:
            self.send()

    def _leave(self) -> None:
        """Nothing goes on behind the terminal's back."""
        if self._job:
            self.stop()
            self._job.join()

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in _ENDING_SIGNALS:
            with suppress(NotImplementedError):  # Windows has none
                loop.add_signal_handler(number, self._end_by, number)
        if self._job:
            self._screen.application.create_background_task(self._follow(self._job))

    def _end_by(self, number: int) -> None:
        self._ended_by = number
        with suppress(Exception):
            self._screen.application.exit()

    # What is shown

    def _show(self) -> float:
        """All that has come; the seconds that it took."""
        began_at = time.perf_counter()
        width = self._screen.width
        lines: list[Line] = []
        for item in self._face.take():
            lines += self._lines(item, began_at, width)
        if self._view:
            lines += self._view.take_printable(width)
        if lines:
            self._print(lines)
        self._changing(width, self._screen.rows)  # kept for the screen, which draws it later: its time counts
        self._screen.application.invalidate()
        return time.perf_counter() - began_at

    def _lines(self, item: Item, now: float, width: int) -> list[Line]:
        """What an item puts into the scrollback at once."""
        match item:
            case Told(text):
                self._loading = None
                return [*wrapped(text, width, DIM), []]
            case Began():
                self._view = AnswerView(now, self._folding)
            case Ended():
                return self._close_view(now, width)
            case Prefilled(text):
                self._prefill(text)
            case Loading(share):
                self._loading = share
            case Question(text):
                self._question = item
                told = self._view.take_printable(width) if self._view else []
                return [*told, *(wrapped(text, width, DIM) if len(text) > width else [])]  # what was told of it before was cut
            case _:
                self._take_event(item, now, width)
        return []

    def _take_event(self, event: AgentEvent, now: float, width: int) -> None:
        if isinstance(event, Finished):
            self._last = (self._talk.session.chat_id, self._talk.duty.name, event)
        if self._view:
            self._view.add(event, now, width)

    def _close_view(self, now: float, width: int) -> list[Line]:
        if not self._view:
            return []
        self._view.close(now, width)
        lines = self._view.take_printable(width)
        self._view = None
        return lines

    def _prefill(self, text: str) -> None:
        buffer = self._screen.buffer
        begun = self._pastes.shown(text) + buffer.text
        buffer.set_document(Document(begun))

    def _print(self, lines: Sequence[Line]) -> None:
        """Into the scrollback. The terminal stays in raw mode: keys that are pressed meanwhile would be echoed, and Ctrl-D be lost."""
        text: StyleAndTextTuples = [fragment for line in lines for fragment in (*line, ("", "\n"))]
        application = self._screen.application
        application.renderer.erase()
        print_formatted_text(self._screen.output, text, STYLE, color_depth=application.color_depth)
        application.invalidate()

    def _changing(self, width: int, height: int) -> list[Line]:
        if self._question:
            return [one_line(self._question.asks, width, "bold")]
        if self._loading is not None:
            return [one_line(f"loading {self._loading:4.0%}", width, DIM)]
        now = time.perf_counter()
        if self._view:
            return self._view.changing(now, width, height)
        waited = now - self._began_at if self.is_busy else 0.0
        return [one_line(f"waiting … {duration(waited)}", width, DIM)] if waited > QUIET_SECONDS else []

    def _status(self, width: int) -> list[Line]:
        view, now = self._view, time.perf_counter()
        busy_keys = (KEYS[0], "ends after this", *KEYS[1:]) if self._is_ending else KEYS
        if view and view.end is None:
            rope = "yarn" if view.is_rope_switched else self._talk.duty.rope
            used = self._talk.duty.prompt_tokens + view.n_tokens if view.n_tokens else 0
            return [self._state(used, rope, view.tokens_per_second, duration(view.seconds(now)), width), fitting(busy_keys, width)]
        keys = fitting(busy_keys[:1] if self.is_busy else IDLE_KEYS, width)
        if self._last and self._last[:2] == (self._talk.session.chat_id, self._talk.duty.name):
            end = self._last[2]
            return [self._state(end.usage.total_tokens, end.rope, written_per_second(end), "", width), keys]
        return [self._state(0, self._talk.duty.rope, 0.0, "", width), keys]

    def _state(self, n_used: int, rope: str, rate: float, clock: str, width: int) -> Line:
        duty = self._talk.duty
        room = f"{n_used:,} of {duty.n_ctx:,} tokens" if n_used else f"{duty.n_ctx:,} tokens"
        speed = f"{rate:,.{0 if rate >= 100 else 1}f} tokens/s" if rate else ""
        return fitting([part for part in (duty.name, room, speed, rope, clock) if part], width)
