"""Instructions that a program can check, against answers judged by hand."""

from __future__ import annotations

from collections import defaultdict
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.errors import SettingsError
from qwq_local.grading import Given, Instruction, WantsInstructions
from qwq_local.grading.instructions import KINDS, check_instruction, grade_instructions, grade_instructions_loosely, language
from tests.grading_form.hand_checked import Case, cases

CASES = cases("instructions")
EXAMPLES = {instruction.name: instruction for case in CASES for instruction in case.instructions.instructions}
ANSWERS = st.text(st.sampled_from("aB é.!?\n*-#<>[]{}\",'1P。ß"), max_size=60)
COUNTED = {
    "keywords:frequency": ("relation", "frequency", {"keyword": "a"}),
    "keywords:letter_frequency": ("let_relation", "let_frequency", {"letter": "a"}),
    "length_constraints:number_sentences": ("relation", "num_sentences", {}),
    "length_constraints:number_words": ("relation", "num_words", {}),
    "change_case:capital_word_frequency": ("capital_relation", "capital_frequency", {}),
}
BAD_ARGUMENTS: list[tuple[str, dict[str, Any], str]] = [
    (
        "length_constraints:number_words",
        {"num_words": "100", "relation": "at least"},
        "num_words of length_constraints:number_words is '100'",
    ),
    ("length_constraints:number_words", {"num_words": True, "relation": "at least"}, "is True"),
    ("length_constraints:number_words", {"num_words": -1, "relation": "at least"}, "is -1"),
    ("length_constraints:number_words", {"num_words": 9.5, "relation": "at least"}, r"is 9\.5"),
    ("length_constraints:number_words", {"num_words": 9, "relation": "at most"}, "relation of .* is 'at most'"),
    ("length_constraints:number_words", {"num_words": 9, "relation": ["at least"]}, "relation of .* is"),
    ("length_constraints:number_words", {"num_words": 9}, "relation of .* is missing"),
    ("length_constraints:number_words", {"num_words": None, "relation": "at least"}, "num_words of .* is missing"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 1, "nth_paragraph": 0, "first_word": "a"},
        "nth_paragraph of .* is 0",
    ),
    ("keywords:existence", {"keywords": "moon"}, "keywords of .* is 'moon'"),
    ("keywords:existence", {"keywords": []}, r"is \[\]"),
    ("keywords:forbidden_words", {"forbidden_words": ["a", 2]}, r"is \['a', 2\]"),
    ("keywords:letter_frequency", {"letter": "ab", "let_frequency": 1, "let_relation": "at least"}, "letter of .* is 'ab'"),
    ("language:response_language", {"language": "tlh"}, "language of .* is 'tlh'"),
    ("language:response_language", {"language": ["fr"]}, "language of .* is"),
    ("startend:end_checker", {"end_phrase": " "}, "end_phrase of .* is ' '"),
    ("punctuation:no_comma", {"commas": 0}, "punctuation:no_comma has no argument 'commas'"),
    ("punctuation:no_semicolon", {}, "There is no instruction 'punctuation:no_semicolon'"),
]


def wants(name: str, **arguments: Any) -> WantsInstructions:
    return WantsInstructions((Instruction(name, arguments),))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_answers_are_judged_as_by_hand(case: Case) -> None:
    grade = grade_instructions(case.instructions, case.given)
    assert grade.is_right == case.is_right, grade.why or case.tricky
    assert grade.is_right == (not grade.why)


def test_each_of_the_25_kinds_was_judged_right_and_wrong_and_tricky() -> None:
    seen: dict[str, set[str]] = defaultdict(set)
    for case in CASES:
        for instruction in case.instructions.instructions:
            seen[instruction.name] |= {"right" if case.is_right else "wrong", *(["tricky"] if case.tricky else [])}
    assert len(KINDS) == 25
    assert seen == {name: {"right", "wrong", "tricky"} for name in KINDS}
    assert len(CASES) >= 80


def test_why_names_each_instruction_not_followed_and_what_was_seen() -> None:
    wanted = (
        Instruction("length_constraints:number_words", {"num_words": 100, "relation": "at least"}),
        Instruction("detectable_format:title", {}),
        Instruction("change_case:capital_word_frequency", {"capital_frequency": 1, "capital_relation": "less than"}),
    )
    grade = grade_instructions(WantsInstructions(wanted), Given("<<On words>> " + "word " * 46))
    assert grade.why == "length_constraints:number_words: 48 words, at least 100 wanted"
    grade = grade_instructions(WantsInstructions(wanted), Given("I " * 48))
    assert grade.why == (
        "length_constraints:number_words: 48 words, at least 100 wanted; detectable_format:title: no <<title>>; "
        "change_case:capital_word_frequency: 48 words in capitals, less than 1 wanted"
    )
    assert grade.found == ("I " * 48).strip()


