"""One graded answer (data), and the settings under which a run's answers were written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from qwq_local.errors import SettingsError

MAX_SAMPLES_EACH = 1024


@dataclass(frozen=True)
class Sample:
    """The `index`-th answer to a question, and its grade.

    `ending` is the answer's finish reason (stop, length, repetition), or `error`, and `why` then says which. Tokens are counted by whoever
    answered, `reasoning_tokens` among the completion's; `seconds` are those from question to grade.
    """

    question: str
    index: int
    group: str
    is_right: bool
    found: str
    why: str
    ending: str
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    seconds: float
    content: str


@dataclass(frozen=True)
class RunSettings:
    """How every question is asked: so many answers each, drawn with seeds that follow from `seed`, and what else the answerer is told."""

    n_samples: int = 1
    seed: int = 1
    options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.n_samples <= MAX_SAMPLES_EACH:
            raise SettingsError(f"{self.n_samples} answers to each question are wanted.", hint=f"Give 1 to {MAX_SAMPLES_EACH}.")


@dataclass(frozen=True)
class RunHead:
    """What a run is a run of: which model, which questions, and how they are asked. Only a run with an equal head is gone on with.

    `model` is a name to show, `model_bytes` its file's size where that is known (0 otherwise), `digest` that of the questions.
    """

    model: str
    quantization: str
    model_bytes: int
    tasks: str
    digest: str
    n_questions: int
    settings: RunSettings

    def as_json(self) -> dict[str, Any]:
        """For the first line of a run's file."""
        return asdict(self)

    @property
    def stamp(self) -> str:
        """Eight hexadecimal digits that differ wherever anything of it does."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()[:8]


def head_of(told: Mapping[str, Any], kind: str) -> RunHead:
    """From JSON. Raises KeyError, TypeError or ValueError for anything else."""
    if told["kind"] != kind:
        raise ValueError(f"its kind is {told['kind']!r}")
    fields = {name: value for name, value in told.items() if name != "kind"}
    return RunHead(**{**fields, "settings": RunSettings(**told["settings"])})


def seed_of(seed: int, question: str, index: int) -> int:
    """The seed of one answer: the same whenever it is asked for, whatever was asked before."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{index}/{question}".encode()).digest()[:4]) % (2**32 - 2)
