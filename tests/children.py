"""What the engine's process loads in the tests: module-level, so that it can be named across the pipe; and the wire it reports through."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from qwq_local.backend import Backend, BatchToken, Rope
from qwq_local.engine.engine import Engine, JobEvent
from qwq_local.errors import DamagedFileError
from tests.fakes import FakeBackend
from tests.waiting import WAIT_SECONDS

OnProgress = Callable[[float], None]
LETTERS: Final = [ord("a") + i % 26 for i in range(3000)]


class Wire:
    """Where children report to: each connects, writes lines, and its connection ends when it does."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(WAIT_SECONDS)
        self.port: int = self._server.getsockname()[1]
        self._connections: list[socket.socket] = []

    def accept(self) -> socket.socket:
        """The connection of the next child."""
        connection, _ = self._server.accept()
        connection.settimeout(WAIT_SECONDS)
        self._connections.append(connection)
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for each in (self._server, *self._connections):
            each.close()


def await_line(connection: socket.socket, wanted: str) -> None:
    """Read what a child reports up to this line."""
    with connection.makefile("rb", buffering=0) as file:
        while (line := file.readline()) != f"{wanted}\n".encode():
            assert line, f"the child has ended before it said {wanted!r}"


def await_end(connection: socket.socket) -> None:
    """Wait until the child is gone."""
    while connection.recv(4096):
        pass


class ReportingBackend(FakeBackend):
    """A fake that reports each decode before it does it."""

    def __init__(self, wire: socket.socket, **options: Any) -> None:
        super().__init__(**options)
        self._wire = wire

    def decode(self, batch: Sequence[BatchToken]) -> None:
        self._wire.sendall(b"decode\n")
        super().decode(batch)


def fake(on_progress: OnProgress, port: int = 0, **options: Any) -> FakeBackend:
    """A backend of equal rank, loaded in two steps; it reports to a port where one is given."""
    on_progress(0.5)
    on_progress(1.0)
    return ReportingBackend(_connect(port), **options) if port else FakeBackend(**options)


def endless(on_progress: OnProgress, port: int = 0) -> FakeBackend:
    """A fake that answers with three thousand letters."""
    return fake(on_progress, port, replies=dict.fromkeys(range(1000), LETTERS), n_ctx=4000, n_sequences=4)


def stuck(on_progress: OnProgress, port: int) -> FakeBackend:
    """Loads for ever."""
    on_progress(0.25)
    _connect(port).sendall(b"loading\n")
    threading.Event().wait()
    raise AssertionError("nobody sets that event")


def once_there(_: OnProgress, path: str) -> FakeBackend:
    """Loads a file that is damaged while it is there."""
    if os.path.exists(path):  # noqa: PTH110 - a flag, no file
        raise DamagedFileError("it ends too early", hint="Pull it again.")
    return FakeBackend()


def mistaken(_: OnProgress) -> FakeBackend:
    """Fails in a way that nobody foresaw."""
    raise ZeroDivisionError("a bug")


def crashing(on_progress: OnProgress, path: str) -> FakeBackend:
    """Dies while it loads, until a file is there; says so first, as llama.cpp does."""
    if os.path.exists(path):  # noqa: PTH110 - likewise
        return fake(on_progress)
    print("GGML_ASSERT(wanted != NULL) failed", file=sys.stderr, flush=True)  # noqa: T201 - the last words
    os.abort()


def aborting(_: OnProgress, *, at: int) -> FakeBackend:
    """Dies in a decode."""

    def die(number: int) -> None:
        if number == at:
            os.write(2, b"first words\n\nGGML_ASSERT(n_tokens <= n_batch) failed\n")
            os.abort()

    return FakeBackend(before_decode=die)


def exiting(_: OnProgress) -> FakeBackend:
    """Ends with a decode, as nothing should."""
    return FakeBackend(before_decode=lambda _: os._exit(3))


def broken(on_progress: OnProgress, port: int) -> FakeBackend:
    """An engine that dies of a bug."""
    return fake(on_progress, port, faults={1: ZeroDivisionError("a bug")})


def noisy(on_progress: OnProgress) -> FakeBackend:
    """Prints where the messages would go, in Python and below it."""

    def print_more(number: int) -> None:
        print("decode", number, flush=True)  # noqa: T201 - what this is about
        os.write(1, b"\0\0\0\1more\n")

    return fake(on_progress, before_decode=print_more)


class SpyEngine(Engine):
    """An engine that reports what it is asked."""

    def __init__(self, backend: Backend, port: int) -> None:
        super().__init__(backend)
        self._wire = _connect(port)

    def answer_now(self, job_id: int) -> list[JobEvent]:
        self._wire.sendall(f"answer now {job_id}\n".encode())
        return super().answer_now(job_id)

    def preread(self, tokens: tuple[int, ...], rope: Rope) -> None:
        self._wire.sendall(f"preread {tokens} {rope}\n".encode())
        super().preread(tokens, rope)


def fail_an_assertion() -> None:
    """Ends this process as ggml does where one of its assertions fails."""
    from qwq_local.llama._ggml import load  # here, since it takes a child a tenth of a second to import

    load("ggml-base").ggml_abort(b"ggml.c", 123, b"GGML_ASSERT(n_dims >= 1) failed")


def read_nothing() -> None:
    """Ends this process as a wild pointer does."""
    ctypes.string_at(0)


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), WAIT_SECONDS)
