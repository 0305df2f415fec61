"""What is refused of those who speak Ollama's API, and what they are told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from tests.nano.tasks import ADD_TOOL
from tests.serving import PATIENCE_SECONDS, Endpoint

SEED: Any = {"seed": 1}
QUESTION = "What is 47 + 85?"
SUM: Any = [{"role": "user", "content": QUESTION}]
CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]}


@pytest.fixture(scope="module")
def client(endpoint: Endpoint) -> Iterator[ollama.Client]:
    with ollama.Client(endpoint.url, timeout=PATIENCE_SECONDS) as found:
        yield found


def refusal(endpoint: Endpoint, path: str, body: Any) -> tuple[int, str]:
    """The status and the message of an error."""
    answer = endpoint.post(path, body)
    told = answer.json()
    assert list(told) == ["error"]
    return answer.status_code, told["error"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"num_keep": 4}, "num_keep is not supported: nothing is ever cut from a prompt here"),
        ({"num_gpu": 0}, "num_gpu is not supported: the plan chooses it when the server starts"),
        ({"use_mmap": False}, "use_mmap is not supported: the plan chooses it"),
        ({"tfs_z": 0.5}, "tfs_z is not supported"),
        ({"penalize_newline": False}, "penalize_newline is not supported"),
        ({"temperature": 9}, "options.temperature: "),
        ({"temperature": "hot"}, "options.temperature: "),
        ({"num_predict": -3}, "options.num_predict: "),
        ({"repeat_last_n": 3, "penalty_last_n": 4}, "two names of one number"),
        ({"temprature": 1}, "There is no field 'options.temprature'"),
        (
            {"num_ctx": 4096},
            "num_ctx is 4,096, and the model is loaded with a context of 512 tokens. Start the server with more: qwq serve",
        ),
    ],
)
def test_options_that_cannot_be_are_refused(endpoint: Endpoint, options: Any, told: str) -> None:
    for path, body in (("/api/chat", {"messages": SUM}), ("/api/generate", {"prompt": QUESTION})):
        status, message = refusal(endpoint, path, body | {"options": options})
        assert (status, told in message) == (400, True), message


def test_options_that_change_nothing_here_are_accepted(client: ollama.Client) -> None:
    harmless = {"tfs_z": 1.0, "penalize_newline": True, "num_ctx": 512, "typical_p": 1.0, "mirostat": 0, "repeat_last_n": 64}
    assert client.generate("demo", QUESTION, options=SEED | harmless).response == client.generate("demo", QUESTION, options=SEED).response


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"suffix": "end"}, "suffix is not supported: QwQ was not trained to fill gaps"),
        ({"template": "{{ .Prompt }}"}, "template is not supported"),
        ({"context": [1, 2]}, "context is not supported: send the whole conversation to POST /api/chat"),
        ({"images": ["aGk="]}, "images is not supported: QwQ reads and writes text only"),
        ({"width": 64}, "width is not supported"),
        ({"raw": True, "system": "Be brief."}, "raw leaves the whole prompt to you"),
        ({"think": "much"}, "think: "),
        ({"truncate": True}, "truncate is not supported: nothing is ever cut from a prompt"),
        ({"shift": True}, "shift is not supported"),
        ({"keep_alive": "5 minutes"}, 'say seconds as a number, or a duration such as "5m"'),
        ({"format": "xml"}, "format: "),
        ({"top_logprobs": 2}, "top_logprobs goes with logprobs"),
        ({"promt": "?"}, "There is no field 'promt'"),
        ({"prompt": 5}, "prompt: "),
    ],
)
def test_generations_that_cannot_be_are_refused(endpoint: Endpoint, body: Any, told: str) -> None:
    status, message = refusal(endpoint, "/api/generate", {"prompt": QUESTION} | body)
    assert (status, told in message) == (400, True), message


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([{"role": "user", "content": "Look", "images": ["aGk="]}], "images is not supported: QwQ reads and writes text only"),
        ([{"role": "tool", "content": "42"}], "no tool was called before it"),
        (
            [*SUM, CALL, {"role": "tool", "content": "42", "tool_name": "subtract"}],
            "tool_name is 'subtract', which no message before it calls",
        ),
        ([*SUM, {"role": "assistant", "content": "132"}], "messages[1] is the assistant's"),
        ([{"role": "user", "content": "x", "tool_calls": CALL["tool_calls"]}], "cannot call tools"),
        ([{"role": "narrator", "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": ["x"]}], "messages[0].content"),
        ([{"role": "user", "content": ""}], "The question is empty"),
    ],
)
def test_conversations_that_cannot_be_are_refused(endpoint: Endpoint, messages: Any, told: str) -> None:
    status, message = refusal(endpoint, "/api/chat", {"messages": messages})
    assert (status, told in message) == (400, True), message


def test_a_prompt_that_is_too_long_is_refused_with_both_counts(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match=r"512 tokens.* 3012 tokens") as refused:
        client.generate("demo", "word " * 3000, stream=False)
    assert refused.value.status_code == 400


def test_an_unknown_model_is_a_404_before_a_stream_begins(client: ollama.Client) -> None:
    for stream in (False, True):
        with pytest.raises(ollama.ResponseError, match="'llama3' does not exist") as refused:
            list(client.chat("llama3", SUM, stream=stream))
        assert refused.value.status_code == 404


def test_two_limits_that_differ_are_refused(endpoint: Endpoint) -> None:
    status, message = refusal(endpoint, "/api/chat", {"messages": SUM, "num_predict": 5, "options": {"num_predict": 6}})
    assert (status, "num_predict stands beside the options" in message) == (400, True)


def test_tool_choice_is_refused_with_the_way_out(endpoint: Endpoint) -> None:
    status, message = refusal(endpoint, "/api/chat", {"messages": SUM, "tools": [ADD_TOOL], "tool_choice": "required"})
    assert (status, "POST /v1/chat/completions" in message) == (400, True)


def test_a_wrong_method_is_told_the_right_one(endpoint: Endpoint) -> None:
    answer = endpoint.get("/api/chat")
    assert (answer.status_code, answer.headers["allow"], list(answer.json())) == (405, "POST", ["error"])
