"""The programs that run here, and the memory they hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
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


@dataclass(frozen=True)
class Listener:
    """Who listens on a port; `pid` is None and `name` empty where the system does not tell, as it may of other users' programs."""

    pid: int | None = None
    name: str = ""


def listener(port: int) -> Listener:
    """The program that listens on a TCP port of this machine."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:  # macOS tells root alone
        return Listener()
    pids = [found.pid for found in connections if found.status == psutil.CONN_LISTEN and found.laddr.port == port and found.pid]
    return Listener(pids[0], process_name(pids[0])) if pids else Listener()


@dataclass(frozen=True)
class Started:
    """A running program, and when it was started (seconds since 1970)."""

    pid: int
    started_at: float


def find_process(arguments: Sequence[str]) -> Started | None:
    """The oldest program of this user whose command line ends with these arguments."""
    wanted = [*arguments]
    found = [
        Started(process.pid, process.info["create_time"])
        for process in psutil.process_iter(["cmdline", "create_time"])
        if wanted and (process.info["cmdline"] or [])[-len(wanted) :] == wanted
    ]
    return min(found, key=lambda process: process.started_at, default=None)


@dataclass(frozen=True)
class Running:
    """A running program: the words that it was started with, and its environment, which is empty where the system does not tell."""

    pid: int
    arguments: tuple[str, ...]
    environment: Mapping[str, str]


def family(pid: int) -> set[int]:
    """A process and all that it has started."""
    try:
        return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    except psutil.Error:  # it has ended meanwhile
        return {pid}


def running_programs(is_meant: Callable[[Sequence[str]], bool]) -> list[Running]:
    """The programs of this user whose command line is meant, but this one and whatever started it."""
    own = psutil.Process()
    user, excluded = own.username(), {own.pid, *(parent.pid for parent in own.parents())}
    return [
        Running(process.pid, tuple(process.info["cmdline"]), process.info["environ"] or {})
        for process in psutil.process_iter(["cmdline", "environ", "username"])
        if process.pid not in excluded
        and process.info["username"] == user
        and process.info["cmdline"]
        and is_meant(process.info["cmdline"])
    ]
