"""Instructions about an answer's marks and parts (pure). Each function says what is wrong, or nothing."""

from __future__ import annotations

import json
import re
from typing import Final, NoReturn

from qwq_local.grading.instructions.arguments import quoted

_PLACEHOLDER: Final = re.compile(r"\[[^\[\]\n]*\]")
_BULLET: Final = re.compile(r"^[^\S\n]*[-*+][^\S\n]+\S.*$", re.MULTILINE)
_RULE: Final = re.compile(r"\s*([-*])(?:\s*\1){2,}\s*")
_HIGHLIGHT: Final = re.compile(r"\*\*([^\n*]+)\*\*|\*([^\n*]+)\*")
_POSTSCRIPTS: Final = {"P.S.": r"(?<![\w.])p\.\s?s\.", "P.P.S": r"(?<![\w.])p\.\s?p\.\s?s"}
_ANSWERS: Final = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_FENCED: Final = re.compile(r"\s*```(?:json)?(.*)```\s*", re.IGNORECASE | re.DOTALL)


def number_placeholders(text: str, *, num_placeholders: int) -> str:
    """At least so many texts in square brackets, each in one line."""
    n_placeholders = len(_PLACEHOLDER.findall(text))
    return "" if n_placeholders >= num_placeholders else f"{n_placeholders} placeholders, at least {num_placeholders} wanted"


def postscript(text: str, *, postscript_marker: str) -> str:
    """A postscript with this mark, in whatever case, wherever it stands.

    Not within something longer, as the P.S. in U.P.S. is, which IFEval's own program takes for one.
    """
    marker = postscript_marker.strip()
    pattern = _POSTSCRIPTS.get(marker, re.escape(marker.lower()))
    return "" if re.search(pattern, text.lower()) else f"“{marker}” missing"


def number_bullet_lists(text: str, *, num_bullets: int) -> str:
    """Exactly so many bullet points: lines that begin with one of -*+ and a space, as Markdown has them (CommonMark 5.2), indented or not.

    IFEval's own program asks for no space, and so counts dividers (---), negative numbers and lines that begin with *emphasis*.
    """
    n_bullets = sum(_RULE.fullmatch(line) is None for line in _BULLET.findall(text))
    return "" if n_bullets == num_bullets else f"{n_bullets} bullet points, {num_bullets} wanted"


def number_highlighted_sections(text: str, *, num_highlights: int) -> str:
    """At least so many *highlighted* or **highlighted** texts, each in one line."""
    n_highlights = sum(bool((double or single).strip()) for double, single in _HIGHLIGHT.findall(text))
    return "" if n_highlights >= num_highlights else f"{n_highlights} highlighted texts, at least {num_highlights} wanted"


def multiple_sections(text: str, *, section_spliter: str, num_sections: int) -> str:
    """At least so many marks of sections, as "Section 1" is, in this case."""
    mark = section_spliter.strip()
    n_sections = len(re.findall(rf"{re.escape(mark)}\s?\d+", text))
    return "" if n_sections >= num_sections else f"{n_sections} times “{mark}” with a number, at least {num_sections} wanted"


def constrained_response(text: str) -> str:
    """One of the three answers, among whatever else."""
    return "" if any(answer in text for answer in _ANSWERS) else f"none of {quoted(_ANSWERS)}"


def json_format(text: str) -> str:
    """JSON (RFC 8259) and nothing else, but for a fence around it."""
    fenced = _FENCED.fullmatch(text)
    try:
        json.loads(fenced[1] if fenced else text, parse_constant=_refuse)
    except ValueError as error:
        return f"not JSON: {error}"
    except RecursionError:
        return "not JSON that can be read: it is nested too deeply"
    return ""


def title(text: str) -> str:
    """A title in double angular brackets, in one line."""
    for line in text.splitlines():
        begin, end = line.find("<<"), line.rfind(">>")
        if 0 <= begin < end and line[begin:end].strip("<> \t"):
            return ""
    return "no <<title>>"


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")
