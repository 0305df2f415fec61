"""What runs as a service (data): the program and its options, what it needs of the environment, and the folders it writes to."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qwq_local.errors import InstallationError

NAME: Final = "qwq"
DESCRIPTION: Final = "QwQ-32B over HTTP"
STOP_SECONDS: Final = 45
"""What it gets to end: running answers have 30 by default (--stop-wait)."""
RESTART_SECONDS: Final = 2
MAX_STARTS: Final = 5
STARTS_SECONDS: Final = 300
"""More starts than that within so many seconds, and systemd gives up; launchd and the Task Scheduler only wait between two."""

_PATHS: Final = (
    "QWQ_CONFIG",
    "QWQ_DATA",
    "QWQ_MODELS",
    "QWQ_API_KEY_FILE",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "OLLAMA_MODELS",
)
_OTHERS: Final = (
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "HF_HUB_OFFLINE",
    "CUDA_VISIBLE_DEVICES",
    "GGML_VK_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
)
KEY_VARIABLE: Final = "QWQ_API_KEY"
_TEMPORARY: Final = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - what a service sees none of


@dataclass(frozen=True)
class Order:
    """`program` starts `qwq`, `options` are those of `qwq serve`; `writable` are the folders of chats and of what can be made again.

    `has_namespaces`: whether this system lets a user's services see a file system of their own. Only systemd asks.
    """

    program: tuple[str, ...]
    options: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    writable: tuple[str, ...] = ()
    has_namespaces: bool = True

    @property
    def command(self) -> tuple[str, ...]:
        """The whole command line."""
        return (*self.program, "serve", *self.options)

    def option(self, name: str) -> str | None:
        """What stands behind an option, the last time it is given."""
        given = [value for flag, value in zip(self.options, self.options[1:], strict=False) if flag == name]
        return given[-1] if given else None


def is_writable(text: str) -> bool:
    """Whether a text can stand in a service's file: no control characters, ends of lines, or halves of letters."""
    return not any(unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} for letter in text)


def kept_environment(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """What a service needs of the environment it is installed from, sorted: where models and chats are, and QwQ's own settings.

    Relative paths are made absolute. Raises InstallationError for a key, which belongs in no such file.
    """
    if environment.get(KEY_VARIABLE):
        raise InstallationError(
            f"{KEY_VARIABLE} is set, and a service's file is no place for a key.",
            hint=f"Write the key into a file only you can read, and: env -u {KEY_VARIABLE} qwq service install --api-key-file FILE",
        )
    kept = {
        name: _absolute(text) if name in _PATHS else text
        for name, text in environment.items()
        if text and (name.startswith("QWQ_") or name in {*_PATHS, *_OTHERS})
    }
    return tuple(sorted(kept.items()))


def _absolute(text: str) -> str:
    return text if text.startswith("~") else str(Path(text).absolute())


def differences(there: Order, wanted: Order) -> Iterator[str]:
    """How two orders differ, one sentence each."""
    for what, before, after in (
        ("the program is", " ".join(there.program), " ".join(wanted.program)),
        ("the options are", " ".join(there.options) or "none", " ".join(wanted.options) or "none"),
        ("it writes to", ", ".join(there.writable), ", ".join(wanted.writable)),
        ("a file system of its own:", _yes(there), _yes(wanted)),
    ):
        if before != after:
            yield f"{what} {before}, and would be {after}"
    old, new = dict(there.environment), dict(wanted.environment)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name} is {old.get(name, 'not set')}, and would be {new.get(name, 'not set')}"


def _yes(order: Order) -> str:
    return "yes" if order.has_namespaces else "no"


def require_lasting(paths: Mapping[str, str]) -> None:
    """Raise InstallationError where one of these files (by what it is) lies where services see none, and where systems clear away."""
    for what, path in paths.items():
        if any(folder in Path(path).parents for folder in _TEMPORARY):
            raise InstallationError(
                f"{what} is {path}: what lies there is cleared away, and a service has such a folder of its own.",
                hint="Move it elsewhere, such as into your home folder, and install the service from there.",
            )
