"""What everyone asks of an engine that runs elsewhere, and the stream of events that answers a request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Protocol

from qwq_local.backend import Rope
from qwq_local.engine.request import Event, Failed, Finished, Request
from qwq_local.engine.snapshot import Snapshot


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
        self._listener: Callable[[], object] | None = None

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

    def listen(self, listener: Callable[[], object]) -> None:
        """Have this called after each event that comes from now on, in the thread that brings it; it must not wait."""
        self._listener = listener

    def put(self, event: Event) -> None:
        """Hand an event to whoever reads."""
        self._events.put(event)
        if self._listener:
            try:
                self._listener()
            except Exception:  # in the thread that brings everyone's events, it would end them all
                logging.getLogger(__name__).exception("What listens to an answer has failed")

    def answer_now(self) -> None:
        """Let the request stop thinking and answer."""
        self._client.answer_now(self)

    def close(self) -> None:
        """Cancel what is still running."""
        if not self._is_over and not self._is_cancelled:
            self._is_cancelled = True
            self._client.cancel(self)
