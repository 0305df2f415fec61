"""Anthropic's Messages, what is asked: the bodies of `POST /v1/messages` and of `POST /v1/messages/count_tokens`.

Format: platform.claude.com/docs/en/api/messages. The headers `anthropic-version` and `anthropic-beta` have no effect.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from qwq_local.server.answers import Ask
from qwq_local.server.anthropic.blocks import CacheControl, MessageIn, Text, text_of
from qwq_local.server.conversation import MAX_MESSAGES, check_order
from qwq_local.server.json_body import check_depth
from qwq_local.server.wire import (
    MAX_TOOLS,
    Function,
    ModelName,
    Samplers,
    Schema,
    Seed,
    Stops,
    Tokens,
    Wire,
    given,
    json_option,
    shallow,
    stop_option,
    thought_options,
    unsupported,
)

COUNT_EXAMPLE: Final[dict[str, JsonValue]] = {"model": "qwq-32b", "messages": [{"role": "user", "content": "What is 47 + 85?"}]}
EXAMPLES: Final[list[JsonValue]] = [
    COUNT_EXAMPLE | {"max_tokens": 400},
    COUNT_EXAMPLE | {"max_tokens": 400, "system": "Be brief.", "thinking": {"type": "enabled", "budget_tokens": 1024}, "stream": True},
]


class CustomTool(Wire):
    """A tool that may be called. What the API's vendor runs itself, such as web_search, is refused by its type.

    `input_examples` are shown to QwQ with the schema, and with `eager_input_streaming` the input is sent while it is written, although the
    call may prove to be none.
    """

    refused: ClassVar = {"defer_loading": "all tools are shown to QwQ from the start"}

    type: Literal["custom"] | None = None
    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str | None = None
    input_schema: Schema
    input_examples: list[dict[str, Any]] | None = None
    strict: bool | None = None
    eager_input_streaming: bool | None = None
    allowed_callers: list[Literal["direct"]] | None = None
    cache_control: CacheControl | None = None

    @model_validator(mode="before")
    @classmethod
    def _custom_only(cls, data: Any) -> Any:  # noqa: ANN401 - JSON of any shape
        if not isinstance(data, dict):
            return data
        if data.get("type") not in (None, "custom"):
            raise unsupported(str(data["type"])[:100], "QwQ calls tools that you describe by an input_schema and run yourself")
        return {name: value for name, value in data.items() if (name, value) != ("defer_loading", False)}

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_depth("input_schema", [self.input_schema, self.input_examples])
        if self.input_schema.get("type", "object") != "object":
            raise ValueError('input_schema needs the type "object"')
        return self

    def tool(self) -> dict[str, Any]:
        """As `QwQ.stream` wants it."""
        parameters = self.input_schema | given(examples=self.input_examples or None)
        return Function(name=self.name, description=self.description, parameters=parameters, strict=self.strict).tool()


class ToolChoice(Wire):
    """Whether a tool must be called, and which."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.type == "tool") != (self.name is not None):
            raise ValueError('name goes with the type "tool"')
        return self

    def options(self) -> dict[str, Any]:
        """Options of `QwQ.stream`."""
        named = {"type": "function", "function": {"name": self.name}}
        choice = {"auto": "auto", "none": "none", "any": "required", "tool": named}[self.type]
        return {"tool_choice": choice} | given(parallel_tool_calls=False if self.disable_parallel_tool_use else None)


class ThinkingConfig(Wire):
    """How long QwQ thinks, freely unless it is told otherwise, and whether the thought is shown, as it is unless it is "omitted".

    A budget may be smaller than the API's least, 1024.
    """

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Tokens | None = None
    display: Literal["summarized", "omitted"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _known_only(cls, data: Any) -> Any:  # noqa: ANN401 - JSON of any shape
        if isinstance(data, dict) and data.get("type") == "between_tools":
            raise unsupported("between_tools", "QwQ thinks before all that it says, or not at all")
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.type == "enabled") != (self.budget_tokens is not None):
            raise ValueError('budget_tokens goes with the type "enabled"')
        return self


class JsonFormat(Wire):
    """A schema for the answer, which holds after the thought."""

    type: Literal["json_schema"]
    schema_: Annotated[Schema, shallow("schema"), Field(alias="schema")]


