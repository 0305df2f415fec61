"""The one loop: read a batch, draw a token for every job whose prompt is read, tell what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count

from qwq_local import card
from qwq_local.backend import Backend, InterruptedDecodeError
from qwq_local.engine.request import Event, Failed, Finished, FinishReason, Request, Timings, Usage
from qwq_local.engine.scheduler import Job, Scheduler, Share
from qwq_local.engine.thinking import ThinkMarkers, Transcript
from qwq_local.errors import ContextLengthError, DecodeError

JobEvent = tuple[int, Event]


class Engine:
    """Runs requests on a backend, one `step` at a time, from one thread. `clock` reads seconds."""

    def __init__(self, backend: Backend, clock: Callable[[], float] = time.perf_counter) -> None:
        self._backend = backend
        self._clock = clock
        self._ids = count()
        self._scheduler = Scheduler(backend.n_sequences)
        self._jobs: dict[int, Job] = {}
        markers = backend.vocabulary.markers
        self._think = ThinkMarkers(markers.get(card.THINK), markers.get(card.END_THINK))

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._jobs

    def require_room(self, request: Request) -> None:
        """Raise ContextLengthError where a prompt leaves no room for an answer; callable from any thread."""
        n_ctx = min(request.n_ctx, self._backend.n_ctx)
        if len(request.prompt) >= n_ctx:
            raise ContextLengthError(len(request.prompt), n_ctx)

    def submit(self, request: Request) -> int:
        """Queue a request and return its id. Raises ContextLengthError."""
        self.require_room(request)
        transcript = Transcript(self._think, opens_thinking=request.opens_thinking)
        job = Job(next(self._ids), request, transcript, self._clock())
        job.unread.extend(request.prompt)
        self._jobs[job.id] = job
        self._scheduler.waiting.append(job)
        return job.id

    def cancel(self, job_id: int) -> list[JobEvent]:
        """End a request; one that has ended already is left alone."""
        return self._finish(self._jobs[job_id], "cancelled") if job_id in self._jobs else []

    def fail_all(self, error: Exception) -> list[JobEvent]:
        """End every request with an error."""
        return [event for job in list(self._jobs.values()) for event in self._fail(job, error)]

    def step(self) -> list[JobEvent]:
        """Read one batch and return the events that came of it."""
        self._admit()
        tokens, shares = self._scheduler.next_batch(self._backend.n_batch)
        if not tokens:
            return []
        try:
            self._backend.decode(tokens)
        except InterruptedDecodeError:
            self._forget_unfinished(shares)
            return []
        except DecodeError as error:
            return [event for share in shares for event in self._fail(share.job, error)]
        return [event for share in shares for event in self._advance(share)]

    def _admit(self) -> None:
        rope = self._scheduler.wanted_rope
        if rope is not None:
            self._backend.use_rope(rope)
        for job in self._scheduler.admit(self._backend.rope):
            job.admitted_at = self._clock()
            job.sampler = self._backend.new_sampler(job.request.sampling, job.request.seed)
            self._backend.truncate(job.slot, 0)

    def _forget_unfinished(self, shares: list[Share]) -> None:
        """After an interrupt a part of the batch may stand in the cache: each job goes back to where it was, and reads again."""
        for share in shares:
            self._backend.truncate(share.job.slot, share.job.read_tokens)

    def _advance(self, share: Share) -> list[JobEvent]:
        job = share.job
        for _ in range(share.n_tokens):
            job.unread.popleft()
        job.read_tokens += share.n_tokens
        if share.draws_at is None:
            return []
        assert job.sampler is not None, "a running job has a sampler"
        token = job.sampler.sample(share.draws_at).token
        if not job.drawn_tokens:
            job.first_token_at = self._clock()
        job.drawn_tokens += 1
        return self._take(job, token)

    def _take(self, job: Job, token: int) -> list[JobEvent]:
        vocabulary = self._backend.vocabulary
        if token in vocabulary.end_tokens:
            return self._finish(job, "stop")
        events: list[JobEvent] = [(job.id, event) for event in job.transcript.push(token, vocabulary.piece(token))]
        is_full = job.read_tokens + 1 >= min(job.request.n_ctx, self._backend.n_ctx)
        if is_full or job.drawn_tokens == job.request.max_tokens:
            return events + self._finish(job, "length")
        job.unread.append(token)
        return events

    def _finish(self, job: Job, reason: FinishReason) -> list[JobEvent]:
        rest: list[JobEvent] = [(job.id, event) for event in job.transcript.close()]
        now = self._clock()
        admitted = job.admitted_at or now
        first = job.first_token_at or now
        timings = Timings(admitted - job.submitted_at, first - admitted, now - first)
        usage = Usage(len(job.request.prompt), job.drawn_tokens, job.transcript.reasoning_tokens)
        self._drop(job)
        return [*rest, (job.id, Finished(reason, usage, timings, job.request.rope, job.request.seed))]

    def _fail(self, job: Job, error: Exception) -> list[JobEvent]:
        self._drop(job)
        return [(job.id, Failed(error))]

    def _drop(self, job: Job) -> None:
        if job.slot >= 0:
            self._backend.truncate(job.slot, 0)
        if job.sampler:
            job.sampler.close()
        self._scheduler.release(job)
        del self._jobs[job.id]
