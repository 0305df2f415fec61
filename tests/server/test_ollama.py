"""Chats and generations, as clients of Ollama use them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import ollama
import pytest

from tests.nano.tasks import ADD_TOOL, CHOICE_SUFFIX, WEATHER_TOOL
from tests.serving import PATIENCE_SECONDS, Endpoint

QUESTION = "What is 47 + 85?"
SUM: Any = [{"role": "user", "content": QUESTION}]
TOOLS: Any = [ADD_TOOL, WEATHER_TOOL]
WEATHER: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
SEED: Any = {"seed": 1}
COUNTS = {"total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"}


@pytest.fixture(scope="module")
def client(endpoint: Endpoint) -> Iterator[ollama.Client]:
    with ollama.Client(endpoint.url, timeout=PATIENCE_SECONDS) as found:
        yield found


def lines(endpoint: Endpoint, path: str, body: Any) -> list[Any]:
    """All lines of a stream."""
    answer = endpoint.post(path, body)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson"), answer.text
    assert answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text.splitlines()]


# Chats


def test_a_question_gets_thought_and_answer(client: ollama.Client) -> None:
    answer = client.chat("qwq", SUM, options=SEED)
    message = answer.message
    assert r"\boxed{132}" in (message.content or "")
    assert message.thinking
    assert "think>" not in f"{message.content}{message.thinking}"
    assert (answer.model, answer.done, answer.done_reason, message.role) == ("demo:latest", True, "stop", "assistant")
    assert answer.eval_count
    assert answer.prompt_eval_count
    assert answer.total_duration >= answer.load_duration + answer.prompt_eval_duration + answer.eval_duration  # type: ignore[operator]


def test_a_stream_comes_to_the_same(client: ollama.Client) -> None:
    whole = client.chat("qwq:32b", SUM, options=SEED)
    parts = list(client.chat("qwq:latest", SUM, options=SEED, stream=True))
    assert "".join(part.message.thinking or "" for part in parts) == whole.message.thinking
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count == whole.eval_count


def test_a_stream_is_what_comes_unless_it_is_declined(endpoint: Endpoint) -> None:
    told = lines(endpoint, "/api/chat", {"model": "demo", "messages": SUM, "options": SEED})
    *pieces, last = told
    for piece in pieces:
        assert set(piece) == {"model", "created_at", "message", "done"}
        assert piece["message"]["role"] == "assistant"
        assert bool(piece["message"]["content"]) != ("thinking" in piece["message"])
    are_thought = ["thinking" in piece["message"] for piece in pieces]
    assert [pair for pair in pairwise(are_thought) if pair == (False, True)] == [], "the thought comes first"
    assert set(last) == {"model", "created_at", "message", "done", "done_reason"} | COUNTS
    assert (last["message"], last["done_reason"]) == ({"role": "assistant", "content": ""}, "stop")
    assert all(isinstance(last[name], int) for name in COUNTS)


def test_the_documented_curl_command_works(endpoint: Endpoint) -> None:
    body = json.dumps({"model": "demo", "messages": SUM, "stream": False, "options": SEED}).encode()
    for kind in ("application/x-www-form-urlencoded", ""):
        answer = endpoint.post("/api/chat", body, **{"content-type": kind})
        assert r"\boxed{132}" in answer.json()["message"]["content"]
    assert endpoint.post("/api/chat", body, **{"content-type": "text/plain"}).status_code == 400


@pytest.mark.parametrize("think", [False, True, "low", "medium", "high"])
def test_thinking_can_be_chosen(client: ollama.Client, think: Any) -> None:
    message = client.chat("demo", SUM, options=SEED, think=think).message
    assert bool(message.thinking) == bool(think)
    assert "think>" not in (message.content or "")


def test_tools_are_called_and_their_results_are_answered_from(client: ollama.Client) -> None:
    first = client.chat("demo", WEATHER, tools=TOOLS, options=SEED)
    assert first.message.tool_calls
    assert [(call.function.name, call.function.arguments) for call in first.message.tool_calls] == [("get_weather", {"city": "Paris"})]
    assert (first.done_reason, first.message.content) == ("stop", "")
    messages = [*WEATHER, first.message, {"role": "tool", "content": "17C", "tool_name": "get_weather"}]
    second = client.chat("demo", messages, tools=TOOLS, options=SEED)
    assert not second.message.tool_calls
    assert "17C" in (second.message.content or "")


def test_python_functions_are_tools(client: ollama.Client) -> None:
    def get_weather(city: str) -> str:
        """Current weather of a city

        Args:
            city: Its name
        """
        return f"17C in {city}"

    answer = client.chat("demo", WEATHER, tools=[get_weather], options=SEED)
    assert [call.function.name for call in answer.message.tool_calls or ()] == ["get_weather"]


def test_a_streamed_call_is_told_when_it_is_whole(endpoint: Endpoint) -> None:
    told = lines(endpoint, "/api/chat", {"messages": WEATHER, "tools": TOOLS, "options": SEED})
    calling = [line for line in told if "tool_calls" in line["message"]]
    assert [(line["done"], line["message"]["content"]) for line in calling] == [(False, "")]
    (call,) = calling[0]["message"]["tool_calls"]
    assert call["function"] == {"index": 0, "name": "get_weather", "arguments": {"city": "Paris"}}
    assert call["id"].startswith("call_")
    assert (told[-1]["done_reason"], told[-2]) == ("stop", calling[0])


def test_the_history_of_open_webui_is_understood(endpoint: Endpoint) -> None:
    call = {"index": 0, "id": "call_1", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
    messages = [
        *WEATHER,
        {"role": "assistant", "thinking": "I call it.", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "17C"},
    ]
    body = {"model": "demo:latest", "messages": messages, "tools": TOOLS, "num_predict": 100, "options": SEED, "stream": False}
    assert "17C" in endpoint.post("/api/chat", body).json()["message"]["content"]


def test_thoughts_of_earlier_turns_are_left_out(endpoint: Endpoint) -> None:
    counts = []
    for thought in ({}, {"thinking": "7 + 5 is twelve. " * 10}):
        turn = {"role": "assistant", "content": r"47 + 85 = \boxed{132}"} | thought
        body = {"messages": [*SUM, turn, *SUM], "stream": False, "options": SEED | {"num_predict": 1}}
        counts.append(endpoint.post("/api/chat", body).json()["prompt_eval_count"])
    assert counts[0] == counts[1]


def test_open_webuis_system_prompt_is_put_before_the_messages_once(endpoint: Endpoint) -> None:
    system = {"role": "system", "content": "Be brief."}
    bodies = [{"messages": [system, *SUM]}, {"messages": SUM, "system": "Be brief."}, {"messages": [system, *SUM], "system": "Be brief."}]
    rest = {"stream": False, "options": {"num_predict": 1}}
    counts = {endpoint.post("/api/chat", body | rest).json()["prompt_eval_count"] for body in bodies}
    assert len(counts) == 1


def test_an_answer_can_be_json_or_follow_a_schema(client: ollama.Client) -> None:
    messages = [{"role": "user", "content": f"Which number is the largest?\nA) 3\nB) 9\nC) 5\nD) 1\n{CHOICE_SUFFIX}"}]
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
    free, bound = (client.chat("demo", messages, format=wanted, options=SEED).message for wanted in ("json", schema))
    assert isinstance(json.loads(free.content or ""), dict)
    assert list(json.loads(bound.content or "")) == ["n"]
    assert bound.thinking


# Generations


def test_a_prompt_is_answered(client: ollama.Client) -> None:
    whole = client.generate("demo", QUESTION, options=SEED)
    assert r"\boxed{132}" in (whole.response or "")
    assert whole.thinking
    parts = list(client.generate("demo", QUESTION, options=SEED, stream=True))
    assert "".join(part.response or "" for part in parts) == whole.response
    assert "".join(part.thinking or "" for part in parts) == whole.thinking


def test_a_prompt_with_a_system_prompt_is_a_chat_with_one(client: ollama.Client) -> None:
    chat = client.chat("demo", [{"role": "system", "content": "Be brief."}, *SUM], options=SEED)
    generation = client.generate("demo", QUESTION, system="Be brief.", options=SEED)
    assert (generation.response, generation.prompt_eval_count) == (chat.message.content, chat.prompt_eval_count)


def test_a_raw_prompt_is_gone_on_with_as_it_is(client: ollama.Client) -> None:
    prompt = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n<think>\n"
    answer = client.generate("demo", prompt, raw=True, options=SEED)
    assert "</think>" in (answer.response or "")
    assert r"\boxed{132}" in (answer.response or "")
    assert not answer.thinking


def test_what_go_programs_send_for_fields_that_are_not_set_is_none(endpoint: Endpoint) -> None:
    unset: Any = {"suffix": "", "system": "", "template": "", "context": [], "images": [], "options": None, "format": ""}
    body = {"model": "demo", "prompt": QUESTION, "stream": False} | unset
    assert endpoint.post("/api/generate", body).status_code == 200


# Options


def test_stop_strings_end_an_answer(client: ollama.Client) -> None:
    answer = client.generate("demo", QUESTION, options=SEED | {"stop": ["boxed"]})
    assert (answer.response, answer.done_reason) == ("47 + 85 = \\", "stop")


@pytest.mark.parametrize(("limit", "reason"), [(5, "length"), (-1, "stop"), (-2, "stop"), (0, "stop")])
def test_num_predict_limits_an_answer(client: ollama.Client, limit: int, reason: str) -> None:
    answer = client.generate("demo", QUESTION, options=SEED | {"num_predict": limit})
    assert answer.done_reason == reason
    assert (answer.eval_count == limit) == (reason == "length")


def test_a_seed_makes_an_answer_again_and_one_below_0_does_not(client: ollama.Client) -> None:
    hot = {"temperature": 5.0, "top_k": 0, "top_p": 1.0, "num_predict": 20}
    by_seed = [client.generate("demo", QUESTION, options=hot | {"seed": seed}).thinking for seed in (7, 7, -1, -1)]
    assert by_seed[0] == by_seed[1]
    assert by_seed[2] != by_seed[3]


def test_log_probabilities_are_told_of_every_piece(endpoint: Endpoint, client: ollama.Client) -> None:
    whole = client.generate("demo", QUESTION, options=SEED, logprobs=True, top_logprobs=2)
    assert whole.logprobs
    drawn = f"{whole.thinking}\n</think>\n\n{whole.response}"
    assert "".join(token.token for token in whole.logprobs) == drawn
    assert all(token.logprob <= 0 and len(token.top_logprobs or ()) == 2 for token in whole.logprobs)
    told = lines(endpoint, "/api/generate", {"prompt": QUESTION, "options": SEED, "logprobs": True})
    assert "".join(token["token"] for line in told for token in line.get("logprobs", ())) == drawn
