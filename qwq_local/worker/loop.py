"""The engine's own thread: orders go in from anywhere, events come out in order, and no request is left without its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Generic, TypeVar

from qwq_local.backend import Backend, Rope
from qwq_local.engine.engine import Engine, JobEvent
from qwq_local.engine.request import Event, Failed, Finished, Request
from qwq_local.engine.snapshot import Snapshot
from qwq_local.errors import ModelClosedError, QwqError

MakeEngine = Callable[[Backend], Engine]

Ticket = TypeVar("Ticket", bound=Hashable)
"""What a request is known by outside."""


class EngineLoop(Generic[Ticket]):
    """Runs an engine on `backend` in a thread, until `close`, which frees the backend as well.

    In that thread `deliver` is told what came of each step, and `on_death` that it ends by an error, after every request was told; what
    is handed in later fails with that error. Prompt and answer of a request may fill `n_room` tokens together.
    """

    def __init__(
        self,
        backend: Backend,
        deliver: Callable[[Sequence[tuple[Ticket, Event]]], None],
        make_engine: MakeEngine = Engine,
        on_death: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self._backend = backend
        self._deliver = deliver
        self._on_death = on_death
        self._engine = make_engine(backend)
        self.n_room = self._engine.n_room
        self._snapshot = self._engine.snapshot()
        self._orders: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._jobs: dict[Ticket, int] = {}
        self._tickets: dict[int, Ticket] = {}
        self._death: Exception | None = None
        self._closing = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="qwq-engine", daemon=True)
        self._thread.start()

    def enter(self, ticket: Ticket, request: Request) -> None:
        """Hand in a request, without waiting. Raises ContextLengthError, and DecodeError once the model is closed."""
        request.room_for_answer(self.n_room)
        with self._closing:
            if self._is_closed:
                raise ModelClosedError("The model is closed.", hint="Load it again.")
            self._orders.put(partial(self._begin, ticket, request))
        if self._engine.is_reading_ahead:
            self._backend.interrupt()

    def cancel(self, ticket: Ticket) -> None:
        """End a request, also in the middle of reading its prompt."""
        self._orders.put(partial(self._order, self._engine.cancel, ticket))
        if ticket in self._jobs:  # others would read their batch again for nothing
            self._backend.interrupt()

    def answer_now(self, ticket: Ticket) -> None:
        """Let a request stop thinking and answer."""
        self._orders.put(partial(self._order, self._engine.answer_now, ticket))

    def preread(self, tokens: tuple[int, ...], rope: Rope) -> None:
        """Read what a later request will begin with, while there is nothing else to do."""
        self._orders.put(partial(self._preread, tokens, rope))

    def snapshot(self) -> Snapshot:
        """The engine's numbers after its last step."""
        return self._snapshot

    def close(self) -> None:
        """End everything that runs, end the thread and free the model."""
        with self._closing:
            self._is_closed = True
            self._orders.put(None)
        self._backend.interrupt()
        self._thread.join()
        self._backend.close()

    def _run(self) -> None:
        try:
            while self._obey():
                self._tell(self._engine.step())
            self._tell(self._engine.fail_all(ModelClosedError("The model was closed.")))
            self._shelve()
        except Exception as error:  # noqa: BLE001 - whatever it was, every request must hear of its end
            self._die(error)

    def _shelve(self) -> None:
        try:
            self._engine.shelve()
        except OSError as error:
            logging.getLogger(__name__).warning("What was read of chats could not be kept: %s", error)

    def _obey(self) -> bool:
        """Do what was ordered, waiting while there is nothing else to do; False when it is time to end."""
        while True:
            # Rearmed before looking: an interrupt that comes later belongs to an order that is still to be read.
            self._backend.rearm()
            if self._orders.empty():
                if not self._engine.is_idle:
                    return True
                self._engine.audit()
            order = self._orders.get()
            if order is None:
                self._orders.put(None)  # so that _die ends too, should the ending itself fail
                return False
            order()

    def _begin(self, ticket: Ticket, request: Request) -> None:
        if self._death:
            self._deliver([(ticket, Failed(self._death))])
            return
        try:
            job_id = self._engine.submit(request)
        except Exception as error:
            self._deliver([(ticket, Failed(error))])
            if not isinstance(error, QwqError):
                raise
        else:
            self._jobs[ticket], self._tickets[job_id] = job_id, ticket

    def _order(self, method: Callable[[int], list[JobEvent]], ticket: Ticket) -> None:
        if ticket in self._jobs:
            self._tell(method(self._jobs[ticket]))

    def _preread(self, tokens: tuple[int, ...], rope: Rope) -> None:
        if not self._death:
            self._engine.preread(tokens, rope)
            self._snapshot = self._engine.snapshot()

    def _tell(self, events: list[JobEvent]) -> None:
        self._snapshot = self._engine.snapshot()
        self._deliver([(self._tickets[job_id], event) for job_id, event in events])
        for job_id, event in events:  # not before: should this fail, they must hear of that instead
            if isinstance(event, Finished | Failed):
                del self._jobs[self._tickets.pop(job_id)]

    def _die(self, error: Exception) -> None:
        """Tell everyone, and answer whatever still comes with the error, until it is closed."""
        self._death = error
        for ticket in self._jobs:
            with suppress(Exception):  # one that cannot be told keeps no other from hearing it
                self._deliver([(ticket, Failed(error))])
        self._jobs.clear()
        self._on_death(error)
        while (order := self._orders.get()) is not None:
            order()
