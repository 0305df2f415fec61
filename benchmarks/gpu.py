"""How fast is a model on a GPU beside llama-bench and beside what its memory's bandwidth allows, and is what it takes what was planned?

    python -m benchmarks.gpu --tools TOOLS [--model FILE | --layers 64] [--gpu-layers N] [--rounds 5] [--json FILE]

Without a model, a file of QwQ-32B's shape with random weights in Q4_K_M is made, of as many layers: 20 GB with all. TOOLS has the
llama-bench of the llama.cpp inside llama-cpp-python, built for the same devices. As many layers go to the GPUs as the plan says, unless
--gpu-layers does; with --gpu-layers 0 and --layers 1 the script can be tried without any. Each program runs in a process of its own, in
turn.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from benchmarks.options import json_option, tools_option
from benchmarks.oracle import run
from benchmarks.real_load import MIB, resident
from benchmarks.report import Table, in_turn
from benchmarks.synthetic import write_model
from qwq_local.backend import BatchToken
from qwq_local.bench import BenchListener, BenchReport, BenchSettings, run_bench
from qwq_local.llama import list_devices
from qwq_local.llama._amx import extra_buffers_work
from qwq_local.loading import open_backend, plan_load
from qwq_local.machine.hardware import usable_cores
from qwq_local.plan.shape import QWQ_32B
from qwq_local.settings import LoadSettings

SIZES: Final = BenchSettings(n_prefill=512, n_decode=128, n_rounds=1)
Made = TypeVar("Made")


@dataclass(frozen=True)
class Memory:
    """What a device was planned to hold of a model, and what it held: bytes."""

    device: str
    planned_bytes: int
    found_bytes: int


@dataclass(frozen=True)
class Speed:
    """Tokens a second: of a prompt, and written."""

    prefill: float
    decode: float


def apart(work: Callable[[], Made]) -> Made:
    """What a function returns in a process of its own, which gives back all memory of the GPUs."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(work).result()


def bench(path: Path, load: LoadSettings) -> BenchReport:
    """One round of `qwq bench`."""
    return run_bench(str(path), load, SIZES, BenchListener())


def llama_bench(tools: Path, path: Path, n_gpu_layers: int) -> Speed:
    """One round of llama.cpp's own, with as many layers on GPUs."""
    layout = () if extra_buffers_work() else ("--repack", 0)
    flags = ("-ngl", n_gpu_layers, "-fa", 1, "-t", usable_cores(), "-p", SIZES.n_prefill, "-n", SIZES.n_decode, "-r", 1, "-o", "json")
    tests: list[dict[str, Any]] = json.JSONDecoder().raw_decode(run(tools / "llama-bench", "-m", path, *flags, *layout))[0]
    return Speed(*(next(test["avg_ts"] for test in tests if test[key]) for key in ("n_prompt", "n_gen")))


def memory_of(path: Path, load: LoadSettings) -> list[Memory]:
    """Load as planned, read a whole batch, and see what is gone of each GPU's free memory, and what this process holds of the RAM."""
    plan = plan_load(str(path), load)
    free_bytes = {device.name: device.free_bytes for device in list_devices()}
    before = resident()
    with closing(open_backend(plan, "native")) as backend:
        n_batch, n_vocab = backend.n_batch, backend.vocabulary.n_tokens
        backend.decode([BatchToken(i % n_vocab, i, 0, wants_logits=i == n_batch - 1) for i in range(n_batch)])
        backend.wait()
        after = resident()
        left_bytes = {device.name: device.free_bytes for device in list_devices()}
    host, *gpus = plan.placement.memory
    held_bytes = after.anonymous_bytes + after.file_bytes - before.anonymous_bytes - before.file_bytes
    return [
        Memory("RAM", host.total_bytes, held_bytes),
        *(Memory(gpu.device, gpu.total_bytes, free_bytes[gpu.device] - left_bytes[gpu.device]) for gpu in gpus),
    ]


def speeds(tools: Path, path: Path, load: LoadSettings, rounds: int) -> Table:
    """Medians of rounds in which both take turns, and the limit."""
    reports: list[BenchReport] = []
    theirs: list[Speed] = []

    def ours_once() -> float:
        reports.append(apart(partial(bench, path, load)))
        return reports[-1].decodings[0].speeds.median

    def theirs_once() -> float:
        theirs.append(llama_bench(tools, path, reports[-1].placement.gpu_layers))
        return theirs[-1].decode

    decode = in_turn({"ours": ours_once, "llama-bench": theirs_once}, rounds, lambda measure: measure())
    prefill = {"ours": [report.prefill.median for report in reports], "llama-bench": [speed.prefill for speed in theirs]}
    decoding = reports[0].decodings[0]
    columns = ["what", "ours", "llama-bench", "ours / llama-bench", "the memory's limit", "of the limit", "planned"]
    table = Table(f"tokens/s, {path.name}, {reports[0].placement.gpu_layers} layers on GPUs", columns)
    for what, found, limits in (("decode", decode, (decoding.limit, decoding.predicted)), ("prefill", prefill, None)):
        ours, other = (statistics.median(found[name]) for name in ("ours", "llama-bench"))
        ratio = statistics.median(a / b for a, b in zip(found["ours"], found["llama-bench"], strict=True))
        table.add(what, ours, other, ratio, *((limits[0], ours / limits[0], limits[1]) if limits else ("", "", "")))
    return table


def memories(path: Path, load: LoadSettings) -> Table:
    """A row for each device."""
    table = Table("MiB, planned and taken", ["device", "planned", "taken", "planned / taken"])
    for each in apart(partial(memory_of, path, load)):
        ratio = each.planned_bytes / each.found_bytes if each.found_bytes else ""
        table.add(each.device, each.planned_bytes / MIB, each.found_bytes / MIB, ratio)
    return table


@click.command()
@tools_option
@click.option("--model", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A GGUF file. [default: one is made]")
@click.option("--layers", default=QWQ_32B.n_layers, show_default=True, help="Of the file that is made.")
@click.option("--gpu-layers", type=int, help="Layers on GPUs. [default: as planned]")
@click.option("--rounds", default=5, show_default=True)
@json_option
def main(*, tools: Path, model: Path | None, layers: int, gpu_layers: int | None, rounds: int, json_path: Path | None) -> None:
    """Make the file if need be, and measure."""
    if gpu_layers is None and not any(device.kind == "gpu" for device in list_devices()):
        print("llama.cpp sees no GPU here. --gpu-layers 0 --layers 1 tries the script without one.")
        return
    load = LoadSettings(n_gpu_layers=gpu_layers)
    with tempfile.TemporaryDirectory() as folder:
        if model is None:
            model = Path(folder) / f"{layers}-layers-Q4_K_M.gguf"
            write_model(model, replace(QWQ_32B, n_layers=layers), "Q4_K_M")
        speeds(tools, model, load, rounds).show(json_path, "speed")
        memories(model, load).show(json_path, "memory")


if __name__ == "__main__":
    main()
