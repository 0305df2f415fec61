"""Thoughts that are closed, circles that are broken, contexts that are outgrown, and prompts that are read once for many."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from qwq_local import card
from qwq_local.backend import Constraint
from qwq_local.engine import Answering, Engine, EngineSettings, Event, Finished, Request, RopeSwitched, Thinking, ThoughtClosed
from tests.fakes import END_THINK, IM_END, FakeBackend

ENDLESS_THOUGHT = random.Random(1).choices(b"abcdefghijklmnopq", k=3000)
REQUEST = Request((1, 2, 3), 4000)


def run(engine: Engine, *requests: Request) -> list[list[Event]]:
    """The events of requests that come at once."""
    ids = [engine.submit(request) for request in requests]
    events: dict[int, list[Event]] = {job_id: [] for job_id in ids}
    while not engine.is_idle:
        for job_id, event in engine.step():
            events[job_id].append(event)
    return [events[job_id] for job_id in ids]


def texts(events: list[Event]) -> tuple[str, str]:
    """Thought and answer."""
    thought = "".join(event.text for event in events if isinstance(event, Thinking))
    return thought, "".join(event.text for event in events if isinstance(event, Answering))


def end(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def engine_for(*replies: list[int], **sizes: int) -> tuple[Engine, FakeBackend]:
    backend = FakeBackend(dict(enumerate(replies)), **{"n_ctx": 4000, "n_batch": 64, **sizes})  # type: ignore[arg-type]
    return Engine(backend, EngineSettings(spill_bytes=100_000)), backend


@pytest.mark.parametrize("budget", [1, 8, 64, 1000])
def test_a_budget_is_kept_to_the_token_and_closed_with_a_sentence(budget: int) -> None:
    engine, backend = engine_for([*ENDLESS_THOUGHT[:budget], *b"answer", IM_END])
    [events] = run(engine, replace(REQUEST, think_tokens=budget))
    thought, answer = texts(events)
    assert thought == bytes(ENDLESS_THOUGHT[:budget]).decode() + card.CLOSING_SENTENCE.rstrip("\n")
    assert answer == "answer"
    assert [event for event in events if isinstance(event, ThoughtClosed)] == [ThoughtClosed("budget")]
    assert end(events).usage.reasoning_tokens == budget + len(card.CLOSING_SENTENCE) + 1
    backend.audit_idle()


def test_a_budget_of_nothing_opens_the_answer_without_a_word() -> None:
    engine, _ = engine_for([*b"answer", IM_END])
    [events] = run(engine, replace(REQUEST, think_tokens=0))
    assert texts(events) == ("", "answer")


def test_a_thought_within_its_budget_is_left_alone() -> None:
    engine, _ = engine_for([*b"hm", END_THINK, *b"answer", IM_END])
    [events] = run(engine, replace(REQUEST, think_tokens=3))
    assert texts(events) == ("hm", "answer")
    assert not any(isinstance(event, ThoughtClosed) for event in events)


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_an_answer_can_be_asked_for_at_any_moment(steps: int) -> None:
    engine, backend = engine_for([*b"thinkin"[: max(0, steps)], *b"answer", IM_END])
    job_id = engine.submit(REQUEST)
    events = [event for _ in range(steps) for _, event in engine.step()]
    events += [event for _, event in engine.answer_now(job_id)]
    while not engine.is_idle:
        events += [event for _, event in engine.step()]
    assert texts(events)[1] == "answer"
    assert ThoughtClosed("asked") in events
    assert engine.answer_now(job_id) == []
    backend.audit_idle()


def test_asking_for_the_answer_while_it_is_given_changes_nothing() -> None:
    engine, _ = engine_for([END_THINK, *b"answer", IM_END])
    job_id = engine.submit(REQUEST)
    events = [event for _ in range(3) for _, event in engine.step()]
    events += [event for _, event in engine.answer_now(job_id)]
    while not engine.is_idle:
        events += [event for _, event in engine.step()]
    assert texts(events) == ("", "answer")


@pytest.mark.parametrize("period", [1, 7, 100])
def test_a_thought_that_goes_round_is_closed_and_answered_from(period: int) -> None:
    cycle = ENDLESS_THOUGHT[:period]
    n_until_seen = period + max(250, 3 * period)
    reply = [*b"so: ", *(cycle[i % period] for i in range(n_until_seen)), *b"answer", IM_END]
    engine, backend = engine_for(reply)
    [events] = run(engine, REQUEST)
    assert texts(events)[1] == "answer"
    assert ThoughtClosed("repetition") in events
    assert end(events).reason == "stop"
    backend.audit_idle()


def test_an_answer_that_goes_round_is_ended_for_that() -> None:
    engine, _ = engine_for([END_THINK, *b"ha" * 1000])
    [events] = run(engine, REQUEST)
    assert end(events).reason == "repetition"
    assert 240 < len(texts(events)[1]) < 260


def test_circles_are_left_alone_where_that_is_asked_for() -> None:
    engine, _ = engine_for([END_THINK, *b"ha" * 300, IM_END])
    [events] = run(engine, replace(REQUEST, stops_repetition=False))
    assert (texts(events)[1], end(events).reason) == ("ha" * 300, "stop")


def test_an_answer_that_outgrows_the_native_context_goes_on_under_yarn() -> None:
    engine, backend = engine_for([*ENDLESS_THOUGHT[:100], END_THINK, *b"answer", IM_END])
    [events] = run(engine, Request((1, 2, 3), 50, n_ctx_yarn=400))
    assert texts(events) == (bytes(ENDLESS_THOUGHT[:100]).decode(), "answer")
    assert [event for event in events if isinstance(event, RopeSwitched)] == [RopeSwitched("yarn")]
    assert (end(events).rope, backend.rope, backend.n_switches) == ("yarn", "yarn", 1)
    backend.audit_idle()


def test_what_is_put_there_may_outgrow_the_native_context_before_a_token_is_read() -> None:
    engine, backend = engine_for([*b"answer", IM_END])
    [events] = run(engine, Request((1,) * 19, 20, n_ctx_yarn=200, think_tokens=0))
    assert texts(events) == ("", "answer")
    assert [event for event in events if isinstance(event, RopeSwitched)] == [RopeSwitched("yarn")]
    assert [entry.position for batch in backend.batches for entry in batch] == [*range(19 + 3 + len(b"answer"))], "each is read once"
    backend.audit_idle()


def test_the_next_short_question_is_native_again() -> None:
    engine, backend = engine_for([*ENDLESS_THOUGHT[:100], IM_END], [*b"b", IM_END])
    run(engine, Request((1, 2, 3), 50, n_ctx_yarn=400))
    [events] = run(engine, Request((1, 2, 3), 50, seed=1, n_ctx_yarn=400))
    assert (end(events).rope, backend.rope, backend.n_switches) == ("native", "native", 2)


def test_many_answers_to_one_prompt_read_it_once() -> None:
    prompt = tuple(range(200))
    replies = [[*b"answer", ord("0") + i, IM_END] for i in range(4)]
    engine, backend = engine_for(*replies, n_sequences=4, n_batch=200)
    all_events = run(engine, *(Request(prompt, 4000, seed=i) for i in range(4)))
    assert [texts(events)[0] for events in all_events] == [f"answer{i}" for i in range(4)]
    n_read = sum(entry.position < 200 for batch in backend.batches for entry in batch)
    assert n_read == 200 + 3, "each of the others reads the last token for its own logits"
    assert [end(events).usage.cached_tokens for events in all_events] == [0, 199, 199, 199]


def test_whom_another_waits_for_may_be_cancelled() -> None:
    prompt = tuple(range(200))
    engine, backend = engine_for([*b"a", IM_END], [*b"b", IM_END], n_batch=16)
    first, _ = engine.submit(Request(prompt, 4000)), engine.submit(Request(prompt, 4000, seed=1))
    engine.step()
    engine.cancel(first)
    events: list[Event] = []
    while not engine.is_idle:
        events += [event for _, event in engine.step()]
    assert texts(events)[0] == "b"
    backend.audit_idle()


def test_when_the_cache_is_full_the_youngest_waits_and_comes_back() -> None:
    replies = [[*ENDLESS_THOUGHT[:150], END_THINK, ord("0") + i, IM_END] for i in range(3)]
    engine, backend = engine_for(*replies, n_ctx=300, n_cells=400, n_sequences=3)
    all_events = run(engine, *(Request((10 + i, 2, 3), 300, seed=i) for i in range(3)))
    assert [texts(events) for events in all_events] == [(bytes(ENDLESS_THOUGHT[:150]).decode(), str(i)) for i in range(3)]
    assert engine.snapshot().set_aside > 0
    backend.audit_idle()


def test_what_the_next_turn_begins_with_is_read_while_nothing_else_runs() -> None:
    engine, backend = engine_for([*b"a", IM_END], [*b"b", IM_END])
    run(engine, REQUEST)
    history = tuple(range(100))
    engine.preread(history, "native")
    assert engine.is_reading_ahead
    while not engine.is_idle:
        assert engine.step() == []
    n_before = len(backend.batches)
    [events] = run(engine, Request((*history, 7, 8), 4000, seed=1))
    assert end(events).usage.cached_tokens == 100
    assert len(backend.batches[n_before]) == 2
    backend.audit_idle()


def test_a_request_does_not_wait_for_what_is_read_ahead() -> None:
    engine, backend = engine_for([*b"a", IM_END], [*b"b", IM_END])
    engine.preread(tuple(range(1000)), "native")
    engine.step()
    events: list[Event] = []
    job_id = engine.submit(REQUEST)
    while not events or not isinstance(events[-1], Finished):
        events += [event for _, event in engine.step()]
    assert {entry.token for batch in backend.batches[1:] for entry in batch} == {1, 2, 3, ord("a")}
    assert engine.cancel(job_id) == []
    while not engine.is_idle:
        engine.step()
    assert engine.snapshot().used_cells == 1003
    assert sorted(len(tokens) for tokens in backend.sequences) == [3, 1000]
    backend.audit_idle()


def test_reading_ahead_under_the_other_scaling_is_given_up() -> None:
    engine, backend = engine_for()
    engine.preread((1, 2, 3), "yarn")
    engine.step()
    assert engine.is_idle
    assert backend.batches == []


def test_numbers_are_told() -> None:
    engine, _ = engine_for([*b"a", END_THINK, *b"b", IM_END])
    run(engine, REQUEST)
    told = engine.snapshot()
    assert (told.running, told.waiting, told.failed, dict(told.finished)) == (0, 0, 0, {"stop": 1})
    assert (told.prompt_tokens, told.completion_tokens, told.reasoning_tokens) == (3, 4, 2)
    assert told.used_cells == 3, "the prompt stays, the thought goes"


def test_an_answer_that_must_have_a_form_is_given_also_where_the_thought_ends_without_one() -> None:
    engine, backend = engine_for([*b"hm", IM_END, *b"answer", IM_END])
    [events] = run(engine, replace(REQUEST, constraint=Constraint("json_object")))
    assert texts(events) == ("hm" + card.CLOSING_SENTENCE.rstrip("\n"), "answer")
    assert [event for event in events if isinstance(event, ThoughtClosed)] == [ThoughtClosed("ended")]
    assert end(events).reason == "stop"
    backend.audit_idle()
