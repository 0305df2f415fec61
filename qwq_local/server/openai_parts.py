"""What OpenAI's chat completions and its older completions share."""

from __future__ import annotations

import secrets
import time
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from qwq_local.answering import ToolCall
from qwq_local.engine import Drawn, Finished
from qwq_local.server.wire import MAX_CHOICES, ModelName, Samplers, Seed, Stops, StopText, Told, Wire, folded_seed, given, ranged
from qwq_local.settings import MAX_BIASES

FINISH: Final[dict[str, Literal["stop", "length"]]] = {"stop": "stop", "length": "length", "repetition": "length", "cancelled": "stop"}
"""OpenAI has no word for an answer that was ended since it went round in circles; `qwq.ended_by` tells."""

LEAST_LOGPROB: Final = -9999.0
"""What OpenAI tells of tokens that are all but impossible."""


class StreamOptions(Wire):
    """`stream_options`. Obfuscation pads against listeners on the way; there are none on loopback, so that it has no effect."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


TokenId = Annotated[str, Field(pattern=r"^\d{1,9}$")]
Bias = Annotated[float, Field(ge=-100, le=100)]
Finish = Literal["stop", "length", "tool_calls"]


class OpenAiRequest(Samplers):
    """The fields that both have.

    Accepted without effect, since they do not change an answer here: `user`, `metadata`, `safety_identifier` (whom it is for),
    `prompt_cache_…` (the cache needs no hints) and `service_tier` (there is one).
    """

    refused: ClassVar = {
        "best_of": "ask for n answers, and choose",
        "suffix": "QwQ was not trained to fill gaps",
    }

    model: ModelName = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = ranged("temperature")
    top_p: float | None = ranged("top_p")
    presence_penalty: float | None = ranged("presence_penalty")
    frequency_penalty: float | None = ranged("frequency_penalty")
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    seed: Seed | None = None
    stop: StopText | Stops | None = None
    logit_bias: Annotated[dict[TokenId, Bias], Field(max_length=MAX_BIASES)] | None = Field(default=None, description="By token id")
    stops_repetition: bool | None = Field(default=None, description="Off: a text that goes round in circles is let go on")
    user: str | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, str] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    repetition_penalty: float | None = ranged("repeat_penalty")

    def shared_options(self) -> dict[str, Any]:
        """Arguments of `QwQ.stream`."""
        bias = tuple((int(token), float(value)) for token, value in (self.logit_bias or {}).items())
        return (
            given(repeat_penalty=self.repetition_penalty)
            | self.sampler_options()
            | given(
                temperature=self.temperature,
                top_p=self.top_p,
                presence_penalty=self.presence_penalty,
                frequency_penalty=self.frequency_penalty,
                seed=folded_seed(self.seed),
                stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop) if self.stop else None,
                logit_bias=bias or None,
                stops_repetition=self.stops_repetition,
            )
        )


class CompletionDetails(Told):
    """What the completion tokens were spent on."""

    reasoning_tokens: int


class PromptDetails(Told):
    """Where the prompt tokens came from."""

    cached_tokens: int


class TokenUsage(Told):
    """Counts of tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    completion_tokens_details: CompletionDetails
    prompt_tokens_details: PromptDetails


class Extension(Told):
    """What OpenAI's format has no place for: why each choice ended, its scaling and seed, and where the time went, in seconds."""

    ended_by: list[str]
    rope: list[str]
    seed: list[int]
    queued_seconds: list[float]
    prefill_seconds: list[float]
    decode_seconds: list[float]


class CalledFunction(Told):
    """A function and its arguments, a JSON object as text."""

    name: str
    arguments: str


class Call(Told):
    """A tool call."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class TopLogprob(Told):
    """A token that could have been drawn."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    """A token that was drawn."""

    top_logprobs: list[TopLogprob]


def usage_of(ends: list[Finished], n_prompts: int = 1) -> TokenUsage:
    """The sum; a prompt counts once for all the answers to it."""
    per_prompt = ends[:: max(1, len(ends) // n_prompts)] if ends else []
    prompt = sum(end.usage.prompt_tokens for end in per_prompt)
    completion = sum(end.usage.completion_tokens for end in ends)
    return TokenUsage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        completion_tokens_details=CompletionDetails(reasoning_tokens=sum(end.usage.reasoning_tokens for end in ends)),
        prompt_tokens_details=PromptDetails(cached_tokens=sum(end.usage.cached_tokens for end in per_prompt)),
    )


def extension_of(ends: list[Finished]) -> Extension:
    """Of all choices, in their order."""
    return Extension(
        ended_by=[end.reason for end in ends],
        rope=[end.rope for end in ends],
        seed=[end.seed for end in ends],
        queued_seconds=[round(end.timings.queued_seconds, 6) for end in ends],
        prefill_seconds=[round(end.timings.prefill_seconds, 6) for end in ends],
        decode_seconds=[round(end.timings.decode_seconds, 6) for end in ends],
    )


def call_of(call: ToolCall, call_id: str) -> Call:
    """A tool call as the format has it."""
    return Call(id=call_id, type="function", function=CalledFunction(name=call.name, arguments=call.arguments))


def logprob_of(drawn: Drawn) -> TokenLogprob:
    """A drawn token; bytes that are only a part of a character show as U+FFFD."""
    top = [
        TopLogprob(token=_text(piece), logprob=max(logprob, LEAST_LOGPROB), bytes=list(piece))
        for piece, (_, logprob) in zip(drawn.top_pieces, drawn.draw.top, strict=True)
    ]
    logprob = drawn.draw.logprob
    assert logprob is not None, "only tokens with one are told of"
    return TokenLogprob(token=_text(drawn.piece), logprob=max(logprob, LEAST_LOGPROB), bytes=list(drawn.piece), top_logprobs=top)


def new_id(kind: str) -> str:
    """An id that nobody else has."""
    separator = "-" if kind in ("chatcmpl", "cmpl") else "_"
    return f"{kind}{separator}{secrets.token_hex(12)}"


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())


def _text(piece: bytes) -> str:
    return piece.decode("utf-8", "replace")
