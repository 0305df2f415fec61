"""The search for the best tuning (pure): one thing is changed at a time, and a change is kept that is better beyond doubt.

A change is compared with the best so far by turns, since a machine's speed drifts: before, after, after, before, and so on, N_PAIRS times.
In each pair the change is so many times as fast. It is better at something where every pair says so and their median is above LEAST_GAIN.
What is no better in any pair is given up at once. A change is kept where it is better at something, does not write slower, and gains more
than it loses elsewhere: the product of its medians counts.

At the end, what came of it is compared with the defaults N_LAST_PAIRS times more, by the same rule and by figures of its own. Where noise
alone decides, a pair says "faster" half of the time, so that all of them do so in each of three things measured with a probability of 1
in 2^N_LAST_PAIRS. With this probability for each of the three, together under 2.4 %, what is no better than the defaults is stored.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, TypeAlias, get_args

from qwq_local.errors import QwqError
from qwq_local.tuning import UNTUNED, Tuning

Aspect = Literal["decode", "together", "prefill"]
"""What is timed: tokens written one by one, tokens of several answers written at once, a prompt that is read."""
ASPECTS: Final[tuple[Aspect, ...]] = get_args(Aspect)

N_PAIRS: Final = 5
N_LAST_PAIRS: Final = 7
LEAST_GAIN: Final = 1.02

LAST: Final = ""
"""What the last comparison is called where the knobs have their names."""

Verdict = Literal["taken", "left", "refused", "not reached"]
Pair: TypeAlias = Mapping[Aspect, tuple[float, float]]
"""Tokens a second before a change and after it."""
OnTrial: TypeAlias = Callable[[str, Any], None]


class SpeedMeter(Protocol):
    """Times a model under a tuning."""

    def measure(self, tuning: Tuning, aspect: Aspect) -> float:
        """Tokens a second. Raises QwqError where this build, or this model, does not run so."""
        ...

    def pair_seconds(self, before: Tuning, after: Tuning, aspects: Sequence[Aspect]) -> float:
        """About how long it takes to measure two tunings once each."""
        ...


@dataclass(frozen=True)
class Knob:
    """What can be changed: a field of `Tuning`, the values worth a trial, and what they can make faster or slower."""

    setting: str
    values: tuple[Any, ...]
    aspects: tuple[Aspect, ...] = ASPECTS


@dataclass(frozen=True)
class Comparison:
    """Of two tunings: how many times as fast the second was in each pair, by what was timed, and the tokens a second of both."""

    ratios: Mapping[Aspect, tuple[float, ...]]
    rates: Mapping[Aspect, tuple[float, float]]

    @property
    def gains(self) -> dict[Aspect, float]:
        """How many times as fast the second is: the median."""
        return {aspect: statistics.median(each) for aspect, each in self.ratios.items()}


@dataclass(frozen=True)
class Tried:
    """A change that was to be tried, and what came of it; `why` says what is not a matter of speed."""

    setting: str
    value: Any
    verdict: Verdict
    gains: Mapping[Aspect, float] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True)
class Findings:
    """The best tuning, every change that was tried, and the best beside the defaults; None where nothing was better."""

    best: Tuning
    tried: tuple[Tried, ...]
    last: Comparison | None


def is_better(ratios: Sequence[float]) -> bool:
    """Whether a change is faster beyond doubt."""
    return min(ratios) > 1 and statistics.median(ratios) > LEAST_GAIN


def is_worth_it(comparison: Comparison) -> bool:
    """Whether a change is to be kept, all pairs measured."""
    gains = comparison.gains
    if not any(is_better(ratios) for ratios in comparison.ratios.values()) or gains.get("decode", 1.0) < 1 / LEAST_GAIN:
        return False
    return math.prod(gain for gain in gains.values() if not 1 / LEAST_GAIN <= gain <= LEAST_GAIN) > 1


class Search:
    """Goes through the knobs in their order, for so many `seconds` by the `clock`. `on_trial` is told of each change before it is tried."""

    def __init__(self, meter: SpeedMeter, seconds: float, clock: Callable[[], float], on_trial: OnTrial = lambda *_: None) -> None:
        self._meter, self._clock, self._on_trial = meter, clock, on_trial
        self._end = clock() + seconds

    def run(self, knobs: Sequence[Knob]) -> Findings:
        """Try everything there is time for. Raises QwqError where the model does not run as it does by default."""
        best, tried = UNTUNED, []
        for knob in knobs:
            for value in knob.values:
                self._on_trial(knob.setting, value)
                found = self._try(best, knob, value)
                tried.append(found)
                if found.verdict == "taken":
                    best = best.changed(knob.setting, value)
        if best == UNTUNED:
            return Findings(best, tuple(tried), None)
        self._on_trial(LAST, None)
        last = _comparison([self._pair(number, UNTUNED, best, ASPECTS) for number in range(N_LAST_PAIRS)])
        return Findings(best if is_worth_it(last) else UNTUNED, tuple(tried), last)

    def _try(self, best: Tuning, knob: Knob, value: object) -> Tried:
        """One change of the best so far."""
        try:
            after = best.changed(knob.setting, value)
            pairs: list[Pair] = []
            while len(pairs) < N_PAIRS and not _is_hopeless(pairs):
                if self._left(after) < self._meter.pair_seconds(best, after, knob.aspects):
                    return Tried(knob.setting, value, "not reached", why="there was no time left for it")
                pairs.append(self._pair(len(pairs), best, after, knob.aspects))
        except QwqError as error:
            return Tried(knob.setting, value, "refused", why=str(error))
        found = _comparison(pairs)
        is_taken = not _is_hopeless(pairs) and is_worth_it(found)
        return Tried(knob.setting, value, "taken" if is_taken else "left", found.gains)

    def _left(self, after: Tuning) -> float:
        """Seconds, less those that the last comparison will take, should this change be kept."""
        return self._end - self._clock() - N_LAST_PAIRS * self._meter.pair_seconds(UNTUNED, after, ASPECTS)

    def _pair(self, number: int, before: Tuning, after: Tuning, aspects: Sequence[Aspect]) -> Pair:
        """Tokens a second of both, the one in all aspects and then the other, since to change between them takes time."""
        by_turns = (after, before) if number % 2 else (before, after)
        rates = {tuning: {aspect: self._meter.measure(tuning, aspect) for aspect in aspects} for tuning in by_turns}
        return {aspect: (rates[before][aspect], rates[after][aspect]) for aspect in aspects}


def _is_hopeless(pairs: Sequence[Pair]) -> bool:
    """Whether there is nothing that the change made faster each time."""
    return bool(pairs) and all(any(after <= before for before, after in (pair[aspect] for pair in pairs)) for aspect in pairs[0])


def _comparison(pairs: Sequence[Pair]) -> Comparison:
    by_aspect = {aspect: [pair[aspect] for pair in pairs] for aspect in pairs[0]}
    ratios = {aspect: tuple(after / before for before, after in rates) for aspect, rates in by_aspect.items()}
    medians = {
        aspect: (statistics.median(a for a, _ in rates), statistics.median(b for _, b in rates)) for aspect, rates in by_aspect.items()
    }
    return Comparison(ratios, medians)