@pytest.mark.parametrize(
    ("content", "strict", "loose"),
    [
        ("My answer is: two words", False, False),
        ('Sure, here it is:\n"Two words"', False, True),
        ('"Two words"\nI hope that helps!', False, True),
        ('Sure:\n"Two words"\nBye.', False, True),
        ('Sure:\n**"Two words"**\nBye.', False, True),
        ('One:\nTwo:\n"Two words"', False, False),
        ('"Two words"', True, True),
        ("", False, False),
        ("***", False, False),
    ],
)
def test_judged_loosely_the_first_and_last_line_and_asterisks_do_no_harm(content: str, strict: bool, loose: bool) -> None:
    wanted = wants("startend:quotation")
    assert grade_instructions(wanted, Given(content)).is_right == strict
    assert grade_instructions_loosely(wanted, Given(content)).is_right == loose


def test_each_instruction_may_be_followed_by_another_version_when_judged_loosely() -> None:
    wanted = WantsInstructions(
        (Instruction("startend:quotation", {}), Instruction("detectable_format:number_highlighted_sections", {"num_highlights": 1}))
    )
    assert grade_instructions_loosely(wanted, Given('Here:\n*"Yes."*')).is_right


@given(st.sampled_from(sorted(EXAMPLES)), ANSWERS)
def test_whatever_is_followed_strictly_is_followed_loosely(name: str, answer: str) -> None:
    wanted = WantsInstructions((EXAMPLES[name],))
    strict, loose = grade_instructions(wanted, Given(answer)), grade_instructions_loosely(wanted, Given(answer))
    assert loose.is_right >= strict.is_right
    assert strict.found == loose.found == answer.strip()


@given(st.sampled_from(sorted(COUNTED)), ANSWERS.filter(str.strip), st.integers(0, 6))
def test_so_many_are_either_less_than_a_number_or_at_least_it(name: str, answer: str, number: int) -> None:
    relation_name, number_name, others = COUNTED[name]
    grades = [
        grade_instructions(wants(name, **{relation_name: relation, number_name: number}, **others), Given(answer)).is_right
        for relation in ("less than", "at least")
    ]
    assert sum(grades) == 1


@pytest.mark.parametrize("mark", ["*", ".", "[", "<<", "```", "P.", "- ", "\n\n", "a. ", '"', "Section ", "\N{ZERO WIDTH SPACE}", "{"])
def test_an_answer_that_went_round_in_circles_is_judged_by_every_kind(mark: str) -> None:
    for instruction in EXAMPLES.values():
        grade = grade_instructions(WantsInstructions((instruction,)), Given(mark * 10_000))
        assert grade.is_right == (not grade.why)


@pytest.mark.parametrize(("name", "arguments", "message"), BAD_ARGUMENTS)
def test_an_instruction_that_cannot_be_is_refused_with_its_value_and_a_hint(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as refused:
        check_instruction(Instruction(name, arguments))
    assert refused.value.hint
    with pytest.raises(SettingsError, match=message):
        grade_instructions(wants(name, **arguments), Given("Yes."))


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_arguments_that_are_none_are_left_out_as_in_the_hubs_copy(name: str) -> None:
    check_instruction(EXAMPLES[name])
    check_instruction(Instruction(name, {**EXAMPLES[name].arguments, "num_everything": None, "prompt_to_repeat": None}))


def test_without_the_library_that_tells_languages_apart_only_what_needs_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_spec("py3langid") is not None
    monkeypatch.setattr(language, "find_spec", lambda name: None)  # noqa: ARG005 - as it is called
    for name in EXAMPLES.keys() - {"language:response_language", "change_case:english_capital", "change_case:english_lowercase"}:
        check_instruction(EXAMPLES[name])
    with pytest.raises(SettingsError, match="py3langid, is not installed") as refused:
        check_instruction(Instruction("language:response_language", {"language": "fr"}))
    assert "qwq-local[eval]" in refused.value.hint
