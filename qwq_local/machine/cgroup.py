"""What a Linux control group, and so a container, allows of the machine.

Version 2: Documentation/admin-guide/cgroup-v2.rst of Linux; version 1: Documentation/admin-guide/cgroup-v1/memory.rst and
Documentation/scheduler/sched-bwc.rst. Every group above one's own limits it too; inside a container one's own is often seen as the root.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

ROOT: Final = Path("/")
NO_LIMIT_BYTES: Final = 2**62
"""Version 1 writes a number near 2**63 where nothing is limited."""


class MemoryLimit(NamedTuple):
    """Bytes allowed, and how many of them are not yet taken by what cannot be dropped."""

    limit_bytes: int
    available_bytes: int


def memory_limit(root: Path = ROOT) -> MemoryLimit | None:
    """The tightest limit on this process's memory, or None where there is none. `root` is where /proc and /sys are."""
    limits = [
        *_limits(root, "", "memory.max", "memory.current", "inactive_file"),
        *_limits(root, "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ]
    return min(limits, key=lambda limit: limit.available_bytes, default=None)


def cpu_quota(root: Path = ROOT) -> int | None:
    """How many cores the groups let this process keep busy, rounded up; None where nothing says."""
    texts = [_text(folder / "cpu.max") for folder in _folders(root, "")]
    texts += [f"{_text(folder / 'cpu.cfs_quota_us')} {_text(folder / 'cpu.cfs_period_us')}" for folder in _folders(root, "cpu")]
    quotas = [tuple(map(int, parts)) for parts in map(str.split, texts) if len(parts) == 2 and all(map(str.isdecimal, parts))]
    return min((max(1, math.ceil(quota / period)) for quota, period in quotas if period), default=None)


def _limits(root: Path, controller: str, limit: str, usage: str, droppable: str) -> Iterator[MemoryLimit]:
    for folder in _folders(root, controller):
        limit_text, usage_text = _text(folder / limit), _text(folder / usage)
        if limit_text.isdecimal() and usage_text.isdecimal() and int(limit_text) < NO_LIMIT_BYTES:
            statistics = dict(line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines() if " " in line)
            cached = statistics.get(droppable, "0")
            held_bytes = int(usage_text) - (int(cached) if cached.isdecimal() else 0)
            yield MemoryLimit(int(limit_text), max(0, int(limit_text) - max(0, held_bytes)))


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's group and of all above it; `controller` is empty for version 2."""
    mounts = [root / "sys/fs/cgroup" / controller] if controller else [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        if controller in controllers.split(","):
            parts = PurePosixPath(group).relative_to("/").parts if group.startswith("/") else ()
            for mount in mounts:
                yield from (mount.joinpath(*parts[:n]) for n in range(len(parts), -1, -1))


def _text(path: Path) -> str:
    """A small file's text; empty where it is not there or may not be read, which is how Linux says that nothing limits."""
    try:
        return path.read_text("ascii", errors="replace").strip()
    except OSError:
        return ""
