"""Bytes of tokens to text that can be shown, up to where a stop string ends it. Pure."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """Holds back what cannot be shown yet: a character whose bytes are not all there, and line feeds that may prove to be padding.

    Line feeds at the start are dropped; those at the end are only given out once other text follows. Unless `trims` is off.
    """

    def __init__(self, *, trims: bool = True) -> None:
        self._trims = trims
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held_line_feeds = 0
        self._started = False

    def push(self, data: bytes) -> str:
        """The text that has become certain."""
        return self._trim(self._decoder.decode(data))

    def close(self) -> str:
        """What is left at the end: a character that was cut short shows as U+FFFD, line feeds that pad are gone."""
        return self._trim(self._decoder.decode(b"", final=True))

    def _trim(self, text: str) -> str:
        if not self._trims:
            return text
        if not self._started:
            text = text.lstrip("\n")
        if not text:
            return ""
        self._started = True
        body = text.rstrip("\n")
        held = "\n" * self._held_line_feeds
        self._held_line_feeds = len(text) - len(body) + (0 if body else self._held_line_feeds)
        return held + body if body else ""


class StopStrings:
    """Ends a text before the first of these strings that is complete in it; of several complete at one character, before the longest.

    It reads character by character, so that it does not matter how the text comes. The strings must not be empty. `met` is the one that
    ended it, or empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        assert all(stops), "an empty string would stop everything"
        self._stops = [(stop, _borders(stop)) for stop in stops]
        self._matched = [0] * len(stops)
        self._held = ""
        self.met = ""

    def push(self, text: str) -> str:
        """The text that has become certain: what cannot be the beginning of a stop string any more. Nothing once one is met."""
        if self.met:
            return ""
        for i, character in enumerate(text):
            if length := self._step(character):
                shown, self._held = self._held + text[: i + 1], ""
                self.met = shown[-length:]
                return shown[:-length]
        seen = self._held + text
        certain = len(seen) - max(self._matched, default=0)
        self._held = seen[certain:]
        return seen[:certain]

    def close(self) -> str:
        """What was still held back at the end of the text; what may follow is another one."""
        held, self._held = self._held, ""
        self._matched = [0] * len(self._stops)
        return held

    def _step(self, character: str) -> int:
        """Take one character; the length of the longest string that it completes, or 0 (Knuth, Morris and Pratt's matching, for each)."""
        complete = 0
        for i, (stop, borders) in enumerate(self._stops):
            matched = self._matched[i]
            while matched and stop[matched] != character:
                matched = borders[matched]
            matched += stop[matched] == character
            if matched == len(stop):
                complete = max(complete, matched)
            self._matched[i] = matched
        return complete


def _borders(text: str) -> list[int]:
    """For each length of a beginning of the text, that of the longest shorter beginning that is also its end."""
    borders = [0, 0]
    for i in range(1, len(text)):
        border = borders[i]
        while border and text[border] != text[i]:
            border = borders[border]
        borders.append(border + (text[border] == text[i]))
    return borders
