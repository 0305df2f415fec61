"""What a proof of the service asks: the service itself over HTTP, the user's command line, and the files of the whole root."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from clean_root import USER, CleanRoot

ASK: Final = """
import json, sys, urllib.request
address, path, body = sys.argv[1:4]
request = urllib.request.Request(address + path, body.encode() if body else None, {"content-type": "application/json"})
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
sys.stdout.write(opener.open(request, timeout=120).read().decode())
"""
ADDRESS: Final = "http://127.0.0.1:8080"
QUESTION: Final = "What is 47 + 85?"
WAIT_SECONDS: Final = 120.0
OWN: Final = (f"home/{USER}/.local", f"home/{USER}/.cache", f"home/{USER}/.ollama")
"""What is the user's own: chats, what was measured, models."""


class Table:
    """Rows of what was asked and seen."""

    def __init__(self) -> None:
        self.n_wrong = 0

    def row(self, asked: str, seen: str, *, holds: bool) -> None:
        """One of them, printed at once."""
        self.n_wrong += not holds
        sys.stdout.write(f"{'as promised' if holds else 'NOT SO':12} {asked:58} {seen}\n")
        sys.stdout.flush()


class Service:
    """The service of the user in a clean root."""

    def __init__(self, root: CleanRoot) -> None:
        self.root = root

    def ask(self, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """The service's answer; None where it gives none."""
        told = self.root.python(ASK, ADDRESS, path, json.dumps(body) if body is not None else "")
        return json.loads(told.out) if told.code == 0 else None

    def answer(self, model: str = "demo") -> str:
        """To a question."""
        asked = {"model": model, "seed": 1, "max_tokens": 400, "messages": [{"role": "user", "content": QUESTION}]}
        told = self.ask("/v1/chat/completions", asked)
        return str(told["choices"][0]["message"]["content"] or "") if told else "nothing"

    def status(self) -> dict[str, Any]:
        """What `qwq service status --json` says."""
        told: dict[str, Any] = json.loads(self.root.user("qwq service status -n 0 --json 2>/dev/null").out)
        return told

    def until(self, holds: Callable[[], bool]) -> float:
        """The seconds until it holds; infinity where it never did."""
        began = time.monotonic()
        while time.monotonic() - began < WAIT_SECONDS:
            if holds():
                return time.monotonic() - began
            time.sleep(0.2)
        return float("inf")

    def is_healthy(self) -> bool:
        """Whether a request would be answered at once."""
        told = self.ask("/health")
        return bool(told and told["status"] == "ok")

    def changes(self, before: dict[str, str]) -> list[str]:
        """The paths that are not as they were, but what is the user's own."""
        now = self.root.listing()
        changed = {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}
        return sorted(path for path in changed if not any(path == own or path.startswith(f"{own}/") for own in OWN))


def told_changes(changed: list[str]) -> str:
    """In a few words."""
    return f"{len(changed)} differ: {' '.join(changed[:4])}" if changed else "no difference"
