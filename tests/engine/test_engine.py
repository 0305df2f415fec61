"""The engine on a fake backend: every request ends exactly once with its own answer, nobody starves, and the books balance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count, groupby
from types import MappingProxyType
from typing import TypedDict, Unpack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwq_local import card
from qwq_local.backend import InterruptedDecodeError, Rope
from qwq_local.engine import Answering, Engine, EngineSettings, Event, Failed, Finished, Request, Thinking
from qwq_local.engine.engine import JobEvent
from qwq_local.errors import ContextLengthError, DecodeError
from tests.fakes import END_OF_TEXT, END_THINK, IM_END, THINK, FakeBackend, FakeVocabulary

ENDS = FakeVocabulary.end_tokens
CLOSING = (*card.CLOSING_SENTENCE.encode(), END_THINK, *b"\n\n")


@dataclass(frozen=True)
class Plan:
    """A request with the reply it will draw, and the steps at which it comes and is cancelled."""

    prompt: tuple[int, ...] = (1, 2, 3)
    reply: tuple[int, ...] = (*b"thought", END_THINK, *b"answer", IM_END)
    n_ctx: int = 64
    rope: Rope = "native"
    opens_thinking: bool = True
    max_tokens: int | None = None
    comes_at: int = 0
    cancelled_at: int | None = None
    n_ctx_yarn: int = 0
    think_tokens: int | None = None

    def request(self, seed: int) -> Request:
        return Request(
            self.prompt,
            self.n_ctx,
            self.rope,
            self.opens_thinking,
            seed=seed,
            max_tokens=self.max_tokens,
            n_ctx_yarn=self.n_ctx_yarn,
            think_tokens=self.think_tokens,
        )


@dataclass(frozen=True)
class Outcome:
    """What a plan comes to, taken together from its events."""

    thought: str
    answer: str
    reason: str
    completion_tokens: int
    reasoning_tokens: int


def expected(plan: Plan, n_ctx: int) -> Outcome:
    """The same by hand: without slots, batches and steps."""
    room = min(max(plan.n_ctx, plan.n_ctx_yarn), n_ctx) - len(plan.prompt)
    limit = min(room, plan.max_tokens or room)
    is_thinking, n_drawn, written = plan.opens_thinking, 0, list[tuple[bool, int]]()
    drawn = iter([*plan.reply, IM_END])
    forced = [END_THINK, 10, 10] if is_thinking and plan.think_tokens == 0 else []
    while len(written) < limit:
        token = forced.pop(0) if forced else next(drawn)
        written.append((is_thinking, token))
        if token in ENDS:
            break
        n_drawn += is_thinking and not forced
        is_thinking = {THINK: True, END_THINK: False}.get(token, is_thinking)
        if is_thinking and not forced and n_drawn == plan.think_tokens:
            forced = [*CLOSING]
    texts = {True: "", False: ""}
    for is_thought, run in groupby(written, key=lambda pair: pair[0]):
        texts[is_thought] += bytes(token for _, token in run if token < 256).decode("utf-8", "replace").strip("\n")
    n_thought = sum(is_thought for is_thought, token in written if token not in ENDS)
    return Outcome(texts[True], texts[False], "stop" if written[-1][1] in ENDS else "length", len(written), n_thought)


def outcome(events: Iterable[Event]) -> Outcome:
    *parts, end = events
    assert isinstance(end, Finished)
    thought = "".join(part.text for part in parts if isinstance(part, Thinking))
    answer = "".join(part.text for part in parts if isinstance(part, Answering))
    return Outcome(thought, answer, end.reason, end.usage.completion_tokens, end.usage.reasoning_tokens)


class Shape(TypedDict, total=False):
    """The sizes of a backend, in tokens and in sequences."""

    n_ctx: int
    n_batch: int
    n_sequences: int
    n_cells: int


def backend_for(plans: list[Plan], faults: Mapping[int, Exception] = MappingProxyType({}), **shape: Unpack[Shape]) -> FakeBackend:
    return FakeBackend([plan.reply for plan in plans], faults=faults, **shape)


def draft_for(backend: FakeBackend, wrong_at: int, faults: Mapping[int, Exception] = MappingProxyType({})) -> FakeBackend:
    """A draft model that knows what will be written, but each `wrong_at`-th token."""
    return FakeBackend(
        n_ctx=backend.n_ctx, n_batch=20, n_sequences=backend.n_sequences, n_cells=backend.n_cells, wrong_at=wrong_at, faults=faults
    )


def run(
    backend: FakeBackend, plans: list[Plan], n_faults: int = 0, ahead: Mapping[int, tuple[int, ...]] = MappingProxyType({})
) -> list[list[Event]]:
    """The events of each plan. Each step with work reads a token at least, so there is a bound to their number.

    After each, the engine's books must agree with what the backend holds. `ahead` are texts to read ahead, by the step at which they come.
    By its clock a step of many tokens takes as long as one of few, so that all guesses are worth reading.
    """
    engine = Engine(backend, EngineSettings(spill_bytes=2000), clock=count().__next__)
    events: list[list[Event]] = [[] for _ in plans]
    ids: dict[int, int] = {}
    steps = sum(len(plan.prompt) + expected(plan, backend.n_ctx).completion_tokens for plan in plans) + n_faults
    steps = 20 * steps + max(plan.comes_at for plan in plans) + 1  # who is set aside is read again
    steps += sum(map(len, ahead.values()))
    for step in range(steps):
        ids |= {engine.submit(plan.request(seed)): seed for seed, plan in enumerate(plans) if plan.comes_at == step}
        happened: list[JobEvent] = []
        engine.preread(ahead.get(step, ()), "native")
        for job_id, seed in ids.items():
            if plans[seed].cancelled_at == step:
                happened += engine.cancel(job_id)
        for job_id, event in [*happened, *engine.step()]:
            events[ids[job_id]].append(event)
        assert engine.snapshot().used_cells == backend.used_cells
        if len(ids) == len(plans) and engine.is_idle:
            engine.audit()
            return events
    raise AssertionError(f"after {steps} steps somebody still waits")


def ends_once(events: list[Event]) -> bool:
    return [isinstance(event, Finished | Failed) for event in events] == [False] * (len(events) - 1) + [True]


TOKENS = st.sampled_from([*b"ab\n", *"é😀".encode(), THINK, END_THINK, IM_END, END_OF_TEXT]) | st.integers(0, 255)
PLANS = st.lists(
    st.builds(
        Plan,
        prompt=st.lists(st.integers(0, 255), min_size=1, max_size=30).map(tuple),
        reply=st.lists(TOKENS, max_size=25).map(tuple),
        n_ctx=st.integers(31, 80),
        rope=st.sampled_from(["native", "native", "yarn"]),
        n_ctx_yarn=st.sampled_from([0, 0, 50]),
        think_tokens=st.none() | st.sampled_from([0, 1, 3, 8]),
        opens_thinking=st.booleans(),
        max_tokens=st.none() | st.integers(1, 30),
        comes_at=st.integers(0, 20),
        cancelled_at=st.none() | st.integers(0, 60),
    ),
    min_size=1,
    max_size=8,
)
UNDISTURBED = PLANS.map(lambda plans: [replace(plan, cancelled_at=None) for plan in plans])
AHEAD = st.dictionaries(st.integers(0, 40), st.lists(st.integers(0, 255), min_size=1, max_size=30).map(tuple), max_size=4)
SHAPES = st.fixed_dictionaries(
    {"n_ctx": st.integers(31, 64), "n_batch": st.integers(1, 20), "n_sequences": st.integers(1, 4), "n_cells": st.integers(64, 140)}
)


@settings(max_examples=500)
@given(PLANS, SHAPES, st.sets(st.integers(1, 60), max_size=6), AHEAD, st.none() | st.integers(0, 4), st.integers(1, 20))
def test_every_request_ends_once_with_its_own_answer(
    plans: list[Plan],
    shape: Shape,
    interrupts: set[int],
    ahead: dict[int, tuple[int, ...]],
    wrong_at: int | None,
    n_outputs: int,
) -> None:
    backend = backend_for(plans, {number: InterruptedDecodeError() for number in interrupts}, **shape)
    backend.n_outputs = max(n_outputs, backend.n_sequences)
    backend.draft = None if wrong_at is None else draft_for(backend, wrong_at)
    for plan, events in zip(plans, run(backend, plans, len(interrupts), ahead), strict=True):
        assert ends_once(events)
        got, whole = outcome(events), expected(plan, backend.n_ctx)
        if got.reason == "cancelled":
            assert plan.cancelled_at is not None
            assert got.completion_tokens <= whole.completion_tokens
        else:
            assert got == whole
    for seed, prompt in backend.prompts_read.items():
        assert prompt[: len(plans[seed].prompt)] == plans[seed].prompt
    backend.audit_idle()
    if backend.draft:
        backend.draft.audit_idle()


@settings(max_examples=150)
@given(PLANS, SHAPES, st.sets(st.integers(1, 60), min_size=1, max_size=4))
def test_a_decode_error_ends_those_in_its_batch_and_no_other(plans: list[Plan], shape: Shape, failing: set[int]) -> None:
    faults: dict[int, Exception] = {number: DecodeError(str(number)) for number in failing}
    backend = backend_for(plans, faults, **shape)
    results = run(backend, plans, len(failing))
    for plan, events in zip(plans, results, strict=True):
        assert ends_once(events)
        end = events[-1]
        if isinstance(end, Failed):
            assert end.error in faults.values()
        elif isinstance(end, Finished) and end.reason != "cancelled":
            assert outcome(events) == expected(plan, backend.n_ctx)
    for number in failing:
        in_batch = {entry.sequence for entry in backend.batches[number - 1]} if number <= len(backend.batches) else set()
        assert sum(isinstance(events[-1], Failed) and events[-1].error is faults[number] for events in results) == len(in_batch)
    backend.audit_idle()


@settings(max_examples=100)
@given(UNDISTURBED, SHAPES)
def test_an_answer_is_the_same_alone_and_in_company(plans: list[Plan], shape: Shape) -> None:
    together = [outcome(events) for events in run(backend_for(plans, **shape), plans)]
    alone = [outcome(run(backend_for([plan], **shape), [plan])[0]) for plan in plans]
    assert together == alone


@given(UNDISTURBED, SHAPES)
def test_requests_are_admitted_in_the_order_in_which_they_came(plans: list[Plan], shape: Shape) -> None:
    marked = [replace(plan, prompt=(100 + seed, *plan.prompt), reply=(), n_ctx=64, think_tokens=None) for seed, plan in enumerate(plans)]
    backend = backend_for(marked, **(shape | {"n_ctx": 64}))
    run(backend, marked)
    begun = [entry.token - 100 for batch in backend.batches for entry in batch if entry.position == 0]
    assert list(dict.fromkeys(begun)) == sorted(range(len(plans)), key=lambda seed: plans[seed].comes_at)


@given(UNDISTURBED, SHAPES)
def test_slots_are_not_left_empty_while_someone_waits_for_them(plans: list[Plan], shape: Shape) -> None:
    # With room for each: one that has none, or whose only token closes its thought, ends before anything is read.
    same = [replace(plan, rope="native", comes_at=0, n_ctx=4096, max_tokens=None, think_tokens=None) for plan in plans]
    backend = backend_for(same, n_ctx=4096, n_batch=512, n_sequences=shape["n_sequences"])
    run(backend, same)
    assert len({entry.sequence for entry in backend.batches[0]}) == min(len(same), backend.n_sequences)


def test_a_long_prompt_does_not_keep_others_from_their_next_token() -> None:
    talker, reader = Plan(reply=tuple(b"talking on and on")), Plan(prompt=(7,) * 50, comes_at=2)
    backend = backend_for([talker, reader], n_batch=4)
    run(backend, [talker, reader])
    shared = [batch for batch in backend.batches if any(entry.token == 7 for entry in batch)]
    assert len(shared) > 5
    assert all(any(entry.token != 7 and entry.wants_logits for entry in batch) for batch in shared if len(batch) == 4)
    reads = [sum(entry.token == 7 for entry in batch) for batch in shared[:-1]]
    assert set(reads) == {3}, "what the talker leaves of a batch is filled with the prompt"


def test_a_request_of_another_scaling_gets_its_turn_before_those_behind_it() -> None:
    plans = [Plan(), Plan(rope="yarn"), Plan(), Plan(rope="yarn", comes_at=5)]
    backend = backend_for(plans, n_sequences=4)
    run(backend, plans)
    assert backend.seeds == [0, 1, 2, 3]
    assert backend.n_switches == 3


def test_an_interrupt_loses_nothing_that_was_read_before() -> None:
    plan = Plan(prompt=tuple(range(20)))
    backend = backend_for([plan], {2: InterruptedDecodeError()}, n_batch=8)
    assert outcome(run(backend, [plan], 1)[0]) == expected(plan, 64)
    assert [batch[0].position for batch in backend.batches[:4]] == [0, 8, 8, 16]


@pytest.mark.parametrize("end", sorted(ENDS))
def test_both_end_tokens_end_an_answer_and_count(end: int) -> None:
    plan = Plan(reply=(*b"a", END_THINK, *b"b", end, *b"never"))
    [events] = run(backend_for([plan]), [plan])
    assert outcome(events) == Outcome("a", "b", "stop", 4, 2)


def test_an_answer_that_ends_within_its_thought_has_no_content() -> None:
    plan = Plan(reply=(*b"hm", IM_END))
    [events] = run(backend_for([plan]), [plan])
    assert outcome(events) == Outcome("hm", "", "stop", 3, 2)


@pytest.mark.parametrize("max_tokens", [1, 2, 5])
def test_max_tokens_is_exact_and_counts_thoughts(max_tokens: int) -> None:
    plan = Plan(max_tokens=max_tokens)
    [events] = run(backend_for([plan]), [plan])
    assert outcome(events) == Outcome("thought"[:max_tokens], "", "length", max_tokens, max_tokens)


def test_an_end_token_at_the_limit_is_an_end_and_no_cut() -> None:
    plan = Plan(reply=(*b"ab", IM_END), max_tokens=3)
    [events] = run(backend_for([plan]), [plan])
    assert outcome(events).reason == "stop"


@pytest.mark.parametrize(("prompt_length", "n_ctx"), [(58, 64), (63, 64), (9, 10)])
def test_prompt_and_answer_fill_the_context_to_the_last_token(prompt_length: int, n_ctx: int) -> None:
    plan = Plan(prompt=(1,) * prompt_length, n_ctx=n_ctx)
    end = run(backend_for([plan]), [plan])[0][-1]
    assert isinstance(end, Finished)
    assert (end.reason, end.usage.total_tokens) == ("length", n_ctx)


@pytest.mark.parametrize(("prompt_length", "n_ctx", "limit"), [(64, 64, 64), (70, 100, 64), (1234, 40, 40)])
def test_a_prompt_that_leaves_no_room_is_refused_with_both_counts(prompt_length: int, n_ctx: int, limit: int) -> None:
    backend = FakeBackend(n_ctx=64)
    engine = Engine(backend)
    with pytest.raises(ContextLengthError) as caught:
        engine.submit(Request((1,) * prompt_length, n_ctx))
    assert (caught.value.prompt_tokens, caught.value.n_ctx) == (prompt_length, limit)
    assert f"{prompt_length:,}" in str(caught.value)
    assert f"{limit:,}" in str(caught.value)
    assert engine.is_idle
    assert engine.step() == []


def test_usage_counts_prompt_and_completion() -> None:
    plan = Plan()
    end = run(backend_for([plan]), [plan])[0][-1]
    assert isinstance(end, Finished)
    assert end.usage.prompt_tokens == 3
    assert end.usage.total_tokens == 3 + len(plan.reply)
    assert (end.rope, end.seed) == ("native", 0)


def test_cancelling_what_waits_keeps_its_place_from_nobody() -> None:
    plans = [Plan(), Plan(cancelled_at=2), Plan()]
    backend = backend_for(plans, n_sequences=1)
    results = run(backend, plans)
    assert [outcome(events).reason for events in results] == ["stop", "cancelled", "stop"]
    assert list(backend.prompts_read) == [0, 2]
    assert outcome(results[1]).completion_tokens == 0
    backend.audit_idle()


def test_cancelling_in_mid_prompt_frees_the_slot() -> None:
    plans = [Plan(prompt=(1,) * 40, cancelled_at=2), Plan(comes_at=1)]
    backend = backend_for(plans, n_sequences=1, n_batch=4)
    assert [outcome(events).reason for events in run(backend, plans)] == ["cancelled", "stop"]
    backend.audit_idle()


def test_cancelling_shows_what_was_held_back() -> None:
    plan = Plan(reply=tuple("a😀".encode()), cancelled_at=3)
    [events] = run(backend_for([plan]), [plan])
    assert outcome(events) == Outcome("a\ufffd", "", "cancelled", 3, 3)


def test_cancelling_what_has_ended_does_nothing() -> None:
    engine = Engine(FakeBackend())
    job_id = engine.submit(Request((1, 2), 64))
    while not engine.is_idle:
        engine.step()
    assert engine.cancel(job_id) == []
    assert engine.cancel(99) == []


def test_failing_all_reaches_the_waiting_too() -> None:
    backend = FakeBackend(n_sequences=1)
    engine = Engine(backend)
    ids = [engine.submit(Request((1, 2), 64)) for _ in range(3)]
    engine.step()
    error = RuntimeError("gone")
    assert engine.fail_all(error) == [(job_id, Failed(error)) for job_id in ids]
    assert engine.is_idle
    backend.audit_idle()


def test_times_are_told_from_handing_in() -> None:
    clock = map(float, count())
    engine = Engine(FakeBackend(n_batch=4), clock=lambda: next(clock))
    engine.submit(Request((1,) * 10, 64))
    events: list[JobEvent] = []
    while not engine.is_idle:
        events += engine.step()
    end = events[-1][1]
    assert isinstance(end, Finished)
    assert end.timings.queued_seconds > 0
    assert end.timings.prefill_seconds > 0
    assert end.timings.decode_seconds > 0
    assert end.timings.first_token_seconds == end.timings.queued_seconds + end.timings.prefill_seconds
