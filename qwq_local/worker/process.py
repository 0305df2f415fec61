"""The engine's own process: it loads the model, runs the engine, and ends when its parent does.

It is a program of its own and no fork: nothing of the parent is in it, and the parent's `__main__`, which may be a script that loads a
model as its first act, is not run again. Messages come through its standard input and leave through its standard output; what else is
printed goes to the standard error, whose last lines the parent keeps. It never outlives its parent: with that, the pipe that it reads from
ends.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NoReturn

from qwq_local.backend import Backend
from qwq_local.engine.request import Event, Failed
from qwq_local.errors import DecodeError, LoadError, QwqError
from qwq_local.worker.loop import EngineLoop
from qwq_local.worker.messages import (
    Call,
    Channel,
    Close,
    FromChild,
    Load,
    Loaded,
    Loading,
    Order,
    Refused,
    Returned,
    Submit,
    ToChild,
    Told,
)

FLAG: Final = "--qwq-engine-process"
EXIT_DONE, EXIT_FAILED = 0, 70
"""70 is EX_SOFTWARE of sysexits.h."""


def command() -> list[str]:
    """The program that starts this process, with the same modules in reach as here."""
    if getattr(sys, "frozen", False):
        return [sys.executable, FLAG]
    code = (
        f"import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.path[:] = {[str(entry) for entry in sys.path]!r}; "
        f"from {__name__} import main; main()"
    )
    return [sys.executable, "-P", "-c", code]


def run_if_asked() -> None:
    """Become the engine's process where this program was started as one: the first act of a frozen app, which is its own Python."""
    if sys.argv[1:] == [FLAG]:
        main()


def main() -> NoReturn:
    """What the process runs, from its first moment to its last."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches everyone at the terminal, and the parent decides what it means
    status = EXIT_FAILED
    try:
        _Host(_take_pipes()).run()
        status = EXIT_DONE
    finally:
        _end(status)


def _take_pipes() -> Channel[FromChild, ToChild]:
    """Keep the pipes for messages, and let what others print go to the standard error."""
    channel = Channel[FromChild, ToChild](os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    channel.greet()
    return channel


def _end(status: int) -> NoReturn:
    """End at once: Python's own ending would wait for what llama.cpp computes, and free what it computes with."""
    if sys.exc_info()[0]:
        traceback.print_exc()
    os._exit(status)


class _Host:
    """Reads what the parent sends; the model is loaded and runs in other threads, so that reading never waits for it."""

    def __init__(self, channel: Channel[FromChild, ToChild]) -> None:
        self._channel = channel
        self._loop: EngineLoop[int] | None = None

    def run(self) -> None:
        """Obey until told to close, or until the parent has gone."""
        while (message := self._channel.receive()) is not None:
            match message:
                case Close():
                    if self._loop:
                        self._loop.close()
                    return
                case Load(what):
                    self._answer_apart(partial(self._load, what))
                case Call(what):
                    self._answer_apart(partial(_call, what))
                case _:
                    self._pass_on(message)

    def _answer_apart(self, work: Callable[[], FromChild]) -> None:
        def answer() -> None:
            try:
                self._channel.send(work())
            except BaseException as error:  # noqa: BLE001 - the parent waits for an answer, whatever it is
                self._channel.send(Refused(_ours(error, LoadError)))

        threading.Thread(target=answer, name="qwq-load", daemon=True).start()

    def _load(self, what: bytes) -> Loaded:
        start, make_engine = pickle.loads(what)  # noqa: S301 - from our own parent
        backend: Backend = start(lambda share: self._channel.send(Loading(share)))
        self._loop = EngineLoop(backend, self._deliver, make_engine, _die)
        return Loaded(self._loop.n_room, self._loop.snapshot())

    def _pass_on(self, order: Order) -> None:
        assert self._loop, "nothing is ordered before the model is loaded"
        try:
            order.give(self._loop)
        except QwqError as error:
            if not isinstance(order, Submit):
                raise
            self._deliver([(order.request_id, Failed(error))])

    def _deliver(self, events: Sequence[tuple[int, Event]]) -> None:
        assert self._loop, "events come of a loop"
        told = tuple((request_id, _portable(event)) for request_id, event in events)
        self._channel.send(Told(told, self._loop.snapshot()))


def _call(what: bytes) -> Returned:
    return Returned(pickle.loads(what)())  # noqa: S301 - as above


def _die(error: Exception) -> NoReturn:
    """The engine is broken, and everyone has been told: a new process is better than this one."""
    traceback.print_exception(error)
    os._exit(EXIT_FAILED)


def _portable(event: Event) -> Event:
    return Failed(_ours(event.error, DecodeError)) if isinstance(event, Failed) else event


def _ours(error: BaseException, kind: type[QwqError]) -> QwqError:
    """The error itself, or one of ours with its text, since the parent need not know every class."""
    if isinstance(error, QwqError):
        return error
    ours = kind(f"{type(error).__name__}: {error}")
    ours.add_note("".join(traceback.format_exception(error)))
    return ours
