"""Thought and answer are told apart by token id, whatever the text spells."""

from __future__ import annotations

from itertools import groupby
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local import card
from qwq_local.engine import Answering, Thinking, ToolCallDelta, ToolCallStarted
from qwq_local.engine.thinking import TextEvent, ThinkMarkers, Transcript
from tests.fakes import END_THINK, THINK, FakeVocabulary

MARKERS = ThinkMarkers(THINK, END_THINK)
SPELLED = st.sampled_from(["<think>", "</think>", "a", "\n", "é", "😀", "<"]).map(lambda text: list(text.encode()))
TOKENS = st.lists(SPELLED | st.sampled_from([[THINK], [END_THINK]]) | st.integers(0, 255).map(lambda byte: [byte])).map(
    lambda runs: [token for run in runs for token in run]
)


def run(tokens: list[int], *, opens_thinking: bool = True, markers: ThinkMarkers = MARKERS) -> tuple[list[Thinking | Answering], int]:
    transcript = Transcript(markers, opens_thinking=opens_thinking, calls_tools=False)
    vocabulary = FakeVocabulary()
    events = [event for token in tokens for event in transcript.push(token, vocabulary.piece(token))]
    texts = [event for event in [*events, *transcript.close()] if isinstance(event, Thinking | Answering)]
    return texts, transcript.reasoning_tokens


def modes(tokens: list[int], *, is_thinking: bool) -> list[tuple[bool, int]]:
    """Each token with whether it stands in a thought; a closing marker still does, an opening one does not yet."""
    marked = []
    for token in tokens:
        marked.append((is_thinking, token))
        is_thinking = {THINK: True, END_THINK: False}.get(token, is_thinking)
    return marked


def text_of(marked: list[tuple[bool, int]], *, thoughts: bool) -> str:
    runs = [(is_thought, bytes(t for _, t in run if t < 256)) for is_thought, run in groupby(marked, key=lambda pair: pair[0])]
    return "".join(data.decode("utf-8", "replace").strip("\n") for is_thought, data in runs if is_thought == thoughts)


@given(TOKENS, st.booleans())
def test_every_byte_lands_in_the_part_that_the_markers_say(tokens: list[int], opens_thinking: bool) -> None:
    events, _ = run(tokens, opens_thinking=opens_thinking)
    marked = modes(tokens, is_thinking=opens_thinking)
    assert "".join(e.text for e in events if isinstance(e, Thinking)) == text_of(marked, thoughts=True)
    assert "".join(e.text for e in events if isinstance(e, Answering)) == text_of(marked, thoughts=False)


@given(TOKENS, st.booleans())
def test_reasoning_tokens_are_those_of_thoughts_with_their_closing_markers(tokens: list[int], opens_thinking: bool) -> None:
    _, reasoning_tokens = run(tokens, opens_thinking=opens_thinking)
    assert reasoning_tokens == sum(is_thought for is_thought, _ in modes(tokens, is_thinking=opens_thinking))


@given(TOKENS, st.booleans())
def test_no_event_is_empty(tokens: list[int], opens_thinking: bool) -> None:
    events, _ = run(tokens, opens_thinking=opens_thinking)
    assert all(event.text for event in events)


@pytest.mark.parametrize("marker", ["<think>", "</think>"])
def test_text_that_merely_spells_a_marker_stays_and_turns_nothing(marker: str) -> None:
    events, reasoning_tokens = run(list(marker.encode()))
    assert "".join(event.text for event in events) == marker
    assert {type(event) for event in events} == {Thinking}
    assert reasoning_tokens == len(marker)


def test_markers_as_tokens_never_show() -> None:
    events, _ = run([*b"a", END_THINK, *b"b", END_THINK, *b"c", THINK, *b"d", THINK, *b"e"])
    assert events == [Thinking("a"), Answering("b"), Answering("c"), Thinking("d"), Thinking("e")]


def test_a_character_cut_short_by_a_marker_stays_in_its_own_part() -> None:
    events, _ = run([*b"a\xf0\x9f", END_THINK, *b"\x98\x80b"])
    assert "".join(event.text for event in events if isinstance(event, Thinking)) == "a\ufffd"
    assert "".join(event.text for event in events if isinstance(event, Answering)) == "\ufffd\ufffdb"


def test_a_vocabulary_without_thoughts_answers_only() -> None:
    tokens = list(b"<think>no</think>")
    events, reasoning_tokens = run(tokens, opens_thinking=False, markers=ThinkMarkers(None, None))
    assert {type(event) for event in events} == {Answering}
    assert ("".join(event.text for event in events), reasoning_tokens) == ("<think>no</think>", 0)


