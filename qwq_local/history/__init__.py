"""Chats, kept in SQLite while they are written, so that whoever is killed loses at most a second of them."""

from qwq_local.history.chat import Chat, ChatMessage, ChatSummary, Found, Role, State, conversation
from qwq_local.history.draft import Draft
from qwq_local.history.export import to_json, to_markdown
from qwq_local.history.history import CHATS_FILE, History

__all__ = [
    "CHATS_FILE",
    "Chat",
    "ChatMessage",
    "ChatSummary",
    "Draft",
    "Found",
    "History",
    "Role",
    "State",
    "conversation",
    "to_json",
    "to_markdown",
]
