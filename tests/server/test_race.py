"""Races and votes over every wire format: the winner as any other answer, and what all samples came to beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from qwq_local.runtime import QwQ
from qwq_local.server.answers import Ask
from tests.nano.tasks import WEATHER_TOOL
from tests.server.test_life import LONG, load_endless, open_answers, settings, streamed
from tests.serving import TRUST, Endpoint, running
from tests.waiting import wait_until

CHAT = "/v1/chat/completions"
QUESTION = "What is 47 + 85?"
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": QUESTION}], "seed": 1}
FORMATS: dict[str, dict[str, Any]] = {
    CHAT: ASKED,
    "/v1/completions": {"prompt": QUESTION, "max_tokens": 20},
    "/v1/responses": {"input": QUESTION, "seed": 1},
    "/v1/messages": ASKED | {"model": "qwq-32b", "max_tokens": 300},
}


def data_of(stream: httpx.Response) -> list[dict[str, Any]]:
    """The events of a stream that are JSON."""
    lines = [line.removeprefix("data: ") for line in stream.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def test_a_race_is_answered_by_its_winner_and_tells_what_all_wrote(endpoint: Endpoint) -> None:
    told = endpoint.post(CHAT, ASKED | {"race": 3}).json()
    assert r"\boxed{132}" in told["choices"][0]["message"]["content"]
    [race] = told["qwq"]["race"]
    assert (race["kind"], race["n_samples"], race["votes"], race["n_failed"]) == ("race", 3, {}, 0)
    assert told["qwq"]["seed"] == [1 + race["winner"]]
    assert race["completion_tokens"] > 2 * told["usage"]["completion_tokens"], "usage has the winner's"


def test_a_vote_tells_its_counts(endpoint: Endpoint) -> None:
    told = endpoint.post("/v1/responses", {"input": QUESTION, "seed": 1, "vote": 4}).json()
    [race] = told["qwq"]["race"]
    assert race["kind"] == "vote"
    assert race["votes"]["132"] >= 2
    assert r"\boxed{132}" in told["output"][-1]["content"][0]["text"]


def test_a_stream_is_silent_until_the_winner_is_known(endpoint: Endpoint) -> None:
    options = {"race": 3, "stream": True, "stream_options": {"include_usage": True}}
    chunks = data_of(endpoint.post(CHAT, ASKED | options))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert r"\boxed{132}" in "".join(delta.get("content") or "" for delta in deltas)
    assert chunks[-1]["qwq"]["race"][0]["n_samples"] == 3


def test_without_one_nothing_is_told_of_it(endpoint: Endpoint) -> None:
    assert "race" not in endpoint.post(CHAT, ASKED | {"race": 1, "vote": None}).json()["qwq"]
    assert endpoint.post("/v1/responses", FORMATS["/v1/responses"]).json()["qwq"]["race"] is None


@pytest.mark.parametrize("is_streamed", [False, True])
def test_anthropics_and_ollamas_formats_race_too(endpoint: Endpoint, is_streamed: bool) -> None:
    message = endpoint.post("/v1/messages", FORMATS["/v1/messages"] | {"race": 2, "stream": is_streamed})
    line = endpoint.post("/api/chat", {"messages": ASKED["messages"], "options": {"seed": 1, "vote": 2}, "stream": is_streamed})
    for answer in (message, line):
        assert answer.status_code == 200
        assert "132" in answer.text
    if is_streamed:
        assert data_of(message)[-1]["type"] == "message_stop"
        assert json.loads(line.text.splitlines()[-1])["done_reason"] == "stop"


def test_a_chat_on_the_page_races_too(endpoint: Endpoint) -> None:
    begun = endpoint.post("/chats", {"content": QUESTION, "options": {"seed": 1, "race": 2}}).json()
    assert "132" in endpoint.get(f"/chats/{begun['chat_id']}/events").text


def test_logprobs_are_the_winners(endpoint: Endpoint) -> None:
    told = endpoint.post(CHAT, ASKED | {"race": 2, "logprobs": True}).json()
    [choice] = told["choices"]
    assert "".join(token["token"] for token in choice["logprobs"]["content"]).strip() == choice["message"]["content"].strip()


@pytest.mark.parametrize("path", FORMATS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"race": 0}, "race: "),
        ({"vote": "3"}, "vote: "),
        ({"race": 245}, "race: "),
        ({"race": 5}, "race is 5, and 4 answers can be written at once."),
        ({"race": 2, "vote": 2}, "race and vote are both given."),
        ({"vote": 69}, "69 answers are asked for, and 68 can be open at once."),
    ],
)
def test_what_cannot_be_raced_is_refused_with_what_can(endpoint: Endpoint, path: str, options: dict[str, Any], message: str) -> None:
    answer = endpoint.post(path, FORMATS[path] | options)
    error = answer.json()["error"]
    assert (answer.status_code, message in error["message"]) == (400, True), error
    if path != "/v1/messages":
        assert error["param"] == next(iter(options))


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"tools": [WEATHER_TOOL]},
        {"tools": [WEATHER_TOOL], "tool_choice": "required"},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}},
    ],
)
def test_what_does_not_go_with_a_race_is_refused(endpoint: Endpoint, more: dict[str, Any]) -> None:
    answer = endpoint.post(CHAT, ASKED | {"race": 2} | more)
    assert answer.status_code == 400
    assert "race" in answer.json()["error"]["message"]


def test_each_sample_counts_as_an_answer() -> None:
    assert Ask(options={"race": 3}).n_answers == 3
    assert Ask(options={"vote": 5}, prompts=["a", "b"]).n_answers == 10
    assert Ask(n=4).n_answers == 4
    assert [Ask(n=4).most_by, Ask(options={"vote": 2}).most_by] == ["n", "vote"]


def test_a_race_takes_as_many_places_as_it_has_samples_and_leaves_them(endless_model: Path) -> None:
    with running(settings(str(endless_model), n_parallel=3, n_queued=1, stop_seconds=0), load_for_three) as endpoint:
        with streamed(endpoint, race=3) as first:
            lines = first.iter_lines()  # which would hang up where nobody held it
            next(lines)
            refused = endpoint.post(CHAT, LONG | {"race": 2})
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
        wait_until(lambda: open_answers(endpoint) == 0)


def load_for_three(model: str | None, *, on_progress: Any) -> QwQ:
    return QwQ.load(model, on_progress=on_progress, n_ctx=32_768, n_parallel=3)


def test_a_client_that_hangs_up_ends_every_sample(endless_model: Path) -> None:
    with running(settings(str(endless_model)), load_endless) as endpoint:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(endpoint.url + CHAT, json=LONG | {"race": 4}, timeout=0.3, verify=TRUST)
        wait_until(lambda: open_answers(endpoint) == 0)


def test_a_silent_race_is_kept_alive(endless_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwq_local.server.streaming.QUIET_SECONDS", 0.05)
    with running(settings(str(endless_model), stop_seconds=0), load_endless) as endpoint, streamed(endpoint, race=2) as answer:
        lines = filter(None, answer.iter_lines())
        assert next(lines).startswith("data: ")
        assert [next(lines), next(lines)] == [": still thinking"] * 2, "progress is no part of the answer"
