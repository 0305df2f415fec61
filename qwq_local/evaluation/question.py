"""A question of an evaluation (data)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qwq_local.grading import Wanted


@dataclass(frozen=True)
class Question:
    """What is asked, as messages of a chat, and what a right answer is.

    `name` is unique in its file; `group` is what results are reported by beside the whole, a category or a subject. `tools` are OpenAI's
    descriptions of functions.
    """

    name: str
    messages: tuple[Mapping[str, Any], ...]
    wanted: Wanted
    group: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()
