"""`qwq serve` as a program of its own, for benchmarks, and a client that is light enough to be two hundred."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, Final
from urllib.parse import urlsplit

import psutil

PATIENCE_SECONDS: Final = 120.0


@dataclass(frozen=True)
class Serve:
    """A running `qwq serve`: its address and its process."""

    url: str
    process: subprocess.Popen[str]

    def get(self, path: str) -> tuple[int, str]:
        """Status and body."""
        request = urllib.request.Request(self.url + path)  # noqa: S310 - a server of our own on loopback
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:  # noqa: S310 - likewise
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def number(self, name: str) -> float:
        """One of /metrics."""
        found = re.search(rf"^{name} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        if found is None:
            raise RuntimeError(f"/metrics has no {name}")
        return float(found[1])


@contextmanager
def serve(*options: object) -> Iterator[Serve]:
    """Start it on a free port, wait until it is ready, and end it."""
    command = [sys.executable, "-m", "qwq_local.cli", "serve", "--port", "0", *map(str, options)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Serve(_ready(process), process)
        finally:
            process.terminate()


def _drain(log: IO[str]) -> None:
    with suppress(ValueError):  # it was closed, since the process has ended
        for _ in log:
            pass


def _ready(process: subprocess.Popen[str]) -> str:
    assert process.stderr, "it is a pipe"
    for line in process.stderr:
        if found := re.search(r"(http://\S+) +(\S+) is ready", line):
            threading.Thread(target=_drain, args=(process.stderr,), daemon=True).start()  # or its log would fill the pipe
            return found[1]
    raise RuntimeError(f"the server ended with {process.wait()}")


@dataclass
class Streamed:
    """What one client saw."""

    status: int = 0
    reasoning: str = ""
    content: str = ""
    finish: str = ""
    error: str = ""
    is_done: bool = False
    n_events: int = 0
    first_token_seconds: float = 0.0


async def stream_chat(url: str, body: dict[str, Any], *, hang_up_after: float | None = None) -> Streamed:
    """One streamed chat completion, read to its end, or hung up on after so many seconds. Raises ValueError for a malformed stream."""
    seen = Streamed()
    started_at = time.perf_counter()
    try:
        async with asyncio.timeout(hang_up_after):
            async for data in events(url, "/v1/chat/completions", body, seen):
                _note(seen, data, started_at)
    except TimeoutError:
        if hang_up_after is None:
            raise
        return seen
    return seen


async def events(url: str, path: str, body: dict[str, Any], seen: Streamed) -> AsyncIterator[str]:
    """The events of one streamed answer, comments left out; status and errors go to `seen`."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        payload = json.dumps(body | {"stream": True}).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n".encode() + payload)
        await writer.drain()
        seen.status = int((await reader.readline()).split()[1])
        while (await reader.readline()).strip():
            pass
        held = b""
        async for part in _chunks(reader, is_chunked=seen.status == 200):
            held += part
            *complete, held = held.split(b"\n\n")
            for event in complete:
                if not event.startswith(b":"):
                    yield event.decode()
        if held.strip():
            seen.error = held.decode() if seen.status != 200 else f"cut short: {held.decode()!r}"
    finally:
        writer.transport.abort() if not seen.is_done else writer.close()


async def _chunks(reader: asyncio.StreamReader, *, is_chunked: bool) -> AsyncIterator[bytes]:
    if not is_chunked:
        yield await reader.read()
        return
    while size := int(await reader.readline() or b"0", 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)


def _note(seen: Streamed, event: str, started_at: float) -> None:
    if not event.startswith("data: ") or seen.is_done:
        raise ValueError(f"{event!r} is no event, or follows the last")
    if event == "data: [DONE]":
        seen.is_done = True
        return
    chunk = json.loads(event.removeprefix("data: "))
    seen.n_events += 1
    if "error" in chunk:
        seen.error = chunk["error"]["message"]
        return
    for choice in chunk["choices"]:
        if seen.finish:
            raise ValueError(f"{event!r} follows the finish")
        delta = choice["delta"]
        text = (delta.get("reasoning_content") or "") + (delta.get("content") or "")
        seen.reasoning += delta.get("reasoning_content") or ""
        seen.content += delta.get("content") or ""
        if text and not seen.first_token_seconds:
            seen.first_token_seconds = time.perf_counter() - started_at
        seen.finish = choice["finish_reason"] or ""


def question(text: str, **options: int) -> dict[str, Any]:
    """A body that asks one thing."""
    return {"messages": [{"role": "user", "content": text}], **options}


def kill_engine(process: subprocess.Popen[str], signal_number: int) -> int:
    """Kill the process of the engine; its id, or 0 where it has none just now."""
    children = psutil.Process(process.pid).children()
    if not children:
        return 0
    children[0].send_signal(signal_number)
    return int(children[0].pid)
