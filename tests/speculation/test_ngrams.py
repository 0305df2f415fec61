"""Texts that go on as others did: what is found, what is guessed, and what is forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.speculation.alike import common_prefix, n_alike_before
from qwq_local.speculation.ngrams import LEAST_MATCH, LONGEST_MATCH, NgramIndex, Trail

TEXT = st.lists(st.integers(0, 3), max_size=60)


def indexed(*texts: list[int], most_tokens: int = 1000) -> NgramIndex:
    """An index of texts that have ended, but for the last, which may grow."""
    index = NgramIndex(most_tokens)
    *ended, last = texts
    for text in ended:
        index.end(index.begin(text))
    index.extend(index.begin(last))
    return index


def found(index: NgramIndex, tokens: list[int]) -> Trail:
    trail = index.find(tokens)
    assert trail is not None
    return trail


def test_a_text_goes_on_as_another_did() -> None:
    text = [9, 1, 2, 3]
    trail = found(indexed([1, 2, 3, 4, 5, 6], text), text)
    assert (trail.next_token, trail.n_alike, trail.n_guesses(text, 8), trail.guesses(3)) == (4, 3, 3, [4, 5, 6])


def test_a_text_goes_on_as_it_did_itself_and_round_again() -> None:
    text = [7, 1, 2, 3, 1, 2, 3]
    trail = found(indexed(text), text)
    assert trail.source is text
    assert trail.guesses(7) == [1, 2, 3, 1, 2, 3, 1]
    assert trail.n_guesses(text, 7) == 7


def test_what_came_last_is_taken_but_a_longer_likeness_before_a_shorter_one() -> None:
    long, short = [*range(10, 20), 1], [17, 18, 19, 2]
    assert found(indexed([17, 18, 19, 0], short, [5, 17, 18, 19]), [5, 17, 18, 19]).next_token == 2
    assert found(indexed(long, short, [*range(10, 20)]), [*range(10, 20)]).next_token == 1


def test_nothing_is_found_of_what_never_stood_before_or_is_too_short() -> None:
    index = indexed([1, 2, 3, 4], [5, 6, 7])
    assert index.find([5, 6, 7]) is None
    assert index.find([2, 3]) is None
    assert index.find([]) is None


def test_the_end_of_a_text_is_found_once_something_follows() -> None:
    text = [1, 2, 3]
    index = NgramIndex()
    number = index.begin(text)
    index.extend(number)
    assert index.find([1, 2, 3]) is None
    text.append(4)
    index.extend(number)
    assert found(index, [1, 2, 3]).next_token == 4


def test_the_oldest_texts_that_have_ended_are_forgotten_and_nothing_of_them_is_kept() -> None:
    index = indexed([1, 2, 3, 4], [1, 2, 3, 5], [6, 6, 6, 7], [0] * 5, most_tokens=8)
    assert found(index, [1, 2, 3]).next_token == 5
    for _ in range(2):
        index.end(index.begin([8, 8, 8, 9]))
    assert index.find([1, 2, 3]) is None
    assert found(index, [8, 8, 8]).next_token == 9


def test_a_text_that_grows_is_never_forgotten() -> None:
    text = [1, 2, 3, 4] * 10
    index = NgramIndex(most_tokens=4)
    index.extend(index.begin(text))
    index.end(index.begin([5] * 100))
    assert found(index, text).next_token == 1
    assert index.find([5, 5, 5]) is None


@given(st.lists(TEXT, min_size=1, max_size=5), st.integers(0, 200))
def test_what_is_found_is_alike_and_goes_on(texts: list[list[int]], most_tokens: int) -> None:
    index = indexed(*texts, most_tokens=most_tokens)
    tokens = texts[-1]
    trail = index.find(tokens)
    if trail is not None:
        assert trail.n_alike >= LEAST_MATCH
        assert list(trail.source[trail.place - trail.n_alike : trail.place]) == tokens[-trail.n_alike :]
        assert trail.next_token is not None
    kept = [tokens, *(text for text in texts[:-1] if sum(map(len, texts)) <= most_tokens)]
    places = [(text, i) for text in kept for i in range(3, len(text)) if text[i - 3 : i] == tokens[-3:]]
    assert (trail is not None) >= bool(places), "three like tokens with a token after them are always found"


@given(TEXT, TEXT)
def test_how_far_texts_are_alike(a: list[int], b: list[int]) -> None:
    n = common_prefix(a, b)
    assert a[:n] == b[:n]
    assert n in (len(a), len(b)) or a[n] != b[n]
    n = n_alike_before(a, len(a), b, LONGEST_MATCH)
    assert a[len(a) - n :] == b[len(b) - n :]
    assert n in (len(a), len(b), LONGEST_MATCH) or a[-1 - n] != b[-1 - n]


@pytest.mark.parametrize("n_common", [0, 1, 255, 256, 257, 600])
def test_long_texts_are_compared_to_the_token(n_common: int) -> None:
    assert common_prefix([1] * n_common + [2] * 10, [1] * n_common + [3] * 500) == n_common
