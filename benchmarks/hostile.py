"""Every hostile program of tests/sandbox/hostile.py in the sandbox: how it ended, after how long, and whether anything escaped.

python -m benchmarks.hostile [--json FILE]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median

import click

from benchmarks.options import json_option
from benchmarks.report import Table
from qwq_local.sandbox import Limits, Outcome, refusal, run_program
from tests.sandbox.hostile import HOSTILE
from tests.sandbox.traps import trap

N_STARTS = 20


def timed(source: str, limits: Limits) -> tuple[float, Outcome]:
    """Seconds, and what came of it."""
    started_at = time.perf_counter()
    outcome = run_program(source, b"some input\n", limits)
    return time.perf_counter() - started_at, outcome


@click.command()
@json_option
def main(json_path: Path | None) -> None:
    """Run them, one after the other. Seconds are those of the whole run, with the start of the sandbox and its end."""
    if reason := refusal():
        sys.exit(f"Programs cannot be confined here: {reason}")
    table = Table("hostile programs", ["program", "ended", "code", "seconds", "limit", "escaped"])
    n_escaped = 0
    for hostile in HOSTILE:
        with trap() as armed:
            seconds, outcome = timed(armed.set_up(hostile.source), hostile.limits)
            escapes = armed.escapes(outcome)
        n_escaped += bool(escapes)
        table.add(hostile.name, outcome.end, outcome.code, round(seconds, 2), hostile.limits.seconds, ", ".join(escapes) or "no")
    table.add("all", f"{len(HOSTILE)} programs", "", "", "", n_escaped)
    table.show(json_path)
    starts = Table("what a run costs", ["program", "runs", "median seconds", "longest"])
    for name, source in {"pass": "pass", "print(input())": "print(input())"}.items():
        taken = [timed(source, Limits())[0] for _ in range(N_STARTS)]
        starts.add(name, N_STARTS, round(median(taken), 3), round(max(taken), 3))
    starts.show(json_path, "starts")


if __name__ == "__main__":
    main()
