"""The engine in a process of its own, kept alive: whatever ends that process ends no other, and no request is left without its end."""

from __future__ import annotations

import pickle
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final

from qwq_local.backend import Rope
from qwq_local.engine.engine import Engine
from qwq_local.engine.request import Finished, Request
from qwq_local.engine.snapshot import Snapshot
from qwq_local.errors import LoadError, ModelClosedError
from qwq_local.worker.backoff import Backoff
from qwq_local.worker.child import ChildProcess
from qwq_local.worker.client import Stream
from qwq_local.worker.ledger import Ledger
from qwq_local.worker.loop import MakeEngine
from qwq_local.worker.messages import AnswerNow, Cancel, FromChild, Load, Loaded, Loading, Order, Preread, Refused, StartBackend, Told
from qwq_local.worker.status import ProcessState, ProcessStatus

BACKOFF_SECONDS: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""How long after each death in a row the next start waits; the last holds for all that follow."""

News = float | Exception | None
"""The share that is loaded; why it cannot be; None: it is."""


class Supervisor:
    """Implements `EngineClient` by a process that `start` loads a model in, on demand; `start` and `make_engine` must be fit to be pickled.

    A process that dies fails what it was asked, and is started again, after ever longer waits until a request has ended well; what is asked
    meanwhile waits for that. One that dies before its model is loaded fails those who wait for it, and is started again when somebody asks.
    After `idle_seconds` without requests it is ended, and started again on demand. One thread does all that; every other only leaves it a
    note of what to do. `grace_seconds` is how long a process has to close before it is terminated.
    """

    def __init__(
        self,
        start: StartBackend,
        *,
        make_engine: MakeEngine = Engine,
        idle_seconds: float | None = None,
        backoff_seconds: Sequence[float] = BACKOFF_SECONDS,
        grace_seconds: float = 5.0,
    ) -> None:
        self._load_message = Load(pickle.dumps((start, make_engine)))
        self._idle_seconds = self._usual_idle_seconds = idle_seconds
        self._backoff = Backoff(backoff_seconds)
        self._grace_seconds = grace_seconds
        self._notes: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._closing = threading.Lock()
        self._end: Exception | None = None
        self._ledger = Ledger(time.monotonic)
        self._loaders: list[SimpleQueue[News]] = []
        self._child: ChildProcess | None = None
        self._loaded_share = 0.0
        self._n_room = sys.maxsize
        self._snapshot: Snapshot | None = None
        self._last_error: Exception | None = None
        self._start_at: float | None = None
        self._retry_at = self._idle_since = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="qwq-supervisor", daemon=True)
        self._thread.start()

    def load(self, on_progress: Callable[[float], None] | None = None) -> None:
        """Load the model and wait for it; `on_progress` is told the share that is loaded, 0.0 to 1.0.

        Raises what `start` raises, LoadError for what is no QwqError, and WorkerDiedError.
        """
        news: SimpleQueue[News] = SimpleQueue()
        self._note(partial(self._on_load, news))
        while (told := news.get()) is not None:
            if isinstance(told, Exception):
                raise told
            if on_progress:
                on_progress(told)

    def submit(self, request: Request) -> Stream:
        """Hand in a request, without waiting. Raises ContextLengthError, and DecodeError once it is closed."""
        request.room_for_answer(self._n_room)
        stream = Stream(self)
        self._note(partial(self._on_submit, stream, request))
        return stream

    def cancel(self, stream: Stream) -> None:
        """End a request, also in the middle of reading its prompt."""
        self._notes.put(partial(self._on_cancel, stream))

    def answer_now(self, stream: Stream) -> None:
        """Let a request stop thinking and answer."""
        self._notes.put(partial(self._on_answer_now, stream))

    def preread(self, tokens: tuple[int, ...], rope: Rope) -> None:
        """Read what a later request will begin with, while there is nothing else to do; forgotten where no model is loaded."""
        self._notes.put(partial(self._on_preread, Preread(tokens, rope)))

    def snapshot(self) -> Snapshot | None:
        """The engine's numbers after its last step; None while no model is loaded. Its sums begin anew with each process."""
        return self._snapshot

    @property
    def status(self) -> ProcessStatus:
        """How the process is."""
        child, state, idle_at = self._child, self._state(), self._idle_at()
        stays_seconds = self._idle_seconds if idle_at is None else max(0.0, idle_at - time.monotonic())
        return ProcessStatus(state, child.pid if child else None, self._loaded_share, self._backoff.deaths, self._last_error, stays_seconds)

    def keep(self, idle_seconds: float | None) -> None:
        """Let this process, or the one about to start, be ended after so many seconds without requests, or never.

        The next one is ended as it was said at the start. Raises DecodeError once it is closed.
        """
        self._note(partial(self._on_keep, idle_seconds))

    def close(self) -> None:
        """End everything that runs, and the process with it; closing again does nothing."""
        with self._closing:
            self._end = self._end or ModelClosedError("The model was closed.")
            self._notes.put(lambda: None)  # so that it is seen
        self._thread.join(self._grace_seconds)
        if self._thread.is_alive() and (child := self._child):
            child.kill()  # it does not even read what it is told
        self._thread.join()

    @property
    def _is_ready(self) -> bool:
        return self._snapshot is not None

    def _state(self) -> ProcessState:
        if self._end:
            return "closed"
        if self._child:
            return "ready" if self._is_ready else "loading"
        return "unloaded" if self._start_at is None else "waiting to start"

    def _note(self, act: Callable[[], None]) -> None:
        with self._closing:
            if self._end:
                raise ModelClosedError("The model is closed.", hint="Load it again.")
            self._notes.put(act)

    # What follows runs in the supervisor's thread.

    def _run(self) -> None:
        try:
            while not self._end:
                self._act()
        except Exception as error:  # noqa: BLE001 - whatever it was, every request must hear of its end
            with self._closing:
                self._end = error
        self._shut(self._end)

    def _act(self) -> None:
        due = [at for at in (self._start_at, self._idle_at()) if at is not None]
        try:
            act = self._notes.get(timeout=max(0.0, min(due) - time.monotonic()) if due else None)
        except Empty:
            act = self._do_what_is_due
        act()

    def _idle_at(self) -> float | None:
        is_idle = self._is_ready and not self._ledger
        return self._idle_since + self._idle_seconds if is_idle and self._idle_seconds is not None else None

    def _do_what_is_due(self) -> None:
        if self._start_at is not None:
            self._start()
        else:
            self._idle_seconds = self._usual_idle_seconds
            self._forget_child().end(self._grace_seconds)

    def _want_child(self) -> None:
        if self._child is None and self._start_at is None:
            self._start_at = self._retry_at

    def _start(self) -> None:
        self._loaded_share = 0.0
        try:
            self._child = ChildProcess(
                self._load_message,
                lambda child, message: self._notes.put(partial(self._on_message, child, message)),
                lambda child: self._notes.put(partial(self._on_end, child)),
            )
        except OSError as error:
            why = f"The engine's process cannot be started: {error.strerror}."
            self._fail_all(LoadError(why, hint=f"Check that there is memory for it, and that {sys.executable} can be started."))
        finally:
            self._start_at = None

    def _forget_child(self) -> ChildProcess:
        child, self._child = self._child, None
        assert child, "there is one to forget"
        self._snapshot = None
        return child

    def _on_load(self, news: SimpleQueue[News]) -> None:
        if self._end or self._is_ready:
            news.put(self._end)
        else:
            self._loaders.append(news)
            self._want_child()

    def _on_submit(self, stream: Stream, request: Request) -> None:
        self._ledger.enter(stream, request)
        if self._end:
            self._ledger.fail_all(self._end)
        elif self._is_ready:
            self._send_off()
        else:
            self._want_child()

    def _send_off(self) -> None:
        for order in self._ledger.send_off():
            self._send(order)

    def _send(self, order: Order) -> None:
        assert self._child, "it is ready, and what was sent off fails with it"
        self._child.send(order)

    def _on_cancel(self, stream: Stream) -> None:
        if (request_id := self._ledger.cancel(stream)) is not None:
            self._send(Cancel(request_id))

    def _on_answer_now(self, stream: Stream) -> None:
        if (request_id := self._ledger.answer_now(stream)) is not None:
            self._send(AnswerNow(request_id))

    def _on_keep(self, idle_seconds: float | None) -> None:
        if self._child or self._start_at is not None:
            self._idle_seconds = idle_seconds

    def _on_preread(self, order: Preread) -> None:
        if self._is_ready:
            self._send(order)

    def _on_message(self, child: ChildProcess, message: FromChild) -> None:
        if child is not self._child:
            return
        match message:
            case Loading(share):
                self._loaded_share = share
                self._tell_loaders(share)
            case Loaded():
                self._on_loaded(message)
            case Told():
                self._on_told(message)
            case Refused(error):
                self._forget_child().end(self._grace_seconds)
                self._fail_all(error)

    def _on_loaded(self, message: Loaded) -> None:
        self._n_room, self._snapshot, self._idle_since = message.n_room, message.snapshot, time.monotonic()
        self._tell_loaders(None)
        self._send_off()

    def _on_told(self, message: Told) -> None:
        self._snapshot, self._idle_since = message.snapshot, time.monotonic()
        for request_id, event in message.events:
            self._ledger.tell(request_id, event)
            if isinstance(event, Finished) and event.reason != "cancelled":
                self._backoff.note_success()

    def _on_end(self, child: ChildProcess) -> None:
        if child is not self._child:
            return
        was_ready = self._is_ready
        error = child.post_mortem(("answered" if self._ledger else "was idle") if was_ready else "loaded the model")
        self._forget_child()
        self._retry_at = time.monotonic() + self._backoff.note_death()
        if was_ready:
            self._want_child()
        self._fail_all(error)

    def _fail_all(self, error: Exception) -> None:
        self._last_error = error
        self._ledger.fail_all(error)
        self._tell_loaders(error)

    def _tell_loaders(self, news: News) -> None:
        for loader in self._loaders:
            loader.put(news)
        if not isinstance(news, float):
            self._loaders.clear()

    def _shut(self, end: Exception) -> None:
        """Tell everyone, also those whose notes were not read yet, and end the process."""
        child = self._forget_child() if self._child else None
        try:
            self._ledger.fail_all(end)
            self._tell_loaders(end)
            while not self._notes.empty():
                self._notes.get()()
        finally:
            if child:
                child.end(self._grace_seconds)
