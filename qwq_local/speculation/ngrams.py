"""Guesses from what was read or written before: where a text's last tokens stood earlier, what followed them there may follow again (pure).

Prompt lookup decoding (github.com/apoorvumang/prompt-lookup-decoding), over all texts of late and not only a request's own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from qwq_local.speculation.alike import n_alike_before

ORDERS: Final = (8, 3)
"""Numbers of last tokens that are looked up, the better first: where eight have come before, three that came later tell less."""
LEAST_MATCH: Final = min(ORDERS)
MOST_MISSED: Final = 3
"""Tokens in a row that may be other ones before a text is thought to have left the other's trail."""
LONGEST_MATCH: Final = 32
"""Like tokens are counted up to here."""
MOST_TOKENS: Final = 2**16
"""Of texts that have ended; each takes about 300 bytes."""
_PLACE_BITS: Final = 32


class NgramIndex:
    """Where sequences of tokens were seen last, in texts that grow, and in `most_tokens` of those that have ended."""

    def __init__(self, most_tokens: int = MOST_TOKENS) -> None:
        self._most_tokens = most_tokens
        self._texts: dict[int, Sequence[int]] = {}
        self._n_indexed: dict[int, int] = {}
        self._ended: OrderedDict[int, None] = OrderedDict()
        self._n_ended_tokens = 0
        self._places: dict[int, int] = {}
        self._next_id = 0

    def begin(self, tokens: Sequence[int]) -> int:
        """A text that may grow: the very sequence is kept. Returns its number."""
        text, self._next_id = self._next_id, self._next_id + 1
        self._texts[text], self._n_indexed[text] = tokens, LEAST_MATCH
        return text

    def extend(self, text: int) -> None:
        """Take in what has been appended to a text. Its last tokens are not found before something follows them."""
        tokens, places = self._texts[text], self._places
        start, end = self._n_indexed[text], len(tokens)
        base = text << _PLACE_BITS
        for order in ORDERS:
            for place in range(max(start, order), end):
                places[hash(tuple(tokens[place - order : place]))] = base | place
        self._n_indexed[text] = max(start, end)

    def end(self, text: int) -> None:
        """A text grows no more; it is kept until its room is needed."""
        self.extend(text)
        self._ended[text] = None
        self._n_ended_tokens += len(self._texts[text])
        while self._n_ended_tokens > self._most_tokens:
            self._forget(self._ended.popitem(last=False)[0])

    def find(self, tokens: Sequence[int]) -> Trail | None:
        """Where the last tokens of a text stood before; None where they did not, or nothing is kept of it."""
        for order in ORDERS:
            if len(tokens) < order:
                continue
            found = self._places.get(hash(tuple(tokens[-order:])))
            if found is None:
                continue
            source, place = self._texts[found >> _PLACE_BITS], found & (1 << _PLACE_BITS) - 1
            n_alike = n_alike_before(source, place, tokens, LONGEST_MATCH)
            if n_alike >= order:  # else two hashes are alike
                return Trail(source, place, n_alike)
        return None

    def _forget(self, text: int) -> None:
        tokens = self._texts.pop(text)
        del self._n_indexed[text]
        self._n_ended_tokens -= len(tokens)
        for order in ORDERS:
            for place in range(order, len(tokens)):
                key = hash(tuple(tokens[place - order : place]))
                if self._places.get(key, -1) >> _PLACE_BITS == text:
                    del self._places[key]


@dataclass
class Trail:
    """A text that goes on as another does: its next token should stand at `place` of `source`.

    `n_alike` tokens before that are alike in both, or else the last `n_missed` are not.
    """

    source: Sequence[int]
    place: int
    n_alike: int
    n_missed: int = 0

    @property
    def next_token(self) -> int | None:
        """The token guessed; None where the source ends."""
        return self.source[self.place] if self.place < len(self.source) else None

    def n_guesses(self, tokens: Sequence[int], n_most: int) -> int:
        """How many there are, up to `n_most`; where the source are the tokens that go on, it never ends."""
        return n_most if self.source is tokens else min(n_most, len(self.source) - self.place)

    def step(self, *, right: bool) -> None:
        """The guess was right, or another token stands in its place: then what follows may still be alike, as in a text with changes."""
        self.place += 1
        self.n_alike, self.n_missed = (self.n_alike + 1, 0) if right else (0, self.n_missed + 1)

    def guesses(self, n: int) -> list[int]:
        """The next tokens. Where the source is the text itself, it ends where the guesses begin, and these are gone round again."""
        found = list(self.source[self.place : self.place + n])
        return (found * -(-n // len(found)))[:n] if found else []
