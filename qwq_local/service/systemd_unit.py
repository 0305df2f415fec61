"""A service as systemd's user manager has it (pure): the unit's file, and what it says (systemd.service(5), systemd.exec(5)).

What a user's manager can do of systemd's hardening is here. It is not root, so the file system of the service's own stands on a user
namespace (PrivateUsers), where the system allows one. No PrivateDevices: the GPU is a device. ProtectProc, ProcSubset, PrivateIPC and
IPAddressDeny are missing since a user's manager passes over them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from qwq_local.errors import InstallationError
from qwq_local.service.order import DESCRIPTION, MAX_STARTS, NAME, RESTART_SECONDS, STARTS_SECONDS, STOP_SECONDS, Order, is_writable

UNIT: Final = f"{NAME}.service"
HOME: Final = "%h"
PACKAGED_FOLDERS: Final = (f"{HOME}/.local/share/qwq", f"{HOME}/.cache/qwq")
"""What every user's service of the Debian package writes to; `%h` is each one's home."""

_ALWAYS: Final = (
    "NoNewPrivileges=yes",
    "UMask=0077",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @keyring @setuid",
    "SystemCallErrorNumber=EPERM",
)
NAMESPACES: Final = (
    "PrivateUsers=yes",
    "PrivateTmp=yes",
    "ProtectSystem=strict",
    "ProtectHome=read-only",
    "ProtectControlGroups=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectHostname=yes",
    "CapabilityBoundingSet=",
)
_WORD: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


def render(order: Order) -> str:
    """The unit's file. Raises InstallationError for a text that no such file can hold."""
    return "\n".join([*_unit(order), "", *_service(order), "", "[Install]", "WantedBy=default.target", ""])


def _unit(order: Order) -> Iterator[str]:
    yield "[Unit]"
    yield f"Description={DESCRIPTION}"
    yield "Documentation=man:qwq(1)"
    yield f"ConditionFileIsExecutable={_percent(order.program[0])}"  # which knows no quotes
    yield f"StartLimitIntervalSec={STARTS_SECONDS}"
    yield f"StartLimitBurst={MAX_STARTS}"


def _service(order: Order) -> Iterator[str]:
    program, *arguments = order.command
    yield "[Service]"
    yield "Type=exec"
    if order.writable:  # outside of the service's own file system, where only what exists can be made writable
        yield " ".join(["ExecStartPre=+/bin/mkdir -p -m 0700 --", *map(_path, order.writable)])
    yield " ".join([f"ExecStart={_path(program)}", *map(_argument, arguments)])
    yield from (f"Environment={_quoted(_percent(f'{name}={text}'))}" for name, text in order.environment)
    yield "Restart=on-failure"
    yield f"RestartSec={RESTART_SECONDS}"
    yield f"TimeoutStopSec={STOP_SECONDS}"
    yield "KillMode=mixed"  # the server ends its engine itself, once answers are written
    yield "OOMPolicy=continue"  # an engine that was killed for want of memory is started again by the server
    yield ""
    yield from _ALWAYS
    if order.has_namespaces:
        yield from NAMESPACES
        yield from (f"ReadWritePaths=-{_path(folder)}" for folder in order.writable)


def _percent(text: str) -> str:
    if not is_writable(text):
        raise InstallationError(f"{text!r} cannot stand in a service's file.", hint="Use a name without control characters.")
    return text.replace("%", "%%")


def _path(text: str) -> str:
    return _quoted(HOME + _percent(text.removeprefix(HOME)) if text.startswith(f"{HOME}/") else _percent(text))


def _argument(text: str) -> str:
    return _quoted(_percent(text).replace("$", "$$"))


def _quoted(text: str) -> str:
    if re.fullmatch(r"[\w@%+=:,./$-]+", text, re.ASCII):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def read(text: str, home: str) -> Order | None:
    """What a unit's file says; None for one that runs something else than `qwq serve`."""
    commands = _values(text, "ExecStart")
    words = [word.replace("%%", "%") for word in _words(commands[0])] if len(commands) == 1 else []
    words[1:] = [word.replace("$$", "$") for word in words[1:]]
    if "serve" not in words:
        return None
    at = words.index("serve")
    variables = [word.replace("%%", "%").partition("=") for line in _values(text, "Environment") for word in _words(line)]
    made = [_words(line.partition(" -- ")[2]) for line in _values(text, "ExecStartPre")]
    return Order(
        tuple(words[:at]),
        tuple(words[at + 1 :]),
        tuple(sorted((name, value) for name, _, value in variables)),
        tuple(_expanded(folder, home) for folders in made for folder in folders),
        has_namespaces=_values(text, "PrivateUsers") == ["yes"],
    )


def _expanded(folder: str, home: str) -> str:
    return home + folder.removeprefix(HOME) if folder.startswith(f"{HOME}/") else folder.replace("%%", "%")


def _values(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


def _words(line: str) -> list[str]:
    """Its words, as systemd takes them apart: what is quoted is one word, and a backslash in it keeps the next letter."""
    return [re.sub(r"\\(.)", r"\1", quoted) if quoted else plain for quoted, plain in _WORD.findall(line)]
