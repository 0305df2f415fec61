"""Four quantizations in one pass against llama.cpp's five commands, with QwQ-32B's true matrices: one layer of it, and both embeddings.

    python -m benchmarks.conversion_speed --llama-cpp SOURCE --tools TOOLS [--python PYTHON] [--folder FOLDER] [--threads 2] [--json FILE]

SOURCE, TOOLS and PYTHON are as for compare_with_oracle. FOLDER, by default a temporary one, takes 4 GB of weights and 17 GB of files;
they are removed at the end. What is written and what memory is taken is read from /proc, so this needs Linux. Exits with 1 where a tensor
differs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import gguf
import numpy as np

from benchmarks.commands import QWQ
from benchmarks.options import json_option, llama_cpp_option, python_option, tools_option
from benchmarks.oracle import original_command, quantize_command
from benchmarks.random_checkpoint import write_checkpoint
from benchmarks.report import Table
from tests.shapes import make_config

QUANTIZATIONS = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")
ONE_LAYER = make_config(1, 5120, 27648, (40, 8))
NAME = "speed"


@dataclass(frozen=True)
class Cost:
    """What a command took: wall time and processor time in seconds, bytes written, and the most memory it had, in bytes."""

    seconds: float
    cpu_seconds: float
    written_bytes: int
    memory_bytes: int


def run(*command: object) -> Cost:
    """Run it from start to when all that it wrote is on the disk, with nothing left to write from before."""
    os.sync()
    started_at = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([str(part) for part in command], stdout=said, stderr=said)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        os.sync()
        seconds = time.perf_counter() - started_at
        io = dict(line.split(": ") for line in Path(f"/proc/{process.pid}/io").read_text().splitlines())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{command[0]} failed: {said.read()[-2000:].decode()}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, int(io["wchar"]), usage.ru_maxrss * 1024)


def run_ours(checkpoint: Path, out: Path, n_threads: int) -> Cost:
    """One command."""
    quantizations = [option for quantization in QUANTIZATIONS for option in ("--quant", quantization)]
    return run(QWQ, "convert", checkpoint, "--out", out, "--name", NAME, "--threads", n_threads, *quantizations)


def run_theirs(llama_cpp: Path, tools: Path, python: str, folder: Path, n_threads: int) -> list[tuple[str, Cost]]:
    """Five commands."""
    out = folder / "theirs"
    out.mkdir()
    whole = out / "BF16.gguf"
    costs = [("convert_hf_to_gguf BF16", run(*original_command(llama_cpp, python, folder / "checkpoint", whole, "BF16", NAME)))]
    for quantization in QUANTIZATIONS:
        command = quantize_command(tools, whole, out / f"{quantization}.gguf", quantization, n_threads)
        costs.append((f"llama-quantize {quantization}", run(*command)))
    return costs


def count_equal(ours: Path, theirs: Path) -> tuple[int, int]:
    """How many tensors there are, and how many are equal by type and bytes."""
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(ours).tensors}
    due = gguf.GGUFReader(theirs).tensors
    equal = [found[t.name].tensor_type == t.tensor_type and np.array_equal(found[t.name].data, t.data) for t in due]
    return len(found), sum(equal)


def show(ours: Cost, theirs: Sequence[tuple[str, Cost]], json_path: Path | None) -> None:
    """One row for each command, and what the five come to."""
    table = Table("four quantizations of 2.0e9 weights", ["command", "wall s", "processor s", "GB written", "peak GiB"])
    five = Cost(
        sum(cost.seconds for _, cost in theirs),
        sum(cost.cpu_seconds for _, cost in theirs),
        sum(cost.written_bytes for _, cost in theirs),
        max(cost.memory_bytes for _, cost in theirs),
    )
    for name, cost in (("qwq convert", ours), *theirs, ("all five", five)):
        table.add(name, cost.seconds, cost.cpu_seconds, cost.written_bytes / 1e9, cost.memory_bytes / 2**30)
    ratios = (ours.seconds / five.seconds, ours.cpu_seconds / five.cpu_seconds, ours.written_bytes / five.written_bytes)
    table.add("ours / all five", *ratios, ours.memory_bytes / five.memory_bytes)
    table.show(json_path)


@click.command()
@llama_cpp_option
@tools_option
@python_option
@click.option("--folder", "parent", type=click.Path(exists=True, path_type=Path), help="Where there is room; by default the usual one.")
@click.option("--threads", "n_threads", default=2, show_default=True, help="For both.")
@json_option
def main(*, llama_cpp: Path, tools: Path, python: str, parent: Path | None, n_threads: int, json_path: Path | None) -> None:
    """Measure both, and compare what they made."""
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        checkpoint = write_checkpoint(folder / "checkpoint", ONE_LAYER, "BF16", n_shards=2)
        ours = run_ours(checkpoint, folder / "ours", n_threads)
        theirs = run_theirs(llama_cpp, tools, python, folder, n_threads)
        show(ours, theirs, json_path)
        outputs = [(folder / "ours" / f"{NAME}-{each}.gguf", folder / "theirs" / f"{each}.gguf") for each in QUANTIZATIONS]
        print(f"\nour files have {sum(path.stat().st_size for path, _ in outputs):,} bytes, and {ours.written_bytes:,} were written")
        counts = [count_equal(*pair) for pair in outputs]
    print(f"{sum(n for n, _ in counts)} tensors, {sum(equal for _, equal in counts)} equal")
    sys.exit(0 if all(n == equal for n, equal in counts) else 1)


if __name__ == "__main__":
    main()
