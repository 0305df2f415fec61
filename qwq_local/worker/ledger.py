"""Every request that has not ended: where its events go, and whether it still waits to be sent off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count

from qwq_local.engine.request import Event, Failed, Finished, Request, Timings, Usage
from qwq_local.worker.client import Stream
from qwq_local.worker.messages import Submit


@dataclass
class _Entry:
    id: int
    stream: Stream
    request: Request
    came_at: float
    waited_seconds: float | None = None


class Ledger:
    """Keeps the requests, each under an id of its own; for one thread. `clock` reads seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ids = count()
        self._by_id: dict[int, _Entry] = {}
        self._by_stream: dict[Stream, _Entry] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_id)

    def enter(self, stream: Stream, request: Request) -> None:
        """Take in a request, which waits from now on."""
        entry = _Entry(next(self._ids), stream, request, self._clock())
        self._by_id[entry.id] = self._by_stream[stream] = entry

    def send_off(self) -> list[Submit]:
        """Those that wait, as messages, in the order in which they came; they wait no more."""
        waiting = [entry for entry in self._by_id.values() if entry.waited_seconds is None]
        for entry in waiting:
            entry.waited_seconds = self._clock() - entry.came_at
        return [Submit(entry.id, entry.request) for entry in waiting]

    def answer_now(self, stream: Stream) -> int | None:
        """Let a request that waits not think at all; the id of one that was sent off is returned, since it thinks where it is."""
        entry = self._by_stream.get(stream)
        if entry is None or entry.waited_seconds is not None:
            return entry.id if entry else None
        entry.request = replace(entry.request, think_tokens=0)
        return None

    def cancel(self, stream: Stream) -> int | None:
        """End a request that waits; the id of one that was sent off is returned, since it has to be ended where it is."""
        entry = self._by_stream.get(stream)
        if entry is None:
            return None
        if entry.waited_seconds is not None:
            return entry.id
        request = entry.request
        self.tell(entry.id, Finished("cancelled", Usage(len(request.prompt), 0, 0), Timings(0, 0, 0), request.rope, request.seed))
        return None

    def tell(self, request_id: int, event: Event) -> None:
        """Hand an event to its stream; with the last one the request has ended."""
        entry = self._by_id[request_id]
        if isinstance(event, Finished | Failed):
            del self._by_id[request_id], self._by_stream[entry.stream]
        if isinstance(event, Finished):
            waited_seconds = self._clock() - entry.came_at if entry.waited_seconds is None else entry.waited_seconds
            timings = replace(event.timings, queued_seconds=event.timings.queued_seconds + waited_seconds)
            event = replace(event, timings=timings)
        entry.stream.put(event)

    def fail_all(self, error: Exception) -> None:
        """End every request with an error."""
        for request_id in list(self._by_id):
            self.tell(request_id, Failed(error))
