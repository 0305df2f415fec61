"""Which language is a text in?

The texts are the first sentence of the Universal Declaration of Human Rights in the 30 languages that IFEval may ask for, and in Chinese.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qwq_local.grading.instructions.language import LANGUAGES, language_of

SENTENCES: dict[str, str] = json.loads((Path(__file__).parent.parent / "data" / "grading" / "languages.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("language", sorted(SENTENCES))
def test_a_sentence_is_told_to_be_in_its_language(language: str) -> None:
    assert language_of(SENTENCES[language]) == language


def test_a_text_is_told_alike_in_capitals_and_each_time() -> None:
    assert {language_of(SENTENCES["en"].upper()) for _ in range(5)} == {"en"}


@pytest.mark.parametrize("text", ["", " \n", "42", "!?", "🙂", "1 + 1 = 2"])
def test_without_letters_there_is_no_language(text: str) -> None:
    assert language_of(text) is None


def test_every_language_of_ours_is_one_that_the_library_knows() -> None:
    import py3langid

    assert {language for language, _ in py3langid.rank("any text")} >= LANGUAGES
