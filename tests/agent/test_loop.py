"""The agent's loop, on answers and tools that are made up."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import Any

import pytest

from qwq_local.agent import MAX_ROUNDS, AgentEvent, Record, RoundsSpent, ToolAnswered, ToolCalled, ToolResult, run_agent
from qwq_local.answering import AnswerStream, ToolCall
from qwq_local.asking import Tools
from qwq_local.engine import (
    Answering,
    Event,
    Failed,
    Finished,
    FinishReason,
    Snapshot,
    Thinking,
    Timings,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
)
from qwq_local.errors import DecodeError, ToolServerError
from qwq_local.prompt import Message
from qwq_local.worker import Stream

QUESTION = {"role": "user", "content": "How warm is it?"}


class FakeEngine:
    """Answers nothing by itself: its streams are filled beforehand."""

    def submit(self, request: Any) -> Stream:
        raise NotImplementedError

    def cancel(self, stream: Stream) -> None:
        pass

    def answer_now(self, stream: Stream) -> None:
        pass

    def preread(self, tokens: Any, rope: Any) -> None:
        pass

    def snapshot(self) -> Snapshot | None:
        return None

    def close(self) -> None:
        pass


class FakeQwQ:
    """Gives the answers of a script, one after the other, and notes what it was asked."""

    def __init__(self, *answers: Sequence[Event], n_ctx: int = 1000) -> None:
        self.n_ctx = n_ctx
        self.asked: list[dict[str, Any]] = []
        self._answers = list(answers)

    def stream(self, messages: Sequence[Message], *, tools: Tools | None = None, **options: Any) -> AnswerStream:
        self.asked.append({"messages": list(messages), "tools": tools, **options})
        engine = FakeEngine()
        stream = Stream(engine)
        for event in self._answers.pop(0):
            stream.put(event)
        return AnswerStream(stream, lambda end, gathered: None, ExitStack(), 1)  # noqa: ARG005 - nobody waits for the end


class FakeToolbox:
    """Tools that are functions of their arguments."""

    def __init__(self, **functions: Callable[[Any], str | ToolResult]) -> None:
        self._functions = functions
        self.tools: Tools = [{"type": "function", "function": {"name": name}} for name in functions]

    def call(self, name: str, arguments: str) -> ToolResult:
        result = self._functions[name](json.loads(arguments))
        return ToolResult(result) if isinstance(result, str) else result


def finished(reason: FinishReason = "stop") -> Finished:
    return Finished(reason, Usage(10, 5, 3, 1), Timings(0.5, 1.0, 2.0), "native", 7)


def calling(*calls: tuple[str, str], text: str = "", reason: FinishReason = "stop") -> list[Event]:
    """An answer that calls tools, with arguments as JSON."""
    events: list[Event] = [Thinking("hm"), *([Answering(text)] if text else [])]
    for index, (name, arguments) in enumerate(calls):
        events += [ToolCallStarted(index, name), ToolCallDelta(index, arguments)]
    return [*events, finished(reason)]


def saying(text: str) -> list[Event]:
    return [Thinking("so"), Answering(text), finished()]


def yes(_: ToolCall) -> bool:
    return True


def run(
    qwq: FakeQwQ, toolbox: FakeToolbox, *, allow: Callable[[ToolCall], bool] = yes, **more: Any
) -> tuple[list[AgentEvent], list[Message]]:
    """The events of a whole loop, and the history that it leaves."""
    history: list[Message] = [QUESTION]
    return list(run_agent(qwq, history, toolbox, allow=allow, **more)), history


def results(events: Sequence[AgentEvent]) -> list[ToolResult]:
    return [event.result for event in events if isinstance(event, ToolAnswered)]


def test_an_answer_without_calls_ends_the_loop() -> None:
    qwq = FakeQwQ(saying("20C"))
    events, history = run(qwq, FakeToolbox(weather=lambda _: "20C"))
    assert events == saying("20C")
    assert history == [QUESTION, {"role": "assistant", "content": "20C"}]
    assert qwq.asked[0]["tools"] == [{"type": "function", "function": {"name": "weather"}}]


def test_a_call_is_reported_run_and_answered_from() -> None:
    qwq = FakeQwQ(calling(("weather", '{"city": "Oslo"}'), text="I look."), saying("20C in Oslo"))
    events, history = run(qwq, FakeToolbox(weather=lambda arguments: f"20C in {arguments['city']}"), temperature=0.5)
    call = ToolCall("weather", '{"city": "Oslo"}')
    between = [ToolCalled(call), ToolAnswered(call, ToolResult("20C in Oslo"))]
    assert events == [*calling(("weather", call.arguments), text="I look."), *between, *saying("20C in Oslo")]
    wanted = [{"type": "function", "function": {"name": "weather", "arguments": call.arguments}}]
    assert history == [
        QUESTION,
        {"role": "assistant", "content": "I look.", "tool_calls": wanted},
        {"role": "tool", "content": "20C in Oslo"},
        {"role": "assistant", "content": "20C in Oslo"},
    ]
    assert qwq.asked[1]["messages"] == history[:3]
    assert [asked["temperature"] for asked in qwq.asked] == [0.5, 0.5]
    assert qwq.asked[1]["seed"] == 7


def test_all_calls_of_an_answer_are_run_in_their_order() -> None:
    qwq = FakeQwQ(calling(("a", '{"x": 1}'), ("b", "{}"), ("a", '{"x": 2}')), saying("done"))
    events, history = run(qwq, FakeToolbox(a=lambda arguments: f"a{arguments['x']}", b=lambda _: "b"))
    assert results(events) == [ToolResult("a1"), ToolResult("b"), ToolResult("a2")]
    assert [message["content"] for message in history if message["role"] == "tool"] == ["a1", "b", "a2"]


def test_an_unknown_tool_is_told_to_the_model_and_nobody_is_asked() -> None:
    asked: list[ToolCall] = []

    def allow(call: ToolCall) -> bool:
        asked.append(call)
        return True

    events, history = run(FakeQwQ(calling(("wether", "{}")), saying("sorry")), FakeToolbox(weather=lambda _: "20C"), allow=allow)
    assert results(events) == [ToolResult("There is no tool 'wether'. There are: weather.", is_error=True)]
    assert history[2] == {"role": "tool", "content": "Error: There is no tool 'wether'. There are: weather."}
    assert asked == []


def test_a_refused_call_is_not_run_and_the_model_is_told() -> None:
    def run_anyway(_: Any) -> str:
        raise AssertionError("it was refused")

    box = FakeToolbox(weather=run_anyway)
    events, _ = run(FakeQwQ(calling(("weather", "{}")), saying("then not")), box, allow=lambda _: False)
    assert results(events) == [ToolResult("The user did not allow this call.", is_error=True)]
    assert events[-2:] == saying("then not")[-2:]


def test_a_failing_tool_and_a_failing_server_are_results() -> None:
    def gone(_: Any) -> str:
        raise ToolServerError("The MCP server weather has failed.", hint="Look.")

    box = FakeToolbox(bad=lambda _: ToolResult("no luck", is_error=True), gone=gone)
    events, history = run(FakeQwQ(calling(("bad", "{}"), ("gone", "{}")), saying("well")), box)
    assert results(events) == [ToolResult("no luck", is_error=True), ToolResult("The MCP server weather has failed.", is_error=True)]
    assert [message["content"] for message in history[2:4]] == ["Error: no luck", "Error: The MCP server weather has failed."]


def test_the_rounds_are_bounded_and_the_last_answer_calls_none() -> None:
    qwq = FakeQwQ(*[calling(("again", "{}"))] * 3, saying("enough"))
    events, history = run(qwq, FakeToolbox(again=lambda _: "and again"), max_rounds=3)
    assert [
        type(event) for event in events if not isinstance(event, Thinking | Answering | ToolCallStarted | ToolCallDelta | Finished)
    ] == [
        *[ToolCalled, ToolAnswered] * 3,
        RoundsSpent,
    ]
    assert [asked.get("tool_choice") for asked in qwq.asked] == [None, None, None, "none"]
    assert history[-1] == {"role": "assistant", "content": "enough"}
    assert MAX_ROUNDS == 20


@pytest.mark.parametrize(("n_calls", "n_kept"), [(1, 1000), (2, 500)])
def test_an_enormous_result_is_shortened_and_says_by_how_much(n_calls: int, n_kept: int) -> None:
    text = "a" * 5000 + "b" * 5000
    events, history = run(FakeQwQ(calling(*[("read", "{}")] * n_calls), saying("long")), FakeToolbox(read=lambda _: text))
    shown = results(events)[0].text
    assert history[2]["content"] == shown
    first, last = n_kept * 2 // 3, n_kept - n_kept * 2 // 3
    assert shown == "a" * first + f"\n[… {10_000 - n_kept:,} of 10,000 characters left out …]\n" + "b" * last


def test_an_answer_that_was_cut_short_calls_nothing() -> None:
    qwq = FakeQwQ(calling(("weather", "{}"), text="I look.", reason="length"))
    events, history = run(qwq, FakeToolbox(weather=lambda _: "20C"))
    assert results(events) == []
    assert history == [QUESTION, {"role": "assistant", "content": "I look."}]


def test_an_empty_answer_leaves_nothing_in_the_history() -> None:
    _, history = run(FakeQwQ([Thinking("hm"), finished("length")]), FakeToolbox())
    assert history == [QUESTION]


def test_a_loop_left_in_mid_answer_keeps_what_was_said() -> None:
    history: list[Message] = [QUESTION]
    with closing(run_agent(FakeQwQ(saying("20C, I think")), history, FakeToolbox(), allow=yes)) as events:
        for event in events:
            if isinstance(event, Answering):
                break
    assert history == [QUESTION, {"role": "assistant", "content": "20C, I think"}]


def test_a_loop_interrupted_in_mid_call_has_a_result_for_each_call() -> None:
    def interrupted(_: Any) -> str:
        raise KeyboardInterrupt

    history: list[Message] = [QUESTION]
    qwq = FakeQwQ(calling(("good", "{}"), ("bad", "{}"), ("good", "{}")))
    with pytest.raises(KeyboardInterrupt):
        list(run_agent(qwq, history, FakeToolbox(good=lambda _: "fine", bad=interrupted), allow=yes))
    interruption = "Error: The user interrupted before this call was done."
    assert [message["content"] for message in history[2:]] == ["fine", interruption, interruption]


def test_an_error_of_the_model_is_raised() -> None:
    with pytest.raises(DecodeError):
        run(FakeQwQ([Thinking("hm"), Failed(DecodeError("broken"))]), FakeToolbox())


def test_a_record_makes_one_reply_of_all_answers() -> None:
    qwq = FakeQwQ(calling(("weather", "{}"), text="I look."), saying("20C"))
    record = Record()
    for event in run(qwq, FakeToolbox(weather=lambda _: "20C"))[0]:
        record.add(event)
    whole = record.reply("demo")
    assert (whole.reply.reasoning, whole.reply.content) == ("hm\n\nso", "I look.\n\n20C")
    assert (whole.reply.usage, whole.reply.timings) == (Usage(20, 10, 6, 2), Timings(1.0, 2.0, 4.0))
    assert (whole.reply.model, whole.reply.finish_reason, whole.reply.seed) == ("demo", "stop", 7)
    assert whole.calls == (ToolAnswered(ToolCall("weather", "{}"), ToolResult("20C")),)
