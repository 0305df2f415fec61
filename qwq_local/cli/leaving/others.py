"""What else there is of this program: others that run, and the service that starts it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Final, NamedTuple

from qwq_local.errors import InstallationError
from qwq_local.machine.processes import Running, family, running_programs
from qwq_local.service.here import find_manager
from qwq_local.service.manager import Manager

PROGRAMS: Final = frozenset({"qwq", "qwq-desktop"})
MODULE: Final = "qwq_local.cli"
PLACES: Final = ("HOME", "USERPROFILE", "QWQ_DATA", "QWQ_MODELS", "XDG_DATA_HOME", "XDG_CACHE_HOME")
"""The variables that a program's folders follow from."""


class Service(NamedTuple):
    """The service of this user, where there is one, and what keeps us from looking, or nothing."""

    manager: Manager | None
    pid: int | None = None
    problem: str = ""


def find_service() -> Service:
    """The service that `qwq service install` made, or the one of the Debian package where it is used."""
    try:
        manager = find_manager()
        if manager.find() is None:
            return Service(None)
        return Service(manager, manager.state().pid)
    except InstallationError as error:
        return Service(None, problem=f"{error} {error.hint}".strip())


def is_ours(arguments: Sequence[str]) -> bool:
    """Whether a command line is that of this program: its own name, a Python that runs its script, or `python -m`."""
    words = arguments[:2] if PurePath(arguments[0]).name.startswith("python") else arguments[:1]
    return any(PurePath(word).stem in PROGRAMS for word in words) or MODULE in arguments[1:4]


def find_running(service: Service, environment: Mapping[str, str] = os.environ) -> list[Running]:
    """The programs of ours that use the same folders, but for the service and what it has started."""
    served = family(service.pid) if service.pid else set()
    return [
        program
        for program in running_programs(is_ours)
        if program.pid not in served
        and (not program.environment or all(program.environment.get(name) == environment.get(name) for name in PLACES))
    ]
