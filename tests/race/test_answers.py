"""Races and votes of the built-in model, from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qwq_local.engine import Answering, Finished, Racing, Thinking
from qwq_local.errors import SettingsError
from qwq_local.runtime import QwQ
from qwq_local.survey import Expectation
from tests.nano.tasks import WEATHER_TOOL
from tests.waiting import wait_until

SUM = "What is 47 + 85?"


@pytest.fixture
def learning(demo: QwQ, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens the answers had that taught something."""
    learnt: list[int] = []

    class Pupil(Expectation):
        def learn(self, n_tokens: int, decode_seconds: float, n_filled: int) -> None:  # noqa: ARG002 - as it is called
            learnt.append(n_tokens)

    monkeypatch.setattr(demo, "_expectation", Pupil(Path(), "", "cpu", lambda _: 1.0))
    return learnt


def test_the_winner_of_a_race_is_a_whole_answer_with_a_report(demo: QwQ) -> None:
    reply = demo.chat(SUM, seed=1, race=3)
    assert r"\boxed{132}" in reply.content
    assert reply.race is not None
    assert (reply.race.kind, reply.race.n_samples, reply.race.votes) == ("race", 3, {})
    assert reply.seed == 1 + reply.race.winner
    assert reply.race.completion_tokens > 2 * reply.usage.completion_tokens
    assert 0 < reply.usage.reasoning_tokens < reply.usage.completion_tokens


def test_a_race_of_one_is_the_plain_way(demo: QwQ) -> None:
    assert demo.chat(SUM, seed=1, race=1, vote=1).race is None


def test_only_the_winner_is_heard_and_progress_before(demo: QwQ) -> None:
    with demo.stream(SUM, seed=1, race=2) as stream:
        events = list(stream)
    kinds = [type(event) for event in events]
    order = [Racing, Thinking, Answering, Finished]
    assert kinds == sorted(kinds, key=order.index), "progress, then the winner's thought and answer, and the end"
    assert set(kinds) == set(order)


def test_a_vote_goes_to_the_majority(demo: QwQ) -> None:
    reply = demo.chat(SUM, seed=1, vote=4)
    assert reply.race is not None
    assert reply.race.votes["132"] >= 2
    assert r"\boxed{132}" in reply.content


def test_a_raw_prompt_is_raced_too(demo: QwQ) -> None:
    with demo.complete("<|im_start|>user\n" + SUM + "<|im_end|>\n<|im_start|>assistant\n<think>\n", seed=1, vote=2) as stream:
        *_, end = stream
    assert isinstance(end, Finished)
    assert end.race is not None
    assert end.race.votes == {"132": 1}, "one of two decides it, since it came first"


def test_a_race_teaches_no_speed(demo: QwQ, learning: list[int]) -> None:
    demo.chat(SUM, seed=1, race=2)
    assert learning == []
    reply = demo.chat(SUM, seed=1)
    assert learning == [reply.usage.completion_tokens - 1]


def test_the_next_turn_is_read_ahead_once_behind_the_winner(demo: QwQ, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []
    monkeypatch.setattr(demo._engine, "preread", lambda tokens, rope: asked.append(tokens))  # noqa: ARG005 - as it is called
    reply = demo.chat(SUM, seed=1, race=3)
    wait_until(lambda: bool(asked))
    history = [{"role": "user", "content": SUM}, {"role": "assistant", "content": reply.content}]
    assert asked == [demo.tokenize(demo._template.render(history, None, is_history=True))]


def test_leaving_a_race_early_frees_its_slots(demo: QwQ) -> None:
    with demo.stream(SUM, seed=1, race=4) as stream:
        next(stream)
    wait_until(lambda: (found := demo.snapshot()) is not None and found.running == 0)
    assert demo.chat(SUM, seed=1, race=4).race is not None


def test_an_isolated_model_races_too() -> None:
    with QwQ.load("demo", isolated=True) as qwq:
        reply = qwq.chat(SUM, seed=1, race=3)
        assert reply.race is not None
        assert r"\boxed{132}" in reply.content
        assert reply.race.completion_tokens > 2 * reply.usage.completion_tokens


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"race": 0}, "race is 0"),
        ({"vote": -1}, "vote is -1"),
        ({"race": 2.5}, "race is 2.5"),
        ({"race": True}, "race is True"),
        ({"race": 245}, "race is 245"),
        ({"race": 2, "vote": 2}, "race and vote are both given"),
        ({"race": 5}, "race is 5, and 4 answers can be written at once"),
        ({"race": 2, "schema": {"type": "object"}}, "race is 2, and a schema or grammar is to be followed"),
        ({"vote": 2, "tools": [WEATHER_TOOL]}, "vote is 2, and tools may be called"),
        ({"vote": 2, "tools": [WEATHER_TOOL], "tool_choice": "required"}, "vote is 2, and tools may be called"),
    ],
)
def test_what_cannot_be_raced_is_refused(demo: QwQ, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        demo.stream(SUM, **options)


def test_tools_that_may_not_be_called_are_no_hindrance(demo: QwQ) -> None:
    reply = demo.chat(SUM, tools=[WEATHER_TOOL], tool_choice="none", race=2, seed=1)
    assert reply.race is not None


def test_a_long_prompt_leaves_too_little_for_many(demo: QwQ) -> None:
    with pytest.raises(SettingsError, match=r"race is 4, and the context of .* leaves"):
        demo.stream("word " * 300, race=4)
