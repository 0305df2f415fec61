"""Servers for tests: the real one, on a free port of loopback, in a thread of this process."""

from __future__ import annotations

import io
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any

import httpx

from qwq_local.runtime import QwQ
from qwq_local.server.addresses import allowed_hosts
from qwq_local.server.desk import Health, Load
from qwq_local.server.run import serve
from qwq_local.server.settings import DeskSettings, GuardSettings, ServerSettings
from tests.waiting import wait_until

PATIENCE_SECONDS = 60.0
TRUST = ssl.create_default_context()
"""Made once: a client that makes its own takes ten times as long as the server to answer."""
GUARD = GuardSettings(hosts=allowed_hosts("127.0.0.1", ()))


@dataclass(frozen=True)
class Endpoint:
    """A running server: its address, and what ends it."""

    url: str
    stop: Callable[[], None]

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """Send JSON, or bytes as they are."""
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        kind = {"content-type": "application/json"} | headers
        return httpx.post(self.url + path, headers=kind, timeout=PATIENCE_SECONDS, verify=TRUST, **content)

    def patch(self, path: str, body: Any) -> httpx.Response:
        """Change."""
        return httpx.patch(self.url + path, json=body, timeout=PATIENCE_SECONDS, verify=TRUST)

    def delete(self, path: str) -> httpx.Response:
        """Remove."""
        return httpx.delete(self.url + path, timeout=PATIENCE_SECONDS, verify=TRUST)

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask."""
        return httpx.get(self.url + path, headers=headers, timeout=PATIENCE_SECONDS, verify=TRUST)


class _Onlooker:
    def __init__(self) -> None:
        self.told: SimpleQueue[Endpoint | BaseException] = SimpleQueue()
        self.ready = threading.Event()

    def listens(self, address: str, stop: Callable[[], None]) -> None:
        self.told.put(Endpoint(address, stop))

    def is_ready(self, address: str, health: Health) -> None:  # noqa: ARG002 - the protocol's
        self.ready.set()


def log_up_to(log: io.StringIO, request: str) -> list[str]:
    """The lines of a request, of which the last is written a moment after it was answered."""
    wait_until(lambda: request in log.getvalue())
    return [line for line in log.getvalue().splitlines() if request in line]


def load_here(model: str | None, *, on_progress: Callable[[float], None]) -> QwQ:
    """In a thread of this process: quick to start, and seen by coverage."""
    return QwQ.load(model, on_progress=on_progress)


def load_apart(model: str | None, *, on_progress: Callable[[float], None]) -> QwQ:
    """In a process of its own, as the product does."""
    return QwQ.load(model, on_progress=on_progress, isolated=True)


@contextmanager
def running(settings: ServerSettings | None = None, load: Load = load_here, *, waits: bool = True) -> Iterator[Endpoint]:
    """A server of the built-in model, ready unless `waits` is off; an error of its thread is raised here."""
    settings = replace(settings or ServerSettings(DeskSettings("demo"), GUARD), port=0)
    onlooker = _Onlooker()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            serve(settings, load, onlooker)
        except BaseException as error:  # noqa: BLE001 - raised in the test's thread
            failures.append(error)
            onlooker.told.put(error)

    thread = threading.Thread(target=run, name="server")
    thread.start()
    endpoint = onlooker.told.get(timeout=PATIENCE_SECONDS)
    try:
        if isinstance(endpoint, BaseException):
            raise endpoint
        if waits:
            assert onlooker.ready.wait(PATIENCE_SECONDS), "the model does not load"
        yield endpoint
    finally:
        if isinstance(endpoint, Endpoint):
            endpoint.stop()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive(), "the server does not end"
    if failures:
        raise failures[0]
