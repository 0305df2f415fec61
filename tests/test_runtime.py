"""The Python API on the built-in model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local import QwQ as PublicQwQ
from qwq_local import card
from qwq_local.asking import AnswerOptions, Reach
from qwq_local.engine import RopeSwitched, ThoughtClosed
from qwq_local.errors import (
    ConstraintError,
    ContextLengthError,
    EmptyPromptError,
    ModelNotFoundError,
    PromptError,
    QwqError,
    SettingsError,
    TemplateError,
)
from qwq_local.prompt import ChatTemplate, Prompt, Segment
from qwq_local.runtime import Answering, Finished, QwQ, Thinking, ToolCall, _choose_template
from qwq_local.settings import AnswerSettings, RaceSettings, Sampling
from tests.nano.tasks import ADD_TOOL, WEATHER_TOOL
from tests.waiting import wait_until

SUM = "What is 47 + 85?"
LONG = "word " * 600
"""More than the 512 tokens that the demo reads without YaRN."""


@pytest.fixture(scope="module")
def long_demo() -> Iterator[QwQ]:
    with QwQ.load("demo", n_ctx=2048) as qwq:
        yield qwq


def test_a_question_gets_thought_and_answer(demo: QwQ) -> None:
    reply = demo.chat([{"role": "user", "content": SUM}], seed=1)
    assert r"\boxed{132}" in reply.content
    assert reply.reasoning
    assert (reply.model, reply.finish_reason, reply.rope, reply.seed) == ("demo", "stop", "native", 1)
    assert reply.usage.prompt_tokens == len(demo.tokenize(demo.render(SUM)))
    assert 0 < reply.usage.reasoning_tokens < reply.usage.completion_tokens


def test_all_that_can_be_set_of_an_answer_can_be_given_by_name() -> None:
    settable = {field.name for kind in (Sampling, AnswerSettings, RaceSettings) for field in fields(kind)}
    assert settable == AnswerOptions.__optional_keys__ - {"schema", "constraint", "tool_choice", "parallel_tool_calls"}


def test_the_package_gives_the_runtime() -> None:
    assert PublicQwQ is QwQ


@pytest.mark.parametrize("seed", range(3))
def test_chat_and_stream_agree(demo: QwQ, seed: int) -> None:
    reply = demo.chat(SUM, seed=seed)
    *parts, end = demo.stream(SUM, seed=seed)
    assert isinstance(end, Finished)
    assert "".join(part.text for part in parts if isinstance(part, Thinking)) == reply.reasoning
    assert "".join(part.text for part in parts if isinstance(part, Answering)) == reply.content
    assert (end.reason, end.usage, end.seed) == (reply.finish_reason, reply.usage, reply.seed)
    kinds = [type(part) for part in parts]
    assert kinds == sorted(kinds, key=lambda kind: kind is Answering), "the thought comes first"


def test_a_seed_gives_the_same_answer_again_and_others_give_others(demo: QwQ) -> None:
    def wild(seed: int) -> str:
        reply = demo.chat(SUM, seed=seed, max_tokens=20, temperature=3, top_k=0, top_p=1)
        return reply.reasoning + reply.content

    assert wild(7) == wild(7)
    assert len({wild(seed) for seed in range(5)}) > 1


def test_without_a_seed_each_answer_has_its_own_which_is_told(demo: QwQ) -> None:
    first, second = (demo.chat(SUM, max_tokens=20, temperature=3, top_k=0, top_p=1) for _ in range(2))
    assert first.seed != second.seed
    again = demo.chat(SUM, max_tokens=20, temperature=3, top_k=0, top_p=1, seed=first.seed)
    assert (again.reasoning, again.content) == (first.reasoning, first.content)


@pytest.mark.parametrize("max_tokens", [1, 2, 17])
def test_max_tokens_is_exact(demo: QwQ, max_tokens: int) -> None:
    reply = demo.chat(SUM, seed=1, max_tokens=max_tokens)
    assert (reply.finish_reason, reply.usage.completion_tokens) == ("length", max_tokens)
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + max_tokens


def test_a_full_context_ends_an_answer() -> None:
    with QwQ.load("demo", n_ctx=32) as qwq:
        reply = qwq.chat(SUM, seed=1)
    assert (reply.finish_reason, reply.usage.total_tokens) == ("length", 32)


def test_content_and_thought_hold_no_markers(demo: QwQ) -> None:
    for seed in range(5):
        reply = demo.chat('How many r are in "strawberry"?', seed=seed)
        assert "think>" not in reply.content + reply.reasoning
        assert "<|" not in reply.content + reply.reasoning


def test_leaving_a_stream_early_cancels_it_and_the_next_answer_is_right(endless_model: Path) -> None:
    with QwQ.load(str(endless_model), n_ctx=32_000) as qwq:
        for _ in range(2):
            for event in qwq.stream(SUM, seed=1, max_tokens=31_000):
                assert isinstance(event, Thinking)
                break
        reply = qwq.chat(SUM, seed=1, max_tokens=10)
        assert reply.usage.completion_tokens == 10


def test_an_answer_after_a_cancelled_one_is_the_same_as_without(demo: QwQ) -> None:
    alone = demo.chat(SUM, seed=3)
    stream = demo.stream('How many r are in "strawberry"?', seed=5)
    next(stream)
    stream.close()
    after = demo.chat(SUM, seed=3)
    assert (after.reasoning, after.content, after.usage) == (alone.reasoning, alone.content, alone.usage)


def test_a_conversation_with_tools_gives_a_call(demo: QwQ) -> None:
    reply = demo.chat([{"role": "user", "content": "What is the weather in Paris?"}], tools=[WEATHER_TOOL, ADD_TOOL], seed=1)
    assert (reply.content, reply.finish_reason) == ("", "stop")
    assert reply.tool_calls == (ToolCall("get_weather", '{"city": "Paris"}'),)


# What answers teach


class Pupil:
    """What stands for survey.Expectation: it notes what it is told."""

    def __init__(self) -> None:
        self.lessons: list[tuple[int, float, int]] = []

    def learn(self, n_tokens: int, decode_seconds: float, n_filled: int) -> None:
        self.lessons.append((n_tokens, decode_seconds, n_filled))


@pytest.fixture
def pupil(demo: QwQ, monkeypatch: pytest.MonkeyPatch) -> Pupil:
    pupil = Pupil()
    monkeypatch.setattr(demo, "_expectation", pupil)
    return pupil


def test_an_answer_that_ran_alone_teaches_its_speed(demo: QwQ, pupil: Pupil) -> None:
    reply = demo.chat(SUM, seed=1)
    (lesson,) = pupil.lessons
    usage, timings = reply.usage, reply.timings
    assert lesson == (timings.plain_steps, timings.plain_seconds, usage.prompt_tokens + usage.completion_tokens // 2)
    assert timings.plain_steps == usage.completion_tokens - 1, "the first comes of the prompt's step"
    assert 0.5 * timings.decode_seconds < timings.plain_seconds <= timings.decode_seconds
    list(demo.stream(SUM, seed=2))
    assert len(pupil.lessons) == 2


def test_answers_beside_others_and_cancelled_ones_teach_nothing(demo: QwQ, pupil: Pupil) -> None:
    first = demo.stream(SUM, seed=1)
    next(first)
    demo.chat(SUM, seed=2)
    assert [type(event) for event in first][-1] is Finished
    cancelled = demo.stream(SUM, seed=3)
    next(cancelled)
    cancelled.close()
    with pytest.raises(SettingsError):
        demo.chat(SUM, max_tokens=0)
    assert pupil.lessons == []
    demo.chat(SUM, seed=4)
    assert len(pupil.lessons) == 1


def test_the_built_in_model_is_too_small_to_teach(demo: QwQ) -> None:
    assert demo._expectation is None


# Context and scaling


def test_a_prompt_that_does_not_fit_is_refused_with_both_counts(demo: QwQ) -> None:
    n_tokens = len(demo.tokenize(demo.render(LONG)))
    for ask in (demo.chat, lambda messages: list(demo.stream(messages))):
        with pytest.raises(ContextLengthError) as caught:
            ask(LONG)
        assert (caught.value.prompt_tokens, caught.value.n_ctx) == (n_tokens, 512)


@pytest.mark.parametrize(("n_ctx", "rope"), [(2049, "auto"), (2049, "yarn"), (513, "native"), (32_768, "auto")])
def test_a_context_beyond_the_models_longest_is_refused_by_both_numbers(n_ctx: int, rope: Any) -> None:
    longest = 512 if rope == "native" else 2048
    with pytest.raises(SettingsError) as caught:
        QwQ.load("demo", n_ctx=n_ctx, rope=rope)
    assert f"{n_ctx:,}" in str(caught.value)
    assert f"{longest:,}" in str(caught.value)
    assert f"--ctx {longest}" in caught.value.hint


def test_yarn_is_for_what_does_not_fit_without(long_demo: QwQ) -> None:
    short = long_demo.chat(SUM, seed=1)
    assert (short.rope, short.finish_reason) == ("native", "stop")
    long = long_demo.chat(LONG, seed=1, max_tokens=3)
    assert (long.rope, long.usage.completion_tokens) == ("yarn", 3)
    assert long.usage.prompt_tokens > 512
    again = long_demo.chat(SUM, seed=1)
    assert (again.rope, again.content) == ("native", short.content)


def test_a_short_prompt_stays_native_however_long_its_answer_may_become(long_demo: QwQ) -> None:
    assert long_demo.chat(SUM, seed=1, max_tokens=1000).rope == "native"


def test_an_answer_that_outgrows_the_native_context_goes_on_under_yarn(endless_model: Path) -> None:
    with QwQ.load(str(endless_model), n_ctx=2048) as qwq:
        events = list(qwq.stream(SUM, seed=1, max_tokens=700, stops_repetition=False))
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.rope, end.usage.completion_tokens) == ("yarn", 700)
    assert events.count(RopeSwitched("yarn")) == 1


def test_the_thought_can_be_left_out(demo: QwQ) -> None:
    reply = demo.chat(SUM, seed=1, thinks=False)
    assert (reply.reasoning, reply.usage.reasoning_tokens) == ("", 0)
    assert reply.content


@pytest.mark.parametrize("budget", [0, 8, 20])
def test_a_thought_keeps_to_its_budget(demo: QwQ, budget: int) -> None:
    reply = demo.chat(SUM, seed=1, think_tokens=budget)
    closing = len(demo.tokenize(Prompt((Segment(card.CLOSING_SENTENCE),), opens_thinking=False))) if budget else 0
    assert reply.usage.reasoning_tokens == budget + closing + 1
    assert reply.content


def test_an_answer_follows_a_schema_and_its_thought_does_not(demo: QwQ) -> None:
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"], "additionalProperties": False}
    reply = demo.chat(SUM, seed=1, schema=schema, max_tokens=300)
    assert isinstance(json.loads(reply.content)["sum"], int)
    assert "write 2" in reply.reasoning


def test_a_schema_that_cannot_be_is_an_error_of_one_request(demo: QwQ) -> None:
    with pytest.raises(ConstraintError):
        demo.chat(SUM, schema={"type": "nonsense"})
    assert "132" in demo.chat(SUM, seed=1).content


def test_a_tool_can_be_required(demo: QwQ) -> None:
    tools = [WEATHER_TOOL, ADD_TOOL]
    replies = (demo.chat(SUM, tools=tools, tool_choice="required", seed=seed, max_tokens=400) for seed in range(1, 9))
    reply = next(reply for reply in replies if reply.finish_reason == "stop")  # some go round in circles within an argument
    assert reply.tool_calls
    assert {call.name for call in reply.tool_calls} <= {"get_weather", "add"}
    assert all(isinstance(json.loads(call.arguments), dict) for call in reply.tool_calls)


def test_an_answer_can_be_asked_for_while_it_thinks(endless_model: Path) -> None:
    with QwQ.load(str(endless_model), n_ctx=512) as qwq, qwq.stream(SUM, seed=1, stops_repetition=False) as events:
        assert isinstance(next(events), Thinking)
        events.answer_now()
        assert any(event == ThoughtClosed("asked") for event in events)


def test_the_next_turn_finds_its_history_read(demo: QwQ) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": SUM}]
    first = demo.chat(messages, seed=1)
    wait_until(lambda: not (numbers := demo.snapshot()) or not numbers.reading_ahead)
    history = [*messages, {"role": "assistant", "content": first.content}]
    tokens = demo.tokenize(demo._template.render(history, is_history=True))
    second = demo.chat([*history, {"role": "user", "content": "What is 1 + 2?"}], seed=1)
    assert second.usage.cached_tokens >= len(tokens)


def test_chats_are_found_again_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWQ_DATA", str(tmp_path))
    messages = [{"role": "system", "content": "word " * 40}, {"role": "user", "content": SUM}]
    with QwQ.load("demo", n_ctx=512, keeps_chats=True) as qwq:
        assert qwq.chat(messages, seed=1).usage.cached_tokens == 0
    with QwQ.load("demo", n_ctx=512, keeps_chats=True) as qwq:
        again = qwq.chat(messages, seed=1)
    assert again.usage.cached_tokens >= again.usage.prompt_tokens - 3


@pytest.mark.parametrize("rope", ["native", "yarn"])
def test_a_wished_scaling_is_used_as_wished(rope: Any) -> None:
    with QwQ.load("demo", rope=rope) as qwq:
        assert qwq.chat(SUM, seed=1, max_tokens=3).rope == rope


COUNTS = st.integers(1, 3000)


@given(COUNTS, COUNTS, COUNTS)
def test_auto_takes_yarn_exactly_where_the_prompt_needs_it(prompt: int, native: int, n_ctx: int) -> None:
    reach = Reach(native, n_ctx, max(native, n_ctx), "auto")
    if prompt >= n_ctx:
        with pytest.raises(ContextLengthError):
            reach.rope(prompt)
    else:
        assert reach.rope(prompt) == ("native" if prompt < native else "yarn")


@given(st.sampled_from(["native", "yarn"]), COUNTS, COUNTS)
def test_a_scaling_that_was_asked_for_is_taken_whatever_the_length(wish: Any, prompt: int, n_ctx: int) -> None:
    assert Reach(3001, prompt + n_ctx, 3001, wish).rope(min(prompt, 3000)) == wish


# What cannot be


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"messages": ""}, EmptyPromptError),
        ({"messages": []}, EmptyPromptError),
        ({"messages": [{"role": "robot", "content": "x"}]}, PromptError),
        ({"messages": SUM, "max_tokens": 0}, SettingsError),
        ({"messages": SUM, "temperature": -1}, SettingsError),
        ({"messages": SUM, "seed": 2**32}, SettingsError),
        ({"messages": "half a pair: \ud800"}, PromptError),
        ({"messages": [{"role": "system", "content": "\udce9"}, {"role": "user", "content": SUM}]}, PromptError),
    ],
)
def test_what_cannot_be_asked_raises_an_error_of_ours_with_a_hint(demo: QwQ, arguments: dict[str, Any], error: type[QwqError]) -> None:
    for ask in (demo.chat, lambda **rest: list(demo.stream(**rest))):
        with pytest.raises(error) as caught:
            ask(**arguments)
        assert caught.value.hint


def test_no_model_and_a_missing_one_are_told() -> None:
    for name in (None, "no/such/model.gguf"):
        with pytest.raises(ModelNotFoundError) as caught:
            QwQ.load(name)
        assert caught.value.hint


@pytest.mark.parametrize("ask", ["qwq.chat('hi')", "next(qwq.stream('hi'))", "qwq.tokenize(qwq.render('hi'))"])
def test_a_closed_model_refuses_and_its_streams_have_ended(ask: str) -> None:
    """In a process of its own, since what uses freed memory takes its process with it."""
    code = f"""
