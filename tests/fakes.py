"""A backend of equal rank with llama.cpp's: it reads and draws by a script, and audits everything that the engine asks of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import count
from types import MappingProxyType
from typing import Final

from qwq_local.backend import BatchToken, Constraint, Draw, InterruptedDecodeError, Rope, Sampler
from qwq_local.settings import Sampling

IM_START, IM_END, END_OF_TEXT, THINK, END_THINK = range(256, 261)
PATIENCE_SECONDS: Final = 60.0
"""How long a held decode waits before it says that nobody came."""


def fake_reply(prompt: Sequence[int], seed: int) -> list[int]:
    """What a fake draws without a script: a thought that tells the prompt's length, an answer that tells the seed, an end token."""
    thought, answer = f"{len(prompt)} tokens" * (1 + seed % 3), f"seed {seed}" * (seed % 4)
    return [*thought.encode(), END_THINK, *answer.encode(), IM_END if seed % 2 else END_OF_TEXT]


class FakeVocabulary:
    """Tokens 0 to 255 are bytes; five markers follow, of which the two of thinking have a text, as QwQ's have."""

    markers: Final[Mapping[str, int]] = MappingProxyType(
        {"<|im_start|>": IM_START, "<|im_end|>": IM_END, "<|endoftext|>": END_OF_TEXT, "<think>": THINK, "</think>": END_THINK}
    )
    end_tokens: Final = frozenset({IM_END, END_OF_TEXT})
    n_tokens = 261

    def tokenize(self, text: str) -> list[int]:
        return list(text.encode())

    def piece(self, token: int) -> bytes:
        return bytes([token]) if token < 256 else {THINK: b"<think>", END_THINK: b"</think>"}.get(token, b"")


class FakeSampler:
    """Draws the reply of its seed, token by token, and the end token after its last; checks the whole sequence at each draw."""

    def __init__(self, backend: FakeBackend, seed: int) -> None:
        self._backend = backend
        self._seed = seed
        self._expected: list[int] | None = None
        self._reply: Sequence[int] = ()
        self._n_drawn = 0
        self.n_closed = self.n_constrained = 0

    def sample(self, batch_index: int) -> Draw:
        backend = self._backend
        backend.check(self.n_closed == 0, "a sampler is used after it was closed")
        sequence = backend.take_logits(batch_index)
        if self._expected is None:
            self._expected = list(sequence)
            self._reply = backend.reply(sequence, self._seed)
            backend.prompts_read[self._seed] = tuple(sequence)
        backend.check(sequence == self._expected, f"the cache of seed {self._seed} holds {sequence}, not {self._expected}")
        reply = self._reply
        token = reply[self._n_drawn] if self._n_drawn < len(reply) else IM_END
        self._n_drawn += 1
        if token not in self._backend.vocabulary.end_tokens:  # those are never put into the cache
            self._expected.append(token)
        return Draw(token)

    def coming(self) -> Iterator[int]:
        """What it will draw next."""
        return iter(self._reply[self._n_drawn :])

    def accept(self, token: int) -> None:
        if self._expected is not None:
            self._expected.append(token)

    def begin_answer(self) -> None:
        self.n_constrained += 1
        self._backend.check(self.n_constrained == 1, "an answer begins twice")

    def close(self) -> None:
        self.n_closed += 1
        self._backend.check(self.n_closed == 1, "a sampler is closed twice")


class FakeGuesser:
    """Draws from a draft model what the other sampler will draw next, except each `wrong_at`-th token, which is another."""

    def __init__(self, backend: FakeBackend, other: FakeSampler) -> None:
        self._backend = backend
        self._coming = other.coming()
        backend.n_guessers += 1

    def sample(self, batch_index: int) -> Draw:
        self._backend.take_logits(batch_index)
        self._backend.n_guessed += 1
        is_wrong = self._backend.wrong_at and self._backend.n_guessed % self._backend.wrong_at == 0
        return Draw(THINK if is_wrong else next(self._coming, IM_END))

    def accept(self, token: int) -> None:
        raise AssertionError(f"guesses are drawn only, and {token} was put there")

    def begin_answer(self) -> None:
        raise AssertionError("guesses are drawn only")

    def close(self) -> None:
        self._backend.n_guessers -= 1