CALL, END_CALL = 261, 262
WITH_CALLS = ThinkMarkers(THINK, END_THINK, CALL, END_CALL)
WRITTEN = [CALL, *b'\n{"name": "add", "arguments": {"a": 1}}\n', END_CALL]


def run_with_calls(tokens: list[int], *, opens_thinking: bool, calls_tools: bool = True, stop: tuple[str, ...] = ()) -> list[TextEvent]:
    transcript = Transcript(WITH_CALLS, opens_thinking=opens_thinking, stop=stop, calls_tools=calls_tools)
    pieces = {CALL: b"<tool_call>", END_CALL: b"</tool_call>", THINK: b"", END_THINK: b""}
    events = [event for token in tokens for event in transcript.push(token, pieces[token] if token in pieces else bytes([token]))]
    return events + transcript.close()


def test_a_call_written_in_the_thought_is_thought_and_nothing_else() -> None:
    events = run_with_calls([*WRITTEN, END_THINK, *b"done"], opens_thinking=True)
    assert not any(isinstance(event, ToolCallStarted | ToolCallDelta) for event in events)
    thought = "".join(event.text for event in events if isinstance(event, Thinking))
    assert thought == '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'


def test_a_call_after_the_thought_is_told_with_what_stands_around_it() -> None:
    events = run_with_calls([*b"hm", END_THINK, *b"first", *WRITTEN, *WRITTEN], opens_thinking=True)
    told = [event for event in events if not isinstance(event, Thinking | ToolCallDelta)]
    assert told == [*map(Answering, "first"), ToolCallStarted(0, "add"), ToolCallStarted(1, "add")]
    assert "".join(event.arguments for event in events if isinstance(event, ToolCallDelta)) == 2 * '{"a": 1}'


def test_without_tools_a_call_is_text() -> None:
    events = run_with_calls(WRITTEN, opens_thinking=False, calls_tools=False)
    assert "".join(event.text for event in events if isinstance(event, Answering)).startswith("<tool_call>")


def test_a_stop_string_ends_the_answer_and_not_the_thought() -> None:
    events = run_with_calls([*b"a STOP b", END_THINK, *b"c STOP d"], opens_thinking=True, stop=("STOP",))
    thought = "".join(event.text for event in events if isinstance(event, Thinking))
    answer = "".join(event.text for event in events if isinstance(event, Answering))
    assert (thought, answer) == ("a STOP b", "c ")


def test_what_might_have_become_a_stop_string_is_told_at_the_end() -> None:
    events = run_with_calls([*b"c STO"], opens_thinking=False, stop=("STOP",))
    assert "".join(event.text for event in events if isinstance(event, Answering)) == "c STO"


def test_what_is_held_for_a_stop_string_comes_before_a_call_and_not_after() -> None:
    events = run_with_calls([*b"abc", *WRITTEN, *b"X"], opens_thinking=False, stop=("cX",))
    kinds = [type(event) for event in events]
    assert kinds.index(ToolCallStarted) > max(i for i, event in enumerate(events) if event == Answering("c"))
    assert "".join(event.text for event in events if isinstance(event, Answering)) == "abcX"


def markers_of(markers: dict[str, int]) -> ThinkMarkers:
    return ThinkMarkers.of(Mock(FakeVocabulary, markers=markers, tokenize=FakeVocabulary().tokenize))


def test_a_vocabularys_markers_are_found_by_their_text() -> None:
    markers: dict[str, int] = {"<think>": THINK, "</think>": END_THINK, "<tool_call>": CALL, "</tool_call>": END_CALL}
    closing = (*card.CLOSING_SENTENCE.encode(), END_THINK, *b"\n\n")
    assert markers_of(markers) == ThinkMarkers(THINK, END_THINK, CALL, END_CALL, closing, tuple(b"\n\n"))
    del markers["</think>"]
    assert markers_of(markers) == ThinkMarkers(THINK, None, CALL, END_CALL)


def test_what_is_raw_is_text_whatever_its_tokens() -> None:
    transcript = Transcript(WITH_CALLS, opens_thinking=False, calls_tools=True, is_raw=True)
    written = {THINK: b"<think>", CALL: b"<tool_call>", ord("\n"): b"\n"}
    assert [*(event for token, piece in written.items() for event in transcript.push(token, piece)), *transcript.close()] == [
        Answering("<think>"),
        Answering("<tool_call>"),
        Answering("\n"),
    ]
