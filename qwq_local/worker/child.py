"""A child process as its parent sees it: what to send, what comes, how it ended."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import IO, Final, TypeVar, cast

from qwq_local.errors import WorkerDiedError
from qwq_local.worker.messages import Call, Channel, Close, FromChild, Load, Refused, Returned, ToChild
from qwq_local.worker.process import command

LAST_LINES: Final = 5
LINE_BYTES: Final = 500
SHORT_SECONDS: Final = 2.0
"""For what a dying process still has to do."""

_CRASH_HINT: Final = "Ask again; should it die again, try fewer GPU layers (--gpu-layers), and report what it said."
_HINTS: Final = {
    "SIGKILL": "Most likely the system was out of memory: try a shorter context (--ctx), a smaller cache (--kv-type q8_0) or fewer bits.",
    "SIGILL": "llama.cpp was built for another CPU: install llama-cpp-python again, so that it is compiled for this one.",
    "SIGBUS": "The model's file may have been cut short while it was read: qwq verify",
    "SIGTERM": "Somebody has ended it.",
}

Made = TypeVar("Made")


class ChildProcess:
    """A process that has been started, and given its first message.

    `on_message` is told, in a thread of its own, what the child says, and then `on_end`, once, that it says no more. Raises OSError where
    no process can be started.
    """

    def __init__(
        self,
        first: Load | Call,
        on_message: Callable[[ChildProcess, FromChild], None],
        on_end: Callable[[ChildProcess], None],
    ) -> None:
        # Without a backtrace, so that the last line is the one that says what went wrong (ggml/src/ggml.c, ggml_print_backtrace).
        environment = {"GGML_NO_BACKTRACE": "1"} | os.environ
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command(), stdin=pipe, stdout=pipe, stderr=pipe, env=environment)  # noqa: S603 - our own program
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None, "it was asked for"
        assert stdout is not None, "likewise"
        assert stderr is not None, "likewise"
        self._stdin, self._stdout = stdin, stdout
        self._channel = Channel[ToChild, FromChild](stdout, stdin)
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._on_message, self._on_end = on_message, on_end
        self._threads = [
            threading.Thread(target=self._read, name="qwq-child", daemon=True),
            threading.Thread(target=self._listen, args=(stderr,), name="qwq-child-stderr", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self.send(first)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def send(self, message: ToChild) -> None:
        """Send a message; one that has ended cannot read it, and its end is told otherwise."""
        with suppress(OSError):
            self._channel.send(message)

    def end(self, grace_seconds: float) -> None:
        """Ask it to close, then terminate it, then kill it; at the end it is gone."""
        if self._stdin.closed:
            return
        # In a thread, since one that reads no more would let us wait for ever.
        closer = threading.Thread(target=self.send, args=(Close(),), name="qwq-child-close", daemon=True)
        closer.start()
        self._wait(grace_seconds)
        self._process.terminate()
        self._wait(SHORT_SECONDS)
        self.kill()
        closer.join()
        self._release()

    def kill(self) -> None:
        """End it now."""
        self._process.kill()

    def post_mortem(self, doing: str) -> WorkerDiedError:
        """Free what is left of a child that says no more, and tell how it ended; `doing` says what it did at the time."""
        self._wait(SHORT_SECONDS)
        self.kill()
        self._release()
        how, hint = _describe_end(self._process.returncode)
        said = f" It said: {chr(10).join(self._last_lines)}" if self._last_lines else ""
        return WorkerDiedError(f"The engine's process {how} while it {doing}.{said}", hint=hint)

    def _wait(self, seconds: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def _release(self) -> None:
        self._process.wait()
        for thread in self._threads:
            # A grandchild may hold the pipes open; then its thread ends with it.
            thread.join(SHORT_SECONDS)
        with suppress(OSError):
            self._stdin.close()

    def _read(self) -> None:
        try:
            with self._stdout:
                if self._channel.await_greeting():
                    while (message := self._channel.receive()) is not None:
                        self._on_message(self, message)
        except Exception as error:  # noqa: BLE001 - whatever it was, the child cannot be understood any more
            self._last_lines.append(f"{type(error).__name__}: {error}")
            self.kill()
        finally:
            self._on_end(self)

    def _listen(self, stderr: IO[bytes]) -> None:
        with stderr:
            while line := stderr.readline(LINE_BYTES):
                if text := line.decode("utf-8", "replace").strip():
                    self._last_lines.append(text)


def call_apart(function: Callable[[], Made]) -> Made:
    """What a function returns that is called in a process of its own; it and its result must be fit to be pickled.

    Raises what it raises: a QwqError as it is, others as LoadError; WorkerDiedError where the process ends without an answer.
    """
    news: SimpleQueue[FromChild | None] = SimpleQueue()
    child = ChildProcess(Call(pickle.dumps(function)), lambda _, message: news.put(message), lambda _: news.put(None))
    try:
        answer = news.get()
        if isinstance(answer, Refused):
            raise answer.error
        if isinstance(answer, Returned):
            return cast("Made", answer.value)
        raise child.post_mortem("was asked for something")
    finally:
        child.end(SHORT_SECONDS)


def _describe_end(returncode: int) -> tuple[str, str]:
    if returncode < 0:
        name = next((known.name for known in signal.Signals if known == -returncode), f"signal {-returncode}")
        return f"was ended by {name}", _HINTS.get(name, _CRASH_HINT)
    code = f"{returncode:#x}" if returncode > 255 else f"{returncode}"  # Windows: an NTSTATUS, 0xc0000005 for an access violation
    return f"ended with exit code {code}", _CRASH_HINT