class OutputConfig(Wire):
    """What the answer must look like, and the effort: "low" limits the thought where `thinking` sets no limit, and the others set none."""

    refused: ClassVar = {"task_budget": "an answer has max_tokens, and a thought its budget"}

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonFormat | None = None


class ContextEdit(Wire):
    """Leave earlier thoughts out. It has no effect, since QwQ is never shown any, whatever is to be kept."""

    type: Literal["clear_thinking_20251015"]
    keep: Any = None


class ContextManagement(Wire):
    """What to leave out of the history."""

    edits: list[ContextEdit] | None = None


class CountRequest(Wire):
    """What makes a prompt. `cache_control` and the `speed` "standard" have no effect; `output_format` is `output_config.format` of old."""

    model_config = ConfigDict(json_schema_extra={"examples": [COUNT_EXAMPLE]})
    refused: ClassVar = {
        "billing_policy": "nothing costs anything here",
        "compaction": "send the conversation as it is, or a summary of your own",
        "container": "no code is run here",
        "diagnostics": "what was cached is told by usage, and why it was not, by nothing",
        "fallback_credit_token": "there are no fallbacks here",
        "fallbacks": "one model answers, or none",
        "inference_geo": "the answer is written where this server is",
        "mcp_servers": "the server calls no tools",
        "thread": "no conversation is kept here, so send the whole of it",
    }

    model: Annotated[ModelName, Field(min_length=1)]
    messages: Annotated[list[MessageIn], Field(min_length=1, max_length=MAX_MESSAGES)]
    system: str | list[Text] | None = None
    tools: Annotated[list[CustomTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    output_format: JsonFormat | None = None
    context_management: ContextManagement | None = None
    cache_control: CacheControl | None = None
    speed: Literal["standard"] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.tool_choice and self.tool_choice.type in ("any", "tool") and not self.tools:
            raise ValueError(f"tool_choice is {self.tool_choice.type!r}, and there are no tools")
        if self.output_format and self.output_config and self.output_config.format:
            raise ValueError("output_format and output_config.format are two names of one thing")
        return self

    def ask(self) -> Ask:
        """As the desk wants it. Raises ApiError for messages in an order that cannot be."""
        placed = [found for i, message in enumerate(self.messages) for found in message.for_template(f"messages[{i}]")]
        if self.system:
            placed.insert(0, ("system", {"role": "system", "content": text_of(self.system)}))
        messages = [message for _, message in placed]
        check_order(messages, places=[where for where, _ in placed], call_id="tool_use_id")
        return Ask(self.model, messages, [tool.tool() for tool in self.tools or ()], options=self.options())

    def options(self) -> dict[str, Any]:
        """Options of `QwQ.stream`."""
        output = self.output_config or OutputConfig()
        wanted = output.format or self.output_format
        thinking = self.thinking or ThinkingConfig(type="adaptive")
        thought = {"thinks": False} if thinking.type == "disabled" else thought_options(thinking.budget_tokens, output.effort)
        choice = self.tool_choice.options() if self.tool_choice else {}
        return choice | thought | (json_option(wanted.schema_) if wanted else {})


class Metadata(Wire):
    """Whom the answer is for."""

    user_id: str | None = None


class MessagesRequest(CountRequest, Samplers):
    """The body of a message.

    `metadata` and `service_tier` have no effect: whom an answer is for does not change it, and there is one service. Extensions: `seed`,
    `stops_repetition` and llama.cpp's samplers.
    """

    model_config = ConfigDict(json_schema_extra={"examples": EXAMPLES})
    max_tokens: Tokens = Field(description="Longest answer, thoughts included")
    stream: bool | None = None
    stop_sequences: Stops | None = None
    seed: Seed | None = None
    stops_repetition: bool | None = Field(default=None, description="Off: a text that goes round in circles is let go on")
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None

    @property
    def shows_thought(self) -> bool:
        """Whether the client wants to read the thought."""
        return not (self.thinking and self.thinking.display == "omitted")

    @property
    def eager_tools(self) -> frozenset[str]:
        """The names of the tools whose input is sent while it is written."""
        return frozenset(tool.name for tool in self.tools or () if tool.eager_input_streaming)

    def options(self) -> dict[str, Any]:
        """Options of `QwQ.stream`."""
        own = given(max_tokens=self.max_tokens, stops_repetition=self.stops_repetition)
        return super().options() | self.sampling_options() | stop_option(self.stop_sequences) | own
