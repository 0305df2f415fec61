"""One answer on its way into a chat: written whether anybody looks on or not, and for any number of those who do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, replace
from typing import Any, Final

from qwq_local.engine import Answering, Event, Failed, Finished, RopeSwitched, Thinking, ThoughtClosed
from qwq_local.errors import QwqError
from qwq_local.history import ChatMessage, Draft, State
from qwq_local.server.answers import Answers
from qwq_local.server.chats.told import message_told
from qwq_local.server.errors import ApiError, as_api_error, is_passing
from qwq_local.server.streaming import KEEP_ALIVE_COMMENT, QUIET_SECONDS, sent_event

HandIn = Callable[[], "asyncio.Task[Answers]"]
"""Asks the desk for the answer, and may be called again where it was busy."""
_NOTHING_LASTS: Final = 3600.0
AGAIN_SECONDS: Final = 2.0
"""How long, at most, it waits to ask for a place again: clients of other formats are told to wait longer, since their asking costs more."""


class Writing:
    """One answer in the making. `message` is it as it was begun, `draft` where it is kept, and `pending` the first attempt to hand it in.

    Made within an event loop, where it then runs by itself; `on_end` is called once it is over.
    """

    def __init__(
        self, message: ChatMessage, draft: Draft, pending: asyncio.Task[Answers], hand_in: HandIn, on_end: Callable[[Writing], None]
    ) -> None:
        self._message = message
        self._draft = draft
        self._pending = pending
        self._hand_in = hand_in
        self.answers: Answers | None = None
        self._thought: list[str] = []
        self._said: list[str] = []
        self._n_tokens = 0
        self._told: list[bytes] = []
        self._changed = asyncio.Event()
        self.is_over = self._wants_answer = False
        self._task = asyncio.create_task(self._write())
        self._ending = asyncio.create_task(self._end())
        self._ending.add_done_callback(lambda _: on_end(self))

    async def events(self) -> AsyncIterator[bytes]:
        """What has come so far, and then what comes, as server-sent events, until it ends."""
        n_heard, so_far = len(self._told), self._so_far()  # before anything is yielded, since more comes meanwhile
        yield sent_event(message_told(so_far).model_dump(), "state")
        if self.answers is None:
            yield sent_event({}, "waiting")
        while not self.is_over or n_heard < len(self._told):
            heard = self._told[n_heard:]
            n_heard += len(heard)
            yield b"".join(heard) or await self._wait()
        yield sent_event(message_told(self._message).model_dump(), "end")

    def answer_now(self) -> None:
        """Let it stop thinking and answer; where it has not begun, as soon as it has."""
        self._wants_answer = True
        if self.answers:
            self.answers.answer_now()

    async def stop(self) -> None:
        """End it as it stands, and wait until that is kept."""
        self._task.cancel()
        await asyncio.wait({self._ending})

    async def _wait(self) -> bytes:
        """Nothing, once something has come; a comment where nothing comes for long."""
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            return KEEP_ALIVE_COMMENT
        return b""

    def _so_far(self) -> ChatMessage:
        return replace(
            self._message,
            reasoning="".join(self._thought),
            content="".join(self._said),
            n_tokens=self._n_tokens,
            thought_seconds=self._draft.thought_seconds,
            seconds=self._draft.seconds,
        )

    async def _write(self) -> Finished:
        """Write it. Raises what it is lost to; nothing of it has to be done at its end, so that it can be cancelled at any moment."""
        self.answers = await self._handed_in()
        if self._wants_answer:
            self.answers.answer_now()
        async for batch in self.answers.batches(_NOTHING_LASTS):
            for _, event in batch:
                self._note(event)
        end = self.answers.ends[0]
        if isinstance(end, Failed):
            raise end.error
        return end

    async def _handed_in(self) -> Answers:
        while True:
            try:
                return await self._pending
            except ApiError as error:
                if not is_passing(error):
                    raise
                await asyncio.sleep(min(AGAIN_SECONDS, float((error.headers or {}).get("Retry-After", 1))))
                self._pending = self._hand_in()

    def _note(self, event: Event) -> None:
        match event:
            case Thinking(text):
                self._thought.append(text)
                self._draft.think(text)
                self._tell("think", {"text": text, "n_tokens": 1})
            case Answering(text):
                self._said.append(text)
                self._draft.say(text)
                self._tell("say", {"text": text, "n_tokens": 1})
            case ThoughtClosed(why):
                self._tell("note", {"kind": "thought_closed", "why": why})
            case RopeSwitched(rope):
                self._tell("note", {"kind": "rope_switched", "why": rope})

    async def _end(self) -> None:
        """Once it is written, or cannot be: keep that, and tell it."""
        await asyncio.wait({self._task})
        close_once_there(self._pending)  # also where it was handed in at the very moment in which it was stopped
        state, ending = _how_it_ended(self._task)
        try:
            await asyncio.to_thread(self._draft.finish, state, **ending)
        finally:
            self._n_tokens = ending.get("usage", {}).get("completion_tokens", self._n_tokens)
            self._message = replace(self._so_far(), state=state, **ending)
            self.is_over = True
            self._wake()

    def _tell(self, name: str, data: dict[str, object]) -> None:
        self._n_tokens += int(name != "note")
        self._told.append(sent_event(data, name))
        self._wake()

    def _wake(self) -> None:
        """Everyone who waits; who comes later waits for the next."""
        self._changed.set()
        self._changed = asyncio.Event()


def close_once_there(pending: asyncio.Task[Answers]) -> None:
    """Nobody waits for these answers any more."""
    pending.add_done_callback(_close)
    pending.cancel()


def _close(pending: asyncio.Task[Answers]) -> None:
    if not pending.cancelled() and pending.exception() is None:
        pending.result().close()


def _how_it_ended(task: asyncio.Task[Finished]) -> tuple[State, dict[str, Any]]:
    if task.cancelled():
        return "stopped", {}
    if error := task.exception():
        if not isinstance(error, QwqError | ApiError):
            logging.getLogger("qwq.server").error("an answer failed", exc_info=error)
        return "failed", {"error": str(as_api_error(error).detail)}
    end = task.result()
    return "whole", {"finish_reason": end.reason, "usage": asdict(end.usage), "rope": end.rope}
