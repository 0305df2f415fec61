"""Questions, answers and answerers for tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qwq_local.errors import ModelClosedError
from qwq_local.evaluation.answerers import Answered
from qwq_local.evaluation.question import Question
from qwq_local.evaluation.sample import RunHead, RunSettings, Sample
from qwq_local.grading import Given, WantsText

PLAIN = Sample("q0", 0, "", True, "a", "", "stop", 10, 30, 20, 0.5, "a")


def question(name: str, answer: str = "a", group: str = "") -> Question:
    """One with a text for its answer."""
    return Question(name, ({"role": "user", "content": f"{name}?"},), WantsText((answer,)), group)


def head(n_questions: int, n_samples: int = 1, **changes: Any) -> RunHead:
    """Of a run of the fake."""
    told: dict[str, Any] = {"model": "fake", "quantization": "", "model_bytes": 0, "tasks": "t", "digest": "d"} | changes
    return RunHead(**told, n_questions=n_questions, settings=RunSettings(n_samples))


@dataclass
class FakeAnswerer:
    """Answers as it is told to, and counts what it is asked."""

    says: Callable[[Question, int], str] = lambda *_: "a"
    asked: list[tuple[str, int]] = field(default_factory=list)
    is_closed: threading.Event = field(default_factory=threading.Event)

    def ask(self, question: Question, seed: int, options: Mapping[str, Any]) -> Answered:
        """Without a thought."""
        assert options == {}, "none are given"
        self.asked.append((question.name, seed))
        return Answered(Given(self.says(question, seed)), "stop", 1, 1, 0)

    def close(self) -> None:
        """Whoever waits is told."""
        self.is_closed.set()

    def wait_until_closed(self) -> str:
        """An answer that never ends by itself. Raises ModelClosedError."""
        assert self.is_closed.wait(30)
        raise ModelClosedError("The model was closed.")
