"""How an engine's process is, for others to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ProcessState = Literal["unloaded", "waiting to start", "loading", "ready", "closed"]


@dataclass(frozen=True)
class ProcessStatus:
    """How the engine's process is: `loaded_share` goes from 0.0 to 1.0, `deaths` counts those since the start, `last_error` is the last.

    It is ended in `stays_seconds` unless somebody asks, or after so many without requests while there are some; None: never.
    """

    state: ProcessState
    pid: int | None
    loaded_share: float
    deaths: int
    last_error: Exception | None
    stays_seconds: float | None
