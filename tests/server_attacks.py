"""What an endpoint must refuse: each attack is carried out against a running server, and tells what came of it."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from qwq_local.server.settings import DeskSettings, ServerSettings
from tests.serving import GUARD, Endpoint

KEY: Final = "sk-secret"
SUM: Final = {"messages": [{"role": "user", "content": "What is 47 + 85?"}]}
SECURED: Final = ServerSettings(
    DeskSettings("demo"),
    replace(GUARD, keys=("another", KEY), body_seconds=1.0, send_seconds=2.0, origins=frozenset({"https://friend.example"})),
    head_seconds=1.0,
)
"""A server with keys, and with limits that a test can wait for."""


@dataclass(frozen=True)
class Attack:
    """One attack and the status it must be answered with; 0: the connection is cut."""

    name: str
    carry_out: Callable[[Endpoint], int]
    expected: int


def status(endpoint: Endpoint, request: bytes, *, patience_seconds: float = 20.0) -> int:
    """Send bytes as they are; the status of the answer, or 0 where the connection is cut without one."""
    return _status(endpoint, [request], patience_seconds)


def head(method: str, path: str, *headers: str, host: str = "127.0.0.1", key: str | None = KEY) -> bytes:
    """The head of a request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *([f"Authorization: Bearer {key}"] if key is not None else []), *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def chat(*headers: str, body: bytes = json.dumps(SUM).encode(), key: str | None = KEY, host: str = "127.0.0.1") -> bytes:
    """A whole chat completion."""
    fixed = ("Content-Type: application/json", f"Content-Length: {len(body)}")
    return head("POST", "/v1/chat/completions", *fixed, *headers, key=key, host=host) + body


def _status(endpoint: Endpoint, parts: Iterator[bytes] | list[bytes], patience_seconds: float) -> int:
    address = urlsplit(endpoint.url)
    with socket.create_connection((address.hostname, address.port), timeout=patience_seconds) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                if select.select([connection], [], [], 0)[0]:
                    break  # it has heard enough: the answer tells why
        except OSError:
            pass  # likewise
        try:
            answer = connection.recv(4096)
        except ConnectionResetError:
            answer = b""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0


def _plain(request: bytes) -> Callable[[Endpoint], int]:
    return lambda endpoint: status(endpoint, request)


def _slowly(first: bytes, drop: bytes) -> Callable[[Endpoint], int]:
    def parts() -> Iterator[bytes]:
        yield first
        for _ in range(40):
            time.sleep(0.1)
            yield drop

    return lambda endpoint: _status(endpoint, parts(), 20.0)


def _chunked_flood(endpoint: Endpoint) -> int:
    def parts() -> Iterator[bytes]:
        yield head("POST", "/v1/chat/completions", "Content-Type: application/json", "Transfer-Encoding: chunked")
        for _ in range(100):
            yield b"100000\r\n" + b" " * 2**20 + b"\r\n"

    return _status(endpoint, parts(), 20.0)


def _deep(depth: int) -> bytes:
    return b'{"messages": ' + b"[" * depth + b"]" * depth + b"}"


def _deep_schema() -> bytes:
    schema: dict[str, object] = {"type": "object"}
    for _ in range(90):
        schema = {"type": "object", "properties": {"a": schema}}
    wanted = {"type": "json_schema", "json_schema": {"name": "deep", "schema": schema}}
    return json.dumps(SUM | {"response_format": wanted}).encode()


def _parts(n: int) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": [1] * n}]}).encode()


def _marked(n: int) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": "a" + "\u0301\u0316" * n}]}).encode()


def _duration(text: str) -> bytes:
    body = json.dumps(SUM | {"keep_alive": text}).encode()
    return head("POST", "/api/chat", "Content-Type: application/json", f"Content-Length: {len(body)}") + body


def _get(path: str) -> Callable[[Endpoint], int]:
    return _plain(head("GET", path))


