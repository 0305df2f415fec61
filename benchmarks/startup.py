"""How long `qwq --help` takes, and how long until the first token of `qwq ask -m demo`, as a user would measure it.

    python -m benchmarks.startup [--runs 21] [--json FILE]

Each run is a new process; a Python that does nothing is measured beside them, since nothing written in Python can be faster.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks.commands import QWQ, seconds_of
from benchmarks.options import json_option
from benchmarks.report import Table

QUESTION = "What is 47 + 85?"


def first_output_seconds(*command: object) -> float:
    """From start to the first byte of the thinking, on stderr."""
    started_at = time.perf_counter()
    with subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, bufsize=0) as process:
        assert process.stderr is not None, "it was asked for"
        if not process.stderr.read(1):
            raise RuntimeError(f"{command} printed nothing")
        seconds = time.perf_counter() - started_at
        process.stderr.read()
    return seconds


@click.command()
@click.option("--runs", default=21, show_default=True)
@json_option
def main(runs: int, json_path: Path | None) -> None:
    """Measure, taking turns so that a slow moment of the machine meets all alike."""
    measures: dict[str, Callable[[], float]] = {
        "python -c pass": lambda: seconds_of(sys.executable, "-c", "pass"),
        "qwq --help": lambda: seconds_of(QWQ, "--help"),
        "qwq ask -m demo: first token": lambda: first_output_seconds(QWQ, "ask", "-m", "demo", QUESTION),
        "qwq ask -m demo: whole answer": lambda: seconds_of(QWQ, "ask", "-m", "demo", QUESTION),
    }
    seconds: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(runs):
        for name, measure in measures.items():
            seconds[name].append(measure())
    table = Table(f"seconds, {runs} runs each", ["what", "least", "median", "most", "median / bare Python"])
    bare = statistics.median(seconds["python -c pass"])
    for name, values in seconds.items():
        table.add(name, min(values), statistics.median(values), max(values), statistics.median(values) / bare)
    table.show(json_path)


if __name__ == "__main__":
    main()
