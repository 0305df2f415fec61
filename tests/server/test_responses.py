"""Responses, as OpenAI's client uses them."""

from __future__ import annotations

import json
from typing import Any, Literal

import openai
import pytest
from openai.types.responses import Response, ResponseFunctionToolCall
from pydantic import BaseModel

from tests.nano.tasks import ADD_TOOL, CHOICE_SUFFIX, WEATHER_TOOL
from tests.serving import Endpoint

SUM = "What is 47 + 85?"
SEED: Any = {"seed": 1}
SHORT: Any = {"seed": 1, "thinking_budget_tokens": 40}
"""For answers that must fit the demo's 512 tokens, whatever it thinks of what it was not trained on."""
TOOLS: Any = [{"type": "function", **tool["function"]} for tool in (WEATHER_TOOL, ADD_TOOL)]  # type: ignore[dict-item]
WEATHER = "What is the weather in Paris?"
DIGIT = {"type": "integer", "minimum": 0, "maximum": 9}
ADD_DIGITS: Any = TOOLS[1] | {
    "parameters": {"type": "object", "properties": {"a": DIGIT, "b": DIGIT}, "required": ["a", "b"], "additionalProperties": False}
}
"""A function whose arguments cannot become long, whatever it is called for."""


@pytest.fixture(scope="module")
def client(endpoint: Endpoint) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{endpoint.url}/v1", api_key="none", max_retries=0)


def call_of(response: Response) -> ResponseFunctionToolCall:
    calls = [item for item in response.output if isinstance(item, ResponseFunctionToolCall)]
    assert len(calls) == 1
    return calls[0]


def error_of(answer: Any) -> tuple[int, Any, Any, str]:
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["code"], error["message"]


def test_a_question_gets_a_thought_and_a_message(client: openai.OpenAI) -> None:
    answer: Any = client.responses.create(model="qwq-32b", input=SUM, extra_body=SEED)
    thought, message = answer.output
    assert r"\boxed{132}" in answer.output_text
    assert (thought.type, thought.status, thought.summary) == ("reasoning", "completed", [])
    assert "carry 1" in thought.content[0].text
    assert "think>" not in answer.output_text + thought.content[0].text
    assert (message.role, message.status, message.content[0].annotations) == ("assistant", "completed", [])
    assert (answer.model, answer.status, answer.object, answer.error, answer.incomplete_details) == (
        "demo",
        "completed",
        "response",
        None,
        None,
    )
    assert [item.id.split("_")[0] for item in (answer, thought, message)] == ["resp", "rs", "msg"]
    usage = answer.usage
    assert 0 < usage.output_tokens_details.reasoning_tokens < usage.output_tokens
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert usage.input_tokens_details.cached_tokens + usage.input_tokens_details.cache_write_tokens == usage.input_tokens


def test_the_answer_keeps_to_the_client_s_types(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="qwq-32b", input=WEATHER, tools=TOOLS, extra_body=SEED)
    for item in (answer, *answer.output):
        type(item).model_validate(item.model_dump(exclude_unset=True), strict=True)
    assert answer.model_extra is not None
    assert answer.model_extra.keys() == {"store", "qwq"}


def test_what_was_asked_is_told(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"], "additionalProperties": False}
    form: Any = {"type": "json_schema", "name": "letter", "schema": schema, "strict": True}
    asked: Any = {
        "instructions": "Be brief.",
        "metadata": {"a": "b"},
        "max_output_tokens": 300,
        "temperature": 0.5,
        "top_p": 0.9,
        "user": "me",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "parallel_tool_calls": False,
        "tool_choice": "none",
        "truncation": "disabled",
    }
    answer = client.responses.create(model="qwq-32b", input=SUM, text={"format": form}, tools=TOOLS, **asked)
    assert {name: getattr(answer, name) for name in asked} == asked
    assert answer.text is not None
    assert answer.text.to_dict() == {"format": form, "verbosity": "medium"}
    assert [tool.to_dict() for tool in answer.tools] == [{**tool, "strict": False} for tool in TOOLS]
    plain = client.responses.create(model="qwq-32b", input=SUM)
    assert (plain.temperature, plain.top_p, plain.tool_choice, plain.parallel_tool_calls) == (0.6, 0.95, "auto", True)


def test_a_function_is_called_and_its_result_is_answered_from(client: openai.OpenAI) -> None:
    asked: list[Any] = [{"role": "user", "content": WEATHER}]
    first = client.responses.create(model="qwq-32b", input=asked, tools=TOOLS, extra_body=SEED)
    call = call_of(first)
    assert (call.name, json.loads(call.arguments), call.status) == ("get_weather", {"city": "Paris"}, "completed")
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "21C"}
    resending: Any = [*asked, *first.output, result]
    resent = client.responses.create(model="qwq-32b", input=resending, tools=TOOLS, extra_body=SEED)
    kept = client.responses.create(model="qwq-32b", previous_response_id=first.id, input=[result], tools=TOOLS, extra_body=SEED)
    assert resent.usage is not None
    assert kept.usage is not None
    assert resent.output_text == kept.output_text == "It is 21C in Paris."
    assert resent.usage.input_tokens == kept.usage.input_tokens, "kept or sent again, the conversation is the same"


