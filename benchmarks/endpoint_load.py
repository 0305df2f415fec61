"""Two hundred clients at once, of whom many hang up at any moment: what is left in the server when they have gone?

python -m benchmarks.endpoint_load [--clients 200] [--seconds 300] [--model demo] [--json FILE]
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from pathlib import Path

import click

from benchmarks.endpoint import Serve, question, serve, stream_chat
from benchmarks.options import json_option
from benchmarks.report import Table

NUMBERS = ("process_open_fds", "qwq_server_tasks", "qwq_open_answers", "qwq_running", "qwq_waiting", "process_resident_memory_bytes")


async def visit(url: str, rng: random.Random, outcomes: Counter[str]) -> None:
    """One client's one question; a malformed stream raises."""
    a, b = rng.randrange(10, 99), rng.randrange(10, 99)
    hang_up_after = rng.choice((None, rng.uniform(0, 3.0)))
    seen = await stream_chat(url, question(f"What is {a} + {b}?", seed=rng.randrange(2**31)), hang_up_after=hang_up_after)
    if seen.is_done and not seen.error:
        outcomes["whole"] += 1
        outcomes["right"] += rf"\boxed{{{a + b}}}" in seen.content
        if not seen.finish:
            raise ValueError("a stream ended without a finish reason")
    elif hang_up_after is not None:
        outcomes["hung up"] += 1
    else:
        outcomes[f"status {seen.status}: {seen.error[:60]}"] += 1


async def crowd(url: str, n_clients: int, seconds: float, outcomes: Counter[str]) -> None:
    """So many clients, each asking again and again."""
    ends_at = time.perf_counter() + seconds

    async def client(number: int) -> None:
        rng = random.Random(number)
        while time.perf_counter() < ends_at:
            await visit(url, rng, outcomes)

    async with asyncio.TaskGroup() as tasks:
        for number in range(n_clients):
            tasks.create_task(client(number))


def state(server: Serve) -> dict[str, float]:
    """The numbers that must come back to where they were; asked for over and over, until nothing runs any more."""
    for _ in range(100):
        if not server.number("qwq_open_answers") + server.number("qwq_running") + server.number("qwq_waiting"):
            break
        time.sleep(0.1)
    return {name: server.number(name) for name in NUMBERS}


@click.command()
@click.option("--clients", default=200, show_default=True)
@click.option("--seconds", default=300.0, show_default=True)
@click.option("--model", default="demo", show_default=True)
@json_option
def main(clients: int, seconds: float, model: str, json_path: Path | None) -> None:
    """Load it, and look at what is left."""
    outcomes: Counter[str] = Counter()
    with serve("-m", model, "--queue", clients) as server:
        asyncio.run(crowd(server.url, clients, min(10.0, seconds), Counter()))  # what is allocated once is no leak
        before = state(server)
        asyncio.run(crowd(server.url, clients, seconds, outcomes))
        after = state(server)
    table = Table(f"{clients} streaming clients for {seconds:g} s", ["number", "before", "after"])
    for name in NUMBERS:
        table.add(name, before[name], after[name])
    for name, count in sorted(outcomes.items()):
        table.add(f"answers: {name}", "", count)
    table.show(json_path)


if __name__ == "__main__":
    main()
