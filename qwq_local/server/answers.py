"""The answers to one request while they are written: one for each choice, awaited together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import anyio
from starlette.types import Receive

from qwq_local.answering import AnswerStream, Gathered
from qwq_local.engine import Drawn, Event, Failed, Finished
from qwq_local.runtime import QwQ
from qwq_local.server.errors import ApiError
from qwq_local.settings import nth_seed

ChoiceEvent = tuple[int, Event]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Ask:
    """What a wire format asks for: a conversation with its tools, or a raw prompt, `n` answers to it, and the options of `QwQ.stream`.

    `model` is the name that the client gave, or nothing.
    """

    model: str = ""
    messages: Sequence[dict[str, Any]] = ()
    tools: Sequence[dict[str, Any]] = ()
    prompts: Sequence[str | list[int]] = ()
    options: dict[str, Any] = field(default_factory=dict)
    n: int = 1

    @property
    def n_answers(self) -> int:
        """How many will be written: each sample of a race, or of a vote, is one."""
        return self.n * max(1, len(self.prompts)) * max(self._samples.values())

    @property
    def most_by(self) -> str:
        """The field that asks for so many."""
        return max(self._samples, key=self._samples.__getitem__) if max(self._samples.values()) > 1 else "n"

    @property
    def _samples(self) -> dict[str, int]:
        return {name: self.options.get(name, 1) for name in ("race", "vote")}


@dataclass(frozen=True)
class Whole:
    """One answer that is complete, and the events that it came by."""

    found: Gathered
    end: Finished
    events: tuple[Event, ...]

    @property
    def drawn(self) -> tuple[Drawn, ...]:
        """Its tokens, where they were asked for."""
        return tuple(event for event in self.events if isinstance(event, Drawn))

    @property
    def stops_for_tools(self) -> bool:
        """Whether it ended to have tools called."""
        return bool(self.found.tool_calls) and self.end.reason == "stop"


class Answers:
    """The choices of one request, from `model`. Closing them cancels what has not ended; `ends` are those that have."""

    def __init__(self, ask: Ask, model: str, streams: Sequence[AnswerStream], release: Callable[[], None]) -> None:
        self.ask = ask
        self.model = model
        self.ends: dict[int, Finished | Failed] = {}
        self._streams = streams
        self._release = release
        self._is_closed = False

    @property
    def n_choices(self) -> int:
        """How many there are."""
        return len(self._streams)

    def prompt_tokens(self, index: int) -> int:
        """How long a choice's prompt is."""
        return self._streams[index].prompt_tokens

    def found(self, index: int) -> Gathered:
        """What a choice has come to so far."""
        return self._streams[index].gathered

    async def batches(self, quiet_seconds: float) -> AsyncIterator[Sequence[ChoiceEvent]]:
        """What has come, as soon as it comes, until every choice has ended; an empty batch after so many seconds without anything."""
        arrived = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            if not arrived.is_set():
                with suppress(RuntimeError):  # the server has ended, and nobody waits any more
                    loop.call_soon_threadsafe(arrived.set)

        for stream in self._streams:
            stream.listen(wake)
        with _Alarm(arrived, quiet_seconds) as alarm:
            while len(self.ends) < len(self._streams):
                arrived.clear()
                if batch := self._take():
                    alarm.put_off()
                    yield batch
                elif alarm.is_due():
                    alarm.put_off()
                    yield ()
                else:
                    await arrived.wait()

    async def whole(self, receive: Receive) -> list[Whole]:
        """All of them, complete, and closed.

        Raises the error that one was lost to, and for the log ApiError where the client hangs up before: then they are cancelled.
        """
        try:
            results = await unless_hung_up(receive, self._whole())
        finally:
            self.close()
        if not results:
            raise ApiError(499, "The client has hung up.", code="hung_up")
        return results[0]

    async def _whole(self) -> list[Whole]:
        events: list[list[Event]] = [[] for _ in self._streams]
        async for batch in self.batches(quiet_seconds=3600):
            for index, event in batch:
                if isinstance(event, Failed):
                    raise event.error
                events[index].append(event)
        ends = [end for _, end in sorted(self.ends.items()) if isinstance(end, Finished)]
        return [Whole(self.found(i), end, tuple(events[i])) for i, end in enumerate(ends)]

    def answer_now(self) -> None:
        """Let them stop thinking and answer."""
        for stream in self._streams:
            stream.answer_now()

    def close(self) -> None:
        """Cancel what is still to come, and make room for others."""
        if not self._is_closed:
            self._is_closed = True
            for stream in self._streams:
                stream.close()
            self._release()

    def _take(self) -> list[ChoiceEvent]:
        batch: list[ChoiceEvent] = []
        for index, stream in enumerate(self._streams):
            if index in self.ends:
                continue
            for event in stream.take():
                batch.append((index, event))
                if isinstance(event, Finished | Failed):
                    self.ends[index] = event
        return batch


def begin(qwq: QwQ, ask: Ask, defaults: Mapping[str, Any]) -> list[AnswerStream]:
    """All answers, begun; should one be refused, the others are cancelled."""
    with ExitStack() as undo:
        streams: list[AnswerStream] = []
        for prompt in ask.prompts or (None,):
            for index in range(ask.n):
                options = _numbered({**defaults, **ask.options}, index)
                stream = qwq.stream(ask.messages, tools=ask.tools or None, **options) if prompt is None else qwq.complete(prompt, **options)
                streams.append(undo.enter_context(stream))
        undo.pop_all()
    return streams


def _numbered(options: dict[str, Any], index: int) -> dict[str, Any]:
    """The options of one of several answers: each has a seed of its own."""
    seed = options.get("seed")
    return options if seed is None else options | {"seed": nth_seed(seed, index)}


class _Alarm:
    """Sets an event when it was put off for so many seconds; putting it off costs no timer, since that happens with every token."""

    def __init__(self, event: asyncio.Event, seconds: float) -> None:
        self._event = event
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._due_at = self._loop.time() + seconds

    def __enter__(self) -> Self:
        self._timer = self._loop.call_at(self._due_at, self._ring)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def is_due(self) -> bool:
        """Whether it was not put off for so long."""
        return self._loop.time() >= self._due_at

    def put_off(self) -> None:
        """Begin to wait anew."""
        self._due_at = self._loop.time() + self._seconds

    def _ring(self) -> None:
        if self.is_due():
            self._event.set()
        self._timer = self._loop.call_at(max(self._due_at, self._loop.time() + self._seconds / 2), self._ring)


async def unless_hung_up(receive: Receive, work: Awaitable[Result]) -> list[Result]:
    """What the work comes to; nothing, and it is cancelled, where the client hangs up before."""
    results: list[Result] = []
    failures: list[Exception] = []

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        try:
            results.append(await work)
        except Exception as error:  # noqa: BLE001 - raised below, since the group would wrap it into one that nobody knows how to tell
            failures.append(error)
        tasks.cancel_scope.cancel()
    if failures:
        raise failures[0]
    return results
