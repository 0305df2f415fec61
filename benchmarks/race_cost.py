"""How much longer a token takes where several samples are written at once: what the plan says, and what is measured on this machine.

    python -m benchmarks.race_cost [--folder DIR] [--quant Q4_K_M] [--models 1] [--rounds 5] [--json FILE]

The models are those of benchmarks.speed (random weights of Qwen2's shape, larger than caches), the smallest first. A race on them never
ends before its limit, so that all samples run from the first token to the last. Rounds with one sample and with several take turns.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import click

from benchmarks.options import json_option
from benchmarks.report import Table
from benchmarks.speed import N_CTX, SHAPES
from benchmarks.synthetic import write_model
from qwq_local import QwQ
from qwq_local.llama import CpuMeter, list_devices
from qwq_local.machine import hardware, measured, nvidia
from qwq_local.machine.machine import Machine, Shared
from qwq_local.offers import offer_of_file
from qwq_local.plan.memory import tensor_types_of
from qwq_local.plan.plan import PlanWish, consider
from qwq_local.plan.race import RACES, cost_of_race
from qwq_local.quants import F32

N_TOKENS: Final = 32


def measure(path: Path, rounds: int) -> dict[int, float]:
    """Seconds a token of each sample, by how many are written at once: the median of some rounds."""
    counts = (1, *RACES)
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    with QwQ.load(str(path), n_ctx=N_CTX, n_parallel=max(counts), reads_ahead=False) as qwq:
        for seed in range(rounds + 1):
            for count in counts:
                reply = qwq.chat("Hello", race=count, max_tokens=N_TOKENS, seed=100 * seed, stops_repetition=False)
                if seed > 0:  # the first round of each width finds nothing prepared
                    seconds[count].append(reply.timings.decode_seconds / (reply.usage.completion_tokens - 1))
    return {count: statistics.median(found) for count, found in seconds.items()}


def measure_cpu(quantization: str, n_models: int) -> dict[str, float]:
    """The CPU's rates for these models and these numbers of samples; none where the CPU is busy."""
    types = {F32, *(each for shape in SHAPES[:n_models] for each in tensor_types_of(shape, quantization).values())}
    wanted: set[measured.Work] = {"f16", *types, *(Shared(each, count) for each in types for count in RACES)}
    with tempfile.TemporaryDirectory() as kept:
        meter = partial(CpuMeter, hardware.usable_cores())
        return [measured.measure(Path(kept), "this", wanted, meter).cpu_rates for _ in range(measured.ENOUGH_ROUNDS)][-1]


def find_machine(quantization: str, n_models: int, folder: Path) -> Machine:
    """This machine with its CPU's rates. Raises ClickException where it is busy."""
    # In a process of its own, for the reason that benchmarks.speed gives.
    with ProcessPoolExecutor(1, get_context("spawn")) as apart:
        rates = apart.submit(measure_cpu, quantization, n_models).result()
    if not rates:
        raise click.ClickException("Other programs keep the CPU busy.")
    return hardware.find_machine(list_devices(), rates, folder, cpu=hardware.cpu_name(), cards=nvidia.ask())


def compare(table: Table, paths: Sequence[Path], quantization: str, machine: Machine, rounds: int) -> None:
    """A row for each model and each number of samples."""
    for path in paths:
        candidate = consider(machine, offer_of_file([path], quantization, path.name), PlanWish(n_ctx=N_CTX, kv_type="f16"))
        found = measure(path, rounds)
        for count in RACES:
            said, slowdown = cost_of_race(candidate, machine, count).slowdown, found[count] / found[1]
            table.add(path.stem, count, said or "unknown", slowdown, f"{said / slowdown - 1:+.0%}" if said else "")


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Where the models are made, and kept. [default: a new one, deleted]")
@click.option("--quant", "quantization", default="Q4_K_M", show_default=True)
@click.option("--models", "n_models", type=click.IntRange(1, len(SHAPES)), default=1, show_default=True)
@click.option("--rounds", default=5, show_default=True, help="Answers with each number of samples.")
@json_option
def main(folder: Path | None, quantization: str, n_models: int, rounds: int, json_path: Path | None) -> None:
    """Make the models, predict, measure."""
    table = Table("times as long for each token", ["model", "samples", "predicted", "measured", "error"])
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["QWQ_DATA"] = temporary  # what these models teach is not for the plans of whoever runs this
        where = folder or Path(temporary)
        where.mkdir(parents=True, exist_ok=True)
        paths = [where / f"{shape.n_layers}x{shape.n_embd}-{quantization}.gguf" for shape in SHAPES[:n_models]]
        for shape, path in zip(SHAPES, paths, strict=False):
            if not path.exists():
                write_model(path, shape, quantization)
        compare(table, paths, quantization, find_machine(quantization, n_models, where), rounds)
    table.show(json_path)


if __name__ == "__main__":
    main()
