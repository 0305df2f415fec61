"""Anthropic's Messages, as its own client uses them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest
from pydantic import BaseModel

from qwq_local.server.answers import Answers
from qwq_local.server.anthropic.asked import MessagesRequest
from qwq_local.server.anthropic.messages import MessageWriter
from tests.nano.tasks import ADD_TOOL, WEATHER_TOOL
from tests.serving import Endpoint

SUM: Any = [{"role": "user", "content": "What is 47 + 85?"}]
ADDITION: Any = [{"role": "user", "content": "Use the tool to add 1234 and 8765."}]
LIKELIEST: Any = {"temperature": 0}


def as_tool(described: dict[str, Any], **more: object) -> dict[str, Any]:
    function = described["function"]
    return {"name": function["name"], "description": function["description"], "input_schema": function["parameters"], **more}


TOOLS: Any = [as_tool(ADD_TOOL), as_tool(WEATHER_TOOL)]


@pytest.fixture
def client(endpoint: Endpoint) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=endpoint.url, api_key="none", max_retries=0) as found:
        yield found


def ask(client: anthropic.Anthropic, messages: Any, **more: Any) -> Any:
    return client.messages.create(**{"model": "qwq-32b", "max_tokens": 400, "messages": messages, "extra_body": LIKELIEST} | more)


def stream(client: anthropic.Anthropic, messages: Any, **more: Any) -> Any:
    body = {"model": "qwq-32b", "max_tokens": 400, "messages": messages, "extra_body": LIKELIEST} | more
    with client.messages.stream(**body) as events:
        return events.get_final_message()


def texts(message: Any) -> list[tuple[str, Any]]:
    """The blocks without their ids."""
    return [(block.type, getattr(block, {"tool_use": "input"}.get(block.type, block.type))) for block in message.content]


def blocks(message: Any) -> list[dict[str, Any]]:
    return [block.model_dump(exclude={"id"}, exclude_none=True) for block in message.content]


def refusal(endpoint: Endpoint, **more: Any) -> str:
    """What a request is told that is refused."""
    answer = endpoint.post("/v1/messages", {"model": "qwq-32b", "max_tokens": 10, "messages": SUM} | more)
    told = answer.json()
    assert (answer.status_code, told["type"], told["error"]["type"]) == (400, "error", "invalid_request_error")
    return str(told["error"]["message"])


def sent_events(endpoint: Endpoint, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    answer = endpoint.post("/v1/messages", {"model": "qwq-32b", "max_tokens": 400, "stream": True, "temperature": 0} | body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    parts = [part.split("\n") for part in answer.text.strip().split("\n\n")]
    return [(head.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for head, data in parts]


def test_a_question_gets_thought_and_answer(client: anthropic.Anthropic) -> None:
    answer = ask(client, SUM)
    assert [block.type for block in answer.content] == ["thinking", "text"]
    thought, text = answer.content
    assert r"\boxed{132}" in text.text
    assert thought.thinking
    assert "think>" not in thought.thinking + text.text
    assert (answer.stop_reason, answer.stop_sequence, answer.model, answer.role) == ("end_turn", None, "demo", "assistant")
    assert 0 < answer.usage.output_tokens_details.thinking_tokens < answer.usage.output_tokens
    assert answer._request_id.startswith("req_")


def test_a_stream_comes_to_the_same_message(client: anthropic.Anthropic) -> None:
    at_once, streamed = ask(client, SUM), stream(client, SUM)
    assert blocks(streamed) == blocks(at_once)
    assert (streamed.stop_reason, streamed.stop_sequence, streamed.model) == (at_once.stop_reason, None, "demo")
    assert streamed.usage.output_tokens_details == at_once.usage.output_tokens_details
    assert streamed.usage.output_tokens == at_once.usage.output_tokens
    assert prompt_tokens(streamed) == prompt_tokens(at_once)


def prompt_tokens(message: Any) -> int:
    usage = message.usage
    return int(usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens)


def test_events_come_in_the_documented_order(endpoint: Endpoint) -> None:
    events = sent_events(endpoint, {"messages": SUM})
    assert all(kind == data["type"] for kind, data in events)
    kinds = [(kind, data.get("index"), data.get("delta", {}).get("type")) for kind, data in events]
    assert list(dict.fromkeys(kinds)) == [
        ("message_start", None, None),
        ("content_block_start", 0, None),
        ("content_block_delta", 0, "thinking_delta"),
        ("content_block_delta", 0, "signature_delta"),
        ("content_block_stop", 0, None),
        ("content_block_start", 1, None),
        ("content_block_delta", 1, "text_delta"),
        ("content_block_stop", 1, None),
        ("message_delta", None, None),
        ("message_stop", None, None),
    ]
    start, end = events[0][1]["message"], events[-2][1]
    assert (start["content"], start["stop_reason"], start["usage"]["output_tokens"]) == ([], None, 0)
    assert end["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert start["usage"]["input_tokens"] == end["usage"]["input_tokens"] + end["usage"]["cache_read_input_tokens"]


def test_tools_are_called_and_their_results_are_answered_from(client: anthropic.Anthropic) -> None:
    first = ask(client, ADDITION, tools=TOOLS)
    call = first.content[-1]
    assert (first.stop_reason, call.name, call.input) == ("tool_use", "add", {"a": 1234, "b": 8765})
    assert blocks(stream(client, ADDITION, tools=TOOLS)) == blocks(first)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "9999"}]}
    second = ask(client, [*ADDITION, first.to_param(), {"role": "user", "content": [result]}], tools=TOOLS)
    assert second.stop_reason == "end_turn"
    assert second.content[-1].text.startswith("The sum is")


def test_a_call_is_sent_at_once_or_while_it_is_written(endpoint: Endpoint) -> None:
    inputs = {}
    for is_eager in (False, True):
        tools = [as_tool(ADD_TOOL, eager_input_streaming=is_eager), as_tool(WEATHER_TOOL)]
        events = sent_events(endpoint, {"messages": ADDITION, "tools": tools})
        (start,) = [data["content_block"] for _, data in events if data.get("content_block", {}).get("type") == "tool_use"]
        assert (start["name"], start["input"], start["id"][:6]) == ("add", {}, "toolu_")
        deltas = [data["delta"] for _, data in events if data.get("delta", {}).get("type") == "input_json_delta"]
        inputs[is_eager] = [delta["partial_json"] for delta in deltas]
        assert events[-2][1]["delta"]["stop_reason"] == "tool_use"
    assert len(inputs[False]) == 1
    assert json.loads("".join(inputs[True])) == json.loads(inputs[False][0]) == {"a": 1234, "b": 8765}


def test_a_tool_must_be_called_or_must_not(client: anthropic.Anthropic) -> None:
    named = ask(client, ADDITION, tools=TOOLS, tool_choice={"type": "tool", "name": "get_weather"})
    assert [block.name for block in named.content if block.type == "tool_use"] == ["get_weather"]
    some = ask(client, SUM, tools=TOOLS, tool_choice={"type": "any", "disable_parallel_tool_use": True})
    assert [block.type for block in some.content].count("tool_use") == 1
    none = ask(client, ADDITION, tools=TOOLS, tool_choice={"type": "none"})
    assert "tool_use" not in [block.type for block in none.content]
    assert prompt_tokens(none) == prompt_tokens(ask(client, ADDITION))


def test_a_thought_is_limited_left_out_or_hidden(client: anthropic.Anthropic) -> None:
    free = ask(client, SUM)
    short = ask(client, SUM, thinking={"type": "enabled", "budget_tokens": 3})
    assert short.content[0].thinking.startswith(free.content[0].thinking[:3])
    assert "long enough" in short.content[0].thinking
    assert [block.type for block in ask(client, SUM, thinking={"type": "disabled"}).content] == ["text"]
    hide: Any = {"type": "adaptive", "display": "omitted"}
    hidden = ask(client, SUM, thinking=hide)
    assert texts(hidden) == [("thinking", ""), ("text", free.content[1].text)]
    assert hidden.content[0].signature == free.content[0].signature
    assert blocks(stream(client, SUM, thinking=hide)) == blocks(hidden)


def test_an_answer_stops_for_what_it_is_told_to_stop_for(client: anthropic.Anthropic) -> None:
    for found in (ask(client, SUM, stop_sequences=["x", " ="]), stream(client, SUM, stop_sequences=["x", " ="])):
        assert (found.stop_reason, found.stop_sequence, found.content[-1].text) == ("stop_sequence", " =", "47 + 85")
    for found in (ask(client, SUM, max_tokens=7), stream(client, SUM, max_tokens=7)):
        assert (found.stop_reason, found.usage.output_tokens) == ("max_tokens", 7)


def test_a_full_context_is_told(client: anthropic.Anthropic) -> None:
    counting = [{"role": "user", "content": 'Count: "' + "b" * 440 + '"'}]
    assert ask(client, counting, max_tokens=4000).stop_reason == "model_context_window_exceeded"


def test_the_answer_keeps_to_a_schema(client: anthropic.Anthropic) -> None:
    class Found(BaseModel):
        total: int

    answer: Any = client.messages.parse(model="qwq-32b", max_tokens=400, messages=SUM, output_format=Found, extra_body=LIKELIEST)
    assert isinstance(answer.parsed_output, Found)
    old = {"output_format": {"type": "json_schema", "schema": Found.model_json_schema()}}
    assert texts(ask(client, SUM, extra_body=LIKELIEST | old))[-1] == ("text", answer.content[-1].text)


def count(client: anthropic.Anthropic, messages: Any, **more: Any) -> int:
    return client.messages.count_tokens(model="qwq-32b", messages=messages, **more).input_tokens


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"system": "Be brief."},
        {"tools": TOOLS},
        {"tools": TOOLS, "tool_choice": {"type": "none"}},
        {"thinking": {"type": "disabled"}},
    ],
    ids=lambda more: "+".join(more) or "plain",
)
def test_tokens_are_counted_as_they_will_be_read(client: anthropic.Anthropic, more: Any) -> None:
    assert count(client, SUM, **more) == prompt_tokens(ask(client, SUM, max_tokens=1, **more))


def test_tokens_are_counted_beyond_the_context(client: anthropic.Anthropic) -> None:
    assert count(client, [{"role": "user", "content": "b" * 5000}]) > 5000


def test_blocks_are_read_as_the_texts_that_they_are(client: anthropic.Anthropic) -> None:
    cached = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    parts = [{"type": "text", "text": "What is 47 "}, {"type": "text", "text": "+ 85?", **cached}]
    system = [{"type": "text", "text": "Be ", **cached}, {"type": "text", "text": "brief."}]
    assert texts(ask(client, [{"role": "user", "content": parts}], system=system)) == texts(ask(client, SUM, system="Be brief."))
    assert texts(ask(client, [{"role": "system", "content": "Be brief."}, *SUM])) == texts(ask(client, SUM, system="Be brief."))


def test_earlier_thoughts_are_not_read(client: anthropic.Anthropic) -> None:
    thought = {"type": "thinking", "thinking": "a thought", "signature": "x"}
    hidden = {"type": "redacted_thinking", "data": "x"}
    text = {"type": "text", "text": "132"}
    with_thoughts = [*SUM, {"role": "assistant", "content": [thought, hidden, text]}, *SUM]
    without = [*SUM, {"role": "assistant", "content": "132"}, *SUM]
    assert count(client, with_thoughts) == count(client, without)
    edits = {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}}
    assert texts(ask(client, with_thoughts, extra_body=LIKELIEST | edits)) == texts(ask(client, without))


def history(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    calls = [{"type": "tool_use", "id": f"call_{i}", "name": "add", "input": {"a": i, "b": 0}} for i in range(2)]
    return [*SUM, {"role": "assistant", "content": calls}, {"role": "user", "content": list(blocks)}]


def result_of(i: int, text: str, **more: object) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": f"call_{i}", "content": text, **more}


def as_asked(messages: list[dict[str, Any]]) -> Any:
    """The conversation that QwQ gets."""
    return MessagesRequest.model_validate({"model": "qwq-32b", "max_tokens": 10, "messages": messages}).ask().messages


def test_results_come_before_the_text_beside_them() -> None:
    text = {"type": "text", "text": "And now?"}
    mixed = history(result_of(0, "0"), text, result_of(1, "1"))
    apart = [*history(result_of(0, "0"), result_of(1, "1")), {"role": "user", "content": [text]}]
    assert as_asked(mixed) == as_asked(apart)


def test_a_failed_call_is_told_as_one() -> None:
    failed = history(result_of(0, "0"), result_of(1, "no", is_error=True))
    told = history(result_of(0, "0"), result_of(1, "Error: no"))
    assert as_asked(failed) == as_asked(told) != as_asked(history(result_of(0, "0"), result_of(1, "no")))


def test_examples_are_shown_to_the_model(client: anthropic.Anthropic) -> None:
    shown = [as_tool(ADD_TOOL, input_examples=[{"a": 1, "b": 2}], strict=True, type="custom", allowed_callers=["direct"])]
    assert count(client, SUM, tools=shown) > count(client, SUM, tools=[as_tool(ADD_TOOL, strict=True)])
    call = ask(client, ADDITION, tools=shown, tool_choice={"type": "any"})
    assert {"a", "b"} == set(call.content[-1].input)


def test_what_has_no_effect_has_none(client: anthropic.Anthropic) -> None:
    idle: Any = {
        "metadata": {"user_id": "somebody"},
        "service_tier": "auto",
        "cache_control": {"type": "ephemeral"},
        "speed": "standard",
        "extra_headers": {"anthropic-version": "1999-01-01", "anthropic-beta": "all-of-them"},
    }
    assert texts(ask(client, SUM, **idle)) == texts(ask(client, SUM))


def test_a_quiet_stream_is_kept_alive() -> None:
    body = MessagesRequest.model_validate({"model": "qwq-32b", "max_tokens": 10, "messages": SUM})
    writer = MessageWriter(Answers(body.ask(), "demo", (), lambda: None), body, "req_1")
    assert writer.keep_alive() == b'event: ping\ndata: {"type":"ping"}\n\n'


def test_an_error_in_a_stream_is_raised_by_the_client(client: anthropic.Anthropic) -> None:
    unfit = {"format": {"type": "json_schema", "schema": {"type": "no type"}}}
    with pytest.raises(anthropic.APIStatusError, match="no type") as raised:
        stream(client, SUM, output_config=unfit)
    assert raised.value.type == "invalid_request_error"
    assert raised.value.body["request_id"] == raised.value.request_id  # type: ignore[index]
    with pytest.raises(anthropic.BadRequestError, match="no type"):
        ask(client, SUM, output_config=unfit)


def test_an_unknown_model_is_not_found(client: anthropic.Anthropic) -> None:
    for call in (ask, count):
        with pytest.raises(anthropic.NotFoundError, match="claude") as raised:
            call(client, SUM, **({"model": "claude"} if call is ask else {"extra_body": {"model": "claude"}}))
        assert raised.value.type == "not_found_error"


def test_too_long_a_prompt_is_refused_with_both_counts(endpoint: Endpoint, client: anthropic.Anthropic) -> None:
    long = [{"role": "user", "content": "b" * 2000}]
    message = refusal(endpoint, messages=long)
    assert "512 tokens" in message
    assert f"{count(client, long)} tokens" in message


def image(kind: str = "image") -> dict[str, Any]:
    return {"type": kind, "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([image()], "image is not supported: QwQ reads and writes text only"),
        ([image("document")], "document is not supported: QwQ reads and writes text only"),
        ([{"type": "search_result", "content": []}], "search_result is not supported"),
        ([{"text": "What?"}], "without a type"),
        ([{"type": "text", "text": "a", "citations": [{}]}], "citations is not supported"),
        ([{"type": "text", "words": "a"}], "'messages[0].content[0].text' is missing"),
        ([{"type": "text", "text": 5}], "messages[0].content[0].text"),
        ([{"type": "tool_use", "id": "a", "name": "add", "input": {}}], "role 'user' cannot have a block of the type 'tool_use'"),
        ([result_of(0, "0")], "messages[0].content[0] is a tool's, and no tool was called"),
        ([{"type": "tool_result", "tool_use_id": "a", "content": [image()]}], "image is not supported"),
        ([5], "messages[0].content[0]"),
        (5, "messages[0].content"),
    ],
)
def test_content_that_cannot_be_is_refused(endpoint: Endpoint, content: Any, told: str) -> None:
    assert told in refusal(endpoint, messages=[{"role": "user", "content": content}])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "10"}, "max_tokens"),
        ({"max_tokens": None}, "'max_tokens' is missing"),
        ({"temperature": 9}, "temperature"),
        ({"wings": 2}, "There is no field 'wings'"),
        ({"mcp_servers": []}, "mcp_servers is not supported"),
        ({"container": "a"}, "container is not supported"),
        ({"inference_geo": "eu"}, "inference_geo is not supported"),
        ({"speed": "fast"}, "speed"),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, "clear_tool_uses_20250919"),
        ({"output_config": {"task_budget": {"type": "tokens", "total": 9}}}, "task_budget is not supported"),
        ({"thinking": {"type": "between_tools"}}, "between_tools is not supported"),
        ({"thinking": {"type": "enabled"}}, "budget_tokens"),
        ({"tools": [{"type": "web_search_20260318", "name": "web_search"}]}, "web_search_20260318 is not supported"),
        ({"tools": [{"name": "add"}]}, "'tools[0].input_schema' is missing"),
        ({"tools": [{"name": "add", "input_schema": {"type": "array"}}]}, "input_schema"),
        ({"tools": [{"name": "add", "input_schema": {}, "defer_loading": True}]}, "defer_loading is not supported"),
        ({"tool_choice": {"type": "any"}}, "there are no tools"),
        ({"tools": TOOLS, "tool_choice": {"type": "tool"}}, "name goes with"),
        ({"tools": TOOLS, "tool_choice": {"type": "tool", "name": "multiply"}}, "'multiply', which is not among the tools"),
        ({"messages": []}, "messages"),
        ({"messages": [*SUM, {"role": "assistant", "content": "The sum"}]}, "messages[1] is the assistant's"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": " "}]}, "empty"),
        ({"messages": history(result_of(7, "0")), "system": "Hm."}, "messages[2].content[0].tool_use_id is 'call_7'"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_is_refused_by_name(endpoint: Endpoint, body: Any, told: str) -> None:
    assert told in refusal(endpoint, **body)


def test_errors_have_the_id_that_the_client_reads(endpoint: Endpoint) -> None:
    for path, status in (("/v1/messages", 400), ("/v1/messages/batches", 404)):
        answer: httpx.Response = endpoint.post(path, {})
        assert answer.status_code == status
        assert answer.json()["request_id"] == answer.headers["request-id"] == answer.headers["x-request-id"]


def test_another_method_is_told_which_there_is(endpoint: Endpoint) -> None:
    answer = endpoint.get("/v1/messages")
    assert (answer.status_code, answer.headers["allow"], answer.json()["type"]) == (405, "POST", "error")
