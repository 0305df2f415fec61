"""Requests in, streams of events out: what everyone asks of an engine, and an engine in a thread that answers it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Protocol

from qwq_local.backend import Backend, Rope
from qwq_local.engine.engine import Engine
from qwq_local.engine.request import Event, Failed, Finished, Request
from qwq_local.engine.snapshot import Snapshot
from qwq_local.worker.loop import EngineLoop, MakeEngine


class EngineClient(Protocol):
    """An engine that runs elsewhere: in a thread (`Worker`) or in a process (`Supervisor`). Callable from any thread; nothing waits."""

    def submit(self, request: Request) -> Stream:
        """Hand in a request. Raises ContextLengthError, and DecodeError once it is closed."""
        ...

    def cancel(self, stream: Stream) -> None:
        """End a request, also in the middle of reading its prompt."""
        ...

    def answer_now(self, stream: Stream) -> None:
        """Let a request stop thinking and answer."""
        ...

    def preread(self, tokens: tuple[int, ...], rope: Rope) -> None:
        """Read what a later request will begin with, while there is nothing else to do."""
        ...

    def snapshot(self) -> Snapshot | None:
        """The engine's numbers after its last step; None while no model is loaded."""
        ...

    def close(self) -> None:
        """End everything that runs, and free the model; this does wait."""
        ...


class Stream(Iterator[Event]):
    """The events of one request, as they come; ends after the terminal one. Closing it early cancels the request.

    Who cannot wait for the next one asks to be told of it (`listen`), and takes what has come.
    """

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._is_over = self._is_cancelled = False
        self._listener: Callable[[], None] | None = None

    def __next__(self) -> Event:
        """Wait for the next event."""
        if self._is_over:
            raise StopIteration
        event = self._events.get()
        self._is_over = isinstance(event, Finished | Failed)
        return event

    def take(self) -> list[Event]:
        """What has come since the last time, without waiting."""
        events: list[Event] = []
        while not self._is_over:
            try:
                events.append(self._events.get_nowait())
            except Empty:
                break
            self._is_over = isinstance(events[-1], Finished | Failed)
        return events

    def listen(self, listener: Callable[[], None]) -> None:
        """Have this called after each event that comes from now on, in the thread that brings it; it must not wait."""
        self._listener = listener

    def put(self, event: Event) -> None:
        """Hand an event to whoever reads."""
        self._events.put(event)
        if self._listener:
            self._listener()

    def close(self) -> None:
        """Cancel what is still running."""
        if not self._is_over and not self._is_cancelled:
            self._is_cancelled = True
            self._client.cancel(self)


class Worker:
    """Implements `EngineClient` by a thread of its own, until `close`, which frees the backend as well."""

    def __init__(self, backend: Backend, make_engine: MakeEngine = Engine) -> None:
        self._loop = EngineLoop[Stream](backend, _deliver, make_engine)

    def submit(self, request: Request) -> Stream:
        """Hand in a request, without waiting. Raises ContextLengthError, and DecodeError once the model is closed."""
        stream = Stream(self)
        self._loop.submit(stream, request)
        return stream

    def cancel(self, stream: Stream) -> None:
        """End a request, also in the middle of reading its prompt."""
        self._loop.cancel(stream)

    def answer_now(self, stream: Stream) -> None:
        """Let a request stop thinking and answer."""
        self._loop.answer_now(stream)

    def preread(self, tokens: tuple[int, ...], rope: Rope) -> None:
        """Read what a later request will begin with, while there is nothing else to do."""
        self._loop.preread(tokens, rope)

    def snapshot(self) -> Snapshot:
        """The engine's numbers after its last step."""
        return self._loop.snapshot

    def close(self) -> None:
        """End everything that runs, end the thread and free the model."""
        self._loop.close()


def _deliver(events: Sequence[tuple[Stream, Event]]) -> None:
    for stream, event in events:
        stream.put(event)
