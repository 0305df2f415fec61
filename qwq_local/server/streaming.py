"""Answers sent while they are written: server-sent events, or lines of JSON."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from qwq_local.engine import Answering, Event, Thinking, ToolCallDelta
from qwq_local.server.answers import Answers, ChoiceEvent, unless_hung_up

QUIET_SECONDS: Final = 10.0
"""After so long without anything to say, clients and proxies are told that the answer is still on its way."""
EVENT_STREAM: Final = "text/event-stream"
_TEXT: Final = {"type": "string"}
EVENTS: Final = {"schema": {"type": "object", "properties": {"event": _TEXT, "data": _TEXT}, "required": ["data"]}}
"""How OpenAPI describes each of a stream's events."""
KEEP_ALIVE_COMMENT: Final = b": still thinking\n\n"


class Writer(ABC):
    """Writes the events of answers in one wire format; what that has nothing for is empty."""

    media_type: ClassVar[str] = EVENT_STREAM

    def open(self) -> bytes:
        """What comes before everything."""
        return b""

    @abstractmethod
    def write(self, index: int, event: Event) -> bytes:
        """What has come of the answer of this index: errors and ends too."""

    def keep_alive(self) -> bytes:
        """That there is nothing yet."""
        return KEEP_ALIVE_COMMENT

    def close(self) -> bytes:
        """What comes after everything."""
        return b""


class Stream(Response):
    """A response that a writer writes while its answers come; a client that hangs up cancels them."""

    def __init__(self, answers: Answers, writer: Writer) -> None:
        self.status_code = 200
        self.media_type = writer.media_type
        self.background = None
        self.body = b""
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._answers = answers
        self._writer = writer

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await unless_hung_up(receive, self._send(send))
        finally:
            self._answers.close()

    async def _send(self, send: Send) -> None:
        async def say(data: bytes) -> None:
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})

        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await say(self._writer.open())
        said_at = time.monotonic()
        async for batch in self._answers.batches(QUIET_SECONDS):
            data = b"".join(self._writer.write(index, event) for index, event in joined(batch))
            if data or not batch or time.monotonic() - said_at > QUIET_SECONDS:
                await say(data or self._writer.keep_alive())
                said_at = time.monotonic()
        await say(self._writer.close())
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def joined(batch: Sequence[ChoiceEvent]) -> list[ChoiceEvent]:
    """The same with neighbouring pieces of one text put together, so that a slow reader gets fewer and larger ones."""
    found: list[ChoiceEvent] = []
    for index, event in batch:
        if found and found[-1][0] == index and (together := _together(found[-1][1], event)):
            found[-1] = index, together
        else:
            found.append((index, event))
    return found


def _together(first: Event, second: Event) -> Event | None:
    match first, second:
        case Thinking(), Thinking():
            return Thinking(first.text + second.text)
        case Answering(), Answering():
            return Answering(first.text + second.text)
        case ToolCallDelta(), ToolCallDelta() if first.index == second.index:
            return ToolCallDelta(first.index, first.arguments + second.arguments)
    return None


def as_json(data: dict[str, Any]) -> str:
    """One line of JSON."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def sent_event(data: dict[str, Any], event: str = "") -> bytes:
    """One server-sent event (WHATWG HTML, 9.2.6)."""
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {as_json(data)}\n\n".encode()
