"""Who is read next: first come, first served, and everyone's next token before anyone's prompt. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from qwq_local.backend import BatchToken, Rope, Sampler
from qwq_local.engine.request import Request
from qwq_local.engine.thinking import Transcript


@dataclass(eq=False)
class Job:
    """A request on its way.

    `unread` are the tokens still to be read, `read_tokens` counts those in the KV cache; a job draws a token when nothing is unread.
    Times are readings of the engine's clock, in seconds.
    """

    id: int
    request: Request
    transcript: Transcript
    submitted_at: float
    unread: deque[int] = field(default_factory=deque)
    read_tokens: int = 0
    drawn_tokens: int = 0
    slot: int = -1
    sampler: Sampler | None = None
    admitted_at: float = 0.0
    first_token_at: float = 0.0

    @property
    def is_decoding(self) -> bool:
        """Whether the prompt is read and tokens are being drawn."""
        return self.drawn_tokens > 0


@dataclass(frozen=True)
class Share:
    """One job's part of a batch: it read `n_tokens`; `draws_at` is the batch index to draw after, None in mid-prompt."""

    job: Job
    n_tokens: int
    draws_at: int | None


class Scheduler:
    """Keeps the waiting and the running jobs; `n_slots` can run at once."""

    def __init__(self, n_slots: int) -> None:
        self.waiting: deque[Job] = deque()
        self.running: dict[int, Job] = {}
        self._free_slots = list(reversed(range(n_slots)))

    @property
    def wanted_rope(self) -> Rope | None:
        """The scaling of the longest-waiting job, when nothing runs that would lose its cache by a switch."""
        return self.waiting[0].request.rope if self.waiting and not self.running else None

    def admit(self, rope: Rope) -> list[Job]:
        """Give free slots to waiting jobs, in order; a job of another scaling holds up those behind it, so that it gets its turn."""
        admitted = []
        while self.waiting and self._free_slots and self.waiting[0].request.rope == rope:
            job = self.waiting.popleft()
            job.slot = self._free_slots.pop()
            self.running[job.slot] = job
            admitted.append(job)
        return admitted

    def release(self, job: Job) -> None:
        """Take a job out, running or waiting."""
        if job.slot >= 0:
            del self.running[job.slot]
            self._free_slots.append(job.slot)
            job.slot = -1
        else:
            self.waiting.remove(job)

    def next_batch(self, n_batch: int) -> tuple[list[BatchToken], list[Share]]:
        """The tokens to read next, at most `n_batch`, and what each job's part of them is."""
        tokens: list[BatchToken] = []
        shares: list[Share] = []
        for job in sorted(self.running.values(), key=lambda job: (not job.is_decoding, job.id)):
            n_tokens = min(len(job.unread), n_batch - len(tokens))
            if not n_tokens:
                continue
            is_last = n_tokens == len(job.unread)
            for i in range(n_tokens):
                draws = is_last and i == n_tokens - 1
                tokens.append(BatchToken(job.unread[i], job.read_tokens + i, job.slot, wants_logits=draws))
            shares.append(Share(job, n_tokens, len(tokens) - 1 if is_last else None))
        return tokens, shares
