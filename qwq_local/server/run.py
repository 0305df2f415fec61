"""A server's life: bound, loading, answering, and ended without losing what runs."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Protocol

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from qwq_local.errors import QwqError, SettingsError
from qwq_local.history import History
from qwq_local.server.answers import Answers
from qwq_local.server.app import make_app
from qwq_local.server.chats.room import ChatRoom
from qwq_local.server.desk import Desk, Health, Load
from qwq_local.server.guard import MAX_HEAD_BYTES, Visit
from qwq_local.server.logs import RequestLog
from qwq_local.server.metrics import Metrics
from qwq_local.server.settings import ServerSettings

MAX_CONNECTIONS: Final = 1000
FLUSH_SECONDS: Final = 3
"""What clients get to read what is left when the server is stopped."""


class PatientServer(uvicorn.Server):
    """Ends what runs before it ends itself."""

    def __init__(self, config: uvicorn.Config, desk: Desk, stop_seconds: float) -> None:
        super().__init__(config)
        self._desk = desk
        self._stop_seconds = stop_seconds

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let answers end, fail those that take too long, and then close all connections; at a second Ctrl-C, at once."""
        closing = asyncio.create_task(self._desk.close(self._stop_seconds))
        await super().shutdown(sockets)
        if self.force_exit:
            closing.cancel()
            await self._desk.close()
        else:
            await closing


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 that hangs up on clients whose request's head does not come in time, and on whom the application wants it to."""

    head_seconds = ServerSettings.head_seconds
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as uvicorn has it
        """A client has come."""
        super().connection_made(transport)
        self.app_state = self.app_state | {"hang_up": transport.abort}
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Some bytes have come; between two requests the clock is uvicorn's, until the next one begins."""
        if self._timer is None and self._is_between_requests():
            self._await_head()
        super().data_received(data)
        if not self._is_between_requests():
            self._stop_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop_timer()
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        """Between two requests, long after the last: a client that has not even read its answer is not waited for."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def _is_between_requests(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's own annotation forgets the time before the first
        return cycle is None or cycle.response_complete

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(self.head_seconds, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


class Onlooker(Protocol):
    """Is told how the server fares."""

    def listens(self, address: str, stop: Callable[[], None]) -> None:
        """It answers at this address, and loads its model; `stop` ends it, from any thread."""
        ...

    def is_ready(self, address: str, health: Health) -> None:
        """The model is loaded."""
        ...


def serve(settings: ServerSettings, load: Load, onlooker: Onlooker, on_visit: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGINT or SIGTERM; `on_visit` is called after every request.

    Raises SettingsError where the address cannot be had, and what loading raises.
    """
    with _bound(settings.host, settings.port) as listener:
        _run(_serve(settings, load, listener, onlooker, on_visit))


def _run(server: Coroutine[Any, Any, None]) -> None:
    """On uvloop where there is one: it leaves more of the processor to the model, 3 % of the tokens a second of eight streams."""
    if sys.platform == "win32":
        asyncio.run(server)
    else:
        import uvloop

        uvloop.run(server)


class _Register:
    """Has all that ends counted and logged."""

    def __init__(self, metrics: Metrics, log: RequestLog, on_visit: Callable[[], None]) -> None:
        self.metrics = metrics
        self._log = log
        self._on_visit = on_visit

    def note(self, visit: Visit) -> None:
        self.metrics.note(visit)
        self._log.note(visit)
        self._on_visit()

    def note_answer(self, chat_id: str, answers: Answers) -> None:
        self.metrics.note_answers(answers)
        self._log.note_answer(chat_id, answers)


async def _serve(settings: ServerSettings, load: Load, listener: socket.socket, onlooker: Onlooker, on_visit: Callable[[], None]) -> None:
    desk = Desk(settings.desk, load)
    history = await asyncio.to_thread(History.open_anyway, settings.chats)
    for text in history.notices:
        logging.getLogger("qwq.server").warning("%s", text)
    register = _Register(Metrics(desk), RequestLog(with_prompts=settings.logs_prompts), on_visit)
    chats = ChatRoom(history, desk, register.note_answer)
    config = _config(settings, make_app(desk, chats, settings.guard, register.note, register.metrics))
    server = PatientServer(config, desk, settings.stop_seconds)
    address = _address(settings.host, listener.getsockname()[1])
    failures: list[QwqError] = []

    async def start() -> None:
        try:
            await desk.start()
        except QwqError as error:
            if not server.should_exit:
                failures.append(error)
            server.should_exit = True
        else:
            onlooker.is_ready(address, desk.health())

    loading = asyncio.create_task(start())
    onlooker.listens(address, partial(setattr, server, "should_exit", True))
    try:
        await server.serve(sockets=[listener])
        await loading
    finally:
        await chats.close()
    if failures:
        raise failures[0]


def _config(settings: ServerSettings, app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=type("Protocol", (ImpatientProtocol,), {"head_seconds": settings.head_seconds}),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=math.ceil(settings.stop_seconds) + FLUSH_SECONDS,
        proxy_headers=False,
    )


def _address(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - compared, not bound
    return f"http://{shown}:{port}"


def _bound(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(found[0], socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"host is {host!r}, which is no address of this machine: {error}.", hint="Use --host 127.0.0.1.") from error
    try:
        if sys.platform != "win32":  # there it would let two programs share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(found[4])
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"{_address(host, port)} cannot be had: {error.strerror}.",
            hint="Another program may listen there; choose another port with --port.",
        ) from error
    return listener
