"""A request's way through the house: which room called which, from the wire to the token and back, seen while one is answered.

    python -m benchmarks.way [--path /v1/chat/completions] [--json FILE]

Every Python call between two rooms (the packages and modules right below qwq_local) is counted, in every thread, while the demo model
answers one streamed request over HTTP. A room stands once for each room that calls it, in the order in which it was first entered.
"""

from __future__ import annotations

import argparse
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import httpx

from benchmarks.report import Table
from tests.serving import running

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "demo", "stream": True, "seed": 1, "messages": [{"role": "user", "content": "What is 47 + 85?"}]},
    "/v1/responses": {"model": "demo", "stream": True, "input": "What is 47 + 85?"},
    "/v1/messages": {"model": "demo", "stream": True, "max_tokens": 400, "messages": [{"role": "user", "content": "What is 47 + 85?"}]},
    "/api/chat": {"model": "demo", "options": {"seed": 1}, "messages": [{"role": "user", "content": "What is 47 + 85?"}]},
}


class Onlooker:
    """Sees each call from one room into another, in any thread."""

    def __init__(self) -> None:
        self.looks = False
        self.calls: Counter[tuple[str, str]] = Counter()
        self.threads: dict[tuple[str, str], set[str]] = {}

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Python's profiler tells of a call."""
        if self.looks and event == "call" and (callee := room(frame)):
            above = frame.f_back
            while above and not room(above):
                above = above.f_back
            caller = room(above) if above else "(outside)"
            if caller != callee:
                self.calls[caller, callee] += 1
                self.threads.setdefault((caller, callee), set()).add(threading.current_thread().name.split("-")[0].split("_")[0])


def room(frame: FrameType) -> str:
    """The room that a frame's function stands in; nothing for code that is not this project's."""
    parts = frame.f_globals.get("__name__", "").split(".")
    return parts[1] if parts[0] == "qwq_local" and len(parts) > 1 else ""


def main() -> None:
    """Ask once without being seen, so that everything is imported, and once more."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", choices=BODIES, default="/v1/chat/completions")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    onlooker = Onlooker()
    threading.setprofile(onlooker)  # before the server's threads begin, since Python 3.11 cannot set it in those that run
    with running() as endpoint:
        for onlooker.looks in (False, True):
            with httpx.stream("POST", endpoint.url + args.path, json=BODIES[args.path], timeout=60) as answer:
                answer.raise_for_status()
                list(answer.iter_lines())
        onlooker.looks = False
    table = Table(f"the way of POST {args.path}", ["from", "to", "calls", "threads"])
    for (caller, callee), count in onlooker.calls.items():
        table.add(caller, callee, count, ", ".join(sorted(onlooker.threads[caller, callee])))
    table.show(args.json)


if __name__ == "__main__":
    main()
