"""Thought and answer told apart by token id, never by text. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from qwq_local import card
from qwq_local.backend import Vocabulary
from qwq_local.engine.request import Answering, Thinking
from qwq_local.engine.text import TextStream


@dataclass(frozen=True)
class ThinkMarkers:
    """Ids of `<think>` and `</think>`; None where the vocabulary has no such token.

    `closing` is put into a thought to end it with a sentence, `end` and the line feeds of `gap` where there was no thought at all.
    """

    begin: int | None
    end: int | None
    closing: tuple[int, ...] = ()
    gap: tuple[int, ...] = ()

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Self:
        """Those of a vocabulary."""
        markers: Mapping[str, int] = vocabulary.markers
        end = markers.get(card.END_THINK)
        if end is None:
            return cls(markers.get(card.THINK), None)
        gap = tuple(vocabulary.tokenize("\n\n"))
        return cls(markers.get(card.THINK), end, (*vocabulary.tokenize(card.CLOSING_SENTENCE), end, *gap), gap)


class Transcript:
    """Turns a reply's tokens into events, and counts the tokens of its thoughts (their closing marker among them)."""

    def __init__(self, markers: ThinkMarkers, *, opens_thinking: bool) -> None:
        self._markers = markers
        self.is_thinking = opens_thinking
        self._stream = TextStream()
        self.reasoning_tokens = 0

    def push(self, token: int, piece: bytes) -> list[Thinking | Answering]:
        """Take one token with its bytes; returns the text that has become certain."""
        self.reasoning_tokens += self.is_thinking
        if token not in (self._markers.begin, self._markers.end):
            return self._event(self._stream.push(piece))
        return self._turn(is_thinking=token == self._markers.begin)

    def close(self) -> list[Thinking | Answering]:
        """What was still held back at the end of the reply."""
        return self._event(self._stream.close())

    def _turn(self, *, is_thinking: bool) -> list[Thinking | Answering]:
        if is_thinking == self.is_thinking:
            return []
        last = self.close()
        self.is_thinking = is_thinking
        self._stream = TextStream()
        return last

    def _event(self, text: str) -> list[Thinking | Answering]:
        if not text:
            return []
        return [Thinking(text) if self.is_thinking else Answering(text)]
