"""A hub on this machine that speaks huggingface.co's protocol over real sockets, with faults on demand.

What a pull asks for: the files of a repository at a commit (`/api/models/…/revision/…?blobs=true`), a file (`/…/resolve/…`), which the hub
answers by sending on to a storage host with a signed address, and there the bytes, from any place on.
"""

from __future__ import annotations

import hashlib
import json
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BLOCK_BYTES = 2**14

Place = Literal["api", "resolve", "storage"]
"""Where a request arrives: the list of files, the address of a file, its bytes."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request: a status instead of an answer, or something with the bytes, `after` so many of them."""

    kind: Literal["status", "cut", "reset", "stall", "end early", "wrong byte", "no range", "wrong range"]
    status: int = 500
    error_code: str = ""
    retry_after: str = ""
    after: int = 0


@dataclass
class Request:
    place: Place
    path: str
    authorization: str | None
    range: str | None


class HubServer(ThreadingHTTPServer):
    """`next_fault` is asked once for each request; `sent_bytes` counts what went out of files; `pace_seconds` passes between blocks.

    Without a pace loopback is so fast that what is on its way when a connection ends is megabytes.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, repositories: Mapping[str, Mapping[str, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.next_fault: Callable[[Place], Fault | None] = lambda _: None
        self.requests: list[Request] = []
        self.sent_bytes = 0
        self.pace_seconds = 0.0
        self.lock = Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def storage_url(self) -> str:
        """Another host, as far as HTTP is concerned."""
        return f"http://localhost:{self.server_address[1]}"

    def fail(self, *faults: tuple[Place, Fault]) -> None:
        """Meet the next requests at these places with these faults, each once, in this order."""
        waiting = list(faults)

        def take(place: Place) -> Fault | None:
            with self.lock:
                if waiting and waiting[0][0] == place:
                    return waiting.pop(0)[1]
            return None

        self.next_fault = take

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no error of the server's."""


@contextmanager
def serve(repositories: Mapping[str, Mapping[str, bytes]]) -> Iterator[HubServer]:
    with HubServer(repositories) as hub:
        thread = Thread(target=hub.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def random_fault(place: Place, source: random.Random, size_bytes: int) -> Fault | None:
    """Something wrong with two of three transfers, mostly a connection that ends in mid-file, and with one of six other requests."""
    if source.random() > (2 / 3 if place == "storage" else 1 / 6):
        return None
    after = source.randrange(size_bytes)
    if place != "storage":
        return Fault("status", source.choice([401, 403, 404, 429, 500, 503]))
    kinds = {"cut": 8, "reset": 8, "end early": 8, "stall": 2, "status": 2, "wrong byte": 1, "no range": 1, "wrong range": 1}
    (kind,) = source.choices(list(kinds), list(kinds.values()))
    return Fault(kind, status=source.choice([403, 500, 503]), after=after)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Silence."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        place: Place = "api" if path.startswith("/api/") else "storage" if path.startswith("/storage/") else "resolve"
        self.server.requests.append(Request(place, self.path, self.headers["Authorization"], self.headers["Range"]))
        fault = self.server.next_fault(place)
        if fault is not None and fault.kind == "status":
            headers = {"X-Error-Code": fault.error_code, "Retry-After": fault.retry_after}
            self._answer(fault.status, b"{}", {name: value for name, value in headers.items() if value})
        elif fault is not None and place != "storage":
            self._hang_up(fault)
        else:
            {"api": self._list, "resolve": self._resolve, "storage": self._store}[place](path, fault)

    def _list(self, path: str, _: Fault | None) -> None:
        repository = path.removeprefix("/api/models/").partition("/revision/")[0]
        revision = path.partition("/revision/")[2]
        files = self.server.repositories.get(repository)
        if files is None:
            self._answer(HTTPStatus.NOT_FOUND, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif revision not in {"main", COMMIT}:
            self._answer(HTTPStatus.NOT_FOUND, b"{}", {"X-Error-Code": "RevisionNotFound"})
        else:
            siblings = [
                {"rfilename": name, "size": len(content), "lfs": {"sha256": sha256(content), "size": len(content), "pointerSize": 134}}
                for name, content in files.items()
            ]
            self._answer(HTTPStatus.OK, json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode(), {})

    def _resolve(self, path: str, _: Fault | None) -> None:
        repository, rest = path.strip("/").split("/resolve/", 1)
        commit, name = rest.split("/", 1)
        if commit != COMMIT or name not in self.server.repositories.get(repository, {}):
            self._answer(HTTPStatus.NOT_FOUND, b"", {"X-Error-Code": "EntryNotFound"})
            return
        content = self.server.repositories[repository][name]
        location = f"{self.server.storage_url}/storage/{quote(repository)}/{quote(name)}?signature={time.monotonic_ns()}"
        headers = {
            "Location": location,
            "X-Repo-Commit": COMMIT,
            "X-Linked-Etag": f'"{sha256(content)}"',
            "X-Linked-Size": str(len(content)),
        }
        self._answer(HTTPStatus.FOUND, b"", headers)

    def _store(self, path: str, fault: Fault | None) -> None:
        owner, repository, name = path.removeprefix("/storage/").split("/", 2)
        content = self.server.repositories[f"{owner}/{repository}"][name]
        kind = fault.kind if fault else ""
        asked = self.headers["Range"]
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and kind != "no range" else 0
        body = content[start:]
        if fault is not None and kind == "wrong byte" and body:
            place = fault.after % len(body)
            body = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        self.send_response(HTTPStatus.PARTIAL_CONTENT if start else HTTPStatus.OK)
        if start:
            shown = start + 1 if kind == "wrong range" else start
            self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        if kind == "end early":
            self.send_header("Connection", "close")  # the end of the connection is the end of the body: nobody can tell that it is early
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self._send(body, fault)

    def _send(self, body: bytes, fault: Fault | None) -> None:
        is_short = fault is not None and fault.kind in {"cut", "reset", "stall", "end early"}
        end = min(fault.after, len(body)) if fault is not None and is_short else len(body)
        for place in range(0, end, BLOCK_BYTES):
            block = body[place : min(place + BLOCK_BYTES, end)]
            self.wfile.write(block)
            with self.server.lock:
                self.server.sent_bytes += len(block)
            if self.server.pace_seconds:
                time.sleep(self.server.pace_seconds)
        if fault is not None and is_short:
            self._hang_up(fault)

    def _hang_up(self, fault: Fault) -> None:
        self.close_connection = True
        self.wfile.flush()
        if fault.kind == "stall":
            time.sleep(1.5)
        if fault.kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
