"""OpenAI's chat completions, what is asked: the body of `POST /v1/chat/completions`.

Format: platform.openai.com/docs/api-reference/chat. Extensions are those that servers of open models have in common.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field, JsonValue, model_validator

from qwq_local.server.answers import Ask
from qwq_local.server.conversation import MAX_MESSAGES, check_order, past_call
from qwq_local.server.errors import ApiError
from qwq_local.server.openai.parts import OpenAiRequest
from qwq_local.server.wire import (
    MAX_TOOLS,
    TEXT_ONLY,
    Budget,
    Function,
    Schema,
    Tokens,
    TopLogprobs,
    Wire,
    given,
    json_option,
    shallow,
    thought_options,
    unsupported,
)

EXAMPLES: Final[list[JsonValue]] = [
    {"model": "qwq-32b", "messages": [{"role": "user", "content": "What is 47 + 85?"}]},
    {"messages": [{"role": "user", "content": "Which is larger, 9.9 or 9.11?"}], "stream": True, "stream_options": {"include_usage": True}},
    {
        "messages": [{"role": "user", "content": "What is 47 + 85?"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "sum", "schema": {"type": "object"}}},
        "max_tokens": 200,
        "seed": 1,
    },
]
_IMAGES: Final = ("image_url", "input_image", "image", "input_audio", "audio", "file", "video_url")


class TextPart(Wire):
    """A piece of a message."""

    type: Literal["text"]
    text: str

    @model_validator(mode="before")
    @classmethod
    def _text_only(cls, data: Any) -> Any:  # noqa: ANN401 - JSON of any shape
        if isinstance(data, dict) and data.get("type") in _IMAGES:
            raise unsupported(str(data["type"]), TEXT_ONLY)
        return data


Content = str | list[TextPart]


class CalledFunctionIn(Wire):
    """A function that was called, in the history."""

    name: str
    arguments: str


class CallIn(Wire):
    """A tool call, in the history."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunctionIn
    index: int | None = None


class Message(Wire):
    """A message of the history. `reasoning_content` is accepted and left out, as QwQ wants it; `name` has no place in QwQ's format."""

    refused: ClassVar = {"audio": TEXT_ONLY, "function_call": "use tool_calls"}

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[CallIn] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Message:
        if self.content is None and self.role != "assistant":
            raise ValueError(f"a message of the role {self.role!r} needs content")
        if self.tool_calls and self.role != "assistant":
            raise ValueError(f"a message of the role {self.role!r} cannot call tools")
        return self

    def for_template(self) -> dict[str, Any]:
        """As `QwQ.stream` wants it."""
        content = self.content if isinstance(self.content, str | None) else "".join(part.text for part in self.content)
        calls = [past_call(call.function.name, call.function.arguments, call.id) for call in self.tool_calls or ()]
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": content or ""} | given(tool_calls=calls or None, tool_call_id=self.tool_call_id)


class Tool(Wire):
    """A tool that may be called."""

    type: Literal["function"]
    function: Function


class NamedFunction(Wire):
    """The name of a function."""

    name: str


class NamedTool(Wire):
    """The tool that must be called."""

    type: Literal["function"]
    function: NamedFunction


class AllowedTools(Wire):
    """Which of the tools may be called, and whether one must be."""

    mode: Literal["auto", "required"]
    tools: list[NamedTool]


class AllowedToolChoice(Wire):
    """A choice among some of the tools."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


class JsonSchema(Wire):
    """A schema for the answer. It holds whether `strict` says so or not; `name` and `description` have no effect."""

    name: str | None = None
    description: str | None = None
    schema_: Annotated[Schema, shallow("response_format"), Field(alias="schema")]
    strict: bool | None = None


class ResponseFormat(Wire):
    """What the answer must look like, after the thought."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _check(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError('json_schema goes with the type "json_schema"')
        return self


class ChatTemplateOptions(Wire):
    """`chat_template_kwargs`, as vLLM and llama-server have them."""

    enable_thinking: bool | None = None


class ChatRequest(OpenAiRequest):
    """The body of a chat completion.

    Extensions: llama.cpp's samplers, `thinking_budget_tokens` (a limit for the thought), `enable_thinking`. There is only the `verbosity`
    "medium" and the modality "text", and nothing is stored.
    """

    model_config = ConfigDict(json_schema_extra={"examples": EXAMPLES})
    refused: ClassVar = OpenAiRequest.refused | {
        "audio": TEXT_ONLY,
        "functions": "they were replaced by tools",
        "function_call": "it was replaced by tool_choice",
        "moderation": "nothing leaves this machine, and nobody reads along",
        "prediction": "guesses are found in the prompt without it",
        "web_search_options": "nothing leaves this machine",
    }

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_tokens: Tokens | None = Field(default=None, description="Longest answer, thoughts included")
    max_completion_tokens: Tokens | None = Field(default=None, description="The same by its newer name")
    thinking_budget_tokens: Budget | None = Field(default=None, description="Longest thought; it is then closed and answered from")
    enable_thinking: bool | None = None
    chat_template_kwargs: ChatTemplateOptions | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool | AllowedToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    modalities: list[Literal["text"]] | None = None
    store: Literal[False] | None = None
    verbosity: Literal["medium"] | None = None

    @model_validator(mode="after")
    def _check(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs goes with logprobs: true")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise ValueError("max_tokens and max_completion_tokens are two names of one limit, and differ")
        return self

    def ask(self) -> Ask:
        """As the desk wants it. Raises ApiError for messages in an order that cannot be."""
        messages = [message.for_template() for message in self.messages]
        check_order(messages)
        return Ask(self.model or "", messages, self._tools(), options=self.shared_options() | self._own_options(), n=self.n or 1)

    def _tools(self) -> list[dict[str, Any]]:
        functions = [tool.function for tool in self.tools or ()]
        if isinstance(self.tool_choice, AllowedToolChoice):
            allowed = {tool.function.name for tool in self.tool_choice.allowed_tools.tools}
            unknown = allowed - {function.name for function in functions}
            if unknown:
                raise ApiError(400, f"tool_choice allows {min(unknown)!r}, which is not among the tools.", param="tool_choice")
            functions = [function for function in functions if function.name in allowed]
        return [function.tool() for function in functions]

    def _own_options(self) -> dict[str, Any]:
        thinks = self.enable_thinking
        if thinks is None and self.chat_template_kwargs:
            thinks = self.chat_template_kwargs.enable_thinking
        own = given(
            max_tokens=self.max_completion_tokens or self.max_tokens,
            thinks=thinks,
            n_logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            tool_choice=self._choice(),
            parallel_tool_calls=self.parallel_tool_calls,
        )
        return own | thought_options(self.thinking_budget_tokens, self.reasoning_effort) | self._format_option()

    def _choice(self) -> str | dict[str, Any] | None:
        if isinstance(self.tool_choice, AllowedToolChoice):
            return self.tool_choice.allowed_tools.mode
        return self.tool_choice.model_dump() if isinstance(self.tool_choice, NamedTool) else self.tool_choice

    def _format_option(self) -> dict[str, Any]:
        wanted = self.response_format
        if wanted is None or wanted.type == "text":
            return {}
        return json_option(wanted.json_schema.schema_ if wanted.json_schema else None)
