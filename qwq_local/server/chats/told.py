"""The page's own format, what is told: chats, their messages, and the list of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pydantic import Field

from qwq_local.history import Chat, ChatMessage, ChatSummary, Found
from qwq_local.history.chat import State
from qwq_local.server.told import Told


class MessageTold(Told):
    """A message; `state` says how it stands, times are in seconds."""

    id: int
    parent_id: int | None
    role: str
    content: str
    state: State
    reasoning: str
    tool_calls: list[dict[str, str]]
    error: str
    model: str
    finish_reason: str
    usage: dict[str, int]
    rope: str
    created_at: float
    thought_seconds: float
    seconds: float
    n_tokens: int


class ChatTold(Told):
    """A chat with all its branches; it is read up to `leaf_id`."""

    id: str
    title: str
    system: str
    options: dict[str, Any]
    leaf_id: int | None
    created_at: float
    updated_at: float
    messages: list[MessageTold]


class SummaryTold(Told):
    """A line of the list; where something was searched for, the message that says it, a piece of that, and where in it the words stand."""

    id: str
    title: str
    created_at: float
    updated_at: float
    n_messages: int
    is_writing: bool
    message_id: int | None = None
    snippet: str = ""
    spans: list[tuple[int, int]] = Field(default_factory=list)


class ListTold(Told):
    """A piece of the list; `notices` and `problem` are what the user should know of the file that chats are kept in."""

    chats: list[SummaryTold]
    has_more: bool
    notices: list[str]
    problem: str


class Begun(Told):
    """An answer is being written. The question is told of where it is new, and the chat where that is."""

    chat_id: str
    question_id: int
    answer_id: int


def message_told(message: ChatMessage) -> MessageTold:
    """One message."""
    return MessageTold(**asdict(message) | {"tool_calls": [*map(dict, message.tool_calls)]})


def chat_told(chat: Chat) -> ChatTold:
    """One chat."""
    named = {name: getattr(chat, name) for name in ChatTold.model_fields if name != "messages"}
    return ChatTold(**named, messages=[*map(message_told, chat.messages.values())])


def list_told(found: Sequence[ChatSummary | Found], limit: int, notices: list[str], problem: str) -> ListTold:
    """The first `limit` of what was found, and whether there is more."""
    rows = [SummaryTold(**_named(one)) for one in found[:limit]]
    return ListTold(chats=rows, has_more=len(found) > limit, notices=notices, problem=problem)


def _named(one: ChatSummary | Found) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    summary = one.summary if isinstance(one, Found) else one
    if isinstance(one, Found):
        extra = {"message_id": one.message_id, "snippet": one.snippet, "spans": [*one.spans]}
    return {name: getattr(summary, name) for name in SummaryTold.model_fields if hasattr(summary, name)} | extra
