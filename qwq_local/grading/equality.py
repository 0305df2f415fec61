"""Equality in value, by math-verify and sympy; it runs in the process that compares, which limits what it may take."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import sympy
from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify

from qwq_local.grading.wanted import Grade

_LATEX: Final = LatexExtractionConfig(
    boxed_match_priority=0,
    # Units are gone by now; math-verify would take the letters of `2m` and `3d` for some.
    normalization_config=NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="last"),
)
_CAPITAL: Final = re.compile(r"\\(?:mathbb|mathcal|text|begin|end)\s*\{[^{}]*\}|\\[a-zA-Z]+|(?P<letter>[A-Z])")
"""Variables in capital letters, which math-verify would take for those in small ones: R and r are two radii."""


def compare(given: str, pairs: Sequence[tuple[str, str]]) -> Grade:
    """Whether the two of any pair are equal; what is found is the normal form of `given`, or nothing where sympy cannot read it."""
    for wanted, each in pairs:
        if verify(_read(wanted), _read(each), allow_set_relation_comp=True, timeout_seconds=None):
            return Grade(True)
    read = _read(given)
    return Grade(False, re.sub(r"(\w)_\{cap\}", lambda match: match[1].upper(), str(_normal(read[0]))) if read else "")


def _read(latex: str) -> list[Any]:
    latex = _CAPITAL.sub(lambda match: f"{match['letter'].lower()}_{{cap}}" if match["letter"] else match[0], latex)
    read = parse(rf"\boxed{{{latex}}}", [_LATEX], fallback_mode="no_fallback", parsing_timeout=None)
    return [_with_imaginary_unit(value) for value in read]


def _with_imaginary_unit(value: Any) -> Any:  # noqa: ANN401 - sympy has no types
    """With `i` for what it is, where it counts nothing: math-verify leaves it a variable."""
    if not isinstance(value, sympy.Basic | sympy.MatrixBase) or value.has(sympy.Sum, sympy.Product, sympy.Integral, sympy.Rel):
        return value
    return value.xreplace({symbol: sympy.I for symbol in value.atoms(sympy.Symbol) if symbol.name == "i"})


def _normal(value: Any) -> Any:  # noqa: ANN401 - sympy has no types
    """A form that equal values share: decimals as fractions, roots out of denominators, products multiplied out."""
    if isinstance(value, sympy.Eq) and isinstance(value.lhs, sympy.Symbol):
        value = value.rhs
    if isinstance(value, sympy.MatrixBase):
        return value.applyfunc(_normal)
    if not isinstance(value, sympy.Expr):
        return value.func(*map(_normal, value.args)) if getattr(value, "args", ()) else value
    exact = value.xreplace({number: sympy.Rational(str(number)) for number in value.atoms(sympy.Float)})
    return sympy.expand(sympy.radsimp(sympy.together(exact.doit())))
