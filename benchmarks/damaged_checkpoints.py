"""Convert damaged checkpoints: each must end in a clear error, without a traceback and without a file under its final name.

python -m benchmarks.damaged_checkpoints [--count 300] [--json FILE]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import click

from benchmarks.options import json_option
from benchmarks.report import Table
from qwq_convert.pipeline import ConversionChoices, convert
from qwq_local.errors import QwqError
from tests.checkpoints import Damage, copy_nano
from tests.random_damages import random_damages

QUANTIZATIONS = ("Q4_K_M", "Q8_0")


def outcome(damage: Damage, folder: Path) -> tuple[str, str]:
    """What became of a conversion, and the error's text."""
    source, out = copy_nano(folder / "checkpoint"), folder / "out"
    damage(source)
    told, kind = "", "converted"
    try:
        convert(source, out, QUANTIZATIONS, ConversionChoices(name="damaged"))
    except QwqError as error:
        told, kind = str(error), "clear error" if str(error) and error.hint else "error without a hint"
    except Exception as error:  # noqa: BLE001 - this is what is counted
        told, kind = repr(error), "traceback"
    if out.exists() and any(path.suffix != ".part" for path in out.iterdir()):
        return "file under a final name", told
    return kind, told


def on_the_command_line(damage: Damage, folder: Path) -> bool:
    """Whether the command says it in two lines, and ends with 1."""
    source = copy_nano(folder / "checkpoint")
    damage(source)
    command = [sys.executable, "-m", "qwq_local.cli", "convert", str(source), "--out", str(folder / "out"), "--quant", "Q8_0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    first, *others = done.stderr.splitlines() or [""]
    return done.returncode == 1 and first.startswith("error: ") and len(others) == 1 and others[0].startswith("hint: ")


@click.command()
@click.option("--count", default=300, show_default=True, help="How many checkpoints.")
@click.option("--seed", default=3, show_default=True)
@click.option("--cli-every", default=15, show_default=True, help="Of how many, one is given to the command line as well.")
@json_option
def main(count: int, seed: int, cli_every: int, json_path: Path | None) -> None:
    """Damage qwq-nano's checkpoint and convert it, again and again."""
    kinds: Counter[str] = Counter()
    n_commands = n_told = 0
    for number, (what, damage) in enumerate(random_damages(seed, count)):
        with tempfile.TemporaryDirectory() as folder:
            kind, told = outcome(damage, Path(folder))
        kinds[kind] += 1
        if kind != "clear error":
            print(f"{number}: {what}: {kind}: {told}")
        if number % cli_every == 0:
            with tempfile.TemporaryDirectory() as folder:
                n_commands += 1
                n_told += on_the_command_line(damage, Path(folder))
    table = Table("Damaged checkpoints", ["checkpoints", "clear errors", "tracebacks", "files under a final name", "converted", "commands"])
    finals, clear = kinds["file under a final name"], kinds["clear error"]
    table.add(count, clear, kinds["traceback"], finals, kinds["converted"], f"{n_told} of {n_commands} in two lines")
    table.show(json_path)
    sys.exit(0 if clear == count and n_told == n_commands else 1)


if __name__ == "__main__":
    main()
