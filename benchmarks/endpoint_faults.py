"""The engine's process killed while the endpoint is under load: what clients see, whether /health answers, and what comes next.

python -m benchmarks.endpoint_faults [--kills 20] [--clients 16] [--model demo] [--json FILE]
"""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import click

from benchmarks.endpoint import Serve, Streamed, kill_engine, question, serve, stream_chat
from benchmarks.options import json_option
from benchmarks.report import Table

SUM = "What is 47 + 85?"
RIGHT = r"\boxed{132}"


def kind(seen: Streamed) -> str:
    """What a client's request came to."""
    if seen.status != 200:
        return f"status {seen.status}"
    if seen.error:
        return "an error event, then the end" if seen.is_done else f"cut short: {seen.error[:40]}"
    if not seen.is_done:
        return "cut short without a word"
    return "a whole answer" if seen.finish else "an end without a finish"


async def ask_on(url: str, number: int, stop: threading.Event, outcomes: Counter[str]) -> None:
    """One client, asking until it is told to stop."""
    rng = random.Random(number)
    while not stop.is_set():
        outcomes[kind(await stream_chat(url, question(SUM, seed=rng.randrange(2**31))))] += 1


def watch_health(server: Serve, stop: threading.Event, seen: Counter[str]) -> None:
    """Ask /health over and over; an answer that does not come raises."""
    while not stop.is_set():
        status, _ = server.get("/health")
        seen[f"health {status}"] += 1
        time.sleep(0.02)


async def next_answer(url: str) -> Streamed:
    """The first answer that is none of those that the kill has met: asked for until there is one."""
    seen = await stream_chat(url, question(SUM, seed=1))
    while seen.status != 200 or seen.error:
        seen = await stream_chat(url, question(SUM, seed=1))
    return seen


async def under_fire(server: Serve, kills: int, clients: int, outcomes: Counter[str]) -> int:
    """Kill the engine so often while clients ask; how many of the questions put after each kill were answered rightly."""
    stop = threading.Event()
    rng = random.Random(7)
    n_right = 0
    async with asyncio.TaskGroup() as tasks:
        for number in range(clients):
            tasks.create_task(ask_on(server.url, number, stop, outcomes))
        tasks.create_task(asyncio.to_thread(watch_health, server, stop, outcomes))
        for _ in range(kills):
            await asyncio.sleep(rng.uniform(0.2, 1.0))
            while not kill_engine(server.process, signal.SIGKILL):
                await asyncio.sleep(0.05)
            n_right += RIGHT in (await next_answer(server.url)).content
        stop.set()
    return n_right


@click.command()
@click.option("--kills", default=20, show_default=True)
@click.option("--clients", default=16, show_default=True)
@click.option("--model", default="demo", show_default=True)
@json_option
def main(kills: int, clients: int, model: str, json_path: Path | None) -> None:
    """Kill and look."""
    outcomes: Counter[str] = Counter()
    with serve("-m", model) as server:
        n_right = asyncio.run(under_fire(server, kills, clients, outcomes))
    table = Table(f"{kills} kills of the engine with {clients} clients asking", ["what", "count"])
    for name, count in sorted(outcomes.items()):
        table.add(name, count)
    table.add("the next answer is right", f"{n_right} of {kills}")
    table.show(json_path)


if __name__ == "__main__":
    main()
