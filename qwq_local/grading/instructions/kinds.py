"""The kinds of instructions by their names in IFEval's data (`instruction_id_list` of its input_data.jsonl)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from qwq_local.grading.instructions import layout, lengths, whole, words
from qwq_local.grading.instructions.arguments import CHARACTER, COUNT, OPTIONAL_TEXT, ORDINAL, RELATION, TEXT, TEXTS, Argument
from qwq_local.grading.instructions.language import LANGUAGES

_LANGUAGE: Final = Argument(f"one of {', '.join(sorted(LANGUAGES))}", lambda value: isinstance(value, str) and value in LANGUAGES)


@dataclass(frozen=True)
class Kind:
    """`complaint` is called with an answer's text and the arguments by name, and says what is wrong: nothing, where it is followed."""

    complaint: Callable[..., str]
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    needs_language: bool = False
    """Whether it cannot be judged without telling languages apart."""


KINDS: Final[Mapping[str, Kind]] = {
    "keywords:existence": Kind(words.existence, {"keywords": TEXTS}),
    "keywords:frequency": Kind(words.frequency, {"keyword": TEXT, "frequency": COUNT, "relation": RELATION}),
    "keywords:forbidden_words": Kind(words.forbidden_words, {"forbidden_words": TEXTS}),
    "keywords:letter_frequency": Kind(words.letter_frequency, {"letter": CHARACTER, "let_frequency": COUNT, "let_relation": RELATION}),
    "language:response_language": Kind(whole.response_language, {"language": _LANGUAGE}, needs_language=True),
    "length_constraints:number_sentences": Kind(lengths.number_sentences, {"num_sentences": COUNT, "relation": RELATION}),
    "length_constraints:number_paragraphs": Kind(lengths.number_paragraphs, {"num_paragraphs": COUNT}),
    "length_constraints:number_words": Kind(lengths.number_words, {"num_words": COUNT, "relation": RELATION}),
    "length_constraints:nth_paragraph_first_word": Kind(
        lengths.nth_paragraph_first_word, {"num_paragraphs": COUNT, "nth_paragraph": ORDINAL, "first_word": TEXT}
    ),
    "detectable_content:number_placeholders": Kind(layout.number_placeholders, {"num_placeholders": COUNT}),
    "detectable_content:postscript": Kind(layout.postscript, {"postscript_marker": TEXT}),
    "detectable_format:number_bullet_lists": Kind(layout.number_bullet_lists, {"num_bullets": COUNT}),
    "detectable_format:constrained_response": Kind(layout.constrained_response),
    "detectable_format:number_highlighted_sections": Kind(layout.number_highlighted_sections, {"num_highlights": COUNT}),
    "detectable_format:multiple_sections": Kind(layout.multiple_sections, {"section_spliter": TEXT, "num_sections": COUNT}),
    "detectable_format:json_format": Kind(layout.json_format),
    "detectable_format:title": Kind(layout.title),
    "combination:two_responses": Kind(whole.two_responses),
    "combination:repeat_prompt": Kind(whole.repeat_prompt, {"prompt_to_repeat": OPTIONAL_TEXT}),
    "startend:end_checker": Kind(whole.end_checker, {"end_phrase": TEXT}),
    "startend:quotation": Kind(whole.quotation),
    "change_case:capital_word_frequency": Kind(words.capital_word_frequency, {"capital_frequency": COUNT, "capital_relation": RELATION}),
    "change_case:english_capital": Kind(whole.english_capital, needs_language=True),
    "change_case:english_lowercase": Kind(whole.english_lowercase, needs_language=True),
    "punctuation:no_comma": Kind(whole.no_comma),
}
