"""The seam between the engine and what computes: llama.cpp, or a fake of equal rank in the tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from qwq_local.settings import Sampling

Rope = Literal["native", "yarn"]


class InterruptedDecodeError(Exception):
    """A decode was ended by `Backend.interrupt`; what it had read may be kept in part."""


@dataclass(frozen=True, slots=True)
class BatchToken:
    """One token to read: its id, its position in its sequence, and whether the logits after it are wanted."""

    token: int
    position: int
    sequence: int
    wants_logits: bool


ConstraintKind = Literal["json_schema", "json_object", "gbnf", "regex", "lark"]


@dataclass(frozen=True, slots=True)
class Constraint:
    """What an answer must look like: a JSON schema, a grammar or an expression, as text; JSON of any kind needs no `source`."""

    kind: ConstraintKind
    source: str = ""


@dataclass(frozen=True, slots=True)
class Draw:
    """A token that was drawn; where the request wants them, the natural logarithm of its probability, and the likeliest tokens' with it."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Vocabulary(Protocol):
    """Text to tokens and back."""

    @property
    def markers(self) -> Mapping[str, int]:
        """Every special token, control or user-defined, by its text."""
        ...

    @property
    def n_tokens(self) -> int:
        """How many tokens it has; their ids count from 0."""
        ...

    @property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end an answer."""
        ...

    def tokenize(self, text: str) -> list[int]:
        """Token ids of ordinary text: no text becomes a marker, whatever it spells."""
        ...

    def piece(self, token: int) -> bytes:
        """The bytes a token stands for; they may be a part of a character. Empty for control tokens."""
        ...


class Sampler(Protocol):
    """Draws tokens for one request and remembers what it drew."""

    def sample(self, batch_index: int) -> Draw:
        """Draw after the token at this index of the last batch, which wanted logits."""
        ...

    def accept(self, token: int) -> None:
        """Remember a token of the answer that was not drawn but put there."""
        ...

    def begin_answer(self) -> None:
        """The thought is over, or there is none: from here on the request's constraint holds, if it has one. Called once."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class Backend(Protocol):
    """A loaded model with its context."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's vocabulary."""
        ...

    @property
    def n_ctx(self) -> int:
        """Tokens one sequence can hold."""
        ...

    @property
    def n_cells(self) -> int:
        """Tokens that all sequences can hold together; those that several share count once."""
        ...

    @property
    def n_batch(self) -> int:
        """Tokens one decode can read."""
        ...

    @property
    def n_outputs(self) -> int:
        """Tokens of one decode that can want logits."""
        ...

    @property
    def n_sequences(self) -> int:
        """Sequences that can live at once."""
        ...

    @property
    def draft(self) -> Backend | None:
        """A smaller model of the same vocabulary that guesses for this one, with as many sequences; None where there is none."""
        ...

    @property
    def rope(self) -> Rope:
        """The position scaling of the live context."""
        ...

    def use_rope(self, rope: Rope) -> None:
        """Switch the position scaling, which empties every sequence. Raises LoadError, and is of no more use then."""
        ...

    def decode(self, batch: Sequence[BatchToken]) -> None:
        """Read a batch. Raises DecodeError, or InterruptedDecodeError after `interrupt`."""
        ...

    def wait(self) -> None:
        """Wait until what was read last is really done: GPUs go on working after `decode`."""
        ...

    def new_sampler(self, sampling: Sampling, seed: int, constraint: Constraint | None = None) -> Sampler:
        """A sampler for one request. Raises ConstraintError where nothing can be made to fit the constraint."""
        ...

    def sampler_like(self, sampler: Sampler) -> Sampler:
        """One that draws here as another, of a model of the same vocabulary, would draw there from now on: with its dice and its memory.

        It follows no constraint, and tells no probabilities.
        """
        ...

    def truncate(self, sequence: int, n_tokens: int) -> None:
        """Forget all but the first `n_tokens` of a sequence."""
        ...

    def copy(self, source: int, target: int, n_tokens: int) -> None:
        """Let an empty sequence begin as another does; the cells are shared, not copied."""
        ...

    def state_bytes(self, sequence: int) -> int:
        """How many bytes `save` would give."""
        ...

    def save(self, sequence: int) -> bytes:
        """What the cache holds of a sequence, for `restore` into a context of the same model, KV type and scaling.

        Raises DecodeError where it cannot be had, and MemoryError.
        """
        ...

    def restore(self, sequence: int, state: bytes) -> None:
        """Fill an empty sequence with what was saved. Raises DecodeError where the state is of another kind, or has no room."""
        ...

    def interrupt(self) -> None:
        """End the running decode as soon as possible; callable from any thread."""
        ...

    def rearm(self) -> None:
        """Take back an interrupt, so that the next decode runs."""
        ...

    def close(self) -> None:
        """Free the context and the model."""
        ...
