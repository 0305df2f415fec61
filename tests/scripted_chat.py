"""`qwq chat` with a model that says what a file holds, byte for byte: python -m tests.scripted_chat FILE [ARGUMENTS of chat].

What stands before `</think>` is the thought. FILE may name the seconds that a token takes: FILE@0.01.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qwq_local.cli import main
from qwq_local.loading import opening, plan_load
from tests.fakes import END_THINK, IM_END, FakeBackend

N_CTX = 1_000_000


class ScriptedBackend(FakeBackend):
    """Says the same after every prompt."""

    chat_template = None

    def __init__(self, said: bytes, token_seconds: float) -> None:
        n_ctx = len(said) + 4000
        super().__init__(n_ctx=n_ctx, n_batch=512, n_sequences=16, before_decode=lambda _: time.sleep(token_seconds))
        thought, _, answer = said.partition(b"</think>")
        self._said = [*thought, END_THINK, *answer, IM_END]

    def reply(self, prompt: Sequence[int], seed: int) -> Sequence[int]:  # noqa: ARG002 - whatever was asked
        return self._said


def run(named: str, *arguments: str) -> None:
    """Run it."""
    name, _, seconds = named.partition("@")

    def open_scripted(*_: Any) -> Any:
        return ScriptedBackend(Path(name).read_bytes(), float(seconds or 0))

    def plan_scripted(*asked: Any) -> Any:
        plan = plan_load(*asked)
        return replace(plan, file=replace(plan.file, native_ctx=N_CTX, yarn_factor=1.0))

    vars(opening)["open_backend"], vars(opening)["plan_load"] = open_scripted, plan_scripted
    sys.argv = ["qwq", "chat", "-m", "demo", "--no-speculation", *arguments]
    main()


if __name__ == "__main__":
    run(*sys.argv[1:])
