"""A message that is streamed comes to the same blocks as one that is sent at once, whatever the model writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter

from qwq_local.answering import Gathered
from qwq_local.engine import Answering, Event, Failed, Finished, Thinking, Timings, ToolCallDelta, ToolCallDropped, ToolCallStarted, Usage
from qwq_local.errors import DecodeError, ModelClosedError
from qwq_local.server.answers import Answers, Ask
from qwq_local.server.anthropic.asked import MessagesRequest
from qwq_local.server.anthropic.messages import MessageWriter
from qwq_local.server.anthropic.told import Draft, drafts_of, stop_of

BODY: Any = {"model": "demo", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}
CALL: list[Event] = [ToolCallStarted(0, "add"), ToolCallDelta(0, '{"a": '), ToolCallDelta(0, "1}")]
TEXT = '<tool_call>\n{"name": "add", "arguments": {"a": '
DROPPED: list[Event] = [*CALL[:2], ToolCallDropped(0), Answering(TEXT)]


def finished(reason: Any = "stop", completion_tokens: int = 9, stop_text: str = "") -> Finished:
    return Finished(reason, Usage(5, completion_tokens, 2, 3), Timings(0, 0, 0), "native", 1, stop_text)


class Written:
    """Stands for an answer whose prompt has five tokens; what has come of it is told by the test."""

    prompt_tokens = 5

    def __init__(self, events: Sequence[Event]) -> None:
        self.gathered = Gathered()
        for event in events:
            if not isinstance(event, Finished | Failed):
                self.gathered.add(event)


def sent(events: Sequence[Event], *, is_eager: bool = False) -> list[dict[str, Any]]:
    tools = [{"name": "add", "input_schema": {}, "eager_input_streaming": is_eager}]
    stream: Any = Written(events)
    answers = Answers(Ask(), "demo", [stream], lambda: None)
    writer = MessageWriter(answers, MessagesRequest.model_validate(BODY | {"tools": tools}), "req_1")
    data = writer.open() + b"".join(writer.write(0, event) for event in events) + writer.close()
    return [json.loads(part.split(b"data: ")[1]) for part in data.split(b"\n\n") if part]


def rebuilt(sent_events: Sequence[dict[str, Any]]) -> Any:
    """The message that the client makes of them."""
    message: Any = None
    buffers: dict[int, bytes] = {}
    for data in sent_events:
        event = TypeAdapter(RawMessageStreamEvent).validate_python(data)
        message = accumulate_event(event=event, current_snapshot=message, json_bufs=buffers)
    return message


def plain(blocks: Sequence[Any]) -> list[dict[str, Any]]:
    return [block.model_dump(exclude={"id"}, exclude_none=True) for block in blocks]


@pytest.mark.parametrize("is_eager", [False, True])
@pytest.mark.parametrize(
    "events",
    [
        [],
        [Thinking("Hm"), Thinking("."), Answering("Hel"), Answering("lo")],
        [Thinking("Hm."), Answering("I add."), *CALL],
        [Thinking("Hm."), *CALL, Answering("Done."), *CALL],
        [Thinking("Hm."), Answering("So."), Thinking("Wait."), *CALL, Thinking("Yes.")],
    ],
    ids=["nothing", "text", "call", "text between calls", "second thoughts"],
)
def test_both_ways_lead_to_the_same_blocks(events: list[Event], is_eager: bool) -> None:
    message = rebuilt(sent([*events, finished()], is_eager=is_eager))
    assert plain(message.content) == plain([draft.told(shows_thought=True) for draft in drafts_of(events)])
    assert message.stop_reason == ("tool_use" if CALL[0] in events else "end_turn")
    assert message.usage.to_dict() == {
        "input_tokens": 2,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 3,
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 2},
    }


def test_what_proves_to_be_no_call_is_never_seen_as_one() -> None:
    events = [Answering("I add. "), *DROPPED, finished("length", 100)]
    message = rebuilt(sent(events))
    assert plain(message.content) == [{"type": "text", "text": f"I add. {TEXT}"}]
    assert [draft.text for draft in drafts_of(events)] == [f"I add. {TEXT}"]
    assert message.stop_reason == "max_tokens"


def test_an_eager_call_that_proves_to_be_none_stays_unfinished() -> None:
    events = sent([*DROPPED, finished("length", 100)], is_eager=True)
    kinds = [(data["type"], data.get("index")) for data in events]
    assert kinds[1:-2] == [(f"content_block_{kind}", index) for index in (0, 1) for kind in ("start", "delta", "stop")]
    assert events[2]["delta"] == {"type": "input_json_delta", "partial_json": '{"a": '}
    assert events[5]["delta"] == {"type": "text_delta", "text": TEXT}
    assert events[-2]["delta"]["stop_reason"] == "max_tokens"


def test_an_error_ends_a_stream() -> None:
    *_, last = sent([Thinking("Hm"), Failed(ModelClosedError("The model was closed."))])
    assert last == {"type": "error", "error": {"type": "overloaded_error", "message": "The model was closed."}, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("end", "has_calls", "told"),
    [
        (finished(), False, ("end_turn", None)),
        (finished(), True, ("tool_use", None)),
        (finished(stop_text="."), True, ("stop_sequence", ".")),
        (finished("length", 100), True, ("max_tokens", None)),
        (finished("length", 99), False, ("model_context_window_exceeded", None)),
        (finished("repetition"), False, ("max_tokens", None)),
        (finished("cancelled"), False, ("end_turn", None)),
    ],
    ids=str,
)
def test_every_end_has_its_stop_reason(end: Finished, has_calls: bool, told: Any) -> None:
    assert stop_of(end, 100, has_calls=has_calls) == told


@pytest.mark.parametrize("text", ['{"a": "\\ud800"}', '{"a": ' + "[" * 300 + "]" * 300 + "}"], ids=["half a character", "too deep"])
def test_input_that_no_client_could_read_is_an_error(text: str) -> None:
    with pytest.raises(DecodeError, match="no client could read"):
        Draft("tool_use", "add", [text]).told(shows_thought=True)


def options(**more: Any) -> dict[str, Any]:
    return MessagesRequest.model_validate(BODY | more).options()


def test_what_is_said_of_the_thought_becomes_its_limit() -> None:
    low = {"output_config": {"effort": "low"}}
    assert options() == {"max_tokens": 100}
    assert options(**low) == {"max_tokens": 100, "think_tokens": 2048}
    assert options(**low, thinking={"type": "enabled", "budget_tokens": 9}) == {"max_tokens": 100, "think_tokens": 9}
    assert options(**low, thinking={"type": "disabled"}) == {"max_tokens": 100, "thinks": False}
    assert options(output_config={"effort": "max"}, thinking={"type": "adaptive"}) == {"max_tokens": 100}


def test_samplers_are_handed_on() -> None:
    asked = {"temperature": 1, "top_p": 0.5, "top_k": 7, "min_p": 0.1, "seed": 3, "stops_repetition": False}
    assert options(**asked) == {"max_tokens": 100, **asked}
