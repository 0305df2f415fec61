"""Who answers: a model that is loaded here, or one behind a REST endpoint of OpenAI's format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol, Self

from qwq_local.errors import PromptError, QwqError, SettingsError
from qwq_local.evaluation.question import Question
from qwq_local.grading import Given
from qwq_local.runtime import QwQ

CONNECT_SECONDS: Final = 10.0
LONGEST_SECONDS: Final = 24 * 3600.0
"""For one answer: a thought of 32,000 tokens takes hours on a laptop."""


@dataclass(frozen=True)
class Answered:
    """An answer, before it is graded; counts in tokens."""

    given: Given
    ending: str
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int


class Answerer(Protocol):
    """`ask` may be called from several threads at once."""

    def ask(self, question: Question, seed: int, options: Mapping[str, Any]) -> Answered:
        """One answer. Raises QwqError."""
        ...

    def close(self) -> None:
        """End what is being answered: whoever waits for it gets an error."""
        ...


class LoadedModel:
    """A model that is loaded here."""

    def __init__(self, qwq: QwQ) -> None:
        self._qwq = qwq

    def close(self) -> None:
        """Closing again does nothing."""
        self._qwq.close()

    def ask(self, question: Question, seed: int, options: Mapping[str, Any]) -> Answered:
        """Raises what `QwQ.chat` does."""
        reply = self._qwq.chat(question.messages, tools=question.tools or None, seed=seed, **options)
        calls = tuple((call.name, call.arguments) for call in reply.tool_calls)
        usage = reply.usage
        return Answered(
            Given(reply.content, calls, prompt_of(question)),
            reply.finish_reason,
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.reasoning_tokens,
        )


class Endpoint:
    """A REST endpoint of OpenAI's chat completions: `url` ends before `/chat/completions`. Closed with its `with` block."""

    def __init__(self, url: str, model: str | None, key: str | None = None) -> None:
        import httpx2

        if not url.startswith(("http://", "https://")):
            raise SettingsError(f"{url!r} is no address of an endpoint.", hint="Give one as http://127.0.0.1:8080/v1.")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx2.Timeout(LONGEST_SECONDS, connect=CONNECT_SECONDS)
        limits = httpx2.Limits(max_connections=None)
        self._client = httpx2.Client(headers=headers, timeout=timeout, limits=limits)
        self._url = url.rstrip("/")
        try:
            self.name = model or self._first_model()
        except QwqError:
            self.close()
            raise

    def ask(self, question: Question, seed: int, options: Mapping[str, Any]) -> Answered:
        """Raises QwqError for what the endpoint answers instead."""
        body = {"model": self.name, "messages": [*question.messages], "seed": seed, **options}
        if question.tools:
            body["tools"] = [*question.tools]
        told = self._json("POST", "/chat/completions", body)
        try:
            choice, usage = told["choices"][0], told.get("usage") or {}
            message = choice["message"]
            calls = tuple((call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls") or ())
            details = usage.get("completion_tokens_details") or {}
            return Answered(
                Given(without_thought(message.get("content") or ""), calls, prompt_of(question)),
                str(choice.get("finish_reason") or ""),
                int(usage.get("prompt_tokens") or 0),
                int(usage.get("completion_tokens") or 0),
                int(details.get("reasoning_tokens") or 0),
            )
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise QwqError(f"{self._url} answered in a way that is not OpenAI's: {told!r:.200}.", hint="Is it a chat endpoint?") from error

    def _first_model(self) -> str:
        models = self._json("GET", "/models", None).get("data") or []
        names = [each["id"] for each in models if isinstance(each, dict) and "id" in each]
        if not names:
            raise SettingsError(f"{self._url} names no model.", hint="Say which to ask: -m NAME")
        return str(names[0])

    def _json(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:  # noqa: ANN401 - JSON of any shape
        import httpx2

        try:
            answer = self._client.request(method, self._url + path, json=body)
        except (httpx2.HTTPError, RuntimeError) as error:  # httpx2 raises RuntimeError once it is closed
            raise QwqError(f"{self._url} does not answer: {error}.", hint="Is the server running? qwq serve") from error
        try:
            told = answer.json() if answer.content else {}
        except ValueError as error:
            raise QwqError(f"{self._url}{path} answered {answer.status_code} with no JSON.", hint="Is it a chat endpoint?") from error
        if answer.status_code >= 400:
            kind = PromptError if answer.status_code < 500 else QwqError
            raise kind(f"{self._url}{path} answered {answer.status_code}: {told!r:.300}", hint="See the server's messages.")
        return told

    def __enter__(self) -> Self:
        """Connected when it is asked."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Closing again does nothing."""
        self._client.close()


def without_thought(content: str) -> str:
    """What follows a thought that an endpoint left in the answer's text."""
    return content.rpartition("</think>")[2]


def prompt_of(question: Question) -> str:
    """The text of the last message of the user."""
    texts = [message["content"] for message in question.messages if message.get("role") == "user"]
    return str(texts[-1]) if texts else ""
