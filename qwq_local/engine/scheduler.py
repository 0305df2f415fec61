"""Who is read next (pure): first come, first served; everyone's next token before anyone's prompt; the youngest makes room."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from qwq_local.backend import Backend, BatchToken, Rope, Sampler
from qwq_local.engine.answer import Answer
from qwq_local.engine.cache import KvCache
from qwq_local.engine.request import Request
from qwq_local.speculation.alike import common_prefix

RESERVE_CELLS: Final = 16
"""Left free for each job that runs when another is admitted, so that it is not set aside at once."""
WORTH_WAITING_FOR: Final = 32
"""Tokens; a shorter beginning that another job is about to read is read twice."""


@dataclass(eq=False)
class Job:
    """A request on its way.

    `tokens` are the prompt and what was written after it; a job draws when all are read. While it runs, `sequence` of the KV cache holds
    the first `n_read` of them, and 0 <= n_read < n_tokens < n_ctx: there is a token to read, and room for the one drawn then. `n_cached`
    of the prompt were there when it began. Times are readings of the engine's clock, in seconds. `n_drafted` guesses were read for it, of
    which `n_accepted` were right; the steps without any are counted in `plain_steps`.
    """

    id: int
    request: Request
    answer: Answer
    submitted_at: float
    n_ctx: int
    rope: Rope
    tokens: list[int]
    n_read: int = 0
    n_cached: int = 0
    sequence: int | None = None
    served_in: int = 0
    admitted_at: float | None = None
    first_token_at: float | None = None
    drawn_at: float | None = None
    plain_steps: int = 0
    plain_seconds: float = 0.0
    n_drafted: int = 0
    n_accepted: int = 0

    @property
    def n_tokens(self) -> int:
        """How many there are by now."""
        return len(self.tokens)

    @property
    def n_unread(self) -> int:
        """Tokens that are not in the KV cache yet."""
        return self.n_tokens - self.n_read

    def note_draw(self, now: float, n_guesses: int, n_right: int) -> None:
        """A step has ended in which tokens were drawn for it."""
        self.n_drafted += n_guesses
        self.n_accepted += n_right
        if self.drawn_at is not None and not n_guesses:
            self.plain_steps += 1
            self.plain_seconds += now - self.drawn_at
        self.drawn_at = now

    @property
    def n_guessable(self) -> int:
        """Guesses that could be of use, for one token is drawn after the last of them."""
        return max(0, min(self.answer.n_left, self.n_ctx - self.n_tokens) - 1) if self.request.speculates else 0

    def sampler_for(self, draft: Backend) -> Sampler:
        """A sampler that draws from a draft model as the answer's own would."""
        return self.answer.sampler_for(draft)


@dataclass(frozen=True)
class Share:
    """One job's part of a batch: it read `n_tokens` of its own, and after them `guesses`.

    `draws_at` is the batch index to draw after, None in mid-prompt; those of the guesses follow it.
    """

    job: Job
    n_tokens: int
    draws_at: int | None
    guesses: list[int] = field(default_factory=list)


class Batch(NamedTuple):
    """What is read at once: the tokens of all, and whose they are. `reads_prompts`: some of them more than the next token of an answer."""

    tokens: list[BatchToken]
    shares: list[Share]
    reads_prompts: bool


Guess = Callable[[Sequence[Job], int], Mapping[int, list[int]]]
"""Guesses what jobs will write next, for so many tokens of room: by their ids."""


def guess_nothing(_: Sequence[Job], __: int) -> Mapping[int, list[int]]:
    """A `Guess` without guesses."""
    return {}


