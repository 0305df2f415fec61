"""Stop strings: wherever tokens cut the text, it ends before the first of them that is complete."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.engine.text import StopStrings
from qwq_local.errors import SettingsError
from qwq_local.settings import MAX_STOP_CHARACTERS, check_stop

FEW_LETTERS = st.text("ab\n", max_size=40)
STOPS = st.lists(st.text("ab\n", min_size=1, max_size=5), max_size=4)


def cut_at_first(text: str, stops: list[str]) -> tuple[str, bool]:
    """The same on the whole text."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(map(len, found))], True
    return text, False


def pieces(text: str, cuts: list[int]) -> list[str]:
    borders = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in pairwise(borders)]


@given(text=FEW_LETTERS | st.text(max_size=20), stops=STOPS, cuts=st.lists(st.integers(0, 100)))
def test_streaming_is_cutting_the_whole_text(text: str, stops: list[str], cuts: list[int]) -> None:
    stream = StopStrings(stops)
    shown = "".join(stream.push(piece) for piece in pieces(text, cuts)) + stream.close()
    assert (shown, bool(stream.met)) == cut_at_first(text, stops)


@given(text=FEW_LETTERS, stops=STOPS)
def test_no_more_is_held_back_than_may_become_a_stop_string(text: str, stops: list[str]) -> None:
    stream = StopStrings(stops)
    shown = stream.push(text)
    if not stream.met:
        held = text.removeprefix(shown)
        assert shown + held == text
        assert not held or any(stop.startswith(held) for stop in stops)
        assert not any(stop.startswith(text[len(shown) - n :]) for stop in stops for n in range(1, len(shown) + 1))


def test_what_follows_a_stop_string_is_never_shown() -> None:
    stream = StopStrings(["</answer>", "\n\n"])
    assert stream.push("one</ans") == "one"
    assert stream.push("wer> two") == ""
    assert stream.met
    assert stream.push("three") + stream.close() == ""


def test_a_long_stop_string_costs_no_more_at_each_character() -> None:
    stream = StopStrings(["a" * 1000 + "b"])
    assert len(stream.push("a" * 200_000)) == 199_000
    assert stream.push("b") == ""
    assert stream.met


@pytest.mark.parametrize("stop", [("",), ("x" * (MAX_STOP_CHARACTERS + 1),), ("x",) * 17])
def test_what_cannot_stop_an_answer_is_refused(stop: tuple[str, ...]) -> None:
    check_stop(("\n\n", "x" * MAX_STOP_CHARACTERS))
    with pytest.raises(SettingsError, match="stop has") as caught:
        check_stop(stop)
    assert caught.value.hint
