"""Bytes to text: nothing is lost, nothing is shown too early, nothing is held back too long."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from qwq_local.engine.text import TextStream

TEXTS = st.text(st.one_of(st.just("\n"), st.sampled_from("aé漢😀 \t\r\ufeff\ufffd"), st.characters(codec="utf-8")), max_size=30)


@st.composite
def cut(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> list[bytes]:
    """Bytes in pieces, empty ones among them."""
    data = draw(whole)
    borders = sorted(draw(st.lists(st.integers(0, len(data)), max_size=len(data) + 2)))
    return [data[a:b] for a, b in pairwise([0, *borders, len(data)])]


def shown(pieces: Iterable[bytes]) -> str:
    stream = TextStream()
    return "".join([stream.push(piece) for piece in pieces] + [stream.close()])


@given(cut(TEXTS.map(str.encode)))
def test_text_comes_out_whole_save_the_line_feeds_around_it(pieces: list[bytes]) -> None:
    assert shown(pieces) == b"".join(pieces).decode().strip("\n")


@given(cut(TEXTS.map(str.encode)))
def test_every_whole_character_shows_at_once_and_no_half_one_ever(pieces: list[bytes]) -> None:
    stream = TextStream()
    seen, read = "", b""
    for piece in pieces:
        seen += stream.push(piece)
        read += piece
        assert seen == read.decode("utf-8", "ignore").strip("\n")


@given(cut(st.binary(max_size=40) | st.lists(st.sampled_from([b"\xf0\x9f", b"\xe2\x82", b"\xff", b"\n", b"a"])).map(b"".join)))
@example([b"\xf0", b"\x9f", b"\x98"])
def test_invalid_bytes_show_as_replacement_characters(pieces: list[bytes]) -> None:
    assert shown(pieces) == b"".join(pieces).decode("utf-8", "replace").strip("\n")


@given(cut(st.binary(max_size=40)))
def test_what_was_shown_is_never_taken_back(pieces: list[bytes]) -> None:
    stream = TextStream()
    seen = ""
    for piece in pieces:
        seen += stream.push(piece)
        assert shown(pieces).startswith(seen)


def test_a_character_that_is_cut_short_at_the_end_shows_as_one_replacement() -> None:
    stream = TextStream()
    assert stream.push("ok😀".encode()[:-1]) == "ok"
    assert stream.close() == "\ufffd"


def test_line_feeds_within_a_text_wait_for_what_follows_them() -> None:
    stream = TextStream()
    assert [stream.push(piece) for piece in (b"\n\na\n", b"\n", b"", b"b\n")] == ["a", "", "", "\n\nb"]
    assert stream.close() == ""


def test_nothing_but_line_feeds_is_nothing() -> None:
    assert shown([b"\n", b"\n\n"]) == ""
