"""Which of several samples is handed on (pure).

A race takes the first that ends by itself. A vote counts results: it is decided as soon as those that still run cannot change it, each of
them counted for whichever result is next; of equal counts the result that came first wins, and the first sample with it is handed on.
Answers without a result don't vote; where none has one, the first that ended by itself is taken, when all have ended.

Where none ends by itself, the best of what there is: one that has begun to answer before one that only thought, one that was cut short
before one that went round in circles, and then the first to end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from qwq_local.engine import Failed, Finished, FinishReason
from qwq_local.race.results import result_of

_WORTH: Final[dict[FinishReason, int]] = {"stop": 3, "length": 2, "repetition": 1, "cancelled": 0}


@dataclass(frozen=True)
class Ended:
    """A sample that has ended; `place` counts the samples from 0."""

    place: int
    end: Finished | Failed
    content: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether it ended by itself."""
        return isinstance(self.end, Finished) and self.end.reason == "stop"


Rule: TypeAlias = Callable[[Sequence[Ended], int], int | None]
"""From those that have ended, in their order, and how many still run: the place of the winner, where it is decided."""


def first_to_end(ended: Sequence[Ended], n_running: int) -> int | None:
    """The rule of a race."""
    whole = next((each.place for each in ended if each.is_whole), None)
    return _last_resort(ended) if whole is None and n_running == 0 else whole


def majority(ended: Sequence[Ended], n_running: int) -> int | None:
    """The rule of a vote."""
    counts = votes(ended)
    if counts:
        # Of equal counts the first is the first that came: so are dictionaries ordered, and so does `max` choose.
        leader = max(counts, key=counts.__getitem__)
        return _first_with(leader, ended) if _is_decided(leader, counts, n_running) else None
    return first_to_end(ended, 0) if n_running == 0 else None


def votes(ended: Sequence[Ended]) -> dict[str, int]:
    """How many samples had each result, the first to come first."""
    results = (result_of(each.content) for each in ended if each.is_whole)
    return dict(Counter(result for result in results if result is not None))


def _is_decided(leader: str, counts: dict[str, int], n_running: int) -> bool:
    """Whether no other result can win any more, one that nobody had yet included."""
    came_before = True
    for result, count in counts.items():
        if result == leader:
            came_before = False
        elif count + n_running > counts[leader] - came_before:
            return False
    return n_running <= counts[leader]


def _first_with(result: str, ended: Sequence[Ended]) -> int:
    return next(each.place for each in ended if each.is_whole and result_of(each.content) == result)


def _last_resort(ended: Sequence[Ended]) -> int | None:
    """The place of the best that ended in whatever way; None where all are lost."""
    finished = [(each, each.end) for each in ended if isinstance(each.end, Finished)]
    if not finished:
        return None
    best, _ = max(finished, key=lambda pair: (bool(pair[0].content.strip()), _WORTH[pair[1].reason]))
    return best.place
