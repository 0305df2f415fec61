"""The one loop: read a batch, draw a token for every job whose tokens are read, tell what became of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from qwq_local.backend import Backend, InterruptedDecodeError, Rope
from qwq_local.engine.ahead import ReadAhead
from qwq_local.engine.answer import Answer
from qwq_local.engine.cache import KvCache
from qwq_local.engine.pace import Pace
from qwq_local.engine.request import Event, Failed, Finished, FinishReason, Request, RopeSwitched, Timings, Usage
from qwq_local.engine.scheduler import Batch, Job, Scheduler, Share, guess_nothing
from qwq_local.engine.shelf import PrefixShelf
from qwq_local.engine.snapshot import Counters, Snapshot
from qwq_local.engine.thinking import ThinkMarkers
from qwq_local.errors import DecodeError, QwqError
from qwq_local.speculation import Speculator
from qwq_local.speculation.alike import common_prefix

JobEvent = tuple[int, Event]


@dataclass(frozen=True)
class EngineSettings:
    """How an engine shares its model.

    `n_parallel` requests run at once (by default as many as the backend has sequences); `spill_bytes` of host memory keep the prefixes that
    had to leave the KV cache; prompts are read in pieces of about `step_seconds` while somebody writes. `shelf` keeps prefixes from one
    engine's life to the next. `speculates`: what comes next is guessed, and read along where that is faster.
    """

    n_parallel: int | None = None
    spill_bytes: int = 2**30
    step_seconds: float = 0.5
    shelf: PrefixShelf | None = None
    speculates: bool = True


DEFAULTS = EngineSettings()


class Engine:
    """Runs requests on a backend, one `step` at a time, from one thread. `clock` reads seconds."""

    def __init__(self, backend: Backend, settings: EngineSettings = DEFAULTS, clock: Callable[[], float] = time.perf_counter) -> None:
        self._backend = backend
        self._clock = clock
        self._ids = count()
        self._cache = KvCache(backend, settings.spill_bytes)
        self._scheduler = Scheduler(self._cache, min(settings.n_parallel or backend.n_sequences, backend.n_sequences))
        self._ahead = ReadAhead(backend, self._cache)
        self._pace = Pace(settings.step_seconds)
        self._jobs: dict[int, Job] = {}
        self._think = ThinkMarkers.of(backend.vocabulary)
        self._counters = Counters()
        self._shelf = settings.shelf
        self._speculator = Speculator(backend.draft, backend.n_outputs, clock) if settings.speculates else None
        self._unshelve(settings.spill_bytes)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._jobs and not self._ahead

    @property
    def is_reading_ahead(self) -> bool:
        """Whether all that is done could as well be done later."""
        return not self._jobs and bool(self._ahead)

    @property
    def n_room(self) -> int:
        """Tokens that prompt and answer of a request may fill together; callable from any thread."""
        return min(self._backend.n_ctx, self._backend.n_cells)

    def submit(self, request: Request) -> int:
        """Queue a request and return its id. Raises ContextLengthError, and ConstraintError where nothing can fit its constraint."""
        limit = request.room_for_answer(self.n_room)
        sampler = self._backend.new_sampler(request.sampling, request.seed, request.constraint)
        answer = Answer(request, limit, sampler, self._backend.vocabulary, self._think)
        tokens = [*request.prompt, *answer.take_tokens()]
        job = Job(next(self._ids), request, answer, self._clock(), min(request.n_ctx, self.n_room), request.rope, tokens)
        self._jobs[job.id] = job
        self._scheduler.wait(job)
        return job.id

    def cancel(self, job_id: int) -> list[JobEvent]:
        """End a request; one that has ended already is left alone."""
        return self._finish(self._jobs[job_id], "cancelled") if job_id in self._jobs else []

    def answer_now(self, job_id: int) -> list[JobEvent]:
        """Close the thought of a request, so that it answers from what it has; one that does not think is left alone."""
        job = self._jobs.get(job_id)
        if job is None:
            return []
        job.answer.close_thought("asked")
        return self._continue(job)

    def preread(self, tokens: tuple[int, ...], rope: Rope) -> None:
        """Read what a later request will begin with, while there is nothing else to do."""
        self._ahead.add(tokens, rope)

    def fail_all(self, error: Exception) -> list[JobEvent]:
        """End every request with an error."""
        return [event for job in list(self._jobs.values()) for event in self._fail(job, error)]

    def _unshelve(self, most_bytes: int) -> None:
        try:
            self._cache.take(self._shelf.read(most_bytes) if self._shelf else ())
        except OSError as error:
            logging.getLogger(__name__).warning("What was kept of chats cannot be read: %s", error)

    def shelve(self) -> None:
        """Keep what the cache holds for the next engine of the same model and KV type, where there is a shelf; nothing may run."""
        if self._shelf:
            self._ahead.pause()
            self._shelf.write(self._cache.saved(self._shelf.most_bytes))

    def audit(self) -> None:
        """Assert that nothing is held for anybody, as must be where there is nothing to do."""
        assert not self._scheduler.running, "a request that has ended still runs"
        assert not self._scheduler.waiting, "a request that has ended still waits"
        assert self._cache.n_available == self._backend.n_cells, "somebody writes to the cache, and nobody knows who"
        self._cache.audit()

    def snapshot(self) -> Snapshot:
        """The numbers of this moment."""
        counters = self._counters
        return Snapshot(
            running=len(self._scheduler.running),
            waiting=len(self._scheduler.waiting),
            used_cells=self._cache.n_used,
            all_cells=self._backend.n_cells,
            rope=self._backend.rope,
            reading_ahead=bool(self._ahead),
            finished=dict(counters.finished),
            failed=counters.failed,
            prompt_tokens=counters.prompt_tokens,
            completion_tokens=counters.completion_tokens,
            reasoning_tokens=counters.reasoning_tokens,
            cached_prompt_tokens=counters.cached_prompt_tokens,
            reused_tokens=self._cache.n_reused_tokens,
            drafted_tokens=self._speculator.n_drafted if self._speculator else 0,
            accepted_tokens=self._speculator.n_accepted if self._speculator else 0,
            set_aside=self._scheduler.n_set_aside,
            decode_tokens_per_second=counters.decode_tokens_per_second,
            prefill_tokens_per_second=counters.prefill_tokens_per_second,
        )

    def step(self) -> list[JobEvent]:
        """Read one batch and return the events that came of it."""
        if not self._jobs:
            self._ahead.step(self._pace.n_prefill)
            return []
        self._ahead.pause()
        if settled := self._settle():
            return settled
        started_at = self._clock()
        return self._read(self._schedule(), started_at)

    def _settle(self) -> list[JobEvent]:
        """Deal with those who wait, and to whom tokens were given meanwhile that were their last, or outgrew their context."""
        settled = [job for job in self._scheduler.waiting if job.answer.ended or job.n_tokens >= job.n_ctx]
        return [event for job in settled for event in self._continue(job)]

    def _schedule(self) -> Batch:
        """Let those run that can, and choose what is read."""
        rope = self._scheduler.wanted_rope
        if rope is not None:
            self._cache.use_rope(rope)
        for job in self._scheduler.admit(self._backend.rope):
            if job.admitted_at is None:
                job.admitted_at, job.n_cached = self._clock(), min(job.n_read, len(job.request.prompt))
        guess = self._speculator.guess if self._speculator else guess_nothing
        return self._scheduler.next_batch(self._backend.n_batch, self._pace.n_prefill, guess, self._backend.n_outputs)

    def _read(self, batch: Batch, step_started_at: float) -> list[JobEvent]:
        """Read a batch, and draw for those whose tokens are read."""
        started_at = self._clock()
        try:
            self._cache.decode(batch.tokens)
        except InterruptedDecodeError:
            return []
        except DecodeError as error:
            return [event for share in batch.shares for event in self._fail(share.job, error)]
        writing = [share.job for share in batch.shares if share.draws_at is not None]
        if writing:
            self._backend.wait()
        read_at = self._clock()
        self._note(batch, read_at - started_at)
        n_before = sum(job.answer.n_written for job in writing)
        events = [event for share in batch.shares for event in self._advance(share)]
        if not batch.reads_prompts:
            self._counters.note_written(sum(job.answer.n_written for job in writing) - n_before, read_at - step_started_at)
        return events

    def _note(self, batch: Batch, seconds: float) -> None:
        n_tokens = len(batch.tokens)
        self._pace.note(n_tokens, seconds)
        if batch.reads_prompts:
            self._counters.note_prompts(n_tokens, seconds)
        if self._speculator:
            self._speculator.note_step(n_tokens, seconds, reads_prompts=batch.reads_prompts)
        for share in batch.shares:
            share.job.n_read += share.n_tokens

    def _advance(self, share: Share) -> list[JobEvent]:
        """Draw after a job's own tokens, and after its guesses as long as they prove right; the others are taken back."""
        job, n_own = share.job, share.job.n_tokens
        if share.draws_at is None:
            return []
        if job.first_token_at is None:
            job.first_token_at = self._clock()
        grown: list[int] = []
        try:
            while True:
                job.answer.draw(share.draws_at + len(grown))
                job.tokens.extend(job.answer.take_tokens())
                grown = job.tokens[n_own:]
                if job.answer.ended or grown != share.guesses[: len(grown)]:
                    break
        except QwqError as error:
            return self._fail(job, error)
        self._settle_guesses(share, common_prefix(grown, share.guesses))
        return self._continue(job)

    def _settle_guesses(self, share: Share, n_right: int) -> None:
        job, n_guesses = share.job, len(share.guesses)
        if self._speculator and n_guesses:
            self._speculator.note_guesses(job, n_guesses, n_right)
            assert job.sequence is not None, "it runs"
            self._cache.trim(job.sequence, job.n_read + n_right)
            job.n_read += n_right
        job.note_draw(self._clock(), n_guesses, n_right)

    def _continue(self, job: Job) -> list[JobEvent]:
        """Take over what the answer has grown by."""
        job.tokens.extend(job.answer.take_tokens())
        events: list[JobEvent] = [(job.id, event) for event in job.answer.take_events()]
        if job.answer.ended:
            return events + self._finish(job, job.answer.ended)
        return events if job.n_tokens < job.n_ctx else [*events, self._outgrow(job)]

    def _outgrow(self, job: Job) -> JobEvent:
        """Go on under YaRN, where there is room for more: everything is read again."""
        if job.id in self._scheduler.running:
            self._scheduler.set_aside(job)
        job.rope, job.n_ctx = "yarn", min(job.request.n_ctx_yarn, self.n_room)
        return job.id, RopeSwitched("yarn")

    def _finish(self, job: Job, reason: FinishReason) -> list[JobEvent]:
        job.answer.close()
        rest: list[JobEvent] = [(job.id, event) for event in job.answer.take_events()]
        now = self._clock()
        admitted = job.admitted_at or now
        first = job.first_token_at or now
        timings = Timings(admitted - job.submitted_at, first - admitted, now - first, job.plain_steps, job.plain_seconds)
        n_written, n_thought = job.answer.n_written, job.answer.reasoning_tokens
        usage = Usage(len(job.request.prompt), n_written, n_thought, job.n_cached, job.n_drafted, job.n_accepted)
        self._counters.note_end(reason, usage)
        self._drop(job)
        return [*rest, (job.id, Finished(reason, usage, timings, job.rope, job.request.seed, job.answer.stop_text))]

    def _fail(self, job: Job, error: Exception) -> list[JobEvent]:
        self._counters.failed += 1
        self._drop(job)
        return [(job.id, Failed(error))]

    def _drop(self, job: Job) -> None:
        # What was thought is never sent again, and what was answered is sent without the thought before it.
        kept = min(job.n_read, len(job.request.prompt)) if job.request.opens_thinking else job.n_read
        self._scheduler.release(job, kept)
        if self._speculator:
            self._speculator.end(job)
        job.answer.free()
        del self._jobs[job.id]
