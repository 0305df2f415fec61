"""OpenAI's responses, what is asked: the body of `POST /v1/responses`.

Format: platform.openai.com/docs/api-reference/responses/create.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from qwq_local.server.answers import Ask
from qwq_local.server.conversation import MAX_MESSAGES
from qwq_local.server.errors import ApiError
from qwq_local.server.responses.input import ItemIn, refuse_type
from qwq_local.server.responses.items import HistoryItem, check_items, messages_of
from qwq_local.server.wire import (
    MAX_TOOLS,
    TEXT_ONLY,
    Budget,
    Function,
    ModelName,
    Samplers,
    Schema,
    Seed,
    Tokens,
    TopLogprobs,
    Wire,
    given,
    json_option,
    ranged,
    shallow,
    thought_options,
    unsupported,
)

LOGPROBS: Final = "message.output_text.logprobs"
_INCLUDABLE: Final = ("reasoning.encrypted_content", LOGPROBS)


class FunctionTool(Function):
    """A function that may be called."""

    refused: ClassVar = {
        "allowed_callers": "only QwQ calls functions",
        "async": "an answer waits for its functions",
        "defer_loading": "QwQ is shown every tool",
        "output_schema": "QwQ reads what a function gives back as it is",
    }

    type: Literal["function"]

    @model_validator(mode="before")
    @classmethod
    def _functions_only(cls, data: Any) -> Any:  # noqa: ANN401 - JSON of any shape
        return refuse_type(data, ("function",), "functions are the only tools there are, and whoever asks runs them")

    def tool(self) -> dict[str, Any]:
        """As QwQ's template and its tool grammar want it."""
        return {"type": "function", "function": self.model_dump(exclude={"type"}, exclude_none=True)}


class NamedFunction(Wire):
    """A function by its name."""

    type: Literal["function"]
    name: str


class AllowedTools(Wire):
    """The tools that may be called now: QwQ is not shown the others."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedFunction], Field(max_length=MAX_TOOLS)]


class TextFormat(Wire):
    """What the answer must look like, after the thought. A schema holds whether it is `strict` or not."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema_: Annotated[Annotated[Schema, shallow("text.format.schema")] | None, Field(alias="schema")] = None
    strict: bool | None = None

    @model_validator(mode="after")
    def _check(self) -> TextFormat:
        if (self.type == "json_schema") != (self.schema_ is not None):
            raise ValueError('schema goes with the type "json_schema"')
        return self


class TextOptions(Wire):
    """How the answer is written. There is only the `verbosity` "medium"."""

    format: TextFormat | None = None
    verbosity: Literal["medium"] | None = None


