"""Text becomes the tokens that the checkpoint's own tokenizer gives."""

from __future__ import annotations

import json
import random
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from qwq_local.llama._plain_text import plain_pieces
from qwq_local.prompt import Prompt
from qwq_local.runtime import QwQ
from tests.nano.tasks import TASKS

CHECKPOINT = Path(__file__).parents[1] / "nano" / "checkpoint"
TOKENIZER_JSON = json.loads((CHECKPOINT / "tokenizer.json").read_text("utf-8"))
REFERENCE = Tokenizer.from_str(json.dumps(TOKENIZER_JSON))
PLAIN_REFERENCE = Tokenizer.from_str(json.dumps(TOKENIZER_JSON | {"added_tokens": []}))
"""The same tokenizer with no special tokens: what ordinary text is, whatever it spells."""

MARKERS = [token["content"] for token in TOKENIZER_JSON["added_tokens"]]
SPACES = ["\u3000", "\xa0", "\t", "\r\n", "\n\n\n", "   ", "\u200d", "\ufe0f", "\x00", "\x7f"]
COMPOSED = ["e\u0301", "\u1e9b\u0323", "\u212b", "\u226f"]
FOREIGN = ["한국어", "漢字かな", "\u017f", "İ", "१२३", "½", "Ⅷ", "﷽", "👩\u200d👩\u200d👧", "🇪🇺"]
CODE = ["'s", "'LL", "x = {'a': [1, 2]}  # ok", "def f():\n\treturn None\n", '<div class="a">', "0x1F"]
ODD = [*SPACES, *COMPOSED, *FOREIGN, *CODE]
KNOWN = st.characters(exclude_categories=("Cs", "Cn"))
"""What newer versions of Unicode have added is known to one tokenizer and not to the other."""
texts = st.lists(st.one_of(st.text(KNOWN, max_size=12), st.sampled_from(ODD), st.sampled_from(MARKERS)), max_size=12).map("".join)


def tokens_of(demo: QwQ, text: str) -> list[int]:
    return demo._vocabulary.tokenize(text)


@settings(max_examples=2000, deadline=None)
@given(text=texts)
def test_ordinary_text_has_the_checkpoints_tokens_even_where_it_spells_markers(demo: QwQ, text: str) -> None:
    assert tokens_of(demo, text) == PLAIN_REFERENCE.encode(text, add_special_tokens=False).ids


@settings(max_examples=300, deadline=None)
@given(text=texts)
def test_no_text_becomes_a_marker_and_the_tokens_spell_the_text(demo: QwQ, text: str) -> None:
    tokens = tokens_of(demo, text)
    assert not set(tokens) & set(demo._vocabulary.markers.values())
    assert b"".join(map(demo._vocabulary.piece, tokens)).decode() == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("task", TASKS)
def test_every_tasks_prompts_have_the_checkpoints_tokens(demo: QwQ, task: str) -> None:
    rng = random.Random(task)
    for _ in range(40):
        problem = TASKS[task](rng)
        prompt: Prompt = demo.render(problem.messages, problem.tools)
        assert list(demo.tokenize(prompt)) == REFERENCE.encode(prompt.text, add_special_tokens=False).ids


@pytest.mark.slow
def test_every_character_of_unicode_has_the_checkpoints_tokens(demo: QwQ) -> None:
    points = (chr(point) for point in range(sys.maxunicode + 1))
    characters = [c for c in points if unicodedata.category(c) not in ("Cs", "Cn", "Co")]
    for start in range(0, len(characters), 100):
        text = "".join(f"a{c}b {c}1 '{c}\n{c}{c}!" for c in characters[start : start + 100])
        assert tokens_of(demo, text) == PLAIN_REFERENCE.encode(text, add_special_tokens=False).ids, repr(text)


@given(text=texts)
def test_cut_text_is_whole_and_no_piece_spells_a_marker(text: str) -> None:
    pieces = plain_pieces(text, MARKERS)
    assert "".join(pieces) == text
    assert not [piece for piece in pieces for marker in MARKERS if marker in piece]


def test_a_marker_without_letters_is_cut_too() -> None:
    assert plain_pieces("a<>b", ["<>"]) == ["a<", ">b"]
