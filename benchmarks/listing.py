"""How long `qwq list` takes with ten files of QwQ-32B's size and vocabulary in the store, as a user would measure it.

    python -m benchmarks.listing [--files 10] [--runs 15] [--json FILE]

The first time every header is walked through; from then on what was found is remembered. A Python that does nothing is measured beside it.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.commands import QWQ, seconds_of
from benchmarks.options import json_option
from benchmarks.report import Table
from qwq_local import card
from qwq_local.quants import QUANTIZATIONS
from tests.shelves import write_model


@click.command()
@click.option("--files", "n_files", default=10, show_default=True)
@click.option("--runs", default=15, show_default=True)
@json_option
def main(n_files: int, runs: int, json_path: Path | None) -> None:
    """Measure, taking turns so that a slow moment of the machine meets all alike."""
    with tempfile.TemporaryDirectory() as folder:
        for quantization in list(QUANTIZATIONS)[:n_files]:
            write_model(Path(folder) / f"QwQ-32B-{quantization}.gguf", quantization, n_tokens=card.N_VOCAB, is_real=False)
        seconds: dict[str, list[float]] = {"python -c pass": [], "qwq list, first time": [], "qwq list": []}
        for run in range(runs):
            environment = {**os.environ, "QWQ_MODELS": folder, "QWQ_DATA": f"{folder}/data/{run}", "HOME": folder, "HF_HOME": folder}
            seconds["python -c pass"].append(seconds_of(sys.executable, "-c", "pass", environment=environment))
            for name in ("qwq list, first time", "qwq list"):
                seconds[name].append(seconds_of(QWQ, "list", environment=environment))
    table = Table(f"seconds with {n_files} files of {card.NAME} in the store, {runs} runs each", ["what", "least", "median", "most"])
    for name, values in seconds.items():
        table.add(name, min(values), statistics.median(values), max(values))
    table.show(json_path)


if __name__ == "__main__":
    main()
