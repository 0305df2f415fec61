"""What is asked of the engine, and the events it answers with.

Every request gets any number of Thinking and Answering events and then exactly one terminal event, Finished or Failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from qwq_local.backend import Constraint, Draw, Rope
from qwq_local.errors import ContextLengthError
from qwq_local.settings import Sampling

FinishReason = Literal["stop", "length", "repetition", "cancelled"]
ClosingReason = Literal["budget", "repetition", "asked", "ended"]


@dataclass(frozen=True)
class Request:
    """One prompt to answer.

    `n_ctx` is the number of tokens prompt and answer may fill together. An answer that outgrows it under native scaling goes on under YaRN
    where `n_ctx_yarn` is more. `max_tokens` limits the answer, thoughts included; `think_tokens` limits what is drawn of the thought, which
    is then closed and answered from. `stop` are texts that end the answer, `constraint` is what it must look like, and with `calls_tools`
    it may call tools; all three leave the thought alone. `stops_repetition`: a thought that repeats itself is closed, an answer that does
    is ended. `is_raw`: all that is drawn is the answer's text, markers and line feeds with it; neither thought nor call is told apart.
    `speculates`: guesses may be read along; how many depends on the machine's mood, and floats on how many are read at once.
    """

    prompt: tuple[int, ...]
    n_ctx: int
    rope: Rope = "native"
    opens_thinking: bool = True
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    max_tokens: int | None = None
    n_ctx_yarn: int = 0
    think_tokens: int | None = None
    stop: tuple[str, ...] = ()
    constraint: Constraint | None = None
    calls_tools: bool = False
    stops_repetition: bool = True
    is_raw: bool = False
    speculates: bool = True

    def room_for_answer(self, n_room: int) -> int:
        """Tokens that its answer may have, where `n_room` are all that it can fill with its prompt. Raises ContextLengthError."""
        n_ctx = min(max(self.n_ctx, self.n_ctx_yarn), n_room)
        if len(self.prompt) >= n_ctx:
            raise ContextLengthError(len(self.prompt), n_ctx)
        room = n_ctx - len(self.prompt)
        return min(room, self.max_tokens or room)


@dataclass(frozen=True)
class Usage:
    """Counts of tokens; reasoning tokens are among the completion tokens, and the end token counts.

    `cached_tokens` are those of the prompt that stood in the KV cache already; `drafted_tokens` were guessed while the completion was
    written, and `accepted_tokens` of them, which are a part of it, were right.
    """

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cached_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Timings:
    """Where the time went, in seconds since the request was handed in.

    Of the decoding, `plain_seconds` went to `plain_steps` that read no guesses, and so wrote one token each: they tell the machine's speed.
    """

    queued_seconds: float
    prefill_seconds: float
    decode_seconds: float
    plain_steps: int = 0
    plain_seconds: float = 0.0

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
class Drawn:
    """A token with its logarithmic probability, where the request wants them; comes before the text that it makes certain.

    `piece` are its bytes, `top_pieces` those of the likeliest tokens. An end token has none. `is_thought`: it was drawn for the thought.
    """

    draw: Draw
    piece: bytes
    top_pieces: tuple[bytes, ...] = ()
    is_thought: bool = False


@dataclass(frozen=True)
class ThoughtClosed:
    """The thought was closed from outside: its budget was spent, it repeated itself, an answer was asked for, or it ended without one."""

    why: ClosingReason


@dataclass(frozen=True)
class RopeSwitched:
    """From here on the request is read under this scaling: it has outgrown the native context."""

    rope: Rope


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
class Racing:
    """Several samples of one answer are being written: so many have ended, and so many pieces of text have come of all of them."""

    n_samples: int
    n_ended: int
    n_pieces: int


@dataclass(frozen=True)
class RaceReport:
    """What several samples of one answer came to.

    `winner` is the place, from 0, of the one that was handed on, and `completion_tokens` were written by all. `votes` are the results of a
    vote, the first to come first, and how many samples had each; it is empty where none had any. `n_failed` were lost to errors.
    """

    kind: Literal["race", "vote"]
    n_samples: int
    winner: int
    completion_tokens: int
    votes: Mapping[str, int] = field(default_factory=dict)
    n_failed: int = 0


@dataclass(frozen=True)
class Finished:
    """The request is done: `reason` tells how it ended, and `stop_text` which of its stop strings was met, if one was.

    `race` is what the answer's samples came to, where there were several; all else is the winner's.
    """

    reason: FinishReason
    usage: Usage
    timings: Timings
    rope: Rope
    seed: int
    stop_text: str = ""
    race: RaceReport | None = None


@dataclass(frozen=True)
class Failed:
    """The request is lost to an error."""

    error: Exception


Progress = Thinking | Answering | ToolCallStarted | ToolCallDelta | ToolCallDropped | Drawn | ThoughtClosed | RopeSwitched | Racing
"""The events of an answer on its way."""

Event = Progress | Finished | Failed
