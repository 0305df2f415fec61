"""Guesses from a draft model: a smaller one of the same vocabulary, which reads along and is a few tokens ahead."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from qwq_local.backend import Backend, BatchToken, InterruptedDecodeError
from qwq_local.errors import DecodeError
from qwq_local.speculation.alike import common_prefix
from qwq_local.speculation.writer import Writer

MOST_NEAR: Final = 16
"""Tokens that a draft model may be behind when it begins to guess; more are read beforehand."""


class DraftModel:
    """Guesses what `backend`'s model would write, for several texts at once.

    Each guess is drawn with the dice that the request itself will throw next, so that two models that agree draw the same token: more
    guesses are right than with the draft model's likeliest tokens, at any temperature.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._rope = backend.rope
        self._held: dict[int, list[int]] = {}
        self._near = max(1, min(MOST_NEAR, backend.n_batch // backend.n_sequences))

    def is_near(self, writer: Writer) -> bool:
        """Whether a text is read so far that its next tokens can be guessed."""
        return self._lag(writer) <= self._near

    def _lag(self, writer: Writer) -> int:
        """Tokens of a text that are not read."""
        held = self._held.get(_sequence(writer), [])
        return len(writer.tokens) - common_prefix(held, writer.tokens)

    def fits(self, writer: Writer, n_guesses: int) -> bool:
        """Whether the draft model's context holds the text with so many guesses, and its vocabulary what is to be read of it."""
        n_room, n_known = min(self._backend.n_ctx, self._backend.n_cells), self._backend.vocabulary.n_tokens
        unread = writer.tokens[len(writer.tokens) - self._lag(writer) :]
        return len(writer.tokens) + n_guesses <= n_room and max(unread, default=0) < n_known

    def catch_up(self, writer: Writer) -> None:
        """Read the next piece of a text that the draft model is far behind. Raises DecodeError, and InterruptedDecodeError."""
        held = self._settle(writer)
        piece = writer.tokens[len(held) : min(len(held) + self._backend.n_batch, len(writer.tokens) - 1)]
        self._make_room(len(piece), {_sequence(writer)})
        self._read([(_sequence(writer), piece)], wants_logits=False)

    def guess(self, writers: Sequence[Writer], n_guesses: Sequence[int]) -> list[list[int]]:
        """So many guesses for each text, all of which are near, or fewer where it ends. Raises DecodeError, and InterruptedDecodeError."""
        for writer in writers:
            self._settle(writer)
        self._make_room(sum(map(self._lag, writers)) + sum(n_guesses), {_sequence(writer) for writer in writers})
        guesses: list[list[int]] = [[] for _ in writers]
        active, ends = list(range(len(writers))), self._backend.vocabulary.end_tokens
        with ExitStack() as stack:
            samplers = [writer.sampler_for(self._backend) for writer in writers]
            for sampler in samplers:
                stack.callback(sampler.close)
            while active:
                places = self._read([(_sequence(writers[i]), self._unread(writers[i], guesses[i])) for i in active], wants_logits=True)
                drawn = {i: samplers[i].sample(place).token for i, place in zip(active, places, strict=True)}
                for i in (active := [i for i, token in drawn.items() if token not in ends]):
                    guesses[i].append(drawn[i])
                active = [i for i in active if len(guesses[i]) < n_guesses[i]]
        return guesses

    def _unread(self, writer: Writer, guesses: Sequence[int]) -> Sequence[int]:
        n_held = len(self._held[_sequence(writer)])
        return guesses[n_held - len(writer.tokens) :] if n_held >= len(writer.tokens) else writer.tokens[n_held:]

    def _settle(self, writer: Writer) -> list[int]:
        """Forget what is not the text's, and its last token, which is read anew for the logits after it."""
        if self._backend.rope != self._rope:
            self._rope = self._backend.rope
            self._held.clear()
        sequence = _sequence(writer)
        held = self._held.setdefault(sequence, [])
        n_kept = min(common_prefix(held, writer.tokens), len(writer.tokens) - 1)
        if n_kept < len(held):
            self._cut(sequence, n_kept)
        return held

    def _cut(self, sequence: int, n_tokens: int) -> None:
        self._backend.truncate(sequence, n_tokens)
        del self._held[sequence][n_tokens:]

    def _make_room(self, n_tokens: int, needed: set[int]) -> None:
        """Let go of texts that nobody writes now, and then of all. Raises DecodeError where that is not enough."""
        for sequence in [*(set(self._held) - needed), *needed]:
            if sum(map(len, self._held.values())) + n_tokens <= self._backend.n_cells:
                return
            if sequence in needed:
                break
            self._cut(sequence, 0)
        raise DecodeError("The draft model's cache has no room for the texts that are written.")

    def _read(self, pieces: Sequence[tuple[int, Sequence[int]]], *, wants_logits: bool) -> list[int]:
        """Read a piece of each sequence; returns where in the batch each ends."""
        batch: list[BatchToken] = []
        ends = []
        for sequence, piece in pieces:
            start, last = len(self._held[sequence]), len(piece) - 1
            batch.extend(BatchToken(token, start + i, sequence, wants_logits and i == last) for i, token in enumerate(piece))
            ends.append(len(batch) - 1)
        try:
            self._backend.decode(batch)
        except (InterruptedDecodeError, DecodeError):
            for sequence, _ in pieces:
                self._backend.truncate(sequence, len(self._held[sequence]))
            raise
        for sequence, piece in pieces:
            self._held[sequence].extend(piece)
        return ends


def _sequence(writer: Writer) -> int:
    assert writer.sequence is not None, "it runs"
    return writer.sequence
