"""Who may ask, and how much: host, origin, key, size and time of every request are checked before any route sees it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qwq_local.server.addresses import host_name
from qwq_local.server.answers import Answers
from qwq_local.server.errors import ApiError, as_api_error, error_response
from qwq_local.server.settings import GuardSettings

OPEN_PATHS: Final = ("/", "/health", "/docs", "/openapi.json")
OPEN_FOLDERS: Final = ("/static/", "/swagger/")
"""What says nothing of anyone's chats, and needs no key: a page must load before a key can be typed into it."""
MAX_REQUEST_ID: Final = 64
OWNER_CHARACTERS: Final = 16
MAX_HEAD_BYTES: Final = 32 * 1024


@dataclass
class Visit:
    """One request from its first byte to its last: what is logged and counted of it. `route` is the path's pattern.

    `owner` stands for the key that it came with, where this server has keys: whoever has another does not see its chats.
    """

    id: str
    method: str
    path: str
    started_at: float
    status: int = 0
    seconds: float = 0.0
    route: str = ""
    error: str = ""
    answers: Answers | None = None
    owner: str = ""


class Guard:
    """ASGI middleware; `on_end` is told of every visit. `clock` reads seconds."""

    def __init__(
        self, app: ASGIApp, settings: GuardSettings, on_end: Callable[[Visit], None], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._app = app
        self._settings = settings
        self._on_end = on_end
        self._clock = clock
        self._digests = [_digest(key) for key in settings.keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with an error."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        visit = Visit(_request_id(headers), scope["method"], scope["path"], self._clock())
        scope.setdefault("state", {})["visit"] = visit
        try:
            with _Teller(send, visit, self._settings.send_seconds, self._clock) as teller:
                await self._answer(scope, receive, teller.send, headers)
            if teller.is_deaf:
                visit.error = "The client does not read its answer."
                if hang_up := scope["state"].get("hang_up"):
                    hang_up()
        finally:
            visit.route = getattr(scope.get("route"), "path", "") or "(none)"
            visit.seconds = self._clock() - visit.started_at
            self._on_end(visit)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        visit: Visit = scope["state"]["visit"]
        try:
            self._check(headers, scope)
            await self._app(scope, _Reader(receive, self._settings, headers).receive, send)
        except ApiError as error:
            visit.error = error.logged
            await error_response(scope["path"], error, visit.id)(scope, receive, send)
        except Exception as error:
            logging.getLogger("qwq.server").exception("request %s failed", visit.id)
            told = as_api_error(error)
            visit.error = repr(error)
            if visit.status:  # it has begun to be answered, and can only be cut short
                raise
            await error_response(scope["path"], told, visit.id)(scope, receive, send)

    def _check(self, headers: Headers, scope: Scope) -> None:
        n_bytes = sum(len(name) + len(value) for name, value in headers.raw)
        if n_bytes > MAX_HEAD_BYTES:
            raise ApiError(431, f"The head of the request has {n_bytes:,} bytes, and {MAX_HEAD_BYTES:,} are read.", code="head_too_large")
        host, path = headers.get("host", ""), scope["path"]
        self._check_host(host)
        origin = headers.get("origin")
        if origin is not None and not self._knows_origin(origin, host):
            raise ApiError(
                403,
                f"Pages of {origin[:200]!r} may not ask this server. Start it with --allow-origin {origin[:200]}, if they should.",
                code="foreign_origin",
            )
        if self._digests and path not in OPEN_PATHS and not path.startswith(OPEN_FOLDERS):
            scope["state"]["visit"].owner = self._check_key(headers)

    def _check_host(self, host: str) -> None:
        if self._settings.hosts and host_name(host) not in self._settings.hosts:
            raise ApiError(
                403,
                f"This server is not {host[:200]!r}. Ask it by its own name, or start it with --allow-host NAME.",
                code="foreign_host",
            )

    def _knows_origin(self, origin: str, host: str) -> bool:
        """Whether a page is one of ours: of the same host and port, over HTTP or, behind a proxy, HTTPS."""
        return origin in self._settings.origins or origin.casefold() in {f"http://{host}".casefold(), f"https://{host}".casefold()}

    def _check_key(self, headers: Headers) -> str:
        """What stands for the key that was given. Raises ApiError."""
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = headers.get("x-api-key") or (bearer.strip() if scheme.casefold() == "bearer" else "")
        if not given:
            raise ApiError(401, "This server wants a key: Authorization: Bearer KEY, or x-api-key: KEY.", code="missing_api_key")
        digest = _digest(given)
        # Every key is compared, each in constant time, so that nothing of them can be told from how long it takes.
        if not sum([hmac.compare_digest(digest, known) for known in self._digests]):
            raise ApiError(401, "The key is not one of this server's.", code="invalid_api_key")
        return digest.hex()[:OWNER_CHARACTERS]


class _Reader:
    """Reads the body, no more of it and no longer than allowed."""

    def __init__(self, receive: Receive, settings: GuardSettings, headers: Headers) -> None:
        self._receive = receive
        self._settings = settings
        self._n_bytes = 0
        self._due_at = anyio.current_time() + settings.body_seconds
        self._is_complete = False
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > settings.max_body_bytes:
            raise self._too_large(int(length))

    async def receive(self) -> Message:
        if self._is_complete:
            return await self._receive()
        try:
            with anyio.fail_after(max(0.0, self._due_at - anyio.current_time())):
                message = await self._receive()
        except TimeoutError:
            raise ApiError(408, f"The body did not come within {self._settings.body_seconds:g} s.", code="timeout") from None
        self._n_bytes += len(message.get("body", b""))
        if self._n_bytes > self._settings.max_body_bytes:
            raise self._too_large(self._n_bytes)
        self._is_complete = not message.get("more_body", False)
        return message

    def _too_large(self, n_bytes: int) -> ApiError:
        limit = self._settings.max_body_bytes
        return ApiError(413, f"The body has {n_bytes:,} bytes or more, and {limit:,} are read.", code="request_too_large")


class _Teller:
    """Sends the answer with the request's id, under OpenAI's name for it and Anthropic's, and notes its status.

    As a context manager it cancels what is done within when a client neither reads its answer nor hangs up: `is_deaf`. One timer looks
    after it, since one for each of many small pieces would cost as much as sending them.
    """

    def __init__(self, send: Send, visit: Visit, seconds: float, clock: Callable[[], float]) -> None:
        self._send = send
        self._visit = visit
        self._seconds = seconds
        self._clock = clock
        self._patience = anyio.CancelScope()
        self._sends_since: float | None = None
        self.is_deaf = False

    def __enter__(self) -> Self:
        self._patience.__enter__()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._look)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        self._timer.cancel()
        return self._patience.__exit__(kind, error, trace)

    def _look(self) -> None:
        waited = 0.0 if self._sends_since is None else self._clock() - self._sends_since
        if waited >= self._seconds:
            self.is_deaf = True
            self._patience.cancel()
        else:
            self._timer = asyncio.get_running_loop().call_later(self._seconds - waited, self._look)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._visit.status = message["status"]
            MutableHeaders(scope=message).update({"X-Request-Id": self._visit.id, "Request-Id": self._visit.id})
        self._sends_since = self._clock()
        await self._send(message)
        self._sends_since = None


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    is_fit = 0 < len(given) <= MAX_REQUEST_ID and given.isascii() and all(c.isalnum() or c in "-_.:" for c in given)
    return given if is_fit else f"req_{secrets.token_hex(12)}"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
