"""What the endpoint costs: tokens a second and the wait for the first, ours beside llama.cpp's server, in turn, in one run.

    python -m benchmarks.endpoint_overhead --tools TOOLS [--shape 0.5B] [--quant F16] [--rounds 5] [--json FILE]

Both stream, both get token ids that were never read before, the same sampling, and the same number of tokens to write.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click

from benchmarks.endpoint import Streamed, events
from benchmarks.options import json_option, tools_option
from benchmarks.peers import Peer, llama_server, our_server
from benchmarks.report import Table
from benchmarks.synthetic import SHAPES, write_model
from benchmarks.throughput import N_CTX, N_PROMPT, N_TOKENS, new_prompts

WIDTHS: Final = (1, 8)


async def first_and_last(peer: Peer, prompt: Sequence[int]) -> float:
    """Seconds until the first event of a streamed completion that is read to its end."""
    started_at = time.perf_counter()
    first, seen = 0.0, Streamed()
    async for _ in events(peer.url, peer.path, peer.body(prompt, N_TOKENS), seen):
        first = first or time.perf_counter() - started_at
        seen.is_done = True
    if seen.status != 200 or seen.error:
        raise RuntimeError(f"{peer.url} answers {seen.status}: {seen.error}")
    return first


async def together(peer: Peer, prompts: Sequence[Sequence[int]]) -> tuple[float, float]:
    """All at once: tokens a second, and the mean wait for the first token."""
    started_at = time.perf_counter()
    firsts = await asyncio.gather(*(first_and_last(peer, prompt) for prompt in prompts))
    return len(prompts) * N_TOKENS / (time.perf_counter() - started_at), statistics.mean(firsts)


def measure(systems: dict[str, Peer], title: str, rounds: int) -> Table:
    """A row for each width and number: medians of all rounds, and the median of the rounds' ratios."""
    table = Table(title, ["streams", "number", *systems, "ratio"])
    rng = random.Random(1)
    for width in WIDTHS:
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in systems}
        for _ in range(rounds + 1):
            for name, peer in systems.items():
                found[name].append(asyncio.run(together(peer, new_prompts(rng, width))))
        for i, number in enumerate(("tokens/s", "first token, s")):
            columns = [[seen[i] for seen in found[name][1:]] for name in systems]
            ratio = statistics.median(a / b for a, b in zip(*columns, strict=True))
            table.add(width, number, *map(statistics.median, columns), ratio)
    return table


@click.command()
@tools_option
@click.option("--shape", type=click.Choice(list(SHAPES)), default="0.5B", show_default=True)
@click.option("--quant", "quantization", default="F16", show_default=True)
@click.option("--rounds", default=5, show_default=True)
@json_option
def main(*, tools: Path, shape: str, quantization: str, rounds: int, json_path: Path | None) -> None:
    """Measure both."""
    with ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / f"{shape}-{quantization}.gguf"
        write_model(path, SHAPES[shape], quantization)
        systems = {
            "ours": stack.enter_context(our_server(path, max(WIDTHS), N_CTX)),
            "llama-server": stack.enter_context(llama_server(tools, path, max(WIDTHS), N_CTX)),
        }
        measure(systems, f"endpoint, {shape} {quantization}, {N_PROMPT} + {N_TOKENS} tokens", rounds).show(json_path)


if __name__ == "__main__":
    main()
