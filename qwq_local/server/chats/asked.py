"""The page's own format, what is asked: chats begun, questions, second answers, and changes of a chat."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from qwq_local.server.wire import Budget, ModelName, Samplers, Seed, Tokens, Wire, given, ranged

MessageId = Annotated[int, Field(ge=1, le=2**63 - 1)]
Text = Annotated[str, Field(min_length=1, pattern=r"\S")]


class Options(Samplers):
    """Options of `QwQ.stream` that a chat is answered with."""

    presence_penalty: float | None = ranged("presence_penalty")
    frequency_penalty: float | None = ranged("frequency_penalty")
    seed: Seed | None = None
    max_tokens: Tokens | None = None
    think_tokens: Budget | None = None
    thinks: bool | None = None
    stops_repetition: bool | None = None

    def chosen(self) -> dict[str, Any]:
        """Those that were given."""
        names = ("max_tokens", "think_tokens", "thinks", "stops_repetition")
        return self.sampling_options() | given(**{name: getattr(self, name) for name in names})


class Again(Wire):
    """`POST /chats/ID/messages/ID/answers`: another answer to the same question; without options, those of the chat hold."""

    model: ModelName | None = None
    options: Options | None = None


class Question(Again):
    """`POST /chats/ID/messages`: a question behind another message, or as a first one."""

    content: Text
    parent_id: MessageId | None = None


class NewChat(Again):
    """`POST /chats`: a chat, with its first question."""

    content: Text
    system: str | None = None


class Changes(Wire):
    """`PATCH /chats/ID`: what is named is changed; `options` as a whole."""

    title: Text | None = None
    leaf_id: MessageId | None = None
    system: str | None = None
    options: Options | None = None
