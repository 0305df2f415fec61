"""What OpenAI's chat completions and its older completions share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from qwq_local.answering import ToolCall
from qwq_local.engine import Drawn, Event, Failed, Finished
from qwq_local.server.answers import Answers
from qwq_local.server.errors import as_api_error, error_body
from qwq_local.server.streaming import Writer, sent_event
from qwq_local.server.told import Told, extension_of, new_id, now
from qwq_local.server.wire import ModelName, Samplers, Seed, Stops, StopText, Wire, given, ranged, stop_option
from qwq_local.settings import MAX_BIASES

MAX_CHOICES: Final = 16
DONE: Final = b"data: [DONE]\n\n"


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

    model: ModelName | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
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

    @model_validator(mode="after")
    def _check_choices(self) -> Self:
        if (self.n or 1) > 1 and max(self.race or 1, self.vote or 1) > 1:
            raise ValueError("n goes without race and vote, which choose one of several answers")
        return self

    def shared_options(self) -> dict[str, Any]:
        """Arguments of `QwQ.stream`."""
        bias = tuple((int(token), float(value)) for token, value in (self.logit_bias or {}).items())
        return (
            given(repeat_penalty=self.repetition_penalty)
            | self.sampling_options()
            | stop_option(self.stop)
            | given(logit_bias=bias or None, stops_repetition=self.stops_repetition)
        )


class CompletionDetails(Told):
    """What the completion tokens were spent on. Of those that were guessed, the rejected are no part of the completion."""

    reasoning_tokens: int
    accepted_prediction_tokens: int
    rejected_prediction_tokens: int


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


class CalledFunction(Told):
    """A function and its arguments, a JSON object as text."""

    name: str
    arguments: str


class Call(Told):
    """A tool call."""

    id: str
    type: Literal["function"]
    function: CalledFunction


def usage_of(ends: list[Finished], n_prompts: int = 1) -> TokenUsage:
    """The sum; a prompt counts once for all the answers to it."""
    per_prompt = ends[:: max(1, len(ends) // n_prompts)] if ends else []
    prompt = sum(end.usage.prompt_tokens for end in per_prompt)
    completion = sum(end.usage.completion_tokens for end in ends)
    accepted = sum(end.usage.accepted_tokens for end in ends)
    return TokenUsage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        completion_tokens_details=CompletionDetails(
            reasoning_tokens=sum(end.usage.reasoning_tokens for end in ends),
            accepted_prediction_tokens=accepted,
            rejected_prediction_tokens=sum(end.usage.drafted_tokens for end in ends) - accepted,
        ),
        prompt_tokens_details=PromptDetails(cached_tokens=sum(end.usage.cached_tokens for end in per_prompt)),
    )


def call_of(call: ToolCall, call_id: str) -> Call:
    """A tool call as the format has it."""
    return Call(id=call_id, type="function", function=CalledFunction(name=call.name, arguments=call.arguments))


class ChunkWriter(Writer):
    """What the streams of both have in common: chunks with one head, and at the end the usage, where it was asked for."""

    id_kind: ClassVar[str]
    object_name: ClassVar[str]

    def __init__(self, answers: Answers, options: StreamOptions | None, n_prompts: int = 1) -> None:
        self._answers = answers
        self._has_usage = bool(options and options.include_usage)
        self._n_prompts = n_prompts
        self._head = {"id": new_id(self.id_kind), "object": self.object_name, "created": now(), "model": answers.model}
        self._drawn: dict[int, list[Drawn]] = {}

    def write(self, index: int, event: Event) -> bytes:
        """The chunk of an event, where the format has one for it; drawn tokens are told with what they come to."""
        match event:
            case Drawn():
                self._drawn.setdefault(index, []).append(event)
                return b""
            case Failed(error):
                return sent_event(error_body("openai", as_api_error(error)))
        return self._told(index, event)

    def close(self) -> bytes:
        """The usage, where it was asked for, and the end."""
        ends = [end for _, end in sorted(self._answers.ends.items()) if isinstance(end, Finished)]
        if not self._has_usage or len(ends) < self._answers.n_choices:
            return DONE
        told = {"usage": usage_of(ends, self._n_prompts).model_dump(), "qwq": extension_of(ends).model_dump(exclude_unset=True)}
        return sent_event(self._head | {"choices": []} | told) + DONE

    @abstractmethod
    def _told(self, index: int, event: Event) -> bytes:
        """The chunk of any other event, or nothing."""

    def _sent(self, choice: dict[str, Any]) -> bytes:
        return sent_event(self._head | {"choices": [choice]} | ({"usage": None} if self._has_usage else {}))
