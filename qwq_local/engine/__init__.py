"""Many requests, one model: the scheduling, the one loop, and the events that come out of it."""

from __future__ import annotations

from qwq_local.engine.engine import Engine
from qwq_local.engine.request import (
    Answering,
    Event,
    Failed,
    Finished,
    FinishReason,
    Request,
    Thinking,
    Timings,
    Usage,
)
from qwq_local.engine.worker import Stream, Worker

__all__ = [
    "Answering",
    "Engine",
    "Event",
    "Failed",
    "FinishReason",
    "Finished",
    "Request",
    "Stream",
    "Thinking",
    "Timings",
    "Usage",
    "Worker",
]
