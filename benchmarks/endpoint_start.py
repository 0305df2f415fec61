"""From typing `qwq serve -m demo` to the first answer, beside llama.cpp's server on the same file, in turn.

python -m benchmarks.endpoint_start --tools TOOLS [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import click

from benchmarks.endpoint import question, serve
from benchmarks.options import json_option, tools_option
from benchmarks.peers import Peer, llama_server
from benchmarks.report import Table
from qwq_local.models.inventory import demo_model

SUM = question("What is 47 + 85?", max_tokens=100)


def ours() -> tuple[float, float]:
    """Seconds until it says that it is ready, and until the first whole answer."""
    started_at = time.perf_counter()
    with serve("-m", "demo") as server:
        ready = time.perf_counter() - started_at
        Peer(server.url, "").post("/v1/chat/completions", SUM)
        return ready, time.perf_counter() - started_at


def theirs(tools: Path) -> tuple[float, float]:
    """The same of llama.cpp's server."""
    started_at = time.perf_counter()
    with llama_server(tools, demo_model().path, 4, 512, "--jinja") as server:
        ready = time.perf_counter() - started_at
        server.post("/v1/chat/completions", SUM)
        return ready, time.perf_counter() - started_at


@click.command()
@tools_option
@click.option("--rounds", default=5, show_default=True)
@json_option
def main(tools: Path, rounds: int, json_path: Path | None) -> None:
    """Start both, in turn."""
    found = [(ours(), theirs(tools)) for _ in range(rounds)]
    table = Table("qwq serve -m demo", ["seconds until", "ours", "llama-server"])
    for i, what in enumerate(("ready", "first answer")):
        table.add(what, statistics.median(a[i] for a, _ in found), statistics.median(b[i] for _, b in found))
    table.show(json_path)


if __name__ == "__main__":
    main()
