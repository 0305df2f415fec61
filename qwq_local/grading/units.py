"""Units by their many names (data), so that centimetres for metres are told from centimetres for cm. Nothing is converted."""

from __future__ import annotations

from typing import Final

_NAMES: Final = {
    "m": "meter meters metre metres",
    "cm": "centimeter centimeters centimetre centimetres",
    "mm": "millimeter millimeters millimetre millimetres",
    "km": "kilometer kilometers kilometre kilometres",
    "in": "inch inches",
    "ft": "foot feet",
    "yd": "yard yards",
    "mi": "mile miles",
    "g": "gram grams",
    "kg": "kilogram kilograms",
    "mg": "milligram milligrams",
    "lb": "pound pounds lbs",
    "oz": "ounce ounces",
    "s": "sec secs second seconds",
    "min": "mins minute minutes",
    "h": "hr hrs hour hours",
    "day": "days",
    "week": "weeks",
    "month": "months",
    "year": "years yr yrs",
    "L": "l liter liters litre litres",
    "mL": "ml milliliter milliliters millilitre millilitres",
    "$": "dollar dollars usd",
    "cent": "cents",
    "euro": "euros",
    "mph": "miles/hour mi/h",
    "km/h": "kmh kph kilometers/hour",
    "m/s": "meters/second metres/second",
    "degree": "degrees deg",
    "radian": "radians rad",
    "J": "joule joules",
    "N": "newton newtons",
    "W": "watt watts",
    "%": "percent percentage",
}
_KNOWN: Final = {alias: unit for unit, aliases in _NAMES.items() for alias in [unit, *aliases.split()]}
_SQUARE: Final = {"square": "2", "sq": "2", "squared": "2", "cubic": "3", "cu": "3", "cubed": "3"}

UNIT_WORDS: Final = "|".join(
    sorted((alias for alias in _KNOWN if len(alias) > 1 and alias.isalpha() and alias not in {"in", "min"}), key=len, reverse=True)
)
"""A pattern for those that are taken for units where they stand bare after a number."""


def unit_of(text: str, power: str = "") -> str:
    r"""The commonest name of a unit as an answer has it in `\text{}`, with its power; nothing where it is none that is known."""
    words = text.replace(" per ", "/").replace(".", "").split()
    for word in [word for word in words if word.lower() in _SQUARE]:
        power = power or _SQUARE[word.lower()]
        words.remove(word)
    name = " ".join(words)
    known = _KNOWN.get(name) or _KNOWN.get(name.lower(), "")
    return f"{known}^{power}" if known and power not in {"", "1"} else known
