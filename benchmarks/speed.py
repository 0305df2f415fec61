"""Predicted against measured tokens/s on this machine, for synthetic models of four sizes (random weights of Qwen2's shape).

    python -m benchmarks.speed [--folder DIR] [--quant Q4_K_M] [--rounds 3] [--json FILE]

All are larger than caches, as QwQ-32B is. "corrected" is what the plan says once this machine has run models: the prediction times the
median of measured / predicted. To be fair, each model is left out of its own correction.
"""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import click

from benchmarks.options import json_option
from benchmarks.report import Table
from benchmarks.synthetic import write_model
from qwq_local import QwQ
from qwq_local.llama import CpuMeter, list_devices
from qwq_local.machine import hardware, measured, nvidia
from qwq_local.machine.machine import Machine
from qwq_local.machine.measured import Measurements
from qwq_local.offers import offer_of_file
from qwq_local.plan.memory import tensor_types_of
from qwq_local.plan.plan import PlanWish, consider
from qwq_local.plan.shape import ModelShape
from qwq_local.plan.speed import tokens_per_second
from qwq_local.quants import F32

N_VOCAB: Final = 32_768
N_CTX: Final = 512
N_TOKENS: Final = 48
SHAPES: Final = tuple(
    ModelShape(f"{n_layers} layers of {n_embd}", n_layers, n_embd, 4 * n_embd, n_embd // 64, n_embd // 256, 64, N_VOCAB, tied=False)
    for n_layers, n_embd in ((16, 1536), (20, 2048), (26, 2816), (30, 4096))
)


def measure(path: Path, rounds: int) -> float:
    """Tokens/s through the engine, from the median time between tokens: a moment when the machine does something else does not count."""
    seconds = []
    with QwQ.load(str(path), n_ctx=N_CTX) as qwq:
        for seed in range(rounds):
            moments = [time.perf_counter() for _ in qwq.stream("Hello", max_tokens=N_TOKENS, seed=seed)]
            seconds += [later - earlier for earlier, later in itertools.pairwise(moments[:-1])]
    return 1 / statistics.median(seconds)


def predict(path: Path, quantization: str, machine: Machine) -> float:
    """Tokens/s as the plan says before this machine has run anything."""
    offer = offer_of_file([path], quantization, path.name)
    placement = consider(machine, offer, PlanWish(n_ctx=N_CTX)).placement
    return tokens_per_second(placement, offer.tensors, offer.types, machine, n_filled=N_TOKENS)


def measure_cpu(quantization: str) -> Measurements:
    """The CPU's rates for these models, measured as often as the plan does it before it believes them; none where the CPU is busy."""
    wanted: set[measured.Work] = {F32, "f16", *(each for shape in SHAPES for each in tensor_types_of(shape, quantization).values())}
    with tempfile.TemporaryDirectory() as kept:
        meter = partial(CpuMeter, hardware.usable_cores())
        return [measured.measure(Path(kept), "this", wanted, meter) for _ in range(measured.ENOUGH_ROUNDS)][-1]


def find_machine(quantization: str, folder: Path) -> Machine:
    """This machine with its CPU's rates. Raises ClickException where it is busy."""
    # In a process of its own: where OpenMP has had more threads than cores, and be it one after the other, it waits more slowly.
    with ProcessPoolExecutor(1, get_context("spawn")) as apart:
        rates = apart.submit(measure_cpu, quantization).result().cpu_rates
    if not rates:
        raise click.ClickException("Other programs keep the CPU busy.")
    print(f"{hardware.usable_cores()} cores, GB/s: " + ", ".join(f"{name} {rate / 1e9:.1f}" for name, rate in rates.items()))
    return hardware.find_machine(list_devices(), rates, folder, cpu=hardware.cpu_name(), cards=nvidia.ask())


def show(rows: Sequence[tuple[str, float, float, float]], json_path: Path | None) -> None:
    """Print the table; a row is name, GB, predicted and measured tokens/s."""
    table = Table("tokens/s", ["model", "GB", "predicted", "measured", "error", "corrected", "error, corrected"])
    ratios = [found / predicted for *_, predicted, found in rows]
    for i, (name, size_gb, predicted, found) in enumerate(rows):
        corrected = predicted * statistics.median([*ratios[:i], *ratios[i + 1 :]])
        table.add(name, size_gb, predicted, found, f"{predicted / found - 1:+.0%}", corrected, f"{corrected / found - 1:+.0%}")
    table.show(json_path)


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Where the models are made, and kept. [default: a new one, deleted]")
@click.option("--quant", "quantization", default="Q4_K_M", show_default=True)
@click.option("--rounds", default=3, show_default=True, help="Answers from each model.")
@json_option
def main(folder: Path | None, quantization: str, rounds: int, json_path: Path | None) -> None:
    """Make the models, predict, measure."""
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["QWQ_DATA"] = temporary  # what these models teach is not for the plans of whoever runs this
        where = folder or Path(temporary)
        where.mkdir(parents=True, exist_ok=True)
        machine = find_machine(quantization, where)
        rows = []
        for shape in SHAPES:
            path = where / f"{shape.n_layers}x{shape.n_embd}-{quantization}.gguf"
            if not path.exists():
                write_model(path, shape, quantization)
            rows.append((shape.name, path.stat().st_size / 1e9, predict(path, quantization, machine), measure(path, rounds)))
        show(rows, json_path)


if __name__ == "__main__":
    main()
