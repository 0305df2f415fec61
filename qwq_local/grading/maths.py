r"""A value in a `\boxed{}`, as QwQ's authors ask for it, compared in value with the right one.

What is written alike, and whole numbers, are compared here; the rest by math-verify (github.com/huggingface/Math-Verify) in a process of
its own.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Final

from qwq_local.errors import SettingsError
from qwq_local.grading.apart import compare_apart
from qwq_local.grading.boxes import last_boxed
from qwq_local.grading.latex import Said, bare, read_latex
from qwq_local.grading.wanted import Given, Grade, WantsMaths

_INTEGER: Final = re.compile(r"-?\d{1,1000}")
MAX_CHARACTERS: Final = 2_000
"""Of a value; what is longer is not compared."""


def grade_maths(wanted: WantsMaths, given: Given) -> Grade:
    """Whether the last box holds a value equal to the one wanted.

    A unit may be left out, but not another one given; a percentage may be given as such or as a share, and an angle in
    degrees or radians. `found` is a normal form of what is in the box, and the wanted value where that is right, so that equal answers
    count as one. It may be called in any thread. Raises SettingsError where math-verify is not installed.
    """
    if find_spec("math_verify") is None:
        raise SettingsError("Grading maths needs a library, math-verify, that is not installed.", hint="pip install 'qwq-local[eval]'")
    boxed = last_boxed(given.content)
    if boxed.why:
        return Grade(False, "", boxed.why)
    if len(boxed.content) > MAX_CHARACTERS:
        return Grade(False, boxed.content, "what is in the box is too long for a value")
    right, said = read_latex(wanted.answer), read_latex(boxed.content)
    found, due = bare(said.value) or boxed.content, bare(right.value) or wanted.answer
    if differs := _other_unit(right, said):
        return Grade(False, f"{found} {said.unit}", differs)
    graded = Grade(_alike(right, said), found, f"{_short(found)} is not {_short(due)}")
    if not (graded.is_right or said.is_words or _are_integers(right, said)):
        compared = compare_apart("maths", said.value, pairs=_pairs(right, said))
        graded = Grade(compared.is_right, compared.found or found, compared.why or graded.why)
    return Grade(True, due) if graded.is_right else graded


def _alike(right: Said, said: Said) -> bool:
    if right.is_words or said.is_words:
        return right.value.casefold() == said.value.casefold()
    if not _may_share_a_name(right, said):
        return False
    return bare(right.value) == bare(said.value) or (_are_integers(right, said) and int(right.value) == int(said.value))


def _may_share_a_name(right: Said, said: Said) -> bool:
    """Names are labels but where both answers have other ones, as x = 2 and y = 2 do; f(x) may be called y."""
    return not right.name or not said.name or bare(right.name) == bare(said.name) or "(" in right.name + said.name


def _other_unit(right: Said, said: Said) -> str:
    if right.unit and said.unit and right.unit != said.unit and "%" not in {right.unit, said.unit}:
        return f"it is in {said.unit}, not in {right.unit}"
    return ""


def _are_integers(right: Said, said: Said) -> bool:
    return "%" not in {right.unit, said.unit} and all(_INTEGER.fullmatch(each.value) for each in (right, said))


def _pairs(right: Said, said: Said) -> list[tuple[str, str]]:
    """What may be equal for the answer to be right, each as the wanted value and the given one."""
    if right.is_words:
        return []
    pairs = [(right.value, said.value)] if _may_share_a_name(right, said) else []
    if right.name or said.name:
        pairs.append((right.named, said.named))
    for one, other in ((right, said), (said, right)):
        if one.unit == "degree" and r"\pi" in other.value:
            pairs.append((rf"\frac{{({one.value})\pi}}{{180}}", other.value))
    if right.unit != said.unit and "%" in {right.unit, said.unit}:
        shares = [rf"\frac{{{each.value}}}{{100}}" if each.unit == "%" else each.value for each in (right, said)]
        pairs.append((shares[0], shares[1]))
    return pairs


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}…"
