"""The model that a conversation is held with: exchanged in mid-chat, and stopped from another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

from qwq_local.answering import AnswerStream
from qwq_local.asking import AnswerOptions, Tools
from qwq_local.cli.chatting.face import StoppedError
from qwq_local.errors import QwqError
from qwq_local.loading import plan_load
from qwq_local.prompt import Message
from qwq_local.runtime import QwQ
from qwq_local.settings import LoadSettings


class Duty:
    """A loaded model, which answers as `agent.Answerer` wants it. `load` are the arguments of QwQ.load that it was loaded with."""

    def __init__(self, qwq: QwQ, load: Mapping[str, Any]) -> None:
        self.qwq: QwQ | None = qwq
        self.load = dict(load)
        self._lock = threading.Lock()
        self._running: AnswerStream | None = None
        self._is_stopped = False

    @property
    def name(self) -> str:
        """The model's, or that of the one that was closed last."""
        return self.qwq.model.name if self.qwq else str(self.load["model"])

    @property
    def n_ctx(self) -> int:
        """Tokens of prompt and answer together; 0 while no model is loaded."""
        return self.qwq.n_ctx if self.qwq else 0

    @property
    def rope(self) -> str:
        """The scaling in force."""
        snapshot = self.qwq.snapshot() if self.qwq else None
        return snapshot.rope if snapshot else ""

    @property
    def prompt_tokens(self) -> int:
        """Of the answer that is written now, or was written last."""
        return self._running.prompt_tokens if self._running else 0

    def stream(self, messages: Sequence[Message], *, tools: Tools | None = None, **options: Unpack[AnswerOptions]) -> AnswerStream:
        """As QwQ.stream. Raises StoppedError where it was stopped meanwhile, QwqError where there is no model."""
        if self.qwq is None:
            raise QwqError("No model is loaded.", hint="Choose one: /model NAME")
        stream = self.qwq.stream(messages, tools=tools, **options)
        with self._lock:
            self._running = stream
            if self._is_stopped:
                stream.close()
                raise StoppedError
        return stream

    def begin(self) -> None:
        """What was stopped before is over."""
        self._is_stopped = False

    def stop(self) -> None:
        """End the answer that is written, and let no other begin; callable from any thread."""
        with self._lock:
            self._is_stopped = True
            if self._running:
                self._running.close()

    def answer_now(self) -> None:
        """Let the model stop thinking; callable from any thread."""
        with self._lock:
            if self._running:
                self._running.answer_now()

    def change(self, on_progress: Callable[[float], None], **changes: Any) -> None:  # noqa: ANN401 - arguments of QwQ.load
        """Close the model and load what `changes` say; where that fails the one before comes back.

        Raises what QwQ.load raises, and what `on_progress` raises; a model that is not there is told before the old one is closed.
        """
        wanted = self.load | changes
        settings = LoadSettings(**{name: wanted[name] for name in LoadSettings.__dataclass_fields__ if name in wanted})
        if changes.get("model") is not None:
            plan_load(wanted["model"], LoadSettings(force=True))
        before = self.load | {"model": self.qwq.model.name} if self.qwq else None
        self.close()
        try:
            self._load(wanted | {"force": settings.force}, on_progress)
        except (QwqError, StoppedError):
            if before is not None:
                self._load(before, lambda _: None)
            raise

    def close(self) -> None:
        """Free the model. Closing again does nothing."""
        with self._lock:
            self._running, qwq, self.qwq = None, self.qwq, None
        if qwq:
            qwq.close()

    def _load(self, wanted: dict[str, Any], on_progress: Callable[[float], None]) -> None:
        self.qwq = QwQ.load(**wanted, reads_ahead=True, on_progress=on_progress)
        self.load = wanted
