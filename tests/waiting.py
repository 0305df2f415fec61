"""Calls that must not hang, and how a request ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, TypeVar

from qwq_local.engine import Event, Failed, Finished
from qwq_local.worker import Stream

WAIT_SECONDS: Final = 30

Made = TypeVar("Made")


def soon(ask: Callable[[], Made]) -> Made:
    """The result of a call that must not hang, or what it raised."""
    results: SimpleQueue[tuple[Made | None, BaseException | None]] = SimpleQueue()

    def call() -> None:
        try:
            results.put((ask(), None))
        except BaseException as error:  # noqa: BLE001 - raised where it was asked for
            results.put((None, error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    result, error = results.get(timeout=WAIT_SECONDS)
    thread.join()
    if error:
        raise error
    return result  # type: ignore[return-value]


def wait_until(is_so: Callable[[], bool]) -> None:
    """Return once it is so."""
    ends_at = time.monotonic() + WAIT_SECONDS
    while not is_so():
        assert time.monotonic() < ends_at, "it does not come about"
        time.sleep(0.005)


def events_of(stream: Stream) -> list[Event]:
    """All events, of which the last and only the last is terminal."""
    events = soon(lambda: list(stream))
    assert [isinstance(event, Finished | Failed) for event in events] == [False] * (len(events) - 1) + [True]
    return events


def end_of(stream: Stream) -> Finished | Failed:
    end = events_of(stream)[-1]
    assert isinstance(end, Finished | Failed)
    return end


def reason_of(stream: Stream) -> str:
    end = end_of(stream)
    return end.reason if isinstance(end, Finished) else f"failed: {end.error!r}"
