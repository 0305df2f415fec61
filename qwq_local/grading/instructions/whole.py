"""Instructions about the whole of an answer (pure). Each function says what is wrong, or nothing."""

from __future__ import annotations

from typing import Final

from qwq_local.grading.instructions.language import language_of

_DIVIDER: Final = "******"
_COMMAS: Final = ",，、،"  # noqa: RUF001 - those of Chinese and Arabic
_SHOWN: Final = 40


def two_responses(text: str) -> str:
    """Two different responses with `******` between them; one at the beginning or the end is allowed."""
    parts = [part.strip() for part in text.split(_DIVIDER)]
    if not all(parts[1:-1]):
        return f"nothing between two dividers {_DIVIDER}"
    responses = [part for part in parts if part]
    if len(responses) != 2:
        return f"{len(responses)} responses between {_DIVIDER}, 2 wanted"
    return "twice the same response" if responses[0] == responses[1] else ""


def repeat_prompt(text: str, *, prompt_to_repeat: str) -> str:
    """The request first, word for word, in whatever case."""
    wanted = prompt_to_repeat.strip()
    begin = text.strip()
    return "" if wanted and begin.lower().startswith(wanted.lower()) else f"begins with “{begin[:_SHOWN]}”, “{wanted[:_SHOWN]}” wanted"


def end_checker(text: str, *, end_phrase: str) -> str:
    """This phrase last, in whatever case; double quotes behind it do not count."""
    wanted = end_phrase.strip()
    end = text.strip().strip('"')
    return "" if end.lower().endswith(wanted.lower()) else f"ends with “{end[-_SHOWN:]}”, “{wanted[-_SHOWN:]}” wanted"


def quotation(text: str) -> str:
    """All of it within straight double quotes."""
    whole = text.strip()
    return "" if len(whole) > 1 and whole[0] == whole[-1] == '"' else "no double quotes around it"


def no_comma(text: str) -> str:
    """No comma, also none of Chinese or Arabic, which IFEval's own program lets pass."""
    n_commas = sum(text.count(comma) for comma in _COMMAS)
    return f"{n_commas} commas" if n_commas else ""


def english_capital(text: str) -> str:
    """English, without a small letter."""
    return response_language(text, language="en") if text.isupper() else _wrong_case(text, "small")


def english_lowercase(text: str) -> str:
    """English, without a capital."""
    return response_language(text, language="en") if text.islower() else _wrong_case(text, "capital")


def response_language(text: str, *, language: str) -> str:
    """All of it in the language of this ISO 639-1 code, told by `language_of`.

    A text without letters is in no language; IFEval's own program lets it pass.
    """
    found = language_of(text)
    return "" if found == language else f"the language is {found or 'none'}, {language} wanted"


def _wrong_case(text: str, case: str) -> str:
    wrong = [letter for letter in text if (letter.islower() if case == "small" else letter.isupper())]
    return f"{len(wrong)} {case} letters" if wrong else "no letters"
