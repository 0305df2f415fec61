"""Responses as streams: the events in their order, and what they come to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import groupby
from typing import Any

import openai
import pytest
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from qwq_local.backend import Draw
from qwq_local.engine import (
    Answering,
    Drawn,
    Event,
    Failed,
    Finished,
    Thinking,
    Timings,
    ToolCallDelta,
    ToolCallDropped,
    ToolCallStarted,
    Usage,
)
from qwq_local.errors import WorkerDiedError
from qwq_local.server.responses.asked import ResponseRequest
from qwq_local.server.responses.told import Response, begun
from qwq_local.server.responses.writer import Output, ResponseWriter
from tests.server.test_responses import SEED, SUM, TOOLS, WEATHER, client
from tests.serving import Endpoint

__all__ = ["client"]

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
THOUGHT = [
    "output_item.added",
    "content_part.added",
    "reasoning_text.delta",
    "reasoning_text.done",
    "content_part.done",
    "output_item.done",
]
MESSAGE = ["output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done", "output_item.done"]
CALL = ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"]
END = Finished("stop", Usage(5, 7, 2, 1), Timings(0.0, 0.1, 0.2), "native", 3)


def events_of(stream: str) -> list[dict[str, Any]]:
    """The events of a stream, each checked against the client's types; comments are left out."""
    found = []
    for block in stream.strip("\n").split("\n\n"):
        if block.startswith(":"):
            continue
        head, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert head == f"event: {event['type']}"
        EVENT.validate_python(event)
        found.append(event)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def order_of(events: Iterable[dict[str, Any]]) -> list[str]:
    """The types, repeated ones once."""
    return [kind.removeprefix("response.") for kind, _ in groupby(event["type"] for event in events)]


