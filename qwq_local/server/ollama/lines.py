"""Ollama's API, the lines that an answer consists of: what they hold, and how they come about.

Format: github.com/ollama/ollama, docs/api.md and api/types.go. A thought is told in `thinking`, never in the answer.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypedDict, Unpack

from qwq_local.answering import ToolCall
from qwq_local.engine import Drawn, Finished
from qwq_local.server.answers import Answers
from qwq_local.server.json_body import MAX_SCHEMA_DEPTH
from qwq_local.server.ollama.spelling import rfc3339, tagged
from qwq_local.server.told import FINISH, TokenLogprob, Told, logprob_of, new_id


class CalledFunction(Told):
    """A function, and its arguments as an object."""

    index: int
    name: str
    arguments: dict[str, Any]


class Call(Told):
    """A tool call."""

    id: str
    function: CalledFunction


class AnswerMessage(Told):
    """The answer, or a piece of it: its thought in `thinking`, what is meant for the user in `content`."""

    role: Literal["assistant"]
    content: str
    thinking: str | None = None
    tool_calls: list[Call] | None = None


class Line(Told):
    """What all lines of an answer have, and what the last one has beside it; durations are nanoseconds."""

    model: str
    created_at: str
    done: bool
    logprobs: list[TokenLogprob] | None = None
    done_reason: Literal["stop", "length", "load", "unload"] | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None


class ChatLine(Line):
    """A chat's."""

    message: AnswerMessage


class GenerateLine(Line):
    """A generation's."""

    response: str
    thinking: str | None = None


class Said(TypedDict, total=False):
    """What an answer says: what is meant for the user, the thought, and tool calls."""

    content: str
    thinking: str
    calls: Sequence[dict[str, Any]]


class Piece(Protocol):
    """Knows in which fields of a line that stands."""

    def __call__(self, **said: Unpack[Said]) -> dict[str, Any]:
        """These fields."""
        ...


def chat_piece(content: str = "", thinking: str = "", calls: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """As a chat's line has them."""
    message: dict[str, Any] = {"role": "assistant", "content": content}
    return {"message": message | ({"thinking": thinking} if thinking else {}) | ({"tool_calls": list(calls)} if calls else {})}


def generate_piece(content: str = "", thinking: str = "", calls: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """As a generation's line has them."""
    assert not calls, "a generation has no tools"
    return {"response": content} | ({"thinking": thinking} if thinking else {})


@dataclass(frozen=True)
class Begun:
    """An answer that is being written; when it was asked for and how long it took to hand it in, in nanoseconds."""

    answers: Answers
    piece: Piece
    asked_at: int
    load_duration: int
    has_logprobs: bool

    def line(self, drawn: Sequence[Drawn] = (), *, done: bool = False, **said: Unpack[Said]) -> dict[str, Any]:
        """A line with what was drawn and what is said since the one before."""
        told = [logprob_of(token).model_dump() for token in drawn if token.piece] if self.has_logprobs else []
        logprobs = {"logprobs": told} if told else {}
        head = {"model": tagged(self.answers.model), "created_at": rfc3339(time.time())}
        return head | self.piece(**said) | logprobs | {"done": done}

    def last_line(self, end: Finished, drawn: Sequence[Drawn] = (), **said: Unpack[Said]) -> dict[str, Any]:
        """The last one."""
        total = time.perf_counter_ns() - self.asked_at
        prefill, decode = round(end.timings.prefill_seconds * 1e9), round(end.timings.decode_seconds * 1e9)
        return self.line(drawn, done=True, **said) | {
            "done_reason": FINISH[end.reason],
            "total_duration": total,
            # The engine begins while it is still being handed in; no time is told twice.
            "load_duration": max(0, min(self.load_duration, total - prefill - decode)),
            "prompt_eval_count": end.usage.prompt_tokens,
            "prompt_eval_duration": prefill,
            "eval_count": end.usage.completion_tokens,
            "eval_duration": decode,
        }


def calls_of(calls: Sequence[ToolCall], first_index: int = 0) -> list[dict[str, Any]]:
    """Tool calls as the format has them."""
    return [
        {"id": new_id("call"), "function": {"index": index, "name": call.name, "arguments": arguments_of(call.arguments)}}
        for index, call in enumerate(calls, first_index)
    ]


def arguments_of(text: str) -> dict[str, Any]:
    """A call's arguments as an object. What JSON allows and few programs can hold, such as numbers of 5,000 digits, stays text."""
    arguments = _sendable(json.loads(text, parse_int=_number(int), parse_float=_number(float)))
    assert isinstance(arguments, dict), "the engine tells of no others"
    return arguments


def _number(kind: type[int | float]) -> Callable[[str], int | float | str]:
    return lambda text: kind(text) if len(text) <= 1000 and math.isfinite(float(text)) else text


def _sendable(value: object, depth: int = 0) -> object:
    if depth > MAX_SCHEMA_DEPTH:
        return json.dumps(value)
    match value:
        case str():  # an escaped half of a character, which no UTF-8 text can hold
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case dict():
            return {_sendable(key): _sendable(item, depth + 1) for key, item in value.items()}
        case list():
            return [_sendable(item, depth + 1) for item in value]
    return value