@pytest.mark.parametrize(("choice", "tools"), [({"type": "function", "name": "add"}, [TOOLS[0], ADD_DIGITS]), ("required", [ADD_DIGITS])])
def test_a_function_can_be_forced(client: openai.OpenAI, choice: Any, tools: Any) -> None:
    options: Any = {"tool_choice": choice, "parallel_tool_calls": False, "extra_body": SHORT}
    answer = client.responses.create(model="qwq-32b", input=WEATHER, tools=tools, **options)
    assert call_of(answer).name == "add"
    assert json.loads(call_of(answer).arguments).keys() == {"a", "b"}
    assert answer.status == "completed"


def test_no_function_is_called_where_none_may_be(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="qwq-32b", input=WEATHER, tools=TOOLS, tool_choice="none", extra_body=SEED)
    assert {item.type for item in answer.output} == {"reasoning", "message"}


def test_allowed_tools_are_all_that_qwq_is_shown(client: openai.OpenAI) -> None:
    allowed: Any = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "add"}]}
    options: Any = {"model": "qwq-32b", "input": WEATHER, "parallel_tool_calls": False, "extra_body": SHORT}
    narrow: Any = client.responses.create(tools=[TOOLS[0], ADD_DIGITS], tool_choice=allowed, **options)
    alone: Any = client.responses.create(tools=[ADD_DIGITS], tool_choice="required", **options)
    assert call_of(narrow).name == call_of(alone).name == "add"
    assert narrow.usage.input_tokens == alone.usage.input_tokens
    assert (len(narrow.tools), narrow.tool_choice.to_dict()) == (2, allowed)


class Letter(BaseModel):
    answer: Literal["A", "B", "C", "D"]


def test_an_answer_is_parsed(client: openai.OpenAI) -> None:
    question = f"Which number is the largest?\nA) 1\nB) 5\nC) 99\nD) 3\n{CHOICE_SUFFIX}"
    parsed = client.responses.parse(model="qwq-32b", input=question, text_format=Letter, extra_body=SEED)
    assert isinstance(parsed.output_parsed, Letter)
    more: Any = [*parsed.output, {"role": "user", "content": question}]
    again = client.responses.create(model="qwq-32b", input=more, text={"format": {"type": "json_object"}}, extra_body=SEED)
    assert isinstance(json.loads(again.output_text), dict)


def test_a_cut_answer_is_incomplete(client: openai.OpenAI) -> None:
    answer: Any = client.responses.create(model="qwq-32b", input=SUM, max_output_tokens=5, extra_body=SEED)
    assert (answer.status, answer.incomplete_details.reason, answer.completed_at) == ("incomplete", "max_output_tokens", None)
    assert [(item.type, item.status) for item in answer.output] == [("reasoning", "incomplete")]
    assert answer.usage.output_tokens == 5
    assert answer.output_text == ""


def test_a_cut_call_is_no_call(client: openai.OpenAI) -> None:
    answer = client.responses.create(
        model="qwq-32b", input=WEATHER, tools=TOOLS, tool_choice="required", reasoning={"effort": "none"}, max_output_tokens=16
    )
    assert [(item.type, getattr(item, "status", "")) for item in answer.output] == [("message", "incomplete")]
    assert answer.output_text.startswith("<tool_call>")