class FakeBackend:
    """Implements `qwq_local.backend.Backend`; `replies` are drawn by the seed of the request, without them fake_reply is.

    Decodes are numbered from 1. `before_decode` is told the number and may raise; what it raises, and what stands in `faults`, ends that
    decode after half of its batch was read. The decodes in `held` stop until `release`, or until `interrupt` unless `is_deaf`.
    `violations` lists what the engine did wrong; `audit_idle` fails on any.
    """

    def __init__(
        self,
        replies: Sequence[Sequence[int]] | Mapping[int, Sequence[int]] | None = None,
        *,
        n_ctx: int = 64,
        n_batch: int = 8,
        n_sequences: int = 2,
        n_cells: int | None = None,
        faults: Mapping[int, Exception] = MappingProxyType({}),
        held: Collection[int] = (),
        is_deaf: bool = False,
        before_decode: Callable[[int], None] = lambda _: None,
        draft: FakeBackend | None = None,
        wrong_at: int = 0,
    ) -> None:
        self._replies = replies if isinstance(replies, Mapping | None) else dict(enumerate(replies))
        self.vocabulary = FakeVocabulary()
        self.n_ctx, self.n_batch, self.n_sequences = n_ctx, n_batch, n_sequences
        self.n_cells = n_ctx * n_sequences if n_cells is None else n_cells
        self.n_outputs = n_batch
        self.draft: FakeBackend | None = draft
        self.wrong_at, self.n_guessers, self.n_guessed = wrong_at, 0, 0
        self.rope: Rope = "native"
        self._faults, self._held, self._is_deaf, self._before_decode = faults, held, is_deaf, before_decode
        self.sequences: list[list[int]] = [[] for _ in range(n_sequences)]
        self.cells: list[list[int]] = [[] for _ in range(n_sequences)]
        self._next_cell = count()
        self._saved: dict[bytes, tuple[Rope, tuple[int, ...]]] = {}
        self.batches: list[tuple[BatchToken, ...]] = []
        self.prompts_read: dict[int, tuple[int, ...]] = {}
        self.samplers: list[FakeSampler] = []
        self.seeds: list[int] = []
        self.n_switches = self.closed = 0
        self.violations: list[str] = []
        self.is_held, self.interrupted = threading.Event(), threading.Event()
        self._logits: dict[int, tuple[int, int]] = {}
        self._due: set[int] = set()
        self._threads: set[int] = set()
        self._wake = threading.Condition()
        self._is_released = False

    def check(self, is_right: bool, wrong: str) -> None:
        """Note what is wrong, and fail there and then too."""
        self._threads.add(threading.get_ident())
        if len(self._threads) > 1:
            self.violations.append("two threads use the backend")
        if self.closed:
            self.violations.append("the backend is used after it was closed")
        if not is_right:
            self.violations.append(wrong)
            raise AssertionError(wrong)

    def use_rope(self, rope: Rope) -> None:
        self.check(not any(self.sequences), "a switch of the scaling would lose what sequences hold")
        self.n_switches += rope != self.rope
        self.rope = rope

    def decode(self, batch: Sequence[BatchToken]) -> None:
        self.batches.append(tuple(batch))
        self.check(not self._due & self._logits.keys(), "logits were wanted and never drawn from")
        self._check_batch(batch)
        try:
            self._meet_fate(len(self.batches))
        except Exception:
            self._read(batch[: len(batch) // 2])
            raise
        self._read(batch)
        self._logits = {i: (entry.sequence, entry.position + 1) for i, entry in enumerate(batch) if entry.wants_logits}
        self.check(len(self._logits) <= self.n_outputs, f"{len(self._logits)} logits, where {self.n_outputs} go")
        # Behind the first of a sequence stand guesses, which may prove wrong.
        self._due = {min(i for i, (other, _) in self._logits.items() if other == sequence) for sequence, _ in self._logits.values()}

    def _meet_fate(self, number: int) -> None:
        if number in self._held:
            self._hold()
        self._before_decode(number)
        if number in self._faults:
            raise self._faults[number]
        if self.interrupted.is_set():
            raise InterruptedDecodeError

    def reply(self, prompt: Sequence[int], seed: int) -> Sequence[int]:
        """The tokens to draw after a prompt."""
        return fake_reply(prompt, seed) if self._replies is None else self._replies[seed]

    def take_logits(self, batch_index: int) -> list[int]:
        """The sequence up to where the logits at this index of the last batch stand; each is drawn from once."""
        self.check(batch_index in self._logits, f"no logits were wanted at index {batch_index}, or they were drawn from already")
        sequence, n_tokens = self._logits.pop(batch_index)
        return self.sequences[sequence][:n_tokens]

    def wait(self) -> None:
        self.check(bool(self._logits), "nobody draws from what is waited for")

    def new_sampler(self, sampling: Sampling, seed: int, constraint: Constraint | None = None) -> FakeSampler:  # noqa: ARG002 - the script does not depend on them
        self.check(self._replies is None or seed in self._replies, f"there is no reply for the seed {seed}")
        self.samplers.append(FakeSampler(self, seed))
        self.seeds.append(seed)
        return self.samplers[-1]

    def sampler_like(self, sampler: Sampler) -> Sampler:
        assert isinstance(sampler, FakeSampler), "it is one of a fake's"
        return FakeGuesser(self, sampler)

    def truncate(self, sequence: int, n_tokens: int) -> None:
        self.check(0 <= sequence < self.n_sequences and n_tokens >= 0, f"there is no sequence {sequence} of {n_tokens} tokens")
        del self.sequences[sequence][n_tokens:]
        del self.cells[sequence][n_tokens:]

    @property
    def used_cells(self) -> int:
        """Cells that some sequence holds."""
        return len({cell for cells in self.cells for cell in cells})

    def copy(self, source: int, target: int, n_tokens: int) -> None:
        self.check(not self.sequences[target], f"sequence {target} is not empty")
        self.check(0 < n_tokens <= len(self.sequences[source]), f"sequence {source} has no {n_tokens} tokens")
        self.sequences[target] = self.sequences[source][:n_tokens]
        self.cells[target] = self.cells[source][:n_tokens]

    def state_bytes(self, sequence: int) -> int:
        return len(repr((self.rope, self.sequences[sequence])))

    def save(self, sequence: int) -> bytes:
        self.check(bool(self.sequences[sequence]), f"sequence {sequence} is empty")
        state = repr((self.rope, self.sequences[sequence])).encode()
        self._saved[state] = (self.rope, tuple(self.sequences[sequence]))
        return state

    def restore(self, sequence: int, state: bytes) -> None:
        self.check(not self.sequences[sequence], f"sequence {sequence} is not empty")
        rope, tokens = self._saved[state]
        self.check(rope == self.rope, f"a state of {rope} scaling in a context of {self.rope}")
        self.check(self.used_cells + len(tokens) <= self.n_cells, "a state is restored where there is no room")
        self._append(sequence, tokens)

    def _append(self, sequence: int, tokens: Sequence[int]) -> None:
        self.sequences[sequence].extend(tokens)
        self.cells[sequence].extend(next(self._next_cell) for _ in tokens)

    def interrupt(self) -> None:
        with self._wake:
            self.interrupted.set()
            self._wake.notify_all()

    def rearm(self) -> None:
        self.interrupted.clear()

    def release(self) -> None:
        """Let a held decode go on, and every later one."""
        with self._wake:
            self._is_released = True
            self._wake.notify_all()

    def close(self) -> None:
        self.closed += 1

    def audit_idle(self) -> None:
        """Fail unless everything was right so far, and nothing is held by anyone."""
        assert self.violations == []
        assert all(sampler.n_closed == 1 for sampler in self.samplers), "a sampler was not closed"
        assert self.n_guessers == 0, "a sampler of guesses was not closed"

    def _check_batch(self, batch: Sequence[BatchToken]) -> None:
        self.check(1 <= len(batch) <= self.n_batch, f"a batch of {len(batch)} tokens, where {self.n_batch} go")
        ends = [len(sequence) for sequence in self.sequences]
        for entry in batch:
            self.check(0 <= entry.sequence < self.n_sequences, f"there is no sequence {entry.sequence}")
            self.check(entry.position == ends[entry.sequence], f"position {entry.position}, where {ends[entry.sequence]} is next")
            self.check(entry.position < self.n_ctx, f"position {entry.position} in a context of {self.n_ctx}")
            ends[entry.sequence] += 1
        self.check(self.used_cells + len(batch) <= self.n_cells, f"{len(batch)} tokens for {self.n_cells - self.used_cells} free cells")

    def _read(self, batch: Sequence[BatchToken]) -> None:
        for entry in batch:
            self._append(entry.sequence, [entry.token])

    def _hold(self) -> None:
        with self._wake:
            self.is_held.set()
            came = self._wake.wait_for(lambda: self._is_released or (self.interrupted.is_set() and not self._is_deaf), PATIENCE_SECONDS)
        self.check(came, "nobody ended the held decode")
