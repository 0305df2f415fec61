"""How a server is set: where it listens, whom it lets in, and how many answers it takes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwq_local.errors import SettingsError
from qwq_local.server.addresses import is_loopback
from qwq_local.settings import LoadSettings


@dataclass(frozen=True)
class DeskSettings:
    """Which model is loaded unless another is asked for, how many answers are written and how many wait, and other names it goes by.

    A request waits `load_wait_seconds` for a model that is loading before it is told to come back. `defaults` are options of `QwQ.stream`
    for requests that don't name them.
    """

    model: str | None = None
    n_parallel: int = LoadSettings.n_parallel
    n_queued: int = 64
    aliases: frozenset[str] = frozenset()
    load_wait_seconds: float = 10
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GuardSettings:
    """What is let in.

    Without `keys` everyone may ask. `hosts` are the names that the server goes by, without ports; empty for any. `origins` are the pages of
    other hosts that may ask. A body has at most `max_body_bytes`, comes within `body_seconds`, and an answer is read by its client at
    least every `send_seconds`.
    """

    keys: tuple[str, ...] = ()
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    max_body_bytes: int = 8 * 2**20
    body_seconds: float = 30
    send_seconds: float = 60


@dataclass(frozen=True)
class ServerSettings:
    """Where a server listens, and how it lives.

    `stop_seconds` is what running answers get to end when it is stopped, `head_seconds` how long a client may take for the head of a
    request: whoever is slower holds a connection for nothing. `chats` is the file that the page's chats are kept in, None for memory only.
    Raises SettingsError where others could ask, and would need no key.
    """

    desk: DeskSettings
    guard: GuardSettings
    host: str = "127.0.0.1"
    port: int = 8080
    stop_seconds: float = 30
    logs_prompts: bool = False
    chats: Path | None = None
    head_seconds: float = 10

    def __post_init__(self) -> None:
        if not is_loopback(self.host) and not self.guard.keys:
            raise SettingsError(
                f"host is {self.host}, which others can reach, and there is no key.",
                hint="Give one with --api-key-file FILE or QWQ_API_KEY, or stay on --host 127.0.0.1.",
            )
