"""What a conversation needs of the terminal that it is held on."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from qwq_local.agent import AgentEvent
from qwq_local.runtime import ToolCall


class StoppedError(Exception):
    """The user wants no more of what is being done."""


class Face(Protocol):
    """A terminal, or a pipe."""

    @property
    def is_watched(self) -> bool:
        """Whether someone sees errors and goes on after them."""
        ...

    def tell(self, text: str) -> None:
        """Something beside the answers, in lines."""
        ...

    def tell_error(self, error: str, hint: str) -> None:
        """What went wrong, and what to do."""
        ...

    def show(self, event: AgentEvent) -> None:
        """A piece of an answer."""
        ...

    def answering(self) -> AbstractContextManager[object]:
        """Holds while an answer is written; what was shown of it ends in a whole line, however it ends."""
        ...

    def allows(self, call: ToolCall) -> bool:
        """Whether a tool may be called. Raises StoppedError."""
        ...

    def confirms(self, question: str) -> bool:
        """Whether the user says yes; no where nobody can be asked."""
        ...

    def prefill(self, text: str) -> None:
        """Put a text where the next question is typed."""
        ...

    def tell_progress(self, share: float) -> None:
        """How much of a model is loaded, 0.0 to 1.0. Raises StoppedError."""
        ...
