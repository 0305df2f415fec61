"""Several streams that look like one."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.backend import Rope
from qwq_local.engine import Answering, Event, Failed, Finished, FinishReason, RaceReport, Racing, Request, Thinking, Timings, Usage
from qwq_local.errors import DecodeError, ModelClosedError
from qwq_local.race import RaceStream
from qwq_local.settings import MAX_SEED, RaceSettings
from qwq_local.worker import Stream, Worker
from tests.fakes import END_THINK, IM_END, FakeBackend
from tests.waiting import WAIT_SECONDS, end_of, events_of, wait_until

REQUEST = Request((1, 2, 3), 200, seed=0, speculates=False)
ENDLESS = [ord("a") + i % 26 for i in range(10_000)]


def replying(text: bytes) -> list[int]:
    """A thought and an answer, which are the same text."""
    return [*text, END_THINK, *text, IM_END]


class FakeClient:
    """Gives streams that a test writes; what is asked of each is noted by its place."""

    def __init__(self, n_taken: int = 100) -> None:
        self.streams: list[Stream] = []
        self.requests: list[Request] = []
        self.cancelled: list[int] = []
        self.hurried: list[int] = []
        self._n_taken = n_taken

    def submit(self, request: Request) -> Stream:
        if len(self.streams) == self._n_taken:
            raise ModelClosedError("The model is closed.")
        self.requests.append(request)
        self.streams.append(Stream(self))
        return self.streams[-1]

    def cancel(self, stream: Stream) -> None:
        self.cancelled.append(self.streams.index(stream))

    def answer_now(self, stream: Stream) -> None:
        self.hurried.append(self.streams.index(stream))

    def preread(self, tokens: tuple[int, ...], rope: Rope) -> None:
        raise NotImplementedError

    def snapshot(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def end(self, place: int, reason: FinishReason = "stop", text: str = "", n_tokens: int = 1) -> None:
        if text:
            self.streams[place].put(Answering(text))
        self.streams[place].put(Finished(reason, Usage(3, n_tokens, 0), Timings(0, 0, 0), "native", place))


def racing(client: FakeClient, race: int = 1, vote: int = 1) -> RaceStream:
    return RaceStream(client, REQUEST, RaceSettings(race, vote))


def pieces(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if not isinstance(event, Racing)]


@contextmanager
def running(replies: Sequence[Sequence[int]], n_sequences: int = 4, held: Sequence[int] = ()) -> Iterator[tuple[Worker, FakeBackend]]:
    backend = FakeBackend(replies, n_ctx=200, n_batch=16, n_sequences=n_sequences, held=held)
    with closing(Worker(backend)) as worker:
        yield worker, backend
    backend.audit_idle()


def test_the_first_to_end_is_handed_on_in_order_and_the_others_stop() -> None:
    with running([ENDLESS, replying(b"two"), ENDLESS], held=[1]) as (worker, backend):
        stream = RaceStream(worker, REQUEST, RaceSettings(race=3))
        backend.release()
        events = events_of(stream)
        *said, end = pieces(events)
        assert said == [Thinking(letter) for letter in "two"] + [Answering(letter) for letter in "two"]
        assert isinstance(end, Finished)
        assert (end.reason, end.seed) == ("stop", 1)
        assert end.race is not None
        assert end.race == RaceReport("race", 3, 1, end.race.completion_tokens)
        n_read = sum(entry.position >= len(REQUEST.prompt) for batch in backend.batches for entry in batch)
        assert end.race.completion_tokens == n_read + 3, "each sample's last token is drawn, and never read"
        snapshot = worker.snapshot()
        assert (snapshot.running, snapshot.waiting, dict(snapshot.finished)) == (0, 0, {"cancelled": 2, "stop": 1})


@pytest.mark.parametrize("n_prompt", [1, 8, 31, 33, 120])
def test_all_samples_run_side_by_side_and_a_long_prompt_is_read_once(n_prompt: int) -> None:
    with running([replying(b"same text")] * 4, held=[1]) as (worker, backend):
        stream = RaceStream(worker, replace(REQUEST, prompt=tuple(range(n_prompt))), RaceSettings(race=4))
        backend.release()
        end = end_of(stream)
        widths = [len({entry.sequence for entry in batch}) for batch in backend.batches]
        assert widths[-1] == 4, "they draw their last tokens together"
        assert isinstance(end, Finished)
        if n_prompt > 64:  # a beginning that is shorter than 32 tokens, or what is left of it, is read by each
            assert sum(len(batch) for batch in backend.batches if batch[0].position < n_prompt) < 2 * n_prompt


def test_each_sample_has_a_seed_of_its_own() -> None:
    client = FakeClient()
    RaceStream(client, replace(REQUEST, seed=MAX_SEED), RaceSettings(race=3))
    assert [request.seed for request in client.requests] == [MAX_SEED, 0, 1]
    assert {replace(request, seed=0) for request in client.requests} == {REQUEST}


def test_a_vote_stops_the_rest_as_soon_as_it_is_decided() -> None:
    client = FakeClient()
    stream = racing(client, vote=5)
    client.end(3, text=r"\boxed{131}", n_tokens=10)
    client.end(1, text=r"\boxed{132}", n_tokens=20)
    assert (client.cancelled, pieces(stream.take())) == ([], [])
    client.end(0, text="$132$: \\boxed{132.0}", n_tokens=30)
    assert client.cancelled == []
    client.end(4, text=r"\boxed{132}", n_tokens=40)
    assert client.cancelled == [2]
    assert pieces(stream.take()) == [Answering(r"\boxed{132}")]
    client.end(2, "cancelled", n_tokens=5)
    (end,) = stream.take()
    assert isinstance(end, Finished)
    assert end.race == RaceReport("vote", 5, 1, 105, {"131": 1, "132": 3})
    assert end.usage.completion_tokens == 20, "those of the winner"


def test_a_vote_that_nobody_takes_part_in_goes_to_the_first_and_says_so() -> None:
    client = FakeClient()
    stream = racing(client, vote=2)
    client.end(1, text="so")
    client.end(0, text="or so")
    *said, end = pieces(stream.take())
    assert said == [Answering("so")]
    assert isinstance(end, Finished)
    assert end.race == RaceReport("vote", 2, 1, 2, {})


def test_a_sample_that_fails_is_out_and_the_others_go_on() -> None:
    client = FakeClient()
    stream = racing(client, race=2)
    client.streams[0].put(Failed(DecodeError("lost")))
    assert stream.take() == []
    client.end(1, text="so")
    *said, end = pieces(stream.take())
    assert said == [Answering("so")]
    assert isinstance(end, Finished)
    assert end.race == RaceReport("race", 2, 1, 1, n_failed=1)


def test_where_all_fail_the_first_error_is_told() -> None:
    client = FakeClient()
    stream = racing(client, race=2)
    first, second = Failed(DecodeError("first")), Failed(DecodeError("second"))
    client.streams[1].put(first)
    client.streams[0].put(second)
    assert stream.take() == [first]
    assert list(stream) == []


def test_where_all_are_cut_short_the_one_that_answered_is_handed_on() -> None:
    client = FakeClient()
    stream = racing(client, race=2)
    client.end(0, "length")
    client.end(1, "length", text="almost")
    *said, end = pieces(stream.take())
    assert said == [Answering("almost")]
    assert isinstance(end, Finished)
    assert end.reason == "length"


def test_progress_is_told_until_there_is_a_winner_and_never_who_is_ahead() -> None:
    client = FakeClient()
    stream = racing(client, race=2)
    for stream_of_one in client.streams:
        stream_of_one.put(Thinking("hm"))
    assert stream.take() == [Racing(2, 0, 2)]
    client.streams[0].put(Thinking("hm"))
    assert stream.take() == []
    client.end(0)
    client.streams[1].put(Thinking("hm"))
    client.end(1, "cancelled")
    assert [type(event) for event in stream.take()] == [Thinking, Thinking, Finished]


def test_whoever_listens_is_called_and_takes_without_waiting() -> None:
    client = FakeClient()
    stream = racing(client, race=2)
    called = threading.Event()
    stream.listen(called.set)
    client.end(0, text="so")
    assert called.is_set()
    assert stream.take() == [Answering("so")]


def test_what_came_before_anybody_listened_is_not_lost() -> None:
    class HastyClient(FakeClient):
        def submit(self, request: Request) -> Stream:
            stream = super().submit(request)
            self.end(len(self.streams) - 1, text=str(len(self.streams)))
            return stream

    events = events_of(RaceStream(HastyClient(), REQUEST, RaceSettings(race=3)))
    assert pieces(events)[0] == Answering("1")


def test_closing_cancels_all_and_answering_now_reaches_all() -> None:
    client = FakeClient()
    stream = racing(client, race=3)
    stream.answer_now()
    stream.close()
    stream.close()
    assert (client.hurried, client.cancelled) == ([0, 1, 2], [0, 1, 2])
    for place in range(3):
        client.end(place, "cancelled")
    end = end_of(stream)
    assert isinstance(end, Finished)
    assert end.reason == "cancelled"


def test_answering_now_ends_the_thought_of_every_sample() -> None:
    with running([ENDLESS] * 3, held=[9]) as (worker, backend):
        stream = RaceStream(worker, replace(REQUEST, max_tokens=150), RaceSettings(race=3))
        assert backend.is_held.wait(WAIT_SECONDS)
        stream.answer_now()
        backend.release()
        end = end_of(stream)
        assert isinstance(end, Finished)
        assert (end.reason, end.usage.completion_tokens) == ("length", 150)
        assert end.usage.reasoning_tokens < 100


def test_closing_early_frees_the_slots_while_a_batch_is_read() -> None:
    with running([ENDLESS] * 4, held=[5]) as (worker, backend):
        stream = RaceStream(worker, REQUEST, RaceSettings(race=4))
        assert backend.is_held.wait(WAIT_SECONDS)
        stream.close()
        wait_until(lambda: worker.snapshot().finished.get("cancelled") == 4)
        backend.release()
        assert isinstance(end_of(RaceStream(worker, replace(REQUEST, max_tokens=5), RaceSettings(race=4))), Finished)


def test_where_one_is_refused_those_before_it_are_cancelled() -> None:
    client = FakeClient(n_taken=2)
    with pytest.raises(ModelClosedError):
        racing(client, race=3)
    assert client.cancelled == [1, 0]


def test_a_model_that_is_closed_meanwhile_ends_the_race() -> None:
    with running([ENDLESS] * 2, held=[9]) as (worker, backend):
        stream = RaceStream(worker, REQUEST, RaceSettings(race=2))
        assert backend.is_held.wait(WAIT_SECONDS)
    end = end_of(stream)
    assert isinstance(end, Failed)
    assert isinstance(end.error, ModelClosedError)


EVENTS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["think", "say", "stop", "length", "fail"])), max_size=40)


@given(EVENTS, st.booleans())
def test_whatever_becomes_of_the_samples_there_is_one_end_and_only_the_winners_words(script: list[tuple[int, str]], votes: bool) -> None:
    client = FakeClient()
    stream = racing(client, vote=4) if votes else racing(client, race=4)
    open_places = {0, 1, 2, 3}
    for place, what in [*script, *((place, "length") for place in range(4))]:
        if place not in open_places:
            continue
        if what == "think":
            client.streams[place].put(Thinking(str(place)))
        elif what == "say":
            client.streams[place].put(Answering(str(place)))
        else:
            open_places.remove(place)
            client.streams[place].put(Failed(DecodeError(str(place)))) if what == "fail" else client.end(
                place, "stop" if what == "stop" else "length"
            )
    *said, end = pieces(events_of(stream))
    if isinstance(end, Finished):
        assert end.race is not None
        assert {event.text for event in said if isinstance(event, Thinking | Answering)} <= {str(end.race.winner)}
        assert end.seed == end.race.winner
    else:
        assert said == []
