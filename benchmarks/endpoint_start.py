"""From typing `qwq serve -m demo` to the first answer, beside llama.cpp's server on the same file, in turn.

python -m benchmarks.endpoint_start LLAMA_SERVER [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import click

from benchmarks.endpoint import question, serve
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


def theirs(program: Path) -> tuple[float, float]:
    """The same of llama.cpp's server."""
    started_at = time.perf_counter()
    with llama_server(program, demo_model().path, 4, 512, "--no-repack", "--jinja") as server:
        ready = time.perf_counter() - started_at
        server.post("/v1/chat/completions", SUM)
        return ready, time.perf_counter() - started_at


@click.command()
@click.argument("server", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rounds", default=5, show_default=True)
@click.option("--json", "json_path", type=click.Path(dir_okay=False))
def main(server: Path, rounds: int, json_path: str | None) -> None:
    """Start both, in turn."""
    found = [(ours(), theirs(server)) for _ in range(rounds)]
    table = Table("qwq serve -m demo", ["seconds until", "ours", "llama-server"])
    for i, what in enumerate(("ready", "first answer")):
        table.add(what, statistics.median(a[i] for a, _ in found), statistics.median(b[i] for _, b in found))
    table.show(json_path)


if __name__ == "__main__":
    main()
