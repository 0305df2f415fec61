"""What a loop's events come to (pure)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypeVar

from qwq_local.agent.loop import AgentEvent, RoundsSpent, ToolAnswered, ToolCalled
from qwq_local.answering import Gathered, Reply
from qwq_local.engine import Finished, Timings, Usage

Summable = TypeVar("Summable", Usage, Timings)


@dataclass(frozen=True)
class AgentReply:
    """All answers of a loop as one, and the calls between them.

    Texts are joined, tokens and times added up; how it ended is how the last answer did.
    """

    reply: Reply
    calls: tuple[ToolAnswered, ...]


class Record:
    """Gathers a loop's events."""

    def __init__(self) -> None:
        self._answers = [Gathered()]
        self._ends: list[Finished] = []
        self._calls: list[ToolAnswered] = []

    def add(self, event: AgentEvent) -> None:
        """One event more."""
        match event:
            case Finished():
                self._ends.append(event)
                self._answers.append(Gathered())
            case ToolAnswered():
                self._calls.append(event)
            case ToolCalled() | RoundsSpent():
                pass
            case _:
                self._answers[-1].add(event)

    def reply(self, model: str) -> AgentReply:
        """What all of them came to, once the loop has ended."""
        assert self._ends, "a loop gives at least one answer"
        last = self._ends[-1]
        reply = Reply(
            model=model,
            reasoning="\n\n".join(answer.reasoning for answer in self._answers if answer.reasoning),
            content="\n\n".join(answer.content for answer in self._answers if answer.content),
            finish_reason=last.reason,
            usage=_sum([end.usage for end in self._ends]),
            timings=_sum([end.timings for end in self._ends]),
            rope=last.rope,
            seed=last.seed,
            race=last.race,
        )
        return AgentReply(reply, tuple(self._calls))


def _sum(parts: list[Summable]) -> Summable:
    return type(parts[0])(*(sum(getattr(part, field.name) for part in parts) for field in fields(parts[0])))
