"""A text in the making, as whoever guesses for it sees it."""

from __future__ import annotations

from typing import Protocol

from qwq_local.backend import Backend, Sampler


class Writer(Protocol):
    """A request whose tokens are all read but the last."""

    @property
    def id(self) -> int:
        """Its number, which no other has."""
        ...

    @property
    def tokens(self) -> list[int]:
        """Its prompt and what was written after it: one list, that grows."""
        ...

    @property
    def sequence(self) -> int | None:
        """The sequence of the KV cache that holds it."""
        ...

    @property
    def n_guessable(self) -> int:
        """Guesses that could be of use: one token is drawn after the last of them, and that is all there is room for."""
        ...

    def sampler_for(self, draft: Backend) -> Sampler:
        """A sampler that draws from a draft model as this request's own would draw; to be closed."""
        ...
