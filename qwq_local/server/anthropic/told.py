"""Anthropic's Messages, what is answered: a message of blocks.

Format: platform.claude.com/docs/en/api/messages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

from pydantic_core import from_json

from qwq_local.engine import Answering, Event, Finished, Thinking, ToolCallDelta, ToolCallDropped, ToolCallStarted
from qwq_local.errors import DecodeError
from qwq_local.server.answers import Answers, Whole
from qwq_local.server.anthropic.asked import MessagesRequest
from qwq_local.server.told import Told, new_id

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"]


class Thought(Told):
    """The thought. Its signature is the SHA-256 of its text: nobody checks it, since QwQ is not shown earlier thoughts."""

    type: Literal["thinking"]
    thinking: str
    signature: str


class Text(Told):
    """What is meant for the user."""

    type: Literal["text"]
    text: str


class ToolUse(Told):
    """A tool call."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


class OutputDetails(Told):
    """What the output tokens were spent on."""

    thinking_tokens: int


class MessageUsage(Told):
    """Counts of tokens. The prompt is the sum of the three input counts; what the cache is given costs nothing, and counts as 0."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: OutputDetails


class MessageTold(Told):
    """The whole answer. One that was ended since it went round in circles has the stop reason "max_tokens"."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[Thought | Text | ToolUse]
    stop_reason: StopReason
    stop_sequence: str | None
    usage: MessageUsage


class TokensCount(Told):
    """How long a prompt is."""

    input_tokens: int


@dataclass
class Draft:
    """A block on its way: the pieces of a thought, of an answer, or of the input of the tool `name`."""

    kind: Literal["thinking", "text", "tool_use"]
    name: str = ""
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Its pieces, put together."""
        return "".join(self.pieces)

    def told(self, *, shows_thought: bool) -> Thought | Text | ToolUse:
        """The block. Raises DecodeError for a tool's input that cannot be sent as JSON."""
        match self.kind:
            case "text":
                return Text(type="text", text=self.text)
            case "tool_use":
                return ToolUse(type="tool_use", id=new_id("toolu"), name=self.name, input=_read_input(self))
        signature = sha256(self.text.encode()).hexdigest()
        return Thought(type="thinking", thinking=self.text if shows_thought else "", signature=signature)


def drafts_of(events: Iterable[Event]) -> list[Draft]:
    """The blocks of an answer, in the order in which they came."""
    drafts: list[Draft] = []
    for event in events:
        match event:
            case Thinking(text) | Answering(text):
                kind: Literal["thinking", "text"] = "thinking" if isinstance(event, Thinking) else "text"
                if not drafts or drafts[-1].kind != kind:
                    drafts.append(Draft(kind))
                drafts[-1].pieces.append(text)
            case ToolCallStarted(_, name):
                drafts.append(Draft("tool_use", name))
            case ToolCallDelta(_, arguments):
                drafts[-1].pieces.append(arguments)
            case ToolCallDropped():
                drafts.pop()
    return drafts


def message_of(answers: Answers, whole: Whole, body: MessagesRequest) -> MessageTold:
    """The answer that was not streamed."""
    stop_reason, stop_sequence = stop_of(whole.end, body.max_tokens, has_calls=bool(whole.found.tool_calls))
    return MessageTold(
        id=new_id("msg"),
        type="message",
        role="assistant",
        model=answers.model,
        content=[draft.told(shows_thought=body.shows_thought) for draft in drafts_of(whole.events)],
        stop_reason=stop_reason,
        stop_sequence=stop_sequence,
        usage=usage_of(whole.end),
    )


def stop_of(end: Finished, max_tokens: int, *, has_calls: bool) -> tuple[StopReason, str | None]:
    """Why it stopped, and at which text."""
    if end.stop_text:
        return "stop_sequence", end.stop_text
    if end.reason == "length" and end.usage.completion_tokens < max_tokens:
        return "model_context_window_exceeded", None
    if end.reason in ("length", "repetition"):
        return "max_tokens", None
    return "tool_use" if has_calls else "end_turn", None


def usage_of(end: Finished) -> MessageUsage:
    """What it took."""
    return MessageUsage(
        input_tokens=end.usage.prompt_tokens - end.usage.cached_tokens,
        cache_creation_input_tokens=0,
        cache_read_input_tokens=end.usage.cached_tokens,
        output_tokens=end.usage.completion_tokens,
        output_tokens_details=OutputDetails(thinking_tokens=end.usage.reasoning_tokens),
    )


def _read_input(call: Draft) -> dict[str, Any]:
    try:
        found: dict[str, Any] = from_json(call.text)
    except ValueError as error:  # half a character, or lists in lists without end
        raise DecodeError(f"The tool {call.name!r} was called with what no client could read: {error}.", hint="Ask again.") from error
    return found