ATTACKS: Final = (
    Attack("no key", _plain(chat(key=None)), 401),
    Attack("a wrong key", _plain(chat(key="sk-wrong")), 401),
    Attack("the beginning of a key", _plain(chat(key=KEY[:-1])), 401),
    Attack("an empty key", _plain(chat(key="")), 401),
    Attack("a key in the address", _plain(head("GET", f"/v1/models?api_key={KEY}", key=None)), 401),
    Attack("metrics without a key", _plain(head("GET", "/metrics", key=None)), 401),
    Attack("a rebound host name", _plain(chat(host="attacker.example")), 403),
    Attack("a rebound host name with our port", _plain(chat(host="attacker.example:8080")), 403),
    Attack("a host name that only begins like ours", _plain(chat(host="localhost.attacker.example")), 403),
    Attack("a host with a user before it", _plain(chat(host="localhost@attacker.example")), 403),
    Attack("half an address as the host", _plain(chat(host="[::1")), 403),
    Attack("no host (HTTP/1.0)", _plain(b"GET /health HTTP/1.0\r\n\r\n"), 403),
    Attack("no host (HTTP/1.1)", _plain(b"GET /health HTTP/1.1\r\n\r\n"), 400),
    Attack("a page of a foreign origin", _plain(chat("Origin: https://attacker.example")), 403),
    Attack("a sandboxed page", _plain(chat("Origin: null")), 403),
    Attack("a page of another port", _plain(chat("Origin: http://127.0.0.1:1")), 403),
    Attack(
        "a foreign page asking for leave",
        _plain(head("OPTIONS", "/v1/models", "Origin: https://attacker.example", "Access-Control-Request-Method: GET", key=None)),
        400,
    ),
    Attack("a form of a foreign page", _plain(chat().replace(b"application/json", b"text/plain")), 400),
    Attack("100 MB, announced", _plain(head("POST", "/v1/chat/completions", "Content-Length: 100000000")), 413),
    Attack("100 MB in chunks", _chunked_flood, 413),
    Attack("a head that comes too slowly", _slowly(b"GET /health HTTP/1.1\r\n", b"X-A: b\r\n"), 0),
    Attack("a connection that says nothing", lambda endpoint: status(endpoint, b""), 0),
    Attack("a body that does not come", _slowly(head("POST", "/v1/chat/completions", "Content-Length: 5000"), b""), 408),
    Attack("a body that trickles", _slowly(head("POST", "/v1/chat/completions", "Content-Length: 5000"), b"{"), 408),
    Attack("a head of 100 kB", _plain(head("GET", "/health", "X-A: " + "a" * 100_000)), 431),
    Attack("a head of 10 MB", _plain(head("GET", "/health", "X-A: " + "a" * 10_000_000)), 400),
    Attack("a request line of nonsense", _plain(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"), 400),
    Attack("two lengths of one body", _plain(head("POST", "/v1/chat/completions", "Content-Length: 5", "Content-Length: 6") + b"hi"), 400),
    Attack("100,000 nested lists", _plain(chat(body=_deep(100_000))), 400),
    Attack("a schema 90 levels deep", _plain(chat(body=_deep_schema())), 400),
    Attack("bytes that are no UTF-8", _plain(chat(body=b'{"messages": "\xff\xfe"}')), 400),
    Attack("half a character", _plain(chat(body=b'{"messages": [{"role": "user", "content": "\\ud800"}]}')), 400),
    Attack("NaN as a number", _plain(chat(body=b'{"messages": [{"role": "user", "content": "hi"}], "temperature": NaN}')), 400),
    Attack(
        "a number that no float holds", _plain(chat(body=b'{"messages": [{"role": "user", "content": "hi"}], "temperature": 1e400}')), 400
    ),
    Attack("50,000 parts that are none", _plain(chat(body=_parts(50_000))), 400),
    Attack("a million values", _plain(chat(body=_parts(1_000_000))), 400),
    Attack("60,000 marks on one letter", _plain(chat(body=_marked(30_000))), 400),
    Attack("a duration of 100,000 digits", _plain(_duration("1" * 100_000 + "x")), 400),
    Attack("a path as the model's name", _plain(chat(body=json.dumps(SUM | {"model": "../../etc/passwd"}).encode())), 404),
    Attack("a file beside the page", _get("/static/../run.py"), 404),
    Attack("the same, percent-encoded", _get("/static/%2e%2e/run.py"), 404),
    Attack("the same, with an encoded slash", _get("/static/..%2frun.py"), 404),
    Attack("the same, twice encoded", _get("/static/%252e%252e/run.py"), 404),
    Attack("the same, with a backslash", _get("/static/..%5crun.py"), 404),
    Attack("an absolute path", _get("/static//etc/passwd"), 404),
    Attack("a zero byte in a path", _get("/static/index.html%00.js"), 404),
    Attack("a folder as a file", _get("/static/"), 404),
)