from contextlib import suppress
from qwq_local import QwQ
from qwq_local.errors import DecodeError
qwq = QwQ.load("demo")
stream = qwq.stream("hi")
next(stream)
qwq.close()
qwq.close()
with suppress(DecodeError):
    list(stream)
assert list(stream) == []
try:
    {ask}
except DecodeError as error:
    print("refused:", error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("refused:")


def test_loading_tells_its_progress_to_the_end() -> None:
    shares: list[float] = []
    QwQ.load("demo", on_progress=shares.append).close()
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.skipif(os.name != "posix", reason="signals to oneself are POSIX")
def test_an_interrupt_while_loading_reaches_the_caller() -> None:
    told: list[float] = []

    def interrupt(share: float) -> None:
        if not told:
            os.kill(os.getpid(), signal.SIGINT)
        told.append(share)

    with pytest.raises(KeyboardInterrupt):
        QwQ.load("demo", on_progress=interrupt)


def test_any_other_error_of_a_progress_function_reaches_the_caller() -> None:
    def fail(_: float) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        QwQ.load("demo", on_progress=fail)


# The template in the file


@pytest.mark.parametrize(
    "source", ["{% if %}", "{{ x", "{% endfor %}", "{{ x | no_such_filter }}", "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}"]
)
def test_a_broken_template_is_noticed_and_ours_is_used(demo: QwQ, source: str) -> None:
    template, notice = _choose_template(source, demo._vocabulary.markers)
    assert notice.endswith("QwQ's own template is used instead.")
    assert template.render([{"role": "user", "content": SUM}]).text.startswith("<|im_start|>user\n" + SUM)


def test_a_file_without_a_template_gets_ours_without_a_notice(demo: QwQ) -> None:
    template, notice = _choose_template(None, demo._vocabulary.markers)
    assert notice == ""
    assert template.render([{"role": "user", "content": SUM}]) == demo.render(SUM)


@pytest.mark.parametrize("source", ["{{ messages[99].content }}", "{{ 1 / 0 }}", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"])
def test_a_template_that_fails_on_a_conversation_is_an_error_of_ours(source: str) -> None:
    with pytest.raises(TemplateError):
        ChatTemplate(source, ["<|im_start|>"]).render([{"role": "user", "content": SUM}])
