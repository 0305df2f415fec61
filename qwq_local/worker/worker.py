"""An engine in a thread of this process."""

from __future__ import annotations

from collections.abc import Sequence

from qwq_local.backend import Backend
from qwq_local.engine.engine import Engine
from qwq_local.engine.request import Event, Request
from qwq_local.worker.client import Stream
from qwq_local.worker.loop import EngineLoop, MakeEngine


class Worker(EngineLoop[Stream]):
    """Implements `EngineClient`: requests are known by their streams. `close` frees the backend as well."""

    def __init__(self, backend: Backend, make_engine: MakeEngine = Engine) -> None:
        super().__init__(backend, _deliver, make_engine)

    def submit(self, request: Request) -> Stream:
        """Hand in a request, without waiting. Raises ContextLengthError, and DecodeError once the model is closed."""
        stream = Stream(self)
        self.enter(stream, request)
        return stream


def _deliver(events: Sequence[tuple[Stream, Event]]) -> None:
    for stream, event in events:
        stream.put(event)
