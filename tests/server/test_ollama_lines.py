"""The lines of an answer in Ollama's format, event by event."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qwq_local.engine import Answering, Failed, Finished, Timings, ToolCallDelta, ToolCallDropped, ToolCallStarted, Usage
from qwq_local.errors import WorkerDiedError
from qwq_local.server.answers import Answers, Ask
from qwq_local.server.ollama.answers import LineWriter
from qwq_local.server.ollama.lines import Begun, arguments_of, chat_piece, generate_piece
from qwq_local.server.streaming import as_json


class Written:
    """A writer and the lines that it has written; `answers` are only asked for the model's name."""

    def __init__(self, piece: Any = chat_piece) -> None:
        answers = Answers(Ask(), "QwQ-32B:Q4_K_M", (), lambda: None)
        self.writer = LineWriter(Begun(answers, piece, asked_at=0, load_duration=0, has_logprobs=False))

    def after(self, *events: Any) -> list[Any]:
        """The lines that these events come to."""
        return [json.loads(line) for event in events for line in self.writer.write(0, event).splitlines()]


def calls(line: Any) -> list[tuple[int, str, Any]]:
    told = [call["function"] for call in line["message"].get("tool_calls", ())]
    return [(call["index"], call["name"], call["arguments"]) for call in told]


def test_calls_are_counted_and_each_is_told_with_what_follows_it() -> None:
    written = Written()
    assert written.after(ToolCallStarted(0, "add"), ToolCallDelta(0, '{"a": ')) == []
    assert written.after(ToolCallDelta(0, "1}")) == []
    assert [calls(line) for line in written.after(ToolCallStarted(1, "now"))] == [[(0, "add", {"a": 1})]]
    second, text = written.after(Answering("Both."))
    assert (calls(second), calls(text), text["message"]["content"]) == ([(1, "now", {})], [], "Both.")


def test_a_call_that_proves_to_be_none_is_not_told() -> None:
    written = Written()
    (line,) = written.after(ToolCallStarted(0, "add"), ToolCallDelta(0, '{"a": 1'), ToolCallDropped(0), Answering("<tool_call>…"))
    assert line["message"] == {"role": "assistant", "content": "<tool_call>…"}


@pytest.mark.parametrize(("reason", "told"), [("stop", "stop"), ("length", "length"), ("repetition", "length")])
def test_the_last_line_tells_why_and_in_nanoseconds_how_long(reason: Any, told: str) -> None:
    end = Finished(reason, Usage(20, 59, 40), Timings(0.5, 0.25, 2.0), "native", 1)
    (line,) = Written().after(end)
    assert (line["done"], line["done_reason"], line["model"]) == (True, told, "QwQ-32B:Q4_K_M")
    assert (line["prompt_eval_count"], line["prompt_eval_duration"]) == (20, 250_000_000)
    assert (line["eval_count"], line["eval_duration"]) == (59, 2_000_000_000)


def test_an_error_on_the_way_is_the_last_line() -> None:
    assert Written().after(Failed(WorkerDiedError("It died.", hint="Ask again."))) == [{"error": "It died. Ask again."}]


@pytest.mark.parametrize("piece", [chat_piece, generate_piece])
def test_while_there_is_nothing_an_empty_line_is_told(piece: Any) -> None:
    line = json.loads(Written(piece).writer.keep_alive())
    assert (line["done"], line.get("response", line.get("message"))) in [(False, ""), (False, {"role": "assistant", "content": ""})]


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{"a": 1, "b": [1.5, null, "ü"]}', {"a": 1, "b": [1.5, None, "ü"]}),
        ('{"half": "\\ud800"}', {"half": "\ufffd"}),
        ('{"huge": 1e999, "long": ' + "9" * 5000 + "}", {"huge": "1e999", "long": "9" * 5000}),
    ],
)
def test_arguments_are_an_object_that_can_be_sent(text: str, arguments: Any) -> None:
    assert arguments_of(text) == arguments
    assert json.loads(as_json({"a": arguments_of(text)}).encode()) == {"a": arguments}


def test_arguments_that_are_nested_very_deeply_end_as_text() -> None:
    found: Any = arguments_of('{"a": ' + "[" * 300 + "]" * 300 + "}")
    assert json.loads(as_json(found)) == found
    while isinstance(found, dict | list):
        found = found["a"] if isinstance(found, dict) else found[0]
    assert set(found) == {"[", "]"}
