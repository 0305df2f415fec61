"""How long it takes to list, search and read chats when there are ten thousand of them.

    python -m benchmarks.chats [--chats 10000] [--runs 20] [--json FILE]

Each chat has two questions and two answers with their thoughts, of random words; words of every kind are searched for: frequent, rare, two
letters only, none. `qwq history` is measured as a user would, and beside it a Python that does nothing.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import click

from benchmarks.commands import QWQ, seconds_of
from benchmarks.options import json_option
from benchmarks.report import Table
from qwq_local.history import CHATS_FILE, History

LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
RARE: Final = "quokka"
CHINESE: Final = "东京"
SEARCHED: Final = ("the", RARE, f"{RARE} a", CHINESE, "ab", "zzzzz")


def fill(path: Path, n_chats: int) -> None:
    """Write so many chats; every hundredth says the rare words."""
    rng = random.Random(1)
    words = ["".join(rng.choices(LETTERS, k=rng.randint(2, 9))) for _ in range(5000)]
    with History.open(path) as history:
        for number in range(n_chats):
            chat_id, at = history.start(), None
            for _ in range(2):
                question = " ".join(rng.choices(words, k=30)) + (f" {RARE} {CHINESE}" if number % 100 == 0 else "")
                draft = history.begin(chat_id, history.say(chat_id, "user", question, at), "demo")
                draft.think(" ".join(rng.choices(words, k=400)))
                draft.say(" ".join(rng.choices(words, k=150)))
                draft.finish("whole")
                at = draft.id


def timed(work: Callable[[], object]) -> float:
    """Milliseconds that it takes."""
    started_at = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started_at)


@click.command()
@click.option("--chats", "n_chats", default=10_000, show_default=True)
@click.option("--runs", default=20, show_default=True)
@json_option
def main(n_chats: int, runs: int, json_path: Path | None) -> None:
    """Fill a file, and measure."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / CHATS_FILE
        fill(path, n_chats)
        title = f"milliseconds with {n_chats:,} chats in {path.stat().st_size / 1e6:.0f} MB, {runs} runs each"
        table = Table(title, ["what", "least", "median", "most"])
        with History.open(path) as history:
            last = history.latest(limit=1)[0].id
            works: dict[str, Callable[[], object]] = {
                "open": lambda: History.open(path).close(),
                "list the latest 50": history.latest,
                "read one": lambda: history.get(last),
                **{f"search {text!r}": partial(history.search, text) for text in SEARCHED},
            }
            for name, work in works.items():
                spent = [timed(work) for _ in range(runs)]
                table.add(name, min(spent), statistics.median(spent), max(spent))
        environment = {**os.environ, "QWQ_DATA": folder}
        for command in (("python", "-c", "pass"), ("qwq", "history", "list"), ("qwq", "history", "search", RARE)):
            program = {"python": sys.executable, "qwq": QWQ}[command[0]]
            spent = [1000 * seconds_of(program, *command[1:], environment=environment) for _ in range(runs)]
            table.add(" ".join(command), min(spent), statistics.median(spent), max(spent))
        table.show(json_path)


if __name__ == "__main__":
    main()
