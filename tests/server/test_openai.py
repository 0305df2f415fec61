"""Chat completions, as clients of OpenAI and of the hosted QwQ use them."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from qwq_local.runtime import QwQ
from qwq_local.server.openai.asked import ChatRequest
from qwq_local.settings import SAMPLING_RANGES
from tests.nano.tasks import ADD_TOOL, WEATHER_TOOL
from tests.serving import Endpoint

SUM: Any = [{"role": "user", "content": "What is 47 + 85?"}]


@pytest.fixture(scope="module")
def client(endpoint: Endpoint) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{endpoint.url}/v1", api_key="none", max_retries=0)


def test_a_question_gets_thought_and_answer(client: openai.OpenAI) -> None:
    answer: Any = client.chat.completions.create(model="qwq-32b", messages=SUM, seed=1)
    message = answer.choices[0].message
    assert r"\boxed{132}" in message.content
    assert message.reasoning_content
    assert "think>" not in message.content + message.reasoning_content
    assert (answer.choices[0].finish_reason, answer.model) == ("stop", "demo")
    usage = answer.usage
    assert 0 < usage.completion_tokens_details.reasoning_tokens < usage.completion_tokens
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_the_example_of_the_hosted_model_runs_with_another_address(client: openai.OpenAI) -> None:
    completion: Any = client.chat.completions.create(
        model="qwq-32b", messages=SUM, stream=True, stream_options={"include_usage": True}, seed=1
    )
    reasoning, answer, usages, is_answering = "", "", [], False
    for chunk in completion:
        if not chunk.choices:
            usages.append(chunk.usage)
            continue
        delta = chunk.choices[0].delta
        if getattr(delta, "reasoning_content", None) is not None:
            assert not is_answering, "the thought comes first"
            reasoning += delta.reasoning_content
        else:
            is_answering = is_answering or delta.content != ""
            answer += delta.content
    assert r"\boxed{132}" in answer
    assert reasoning
    assert [usage.total_tokens > 20 for usage in usages] == [True]


def test_a_stream_comes_to_what_is_sent_at_once(endpoint: Endpoint) -> None:
    asked = {"messages": SUM, "seed": 3, "logprobs": True, "n": 2}
    whole = endpoint.post("/v1/chat/completions", asked).json()
    lines = endpoint.post("/v1/chat/completions", asked | {"stream": True}).text.splitlines()
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    for index, choice in enumerate(whole["choices"]):
        streamed = [one for chunk in chunks for one in chunk["choices"] if one["index"] == index]
        message = choice["message"]
        assert message["refusal"] is None, "official clients find it there"
        for name in ("content", "reasoning_content"):
            assert "".join(one["delta"].get(name) or "" for one in streamed) == message[name]
            told = [token for one in streamed if one["logprobs"] for token in one["logprobs"][name]]
            assert [token["token"] for token in told] == [token["token"] for token in choice["logprobs"][name]]
        assert [one["finish_reason"] for one in streamed if one["finish_reason"]] == [choice["finish_reason"]]


def test_each_number_of_a_sampling_is_a_field_by_its_own_name() -> None:
    numbers = SAMPLING_RANGES.keys() - {"n_logprobs"}  # which the format calls top_logprobs
    assert numbers <= ChatRequest.model_fields.keys()


def test_a_word_of_hesitation_is_curbed_in_the_thought_only(endpoint: Endpoint, demo: QwQ) -> None:
    (token,) = demo._vocabulary.tokenize(" or")
    body = {"hesitation_penalty": 100, "logit_bias": {str(token): 100}, "max_tokens": 100, "temperature": 0}  # they cancel each other
    message = endpoint.post("/v1/chat/completions", body | {"messages": SUM}).json()["choices"][0]["message"]
    assert message["reasoning_content"] == demo.chat("What is 47 + 85?", temperature=0.0).reasoning
    assert message["content"].startswith(" or or or")
    text = endpoint.post("/v1/completions", body | {"prompt": "What"}).json()["choices"][0]["text"]
    assert text.startswith(" or or or"), "what thinks nothing is not curbed"


WEATHER: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOLS: Any = [ADD_TOOL, WEATHER_TOOL]
SHORT = {"thinking_budget_tokens": 40}


def test_tools_are_called_and_their_results_are_answered_from(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model="qwq-32b", messages=WEATHER, tools=TOOLS, seed=1)
    assert first.choices[0].finish_reason == "tool_calls"
    message: Any = first.choices[0].message
    (call,) = message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
    messages = [*WEATHER, message, {"role": "tool", "tool_call_id": call.id, "content": "7C"}]
    second = client.chat.completions.create(model="qwq-32b", messages=messages, tools=TOOLS, seed=1)
    assert (second.choices[0].finish_reason, second.choices[0].message.content) == ("stop", "It is 7C in Paris.")


def test_a_streamed_call_comes_to_the_same(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="qwq-32b", messages=WEATHER, tools=TOOLS, seed=1) as stream:
        for _ in stream:
            pass
        choice: Any = stream.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", {"add", "get_weather"}),
        ({"type": "function", "function": {"name": "add"}}, {"add"}),
        ("none", set()),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "add"}}]},
            },
            {"add"},
        ),
    ],
)
def test_a_tool_choice_holds(client: openai.OpenAI, choice: Any, names: set[str]) -> None:
    answer: Any = client.chat.completions.create(
        model="qwq-32b", messages=WEATHER, tools=TOOLS, tool_choice=choice, n=4, seed=1, extra_body=SHORT
    )
    calls = [call.function for each in answer.choices for call in each.message.tool_calls or ()]
    assert {call.name for call in calls} <= names
    assert bool(calls) == bool(names)
    assert all(isinstance(json.loads(call.arguments), dict) for call in calls)


def test_a_strict_tool_gets_what_its_schema_allows(client: openai.OpenAI) -> None:
    odd: Any = {"type": "object", "properties": {"city": {"enum": ["Oslo"]}}, "required": ["city"], "additionalProperties": False}
    tools: Any = [ADD_TOOL, {"type": "function", "function": {"name": "get_weather", "strict": True, "parameters": odd}}]
    answer: Any = client.chat.completions.create(model="qwq-32b", messages=WEATHER, tools=tools, n=4, seed=1, parallel_tool_calls=False)
    calls = [each.message.tool_calls or () for each in answer.choices]
    assert any(calls)
    assert all(len(each) <= 1 for each in calls)
    weather = [call.function for each in calls for call in each if call.function.name == "get_weather"]
    assert {json.loads(call.arguments)["city"] for call in weather} <= {"Oslo"}


def test_a_schema_holds_for_the_answer_and_leaves_the_thought_free(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"], "additionalProperties": False}
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "sum", "schema": schema, "strict": True}}
    answer: Any = client.chat.completions.create(model="qwq-32b", messages=SUM, response_format=wanted, seed=1)
    message = answer.choices[0].message
    assert isinstance(json.loads(message.content)["sum"], int)
    assert "write" in message.reasoning_content


def test_several_answers_and_their_log_probabilities(client: openai.OpenAI) -> None:
    answer: Any = client.chat.completions.create(model="qwq-32b", messages=SUM, n=3, logprobs=True, top_logprobs=2, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    for choice in answer.choices:
        told = choice.logprobs
        assert "".join(token.token for token in told.content).strip() == choice.message.content
        assert "".join(token["token"] for token in told.reasoning_content).strip() == choice.message.reasoning_content
        assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in told.content)
    one: Any = client.chat.completions.create(model="qwq-32b", messages=SUM, seed=3)
    assert one.choices[0].message.content == answer.choices[2].message.content, "each has the next seed"


def test_an_answer_ends_at_its_limit_or_before_a_stop_string(client: openai.OpenAI) -> None:
    cut: Any = client.chat.completions.create(model="qwq-32b", messages=SUM, max_completion_tokens=5)
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 5)
    stopped: Any = client.chat.completions.create(model="qwq-32b", messages=SUM, stop=["="], seed=1)
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("47 + 85 ", "stop")


def test_a_thought_has_a_budget_and_can_be_left_out(client: openai.OpenAI) -> None:
    budget: Any = client.chat.completions.create(model="qwq-32b", messages=SUM, extra_body={"thinking_budget_tokens": 8}, max_tokens=300)
    assert budget.usage.completion_tokens_details.reasoning_tokens < 60
    for extra in ({"enable_thinking": False}, {"chat_template_kwargs": {"enable_thinking": False}}, {"reasoning_effort": "none"}):
        without: Any = client.chat.completions.create(model="qwq-32b", messages=SUM, extra_body=extra, max_tokens=300)
        assert not without.choices[0].message.reasoning_content


def test_thoughts_of_earlier_turns_are_accepted_and_left_out(client: openai.OpenAI) -> None:
    def prompt_tokens(**thought: str) -> int:
        history: Any = [*SUM, {"role": "assistant", "content": "132", **thought}, {"role": "user", "content": "What is 1 + 1?"}]
        answer: Any = client.chat.completions.create(model="qwq-32b", messages=history, max_tokens=1)
        return int(answer.usage.prompt_tokens)

    assert prompt_tokens() == prompt_tokens(reasoning_content="I add. " * 20) == prompt_tokens(content="<think>\nI add.\n</think>\n\n132")


def test_a_raw_prompt_is_gone_on_with_as_it_is(client: openai.OpenAI) -> None:
    prompt = "<|im_start|>user\nWhat is 47 + 85?<|im_end|>\n<|im_start|>assistant\n<think>\n"
    answer: Any = client.completions.create(model="qwq-32b", prompt=prompt, max_tokens=300, seed=1, logprobs=1)
    text = answer.choices[0].text
    assert r"</think>" in text
    assert r"\boxed{132}" in text
    assert "".join(answer.choices[0].logprobs.tokens) == text
    streamed = client.completions.create(model="qwq-32b", prompt=prompt, max_tokens=300, seed=1, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == text
    short: Any = client.completions.create(model="qwq-32b", prompt=[prompt, "What"], n=2, echo=True)
    assert [choice.text.startswith(prompt) for choice in short.choices] == [True, True, False, False]
    assert short.usage.completion_tokens <= 4 * 16, "sixteen tokens, as OpenAI has it"
    assert client.completions.create(model="qwq-32b", prompt=[1, 2, 3], max_tokens=2).usage.prompt_tokens == 3  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "param", "says"),
    [
        ({"messages": []}, "messages", "at least 1 item"),
        ({"messages": "hi"}, "messages", "list"),
        ({"messages": [{"role": "wizard", "content": "hi"}]}, "messages[0].role", "wizard"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "5"),
        ({"messages": [{"role": "user"}]}, "messages[0]", "needs content"),
        ({"messages": [{"role": "user", "content": "   "}]}, None, "empty"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, None, "text only"),
        ({"messages": [*SUM, {"role": "assistant", "content": "132"}]}, "messages", "the assistant's"),
        ({"messages": [{"role": "tool", "tool_call_id": "x", "content": "1"}]}, "messages[0].role", "no tool was called"),
        ({"temperature": "hot"}, "temperature", "hot"),
        ({"temperature": 6}, "temperature", "less than or equal to 5"),
        ({"hesitation_penalty": -1}, "hesitation_penalty", "greater than or equal to 0"),
        ({"hesitation_penalty": 101}, "hesitation_penalty", "less than or equal to 100"),
        ({"hesitation_penalty": "2"}, "hesitation_penalty", "valid number"),
        ({"n": 1000}, "n", "less than or equal"),
        ({"seed": 1.5}, "seed", "integer"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"colour": "red"}, "colour", "no field 'colour'"),
        ({"audio": {"voice": "x"}}, "audio", "text only"),
        ({"functions": []}, "functions", "replaced by tools"),
        ({"store": True}, "store", "True"),
        ({"stop": ["a"] * 17}, "stop", "at most 16"),
        ({"top_logprobs": 3}, None, "goes with logprobs"),
        ({"tool_choice": "required"}, "tool_choice", "no tools"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 5}}}}, None, "schema"),
        ({"logit_bias": {"999999999": 1}}, None, "token"),
        ({"messages": [{"role": "user", "content": "x " * 5000}]}, "messages", "512 tokens, and the prompt has 10"),
        ({"model": "gpt-4o"}, "model", "does not exist"),
    ],
)
def test_what_cannot_be_is_refused_by_name(endpoint: Endpoint, change: dict[str, Any], param: str | None, says: str) -> None:
    answer = endpoint.post("/v1/chat/completions", {"messages": SUM} | change)
    error = answer.json()["error"]
    assert answer.status_code == (404 if "model" in change else 400), error
    assert says in error["message"]
    assert param is None or error["param"] == param
