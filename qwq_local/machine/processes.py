"""The programs that run here, and the memory they hold."""

from __future__ import annotations

import os
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Process:
    """A running program, and the bytes it holds of whatever is asked about; `name` is empty where nobody tells."""

    pid: int
    name: str
    held_bytes: int


def process_name(pid: int) -> str:
    """What a running program is called; empty where the system does not tell."""
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return ""


def largest_process() -> Process | None:
    """The program of this user that holds most RAM, and is not ours."""
    own, user = {os.getpid(), os.getppid()}, psutil.Process().username()
    found = [
        Process(process.pid, process.info["name"] or "", process.info["memory_info"].rss)
        for process in psutil.process_iter(["name", "memory_info", "username"])
        if process.pid not in own and process.info["memory_info"] and process.info["username"] == user
    ]
    return max(found, key=lambda process: process.held_bytes, default=None)
