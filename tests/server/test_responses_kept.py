"""Responses that are kept: gone on from, shown, listed, referred to, forgotten; and requests that cannot be answered."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from qwq_local.server.responses.asked import ResponseRequest
from qwq_local.server.responses.items import InputMessage, InputText, OutputMessage, OutputText, Reasoning, ReasoningText
from qwq_local.server.responses.store import ResponseStore
from qwq_local.server.responses.told import Response, begun
from tests.server.test_responses import SEED, SUM, TOOLS, WEATHER, call_of, client, error_of
from tests.serving import Endpoint

__all__ = ["client"]


def test_a_conversation_goes_on_from_what_is_kept(client: openai.OpenAI) -> None:
    first: Any = client.responses.create(model="qwq-32b", input=SUM, instructions="Be brief.", extra_body=SEED)
    second: Any = client.responses.create(model="qwq-32b", input=WEATHER, previous_response_id=first.id, extra_body=SEED)
    written: list[Any] = [
        {"role": "user", "content": SUM},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": WEATHER},
    ]
    resent: Any = client.responses.create(model="qwq-32b", input=written)
    assert second.usage.input_tokens == resent.usage.input_tokens, "neither thoughts nor instructions are carried over"
    assert second.previous_response_id == first.id
    items: Any = client.responses.input_items.list(second.id, order="asc").data
    assert [(item.type, item.role, item.content[0].text) for item in items] == [
        ("message", "user", SUM),
        ("message", "assistant", first.output_text),
        ("message", "user", WEATHER),
    ]
    assert items[1].id == first.output[1].id


def test_a_response_is_shown_until_it_is_deleted(client: openai.OpenAI, endpoint: Endpoint) -> None:
    answer = client.responses.create(model="qwq-32b", input=SUM, extra_body=SEED)
    later = client.responses.create(model="qwq-32b", input=SUM, previous_response_id=answer.id)
    assert client.responses.retrieve(answer.id).to_dict() == answer.to_dict()
    client.responses.delete(answer.id)
    for call in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError, match=answer.id):
            call(answer.id)
    gone = endpoint.post("/v1/responses", {"input": SUM, "previous_response_id": answer.id})
    status, param, code, message = error_of(gone)
    assert (status, param, code) == (404, "previous_response_id", "previous_response_not_found")
    assert answer.id in message
    assert "1,000 are kept" in message
    assert client.responses.create(model="qwq-32b", input=SUM, previous_response_id=later.id).status == "completed"


def test_a_deletion_is_told(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="qwq-32b", input=SUM)
    told: Any = client.delete(f"/responses/{answer.id}", cast_to=object)
    assert told == {"id": answer.id, "object": "response", "deleted": True}


def test_what_is_not_to_be_stored_is_not(client: openai.OpenAI) -> None:
    first = client.responses.create(model="qwq-32b", input=SUM, store=False)
    with pytest.raises(openai.NotFoundError, match="Unless store is false"):
        client.responses.retrieve(first.id)


def test_input_items_are_paged(client: openai.OpenAI, endpoint: Endpoint) -> None:
    turns: list[Any] = [{"role": "user" if i % 2 == 0 else "assistant", "content": f"What is {i} + 1?"} for i in range(5)]
    answer = client.responses.create(model="qwq-32b", input=turns)
    told: list[Any] = list(client.responses.input_items.list(answer.id, limit=2))
    assert [item.content[0].text for item in told] == [turn["content"] for turn in reversed(turns)]
    page = endpoint.get(f"/v1/responses/{answer.id}/input_items?limit=2&order=asc").json()
    assert (page["has_more"], page["first_id"], page["last_id"]) == (True, told[4].id, told[3].id)
    last = endpoint.get(f"/v1/responses/{answer.id}/input_items?after={told[0].id}").json()
    assert (len(last["data"]), last["has_more"]) == (4, False)
    for query, param in (("after=msg_no", "after"), ("limit=0", "limit"), ("order=up", "order"), ("before=x", "before")):
        assert error_of(endpoint.get(f"/v1/responses/{answer.id}/input_items?{query}"))[:2] == (400, param)
    assert error_of(endpoint.get(f"/v1/responses/{answer.id}?stream=true"))[:2] == (400, "stream")


def test_items_can_be_referred_to(client: openai.OpenAI, endpoint: Endpoint) -> None:
    first: Any = client.responses.create(model="qwq-32b", input=WEATHER, tools=TOOLS, extra_body=SEED)
    references: list[Any] = [{"type": "item_reference", "id": item.id} for item in first.output]
    result: Any = {"type": "function_call_output", "call_id": call_of(first).call_id, "output": [{"type": "input_text", "text": "21C"}]}
    asked: Any = [{"role": "user", "content": WEATHER}, *references, result]
    second = client.responses.create(model="qwq-32b", input=asked, tools=TOOLS, extra_body=SEED)
    assert second.output_text == "It is 21C in Paris."
    status, param, code, message = error_of(endpoint.post("/v1/responses", {"input": [{"id": "msg_no"}]}))
    assert (status, param, code) == (404, "input[0].id", "item_not_found")
    assert "msg_no" in message


def response(response_id: str, text: str = "") -> Response:
    thought = Reasoning(
        id=f"rs_{response_id}",
        type="reasoning",
        summary=[],
        content=[ReasoningText(type="reasoning_text", text="Hm.")],
        status="completed",
    )
    part = OutputText(type="output_text", text=text, annotations=[], logprobs=[])
    message = OutputMessage(id=f"msg_{response_id}", type="message", role="assistant", status="completed", content=[part])
    told = begun(ResponseRequest.model_validate({"input": "?"}), "demo", {})
    return told.model_copy(update={"id": response_id, "output": [thought, message]})


def question(item_id: str) -> InputMessage:
    return InputMessage(id=item_id, type="message", role="user", status="completed", content=[InputText(type="input_text", text="?")])


def test_what_was_not_used_for_longest_leaves_first() -> None:
    store = ResponseStore(max_responses=2)
    store.put(response("a"), [question("q")])
    store.put(response("b"), [])
    assert store.find("a") is not None
    store.put(response("c"), [])
    assert [store.find(name) is not None for name in "abc"] == [True, False, True]
    kept = store.find("a")
    assert kept is not None
    assert [item.id for item in kept.history] == ["q", "msg_a"]
    assert [store.find_item(name) is not None for name in ("q", "msg_a", "rs_a", "msg_b")] == [True, True, True, False]


def test_no_more_bytes_are_kept_than_there_may_be() -> None:
    text = "x" * 1000
    n_bytes = len(response("a", text).model_dump_json())
    store = ResponseStore(max_bytes=3 * n_bytes)
    for name in "abcde":
        store.put(response(name, text), [])
    assert [store.find(name) is not None for name in "abcde"] == [False, False, True, True, True]
    store.put(response("f", text * 9), [])
    assert store.find("f") is None, "it alone is too large"
    assert not store._kept
    assert not store._owned
    assert store._n_bytes == 0


def test_an_item_of_several_responses_is_known_while_the_latest_is_kept() -> None:
    store = ResponseStore()
    store.put(response("a"), [question("q")])
    store.put(response("b"), [question("q")])
    assert store.remove("a")
    assert store.find_item("q") is not None
    assert store.remove("b")
    assert store.find_item("q") is None
    assert not store.remove("b")


USER = {"role": "user", "content": SUM}
CALLED = {"type": "function_call", "call_id": "c", "name": "add", "arguments": "{}"}


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "input", "missing_required_parameter"),
        ({"input": 5}, "input", "invalid_value"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": ["x"]}, "input[0]", "invalid_value"),
        ({"input": [{"type": 1}]}, "input[0]", "invalid_value"),
        ({"input": [{"role": "user"}]}, "input[0].content", "missing_required_parameter"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role", "invalid_value"),
        ({"input": [USER, {"type": "web_search_call"}]}, "input[1].web_search_call", "unsupported_parameter"),
        ({"input": [USER | {"content": [{"type": "input_file"}]}]}, "input[0].content[0].input_file", "unsupported_parameter"),
        ({"input": [USER | {"name": "me"}]}, "input[0].name", "unknown_parameter"),
        ({"input": [USER, {"role": "assistant", "content": "It"}]}, "input", "invalid_value"),
        ({"input": [USER, CALLED]}, "input", "invalid_value"),
        ({"input": [USER, {"type": "function_call_output", "call_id": "d", "output": "1"}]}, "input[1].call_id", "invalid_value"),
        ({"input": [CALLED | {"namespace": "n"}]}, "input[0].namespace", "unsupported_parameter"),
        ({"input": [{"type": "reasoning", "summary": []}]}, "input", "invalid_value"),
        ({"input": SUM, "n": 2}, "n", "unknown_parameter"),
        ({"input": SUM, "stop": ["x"]}, "stop", "unknown_parameter"),
        ({"input": SUM, "temperature": "hot"}, "temperature", "invalid_value"),
        ({"input": SUM, "max_output_tokens": 0}, "max_output_tokens", "invalid_value"),
        ({"input": SUM, "metadata": {"k": 1}}, "metadata.k", "invalid_value"),
        ({"input": SUM, "top_logprobs": 2}, None, "invalid_value"),
        ({"input": SUM, "background": True}, "background", "unsupported_parameter"),
        ({"input": SUM, "truncation": "auto"}, "truncation", "unsupported_parameter"),
        ({"input": SUM, "conversation": "c"}, "conversation", "unsupported_parameter"),
        ({"input": SUM, "prompt": {"id": "p"}}, "prompt", "unsupported_parameter"),
        ({"input": SUM, "max_tool_calls": 1}, "max_tool_calls", "unsupported_parameter"),
        ({"input": SUM, "prompt_cache_options": {"prewarm": True}}, "prompt_cache_options.prewarm", "unsupported_parameter"),
        ({"input": SUM, "include": ["file_search_call.results"]}, "include[0].file_search_call.results", "unsupported_parameter"),
        ({"input": SUM, "reasoning": {"summary": "detailed"}}, "reasoning.summary", "invalid_value"),
        ({"input": SUM, "text": {"verbosity": "low"}}, "text.verbosity", "invalid_value"),
        ({"input": SUM, "text": {"format": {"type": "json_schema"}}}, "text.format", "invalid_value"),
        ({"input": SUM, "tools": [{"type": "web_search"}]}, "tools[0].web_search", "unsupported_parameter"),
        ({"input": SUM, "tools": [TOOLS[0] | {"defer_loading": True}]}, "tools[0].defer_loading", "unsupported_parameter"),
        ({"input": SUM, "tool_choice": {"type": "mcp"}}, "tool_choice.mcp", "unsupported_parameter"),
        ({"input": SUM, "tool_choice": "required"}, "tool_choice", "invalid_value"),
        ({"input": SUM, "tools": TOOLS, "tool_choice": {"type": "function", "name": "x"}}, "tool_choice", "invalid_value"),
        (
            {"input": SUM, "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "x"}]}},
            "tool_choice",
            "invalid_value",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(endpoint: Endpoint, body: dict[str, Any], param: str | None, code: str) -> None:
    status, told_param, told_code, message = error_of(endpoint.post("/v1/responses", body))
    assert (status, told_param, told_code) == (400, param, code)
    assert len(message) < 500


def test_an_image_is_refused_since_qwq_reads_text(endpoint: Endpoint) -> None:
    image = [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA=="}]}]
    assert "QwQ reads and writes text only" in error_of(endpoint.post("/v1/responses", {"input": image}))[3]


def test_an_unknown_model_is_told(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(model="nobody", input=SUM)
    assert (caught.value.param, caught.value.code) == ("model", "model_not_found")


def test_too_long_an_input_is_refused_with_both_counts(endpoint: Endpoint) -> None:
    status, param, code, message = error_of(endpoint.post("/v1/responses", {"input": "word " * 5000}))
    assert (status, param, code) == (400, "input", "context_length_exceeded")
    assert "512 tokens" in message
    assert "5012 tokens" in message
