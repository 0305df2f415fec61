"""The engine's own thread: requests go in from anywhere, events come out in order, and no stream is left without its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import SimpleQueue

from qwq_local.backend import Backend
from qwq_local.engine.engine import Engine, JobEvent
from qwq_local.engine.request import Event, Failed, Finished, Request
from qwq_local.errors import DecodeError


class Stream(Iterator[Event]):
    """The events of one request, as they come; ends after the terminal one. Closing it early cancels the request."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._is_over = False
        self.job_id = -1

    def __next__(self) -> Event:
        """Wait for the next event."""
        if self._is_over:
            raise StopIteration
        event = self._events.get()
        self._is_over = isinstance(event, Finished | Failed)
        return event

    def put(self, event: Event) -> None:
        """Hand an event to whoever reads."""
        self._events.put(event)

    def close(self) -> None:
        """Cancel what is still running."""
        if not self._is_over:
            self._worker.cancel(self)


class Worker:
    """Runs an engine on `backend` in a thread, until `close`, which frees the backend as well."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._engine = Engine(backend)
        self._inbox: SimpleQueue[tuple[Request, Stream] | Stream | None] = SimpleQueue()
        self._streams: dict[int, Stream] = {}
        self._closing = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="qwq-engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> Stream:
        """Hand in a request, without waiting. Raises ContextLengthError, and DecodeError once the model is closed."""
        self._engine.require_room(request)
        stream = Stream(self)
        with self._closing:
            if self._is_closed:
                raise DecodeError("The model is closed.", hint="Load it again.")
            self._inbox.put((request, stream))
        return stream

    def cancel(self, stream: Stream) -> None:
        """End a request, also in the middle of reading its prompt."""
        self._inbox.put(stream)
        self._backend.interrupt()

    def close(self) -> None:
        """End everything that runs, end the thread and free the model."""
        with self._closing:
            self._is_closed = True
            self._inbox.put(None)
        self._backend.interrupt()
        self._thread.join()
        self._backend.close()

    def _run(self) -> None:
        try:
            while self._drain_inbox():
                self._deliver(self._engine.step())
            self._deliver(self._engine.fail_all(DecodeError("The model was closed.")))
        except Exception as error:  # noqa: BLE001 - whatever it was, every stream must hear of its end
            for stream in self._streams.values():
                stream.put(Failed(error))
            self._refuse_all(error)

    def _drain_inbox(self) -> bool:
        """Take in what has come, waiting while there is nothing else to do; False when it is time to end."""
        while True:
            # Rearmed before looking: an interrupt that comes later belongs to a message that is still to be read.
            self._backend.rearm()
            if self._inbox.empty() and not self._engine.is_idle:
                return True
            message = self._inbox.get()
            if message is None:
                self._inbox.put(None)  # so that _refuse_all ends too, should the ending itself fail
                return False
            if isinstance(message, Stream):
                self._deliver(self._engine.cancel(message.job_id))
            else:
                request, stream = message
                stream.job_id = self._engine.submit(request)
                self._streams[stream.job_id] = stream

    def _deliver(self, events: list[JobEvent]) -> None:
        for job_id, event in events:
            self._streams[job_id].put(event)
            if isinstance(event, Finished | Failed):
                del self._streams[job_id]

    def _refuse_all(self, error: Exception) -> None:
        """After its death the engine answers whatever still comes with its error, until it is closed."""
        while (message := self._inbox.get()) is not None:
            if isinstance(message, tuple):
                message[1].put(Failed(error))
