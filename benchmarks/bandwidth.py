"""Decoding as a share of the RAM's bandwidth, for synthetic models of three sizes and several types (random weights of Qwen2's shape).

    python -m benchmarks.bandwidth [--folder DIR] [--quant Q4_K_M --quant Q8_0] [--rounds 3] [--json FILE]

It runs what `qwq bench` does, which measures the RAM in the same run. Nothing else should run meanwhile.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

import click

from benchmarks.options import json_option
from benchmarks.report import Table
from benchmarks.speed import SHAPES
from benchmarks.synthetic import write_model
from qwq_local.bench import BenchListener, BenchReport, BenchSettings, run_bench
from qwq_local.settings import LoadSettings

N_CTX: Final = 512


def row(report: BenchReport) -> tuple[float | str, ...]:
    """Speeds, what is read a second of what could be, and the plan's prediction."""
    (decoding,) = report.decodings
    speed = decoding.speeds.median
    is_disturbed = report.prefill.is_disturbed or decoding.speeds.is_disturbed
    rates = speed * sum(decoding.read_bytes) / 1e9, report.memories[0].bandwidth / 1e9
    return report.prefill.median, speed, *rates, decoding.share, decoding.predicted, decoding.ratio, "yes" if is_disturbed else ""


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Where the models are made, and kept. [default: a new one, deleted]")
@click.option("--quant", "quantizations", multiple=True, default=("Q4_K_M", "Q8_0"), show_default=True, help="Repeatable.")
@click.option("--rounds", default=3, show_default=True)
@json_option
def main(folder: Path | None, quantizations: tuple[str, ...], rounds: int, json_path: Path | None) -> None:
    """Make the models, and measure each."""
    columns = ["prefill", "decode", "GB/s read", "GB/s of the RAM", "share", "predicted", "measured / predicted", "disturbed"]
    table = Table("tokens/s and shares", ["model", "type", "GB", *columns])
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["QWQ_DATA"] = temporary  # what is measured here is not for the plans of whoever runs this
        where = folder or Path(temporary)
        where.mkdir(parents=True, exist_ok=True)
        for shape in SHAPES[1:]:
            for quantization in quantizations:
                path = where / f"{shape.n_layers}x{shape.n_embd}-{quantization}.gguf"
                if not path.exists():
                    write_model(path, shape, quantization)
                settings = BenchSettings(n_prefill=256, n_decode=48, n_rounds=rounds)
                report = run_bench(str(path), LoadSettings(n_ctx=N_CTX), settings, BenchListener())
                table.add(shape.name, quantization, path.stat().st_size / 1e9, *row(report))
                if folder is None:
                    path.unlink()
    table.show(json_path)


if __name__ == "__main__":
    main()
