"""Many requests, one model: the scheduling, the one loop, and the events that come out of it."""

from __future__ import annotations

from qwq_local.engine.cache import SavedPrefix
from qwq_local.engine.engine import Engine, EngineSettings
from qwq_local.engine.request import (
    Answering,
    Drawn,
    Event,
    Failed,
    Finished,
    FinishReason,
    Request,
    RopeSwitched,
    Thinking,
    ThoughtClosed,
    Timings,
    Usage,
)
from qwq_local.engine.snapshot import Snapshot
from qwq_local.engine.worker import Stream, Worker

__all__ = [
    "Answering",
    "Drawn",
    "Engine",
    "EngineSettings",
    "Event",
    "Failed",
    "FinishReason",
    "Finished",
    "Request",
    "RopeSwitched",
    "SavedPrefix",
    "Snapshot",
    "Stream",
    "Thinking",
    "ThoughtClosed",
    "Timings",
    "Usage",
    "Worker",
]
