"""What is asked of the engine, and the events it answers with.

Every request gets any number of Thinking and Answering events and then exactly one terminal event, Finished or Failed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from qwq_local.backend import Rope
from qwq_local.settings import Sampling

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Request:
    """One prompt to answer.

    `n_ctx` is the number of tokens prompt and answer may fill together; `max_tokens` limits the answer, thoughts included.
    """

    prompt: tuple[int, ...]
    n_ctx: int
    rope: Rope = "native"
    opens_thinking: bool = True
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    max_tokens: int | None = None


@dataclass(frozen=True)
class Usage:
    """Counts of tokens; reasoning tokens are among the completion tokens, and the end token counts."""

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Timings:
    """Where the time went, in seconds since the request was handed in."""

    queued_seconds: float
    prefill_seconds: float
    decode_seconds: float

    @property
    def first_token_seconds(self) -> float:
        """From handing in to the first token."""
        return self.queued_seconds + self.prefill_seconds


@dataclass(frozen=True)
class Thinking:
    """A piece of the thought."""

    text: str


@dataclass(frozen=True)
class Answering:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True)
class ToolCallStarted:
    """The answer calls a tool; calls are counted from 0."""

    index: int
    name: str


@dataclass(frozen=True)
class ToolCallDelta:
    """A piece of a call's arguments, which are a JSON object: its text as the model writes it."""

    index: int
    arguments: str


@dataclass(frozen=True)
class ToolCallDropped:
    """A call that had started proves to be none: it was cut short, or is not JSON. Its whole text follows as a part of the answer."""

    index: int


@dataclass(frozen=True)
class Finished:
    """The request is done: `reason` tells how it ended."""

    reason: FinishReason
    usage: Usage
    timings: Timings
    rope: Rope
    seed: int


@dataclass(frozen=True)
class Failed:
    """The request is lost to an error."""

    error: Exception


Event = Thinking | Answering | Finished | Failed
