"""LaTeX as Unicode (pure): what a terminal can show of a formula, by pylatexenc; its source where that does not know a part of it."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pylatexenc.latex2text import LatexNodes2Text
    from pylatexenc.macrospec import LatexContextDb

LONGEST: Final = 4000
"""Formulas with more characters are shown as they were written."""

_BOX, _END_BOX = "\ue000", "\ue001"
_RAISED: Final = str.maketrans("0123456789+-=()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ")
_LOWERED: Final = str.maketrans("0123456789+-=()aeijkmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑᵢⱼₖₘₙₒₚᵣₛₜᵤᵥₓ")
_SCRIPTS: Final = re.compile(r"(?<!\\)([\^_])")
_ARROWS: Final = {
    "implies": "⟹",
    "iff": "⟺",
    "to": "→",
    "gets": "←",
    "ne": "≠",
    "le": "≤",
    "ge": "≥",
    "cdots": "⋯",
    "ldots": "…",
    "dots": "…",
}
_RELATIONS: Final = re.compile(r" ?([\u00d7·÷±≤≥≠≈≡∈∉⊂⊆\u222a∩→⟹⟺∴]) ?")
_ENVIRONMENTS: Final = re.compile(r"\\(begin|end)\{(aligned|align\*?|gathered|gather\*?|split|equation\*?)\}|(?<!\\)&(?==)")


def readable(latex: str) -> list[tuple[str, bool]]:
    """A formula in pieces of text, of which those in a `\\boxed{…}` are marked True."""
    pieces: list[tuple[str, bool]] = []
    for index, part in enumerate(re.split(f"[{_BOX}{_END_BOX}]", _plain(re.sub(f"[{_BOX}{_END_BOX}]", "", latex)))):
        if part:
            pieces.append((part, index % 2 == 1))
    return pieces


def _plain(latex: str) -> str:
    if len(latex) > LONGEST or latex.count("{") != latex.count("}"):
        return latex.strip()
    source = _SCRIPTS.sub(lambda found: r"\sp " if found[0] == "^" else r"\sb ", _ENVIRONMENTS.sub("", latex))
    try:
        text = _reader().latex_to_text(source, latex_context=_grammar(), tolerant_parsing=False)
    except Exception:  # noqa: BLE001 - on what is no whole formula pylatexenc fails in many ways, and then the source is what can be shown
        return latex.strip()
    text = _RELATIONS.sub(r" \1 ", re.sub(r" *\n\s*", "\n", text))
    return re.sub(r" {2,}| (?=[⁰¹²³⁴-⁹₀-₉])", lambda found: found[0][:-1][:1], text).strip() or latex.strip()


def _script(mark: str, table: dict[int, int], text: str) -> str:
    if all(ord(letter) in table for letter in text):
        return text.translate(table)
    return mark + (text if len(text) == 1 else f"({text})")


def _term(text: str) -> str:
    """A part of a fraction, in parentheses where it would be read wrongly without."""
    return text if re.fullmatch(r"[\w.,²³⁴πα-ω√∞]+", text) else f"({text})"


_BRACED: Final = {
    "boxed": lambda text: f"{_BOX}{text}{_END_BOX}",
    "fbox": lambda text: f"{_BOX}{text}{_END_BOX}",
    "sp": lambda text: "°" if text in ("∘", "\\circ") else _script("^", _RAISED, text),
    "sb": lambda text: _script("_", _LOWERED, text),
    "operatorname": lambda text: f"{text} ",
    "pmod": lambda text: f" (mod {text})",
    "overline": lambda text: "".join(f"{letter}\u0305" for letter in text),
}
_BY_TWO: Final = {
    **dict.fromkeys(("frac", "dfrac", "tfrac", "cfrac"), lambda a, b: f"{_term(a)}/{_term(b)}"),
    **dict.fromkeys(("binom", "dbinom"), lambda a, b: f"C({a}, {b})"),
}
_SPACES: Final = dict.fromkeys(("quad", "qquad", ";", ":", ","), " ") | dict.fromkeys(("!", "left", "right", "displaystyle", "limits"), "")
_NAMED: Final = ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "log", "ln", "exp", "gcd", "det", "max", "min")
_FUNCTIONS: Final = {name: f" {name} " for name in (*_NAMED, "arcsin", "arccos", "arctan")}


@cache
def _grammar() -> LatexContextDb:
    """Which macro takes how many arguments."""
    from pylatexenc.latexwalker import get_default_latex_context_db
    from pylatexenc.macrospec import std_macro

    grammar = get_default_latex_context_db()
    macros = [std_macro(name, "{") for name in _BRACED] + [std_macro(name, "{{") for name in _BY_TWO]
    grammar.add_context_category("qwq", macros=macros, prepend=True)
    return grammar


@cache
def _reader() -> LatexNodes2Text:
    from pylatexenc.latex2text import LatexNodes2Text, MacroTextSpec, get_default_latex_context_db

    texts = get_default_latex_context_db()
    macros = [MacroTextSpec(name, simplify_repl=text) for name, text in (_ARROWS | _SPACES | _FUNCTIONS).items()]
    for name, write in (*_BRACED.items(), *_BY_TWO.items()):
        macros.append(MacroTextSpec(name, simplify_repl=_writer(write)))
    texts.add_context_category("qwq", macros=macros, prepend=True)
    texts.set_unknown_macro_spec(MacroTextSpec("", simplify_repl=_refuse))
    return LatexNodes2Text(latex_context=texts, math_mode="text", strict_latex_spaces=False)


class _UnknownMacroError(Exception):
    """pylatexenc would leave the macro out, and so change what the formula says."""


def _refuse(node: Any) -> str:  # noqa: ANN401 - pylatexenc has no types
    raise _UnknownMacroError(node.macroname)


def _writer(write: Any) -> Any:  # noqa: ANN401 - pylatexenc has no types
    def text_of(node: Any, l2tobj: LatexNodes2Text) -> str:  # noqa: ANN401 - likewise; it looks at the names of the arguments
        if node.nodeargd is None or None in node.nodeargd.argnlist:
            raise _UnknownMacroError(node.macroname)
        parts = [l2tobj.nodelist_to_text([part]).strip() for part in node.nodeargd.argnlist]
        return str(write(*parts))

    return text_of
