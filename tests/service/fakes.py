"""A system's commands and a manager of services, faked: what they are asked is written down, and they answer as they were told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qwq_local.errors import InstallationError
from qwq_local.service.manager import Ran, State
from qwq_local.service.order import Order

ORDER = Order(("/venv/bin/qwq",), ("--port", "9000", "--model", "demo"), (("QWQ_MODELS", "/data/models"),), ("/home/ann/.local/share/qwq",))


class Commands:
    """Answers each command by the first of its words that an answer is known for."""

    def __init__(self, **answers: Ran | Callable[[Sequence[str]], Ran]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, command: Sequence[str]) -> Ran:
        self.asked.append(" ".join(command))
        for word in command:
            answer = self.answers.get(word.lstrip("-/").replace("-", "_"))
            if answer is not None:
                return answer if isinstance(answer, Ran) else answer(command)
        return Ran(0)

    def ran(self, beginning: str) -> bool:
        """Whether a command began so."""
        return any(command.startswith(beginning) for command in self.asked)


@dataclass
class FakeManager:
    """Keeps one service, which lives as `states` say: one after the other, the last one for good."""

    installed: Order | None = None
    states: list[State] = field(default_factory=lambda: [State(is_running=True, pid=7, restarts=0, starts="at login")])
    log: list[str] = field(default_factory=list)
    refuses: str = ""
    done: list[str] = field(default_factory=list)
    file: Path = Path("/home/ann/qwq.service")

    def require(self) -> None:
        if self.refuses == "require":
            raise InstallationError("There is no systemd here.", hint="Run qwq serve itself.")

    def adapt(self, order: Order) -> Order:
        return order

    def find(self) -> Order | None:
        return self.installed

    def start(self, order: Order) -> None:
        self.done.append(f"start {' '.join(order.options)}")
        if self.refuses == "start":
            raise InstallationError("systemctl failed.", hint="Mend that.")
        self.installed = order

    def take_away(self) -> None:
        self.done.append("take away")
        self.installed = None

    def state(self) -> State:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def log_lines(self, n_lines: int) -> list[str]:
        return self.log[-n_lines:]
