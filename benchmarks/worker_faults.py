"""What becomes of requests when the process that answers them is killed, and of its memory when requests are cancelled.

    python -m benchmarks.worker_faults [--kills 20] [--requests 5000] [--json FILE]

On the demo model. Each kill meets three requests, of which one is being answered; "failed" counts how many of them ended in exactly one
error. The next answer has the same seed as one before, and is right where it has the same text.
"""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

import click
import psutil

from benchmarks.options import json_option
from benchmarks.report import Table
from qwq_local import QwQ
from qwq_local.engine import Answering, Failed, Finished, Request, Thinking
from qwq_local.errors import WorkerDiedError
from qwq_local.loading import Serving, open_in_process
from qwq_local.settings import LoadSettings
from qwq_local.worker import EngineClient, Stream

SUM: Final = "What is 47 + 85?"
N_LIVE: Final = 3
N_TOKENS: Final = 24
CANCELLED_AFTER: Final = {"never": None, "first": 1, "middle": N_TOKENS // 2, "last": N_TOKENS - 1}
"""Events that are read of an answer before it is left."""


def open_demo() -> tuple[QwQ, EngineClient]:
    """The demo model in a process of its own, and what it asks of that."""
    opened = open_in_process("demo", LoadSettings(), None, Serving())
    return QwQ(opened, LoadSettings()), opened.engine


def worker() -> psutil.Process:
    """The one child of this process."""
    (child,) = psutil.Process().children()
    return child


def text_of(stream: Stream) -> str:
    """All that a stream says."""
    return "".join(event.text for event in stream if isinstance(event, Thinking | Answering))


def has_failed_once(stream: Stream) -> bool:
    """Whether a stream ends with one error, the worker's death."""
    ends = [event for event in stream if isinstance(event, Finished | Failed)]
    return len(ends) == 1 and isinstance(ends[0], Failed) and isinstance(ends[0].error, WorkerDiedError)


def kill_once(engine: EngineClient, request: Request, right: str) -> tuple[int, float, bool]:
    """Kill it in mid-answer: requests that failed just once, seconds to the first token of the next answer, whether that is right."""
    streams = [engine.submit(replace(request, seed=seed)) for seed in range(N_LIVE)]
    next(streams[0])
    worker().kill()
    killed_at = time.perf_counter()
    n_failed = sum(has_failed_once(stream) for stream in streams)
    following = engine.submit(request)
    first = next(following)
    seconds = time.perf_counter() - killed_at
    return n_failed, seconds, getattr(first, "text", "") + text_of(following) == right


def kills(n_kills: int) -> Table:
    """Kill it again and again."""
    table = Table(
        "a worker killed in mid-answer", ["kill", "live requests", "failed once", "seconds to the next token", "next answer right"]
    )
    qwq, engine = open_demo()
    with qwq:
        request = Request(qwq.tokenize(qwq.render(SUM)), 512, seed=1)
        right = text_of(engine.submit(request))
        outcomes = [kill_once(engine, request, right) for _ in range(n_kills)]
    for number, (n_failed, seconds, is_right) in enumerate(outcomes, 1):
        table.add(number, N_LIVE, n_failed, seconds, str(is_right))
    failures, times, rights = zip(*outcomes, strict=True)
    table.add("all, median", N_LIVE * n_kills, sum(failures), statistics.median(times), f"{sum(rights)} of {n_kills}")
    return table


def ask(qwq: QwQ, seed: int) -> str:
    """Ask, and leave the answer at a random point."""
    rng = random.Random(seed)
    left = rng.choice(list(CANCELLED_AFTER))
    answer = qwq.stream(f"What is {rng.randrange(1000)} + {rng.randrange(1000)}?", seed=seed, max_tokens=N_TOKENS)
    for _ in islice(answer, CANCELLED_AFTER[left]):
        pass
    answer.close()
    return left


def memory(n_requests: int) -> Table:
    """Ask from four threads at once, and look at the worker's memory from time to time."""
    table = Table("memory of a worker whose requests are cancelled at random", ["requests", *CANCELLED_AFTER, "resident MiB"])
    left: Counter[str] = Counter()
    with QwQ.load("demo", isolated=True) as qwq, ThreadPoolExecutor(4) as pool:
        step = max(1, n_requests // 10)
        for done in range(0, n_requests + 1, step):
            if done:
                left.update(pool.map(lambda seed: ask(qwq, seed), range(done - step, done)))
            table.add(done, *(left[when] for when in CANCELLED_AFTER), worker().memory_info().rss / 2**20)
    return table


@click.command()
@click.option("--kills", "n_kills", default=20, show_default=True)
@click.option("--requests", "n_requests", default=5000, show_default=True)
@json_option
def main(n_kills: int, n_requests: int, json_path: Path | None) -> None:
    """Kill, then cancel."""
    kills(n_kills).show(json_path, "kills")
    memory(n_requests).show(json_path, "memory")


if __name__ == "__main__":
    main()
