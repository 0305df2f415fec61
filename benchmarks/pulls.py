"""Does a pull survive what networks do? Real `qwq pull` processes against a hub on this machine that fails at random.

    python -m benchmarks.pulls [--pulls 100] [--seed 1] [--megabytes 16] [--json FILE]

Every pull is a process of its own, with huggingface_hub as it is and HF_ENDPOINT at the hub; some are killed at a random moment. After each
one the folder is looked at: a file under its name must have the right content, and a part must be a beginning of it.
"""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import click

from benchmarks.commands import QWQ
from benchmarks.options import json_option
from benchmarks.report import Table
from tests.hub_server import HubServer, random_fault, serve, sha256

REPOSITORY = "Qwen/QwQ-32B-GGUF"
FILE = "QwQ-32B-Q4_K_M.gguf"
KILLED_SHARE = 0.15
PACE_SECONDS = 0.0004
"""Between blocks of 16 KiB, so that the hub sends some 30 MB a second, as a fast line does."""


class Trial:
    """Pulls one after the other into one folder; a file that arrived is taken away, so that the next pull begins anew."""

    def __init__(self, hub: HubServer, content: bytes, folder: Path, source: random.Random) -> None:
        self._hub = hub
        self._content = content
        self._folder = folder
        self._source = source
        self.ends: Counter[str] = Counter()
        self.arrived_bytes = 0
        self.discarded_bytes = 0

    def pull(self) -> None:
        """Pull once and judge the end."""
        environment = {**os.environ, "QWQ_MODELS": str(self._folder), "HF_ENDPOINT": self._hub.url, "HF_HUB_DOWNLOAD_TIMEOUT": "1"}
        environment.pop("HF_HUB_OFFLINE", None)
        kill_after = self._source.uniform(0.5, 2.0) if self._source.random() < KILLED_SHARE else None
        process = subprocess.Popen([QWQ, "pull", "Q4_K_M"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            _, told = process.communicate(timeout=kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
            _, told = process.communicate()
        self.ends[self._judge(process.returncode, told)] += 1

    def _judge(self, status: int, told: str) -> str:
        path = self._folder / FILE
        if path.exists():
            if sha256(path.read_bytes()) != sha256(self._content):
                return "BAD FILE UNDER A GOOD NAME"
            path.unlink()
            self.arrived_bytes += len(self._content)
            return "verified file"
        if not all(self._content.startswith(part.read_bytes()) for part in self._folder.glob(".partial/*.part")):
            return "part with a wrong byte in it (found out at its end)"
        if "arrived damaged" in told:
            self.discarded_bytes += len(self._content)
            return "clear error: damaged, thrown away"
        if status < 0:
            return "killed, part kept"
        return "clear error, part kept" if status == 1 and "error:" in told and "hint:" in told else f"UNCLEAR END {status}: {told[-200:]}"

    def part_bytes(self) -> int:
        """What is left half done."""
        return sum(part.stat().st_size for part in self._folder.glob(".partial/*.part"))


def figures(trial: Trial, hub: HubServer) -> Mapping[str, float]:
    """Bytes, and the shares of those that were needed."""
    needed = trial.arrived_bytes + trial.part_bytes()
    twice = hub.sent_bytes - needed - trial.discarded_bytes
    return {
        "MB sent by the hub": hub.sent_bytes / 1e6,
        "MB needed": needed / 1e6,
        "MB thrown away for a wrong hash": trial.discarded_bytes / 1e6,
        "% fetched twice beside those": 100 * twice / needed,
    }


@click.command()
@click.option("--pulls", "n_pulls", default=100, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--megabytes", default=16, show_default=True)
@json_option
def main(n_pulls: int, seed: int, megabytes: int, json_path: Path | None) -> None:
    """Pull, and count the ends."""
    source = random.Random(seed)
    content = random.Random(seed + 1).randbytes(megabytes * 10**6 + 1)
    with serve({REPOSITORY: {"qwq-32b-q4_k_m.gguf": content}}) as hub, tempfile.TemporaryDirectory() as folder:
        hub.pace_seconds = PACE_SECONDS
        hub.next_fault = lambda place: random_fault(place, source, len(content))
        trial = Trial(hub, content, Path(folder), source)
        for _ in range(n_pulls):
            trial.pull()
        table = Table(f"{n_pulls} pulls of {megabytes} MB with random faults, seed {seed}", ["what", "how many"])
        for end, count in sorted(trial.ends.items()):
            table.add(end, count)
        for name, value in figures(trial, hub).items():
            table.add(name, value)
        table.show(json_path)


if __name__ == "__main__":
    main()
