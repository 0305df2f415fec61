"""Conversations as the wire formats send them: what all have in common, and what no order of messages can mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from qwq_local.server.errors import ApiError

MAX_MESSAGES: Final = 10_000


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
    for index, message in enumerate(messages):
        called.update(call["id"] for call in message.get("tool_calls") or () if call.get("id"))
        if message["role"] == "tool":
            _check_result(places[index], message, messages[:index], called, call_id)
    if messages[-1]["role"] == "assistant":
        raise ApiError(
            400,
            f"{places[-1]} is the assistant's, and QwQ cannot go on with an answer that others began: it thinks first. "
            "End with a message of the user or of a tool.",
            code="invalid_value",
            param=field,
        )


def _check_result(where: str, message: dict[str, Any], before: Sequence[dict[str, Any]], called: set[str], name: str) -> None:
    if not any(earlier.get("tool_calls") for earlier in before):
        raise ApiError(400, f"{where} is a tool's, and no tool was called before it.", code="invalid_value", param=f"{where}.role")
    call_id = message.get("tool_call_id")
    if call_id and call_id not in called:
        known = ", ".join(sorted(called)) or "none has an id"
        raise ApiError(
            400,
            f"{where}.{name} is {call_id[:200]!r}, which no message before it calls. Called were: {known[:500]}.",
            code="invalid_value",
            param=f"{where}.{name}",
        )
