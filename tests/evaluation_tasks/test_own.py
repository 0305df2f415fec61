"""Our own format: the examples of its page, and every slip that a line can have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from qwq_local import card
from qwq_local.evaluation.formats.own import WANTS
from qwq_local.evaluation.question import Question
from qwq_local.evaluation.tasks import FORMATS, read_tasks
from qwq_local.grading import (
    CallTest,
    Instruction,
    StdinTest,
    WantsCalls,
    WantsChoice,
    WantsCode,
    WantsInstructions,
    WantsMaths,
    WantsPattern,
    WantsText,
)

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text("utf-8")
EXAMPLES = re.findall(r"```json\n(\{.*\})\n```", PAGE)
TOOL = {"type": "function", "function": {"name": "f"}}


def read(tmp_path: Path, line: dict[str, Any]) -> Question:
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(line) + "\n", "utf-8")
    return read_tasks(str(path), strict=True).questions[0]


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Question]:
    path = tmp_path_factory.mktemp("own") / "examples.jsonl"
    path.write_text("\n".join(EXAMPLES), "utf-8")
    return {question.name: question for question in read_tasks(str(path), strict=True).questions}


def test_the_pages_examples_are_read_as_it_says(examples: dict[str, Question]) -> None:
    calls = {"city": ("Paris", "Paris, France"), "unit": ("", "celsius")}
    words = Instruction("length_constraints:number_words", {"relation": "at least", "num_words": 20})
    assert {name: question.wanted for name, question in examples.items()} == {
        "half": WantsMaths(r"\frac{1}{4}"),
        "legs": WantsChoice("C"),
        "capital": WantsText(("Paris", "Paris, France")),
        "date": WantsPattern(r"\b1969-07-20\b"),
        "double": WantsCode(function="double", call_tests=(CallTest((2,), 4),), seconds=5.0),
        "echo": WantsCode(stdin_tests=(StdinTest("hello\n", "hello\n"),)),
        "square": WantsCode(check="assert math.isclose(square(1.5), 2.25)", prelude="import math"),
        "tea": WantsInstructions((Instruction("punctuation:no_comma", {}), words)),
        "weather": WantsCalls((("get_weather", calls),)),
        "no-call": WantsCalls(()),
    }
    assert [message["role"] for message in examples["no-call"].messages] == ["system", "user"]
    assert examples["legs"].group == "animals"


def test_the_page_has_an_example_of_every_way_of_grading_and_names_every_format(examples: dict[str, Question]) -> None:
    assert len(examples) == len(EXAMPLES) == PAGE.count("```json")
    for want in WANTS:
        assert any(f'"{want}":' in example for example in EXAMPLES), want
    assert set(re.findall(r"^\| `(\w+)` \| [^|]* \| [^|]* \|$", PAGE, re.MULTILINE)) == set(FORMATS)


def test_a_question_stands_as_it_is_unless_the_instruction_is_asked_for(tmp_path: Path) -> None:
    assert read(tmp_path, {"prompt": "1 + 1?", "maths": 2}).messages[0]["content"] == "1 + 1?"
    asked = read(tmp_path, {"prompt": "1 + 1?", "maths": 2, "instruct": True})
    assert asked.messages[0]["content"] == f"1 + 1?\n{card.MATH_INSTRUCTION}"
    chosen = read(tmp_path, {"prompt": "A) 1 or B) 2?", "choice": "b", "instruct": True})
    assert chosen.messages[0]["content"] == f"A) 1 or B) 2?\n{card.CHOICE_INSTRUCTION}"
    assert chosen.wanted == WantsChoice("B")
    assert read(tmp_path, {"prompt": "?", "choice": "G"}).wanted == WantsChoice("G", "ABCDEFG")


def test_the_instruction_goes_to_what_the_user_said_last(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    question = read(tmp_path, {"system": "s", "messages": messages, "choices": [1, 2.5], "choice": "A"})
    assert [message["content"] for message in question.messages] == ["s", "a", "b", f"c\nA) 1\nB) 2.5\n{card.CHOICE_INSTRUCTION}"]


def test_a_conversation_may_end_with_what_a_tool_said(tmp_path: Path) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "", "tool_call_id": "1"},
    ]
    question = read(tmp_path, {"messages": messages, "tools": [TOOL], "text": "x"})
    assert (list(question.messages), list(question.tools)) == (messages, [TOOL])


MESSAGE = {"role": "user", "content": "a"}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"maths": "2"}, "either 'prompt' or 'messages'"),
        ({"prompt": "a", "messages": [MESSAGE], "maths": "2"}, "either 'prompt' or 'messages'"),
        ({"prompt": "a"}, "it must have one of maths"),
        ({"prompt": "a", "maths": "2", "text": "2"}, "has maths and text"),
        ({"prompt": 3, "maths": "2"}, "'prompt' must be a text, not a number"),
        ({"prompt": " ", "maths": "2"}, "'prompt' is blank"),
        ({"prompt": "a", "maths": True}, "'maths' must be a text, not true or false"),
        ({"prompt": "a", "maths": 2, "instruct": 1}, "'instruct' must be true or false"),
        ({"prompt": "a", "maths": 2, "grop": "x"}, "did you mean 'group'"),
        ({"prompt": "a", "maths": 2, "choices": ["x", "y"]}, "'choices' is unknown beside 'maths'"),
        ({"id": [], "prompt": "a", "maths": 2}, "'id' must be a text or a whole number"),
        ({"id": "a\nb", "prompt": "a", "maths": 2}, "'id' must be on one line"),
        ({"id": "i" * 201, "prompt": "a", "maths": 2}, "'id' must be on one line"),
        ({"prompt": "a", "choice": "E", "choices": ["x", "y"]}, "letters AB"),
        ({"prompt": "a", "choice": "1"}, "not a number"),
        ({"prompt": "a", "choice": "A", "choices": ["x"]}, "2 to 26 options"),
        ({"prompt": "a", "choice": "A", "choices": ["x", None]}, "choices[1] must be a text"),
        ({"prompt": "a", "text": []}, "'text' is empty"),
        ({"prompt": "a", "text": ["x", None]}, "it has no 'text'"),
        ({"prompt": "a", "pattern": "("}, "no regular expression"),
        ({"prompt": "a", "pattern": "a{99999999999}"}, "no regular expression"),
        ({"prompt": "a", "pattern": "a" * 10_001}, "longer than 10,000"),
        ({"prompt": "a", "code": "x"}, "'code' must be an object"),
        ({"prompt": "a", "code": {}}, "no tests"),
        ({"prompt": "a", "code": {"check": "def"}}, "'check' is not Python"),
        ({"prompt": "a", "code": {"check": "f()\0"}}, "'check' is not Python"),
        ({"prompt": "a", "code": {"function": "f"}}, "no tests"),
        ({"prompt": "a", "code": {"call_tests": []}}, "both 'function' and 'call_tests'"),
        ({"prompt": "a", "code": {"function": "f g", "call_tests": [{"arguments": [], "result": 1}]}}, "a function's name"),
        ({"prompt": "a", "code": {"function": "f", "call_tests": []}}, "'call_tests' must be a list of tests"),
        ({"prompt": "a", "code": {"function": "f", "call_tests": [{"arguments": 1, "result": 1}]}}, "'arguments', a list"),
        ({"prompt": "a", "code": {"stdin_tests": [{"stdin": "x"}]}}, "must have 'stdout'"),
        ({"prompt": "a", "code": {"stdin_tests": [{"stdin": "x", "stdout": "y", "z": 1}]}}, "has 'z', which is unknown"),
        ({"prompt": "a", "code": {"check": "1", "seconds": 0}}, "'seconds' must be"),
        ({"prompt": "a", "code": {"check": "1", "seconds": 10**400}}, "'seconds' must be"),
        ({"prompt": "a", "code": {"check": "1", "seconds": True}}, "'seconds' must be"),
        ({"prompt": "a", "instructions": []}, "list of instructions"),
        ({"prompt": "a", "instructions": [{"name": "no comma"}]}, "no instruction 'no comma'"),
        ({"prompt": "a", "calls": []}, "no 'tools' to call"),
        ({"prompt": "a", "calls": 1, "tools": [TOOL]}, "'calls' must be a list"),
        ({"prompt": "a", "calls": [{"name": "g"}], "tools": [TOOL]}, "the functions are f"),
        ({"prompt": "a", "calls": [{"name": "f", "arguments": {"x": 1}}], "tools": [TOOL]}, "list of the values that are right"),
        ({"prompt": "a", "calls": [], "tools": [{"name": "f"}]}, "which is unknown"),
        ({"prompt": "a", "calls": [], "tools": [TOOL, TOOL]}, "two functions are called 'f'"),
        ({"prompt": "a", "calls": [], "tools": {}}, "'tools' must be a list"),
        ({"messages": "a", "maths": 1}, "'messages' must be a list"),
        ({"messages": [{"role": "robot", "content": "a"}], "maths": 1}, "must have a role"),
        ({"messages": [{"role": "user", "content": ""}], "maths": 1}, "content is blank"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}], "maths": 1}, "content must be a text, not a list"),
        ({"messages": [MESSAGE, {"role": "assistant", "content": "b"}], "maths": 1}, "must end with"),
        ({"messages": [MESSAGE, {"role": "system", "content": "b"}, MESSAGE], "maths": 1}, "at its beginning only"),
        ({"messages": [{"role": "system", "content": "b"}, MESSAGE], "system": "c", "maths": 1}, "it has 'system', and"),
        ({"messages": [{**MESSAGE, "tool_calls": [1]}], "maths": 1}, "only the assistant"),
        ({"messages": [{"role": "assistant", "tool_calls": [1]}, MESSAGE], "maths": 1}, "must be an object"),
        ({"messages": [MESSAGE, {"role": "tool", "content": "b"}], "maths": 1, "instruct": True}, "only be added to a message of the user"),
    ],
)
def test_a_line_that_cannot_be_is_named_with_what_is_wrong(tmp_path: Path, line: dict[str, Any], why: str) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"prompt": "good", "maths": 1}) + "\n" + json.dumps(line) + "\n", "utf-8")
    tasks = read_tasks(str(path))
    assert len(tasks.questions) == 1
    assert [malformed.line for malformed in tasks.malformed] == [2]
    assert why in tasks.malformed[0].reason


def test_a_pattern_that_python_merely_warns_of_is_taken(tmp_path: Path) -> None:
    assert read(tmp_path, {"prompt": "a", "pattern": "[[a]"}).wanted == WantsPattern("[[a]")
