"""What the process of the engine and its parent say to each other, and the pipes they say it through."""

from __future__ import annotations

import pickle
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Final, Generic, TypeVar

from qwq_local.backend import Backend, Rope
from qwq_local.engine.request import Event, Request
from qwq_local.engine.snapshot import Snapshot
from qwq_local.errors import QwqError
from qwq_local.worker.loop import EngineLoop

StartBackend = Callable[[Callable[[float], None]], Backend]
"""Loads a model; the function that it is given wants to be told the share that is loaded, 0.0 to 1.0."""

GREETING: Final = b"\0qwq-engine\0"
_LENGTH: Final = struct.Struct("!I")


@dataclass(frozen=True)
class Load:
    """Load the model: the pickle of a StartBackend and a MakeEngine. Answered by Loading, again and again, then by Loaded or Refused."""

    what: bytes


@dataclass(frozen=True)
class Call:
    """Call the function that is pickled here. Answered by Returned or Refused."""

    what: bytes


@dataclass(frozen=True)
class Submit:
    """Answer a request; its events come under this id."""

    request_id: int
    request: Request

    def give(self, loop: EngineLoop[int]) -> None:
        """Pass it on. Raises ContextLengthError."""
        loop.enter(self.request_id, self.request)


@dataclass(frozen=True)
class Cancel:
    """End a request."""

    request_id: int

    def give(self, loop: EngineLoop[int]) -> None:
        """Pass it on."""
        loop.cancel(self.request_id)


@dataclass(frozen=True)
class AnswerNow:
    """Let a request stop thinking and answer."""

    request_id: int

    def give(self, loop: EngineLoop[int]) -> None:
        """Pass it on."""
        loop.answer_now(self.request_id)


@dataclass(frozen=True)
class Preread:
    """Read what a later request will begin with."""

    tokens: tuple[int, ...]
    rope: Rope

    def give(self, loop: EngineLoop[int]) -> None:
        """Pass it on."""
        loop.preread(self.tokens, self.rope)


@dataclass(frozen=True)
class Close:
    """End everything that runs, free the model, and end."""


@dataclass(frozen=True)
class Loading:
    """The model is being loaded; so much of it is, 0.0 to 1.0."""

    share: float


@dataclass(frozen=True)
class Loaded:
    """The model is loaded; prompt and answer of a request may fill `n_room` tokens together."""

    n_room: int
    snapshot: Snapshot


@dataclass(frozen=True)
class Told:
    """What came of one step: events by the id of their request, and the engine's numbers."""

    events: tuple[tuple[int, Event], ...]
    snapshot: Snapshot


@dataclass(frozen=True)
class Returned:
    """What a called function has returned."""

    value: object


@dataclass(frozen=True)
class Refused:
    """The model cannot be loaded, or the called function has failed."""

    error: QwqError


Order = Submit | Cancel | AnswerNow | Preread
ToChild = Load | Call | Order | Close
FromChild = Loading | Loaded | Told | Returned | Refused

Out = TypeVar("Out")
In = TypeVar("In")


class Channel(Generic[Out, In]):
    """Whole messages through a pair of pipes; `send` may be called from any thread, `receive` from one."""

    def __init__(self, reader: IO[bytes], writer: IO[bytes]) -> None:
        self._reader = reader
        self._writer = writer
        self._sending = threading.Lock()

    def greet(self) -> None:
        """Say that messages follow: what went through the pipe before was none."""
        self._writer.write(GREETING)
        self._writer.flush()

    def await_greeting(self) -> bool:
        """Skip what is no message; False where the pipe ends before the other side has greeted."""
        last = b""
        while last != GREETING:
            byte = self._reader.read(1)
            if not byte:
                return False
            last = (last + byte)[-len(GREETING) :]
        return True

    def send(self, message: Out) -> None:
        """Send a message, waiting where the other side is slow to read. Raises OSError where it has gone."""
        data = pickle.dumps(message)
        with self._sending:
            self._writer.write(_LENGTH.pack(len(data)) + data)
            self._writer.flush()

    def receive(self) -> In | None:
        """Wait for the next message; None where the other side has gone, also in the middle of one."""
        head = self._reader.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            return None
        (length_bytes,) = _LENGTH.unpack(head)
        data = self._reader.read(length_bytes)
        if len(data) < length_bytes:
            return None
        message: In = pickle.loads(data)  # noqa: S301 - from our own process
        return message
