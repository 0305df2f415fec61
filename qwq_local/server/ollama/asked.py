"""Ollama's API, what is asked: the bodies of `POST /api/chat`, `/api/generate` and `/api/show`.

Format: github.com/ollama/ollama, docs/api.md and api/types.go; what Open WebUI sends is that of its backend's utils/payload.py.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from qwq_local.server.answers import Ask
from qwq_local.server.conversation import MAX_MESSAGES, check_order, past_call
from qwq_local.server.ollama.spelling import DURATION, MAX_CHARACTERS, stay_seconds
from qwq_local.server.wire import (
    MAX_TOOLS,
    TEXT_ONLY,
    Function,
    Samplers,
    Schema,
    Seed,
    Stops,
    StopText,
    TopLogprobs,
    Wire,
    given,
    json_option,
    ranged,
    shallow,
    stop_option,
    thought_options,
    unsupported,
)

UNCUT: Final = "nothing is ever cut from a prompt here; one that is too long is refused"
_PLANNED: Final = "the plan chooses it when the server starts (qwq plan shows it)"

Duration = Annotated[
    str, Field(max_length=MAX_CHARACTERS), WithJsonSchema({"type": "string", "pattern": f"^{DURATION}$", "maxLength": MAX_CHARACTERS})
]
Off = Annotated[bool, WithJsonSchema({"type": "boolean", "enum": [False]})]
Limit = Annotated[int, Field(ge=-2, le=2**31 - 1)]
"""`num_predict`: -1, -2 and 0 set no limit but the context's."""


class OllamaWire(Wire):
    """A part of a request. Go programs send fields that were not set too: of those refused, an empty text or list counts as left out."""

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, data: Any) -> Any:  # noqa: ANN401 - JSON of any shape
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if name not in cls.refused or value not in ("", [])}


class Options(Samplers):
    """`options`. Extensions: llama.cpp's other samplers, by their names in `settings.Sampling`.

    `num_ctx` asks for a context of at least so many tokens; one that is longer than the loaded one is refused. Accepted without effect,
    since llama.cpp does just that: `tfs_z` 1 (off) and `penalize_newline` true.
    """

    refused: ClassVar = dict.fromkeys(("main_gpu", "num_thread", "num_batch", "use_mmap", "use_mlock", "low_vram", "numa"), _PLANNED) | {
        "num_keep": UNCUT,
        "num_gpu": f"{_PLANNED}; qwq serve --gpu-layers N overrides it",
        "f16_kv": f"{_PLANNED}; qwq serve --kv-type overrides it",
        "vocab_only": "the whole model is loaded",
        "logits_all": "logprobs: true tells the probabilities",
        "embedding_only": "QwQ makes no embeddings",
    }

    presence_penalty: float | None = ranged("presence_penalty")
    frequency_penalty: float | None = ranged("frequency_penalty")
    repeat_last_n: int | None = ranged("penalty_last_n")
    seed: Seed | None = Field(default=None, description="Below 0: a new one each time")
    stop: StopText | Stops | None = None
    num_predict: Limit | None = None
    num_ctx: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    tfs_z: float | None = None
    penalize_newline: bool | None = None

    @model_validator(mode="after")
    def _check(self) -> Options:
        if self.tfs_z not in (None, 1):
            raise unsupported("tfs_z", "llama.cpp has given it up; min_p does much the same")
        if self.penalize_newline is False:
            raise unsupported("penalize_newline", "a line feed is penalized as every other token is")
        if None not in (self.repeat_last_n, self.penalty_last_n) and self.repeat_last_n != self.penalty_last_n:
            raise ValueError("repeat_last_n and penalty_last_n are two names of one number, and differ")
        return self

    def for_qwq(self) -> dict[str, Any]:
        """Arguments of `QwQ.stream`."""
        options = self.sampling_options() | given(penalty_last_n=self.repeat_last_n) | stop_option(self.stop)
        if self.seed is not None and self.seed < 0:
            options["seed"] = None
        return options | limit_option(self.num_predict)


class CalledFunctionIn(Wire):
    """A function that was called, in the history."""

    name: str
    arguments: Annotated[Schema, shallow("arguments")] | None = None
    index: int | None = None


class CallIn(Wire):
    """A tool call, in the history."""

    id: str | None = None
    type: Literal["function"] | None = None
    index: int | None = None
    function: CalledFunctionIn


class Message(OllamaWire):
    """A message of the history. `thinking` is accepted and left out, as QwQ wants it; `name` has no place in QwQ's format."""

    refused: ClassVar = {"images": TEXT_ONLY}

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    name: str | None = None
    tool_calls: list[CallIn] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Message:
        if self.tool_calls and self.role != "assistant":
            raise ValueError(f"a message of the role {self.role!r} cannot call tools")
        return self

    def for_template(self) -> dict[str, Any]:
        """As `QwQ.stream` wants it."""
        calls = [past_call(call.function.name, call.function.arguments or {}, call.id) for call in self.tool_calls or ()]
        message = {"role": self.role, "content": self.content or ""}
        return message | given(tool_calls=calls or None, tool_name=self.tool_name, tool_call_id=self.tool_call_id)


