"""Conversations as the wire formats send them: what all have in common, and what no order of messages can mean."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from qwq_local.server.errors import ApiError
from qwq_local.server.wire import given

MAX_MESSAGES: Final = 10_000


def past_call(name: str, arguments: str | dict[str, Any], call_id: str | None) -> dict[str, Any]:
    """A tool call of the history, as `QwQ.stream` wants it."""
    return {"type": "function", "function": {"name": name, "arguments": arguments}} | given(id=call_id)


def check_order(
    messages: Sequence[dict[str, Any]], field: str = "messages", *, places: Sequence[str] = (), call_id: str = "tool_call_id"
) -> None:
    """Raise ApiError unless somebody is left to be answered, and every tool result follows its call.

    `places` tell where the client wrote each message, where that is not its place in `messages`, and `call_id` how it names a call's id.
    """
    if not messages:
        raise ApiError(400, f"{field} is empty. Ask something.", code="invalid_value", param=field)
    places = places or [f"{field}[{index}]" for index in range(len(messages))]
    called: set[str] = set()
    named: set[str] = set()
    for index, message in enumerate(messages):
        called.update(call["id"] for call in message.get("tool_calls") or () if call.get("id"))
        named.update(call["function"]["name"] for call in message.get("tool_calls") or ())
        if message["role"] == "tool":
            _check_result(places[index], message, called, named, call_id)
    if messages[-1]["role"] == "assistant":
        raise assistant_is_last(places[-1], field)


def assistant_is_last(where: str, param: str) -> ApiError:
    """The error for a conversation that leaves nobody to be answered; `where` is its last message."""
    return ApiError(
        400,
        f"{where} is the assistant's, and QwQ cannot go on with an answer that others began: it thinks first. "
        "End with a message of the user or of a tool.",
        code="invalid_value",
        param=param,
    )


def unknown_call(where: str, call_id: str, called: Collection[str]) -> ApiError:
    """The error for the result of a call that nobody has made; `where` is the field that holds its id, `called` are the ids there are."""
    known = ", ".join(sorted(called)) or "none has an id"
    return ApiError(
        400,
        f"{where} is {call_id[:200]!r}, which no message before it calls. Called were: {known[:500]}.",
        code="invalid_value",
        param=where,
    )


def _check_result(where: str, message: dict[str, Any], called: set[str], named: set[str], name: str) -> None:
    if not named:
        raise ApiError(400, f"{where} is a tool's, and no tool was called before it.", code="invalid_value", param=f"{where}.role")
    call_id = message.get("tool_call_id")
    if call_id and call_id not in called:
        raise unknown_call(f"{where}.{name}", call_id, called)
    tool_name = message.get("tool_name")
    if tool_name and tool_name not in named:
        raise unknown_call(f"{where}.tool_name", tool_name, named)
