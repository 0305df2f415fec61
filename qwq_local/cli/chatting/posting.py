"""The terminal as a thread beside it sees it: what is to be shown is posted, and whoever draws takes it from there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Final

from qwq_local.agent import AgentEvent, Toolbox, ToolResult
from qwq_local.asking import Tools
from qwq_local.cli.chatting.face import StoppedError
from qwq_local.cli.options import ToolFlags
from qwq_local.cli.tools import MAY_CALL, Permission, told_call
from qwq_local.runtime import ToolCall

STOP: Final = "stop"


@dataclass(frozen=True)
class Told:
    """Lines beside the answers."""

    text: str


@dataclass(frozen=True)
class Began:
    """An answer is asked for."""


@dataclass(frozen=True)
class Ended:
    """It is over, whole or not."""


@dataclass(frozen=True)
class Prefilled:
    """A text to begin the next question with."""

    text: str


@dataclass(frozen=True)
class Loading:
    """The share of a model that is loaded."""

    share: float


@dataclass(frozen=True)
class Question:
    """Something that one of `letters` answers; the answer may also be STOP."""

    text: str
    asks: str
    letters: str
    answer: Future[str] = field(default_factory=Future)


Item = AgentEvent | Told | Began | Ended | Prefilled | Loading | Question


class PostingFace:
    """Implements `face.Face` for one thread; `take` and `stop` are for another."""

    is_watched = True

    def __init__(self, flags: ToolFlags) -> None:
        self._permission = Permission(flags)
        self._items: SimpleQueue[Item] = SimpleQueue()
        self._is_stopped = threading.Event()
        self._lock = threading.Lock()
        self._question: Question | None = None

    def take(self) -> list[Item]:
        """What was posted since the last time."""
        items: list[Item] = []
        while True:
            try:
                items.append(self._items.get_nowait())
            except Empty:
                return items

    def begin(self) -> None:
        """What was stopped before is over."""
        self._is_stopped.clear()

    def stop(self) -> None:
        """Whatever is waited for is given up."""
        with self._lock:
            self._is_stopped.set()
            if self._question and not self._question.answer.done():
                self._question.answer.set_result(STOP)

    def stoppable(self, toolbox: Toolbox) -> Toolbox:
        """The same tools, whose calls are waited for until `stop`."""
        return _StoppableToolbox(toolbox, self._is_stopped)

    def tell(self, text: str) -> None:
        """In lines of their own."""
        self._items.put(Told(text))

    def tell_error(self, error: str, hint: str) -> None:
        """In one line and another."""
        self._items.put(Told(f"error: {error}\nhint: {hint}" if hint else f"error: {error}"))

    def show(self, event: AgentEvent) -> None:
        """A piece of an answer."""
        self._items.put(event)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """From its beginning to its end."""
        self._items.put(Began())
        try:
            yield
        finally:
            self._items.put(Ended())

    def allows(self, call: ToolCall) -> bool:
        """By the flags, or by a key. Raises StoppedError."""
        if self._permission.is_given(call):
            return True
        return self._permission.take(call, self._ask(Question(told_call(call), MAY_CALL, "yna")))

    def confirms(self, question: str) -> bool:
        """By a key. Raises StoppedError."""
        return self._ask(Question("", f"{question} [y]es / [n]o", "yn")) == "y"

    def prefill(self, text: str) -> None:
        """In the line that is typed into."""
        self._items.put(Prefilled(text))

    def tell_progress(self, share: float) -> None:
        """Beside the line that is typed into. Raises StoppedError."""
        if self._is_stopped.is_set():
            raise StoppedError
        self._items.put(Loading(share))

    def _ask(self, question: Question) -> str:
        with self._lock:
            self._question = question
            if self._is_stopped.is_set():
                raise StoppedError
        self._items.put(question)
        if (letter := question.answer.result()) == STOP:
            raise StoppedError
        return letter


class _StoppableToolbox:
    """Calls each tool in a thread that is left behind where the user waits no longer."""

    POLL_SECONDS: Final = 0.05

    def __init__(self, toolbox: Toolbox, is_stopped: threading.Event) -> None:
        self._toolbox, self._is_stopped = toolbox, is_stopped

    @property
    def tools(self) -> Tools:
        """Their descriptions."""
        return self._toolbox.tools

    def call(self, name: str, arguments: str) -> ToolResult:
        """As the toolbox does it. Raises StoppedError too."""
        done: Future[ToolResult] = Future()
        threading.Thread(target=self._call, args=(name, arguments, done), name="qwq-tool", daemon=True).start()
        while True:
            try:
                return done.result(self.POLL_SECONDS)
            except TimeoutError:
                if self._is_stopped.is_set():
                    raise StoppedError from None

    def _call(self, name: str, arguments: str, done: Future[ToolResult]) -> None:
        try:
            done.set_result(self._toolbox.call(name, arguments))
        except BaseException as error:  # noqa: BLE001 - raised where the call is waited for
            done.set_exception(error)
