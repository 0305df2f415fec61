"""A chat that is held: what was said, kept in the history while it is written, and where in its tree the talk goes on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from typing import Any, Literal

from qwq_local.agent import AgentEvent, ToolAnswered, Toolbox, run_agent
from qwq_local.agent.loop import Answerer
from qwq_local.answering import Gathered
from qwq_local.engine import Answering, Finished, Thinking, ToolCallDelta, ToolCallDropped, ToolCallStarted, Usage
from qwq_local.errors import HistoryError, QwqError
from qwq_local.history import Chat, ChatMessage, Draft, History, conversation
from qwq_local.models.inventory import demo_model, local_models
from qwq_local.prompt import Message
from qwq_local.runtime import ToolCall

Ending = Literal["whole", "stopped", "failed"]


class Session:
    """The chat that is open, or one that begins with the next question. `options` are those of QwQ.stream."""

    def __init__(self, history: History, *, system: str, options: Mapping[str, Any]) -> None:
        self.history = history
        self.system = system
        self.options = dict(options)
        self.chat_id = ""
        self.leaf_id: int | None = None
        self.question_id: int | None = None
        """The last question, also where its answer failed."""
        self._in_memory = ExitStack()

    def close(self) -> None:
        """Forget what could not be kept; the history that came from elsewhere stays open."""
        self._in_memory.close()

    def begin_anew(self) -> None:
        """The next question begins another chat, with the same system message and options."""
        self.chat_id, self.leaf_id, self.question_id = "", None, None

    def open(self, chat_id: str) -> Chat:
        """Go on with a chat, given by a unique beginning of its id, with its system message. Raises HistoryError."""
        chat = self.history.get(chat_id)
        self.chat_id, self.leaf_id, self.system = chat.id, chat.leaf_id, chat.system
        asked = [message.id for message in chat.path() if message.role == "user"]
        self.question_id = asked[-1] if asked else None
        return chat

    @property
    def chat(self) -> Chat | None:
        """All of it, or None where nothing was said yet. Raises HistoryError."""
        return self.history.get(self.chat_id) if self.chat_id else None

    def path(self) -> list[ChatMessage]:
        """What was said up to here. Raises HistoryError."""
        chat = self.chat
        return chat.path(self.leaf_id) if chat and self.leaf_id is not None else []

    def messages(self) -> list[Message]:
        """The same as the model is told of it, without thoughts."""
        return list(conversation(self.system, self.path()))

    def set_system(self, text: str) -> None:
        """Another system message, from the next answer on."""
        self.system = text
        if self.chat_id:
            self.history.set_system(self.chat_id, text)

    def set_options(self, options: Mapping[str, Any]) -> None:
        """Other options, from the next answer on."""
        self.options = dict(options)
        if self.chat_id:
            self.history.set_options(self.chat_id, self.options)

    def model_here(self) -> str | None:
        """The model that answered last, where this machine has it."""
        answered = [message.model for message in self.path() if message.model]
        known = {model.name for model in [*local_models(), demo_model()] if not model.problem} if answered else set()
        return answered[-1] if answered and answered[-1] in known else None

    def ask(self, text: str, parent_id: int | None) -> str:
        """A question behind that message (None: the first of all).

        Where it cannot be kept, it is asked nevertheless, and the chat goes on in memory: what is returned then says so.
        """
        try:
            self._ask(text, parent_id)
        except HistoryError as error:
            self._leave_disk(parent_id)
            self._ask(text, self.leaf_id)
            return f"{error} {error.hint} From here on this chat is not kept."
        return ""

    def _ask(self, text: str, parent_id: int | None) -> None:
        if not self.chat_id:
            self.chat_id = self.history.start(system=self.system, options=self.options)
        self.question_id = self.leaf_id = self.history.say(self.chat_id, "user", text, parent_id)

    def _leave_disk(self, leaf_id: int | None) -> None:
        """The same chat up to that message, in memory."""
        path = self.history.get(self.chat_id).path(leaf_id) if self.chat_id and leaf_id is not None else []
        self.history = self._in_memory.enter_context(History.open(None))
        self.chat_id, self.leaf_id = self.history.start(system=self.system, options=self.options), None
        for message in path:
            self.leaf_id = self.history.say(self.chat_id, message.role, message.content, self.leaf_id, tool_calls=message.tool_calls)

    def answer(self, answerer: Answerer, model: str, toolbox: Toolbox, allow: Callable[[ToolCall], bool]) -> Generator[AgentEvent]:
        """Answer the question that the talk stands at; all of it is kept, also where this is left early. Errors are those of run_agent."""
        assert self.leaf_id is not None, "there is a question"
        messages = self.messages()
        record = _Record(self.history, self.chat_id, self.leaf_id, model)
        said: list[Message] = list(messages)
        try:
            with closing(run_agent(answerer, said, toolbox, allow=allow, **self.options)) as events:
                for event in events:
                    record.add(event, said[len(messages) :])
                    yield event
        except QwqError as error:
            record.end("failed", str(error))
            raise
        finally:
            record.end("stopped")
            record.add_results(said[len(messages) :])
            self.leaf_id = record.leaf_id

    def go_back(self, leaf_id: int | None) -> None:
        """Go on from an earlier message (None: from nothing)."""
        self.leaf_id = leaf_id
        if leaf_id is not None:
            self.history.set_leaf(self.chat_id, leaf_id)


class _Record:
    """Keeps the answers of one turn, and the results of the tools between them."""

    def __init__(self, history: History, chat_id: str, leaf_id: int, model: str) -> None:
        self.leaf_id = leaf_id
        self._history, self._chat_id, self._model = history, chat_id, model
        self._n_results = 0
        self._draft: Draft | None = None
        self._gathered = Gathered()
        self._begun()

    def add(self, event: AgentEvent, said: Sequence[Message]) -> None:
        """One event, and what the loop has said so far."""
        match event:
            case Thinking(text):
                self._begun().think(text)
            case Answering(text):
                self._begun().say(text)
            case ToolCallStarted() | ToolCallDelta() | ToolCallDropped():
                self._begun()
                self._gathered.add(event)
            case Finished():
                self._finish(event)
            case ToolAnswered():
                self.add_results(said)
            case _:  # what changes nothing of what is said
                pass

    def end(self, state: Ending, error: str = "") -> None:
        """What is still being written ends here."""
        if self._draft:
            self._draft.finish(state, error=error)
            self._draft = None

    def add_results(self, said: Sequence[Message]) -> None:
        """The results of tools among what the loop has said, those of interrupted calls too."""
        results = [message for message in said if message["role"] == "tool"]
        for message in results[self._n_results :]:
            self.leaf_id = self._history.say(self._chat_id, "tool", message["content"], self.leaf_id)
        self._n_results = len(results)

    def _begun(self) -> Draft:
        if self._draft is None:
            self._draft = self._history.begin(self._chat_id, self.leaf_id, self._model)
            self._gathered = Gathered()
            self.leaf_id = self._draft.id
        return self._draft

    def _finish(self, end: Finished) -> None:
        calls = [asdict(call) for call in self._gathered.tool_calls] if end.reason == "stop" else []
        state: Ending = "stopped" if end.reason == "cancelled" else "whole"
        self._begun().finish(state, finish_reason=end.reason, usage=_counts(end.usage), rope=end.rope, tool_calls=tuple(calls))
        self._draft = None


def _counts(usage: Usage) -> dict[str, int]:
    return {name: getattr(usage, name) for name in ("prompt_tokens", "completion_tokens", "reasoning_tokens")}
