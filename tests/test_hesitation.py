"""Words of hesitation: which tokens say them, and that they are curbed in the thought only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.asking import AnswerWish, Reach, make_request
from qwq_local.backend import Constraint
from qwq_local.engine import ThoughtClosed
from qwq_local.hesitation import INNER_WORDS, OPENING_WORDS, hesitation_tokens, spellings
from qwq_local.runtime import Answering, QwQ, Thinking
from tests.fakes import FakeVocabulary

SUM = "What is 47 + 85?"
QWEN2: dict[str, list[int]] = json.loads((Path(__file__).parent / "data" / "qwen2_hesitation.json").read_text("utf-8"))
"""`FileVocabulary(path).tokenize` of every spelling, on llama.cpp's models/ggml-vocab-qwen2.gguf, whose ids are QwQ-32B's."""
OR = " or"
"""The one word of hesitation that the built-in model has a token for; its thoughts never say it."""


def test_the_words_are_the_papers_fifty_less_seven_that_differ_from_others_in_their_capital_only() -> None:
    words = [*OPENING_WORDS.split(), *INNER_WORDS.split()]
    assert len(words) == len(set(words)) == 50 - 7
    assert {"wait", "alternatively", "hmm", "but", "perhaps", "recheck"} <= set(words)
    assert all(word.isalpha() and word.islower() for word in words)


def test_no_spelling_goes_on_a_word() -> None:
    assert all(text[0] == " " or text[0].isupper() for text in spellings())
    assert "Wait" in set(spellings()), "QwQ begins paragraphs with it"


@given(st.dictionaries(st.sampled_from(list(spellings())), st.lists(st.integers(0, 9), max_size=3)))
def test_whatever_the_vocabulary_words_count_that_are_one_token_and_each_token_once(known: dict[str, list[int]]) -> None:
    found = hesitation_tokens(lambda text: known.get(text, [1, 2]))
    assert sorted(found) == sorted({tokens[0] for tokens in known.values() if len(tokens) == 1})


def test_in_qwqs_vocabulary_all_words_but_three_spellings_are_one_token() -> None:
    tokens = hesitation_tokens(QWEN2.__getitem__)
    assert [text for text in spellings() if len(QWEN2[text]) > 1] == ["Nonetheless", "Possibly", " recheck"]
    assert len(tokens) == 92
    assert {3783, 13824, 14190} <= set(tokens), "wait"
    assert {68387, 38478, 92014} <= set(tokens), "alternatively"
    assert 312 not in tokens, '" re", which begins hundreds of other words'


def test_a_vocabulary_of_bytes_has_no_such_token() -> None:
    assert hesitation_tokens(FakeVocabulary().tokenize) == ()


@pytest.mark.parametrize("opens_thinking", [True, False])
def test_what_does_not_think_is_asked_for_without_the_penalty(*, opens_thinking: bool) -> None:
    wish = AnswerWish.of({"hesitation_penalty": 2.0, "top_k": 7}, None)
    request = make_request((1, 2), wish, Reach(512, 512, 512, "auto"), opens_thinking=opens_thinking, calls_tools=False)
    assert (request.sampling.hesitation_penalty, request.sampling.top_k) == (2.0 if opens_thinking else 0.0, 7)


@pytest.fixture
def forced(demo: QwQ) -> dict[str, Any]:
    """A bias that forces " or" wherever the penalty does not outweigh it: to the last logit, since both are added."""
    (token,) = demo._vocabulary.tokenize(OR)
    return {"logit_bias": ((token, 100.0),), "max_tokens": 200, "seed": 1}


def test_a_bias_without_the_penalty_forces_the_word_everywhere(demo: QwQ, forced: dict[str, Any]) -> None:
    assert demo.chat(SUM, **forced).reasoning.startswith(OR * 5)


@pytest.mark.parametrize("more", [{}, {"temperature": 0.0}, {"mirostat": 2}, {"constraint": Constraint("regex", "( or)+")}])
def test_a_word_is_curbed_in_the_thought_and_not_in_the_answer(demo: QwQ, forced: dict[str, Any], more: dict[str, Any]) -> None:
    free = demo.chat(SUM, seed=1, max_tokens=200, **more | {"constraint": None})
    curbed = demo.chat(SUM, hesitation_penalty=100.0, **forced, **more)
    assert curbed.reasoning == free.reasoning
    assert curbed.content.replace(OR, "") == ""
    assert curbed.content.count(OR) > 20


def test_the_answer_is_free_also_where_the_thought_was_closed_by_its_budget(demo: QwQ, forced: dict[str, Any]) -> None:
    reply = demo.chat(SUM, hesitation_penalty=100.0, think_tokens=8, **forced)
    assert OR not in reply.reasoning
    assert reply.content.startswith(OR * 5)


def test_the_answer_is_free_also_where_it_was_asked_for(endless_model: Path, forced: dict[str, Any]) -> None:
    options = {**forced, "max_tokens": None, "stops_repetition": False, "hesitation_penalty": 100.0}
    with QwQ.load(str(endless_model), n_ctx=512) as qwq, qwq.stream(SUM, **options) as stream:
        events = [next(stream)]
        stream.answer_now()
        events.extend(stream)
    assert ThoughtClosed("asked") in events
    assert OR not in "".join(event.text for event in events if isinstance(event, Thinking))
    assert "".join(event.text for event in events if isinstance(event, Answering)).startswith(OR * 5)


def test_what_thinks_nothing_and_what_is_gone_on_with_is_free(demo: QwQ, forced: dict[str, Any]) -> None:
    assert demo.chat(SUM, thinks=False, hesitation_penalty=100.0, **forced).content.startswith(OR * 5)
    events = demo.complete("What", hesitation_penalty=100.0, **forced)
    assert "".join(event.text for event in events if isinstance(event, Answering)).startswith(OR * 5)


def test_a_token_that_a_thought_is_full_of_disappears_from_it_and_stays_in_the_answer(demo: QwQ, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo._vocabulary, "hesitation_tokens", tuple(demo._vocabulary.tokenize(" =")))
    free, curbed = (demo.chat(SUM, temperature=0.0, hesitation_penalty=penalty) for penalty in (0.0, 100.0))
    assert [" =" in text for text in (free.reasoning, free.content)] == [True, True]
    assert [" =" in text for text in (curbed.reasoning, curbed.content)] == [False, True]
