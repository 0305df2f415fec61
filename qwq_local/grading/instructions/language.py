"""Which language is a text in?"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from qwq_local.errors import SettingsError

_CODES: Final = (
    "af ar bg bn ca cs cy da de el en es et fa fi fr gu he hi hr hu id it ja kn ko lt lv mk ml mr ne nl no pa pl pt ro ru sk sl so sq "
    "sv sw ta te th tl tr uk ur vi zh"
)
LANGUAGES: Final = frozenset(_CODES.split())
"""ISO 639-1 codes: those that langdetect tells apart, which IFEval's own program uses (all Chinese is one here)."""


def check_detector() -> None:
    """Raise SettingsError where the library that tells languages apart is not installed."""
    if find_spec("py3langid") is None:
        raise SettingsError("The library that tells languages apart, py3langid, is not installed.", hint="pip install 'qwq-local[eval]'")


def language_of(text: str) -> str | None:
    """The likeliest of LANGUAGES for a text; None for one without letters.

    py3langid tells it by the frequency of byte n-grams (Lui and Baldwin 2012, langid.py), always alike. A text of a few words may be taken
    for one in a related language.
    """
    if not any(character.isalpha() for character in text):
        return None
    import py3langid

    ranked: list[tuple[str, float]] = py3langid.rank(text)
    return next((language for language, _ in ranked if language in LANGUAGES), None)
