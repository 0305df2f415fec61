"""What tests of pulling share: two repositories, a listener that remembers, and one pull."""

from __future__ import annotations

import random
from pathlib import Path

from qwq_local.models.download import PARTS_FOLDER, Listener, PullProgress, pull
from qwq_local.models.hub import Hub
from tests.hub_server import HubServer

REPOSITORY = "Qwen/QwQ-32B-GGUF"
OTHER = "bartowski/Qwen_QwQ-32B-GGUF"
CONTENT = random.Random(1).randbytes(700_001)
SHARDS = {f"qwq-32b-q8_0-{n:05}-of-00003.gguf": random.Random(n).randbytes(90_000 + n) for n in (1, 2, 3)}
REPOSITORIES = {
    REPOSITORY: {"README.md": b"#", "qwq-32b-q4_k_m.gguf": CONTENT, **SHARDS},
    OTHER: {"Qwen_QwQ-32B-IQ3_M.gguf": CONTENT[::-1], "big/Qwen_QwQ-32B-bf16-00001-of-00002.gguf": b"half"},
}


class Ears:
    """A listener that remembers, and sleeps no second of what it is told to sleep."""

    def __init__(self) -> None:
        self.progress: list[PullProgress] = []
        self.notices: list[str] = []
        self.slept: list[float] = []
        self.listener = Listener(self.progress.append, self.notices.append, self.slept.append)


def bring(server: HubServer, folder: Path, quantization: str = "q4_k_m", ears: Ears | None = None) -> Path:
    hub = Hub(server.url)
    return pull(hub, hub.find(quantization, [REPOSITORY, OTHER]), folder, (ears or Ears()).listener)


def parts(folder: Path) -> list[Path]:
    return list((folder / PARTS_FOLDER).glob("*.part"))
