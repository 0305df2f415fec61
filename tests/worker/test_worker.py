"""The engine's thread: nobody waits for ever, whatever happens to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from queue import SimpleQueue

import pytest

from qwq_local.engine import Answering, Engine, Event, Failed, Finished, Request, Thinking, ThoughtClosed
from qwq_local.errors import ContextLengthError, DecodeError
from qwq_local.worker import Worker
from qwq_local.worker.loop import EngineLoop
from tests.fakes import END_THINK, IM_END, FakeBackend, fake_reply
from tests.waiting import WAIT_SECONDS, end_of, events_of, reason_of, soon

REQUEST = Request((1, 2, 3), 64, seed=3)
ENDLESS = [ord("a") + i % 26 for i in range(100_000)]


@pytest.fixture
def held() -> Iterator[tuple[Worker, FakeBackend]]:
    """A worker whose first decode stands still until it is interrupted or released."""
    backend = FakeBackend(held={1})
    worker = Worker(backend)
    yield worker, backend
    backend.release()
    worker.close()


def test_events_come_in_order() -> None:
    backend = FakeBackend([[*b"thought", END_THINK, *b"answer", IM_END]])
    with closing(Worker(backend)) as worker:
        events = events_of(worker.submit(Request((1, 2), 64)))
    assert events[:-1] == [Thinking(letter) for letter in "thought"] + [Answering(letter) for letter in "answer"]
    backend.audit_idle()


def test_a_stream_that_ended_stays_ended() -> None:
    with closing(Worker(FakeBackend())) as worker:
        stream = worker.submit(REQUEST)
        events_of(stream)
        assert list(stream) == []
        stream.close()
        assert list(stream) == []


def test_a_request_is_cancelled_in_mid_decode_and_the_next_one_runs(held: tuple[Worker, FakeBackend]) -> None:
    worker, backend = held
    stream = worker.submit(REQUEST)
    assert backend.is_held.wait(WAIT_SECONDS)
    stream.close()
    assert reason_of(stream) == "cancelled"
    assert reason_of(worker.submit(REQUEST)) == "stop"
    worker.close()
    backend.audit_idle()


def test_cancelling_one_leaves_the_other_its_whole_answer(held: tuple[Worker, FakeBackend]) -> None:
    worker, backend = held
    first = worker.submit(REQUEST)
    assert backend.is_held.wait(WAIT_SECONDS)
    second = worker.submit(Request((4, 5), 64, seed=1))
    first.close()
    assert reason_of(first) == "cancelled"
    events = events_of(second)
    text = "".join(event.text for event in events if isinstance(event, Thinking | Answering))
    assert text == bytes(token for token in fake_reply((4, 5), 1) if token < 256).decode()


def test_an_endless_answer_is_cancelled_while_it_is_read() -> None:
    backend = FakeBackend([ENDLESS], n_ctx=len(ENDLESS) + 10)
    with closing(Worker(backend)) as worker:
        stream = worker.submit(Request((1,), backend.n_ctx, stops_repetition=False))
        assert isinstance(soon(lambda: next(stream)), Thinking)
        stream.close()
        assert reason_of(stream) == "cancelled"
    backend.audit_idle()


def test_cancelling_twice_ends_once() -> None:
    backend = FakeBackend([ENDLESS, [IM_END]], n_ctx=len(ENDLESS) + 10)
    with closing(Worker(backend)) as worker:
        stream = worker.submit(Request((1,), backend.n_ctx, stops_repetition=False))
        stream.close()
        stream.close()
        assert reason_of(stream) == "cancelled"
        assert reason_of(worker.submit(Request((1,), 64, seed=1))) == "stop"


def test_closing_ends_every_stream_and_frees_the_model(held: tuple[Worker, FakeBackend]) -> None:
    worker, backend = held
    streams = [worker.submit(REQUEST) for _ in range(5)]
    assert backend.is_held.wait(WAIT_SECONDS)
    soon(worker.close)
    ends = [end_of(stream) for stream in streams]
    assert all(isinstance(end, Failed) and isinstance(end.error, DecodeError) for end in ends)
    assert backend.closed == 1
    with pytest.raises(DecodeError):
        worker.submit(REQUEST)
    backend.audit_idle()


def test_a_request_that_comes_while_the_worker_closes_hears_of_its_end() -> None:
    backend = FakeBackend(held={1}, is_deaf=True)
    worker = Worker(backend)
    first = worker.submit(REQUEST)
    assert backend.is_held.wait(WAIT_SECONDS)
    closer = threading.Thread(target=worker.close)
    closer.start()
    assert backend.interrupted.wait(WAIT_SECONDS)

    def late() -> object:
        try:
            return list(worker.submit(REQUEST))[-1]
        except DecodeError as error:
            return error

    answers: SimpleQueue[object] = SimpleQueue()
    asker = threading.Thread(target=lambda: answers.put(late()), daemon=True)
    asker.start()
    backend.release()
    assert isinstance(answers.get(timeout=WAIT_SECONDS), DecodeError | Failed)
    assert isinstance(end_of(first), Failed)
    closer.join(WAIT_SECONDS)
    assert not closer.is_alive()


def test_a_decode_error_ends_its_request_and_the_engine_lives() -> None:
    error = DecodeError("no room in the cache")
    backend = FakeBackend(faults={1: error})
    with closing(Worker(backend)) as worker:
        assert end_of(worker.submit(REQUEST)) == Failed(error)
        assert reason_of(worker.submit(REQUEST)) == "stop"
    backend.audit_idle()


def test_an_engine_that_dies_tells_everyone_now_and_later() -> None:
    bug = ZeroDivisionError("a bug")
    backend = FakeBackend(held={1}, faults={1: bug}, n_sequences=1)
    worker = Worker(backend)
    streams = [worker.submit(REQUEST) for _ in range(4)]
    assert backend.is_held.wait(WAIT_SECONDS)
    backend.release()
    for stream in streams:
        assert end_of(stream) == Failed(bug)
    later = end_of(soon(lambda: worker.submit(REQUEST)))
    assert isinstance(later, Failed)
    soon(worker.close)
    assert backend.closed == 1
    with pytest.raises(DecodeError):
        worker.submit(REQUEST)


def test_whoever_is_not_told_of_an_end_is_told_of_the_failure() -> None:
    """Of two that end at once, the first cannot be told."""
    told: SimpleQueue[tuple[str, Event]] = SimpleQueue()

    def deliver(events: Sequence[tuple[str, Event]]) -> None:
        for ticket, event in events:
            if isinstance(event, Finished):
                raise ZeroDivisionError("a bug")
            if ticket == "unreachable":
                raise OSError("nobody is there")
            told.put((ticket, event))

    backend = FakeBackend([[IM_END], [IM_END]], held={1})
    with closing(EngineLoop[str](backend, deliver)) as loop:
        for seed, ticket in enumerate(("unreachable", "reachable")):
            loop.enter(ticket, Request((1, 2), 64, seed=seed))
        backend.release()
        ticket, end = told.get(timeout=WAIT_SECONDS)
    assert ticket == "reachable"
    assert isinstance(end, Failed)
    assert isinstance(end.error, ZeroDivisionError)


def test_what_listens_and_fails_harms_nobody(held: tuple[Worker, FakeBackend], caplog: pytest.LogCaptureFixture) -> None:
    worker, backend = held
    stream = worker.submit(REQUEST)
    stream.listen(partial(divmod, 1, 0))
    backend.release()
    assert reason_of(stream) == "stop"
    assert reason_of(worker.submit(REQUEST)) == "stop"
    assert "ZeroDivisionError" in caplog.text


class Miscounting(Engine):
    """An engine whose books do not balance once it has read something."""

    def audit(self) -> None:
        assert not self.snapshot().used_cells, "cells are miscounted"


def test_an_engine_whose_books_do_not_balance_answers_no_more() -> None:
    with closing(Worker(FakeBackend(), Miscounting)) as worker:
        assert reason_of(worker.submit(REQUEST)) == "stop"
        end = end_of(worker.submit(REQUEST))
        assert isinstance(end, Failed)
        assert isinstance(end.error, AssertionError)


class Wreck(FakeBackend):
    """A backend that fails at cleaning up as well."""

    def truncate(self, sequence: int, n_tokens: int) -> None:
        if self.batches:
            raise OSError("the device is gone")
        super().truncate(sequence, n_tokens)


def test_nobody_hangs_where_even_cleaning_up_fails() -> None:
    backend = Wreck(faults={1: OSError("the device is gone")})
    worker = Worker(backend)
    streams = [worker.submit(REQUEST) for _ in range(3)]
    for stream in streams:
        assert isinstance(end_of(stream), Failed)
    soon(worker.close)


def test_a_refused_request_raises_where_it_was_handed_in_and_harms_nobody() -> None:
    with closing(Worker(FakeBackend())) as worker:
        with pytest.raises(ContextLengthError):
            worker.submit(Request((1,) * 64, 64))
        assert reason_of(worker.submit(REQUEST)) == "stop"


def test_closing_twice_is_closing_once() -> None:
    worker = Worker(FakeBackend())
    soon(worker.close)
    soon(worker.close)


def test_many_threads_can_ask_and_cancel_at_once() -> None:
    backend = FakeBackend(n_sequences=3)
    worker = Worker(backend)
    ends: SimpleQueue[tuple[int, str]] = SimpleQueue()

    def ask(seed: int) -> None:
        stream = worker.submit(Request((1, 2), 64, seed=seed))
        if seed % 3 == 0:
            stream.close()
        ends.put((seed, [event.reason if isinstance(event, Finished) else "" for event in stream][-1]))

    threads = [threading.Thread(target=ask, args=(seed,), daemon=True) for seed in range(24)]
    for thread in threads:
        thread.start()
    told = dict(ends.get(timeout=WAIT_SECONDS) for _ in threads)
    soon(worker.close)
    assert sorted(told) == list(range(24))
    assert all(reason == "stop" for seed, reason in told.items() if seed % 3)
    assert {reason for seed, reason in told.items() if seed % 3 == 0} <= {"stop", "cancelled"}
    backend.audit_idle()


def test_a_request_does_not_wait_for_what_is_read_ahead() -> None:
    backend = FakeBackend(held={1})
    with closing(Worker(backend)) as worker:
        worker.preread((7, 8, 9), "native")
        assert backend.is_held.wait(WAIT_SECONDS)
        assert reason_of(worker.submit(REQUEST)) == "stop"


def test_a_thought_is_closed_when_an_answer_is_asked_for() -> None:
    backend = FakeBackend([ENDLESS], n_ctx=5000)
    with closing(Worker(backend)) as worker:
        stream = worker.submit(Request((1,), backend.n_ctx, stops_repetition=False))
        assert isinstance(soon(lambda: next(stream)), Thinking)
        worker.answer_now(stream)
        soon(lambda: next(event for event in stream if event == ThoughtClosed("asked")))
        stream.close()
        assert isinstance(end_of(stream), Finished)
        worker.answer_now(stream)
        assert worker.snapshot().running == 0
