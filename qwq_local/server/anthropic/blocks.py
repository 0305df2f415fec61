"""Anthropic's Messages, what a conversation is made of: messages of blocks.

Format: platform.claude.com/docs/en/api/messages.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator

from qwq_local.server.conversation import past_call
from qwq_local.server.wire import TEXT_ONLY, Wire, given, unsupported

Placed = tuple[str, dict[str, Any]]
"""A message as `QwQ.stream` wants it, and where in the request it stands."""


def _by_type(*models: type[Wire]) -> BeforeValidator:
    """Reads each block as what its type says, so that what is wrong is told of that type alone."""
    known = {get_args(model.model_fields["type"].annotation)[0]: model for model in models}

    def read(block: Any) -> Any:  # noqa: ANN401 - JSON of any shape
        if not isinstance(block, dict):
            return block
        kind = str(block.get("type", "A block without a type"))
        if kind not in known:
            raise unsupported(kind[:100], f"{TEXT_ONLY}, here in blocks of the type {', '.join(known)}")
        return known[kind].model_validate(block)

    return BeforeValidator(read)


class CacheControl(Wire):
    """A mark up to where to cache. It has no effect: whatever a prompt has in common with an earlier one is found without marks."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class TextBlock(Wire):
    """A text."""

    refused: ClassVar = {"citations": "QwQ is shown texts, not their sources"}

    type: Literal["text"]
    text: str
    cache_control: CacheControl | None = None


class ThinkingBlock(Wire):
    """An earlier thought. It is left out, as QwQ wants it, so that nobody checks its signature."""

    type: Literal["thinking"]
    thinking: str
    signature: str


class RedactedThinkingBlock(Wire):
    """An earlier thought that cannot be read. It is left out too."""

    type: Literal["redacted_thinking"]
    data: str


class Caller(Wire):
    """Who called a tool: the model itself."""

    type: Literal["direct"]


class ToolUseBlock(Wire):
    """A tool call, in the history."""

    refused: ClassVar = {"toolset_name": "there are no toolsets here"}

    type: Literal["tool_use"]
    id: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(min_length=1)]
    input: dict[str, Any]
    caller: Caller | None = None
    cache_control: CacheControl | None = None


Text = Annotated[TextBlock, _by_type(TextBlock)]


def text_of(content: str | list[Any]) -> str:
    """The texts among blocks, as one."""
    return content if isinstance(content, str) else "".join(block.text for block in content if isinstance(block, TextBlock))


class ToolResultBlock(Wire):
    """What came of a tool call. QwQ's format knows no errors, so that the text of one begins with the word."""

    refused: ClassVar = {"toolset_name": "there are no toolsets here"}

    type: Literal["tool_result"]
    tool_use_id: Annotated[str, Field(min_length=1)]
    content: str | list[Text] | None = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None

    def result(self) -> dict[str, Any]:
        """As QwQ's template wants it."""
        text = text_of(self.content or "")
        return {"role": "tool", "tool_call_id": self.tool_use_id, "content": f"Error: {text}" if self.is_error else text}


Block = Annotated[
    TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ToolResultBlock,
    _by_type(TextBlock, ThinkingBlock, RedactedThinkingBlock, ToolUseBlock, ToolResultBlock),
]
_SPOKEN: Final = {
    "user": ("text", "tool_result"),
    "assistant": ("text", "thinking", "redacted_thinking", "tool_use"),
    "system": ("text",),
}
"""The types of blocks that each role can have."""


class MessageIn(Wire):
    """A message of the history. Tool results come before the text that stands beside them."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for block in self.content if isinstance(self.content, list) else ():
            if block.type not in _SPOKEN[self.role]:
                raise ValueError(f"a message of the role {self.role!r} cannot have a block of the type {block.type!r}")
        return self

    def for_template(self, where: str) -> list[Placed]:
        """As `QwQ.stream` wants it: thoughts left out, each tool result a message of its own."""
        blocks = self.content if isinstance(self.content, list) else []
        calls = [past_call(block.name, block.input, block.id) for block in blocks if isinstance(block, ToolUseBlock)]
        results = [(f"{where}.content[{i}]", block.result()) for i, block in enumerate(blocks) if isinstance(block, ToolResultBlock)]
        text = text_of(self.content)
        if results and not text:
            return results
        return [*results, (where, {"role": self.role, "content": text} | given(tool_calls=calls or None))]
