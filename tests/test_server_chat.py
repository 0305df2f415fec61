"""Chat completions, as clients of OpenAI and of the hosted QwQ use them."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.nano.tasks import ADD_TOOL, WEATHER_TOOL
from tests.serving import Endpoint

SUM: Any = [{"role": "user", "content": "What is 47 + 85?"}]


@pytest.fixture
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


def test_tools_are_called_and_their_results_are_answered_from(client: openai.OpenAI) -> None:
    tools: Any = [ADD_TOOL, WEATHER_TOOL]
    messages: list[Any] = [{"role": "user", "content": "Use the tool to add 17 and 25."}]
    first = client.chat.completions.create(model="qwq-32b", messages=messages, tools=tools, seed=1)
    assert first.choices[0].finish_reason == "tool_calls"
    call: Any = first.choices[0].message.tool_calls[0]  # type: ignore[index]
    assert (call.function.name, call.type) == ("add", "function")
    messages += [first.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "42"}]
    second = client.chat.completions.create(model="qwq-32b", messages=messages, tools=tools, seed=1)
    assert second.choices[0].finish_reason == "stop"
