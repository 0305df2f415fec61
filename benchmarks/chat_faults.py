"""What is left of a chat when what writes it is killed: the server, the process of its engine, or the terminal.

    python -m benchmarks.chat_faults [--kills 50] [--json FILE]

On the demo model, changed so that it never ends; in the terminal, on one that counts. At a random moment of the first seconds of an answer
SIGKILL is sent; then the chats are opened, and it is told how old the last writing was when the kill came, and whether all is there that
was seen a second before it. A killed engine's answer must be there to the last token seen.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click
import httpx
import psutil

from benchmarks.endpoint import Serve, serve
from benchmarks.options import json_option
from benchmarks.report import Table
from qwq_local.history import CHATS_FILE, History
from tests.endless import write_endless
from tests.panes import Pane

OPTIONS: Final = ("--ctx", "32768", "--presence-penalty", "1.5")
"""So that it is seldom ended for going round in circles."""
LATEST_SECONDS: Final = 4.0
TOKEN_SECONDS: Final = 0.004
DEATH_SECONDS: Final = 30.0


@dataclass
class Seen:
    """What a client has seen of an answer: when, and the text so far."""

    moments: list[tuple[float, str]] = field(default_factory=list)
    text: str = ""

    def add(self, piece: str) -> None:
        """A piece more."""
        self.text += piece
        self.moments.append((time.time(), self.text))

    def until(self, moment: float) -> str:
        """What was seen then."""
        return max((text for at, text in self.moments if at <= moment), key=len, default="")


@dataclass(frozen=True)
class Left:
    """What a kill left: how old the last writing was, whether all is there that was seen a second before, and how the answer stands."""

    age_seconds: float
    has_all: bool
    state: str


def look(folder: Path, killed_at: float, due: str) -> Left:
    """Open the chats as the next program does, and as SQLite has them."""
    path = folder / CHATS_FILE
    with sqlite3.connect(path) as db:
        (touched_at,) = db.execute("SELECT touched_at FROM messages ORDER BY id DESC").fetchone()
    db.close()
    with History.open(path, clock=lambda: time.time() + DEATH_SECONDS) as history:
        if history.notices:
            raise RuntimeError(history.notices[0])
        message = history.get(history.latest()[0].id).path()[-1]
    return Left(killed_at - touched_at, (message.reasoning + message.content).startswith(due), message.state)


def listen(url: str, seen: Seen) -> None:
    """Hear an answer until its server is gone, or it has ended."""
    with suppress(httpx.HTTPError), httpx.stream("GET", url, timeout=60) as events:
        for line in events.iter_lines():
            if line.startswith("data: "):
                data: dict[str, Any] = json.loads(line.removeprefix("data: "))
                if "state" not in data:
                    seen.add(data.get("text", ""))
                elif not seen.text:
                    seen.add(data["reasoning"] + data["content"])


@contextmanager
def answering(server: Serve) -> Iterator[Seen]:
    """A chat on the server, and what a client sees of it; at its end the client has heard all."""
    asked = {"content": "What is 47 + 85?", "options": {"stops_repetition": False}}
    begun = httpx.post(f"{server.url}/chats", json=asked, timeout=60).raise_for_status().json()
    seen = Seen()
    listener = threading.Thread(target=listen, args=(f"{server.url}/chats/{begun['chat_id']}/events", seen))
    listener.start()
    yield seen
    listener.join()


def kill_server(folder: Path, model: Path, seconds: float) -> Left:
    """The server itself; its engine ends with it."""
    with serve("-m", model, *OPTIONS) as server:
        with answering(server) as seen:
            time.sleep(seconds)
            killed_at = time.time()
            server.process.kill()
        server.process.wait()
    return look(folder, killed_at, seen.until(killed_at - 1))


def kill_engine(folder: Path, model: Path, seconds: float) -> Left:
    """The engine's process: what was seen is all kept, and the next question is answered."""
    with serve("-m", model, *OPTIONS) as server:
        with answering(server) as seen:
            time.sleep(seconds)
            killed_at = time.time()
            for child in psutil.Process(server.process.pid).children():
                child.kill()
        left = look(folder, killed_at, seen.text)
        with answering(server) as next_seen:
            time.sleep(2)
            httpx.post(f"{server.url}/chats/{History.open(folder / CHATS_FILE).latest()[0].id}/stop", timeout=60)
        return Left(left.age_seconds, left.has_all and bool(next_seen.text), left.state)


def kill_terminal(folder: Path, _: Path, seconds: float) -> Left:
    """`qwq chat` on a terminal, with a model that counts; the last number seen a second before must be there."""
    script, rng = folder / "script", random.Random(seconds)
    words = [f"n{number} {rng.randrange(10**9):x}" for number in range(5000)]
    script.write_text(f"</think>{' '.join(words)}")
    pane = Pane(sys.executable, "-m", "tests.scripted_chat", f"{script}@{TOKEN_SECONDS}")
    seen = [(0.0, 0)]
    try:
        pane.await_text("Ctrl-D")
        pane.settle()
        pane.ask("Count.")
        pane.await_text("n1")
        end = time.time() + seconds
        while (now := time.time()) < end:
            pane.glance()
            seen.append((now, max(map(int, re.findall(r"\bn(\d+) ", pane.text)), default=0)))
        killed_at = time.time()
        pane.child.send_signal(signal.SIGKILL)
        pane.child.wait()
    finally:
        pane.close()
    last = max(number for at, number in seen if at <= killed_at - 1)
    return look(folder, killed_at, " ".join(words[:last]))


KILLS: Final = {"server": kill_server, "engine": kill_engine, "terminal": kill_terminal}


@click.command()
@click.option("--kills", "n_kills", default=50, show_default=True, help="Of each kind.")
@click.option("--kind", "kinds", type=click.Choice([*KILLS]), multiple=True, default=[*KILLS])
@json_option
def main(n_kills: int, kinds: tuple[str, ...], json_path: Path | None) -> None:
    """Kill."""
    rng = random.Random(1)
    table = Table(
        f"{n_kills} kills of each, in the first {LATEST_SECONDS:g} s of an answer",
        ["killed", "history opens", "all there that was due", "age of the last writing: median, s", "most, s", "states"],
    )
    for kind in kinds:
        lefts: list[Left] = []
        for _ in range(n_kills):
            with tempfile.TemporaryDirectory() as folder:
                os.environ["QWQ_DATA"] = folder
                model = write_endless(Path(folder) / "endless.gguf")
                lefts.append(KILLS[kind](Path(folder), model, rng.uniform(0.05, LATEST_SECONDS)))
        ages = [left.age_seconds for left in lefts]
        states = re.sub(r"[{}']", "", str({state: sum(left.state == state for left in lefts) for state in {left.state for left in lefts}}))
        table.add(kind, len(lefts), sum(left.has_all for left in lefts), statistics.median(ages), max(ages), states)
    table.show(json_path)


if __name__ == "__main__":
    main()
