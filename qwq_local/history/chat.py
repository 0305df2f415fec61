"""A chat as it is kept (pure): a tree of messages, of which one branch is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["user", "assistant", "tool"]
State = Literal["whole", "writing", "stopped", "failed", "lost"]
"""How a message stands: said in whole, still being written, stopped by its reader, ended by an error, or left by a program that died."""


@dataclass(frozen=True)
class ChatMessage:
    """One message, and how it came about; `created_at` is in seconds since 1970, `n_tokens` counts those drawn so far."""

    id: int
    parent_id: int | None
    role: Role
    content: str
    state: State = "whole"
    reasoning: str = ""
    tool_calls: tuple[Mapping[str, str], ...] = ()
    error: str = ""
    model: str = ""
    finish_reason: str = ""
    usage: Mapping[str, int] = field(default_factory=dict)
    rope: str = ""
    created_at: float = 0.0
    thought_seconds: float = 0.0
    seconds: float = 0.0
    n_tokens: int = 0


@dataclass(frozen=True)
class Chat:
    """A chat with all its branches.

    `options` are those of `QwQ.stream` that were chosen for it; `owner` is who may see it, where that matters.
    """

    id: str
    title: str
    system: str
    options: Mapping[str, Any]
    owner: str
    leaf_id: int | None
    created_at: float
    updated_at: float
    messages: Mapping[int, ChatMessage]

    def path(self, leaf_id: int | None = None) -> list[ChatMessage]:
        """The branch that ends at this message, or at the chat's leaf, from its beginning."""
        found: list[ChatMessage] = []
        at = self.messages.get(self.leaf_id if leaf_id is None else leaf_id, None)  # type: ignore[arg-type] # no message is called None
        while at is not None:
            found.append(at)
            at = None if at.parent_id is None else self.messages.get(at.parent_id)
        return found[::-1]

    def siblings(self, message_id: int) -> list[int]:
        """All that follow the same message as this one does, itself among them, in the order in which they were begun."""
        parent_id = self.messages[message_id].parent_id
        return [message.id for message in self.messages.values() if message.parent_id == parent_id]

    def latest_leaf(self, message_id: int) -> int:
        """The end of the newest branch that goes through this message."""
        at = message_id
        while children := [message.id for message in self.messages.values() if message.parent_id == at]:
            at = max(children)
        return at


@dataclass(frozen=True)
class ChatSummary:
    """A line of the list of chats."""

    id: str
    title: str
    owner: str
    created_at: float
    updated_at: float
    n_messages: int
    is_writing: bool


@dataclass(frozen=True)
class Found:
    """A chat in which something was found: the message, a piece of it, and where in that piece the words stand."""

    summary: ChatSummary
    message_id: int
    snippet: str
    spans: tuple[tuple[int, int], ...]


def conversation(system: str, path: list[ChatMessage]) -> list[dict[str, Any]]:
    """A branch as what a model is asked with: no thoughts, and no answers that never came to say anything."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for message in path:
        calls = [{"type": "function", "function": dict(call)} for call in message.tool_calls]
        if message.role != "assistant" or message.content or calls:
            messages.append({"role": message.role, "content": message.content, **({"tool_calls": calls} if calls else {})})
    return messages
