"""A chat for other programs and other people (pure): as Markdown, the branch that is looked at; as JSON, everything."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from qwq_local.history.chat import Chat, ChatMessage

_NAMES = {"user": "Question", "assistant": "Answer", "tool": "Result of a tool"}
_STATES = {
    "stopped": "stopped by its reader",
    "failed": "ended by an error",
    "lost": "its program was ended",
    "writing": "still being written",
}


def to_markdown(chat: Chat, *, with_thoughts: bool = False) -> str:
    """The branch that ends at the chat's leaf; thoughts are quoted before their answers, where they are wanted."""
    parts = [f"# {chat.title}", f"{_date(chat.created_at)}, `{chat.id}`"]
    if chat.system:
        parts.append(f"## System\n\n{chat.system}")
    for message in chat.path():
        parts.append(f"## {_heading(message)}")
        if with_thoughts and message.reasoning.strip():
            parts.append("\n".join(f"> {line}".rstrip() for line in message.reasoning.strip().splitlines()))
        parts += [f"Calls `{call['name']}` with `{call['arguments']}`." for call in message.tool_calls]
        if message.content.strip():
            parts.append(message.content.strip())
    return "\n\n".join(parts) + "\n"


def to_json(chat: Chat) -> dict[str, Any]:
    """All branches, as a tree by `parent_id`; times are seconds since 1970."""
    return {**asdict(chat), "messages": [asdict(message) for message in chat.messages.values()]}


def _heading(message: ChatMessage) -> str:
    told = [part for part in (message.model, _STATES.get(message.state, ""), message.error) if part]
    return _NAMES[message.role] + (f" ({', '.join(told)})" if told else "")


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
