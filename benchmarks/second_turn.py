"""The wait for the second turn of a long chat: ours against llama.cpp's server, and after a restart, in one run.

    python -m benchmarks.second_turn --tools TOOLS [--shape 0.5B] [--quant F16] [--prompt 4000] [--rounds 3] [--json FILE]

The first turn's prompt has --prompt tokens; it is answered with a thought and an answer. The second turn sends the history as QwQ's
authors say, without the thought, and a new question: what llama.cpp's server has read of the answer stands behind the thought, and is of
no use. Ours has read the answer again in the meantime. After a restart ours has its shelf, llama.cpp's server its saved slot.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from benchmarks.options import json_option, tools_option
from benchmarks.peers import Peer, llama_server
from benchmarks.report import Table
from benchmarks.synthetic import SHAPES, write_model
from qwq_local.engine import Engine, EngineSettings, PrefixShelf, Request
from qwq_local.llama import ContextShape, LlamaBackend
from qwq_local.worker import Worker

N_CTX: Final = 8192
N_THOUGHT, N_ANSWER, N_QUESTION = 300, 200, 40
SAVED: Final = "slot.bin"


@dataclass(frozen=True)
class Chat:
    """Token ids: the first prompt, the answer without its thought, the second prompt."""

    first: tuple[int, ...]
    history: tuple[int, ...]
    second: tuple[int, ...]


def new_chat(rng: random.Random, n_prompt: int) -> Chat:
    """Nothing that was read before. What random weights write is not what a chat would send back, so the answer is drawn too."""
    first, answer, question = (tuple(rng.randrange(1000, 100_000) for _ in range(n)) for n in (n_prompt, N_ANSWER, N_QUESTION))
    return Chat(first, first + answer, first + answer + question)


def our_wait(worker: Worker, prompt: Sequence[int], n_tokens: int) -> float:
    """From handing in a prompt to the first token; the rest of the answer is awaited too."""
    started_at = time.perf_counter()
    stream = worker.submit(Request(tuple(prompt), N_CTX, max_tokens=n_tokens, stops_repetition=False))
    next(stream)
    first = time.perf_counter() - started_at
    for _ in stream:
        pass
    return first


def until_read(worker: Worker, n_tokens: int) -> None:
    """Let so many tokens be read ahead, as while a person reads the answer."""
    while worker.snapshot().used_cells < n_tokens or worker.snapshot().reading_ahead:
        time.sleep(0.01)


def measure_ours(path: Path, chats: Sequence[Chat], shelf: PrefixShelf) -> tuple[list[float], list[float]]:
    """Waits for the second turn: in the same life, and after a restart."""

    def start() -> Worker:
        shape = ContextShape(N_CTX, 512, 8, 2, "f16", 4.0, N_CTX)
        return Worker(LlamaBackend(path, shape, "native", 0), lambda backend: Engine(backend, EngineSettings(shelf=shelf)))

    warm, restarted = [], []
    for chat in chats:
        with closing(start()) as worker:
            our_wait(worker, chat.first, N_THOUGHT + N_ANSWER)
            worker.preread(chat.history, "native")
            until_read(worker, len(chat.history))
            warm.append(our_wait(worker, chat.second, 4))
        with closing(start()) as worker:
            restarted.append(our_wait(worker, (*chat.second[:-N_QUESTION], *reversed(chat.second[-N_QUESTION:])), 4))
    return warm, restarted


def their_wait(peer: Peer, chat: Chat) -> float:
    """Answer the first turn, then wait for the second: seconds to its first token."""
    peer.first_token_seconds(chat.first, N_THOUGHT + N_ANSWER)
    return peer.first_token_seconds(chat.second, 4)


def measure_theirs(
    start: Callable[[], AbstractContextManager[Peer]], chats: Sequence[Chat]
) -> tuple[list[float], list[float], list[float]]:
    """The same of llama.cpp's server, and after a restart without a saved slot."""
    warm, restarted, cold = [], [], []
    for chat in chats:
        with start() as peer:
            warm.append(their_wait(peer, chat))
            peer.post("/slots/0?action=save", {"filename": SAVED})
        with start() as peer:
            peer.post("/slots/0?action=restore", {"filename": SAVED})
            restarted.append(peer.first_token_seconds((*chat.second[:-N_QUESTION], *reversed(chat.second[-N_QUESTION:])), 4))
        with start() as peer:
            cold.append(peer.first_token_seconds(chat.second, 4))
    return warm, restarted, cold


@click.command()
@tools_option
@click.option("--shape", type=click.Choice(list(SHAPES)), default="0.5B", show_default=True)
@click.option("--quant", "quantization", default="F16", show_default=True)
@click.option("--prompt", "n_prompt", default=4000, show_default=True, help="Tokens of the first turn.")
@click.option("--rounds", default=3, show_default=True)
@json_option
def main(*, tools: Path, shape: str, quantization: str, n_prompt: int, rounds: int, json_path: Path | None) -> None:
    """Measure both."""
    rng = random.Random(5)
    chats = [new_chat(rng, n_prompt) for _ in range(rounds)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / f"{shape}-{quantization}.gguf"
        write_model(path, SHAPES[shape], quantization)
        ours = measure_ours(path, chats, PrefixShelf(folder / "shelf", 2**32))
        theirs = measure_theirs(lambda: llama_server(tools, path, 1, N_CTX, "--slot-save-path", folder), chats)
    title = f"seconds to the first token of the second turn, {shape} {quantization}, first turn {n_prompt} + {N_THOUGHT + N_ANSWER} tokens"
    table = Table(title, ["when", "ours", "llama-server", "ours / llama-server"])
    for when, our, their in (
        ("in the same life", ours[0], theirs[0]),
        ("after a restart, both with what they saved", ours[1], theirs[1]),
        ("after a restart, llama-server without a saved slot", ours[1], theirs[2]),
    ):
        ratio = statistics.median(a / b for a, b in zip(our, their, strict=True))
        table.add(when, statistics.median(our), statistics.median(their), ratio)
    table.show(json_path)


if __name__ == "__main__":
    main()
