"""Bytes of tokens to text that can be shown. Pure."""

from __future__ import annotations

import codecs


class TextStream:
    """Holds back what cannot be shown yet: a character whose bytes are not all there, and line feeds that may prove to be padding.

    Line feeds at the start are dropped; those at the end are only given out once other text follows.
    """

    def __init__(self) -> None:
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
        if not self._started:
            text = text.lstrip("\n")
        if not text:
            return ""
        self._started = True
        body = text.rstrip("\n")
        held = "\n" * self._held_line_feeds
        self._held_line_feeds = len(text) - len(body) + (0 if body else self._held_line_feeds)
        return held + body if body else ""
