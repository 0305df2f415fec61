"""A served model that answers by a script: whatever text a test wants a browser or a client to be given, at the pace it wants."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from qwq_local.engine import Engine, EngineSettings
from qwq_local.loading import OpenModel, plan_load
from qwq_local.runtime import QwQ
from qwq_local.settings import LoadSettings
from qwq_local.worker import Worker
from tests.fakes import END_THINK, IM_END, FakeBackend

N_CTX = 16_384


class ScriptedBackend(FakeBackend):
    """Answers a question by what `script` has under a text that stands in it: a thought and an answer; else "Thinking." and "Answered."."""

    def __init__(self, script: Mapping[str, tuple[str, str]], pace_seconds: float) -> None:
        super().__init__(n_ctx=N_CTX, n_batch=512, n_sequences=6, before_decode=lambda _: time.sleep(pace_seconds))
        self._script = script

    def reply(self, prompt: Sequence[int], seed: int) -> Sequence[int]:  # noqa: ARG002 - the same to every seed
        text = bytes(token for token in prompt if token < 256).decode("utf-8", "replace")
        said = text.rpartition("user\n")[2]
        thought, answer = next((found for key, found in self._script.items() if key in said), ("Thinking.", "Answered."))
        return [*thought.encode(), END_THINK, *answer.encode(), IM_END]


def load_scripted(script: Mapping[str, tuple[str, str]], pace_seconds: float = 0.0) -> Callable[..., QwQ]:
    """For `running(load=…)`: the plan of the built-in model, and a fake in the place of its weights."""

    def load(model: str | None, *, on_progress: Callable[[float], None]) -> QwQ:
        settings = LoadSettings(n_ctx=None, n_parallel=4)
        backend = ScriptedBackend(script, pace_seconds)
        worker = Worker(backend, partial(Engine, settings=EngineSettings(4, speculates=False)))
        on_progress(1.0)
        plan = plan_load(model, settings)
        plan = replace(plan, file=replace(plan.file, native_ctx=N_CTX, yarn_factor=1.0))
        opened = OpenModel(plan, N_CTX, backend.vocabulary, None, worker, worker.close)
        return QwQ(opened, settings, reads_ahead=False)

    return load
