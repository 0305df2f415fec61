"""Many requests, one model: the scheduling, the one loop, and the events that come out of it."""

from __future__ import annotations

from qwq_local.engine.cache import SavedPrefix
from qwq_local.engine.child import call_apart
from qwq_local.engine.engine import Engine, EngineSettings
from qwq_local.engine.request import (
    Answering,
    Drawn,
    Event,
    Failed,
    Finished,
    FinishReason,
    Progress,
    Request,
    RopeSwitched,
    Thinking,
    ThoughtClosed,
    Timings,
    ToolCallDelta,
    ToolCallDropped,
    ToolCallStarted,
    Usage,
)
from qwq_local.engine.shelf import PrefixShelf
from qwq_local.engine.snapshot import ProcessStatus, Snapshot
from qwq_local.engine.supervisor import Supervisor
from qwq_local.engine.tool_grammar import ToolChoice, tool_constraint
from qwq_local.engine.worker import EngineClient, Stream, Worker

__all__ = [
    "Answering",
    "Drawn",
    "Engine",
    "EngineClient",
    "EngineSettings",
    "Event",
    "Failed",
    "FinishReason",
    "Finished",
    "PrefixShelf",
    "ProcessStatus",
    "Progress",
    "Request",
    "RopeSwitched",
    "SavedPrefix",
    "Snapshot",
    "Stream",
    "Supervisor",
    "Thinking",
    "ThoughtClosed",
    "Timings",
    "ToolCallDelta",
    "ToolCallDropped",
    "ToolCallStarted",
    "ToolChoice",
    "Usage",
    "Worker",
    "call_apart",
    "tool_constraint",
]
