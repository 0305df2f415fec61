"""Frameworks that people build on, unchanged but for the address: LangChain and LiteLLM. The vendors' own have tests of their own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI

from tests.nano.tasks import ADD_TOOL, WEATHER_TOOL
from tests.serving import Endpoint

SUM = "What is 47 + 85?"
RIGHT = r"\boxed{132}"
TOOLS: Any = [ADD_TOOL, WEATHER_TOOL]
WEATHER = "What is the weather in Paris?"

pytestmark = pytest.mark.filterwarnings("ignore")  # these are other people's, and not about us


def langchain(endpoint: Endpoint, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(model="qwq-32b", base_url=f"{endpoint.url}/v1", api_key="none", seed=1, max_retries=0, **options)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("uses_responses", [False, True])
def test_langchain_asks_and_streams(endpoint: Endpoint, uses_responses: bool) -> None:
    llm = ChatOpenAI(model="qwq-32b", base_url=f"{endpoint.url}/v1", api_key="none", use_responses_api=uses_responses)  # type: ignore[arg-type]
    reply = llm.invoke(SUM)
    assert RIGHT in reply.text
    assert reply.usage_metadata
    assert reply.usage_metadata["output_token_details"]["reasoning"] > 0
    assert RIGHT in "".join(chunk.text for chunk in llm.stream(SUM))


@pytest.mark.slow
def test_langchain_calls_tools_and_answers_from_their_results(endpoint: Endpoint) -> None:
    llm = langchain(endpoint).bind_tools(TOOLS, tool_choice="get_weather")
    called: Any = llm.invoke(WEATHER)
    (call,) = called.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
    result = ToolMessage("7C", tool_call_id=call["id"])
    reply = langchain(endpoint).bind_tools(TOOLS).invoke([HumanMessage(WEATHER), called, result])
    assert reply.text == "It is 7C in Paris."


@pytest.mark.slow
def test_langchain_gets_what_a_schema_asks_for(endpoint: Endpoint) -> None:
    schema = {
        "title": "sum",
        "type": "object",
        "properties": {"answer": {"type": "integer", "maximum": 1000}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    found: Any = langchain(endpoint).with_structured_output(schema, method="json_schema").invoke(SUM)
    assert isinstance(found["answer"], int)


@pytest.mark.slow
def test_langchain_tells_errors_by_their_kind(endpoint: Endpoint) -> None:
    import openai

    with pytest.raises(openai.NotFoundError, match="does not exist"):
        ChatOpenAI(model="gpt-4o", base_url=f"{endpoint.url}/v1", api_key="none", max_retries=0).invoke(SUM)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def litellm() -> Any:
    """The library, kept from asking the network for prices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        import litellm

        litellm.suppress_debug_info = True
        yield litellm


def asked(endpoint: Endpoint, content: str = SUM, **options: Any) -> dict[str, Any]:
    fixed = {"model": "openai/qwq-32b", "api_base": f"{endpoint.url}/v1", "api_key": "none", "seed": 1, "num_retries": 0}
    return fixed | {"messages": [{"role": "user", "content": content}]} | options


@pytest.mark.slow
def test_litellm_asks_and_streams_with_thoughts_apart(endpoint: Endpoint, litellm: Any) -> None:
    message = litellm.completion(**asked(endpoint)).choices[0].message
    assert RIGHT in message.content
    assert message.reasoning_content
    thought, answer = "", ""
    for chunk in litellm.completion(**asked(endpoint), stream=True):
        delta = chunk.choices[0].delta
        thought += getattr(delta, "reasoning_content", None) or ""
        answer += delta.content or ""
    assert (thought, answer) == (message.reasoning_content, message.content)


@pytest.mark.slow
def test_litellm_calls_tools_and_answers_from_their_results(endpoint: Endpoint, litellm: Any) -> None:
    choice = litellm.completion(**asked(endpoint, WEATHER), tools=TOOLS, tool_choice="required").choices[0]
    assert choice.finish_reason == "tool_calls"
    (call, *_) = choice.message.tool_calls
    history = [{"role": "user", "content": WEATHER}, choice.message.model_dump()]
    results = [{"role": "tool", "tool_call_id": each.id, "content": "7C"} for each in choice.message.tool_calls]
    second = litellm.completion(**asked(endpoint, messages=history + results), tools=TOOLS)
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
    assert second.choices[0].message.content == "It is 7C in Paris."


@pytest.mark.slow
def test_litellm_knows_a_prompt_that_is_too_long_and_a_model_that_is_not_there(endpoint: Endpoint, litellm: Any) -> None:
    with pytest.raises(litellm.ContextWindowExceededError, match=r"512 tokens, and the prompt has 8\d{3}"):
        litellm.completion(**asked(endpoint, "x " * 4000))
    with pytest.raises(litellm.NotFoundError, match="does not exist"):
        litellm.completion(**asked(endpoint, model="openai/gpt-4o"))


@pytest.mark.slow
def test_litellm_speaks_anthropic_to_it_too(endpoint: Endpoint, litellm: Any) -> None:
    ask = asked(endpoint, model="anthropic/qwq-32b", api_base=endpoint.url, max_tokens=300)
    del ask["seed"]
    assert RIGHT in litellm.completion(**ask).choices[0].message.content
