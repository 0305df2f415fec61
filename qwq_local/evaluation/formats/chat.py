"""Messages of a chat, checked: what a question may be made of."""

from __future__ import annotations

from typing import Any, Final

from qwq_local.evaluation.formats.asking import Messages
from qwq_local.evaluation.formats.fields import LineError, check_keys, check_object, check_text, kind
from qwq_local.evaluation.formats.tools import check_arguments

_ROLES: Final = ("system", "user", "assistant", "tool")
_KEYS: Final = ("role", "content", "tool_calls", "tool_call_id", "name")


def check_messages(value: object, name: str = "messages") -> Messages:
    """A conversation that waits for an answer: its last message is a user's or a tool's. Raises LineError."""
    if not isinstance(value, list) or not value:
        raise LineError(f"{name!r} must be a list of messages")
    messages = tuple(_message(each, f"{name}[{place}]") for place, each in enumerate(value))
    if messages[-1]["role"] not in ("user", "tool"):
        raise LineError(f"{name!r} must end with a message of the user or of a tool")
    if any(message["role"] == "system" for message in messages[1:]):
        raise LineError(f"{name!r} may have a system's message at its beginning only")
    return messages


def _message(value: object, name: str) -> dict[str, Any]:
    message = check_object(value, name)
    check_keys(message, name, _KEYS)
    role = message.get("role")
    if role not in _ROLES:
        raise LineError(f"{name} must have a role, one of {', '.join(_ROLES)}")
    if message.get("tool_calls") is not None:
        if role != "assistant":
            raise LineError(f"{name} has tool_calls, which only the assistant makes")
        _check_tool_calls(message["tool_calls"], name)
        if not isinstance(message.get("content"), str | None):
            raise LineError(f"{name}'s content must be a text, not {kind(message['content'])}")
    elif role == "tool" and message.get("content") == "":
        pass  # a tool may have nothing to say
    else:
        check_text(message.get("content"), f"{name}'s content")
    return message


def _check_tool_calls(value: object, name: str) -> None:
    if not isinstance(value, list) or not value:
        raise LineError(f"{name}'s tool_calls must be a list of calls")
    for each in value:
        function = check_object(check_object(each, f"a call of {name}").get("function"), f"the function of a call of {name}")
        check_text(function.get("name"), f"the name of a function that {name} calls")
        check_arguments(function.get("arguments"), f"the arguments of a call of {name}")
