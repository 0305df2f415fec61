"""A service as macOS's launchd has it (pure): the property list of a user's agent, and what it says (launchd.plist(5))."""

from __future__ import annotations

import plistlib
from itertools import chain
from pathlib import PurePath
from typing import Any, Final
from xml.parsers.expat import ExpatError

from qwq_local.errors import InstallationError
from qwq_local.service.order import STOP_SECONDS, Order, is_writable

LABEL: Final = "local.qwq.serve"
THROTTLE_SECONDS: Final = 10
"""launchd starts what died again, but no sooner than this after it was started last."""
_WRITABLE: Final = "QwqWritable"
"""Ours: launchd passes over keys that it does not know."""


def render(order: Order, log: PurePath) -> bytes:
    """The property list; what the service tells goes to the file `log`. Raises InstallationError for control characters."""
    for text in (*order.command, *chain.from_iterable(order.environment), *order.writable):
        if not is_writable(text):
            raise InstallationError(f"{text!r} cannot stand in a service's file.", hint="Use a name without control characters.")
    return plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": [*order.command],
            "EnvironmentVariables": dict(order.environment),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": THROTTLE_SECONDS,
            "ExitTimeOut": STOP_SECONDS,
            "ProcessType": "Interactive",  # any other is slowed down while the user works
            "Umask": 0o077,
            "StandardOutPath": str(log),
            "StandardErrorPath": str(log),
            _WRITABLE: [*order.writable],
        },
        sort_keys=False,
    )


def read(content: bytes) -> Order | None:
    """What a property list says; None for one that runs something else than `qwq serve`."""
    try:
        job: Any = plistlib.loads(content)
    except (plistlib.InvalidFileException, ExpatError, ValueError):
        return None
    command = job.get("ProgramArguments", []) if isinstance(job, dict) else []
    if "serve" not in command:
        return None
    at = command.index("serve")
    environment = tuple(sorted(job.get("EnvironmentVariables", {}).items()))
    return Order(tuple(command[:at]), tuple(command[at + 1 :]), environment, tuple(job.get(_WRITABLE, ())))
