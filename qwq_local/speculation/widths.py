"""How many guesses are worth reading (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

LEAST_GAIN: Final = 1.1
"""Guesses are read where that is expected to be so much faster. Chances and costs are known to some ten percent; with less of a margin,
short answers of changing kinds came out up to five percent slower (`benchmarks.speculation`)."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Guesses for one text: for each its chance to be right together with all before it, which falls, and the seconds to find it."""

    chances: Sequence[float] = ()
    find_seconds: float = 0.0


NO_GUESSES: Final = Offer()


def choose(n_texts: int, offers: Sequence[Offer], room: int, seconds: Callable[[int], float]) -> list[int]:
    """How many guesses of each offer to read, so that most tokens a second are written.

    `n_texts` are written at once, each of which reads one token anyway; `room` is for guesses in all; `seconds` tells what a step takes
    that reads so many tokens, 0.0 where nobody knows.
    """
    counts = [0] * len(offers)
    ranked = sorted(((chance, index) for index, offer in enumerate(offers) for chance in offer.chances), key=lambda each: -each[0])
    if not ranked or not seconds(n_texts):
        return counts
    steps = ((chance, offers[index].find_seconds) for chance, index in ranked[:room])
    rates = list(_rates(n_texts, steps, seconds))
    best = max(range(len(rates)), key=rates.__getitem__)
    for _, index in ranked[: best if rates[best] > rates[0] * LEAST_GAIN else 0]:
        counts[index] += 1
    return counts


def best_rate(n_texts: int, offer: Offer, seconds: Callable[[int], float]) -> float:
    """The most tokens a second that one offer alone comes to; 0.0 where nobody knows."""
    if not seconds(n_texts):
        return 0.0
    return max(_rates(n_texts, ((chance, offer.find_seconds) for chance in offer.chances), seconds))


def _rates(n_texts: int, guesses: Iterable[tuple[float, float]], seconds: Callable[[int], float]) -> Iterator[float]:
    """Tokens a second without guesses, with the first, with the first two, and so on."""
    expected, finding_seconds = float(n_texts), 0.0
    yield expected / seconds(n_texts)
    for n, (chance, find_seconds) in enumerate(guesses, start=1):
        expected += chance
        finding_seconds += find_seconds
        yield expected / (seconds(n_texts + n) + finding_seconds)
