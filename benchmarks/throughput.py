"""Tokens a second with many requests at once: ours, llama.cpp's server, and llama-cpp-python's, in turn, in one run.

    python -m benchmarks.throughput --tools TOOLS [--shape 0.5B|1.5B] [--quant F16] [--rounds 3] [--json FILE]

TOOLS has llama-server, built from the llama.cpp inside llama-cpp-python; it gets the same flags as ours. The models have random weights,
since only speed is looked at. `--no-python-server` leaves out llama-cpp-python's, which has one sequence (and takes longest).
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Final

import click

from benchmarks.options import json_option, tools_option
from benchmarks.peers import llama_server, python_server
from benchmarks.report import Table, in_turn
from benchmarks.synthetic import SHAPES, write_model
from qwq_local.engine import Finished, Request
from qwq_local.llama import ContextShape, LlamaBackend
from qwq_local.worker import Worker

NEEDS: Final = ("pydantic_settings", "sse_starlette", "starlette_context")  # of llama-cpp-python's server
WIDTHS: Final = (1, 2, 4, 8, 16)
N_PROMPT, N_TOKENS, N_CTX = 64, 64, 4096

System = Callable[[Sequence[Sequence[int]], int], float]


def ours(worker: Worker, prompts: Sequence[Sequence[int]], n_tokens: int) -> float:
    """All prompts at once, so many tokens each; tokens a second."""
    started_at = time.perf_counter()
    streams = [
        worker.submit(Request(tuple(prompt), N_CTX, seed=i, max_tokens=n_tokens, stops_repetition=False))
        for i, prompt in enumerate(prompts)
    ]
    ends = [list(stream)[-1] for stream in streams]
    n_written = sum(end.usage.completion_tokens for end in ends if isinstance(end, Finished))
    return n_written / (time.perf_counter() - started_at)


def ask(system: System, rng: random.Random, width: int) -> float:
    """So many prompts at once; tokens a second."""
    return system(new_prompts(rng, width), N_TOKENS)


def new_prompts(rng: random.Random, width: int) -> list[list[int]]:
    """Nothing that was read before."""
    return [[rng.randrange(1000, 100_000) for _ in range(N_PROMPT)] for _ in range(width)]


@click.command()
@tools_option
@click.option("--shape", type=click.Choice(list(SHAPES)), default="0.5B", show_default=True)
@click.option("--quant", "quantization", default="F16", show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--python-server/--no-python-server", "python_server_too", default=True, show_default=True)
@json_option
def main(*, tools: Path, shape: str, quantization: str, rounds: int, python_server_too: bool, json_path: Path | None) -> None:
    """Measure all widths, the systems in turn."""
    with ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / f"{shape}-{quantization}.gguf"
        write_model(path, SHAPES[shape], quantization)
        context = ContextShape(N_CTX, 512, max(WIDTHS), 2, "f16", 4.0, N_CTX)
        worker = stack.enter_context(closing(Worker(LlamaBackend(path, context, "native", 0))))
        theirs = stack.enter_context(llama_server(tools, path, max(WIDTHS), N_CTX))
        systems: dict[str, System] = {"ours": partial(ours, worker), "llama-server": theirs.tokens_per_second}
        if python_server_too:
            systems["llama-cpp-python"] = stack.enter_context(python_server(path, N_CTX)).tokens_per_second
        measure(systems, f"{shape}, {quantization}", rounds).show(json_path)


def measure(systems: dict[str, System], model: str, rounds: int) -> Table:
    """A row for each width: medians, and ours against each of the others."""
    others = [name for name in systems if name != "ours"]
    table = Table(f"tokens/s, {model}", ["streams", *systems, *(f"ours / {name}" for name in others)])
    rng = random.Random(1)
    for width in WIDTHS:
        found = in_turn(systems, rounds, partial(ask, rng=rng, width=width))
        medians = {name: statistics.median(rates) for name, rates in found.items()}
        ratios = [statistics.median(a / b for a, b in zip(found["ours"], found[name], strict=True)) for name in others]
        table.add(width, *medians.values(), *ratios)
    return table


if __name__ == "__main__":
    main()
