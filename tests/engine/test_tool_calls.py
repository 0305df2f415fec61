"""Tool calls: told of while they are written, and what is no call stays text; whatever the order of the keys and wherever tokens cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qwq_local.backend import Constraint
from qwq_local.engine.request import Answering, ToolCallDelta, ToolCallDropped, ToolCallStarted
from qwq_local.engine.tool_calls import MAX_DEPTH, ToolCallParser, ToolEvent
from qwq_local.engine.tool_grammar import tool_constraint
from qwq_local.errors import PromptError
from qwq_local.llama import check_constraint
from tests.nano.tasks import ADD_TOOL, WEATHER_TOOL
from tests.schemas import open_writer

TRICKY = ("{", "}", '"', "\\", "]", "é", "漢", "😀", "\n", "</tool_call>", "a")
TEXTS = st.lists(st.sampled_from(TRICKY), max_size=6).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
CUTS = st.lists(st.integers(0, 500), max_size=12)
SPACE = st.sampled_from(["", " ", "\n", "\n\t "])


def parse(texts: Sequence[str], cuts: Sequence[int] = (), *, is_cut: bool = False) -> list[ToolEvent]:
    """All events of the calls with these texts; the last one lacks its end marker where it `is_cut`."""
    parser = ToolCallParser()
    events: list[ToolEvent] = []
    for i, text in enumerate(texts):
        data = text.encode("utf-8", "surrogatepass")
        borders = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
        events += parser.begin()
        for a, b in pairwise(borders):
            events += parser.push(data[a:b])
        events += parser.cut() if is_cut and i == len(texts) - 1 else parser.end()
    assert not parser.is_open
    return events


def taken_together(events: Sequence[ToolEvent]) -> tuple[dict[int, tuple[str, str]], str]:
    """The calls that stand, by index, each with its name and arguments; and the text."""
    calls: dict[int, tuple[str, str]] = {}
    text = ""
    for event in events:
        if isinstance(event, ToolCallStarted):
            assert event.index not in calls
            calls[event.index] = event.name, ""
        elif isinstance(event, ToolCallDelta):
            assert event.arguments, "a delta tells nothing"
            calls[event.index] = calls[event.index][0], calls[event.index][1] + event.arguments
        elif isinstance(event, ToolCallDropped):
            del calls[event.index]
        else:
            text += event.text
    return calls, text


@given(
    name=TEXTS.filter(bool),
    arguments=st.dictionaries(TEXTS, VALUES, max_size=4),
    order=st.permutations(["name", "arguments", "id"]),
    spaces=st.lists(SPACE, min_size=4, max_size=4),
    escapes=st.booleans(),
    cuts=CUTS,
    is_cut=st.booleans(),
)
def test_a_call_is_told_with_the_arguments_as_they_were_written(
    *, name: str, arguments: dict[str, Any], order: list[str], spaces: list[str], escapes: bool, cuts: list[int], is_cut: bool
) -> None:
    written = json.dumps(arguments, ensure_ascii=escapes, indent=1 if escapes else None)
    values = {"name": json.dumps(name, ensure_ascii=escapes), "arguments": written, "id": '"x{"'}
    before, after, colon, comma = spaces
    members = f"{comma},{before}".join(f'"{key}"{before}:{colon}{values[key]}' for key in order[: 2 if order[2] == "id" else 3])
    events = parse([f"{before}{{{after}{members}{before}}}{after}"], cuts, is_cut=is_cut)
    assert taken_together(events) == ({0: (name, written)}, "")
    assert isinstance(events[0], ToolCallStarted)


def test_arguments_come_as_they_are_written() -> None:
    parser = ToolCallParser()
    assert parser.begin() == []
    assert parser.push(b'\n{"name": "add", "argu') == []
    assert parser.push(b'ments": {"a') == [ToolCallStarted(0, "add"), ToolCallDelta(0, '{"a')]
    assert parser.push(b'": 1') == [ToolCallDelta(0, '": 1')]
    assert parser.push(b"}}\n") == [ToolCallDelta(0, "}")]
    assert parser.end() == []


def test_half_a_character_waits_for_its_other_half() -> None:
    parser = ToolCallParser()
    parser.begin()
    first, second = '{"name": "f", "arguments": {"a": "é"}}'.encode().split(b"\xa9")
    assert parser.push(first)[-1] == ToolCallDelta(0, '{"a": "')
    assert parser.push(b"\xa9") == [ToolCallDelta(0, "é")]
    assert parser.push(second) == [ToolCallDelta(0, '"}')]


def test_calls_are_counted() -> None:
    events = parse(['{"name": "a", "arguments": {}}', "no call", '{"arguments": {"x": 1}, "name": "b"}'])
    assert taken_together(events) == ({0: ("a", "{}"), 1: ("b", '{"x": 1}')}, "<tool_call>no call</tool_call>")


def test_a_tool_without_arguments_is_called_with_none() -> None:
    assert parse(['{"name": "now"}']) == [ToolCallStarted(0, "now"), ToolCallDelta(0, "{}")]


def test_a_call_may_be_nested_as_deep_on_any_python() -> None:
    written = '{"a": "[", "b": ' + "[" * (MAX_DEPTH - 2) + "]" * (MAX_DEPTH - 2) + "}"
    assert taken_together(parse([f'{{"name": "f", "arguments": {written}}}'])) == ({0: ("f", written)}, "")


NO_CALLS = [
    "",
    "hello",
    "[]",
    "{}",
    "null",
    '{"name": "f", "arguments": 1}',
    '{"name": "f", "arguments": "{}"}',
    '{"name": "f", "arguments": [{}]}',
    '{"name": "", "arguments": {}}',
    '{"name": null, "arguments": {}}',
    '{"name": ["f"], "arguments": {}}',
    '{"arguments": {}}',
    '{"name": "f", "arguments": {}',
    '{"name": "f", "arguments": {"a": 1',
    '{"name": "f", "arguments": {"a": [1}]}',
    '{"name": "f", "arguments": {"a": NaN}}',
    '{"name": "f", "arguments": {"a": 01}}',
    '{"name": "f", "arguments": {"a": "line\nfeed"}}',
    '{"name": "f", "arguments": {a: 1}}',
    '{"name": "f", "arguments": {}}}',
    '{"name": "f", "arguments": {}} and more',
    '{"name": "f", "arguments": {},}',
    '{"name": "f", "arguments": {}, "arguments": {"a": 1}}',
    '{"name": "f", "arguments": {}, "name": "g"}',
    '{"name": "f" "arguments": {}}',
    '{"name": "\\ud83d", "arguments": {}}',
    '{"name": "\\x", "arguments": {}}',
    '{"name": "f", "arguments": {"a": ' + "[" * 5000 + "]" * 5000 + "}}",
    '{"name": "f", "arguments": {"a": ' + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1) + "}}",
    "{'name': 'f', 'arguments': {}}",
]


@pytest.mark.parametrize("text", NO_CALLS)
@pytest.mark.parametrize("is_cut", [False, True])
def test_what_is_no_call_is_text_again(text: str, is_cut: bool) -> None:
    every: Sequence[int] = range(len(text))
    for cuts in ((), every):
        events = parse([text], cuts, is_cut=is_cut)
        assert taken_together(events) == ({}, f"<tool_call>{text}" + ("" if is_cut else "</tool_call>"))
        assert isinstance(events[-1], Answering)


@given(
    text=st.lists(st.sampled_from(['{"name": "f", ', '"arguments": ', "{", "}", '"', ":", ",", "\\", "a", "1", " "])).map("".join),
    cuts=CUTS,
)
@example(text='{"name": "f", "arguments": {"a": "\\"}}', cuts=[34])
def test_whatever_is_written_is_a_call_or_the_same_text_again(text: str, cuts: list[int]) -> None:
    calls, rest = taken_together(parse([text], cuts))
    if calls:
        written = json.loads(text)
        assert {0: (written["name"], written.get("arguments", {}))} == {i: (name, json.loads(raw)) for i, (name, raw) in calls.items()}
        assert rest == ""
    else:
        assert rest == f"<tool_call>{text}</tool_call>"


def test_a_call_within_a_call_ends_the_first() -> None:
    parser = ToolCallParser()
    events = parser.begin() + parser.push(b'{"name": "a", "arguments": {') + parser.begin() + parser.push(b'{"name": "b"}') + parser.end()
    assert taken_together(events) == ({1: ("b", "{}")}, '<tool_call>{"name": "a", "arguments": {')


def test_the_end_of_an_answer_outside_a_call_is_nothing() -> None:
    assert ToolCallParser().cut() == []


def test_a_very_long_number_is_passed_on_as_it_is() -> None:
    arguments = f'{{"a": {"1" * 5000}}}'
    assert taken_together(parse([f'{{"name": "f", "arguments": {arguments}}}'])) == ({0: ("f", arguments)}, "")


NOW_TOOL = {"type": "function", "function": {"name": "now"}}
ODD_TOOL = {
    "name": 'say "é" <tool_call>',
    "parameters": {
        "properties": {"what": {"$ref": "#/$defs/what"}},
        "required": ["what"],
        "additionalProperties": False,
        "$defs": {"what": {"enum": ["</tool_call>", 'a"b']}},
        "x-guidance": {"lenient": True},
    },
}
TOOLS: list[dict[str, Any]] = [ADD_TOOL, WEATHER_TOOL, NOW_TOOL, ODD_TOOL]


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["required", *({"type": "function", "function": {"name": n}} for n in ("add", "now")), ODD_TOOL])
def test_an_answer_that_must_call_a_tool_does(choice: Any) -> None:
    writer = open_writer()
    markers = writer.backend.vocabulary.markers
    constraint = tool_constraint(TOOLS, choice)
    assert constraint is not None
    functions = [tool.get("function", tool) for tool in TOOLS]
    schemas = {function["name"]: function.get("parameters", {"maxProperties": 0}) for function in functions}
    if choice != "required":
        chosen = choice.get("function", choice)["name"]
        schemas = {chosen: schemas[chosen]}
    n_whole = 0
    for seed in range(12):
        answer = writer.write(constraint, seed, max_tokens=300)
        if answer.is_cut:
            continue
        n_whole += 1
        assert answer.tokens[0] == markers["<tool_call>"]
        assert answer.tokens[-2] == markers["</tool_call>"]
        bodies = [part.partition("</tool_call>\n")[0] for part in answer.text.removesuffix("</tool_call>").split("<tool_call>\n{")[1:]]
        calls, rest = taken_together(parse(["{" + body for body in bodies]))
        assert rest == ""
        assert len(calls) == len(bodies)
        for name, arguments in calls.values():
            jsonschema.validate(json.loads(arguments), schemas[name])
    writer.backend.close()
    assert n_whole


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_a_choice_that_is_left_to_the_model_constrains_nothing(choice: str | None) -> None:
    assert tool_constraint(TOOLS, choice) is None


def test_several_calls_are_allowed_unless_one_was_asked_for() -> None:
    sources = [
        tool_constraint(TOOLS, choice, is_parallel=is_parallel)
        for choice, is_parallel in (("required", True), ("required", False), ({"name": "now"}, True))
    ]
    assert [isinstance(made, Constraint) and "call)*" in made.source for made in sources] == [True, False, False]


def test_the_style_of_a_tools_json_is_not_its_own_to_choose() -> None:
    made = tool_constraint([ODD_TOOL], "required")
    assert made is not None
    assert "lenient" not in made.source
    check_constraint(made)


@pytest.mark.parametrize(
    ("tools", "choice", "says"),
    [
        ([], "required", "there are no tools"),
        (TOOLS, "always", '"always"'),
        (TOOLS, {"type": "function"}, "function"),
        (TOOLS, {"type": "function", "function": {"name": "sub"}}, "'sub'"),
        (TOOLS, 7, "tool_choice is 7"),
        ([{"type": "function", "function": {}}], "required", r"tools\[0\] has no name"),
        ([WEATHER_TOOL, {"type": "function", "function": None}], "required", r"tools\[1\] has no name"),
        ([{"name": "f", "parameters": {"type": "array"}}], "required", "parameters of the tool 'f'"),
        ([{"name": "f", "parameters": [1]}], "required", "parameters of the tool 'f'"),
    ],
)
def test_tools_and_choices_that_cannot_be_are_refused(tools: list[Any], choice: Any, says: str) -> None:
    with pytest.raises(PromptError, match=says) as caught:
        tool_constraint(tools, choice)
    assert caught.value.hint
