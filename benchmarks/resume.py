"""Kill conversions with SIGKILL at random moments, go on with them, and compare the files with those of a run that was left alone.

python -m benchmarks.resume [--kills 20] [--json FILE]
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.options import json_option
from benchmarks.random_checkpoint import write_checkpoint
from benchmarks.report import Table

CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "tie_word_embeddings": False,
}
OPTIONS = ("--quant", "Q8_0", "--quant", "Q6_K", "--quant", "Q4_K_M", "--split", "30M", "--name", "killed")


def command(source: Path, out: Path) -> list[str]:
    """The command that is killed, and that goes on."""
    return [sys.executable, "-m", "qwq_local.cli", "convert", str(source), "--out", str(out), *OPTIONS]


def contents(folder: Path) -> dict[str, bytes]:
    """The files in a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def kill_after(seconds: float, arguments: Sequence[str]) -> bool:
    """Run and kill; whether it was still at work."""
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    return False


def killed_and_resumed(source: Path, out: Path, moments: Sequence[float]) -> tuple[int, int]:
    """Kill at each of the moments (seconds from a run's start), then let it end; bytes there at the last kill, and bytes kept."""
    for seconds in moments:
        kill_after(seconds, command(source, out))
    there = sum(path.stat().st_size for path in out.iterdir() if path.name != "killed.journal.part") if out.exists() else 0
    if finals := [path.name for path in out.glob("*.gguf")]:
        print(f"killed when {len(finals)} files had their final names")
    done = subprocess.run(command(source, out), capture_output=True, text=True, check=False)
    if done.returncode and "exists already" not in done.stderr:
        raise SystemExit(done.stderr)
    last = (done.stdout.splitlines() or [""])[-1]
    kept = last.partition(" s, ")[2].partition(" ")[0].replace(",", "")
    return there, int(kept or 0)


@click.command()
@click.option("--kills", default=20, show_default=True, help="How many runs are killed, each once.")
@click.option("--again", default=6, show_default=True, help="How often one more run is killed before it may end.")
@click.option("--seed", default=5, show_default=True)
@json_option
def main(kills: int, again: int, seed: int, json_path: Path | None) -> None:
    """Kill and compare."""
    rng = random.Random(seed)
    table = Table("Killed and resumed", ["killed after s", "bytes there", "bytes kept", "files", "files equal"])
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        source = write_checkpoint(home / "checkpoint", CONFIG, "BF16", 2)
        started_at = time.perf_counter()
        subprocess.run(command(source, home / "due"), capture_output=True, check=True)
        seconds = time.perf_counter() - started_at
        due = contents(home / "due")
        runs = [[rng.uniform(0, seconds)] for _ in range(kills)] + [[rng.uniform(0.3, 0.6) * seconds for _ in range(again)]]
        for number, moments in enumerate(runs):
            out = home / f"out-{number}"
            there, kept = killed_and_resumed(source, out, moments)
            made = contents(out)
            equal = sum(made.get(name) == content for name, content in due.items())
            names = made.keys() | due.keys()
            table.add(", ".join(f"{moment:.2f}" for moment in moments), there, kept, len(names), equal)
            for path in out.iterdir():
                path.unlink()
    table.show(json_path)
    print(f"\na run that is left alone takes {seconds:.2f} s")
    sys.exit(0 if all(row[3] == row[4] for row in table.rows) else 1)


if __name__ == "__main__":
    main()
