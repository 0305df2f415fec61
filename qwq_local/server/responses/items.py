"""OpenAI's responses, the items: what a conversation consists of, asked and answered alike, and how it becomes messages for QwQ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from qwq_local.server.conversation import assistant_is_last, past_call, unknown_call
from qwq_local.server.told import TokenLogprob, Told

ItemStatus = Literal["in_progress", "completed", "incomplete"]


class InputText(Told):
    """A piece of a message that was asked."""

    type: Literal["input_text"]
    text: str


class OutputText(Told):
    """The text of a message that was answered. Nothing is ever annotated."""

    type: Literal["output_text"]
    text: str
    annotations: list[dict[str, Any]]
    logprobs: list[TokenLogprob]


class ReasoningText(Told):
    """The text of a thought."""

    type: Literal["reasoning_text"]
    text: str


class InputMessage(Told):
    """A message to QwQ."""

    id: str
    type: Literal["message"]
    role: Literal["user", "system", "developer"]
    status: ItemStatus
    content: list[InputText]


class OutputMessage(Told):
    """A message of QwQ's."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: ItemStatus
    content: list[OutputText]


class FunctionCall(Told):
    """A function that QwQ wants called; `arguments` are a JSON object as text."""

    id: str
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    status: ItemStatus


class FunctionOutput(Told):
    """What a called function gave back."""

    id: str
    type: Literal["function_call_output"]
    call_id: str
    output: str
    status: ItemStatus


class Reasoning(Told):
    """A thought, in `content` as it was thought. Nobody sums it up."""

    id: str
    type: Literal["reasoning"]
    summary: list[dict[str, Any]]
    content: list[ReasoningText]
    status: ItemStatus


OutputItem = Reasoning | OutputMessage | FunctionCall
HistoryItem = InputMessage | OutputMessage | FunctionCall | FunctionOutput
"""What QwQ is shown of a conversation: everything but thoughts."""


def without_thoughts(items: Sequence[OutputItem]) -> list[HistoryItem]:
    """What later turns are shown of an answer."""
    return [item for item in items if not isinstance(item, Reasoning)]


def messages_of(items: Sequence[HistoryItem]) -> list[dict[str, Any]]:
    """Messages as `QwQ.stream` wants them: what an answer said and what it called is one message."""
    messages: list[dict[str, Any]] = []
    for item in items:
        match item:
            case FunctionCall():
                if not messages or messages[-1]["role"] != "assistant":
                    messages.append({"role": "assistant", "content": ""})
                messages[-1].setdefault("tool_calls", []).append(past_call(item.name, item.arguments, item.call_id))
            case FunctionOutput():
                messages.append({"role": "tool", "tool_call_id": item.call_id, "content": item.output})
            case _:
                role = "system" if item.role == "developer" else item.role
                messages.append({"role": role, "content": "".join(part.text for part in item.content)})
    return messages


def check_items(history: Sequence[HistoryItem], asked: Sequence[tuple[str, HistoryItem]]) -> None:
    """Raise ApiError unless every result follows its call, and something is left to be answered. `asked` has each item's place with it."""
    called = {item.call_id for item in history if isinstance(item, FunctionCall)}
    for place, item in asked:
        if isinstance(item, FunctionCall):
            called.add(item.call_id)
        if isinstance(item, FunctionOutput) and item.call_id not in called:
            raise unknown_call(f"{place}.call_id", item.call_id, called)
    last_place, last = asked[-1]
    if isinstance(last, OutputMessage | FunctionCall):
        raise assistant_is_last(last_place, "input")