class Scheduler:
    """Keeps the waiting and the running jobs; `n_parallel` can run at once."""

    def __init__(self, cache: KvCache, n_parallel: int) -> None:
        self.waiting: list[Job] = []
        self.running: dict[int, Job] = {}
        self.n_set_aside = 0
        self._cache = cache
        self._n_parallel = n_parallel
        self._n_batches = 0
        self._alike: dict[tuple[int, int], int] = {}

    @property
    def wanted_rope(self) -> Rope | None:
        """The scaling of the oldest waiting job, when nothing runs that would lose its cache by a switch."""
        return self.waiting[0].rope if self.waiting and not self.running else None

    def wait(self, job: Job) -> None:
        """Put a job in line, behind those that came before it."""
        insort(self.waiting, job, key=lambda each: each.id)

    def admit(self, rope: Rope) -> list[Job]:
        """Let waiting jobs run, in their order.

        One that does not fit yet, or is of another scaling, holds up those behind it, so that it gets its turn. One whose beginning is
        about to be read by another waits for that, and holds up nobody.
        """
        admitted: list[Job] = []
        for job in list(self.waiting):
            if len(self.running) == self._n_parallel or not self._cache.has_sequence or job.rope != rope or not self._fits(job):
                break
            if self._awaits_its_beginning(job):
                continue
            self.waiting.remove(job)
            job.sequence, job.n_read = self._cache.open(job.tokens)
            self.running[job.id] = job
            admitted.append(job)
        return admitted

    def next_batch(self, n_batch: int, n_prefill: int, guess: Guess = guess_nothing, n_outputs: int = 0) -> Batch:
        """What those who run read next: at most `n_batch` tokens.

        Where somebody writes, at most `n_prefill` tokens of prompts are read beside. Where all do, guesses are read with their tokens, as
        far as there are free cells, and up to `n_outputs` tokens that are drawn after.
        """
        self._make_room()
        self._n_batches += 1
        order = sorted(self.running.values(), key=lambda job: (job.served_in, job.id))[:n_batch]
        grants = {job.id: 1 for job in order}
        readers = [job for job in order if job.n_unread > 1]
        self._grant_more(readers, grants, n_batch, n_prefill)
        room = min(n_batch, n_outputs, self._cache.n_free) - len(order)
        guesses = {} if readers or room <= 0 else guess(order, room)
        batch = Batch([], [], bool(readers))
        for job in order:
            self._append(batch, job, grants[job.id], guesses.get(job.id, []))
        return batch

    def _append(self, batch: Batch, job: Job, n_tokens: int, guesses: list[int]) -> None:
        assert job.sequence is not None, "it runs"
        assert 0 <= job.n_read < job.n_tokens < job.n_ctx, f"{job.n_read} of {job.n_tokens} tokens are read, where {job.n_ctx} go"
        end = job.n_read + n_tokens
        read = [*job.tokens[job.n_read : end], *guesses]
        batch.tokens.extend(
            BatchToken(token, i, job.sequence, wants_logits=i >= job.n_tokens - 1) for i, token in enumerate(read, start=job.n_read)
        )
        draws_at = len(batch.tokens) - 1 - len(guesses) if end == job.n_tokens else None
        batch.shares.append(Share(job, n_tokens, draws_at, guesses))
        job.served_in = self._n_batches

    def set_aside(self, job: Job) -> None:
        """Let a running job wait; what it has read becomes idle, and is found again if its cells are not needed."""
        self.n_set_aside += 1
        self._stop_running(job)
        self.wait(job)

    def release(self, job: Job, kept_tokens: int | None = None) -> None:
        """Take a job out, running or waiting; its first tokens (by default all that were read) stay in the cache as idle."""
        if job.id in self.running:
            self._stop_running(job, kept_tokens)
        else:
            self.waiting.remove(job)
        self._alike = {pair: n for pair, n in self._alike.items() if job.id not in pair}

    def _stop_running(self, job: Job, kept_tokens: int | None = None) -> None:
        assert job.sequence is not None, "it runs"
        self._cache.retire(job.sequence, kept_tokens)
        del self.running[job.id]
        job.sequence, job.n_read = None, 0

    def _fits(self, job: Job) -> bool:
        """Whether there are cells for all that a job has to read, beside those that run; alone it always fits."""
        if not self.running:
            return True
        needed = job.n_tokens - self._cache.live_prefix(job.tokens) + RESERVE_CELLS * (len(self.running) + 1)
        return needed <= self._cache.n_available

    def _awaits_its_beginning(self, job: Job) -> bool:
        readers = [each for each in self.running.values() if each.n_unread > 1]
        return any(self._n_alike(job, reader) - reader.n_read >= WORTH_WAITING_FOR for reader in readers)

    def _n_alike(self, job: Job, reader: Job) -> int:
        """How many tokens both begin with; all but the last of a job's can be taken over."""
        pair = job.id, reader.id
        if pair not in self._alike:
            self._alike[pair] = min(common_prefix(job.tokens, reader.tokens), job.n_tokens - 1)
        return self._alike[pair]

    def _make_room(self) -> None:
        """Set the youngest aside until everyone who runs can read a token."""
        while not self._cache.make_room(len(self.running)):
            self.set_aside(self.running[max(self.running)])

    def _grant_more(self, readers: Iterable[Job], grants: dict[int, int], n_batch: int, n_prefill: int) -> None:
        """Divide what is left of a batch among those who read a prompt: equally, but nobody gets more than he has."""
        in_order = sorted(readers, key=lambda job: job.n_unread)
        left = n_batch - len(grants)
        if len(in_order) < len(grants):
            left = min(left, n_prefill)
        wanted = min(left, sum(job.n_unread - 1 for job in in_order))
        self._cache.make_room(len(grants) + wanted)
        left = min(wanted, self._cache.n_free - len(grants))
        for i, job in enumerate(in_order):
            more = min(job.n_unread - 1, left // (len(in_order) - i))
            grants[job.id] += more
            left -= more
