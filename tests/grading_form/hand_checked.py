"""Answers that were judged by hand, from tests/data/grading."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwq_local.grading import Given, Instruction, WantsCalls, WantsInstructions

_FOLDER = Path(__file__).parent.parent / "data" / "grading"


@dataclass(frozen=True)
class Case:
    """One line: `wanted` as it stands there; `tricky` says what makes it so, or nothing."""

    name: str
    wanted: dict[str, Any]
    given: Given
    is_right: bool
    tricky: str

    def __str__(self) -> str:
        return self.name

    @property
    def instructions(self) -> WantsInstructions:
        return WantsInstructions(tuple(Instruction(name, arguments) for name, arguments in self.wanted["instructions"]))

    @property
    def calls(self) -> WantsCalls:
        calls = tuple((name, {key: tuple(values) for key, values in arguments.items()}) for name, arguments in self.wanted["calls"])
        return WantsCalls(calls, self.wanted.get("is_ordered", False))


def cases(kind: str) -> list[Case]:
    """Those of a kind: "instructions" or "calls"."""
    lines = (_FOLDER / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines()
    return [_case(json.loads(line)) for line in lines]


def _case(line: dict[str, Any]) -> Case:
    given = Given(line["content"], tuple((name, arguments) for name, arguments in line["calls"]), line["prompt"])
    return Case(line["id"], line["wanted"], given, line["right"], line["tricky"])