def test_the_effort_limits_the_thought(client: openai.OpenAI) -> None:
    without = client.responses.create(model="qwq-32b", input=SUM, reasoning={"effort": "none", "summary": "auto"}, extra_body=SEED)
    assert [item.type for item in without.output] == ["message"]
    assert without.reasoning is not None
    assert (without.reasoning.effort, without.reasoning.summary) == ("none", "auto")
    short: Any = client.responses.create(model="qwq-32b", input=SUM, extra_body=SEED | {"thinking_budget_tokens": 3})
    free: Any = client.responses.create(model="qwq-32b", input=SUM, reasoning={"effort": "high"}, extra_body=SEED)
    assert free.output[0].content[0].text.startswith(short.output[0].content[0].text[:3])
    assert short.output[0].content[0].text != free.output[0].content[0].text


def test_log_probabilities_are_those_of_the_message(client: openai.OpenAI) -> None:
    answer: Any = client.responses.create(
        model="qwq-32b", input=SUM, include=["message.output_text.logprobs", "reasoning.encrypted_content"], top_logprobs=2, extra_body=SEED
    )
    content = answer.output[1].content[0]
    assert "".join(token.token for token in content.logprobs).strip() == content.text
    assert all(len(token.top_logprobs) == 2 and token.logprob <= 0 for token in content.logprobs)


def test_messages_come_in_the_easy_and_in_the_full_form(client: openai.OpenAI) -> None:
    text = {"type": "input_text", "text": SUM}
    forms: list[Any] = [
        SUM,
        [{"role": "user", "content": SUM}],
        [{"role": "user", "content": [text]}],
        [{"type": "message", "role": "user", "status": "completed", "content": [text], "id": "msg_1"}],
        [{"type": None, "role": "user", "content": [{**text, "text": SUM[:4]}, {**text, "text": SUM[4:]}]}],
    ]
    answers: list[Any] = [client.responses.create(model="qwq-32b", input=form, extra_body=SEED) for form in forms]
    assert {answer.output_text for answer in answers} == {answers[0].output_text}
    assert {answer.usage.input_tokens for answer in answers} == {answers[0].usage.input_tokens}


def test_instructions_are_a_system_message(client: openai.OpenAI) -> None:
    given: Any = client.responses.create(model="qwq-32b", instructions="Add well.", input=SUM)
    for role in ("system", "developer"):
        message: Any = {"role": role, "content": "Add well."}
        written: Any = client.responses.create(model="qwq-32b", input=[message, {"role": "user", "content": SUM}])
        assert written.usage.input_tokens == given.usage.input_tokens


def test_thoughts_and_broken_calls_of_the_history_are_left_out(client: openai.OpenAI) -> None:
    before: list[Any] = [{"role": "user", "content": SUM}, {"role": "assistant", "content": "It is 132."}]
    asked: list[Any] = [*before, {"role": "user", "content": WEATHER}]
    thought: Any = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "Sum."}],
        "content": [{"type": "reasoning_text", "text": "Hm."}],
    }
    broken: Any = {"type": "function_call", "call_id": "c", "name": "add", "arguments": '{"a":', "status": "incomplete"}
    plain: Any = client.responses.create(model="qwq-32b", input=asked)
    thoughtful: Any = client.responses.create(model="qwq-32b", input=[asked[0], thought, broken, *asked[1:]])
    assert thoughtful.usage.input_tokens == plain.usage.input_tokens


def test_fields_without_effect_are_accepted(client: openai.OpenAI) -> None:
    plain = client.responses.create(model="qwq-32b", input=SUM, extra_body=SEED)
    hints: Any = {
        "service_tier": "flex",
        "prompt_cache_retention": "24h",
        "prompt_cache_options": {"mode": "implicit", "ttl": "30m"},
        "stream_options": {"include_obfuscation": True},
        "background": False,
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"context": "auto", "mode": "standard", "generate_summary": "auto"},
    }
    hinted = client.responses.create(model="qwq-32b", input=SUM, text={"verbosity": "medium"}, extra_body=SEED | hints)
    assert hinted.output_text == plain.output_text
    assert hinted.service_tier == "default"


def test_extensions_are_honoured(endpoint: Endpoint) -> None:
    body = {"input": SUM, "seed": 7, "top_k": 1, "min_p": 0.1, "presence_penalty": 0.5, "temperature": 2}
    first, second = (endpoint.post("/v1/responses", {**body, "seed": seed}).json() for seed in (7, 8))
    assert first["output"][1]["content"] == second["output"][1]["content"], "top_k 1 leaves nothing to chance"
    assert first["qwq"]["seed"] == [7]
    assert first["qwq"]["ended_by"] == ["stop"]