def check_nesting(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every item is added, filled and done before the next; the pieces are the whole. Returns the items that are done."""
    items: list[dict[str, Any]] = []
    open_item: dict[str, Any] = {}
    pieces = ""
    for event in events:
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert not open_item
            open_item, pieces = event["item"], ""
            assert (event["output_index"], open_item["status"]) == (len(items), "in_progress")
        elif kind == "output_item.done":
            assert {name: event["item"][name] for name in ("id", "type")} == {name: open_item[name] for name in ("id", "type")}
            items.append(event["item"])
            open_item = {}
        elif "item_id" in event:
            assert (event["item_id"], event["output_index"]) == (open_item["id"], len(items))
            pieces += event.get("delta", "")
            whole = event.get("text", event.get("arguments", pieces))
            assert whole == pieces
    assert not open_item
    return items


@pytest.mark.parametrize(
    ("asked", "middle"), [({"input": SUM}, [*THOUGHT, *MESSAGE]), ({"input": WEATHER, "tools": TOOLS}, [*THOUGHT, *CALL])]
)
def test_the_events_come_in_openai_s_order(endpoint: Endpoint, asked: dict[str, Any], middle: list[str]) -> None:
    answer = endpoint.post("/v1/responses", {**asked, "stream": True, "seed": 1})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    assert order_of(events) == ["created", "in_progress", *middle, "completed"]
    first, second, last = events[0]["response"], events[1]["response"], events[-1]["response"]
    assert first == second
    assert (first["status"], first["output"], first["usage"], last["status"]) == ("in_progress", [], None, "completed")
    assert check_nesting(events) == last["output"]
    told_at_the_end = {"status", "output", "usage", "completed_at", "qwq"}
    assert {name for name in last if first[name] != last[name]} <= told_at_the_end


def test_the_client_s_helper_rebuilds_the_response(client: openai.OpenAI) -> None:
    with client.responses.stream(model="qwq-32b", input=WEATHER, tools=TOOLS, extra_body=SEED) as stream:
        deltas = [event for event in stream if event.type == "response.function_call_arguments.delta"]
        final: Any = stream.get_final_response()
    assert final.output[1].arguments == deltas[-1].snapshot == '{"city": "Paris"}'
    with client.responses.stream(model="qwq-32b", input=SUM, extra_body=SEED) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert final.output_text == text
    plain: Any = client.responses.create(model="qwq-32b", input=SUM, extra_body=SEED)
    assert [item.content[0].text for item in final.output] == [item.content[0].text for item in plain.output]
    kept = client.responses.retrieve(final.id)
    assert (kept.output_text, kept.usage, [item.id for item in kept.output]) == (text, final.usage, [item.id for item in final.output])


def test_log_probabilities_come_with_their_text(endpoint: Endpoint) -> None:
    body = {"input": SUM, "stream": True, "seed": 1, "include": ["message.output_text.logprobs"], "top_logprobs": 1}
    events = events_of(endpoint.post("/v1/responses", body).text)
    told = [token for event in events if event["type"] == "response.output_text.delta" for token in event["logprobs"]]
    done = next(event for event in events if event["type"] == "response.output_text.done")
    assert told == done["logprobs"] == events[-1]["response"]["output"][1]["content"][0]["logprobs"]
    assert "".join(token["token"] for token in told).strip() == done["text"]
    assert all("logprobs" not in event for event in events if "reasoning" in event["type"])


def test_a_cut_stream_ends_as_incomplete(endpoint: Endpoint) -> None:
    events = events_of(endpoint.post("/v1/responses", {"input": SUM, "stream": True, "max_output_tokens": 5}).text)
    assert order_of(events) == ["created", "in_progress", *THOUGHT, "incomplete"]
    last = events[-1]["response"]
    assert last["incomplete_details"] == {"reason": "max_output_tokens"}
    assert check_nesting(events) == last["output"]
    assert last["output"][0]["status"] == "incomplete"


def test_an_error_before_the_first_event_is_an_answer_of_its_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError), client.responses.stream(model="nobody", input=SUM) as stream:
        stream.until_done()


def written(*events: Event, has_logprobs: bool = False) -> tuple[list[dict[str, Any]], list[Response]]:
    """The stream of these events, and what was kept."""
    kept: list[Response] = []
    response = begun(ResponseRequest.model_validate({"input": "?"}), "demo", {})
    writer = ResponseWriter(response, Output(has_logprobs=has_logprobs), kept.append)
    told = writer.open() + b"".join(writer.write(0, event) for event in events) + writer.keep_alive() + writer.close()
    return events_of(told.decode()), kept


DROPPED = (
    Thinking("Hm."),
    Answering("I call."),
    ToolCallStarted(0, "add"),
    ToolCallDelta(0, '{"a": 1'),
    ToolCallDropped(0),
    Answering('<tool_call>{"name": "add", "arguments": {"a": 1'),
)


def test_a_dropped_call_ends_as_incomplete_and_is_no_part_of_the_answer() -> None:
    events, kept = written(*DROPPED, ToolCallStarted(0, "add"), ToolCallDelta(0, "{}"), END)
    assert order_of(events) == ["created", "in_progress", *THOUGHT, *MESSAGE, *CALL, *MESSAGE, *CALL, "completed"]
    items = check_nesting(events)
    assert [(item["type"], item["status"]) for item in items] == [
        ("reasoning", "completed"),
        ("message", "completed"),
        ("function_call", "incomplete"),
        ("message", "completed"),
        ("function_call", "completed"),
    ]
    assert items[2]["arguments"] == '{"a": 1'
    assert events[-1]["response"]["output"] == [*items[:2], *items[3:]]
    assert [response.model_dump() for response in kept] == [events[-1]["response"]]


def test_the_client_s_helper_bears_a_dropped_call() -> None:
    events, _ = written(*DROPPED, END)
    state: ResponseStreamState[None] = ResponseStreamState(input_tools=openai.omit, text_format=openai.omit)
    told = [state.handle_event(EVENT.validate_python(event)) for event in events]
    final: Any = told[-1][0]
    assert final.response.output_text == 'I call.<tool_call>{"name": "add", "arguments": {"a": 1'
    assert [item.id for item in final.response.output] == [item["id"] for item in events[-1]["response"]["output"]]


def test_several_calls_and_thoughts_are_items_of_their_own() -> None:
    events, _ = written(
        Thinking("a"), Thinking("b"), ToolCallStarted(0, "x"), ToolCallDelta(0, "{"), ToolCallDelta(0, "}"),
        ToolCallStarted(1, "y"), ToolCallDelta(1, "{}"), Thinking("c"), Answering("d"), END,
    )  # fmt: skip
    items = check_nesting(events)
    assert items == events[-1]["response"]["output"]
    assert [item["type"] for item in items] == ["reasoning", "function_call", "function_call", "reasoning", "message"]
    assert items[0]["content"] == [{"type": "reasoning_text", "text": "ab"}]
    assert len({item["call_id"] for item in items[1:3]}) == 2


def test_an_answer_of_nothing_is_complete() -> None:
    events, kept = written(END)
    assert order_of(events) == ["created", "in_progress", "completed"]
    assert kept[0].output == []


@pytest.mark.parametrize("reason", ["length", "repetition", "cancelled"])
def test_whatever_does_not_end_by_itself_is_incomplete(reason: Any) -> None:
    events, kept = written(Answering("ha ha"), Finished(reason, END.usage, END.timings, END.rope, END.seed))
    last = events[-1]
    assert (last["type"], last["response"]["status"]) == ("response.incomplete", "incomplete")
    assert last["response"]["qwq"]["ended_by"] == [reason]
    assert last["response"]["output"][0]["status"] == "incomplete"
    assert len(kept) == 1


def test_a_lost_answer_says_so_and_is_not_kept() -> None:
    events, kept = written(Thinking("Hm."), Answering("It is"), Failed(WorkerDiedError("The engine died.", hint="Ask again.")))
    assert order_of(events) == ["created", "in_progress", *THOUGHT, *MESSAGE, "error", "failed"]
    assert (events[-2]["code"], events[-2]["message"]) == ("worker_died", "The engine died. Ask again.")
    last = events[-1]["response"]
    assert last["error"] == {"code": "server_error", "message": "The engine died. Ask again."}
    assert (last["status"], last["usage"], check_nesting(events)) == ("failed", None, last["output"])
    assert [item["status"] for item in last["output"]] == ["completed", "incomplete"]
    assert kept == []


def test_tokens_of_thoughts_and_calls_are_none_of_a_message() -> None:
    def drawn(text: str, *, is_thought: bool = False) -> Drawn:
        return Drawn(Draw(1, -0.5), text.encode(), (), is_thought)

    events, kept = written(
        drawn("Hm", is_thought=True), Thinking("Hm"), drawn(""), drawn("a"), Answering("a"), drawn("{"), ToolCallStarted(0, "x"),
        drawn("}"), ToolCallDelta(0, "{}"), drawn("b"), Answering("b"), END, has_logprobs=True,
    )  # fmt: skip
    told = [[token["token"] for token in event["logprobs"]] for event in events if event["type"] == "response.output_text.delta"]
    assert told == [["a"], ["b"]]
    assert kept[0].output[-1].model_dump()["content"][0]["logprobs"][0]["logprob"] == -0.5
