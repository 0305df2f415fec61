"""A confined process as its parent sees it: started, listened to, ended at its limits, and gone with all that it left."""

from __future__ import annotations

import marshal
import math
import os
import platform
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final

from qwq_local.sandbox.filter import seccomp_filter
from qwq_local.sandbox.limits import End, Limits, Outcome
from qwq_local.sandbox.places import interpreter, readable_places

_SETUP_SECONDS: Final = 60.0
"""For namespaces and folders, which take milliseconds where nothing is wrong."""
_ENDING_SECONDS: Final = 30.0
"""For the kernel to kill what is left."""
_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}
_CONFINE: Final = Path(__file__).with_name("confine.py")


class CannotConfineError(Exception):
    """A step that confines failed: the message names it. Nothing of the program was run."""


def run_confined(source: str, stdin: bytes, limits: Limits) -> Outcome:
    """Run a program to its end, or to the end of its limits; none of its processes is left. Raises CannotConfineError."""
    with ExitStack() as stack:
        job = stack.enter_context(_sealed("job", marshal.dumps(_job(source, limits))))
        given = stack.enter_context(_sealed("stdin", stdin))
        status, status_end = _pipe(stack)
        lifeline_end, lifeline = _pipe(stack)
        process = stack.enter_context(_started(given, [job, status_end.fileno(), lifeline_end.fileno()]))
        hearing = _Hearing(process, status, lifeline, limits)
        stack.callback(hearing.stop)  # whatever is raised here, it ends before it is waited for
        status_end.close()
        lifeline_end.close()
        hearing.hear()
    return hearing.outcome()


def _started(stdin: int, files: list[int]) -> subprocess.Popen[bytes]:
    command = [interpreter(), "-I", "-S", "-B", str(_CONFINE), *map(str, files)]
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(  # noqa: S603 - our own program
            command, stdin=stdin, stdout=pipe, stderr=pipe, bufsize=0, cwd="/", env={}, pass_fds=files, start_new_session=True
        )
    except OSError as error:
        raise CannotConfineError(f"{command[0]}: {error.strerror}") from error


def _job(source: str, limits: Limits) -> dict[str, Any]:
    machine = platform.machine()
    places = readable_places()
    return {
        "source": source,
        "executable": places.executable,
        "trees": places.trees,
        "links": places.links,
        "limits": asdict(limits),
        "hidden": places.hidden,
        "filter": seccomp_filter(machine),
        "pivot_root": _PIVOT_ROOT[machine],
    }


@contextmanager
def _sealed(name: str, content: bytes) -> Iterator[int]:
    """An open file in memory that nobody can change any more."""
    import fcntl  # there is none on Windows

    file = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(file, "wb", closefd=False) as writer:
            writer.write(content)
        os.lseek(file, 0, os.SEEK_SET)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        yield file
    finally:
        os.close(file)


def _pipe(stack: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    """Its end to read and its end to write."""
    reading, writing = os.pipe()
    return stack.enter_context(os.fdopen(reading, "rb", buffering=0)), stack.enter_context(os.fdopen(writing, "wb", buffering=0))


@dataclass
class _Hearing:
    """What is heard of one process, until it and all below it have closed what they speak through, which is when they have ended."""

    process: subprocess.Popen[bytes]
    status: IO[bytes]
    lifeline: IO[bytes]
    limits: Limits
    reason: End | None = None
    """Why it was stopped."""
    said: dict[IO[bytes], bytearray] = field(default_factory=dict)
    _deadline: float = 0.0
    _is_stopped: bool = False
    _has_started: bool = False

    def hear(self) -> None:
        """Listen to the end. Raises subprocess.TimeoutExpired where the kernel does not end it."""
        assert self.process.stdout is not None, "it is a pipe"
        assert self.process.stderr is not None, "likewise"
        self._deadline = time.monotonic() + _SETUP_SECONDS
        with selectors.DefaultSelector() as selector:
            for file in (self.process.stdout, self.process.stderr, self.status):
                self.said[file] = bytearray()
                selector.register(file, selectors.EVENT_READ, file)
            while selector.get_map():
                for key, _ in selector.select(max(0.0, self._deadline - time.monotonic())):
                    if not self._take(key.data):
                        selector.unregister(key.fileobj)
                if time.monotonic() >= self._deadline:
                    self._run_out()

    def _take(self, file: IO[bytes]) -> bool:
        """Read what has come; whether more can come."""
        piece: bytes = os.read(file.fileno(), 1 << 16)
        heard = self.said[file]
        if file is self.status:
            heard += piece
            self._note_start()
        else:
            heard += piece[: self.limits.output_bytes - len(heard)]
            if len(piece) > 0 and len(heard) >= self.limits.output_bytes:
                self._stop_for("too much output")
        return bool(piece)

    def _note_start(self) -> None:
        if not self._has_started and b"\n" in self.said[self.status]:
            self._has_started = True
            self._deadline = time.monotonic() + self.limits.seconds

    def _run_out(self) -> None:
        if self._is_stopped:
            self.process.kill()
            raise subprocess.TimeoutExpired(self.process.args, _ENDING_SECONDS)
        self._stop_for("too slow")

    def _stop_for(self, reason: End) -> None:
        if self.reason is None:
            self.reason = reason
            self._deadline = time.monotonic() + _ENDING_SECONDS
            self.stop()

    def stop(self) -> None:
        """Let it end, as soon as may be."""
        if self._is_stopped:
            return
        self._is_stopped = True
        try:
            self.lifeline.write(b"\n")
        except BrokenPipeError:
            return  # it has ended by itself

    def outcome(self) -> Outcome:
        """What it came to. Raises CannotConfineError where it was never run."""
        lines = bytes(self.said[self.status]).decode("utf-8", "replace").splitlines()
        facts = {name: fact for name, _, fact in (line.partition(" ") for line in lines)}
        stdout, stderr = (bytes(heard).decode("utf-8", "replace") for file, heard in self.said.items() if file is not self.status)
        if "refused" in facts or "started" not in facts:
            raise CannotConfineError(facts.get("refused") or stderr.strip() or "the process that confines was ended from outside")
        # Without a report the first process of the namespace was killed from outside, as the kernel does where memory runs out.
        code = int(facts.get("code", -signal.SIGKILL))
        found = Outcome(
            self.reason or "done",
            code,
            stdout,
            stderr,
            float(facts.get("seconds", 0)),
            float(facts.get("cpu_seconds", 0)),
            int(facts.get("peak_bytes", 0)),
        )
        return found if self.reason else _named_end(found, self.limits)


def _named_end(found: Outcome, limits: Limits) -> Outcome:
    """The same with the limit named that ended it, where it was one of those that the kernel keeps (pure)."""
    if found.code == -signal.SIGKILL and found.cpu_seconds > math.ceil(limits.cpu_seconds) - 0.5:
        return replace(found, end="too slow")
    if found.code != 0 and _lacked_memory(found):
        return replace(found, end="too much memory")
    return replace(found, end="signal") if found.code < 0 else found


def _lacked_memory(found: Outcome) -> bool:
    """Python's own word for it, or what Python 3.13 prints where no memory is left for a traceback (Objects/object.c, _PyObject_Dump)."""
    return found.last_words.startswith("MemoryError") or (
        found.last_words == "lost sys.stderr" and "\nobject type name: MemoryError\n" in found.stderr[-500:]
    )
