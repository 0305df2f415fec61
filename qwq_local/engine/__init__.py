"""Many requests, one model: what is asked, what is read and drawn next, and the events that come of it."""

from __future__ import annotations

from qwq_local.engine.engine import Engine, EngineSettings
from qwq_local.engine.request import (
    Answering,
    Drawn,
    Event,
    Failed,
    Finished,
    FinishReason,
    Progress,
    RaceReport,
    Racing,
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
from qwq_local.engine.snapshot import Snapshot
from qwq_local.engine.tool_grammar import ToolChoice, tool_constraint

__all__ = [
    "Answering",
    "Drawn",
    "Engine",
    "EngineSettings",
    "Event",
    "Failed",
    "FinishReason",
    "Finished",
    "PrefixShelf",
    "Progress",
    "RaceReport",
    "Racing",
    "Request",
    "RopeSwitched",
    "Snapshot",
    "Thinking",
    "ThoughtClosed",
    "Timings",
    "ToolCallDelta",
    "ToolCallDropped",
    "ToolCallStarted",
    "ToolChoice",
    "Usage",
    "tool_constraint",
]