class ReasoningOptions(Wire):
    """How long QwQ thinks. With "auto" there is no summary, since its thought is told as it is."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto"] | None = None
    generate_summary: Literal["auto"] | None = None
    context: Literal["auto"] | None = None
    mode: Literal["standard"] | None = None


class StreamHints(Wire):
    """`stream_options`. Obfuscation pads against listeners on the way; there are none on loopback, so that it has no effect."""

    include_obfuscation: bool | None = None


class CacheHints(Wire):
    """`prompt_cache_options`: prefixes are found without them."""

    refused: ClassVar = {"comparison_response_id": "caching is not diagnosed", "prewarm": "every request is answered"}

    mode: Literal["implicit", "explicit"] | None = None
    ttl: Literal["30m", "12h"] | None = None


def _refuse_choice(data: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    return refuse_type(data, ("function", "allowed_tools"), "functions are the only tools there are")


def _refuse_include(data: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    if isinstance(data, str) and data not in _INCLUDABLE:
        raise unsupported(data[:100], f"there is only {' and '.join(_INCLUDABLE)}")
    return data


Items = Annotated[list[ItemIn], Field(min_length=1, max_length=MAX_MESSAGES)]
Asked = Annotated[
    Annotated[str, Tag("str")] | Annotated[Items, Tag("list")],
    Discriminator(lambda data: "list" if isinstance(data, list) else "str"),  # so that what is wrong with an item is told, not its type
]
Choice = Annotated[Literal["auto", "none", "required"] | NamedFunction | AllowedTools, BeforeValidator(_refuse_choice)]
Includable = Annotated[Literal["reasoning.encrypted_content", "message.output_text.logprobs"], BeforeValidator(_refuse_include)]
Key = Annotated[str, Field(max_length=64)]
Text = Annotated[str, Field(max_length=512)]


class ResponseRequest(Samplers):
    """The body of a response.

    Accepted without effect, since they do not change an answer here: `user`, `safety_identifier`, `prompt_cache_key`,
    `prompt_cache_retention`, `prompt_cache_options` (caching needs no hint), `service_tier` (there is one), `stream_options`, and
    `reasoning.encrypted_content` in `include` (thoughts are told openly). Extensions: llama.cpp's samplers, `presence_penalty`,
    `frequency_penalty`, `seed` and `thinking_budget_tokens`, a limit for the thought.
    """

    refused: ClassVar = {
        "access_programs": "there are none",
        "background_options": "nothing runs in the background",
        "context_management": "nothing is ever left out of a conversation",
        "conversation": "go on with previous_response_id",
        "image": TEXT_ONLY,
        "max_tool_calls": "functions are the only tools there are, and whoever asks runs them",
        "moderation": "nothing is moderated",
        "prompt": "send the text itself",
    }

    input: Annotated[Asked, Field(description="A question, or a conversation")]
    model: ModelName = ""
    instructions: str | None = Field(default=None, description="A system message, for this answer only")
    previous_response_id: Annotated[str, Field(max_length=512)] | None = Field(default=None, description="The answer to go on from")
    store: bool | None = Field(default=None, description="Keep it in memory for previous_response_id and GET; it is unless this is false")
    metadata: Annotated[dict[Key, Text], Field(max_length=16)] | None = None
    stream: bool | None = None
    stream_options: StreamHints | None = None
    max_output_tokens: Tokens | None = Field(default=None, description="Longest answer, thoughts included")
    presence_penalty: float | None = ranged("presence_penalty")
    frequency_penalty: float | None = ranged("frequency_penalty")
    seed: Seed | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    thinking_budget_tokens: Budget | None = Field(default=None, description="Longest thought; it is then closed and answered from")
    tools: Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    include: Annotated[list[Includable], Field(max_length=16)] | None = None
    top_logprobs: TopLogprobs | None = None
    background: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    prompt_cache_options: CacheHints | None = None

    @model_validator(mode="after")
    def _check(self) -> ResponseRequest:
        if self.background:
            raise unsupported("background", "an answer is written while its client waits; ask for a stream")
        if self.truncation == "auto":
            raise unsupported("truncation", "nothing is ever cut out of a conversation; shorten it where it is too long")
        if self.top_logprobs and not self.has_logprobs:
            raise ValueError(f'top_logprobs goes with include: ["{LOGPROBS}"]')
        return self

    @property
    def has_logprobs(self) -> bool:
        """Whether tokens are told of with their probabilities."""
        return LOGPROBS in (self.include or ())

    def ask(self, history: Sequence[HistoryItem], asked: Sequence[tuple[str, HistoryItem]]) -> Ask:
        """As the desk wants it: what is asked behind what was before. Raises ApiError for items in an order that cannot be."""
        if not asked:
            raise ApiError(400, "input has nothing but thoughts. Ask something.", code="invalid_value", param="input")
        check_items(history, asked)
        messages = messages_of([*history, *(item for _, item in asked)])
        if self.instructions is not None:
            messages.insert(0, {"role": "system", "content": self.instructions})
        return Ask(self.model, messages, [tool.tool() for tool in self._allowed()], options=self._options())

    def _allowed(self) -> list[FunctionTool]:
        tools = self.tools or []
        if not isinstance(self.tool_choice, AllowedTools):
            return tools
        allowed = {tool.name for tool in self.tool_choice.tools}
        if unknown := allowed - {tool.name for tool in tools}:
            raise ApiError(
                400,
                f"tool_choice allows {min(unknown)[:200]!r}, which is not among the tools.",
                code="invalid_value",
                param="tool_choice",
            )
        return [tool for tool in tools if tool.name in allowed]

    def _options(self) -> dict[str, Any]:
        own = given(
            max_tokens=self.max_output_tokens,
            n_logprobs=(self.top_logprobs or 0) if self.has_logprobs else None,
            tool_choice=self._choice(),
            parallel_tool_calls=self.parallel_tool_calls,
        )
        thought = thought_options(self.thinking_budget_tokens, self.reasoning.effort if self.reasoning else None)
        return self.sampling_options() | own | thought | self._format_option()

    def _choice(self) -> str | dict[str, Any] | None:
        if isinstance(self.tool_choice, AllowedTools):
            return self.tool_choice.mode
        return self.tool_choice.model_dump() if isinstance(self.tool_choice, NamedFunction) else self.tool_choice

    def _format_option(self) -> dict[str, Any]:
        wanted = self.text.format if self.text else None
        return {} if wanted is None or wanted.type == "text" else json_option(wanted.schema_)
