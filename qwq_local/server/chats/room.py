"""The chats that this server keeps, and the answers that are being written in them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from qwq_local.history import Chat, ChatMessage, Draft, History, conversation
from qwq_local.server.answers import Answers, Ask
from qwq_local.server.chats.asked import Again, NewChat, Question
from qwq_local.server.chats.told import Begun
from qwq_local.server.chats.writing import HandIn, Writing, close_once_there
from qwq_local.server.desk import Desk
from qwq_local.server.errors import ApiError, is_passing

PATIENCE_SECONDS: Final = 1.0
"""How long whoever asks waits to hear that it cannot be answered, before the question is kept and the answer waits by itself."""


class ChatRoom:
    """For one event loop. `owner` is whose chats are meant, where this server tells its users apart; else it is empty, and all are.

    `on_answer` is told of every answer once it has ended, and in which chat.
    """

    def __init__(self, history: History, desk: Desk, on_answer: Callable[[str, Answers], None]) -> None:
        self.history = history
        self._desk = desk
        self._on_answer = on_answer
        self._writings: dict[str, Writing] = {}
        self._begun: set[str] = set()

    def writing(self, chat_id: str) -> Writing | None:
        """The answer that is being written in a chat."""
        return self._writings.get(chat_id)

    async def get(self, chat_id: str, owner: str) -> Chat:
        """A chat. Raises ChatNotFoundError."""
        return await asyncio.to_thread(self.history.get, chat_id, owner or None)

    async def begin(self, asked: NewChat, owner: str) -> Begun:
        """A chat with its first question, where that can be answered.

        Raises ApiError, and what `QwQ.stream` raises; nothing is kept then.
        """
        options = asked.options.chosen() if asked.options else {}
        start = partial(self.history.start, system=asked.system or "", options=options, owner=owner)
        messages = _asked(conversation(asked.system or "", []), asked.content)
        pending, hand_in = await self._handed_in(messages, options, asked.model or "")

        def keep() -> tuple[str, int, Draft]:
            chat_id = start()
            question_id = self.history.say(chat_id, "user", asked.content)
            return chat_id, question_id, self.history.begin(chat_id, question_id, self._model(pending))

        return await self._write(pending, hand_in, keep)

    async def ask(self, chat: Chat, asked: Question) -> Begun:
        """A question in a chat, behind any of its messages. Raises as `begin` does."""
        if asked.parent_id is not None and asked.parent_id not in chat.messages:
            raise ApiError(404, f"The chat has no message {asked.parent_id}.", code="message_not_found", param="parent_id")
        path = chat.path(asked.parent_id) if asked.parent_id is not None else []
        if path and path[-1].state == "writing":
            raise busy()
        with self._alone_in(chat.id):
            messages = _asked(conversation(chat.system, path), asked.content)
            pending, hand_in = await self._handed_in(messages, _options(chat, asked), asked.model or "")

            def keep() -> tuple[str, int, Draft]:
                question_id = self.history.say(chat.id, "user", asked.content, asked.parent_id)
                return chat.id, question_id, self.history.begin(chat.id, question_id, self._model(pending))

            return await self._write(pending, hand_in, keep)

    async def ask_again(self, chat: Chat, question_id: int, asked: Again) -> Begun:
        """Another answer to a question of a chat, or to what a tool gave back. Raises as `begin` does."""
        question = chat.messages.get(question_id)
        if question is None or question.role == "assistant":
            raise ApiError(404, f"The chat has no question {question_id}.", code="message_not_found")
        with self._alone_in(chat.id):
            messages = conversation(chat.system, chat.path(question_id))
            pending, hand_in = await self._handed_in(messages, _options(chat, asked), asked.model or "")

            def keep() -> tuple[str, int, Draft]:
                return chat.id, question_id, self.history.begin(chat.id, question_id, self._model(pending))

            return await self._write(pending, hand_in, keep)

    async def stop(self, chat_id: str) -> None:
        """End the answer that is being written in a chat. Raises ApiError where another program writes it."""
        if writing := self.writing(chat_id):
            await writing.stop()
            return
        chat = await self.get(chat_id, "")
        if any(message.state == "writing" for message in chat.messages.values()):
            raise ApiError(409, "Another program writes this answer, or did a moment ago. Stop it there.", code="written_elsewhere")

    async def delete(self, chat: Chat) -> None:
        """Away with a chat; an answer that is being written in it is stopped. Raises ChatNotFoundError, and ApiError for one just begun."""
        if writing := self.writing(chat.id):
            await writing.stop()
        with self._alone_in(chat.id):
            await asyncio.to_thread(self.history.delete, chat.id)

    async def close(self) -> None:
        """Stop what is still written, and close the file."""
        for writing in list(self._writings.values()):
            await writing.stop()
        await asyncio.to_thread(self.history.close)

    @contextmanager
    def _alone_in(self, chat_id: str) -> Iterator[None]:
        """Around a beginning in a chat. Raises ApiError where an answer is written there, or just begun."""
        writing = self._writings.get(chat_id)
        if (writing and not writing.is_over) or chat_id in self._begun:
            raise busy()
        self._begun.add(chat_id)
        try:
            yield
        finally:
            self._begun.remove(chat_id)

    async def _handed_in(
        self, messages: Sequence[dict[str, Any]], options: Mapping[str, Any], model: str
    ) -> tuple[asyncio.Task[Answers], HandIn]:
        """The answer on its way. Raises what is wrong with what was asked, where that shows at once."""
        asked = Ask(model, messages, options=dict(options))

        def hand_in() -> asyncio.Task[Answers]:
            return asyncio.create_task(self._desk.answer(asked))

        pending = hand_in()
        try:
            await asyncio.wait({pending}, timeout=PATIENCE_SECONDS)
        except asyncio.CancelledError:
            close_once_there(pending)
            raise
        if pending.done() and (error := pending.exception()) and not is_passing(error):
            raise error
        return pending, hand_in

    async def _write(self, pending: asyncio.Task[Answers], hand_in: HandIn, keep: Callable[[], tuple[str, int, Draft]]) -> Begun:
        def kept() -> tuple[str, int, Draft, ChatMessage]:
            chat_id, question_id, draft = keep()
            try:
                return chat_id, question_id, draft, self.history.get(chat_id).messages[draft.id]
            except BaseException:  # another program has deleted it already
                draft.finish("failed")
                raise

        try:
            chat_id, question_id, draft, message = await asyncio.to_thread(kept)
        except BaseException:
            close_once_there(pending)
            raise
        self._writings[chat_id] = Writing(message, draft, pending, hand_in, partial(self._forget, chat_id))
        return Begun(chat_id=chat_id, question_id=question_id, answer_id=draft.id)

    def _forget(self, chat_id: str, writing: Writing) -> None:
        """Whoever hears of an end may ask at once, so that another may be written here already."""
        if self._writings.get(chat_id) is writing:
            del self._writings[chat_id]
        if writing.answers:
            self._on_answer(chat_id, writing.answers)

    def _model(self, pending: asyncio.Task[Answers]) -> str:
        has_begun = pending.done() and not pending.exception()
        return pending.result().model if has_begun else self._desk.health().model


def _options(chat: Chat, asked: Again) -> Mapping[str, Any]:
    return chat.options if asked.options is None else asked.options.chosen()


def busy() -> ApiError:
    """Whoever asks in a chat waits until the answer before is there."""
    return ApiError(409, "An answer is being written in this chat. Stop it, or wait for its end.", code="busy")


def _asked(messages: Sequence[dict[str, Any]], question: str) -> Sequence[dict[str, Any]]:
    return [*messages, {"role": "user", "content": question}]
