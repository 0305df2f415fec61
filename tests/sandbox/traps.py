"""What hostile programs would like to reach, and whether anything of it was touched."""

from __future__ import annotations

import os
import secrets
import select
import socket
import tempfile
import time
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qwq_local.sandbox import Outcome

SECRET_NAME: Final = "QWQ_TEST_SECRET"  # noqa: S105 - the name of a variable
_OURS: Final = (b"/program.py", b"confine.py")
"""What stands in the command lines of the sandbox's processes."""


@dataclass(frozen=True)
class Trap:
    """A folder with canaries, listeners on the loopback device and on Unix sockets, and a secret in the environment."""

    home: Path
    mark: str
    port: int
    listeners: tuple[socket.socket, ...]
    pids_before: frozenset[int]

    def set_up(self, source: str) -> str:
        """A hostile program, aimed at these."""
        marks = {"@HOME@": str(self.home), "@PID@": str(os.getpid()), "@PORT@": str(self.port), "@MARK@": self.mark}
        for mark, place in marks.items():
            source = source.replace(mark, place)
        return source

    def escapes(self, outcome: Outcome) -> list[str]:
        """What was touched, seen, told, or left behind."""
        found = {
            "it says so": "ESCAPED" in outcome.stdout,
            "a canary is gone": _content(self.home / "canary") != f"canary {self.mark[::-1]}",
            "a secret was read": self.mark[::-1] in outcome.stdout + outcome.stderr,
            "files were written": sorted(each.name for each in self.home.iterdir()) != ["canary", "folder", "socket"],
            "files were written elsewhere": any(Path(folder, self.mark).exists() for folder in ("/tmp", "/dev/shm", "/etc")),  # noqa: S108 - where it tries
            "a listener was spoken to": bool(select.select(self.listeners, [], [], 0)[0]),
            "processes are left": bool(left_processes(self.pids_before)),
        }
        return [what for what, is_so in found.items() if is_so]


def _unix_listeners(stack: ExitStack, path: str, abstract: str, datagrams: str) -> list[socket.socket]:
    kinds = {path: socket.SOCK_STREAM, abstract: socket.SOCK_STREAM, datagrams: socket.SOCK_DGRAM}
    made = []
    for address, kind in kinds.items():
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
        listener.bind(address)
        if kind == socket.SOCK_STREAM:
            listener.listen()
        made.append(listener)
    return made


def _content(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


@contextmanager
def trap() -> Iterator[Trap]:
    """Set one up, and take it away."""
    mark = secrets.token_hex(8)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qwq-trap-")))
        (home / "canary").write_text(f"canary {mark[::-1]}", "utf-8")
        (home / "folder").mkdir()
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port: int = tcp.getsockname()[1]
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", port))
        unix = _unix_listeners(stack, str(home / "socket"), f"\0{mark}-stream", f"\0{mark}")
        os.environ[SECRET_NAME] = f"secret {mark[::-1]}"
        stack.callback(os.environ.pop, SECRET_NAME)
        yield Trap(home, mark, port, (tcp, udp, *unix), frozenset(sandboxed_processes()))


def sandboxed_processes() -> set[int]:
    """Processes of the sandbox by their command lines, and those of other PID namespaces than this, where one may see that.

    Those of other tests that run beside this one, in processes of the same parent, are left out.
    """
    here = _namespace("self")
    found = set()
    for name in (path.name for path in Path("/proc").iterdir()):
        if name.isdecimal() and (_is_ours(name) or _namespace(name) not in {here, ""}) and not _is_of_others(int(name)):
            found.add(int(name))
    return found


def left_processes(before: AbstractSet[int]) -> set[int]:
    """Those of the sandbox that were not there before and stay; what other tests have orphaned is gone within a moment."""
    until = time.monotonic() + 2
    while (left := sandboxed_processes() - before) and time.monotonic() < until:
        time.sleep(0.05)
    return left


def _is_of_others(pid: int) -> bool:
    while pid > 1:
        parent = _parent(pid)
        if parent == os.getppid():
            return pid != os.getpid()
        pid = parent
    return False


def _parent(pid: int) -> int:
    """0 where it has ended meanwhile; the name of a program may hold blanks and brackets (proc_pid_stat(5))."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _is_ours(pid: str) -> bool:
    try:
        return any(word in Path("/proc", pid, "cmdline").read_bytes() for word in _OURS)
    except OSError:  # it has ended meanwhile
        return False


def _namespace(pid: str) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:  # it has ended meanwhile, or is another user's
        return ""
