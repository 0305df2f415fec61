"""The plan against reality: a file of QwQ-32B's true shape, loaded and made to answer, on Linux.

    python -m benchmarks.real_load [--quant Q4_K_M] [--layers 64] [--tokens 8] [--folder DIR] [--json FILE]

The weights are random rows, again and again, in the largest quantization that the plan says fits this machine. What is loaded is loaded by
a process of its own, which tells its resident memory before, once loaded, and after the answer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import click

from benchmarks.options import json_option
from benchmarks.report import Table
from benchmarks.synthetic import write_model
from qwq_local import QwQ
from qwq_local.llama import list_devices
from qwq_local.loading import plan_load
from qwq_local.machine.measured import ENOUGH_ROUNDS
from qwq_local.offers import METADATA_BYTES, offer_of_file, offer_to_pull
from qwq_local.plan.memory import tensor_bytes_of, tensor_types_of
from qwq_local.plan.plan import Offer, PlanWish
from qwq_local.plan.shape import QWQ_32B, ModelShape
from qwq_local.plan.speed import tokens_per_second
from qwq_local.quants.quality import OFFERED
from qwq_local.settings import LoadSettings
from qwq_local.survey import known_machine, plan_here, this_machine

MIB: Final = 2**20
PROMPT: Final = "word " * 600
"""More than the largest batch, so that the buffers for it are used."""
STATUS: Final = Path("/proc/self/status")


@dataclass(frozen=True)
class Resident:
    """Bytes of this process in RAM: its own, those of mapped files, and the most that both ever were together."""

    anonymous_bytes: int
    file_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class Outcome:
    """What was planned for the host and what came of it: bytes, tokens, tokens/s."""

    n_ctx: int
    kv_type: str
    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    predicted_speed: float
    measured_speed: float
    before: Resident
    loaded: Resident
    answered: Resident


def resident() -> Resident:
    """As Linux tells it (proc_pid_status(5))."""
    said = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return Resident(*(int(said[key].split()[0]) * 1024 for key in ("RssAnon", "RssFile", "VmHWM")))


def offer_of(shape: ModelShape, quantization: str) -> Offer:
    """A file of that shape that is not here yet."""
    tensors = tensor_bytes_of(shape, quantization)
    return replace(
        offer_to_pull(quantization),
        shape=shape,
        tensors=tensors,
        types=tensor_types_of(shape, quantization),
        file_bytes=sum(tensors.values()) + METADATA_BYTES,
    )


def largest_that_fits(shape: ModelShape) -> str:
    """The quantization. Raises ClickException where none fits."""
    offers = [offer_of(shape, quantization) for quantization in OFFERED]
    fitting = [candidate.offer for candidate in plan_here(offers, PlanWish()).candidates if candidate.fits]
    if not fitting:
        raise click.ClickException("No quantization fits this machine.")
    return max(fitting, key=lambda offer: offer.file_bytes).quant


def run(path: Path, quantization: str, n_tokens: int) -> Outcome:
    """Plan for the file, load it and let it answer, in this process."""
    offer = offer_of_file([path], quantization, path.name)
    machine, _ = known_machine(list_devices())
    plan = plan_load(str(path), LoadSettings())
    before = resident()
    with QwQ.load(str(path)) as qwq:
        loaded = resident()
        reply = qwq.chat(PROMPT, max_tokens=n_tokens, seed=0)
        answered = resident()
    host, n_written = plan.placement.memory[0], reply.usage.completion_tokens
    predicted = tokens_per_second(plan.placement, offer.tensors, offer.types, machine, n_filled=reply.usage.total_tokens)
    return Outcome(
        plan.placement.n_ctx,
        plan.placement.kv_type,
        host.weights_bytes,
        host.kv_bytes,
        host.compute_bytes,
        predicted,
        (n_written - 1) / reply.timings.decode_seconds,
        before,
        loaded,
        answered,
    )


def run_apart(path: Path, quantization: str, n_tokens: int) -> Outcome:
    """The same in a process of its own. Raises ClickException with what it said where it fails."""
    command = [sys.executable, "-m", "benchmarks.real_load", "--quant", quantization, "--tokens", str(n_tokens), "--child", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"The process that loads ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    said: dict[str, Any] = {key: Resident(**value) if isinstance(value, dict) else value for key, value in json.loads(done.stdout).items()}
    return Outcome(**said)


def show(name: str, outcome: Outcome, json_path: Path | None) -> None:
    """Print the table: MiB, and tokens/s."""
    table = Table(f"{name}, {outcome.n_ctx:,} tokens of context in {outcome.kv_type}", ["what", "planned", "found", "error"])

    def row(what: str, planned: float, found: float) -> None:
        table.add(what, planned, found, f"{planned / found - 1:+.1%}" if found else "-")

    before, loaded, answered = outcome.before, outcome.loaded, outcome.answered
    own = outcome.kv_bytes + outcome.compute_bytes
    row("weights: mapped from the file, loaded, MiB", outcome.weights_bytes / MIB, (loaded.file_bytes - before.file_bytes) / MIB)
    row("KV and compute: of its own, loaded, MiB", own / MIB, (loaded.anonymous_bytes - before.anonymous_bytes) / MIB)
    row("KV and compute: of its own, after the answer, MiB", own / MIB, (answered.anonymous_bytes - before.anonymous_bytes) / MIB)
    most = answered.peak_bytes - before.anonymous_bytes - before.file_bytes
    row("all, at its peak, MiB", (outcome.weights_bytes + own) / MIB, most / MIB)
    row("tokens/s", outcome.predicted_speed, outcome.measured_speed)
    table.show(json_path)
    before_mib = (before.anonymous_bytes + before.file_bytes) / MIB
    planned = f"KV {outcome.kv_bytes / MIB:.0f} MiB, compute {outcome.compute_bytes / MIB:.0f} MiB"
    print(f"\nPlanned: {planned}. Without a model the process holds {before_mib:.0f} MiB.")


def measure(shape: ModelShape, quantization: str, folder: Path, n_tokens: int, json_path: Path | None) -> None:
    """Make the file, load it apart, show what came of it."""
    machine = [this_machine([offer_of(shape, quantization)], PlanWish()) for _ in range(ENOUGH_ROUNDS)][-1]
    if not machine.cpu_rates:
        raise click.ClickException(machine.notes[0])
    path = folder / f"{shape.n_layers}-layers-{quantization}.gguf"
    if not path.exists():
        write_model(path, shape, quantization)
    show(f"{quantization}, {shape.n_layers} layers", run_apart(path, quantization, n_tokens), json_path)


@click.command()
@click.option("--quant", "quantization", help="[default: the largest that fits]")
@click.option("--layers", "n_layers", default=QWQ_32B.n_layers, show_default=True)
@click.option("--tokens", "n_tokens", default=8, show_default=True, help="Tokens to answer with.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where the file is made, and kept. [default: a new one, deleted]")
@json_option
@click.option("--child", type=click.Path(exists=True, path_type=Path), hidden=True)
def main(quantization: str | None, n_layers: int, n_tokens: int, folder: Path | None, json_path: Path | None, child: Path | None) -> None:
    """See above."""
    if not STATUS.exists():
        raise click.ClickException(f"There is no {STATUS} here.")
    if child is not None:
        print(json.dumps(asdict(run(child, quantization or "", n_tokens))))
        return
    shape = replace(QWQ_32B, n_layers=n_layers)
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["QWQ_DATA"] = temporary  # what this model teaches is not for the plans of whoever runs this
        where = folder or Path(temporary)
        where.mkdir(parents=True, exist_ok=True)
        measure(shape, quantization or largest_that_fits(shape), where, n_tokens, json_path)


if __name__ == "__main__":
    main()
