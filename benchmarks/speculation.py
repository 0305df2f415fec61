"""How much faster do guesses make an answer? N-grams and draft models, ours and those of llama.cpp's server, in turn, in one run.

    python -m benchmarks.speculation --tools TOOLS [--gb 0.3] [--quant Q4_K_M] [--rounds 5] [--cases 2] [--json FILE]

The model is nano made larger (`benchmarks.deep_nano`); drafts come from nano itself, and from nano in Q2_K. Every way of guessing has a
process of its own: where OpenMP sees more threads than cores in one, all of them wait more slowly. Code that is edited and text
that is quoted repeat the prompt; nano's own tasks repeat little, and random words nothing (`benchmarks.copying`). One answer at a time. In
each round a ratio is taken to the same program without guesses; the least and the greatest of all rounds stand beside the median.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial, reduce
from multiprocessing import get_context
from multiprocessing.util import Finalize
from operator import add
from pathlib import Path
from typing import Any, Final

import click

from benchmarks.copying import TASKS, Case, cases
from benchmarks.deep_nano import write_deep_nano
from benchmarks.guessing import Guesses, open_worker, raw_request, write_nano, written
from benchmarks.options import json_option, tools_option
from benchmarks.peers import SAMPLING, Peer, llama_server
from benchmarks.report import Table
from qwq_local.backend import Constraint
from qwq_local.models.inventory import demo_model
from qwq_local.settings import Sampling
from qwq_local.worker import Worker

N_CTX: Final = 1024
N_TOKENS: Final = 200
"""The most that an answer may have."""
LLAMA_SERVER: Final[Mapping[str, tuple[object, ...]]] = {
    "none": (),
    "ngram-mod": ("--spec-default",),
    "ngram-simple": ("--spec-type", "ngram-simple"),
    "draft": ("--spec-type", "draft-simple", "-md", demo_model().path),
}
"""Ways in which llama.cpp's server guesses (docs/speculative.md), with its own numbers."""

Answer = Callable[[Case, int], Guesses]
"""Writes the answer to a case, with a seed."""


@dataclass(frozen=True)
class Way:
    """A program with a way of guessing."""

    program: str
    guesses: str
    answer: Answer


_workers: Final[list[Worker]] = []
"""The one of a process that has a way of guessing."""


def begin(path: Path, draft: Path | None, speculates: bool) -> None:
    """Open this process's engine, closed when the process ends."""
    worker = open_worker(path, N_CTX, draft, speculates=speculates)
    _workers.append(worker)
    Finalize(worker, worker.close, exitpriority=1)


def our_answer(case: Case, seed: int) -> Guesses:
    """By the engine of this process."""
    constraint = case.answer and Constraint("lark", "start: " + " ".join(f"<[{token}]>" for token in case.answer))
    return written(_workers[0].submit(raw_request(case.prompt, N_CTX, N_TOKENS, seed, Sampling(), constraint or None)))[1]


def answer_apart(process: ProcessPoolExecutor, case: Case, seed: int) -> Guesses:
    """By the engine of another process."""
    return process.submit(our_answer, case, seed).result()


def their_answer(peer: Peer, case: Case, seed: int) -> Guesses:
    """By llama.cpp's server; tokens and times are those that it tells of."""
    grammar = {"grammar": "root ::= " + " ".join(f"<[{token}]>" for token in case.answer)} if case.answer else {}
    body: dict[str, Any] = {"prompt": list(case.prompt), "n_predict": N_TOKENS, "seed": seed, **SAMPLING, **grammar}
    told = peer.post(peer.path, body | {"samplers": ["top_k", "top_p", "temperature"]})["timings"]
    return Guesses(told["predicted_n"] - 1, told.get("draft_n", 0), told.get("draft_n_accepted", 0), told["predicted_ms"] / 1000)


def open_ways(stack: ExitStack, path: Path, tools: Path) -> list[Way]:
    """All of them on one file, closed with the stack."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    drafts = {"none": None, "n-grams": None, "n-grams, draft": demo_model().path, "n-grams, worse draft": write_nano(folder, "Q2_K")}
    ways = []
    for name, draft in drafts.items():
        start = (path, draft, name != "none")
        process = stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"), initializer=begin, initargs=start))
        ways.append(Way("ours", name, partial(answer_apart, process)))
    for name, options in LLAMA_SERVER.items():
        peer = stack.enter_context(llama_server(tools, path, 1, N_CTX, "--rope-scaling", "none", *options))
        ways.append(Way("llama-server", name, partial(their_answer, peer)))
    return ways


def measure(ways: Sequence[Way], rounds: int, n_cases: int) -> dict[tuple[str, int], list[Guesses]]:
    """For each task and way the sum of each round's answers; every round has new cases, the same for all ways."""
    found: dict[tuple[str, int], list[Guesses]] = {(task, i): [] for task in TASKS for i in range(len(ways))}
    for seed in range(-1, rounds):
        for task in TASKS:
            chosen = cases(task, n_cases, seed)
            for i in range(len(ways)) if seed % 2 else range(len(ways))[::-1]:
                total = reduce(add, [ways[i].answer(case, seed + 1) for case in chosen])
                if seed >= 0:  # the round before is for getting warm
                    found[task, i].append(total)
    return found


def table_of(title: str, ways: Sequence[Way], found: Mapping[tuple[str, int], Sequence[Guesses]]) -> Table:
    """A row for each task and way."""
    columns = ["task", "program", "guesses", "tokens/s", "of none", "least", "most", "right", "width"]
    table = Table(title, columns)
    for (task, i), sums in found.items():
        way = ways[i]
        base = next(j for j, other in enumerate(ways) if other.program == way.program and other.guesses == "none")
        ratios = [mine.speed / plain.speed for mine, plain in zip(sums, found[task, base], strict=True)]
        total = reduce(add, sums)
        speed = statistics.median(each.speed for each in sums)
        spread = statistics.median(ratios), min(ratios), max(ratios)
        table.add(task, way.program, way.guesses, speed, *spread, total.acceptance, total.width)
    return table


def speculate(path: Path, tools: Path, title: str, rounds: int, n_cases: int) -> Table:
    """Measure all ways on one file."""
    with ExitStack() as stack:
        ways = open_ways(stack, path, tools)
        return table_of(title, ways, measure(ways, rounds, n_cases))


@click.command()
@tools_option
@click.option("--gb", "target_gb", default=0.3, show_default=True, help="How large the model is, in 10^9 bytes.")
@click.option("--quant", "quantization", default="Q4_K_M", show_default=True, help="Of its added layers.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--cases", "n_cases", default=2, show_default=True, help="Answers of each task in each round.")
@json_option
def main(*, tools: Path, target_gb: float, quantization: str, rounds: int, n_cases: int, json_path: Path | None) -> None:
    """Make the model, and let all write the same."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "deep-nano.gguf"
        shape = write_deep_nano(path, target_gb * 1e9, quantization)
        title = f"guesses, {shape.name}, {quantization}, {path.stat().st_size / 1e9:.2f} GB"
        speculate(path, tools, title, rounds, n_cases).show(json_path)


if __name__ == "__main__":
    main()