class Tool(Wire):
    """A tool that may be called."""

    type: Literal["function"] | None = None
    function: Function


class OllamaRequest(OllamaWire):
    """The fields that both have."""

    model: Annotated[str, Field(max_length=1000, description="qwq, or a name that GET /api/tags lists")] | None = None
    stream: bool | None = Field(default=None, description="True unless it is said otherwise")
    format: Literal["", "json"] | Annotated[Schema, shallow("format")] | None = Field(
        default=None, description="json, or a JSON schema, for what follows the thought"
    )
    keep_alive: float | Duration | None = Field(default=None, description="Seconds, or a duration such as 5m; below 0: for ever")
    options: Options | None = None
    think: Literal["low", "medium", "high"] | bool | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    truncate: Off | None = None
    shift: Off | None = None

    @field_validator("keep_alive")
    @classmethod
    def _check_duration(cls, value: float | str | None) -> float | str | None:
        if value is not None:
            stay_seconds(value)
        return value

    @model_validator(mode="after")
    def _check_shared(self) -> OllamaRequest:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs goes with logprobs: true")
        for name in ("truncate", "shift"):
            if getattr(self, name):
                raise unsupported(name, UNCUT)
        return self

    @property
    def unloads(self) -> bool:
        """Whether the model is to go at once."""
        return self.keep_alive is not None and stay_seconds(self.keep_alive) == 0

    def shared_options(self) -> dict[str, Any]:
        """Arguments of `QwQ.stream`."""
        options = self.options.for_qwq() if self.options else {}
        if self.think is not None:
            options["thinks"] = bool(self.think)
        if isinstance(self.think, str):
            options |= thought_options(None, self.think)
        if self.format:
            options |= json_option(None if isinstance(self.format, str) else self.format)
        return options | given(n_logprobs=(self.top_logprobs or 0) if self.logprobs else None)


class ChatRequest(OllamaRequest):
    """The body of a chat; without messages it loads or unloads the model.

    Open WebUI's additions: `num_predict` beside the options, and `system`, which is put before the messages where they don't have it.
    """

    refused: ClassVar = {"tool_choice": "Ollama's format has none; POST /v1/chat/completions does"}

    messages: Annotated[list[Message], Field(max_length=MAX_MESSAGES)] | None = None
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    num_predict: Limit | None = None
    system: str | None = None

    @model_validator(mode="after")
    def _check(self) -> ChatRequest:
        among_options = self.options.num_predict if self.options else None
        if None not in (self.num_predict, among_options) and self.num_predict != among_options:
            raise ValueError("num_predict stands beside the options and among them, and differs")
        return self

    def ask(self) -> Ask:
        """As the desk wants it. Raises ApiError for messages in an order that cannot be."""
        messages = [message.for_template() for message in self.messages or ()]
        check_order(messages)
        system = {"role": "system", "content": self.system}
        if self.system and system not in messages:
            messages.insert(0, system)
        tools = [tool.function.tool() for tool in self.tools or ()]
        return Ask(self.model or "", messages, tools, options=limit_option(self.num_predict) | self.shared_options())


class GenerateRequest(OllamaRequest):
    """The body of a generation; without a prompt it loads or unloads the model. With `raw` the prompt is gone on with as it is."""

    refused: ClassVar = {
        "suffix": "QwQ was not trained to fill gaps",
        "template": "the model has its own; with raw: true you write the whole prompt",
        "context": "send the whole conversation to POST /api/chat",
        "images": TEXT_ONLY,
        "width": TEXT_ONLY,
        "height": TEXT_ONLY,
        "steps": TEXT_ONLY,
    }

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None

    @model_validator(mode="after")
    def _check(self) -> GenerateRequest:
        if self.raw and (self.system or self.think):
            raise ValueError("raw leaves the whole prompt to you: write system and the thought's beginning into it")
        return self

    def ask(self) -> Ask:
        """As the desk wants it."""
        prompt = self.prompt or ""
        if self.raw:
            return Ask(self.model or "", prompts=[prompt], options=self.shared_options())
        system = [{"role": "system", "content": self.system}] if self.system else []
        return Ask(self.model or "", [*system, {"role": "user", "content": prompt}], options=self.shared_options())


class ShowRequest(OllamaWire):
    """The body of a question about a model; `name` is an older word for `model`. With `verbose`, the vocabulary is told too."""

    refused: ClassVar = {
        "system": "send it with the question",
        "template": "the model has its own",
        "options": "send them with the question",
    }

    model: Annotated[str, Field(max_length=1000)] | None = None
    name: Annotated[str, Field(max_length=1000)] | None = None
    verbose: bool | None = None


def limit_option(num_predict: int | None) -> dict[str, Any]:
    """`num_predict` as an option of `QwQ.stream`; what sets no limit lifts that of the server's defaults."""
    return {} if num_predict is None else {"max_tokens": num_predict if num_predict > 0 else None}
