"""Whether this machine can confine programs: found out by confining one that tries what it must not."""

from __future__ import annotations

import json
import platform
import sys
from functools import cache
from typing import Any, Final

from qwq_local.sandbox.limits import Limits, Outcome
from qwq_local.sandbox.process import CannotConfineError, run_confined
from qwq_local.sandbox.syscalls import MACHINES

_LIMITS: Final = Limits(seconds=30.0, cpu_seconds=30.0, memory_bytes=256 << 20, folder_bytes=1 << 20, n_threads=4)
_PROBE: Final = """
import json, os, socket, threading

def fails(attempt):
    try:
        attempt()
    except (OSError, MemoryError):
        return True
    return False

def fork():
    if os.fork() == 0:
        os._exit(0)

def write(path, n_bytes=1):
    with open(path, "wb") as file:
        file.write(bytes(n_bytes))

def count_threads():
    leave = threading.Event()
    started = []
    try:
        for _ in range(40):
            started.append(threading.Thread(target=leave.wait, daemon=True))
            started[-1].start()
    except RuntimeError:
        return len(started) - 1
    finally:
        leave.set()
    return len(started)

write("/work/allowed")
n_threads = count_threads()
print(json.dumps({
    "start processes": not fails(fork),
    "open sockets": not fails(socket.socket),
    "see other processes": os.path.exists("/proc/self"),
    "see the system's settings": os.path.exists("/etc/passwd"),
    "write outside its folder": not fails(lambda: write("/elsewhere")) or not fails(lambda: write(os.__file__)),
    "fill the disk": not fails(lambda: write("/work/large", 2 << 20)),
    "fill the memory": not fails(lambda: bytearray(300 << 20)),
    "be root": os.geteuid() == 0,
    "start threads without end": n_threads > 4,
    "start no thread": n_threads < 1,
}))
"""
"""Says of each line whether it is so; none may be."""


@cache
def refusal() -> str:
    """Why programs cannot be confined here; nothing where they can. Takes a moment the first time."""
    if sys.platform != "linux":
        return f"it takes Linux's namespaces and seccomp, and this is {platform.system() or sys.platform}"
    if platform.machine() not in MACHINES or sys.maxsize < 1 << 32:
        return f"the system calls of this machine ({platform.machine()}, Python of {sys.maxsize.bit_length() + 1} bits) are not known"
    if getattr(sys, "frozen", False):
        return "this program was packed without a Python interpreter that others can be run with"
    try:
        return _judged(run_confined(_PROBE, b"", _LIMITS))
    except CannotConfineError as error:
        return str(error)


def _judged(probe: Outcome) -> str:
    """What is wrong with what the probe saw."""
    if not probe.is_done:
        return f"a confined Python does not run: {probe.last_words or probe.end}"
    found: dict[str, Any] = json.loads(probe.stdout)
    return ", ".join(f"a confined program could {what}" for what, is_so in found.items() if is_so)
