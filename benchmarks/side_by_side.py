"""Everything side by side: `qwq serve`, llama.cpp's own server, and llama-cpp-python's, on one machine, in one run.

    python -m benchmarks.side_by_side --tools TOOLS [--server-python PYTHON] [--model FILE] [--rounds 5] [--quick] [--json FILE]

Decoding, reading prompts, many requests at once, the second turn of a chat, the start, and speculation. All three get the same file and
the same flags, and take turns in every round. TOOLS has llama-server, built from the llama.cpp inside llama-cpp-python; PYTHON can run
llama-cpp-python's server (`pip install 'llama-cpp-python[server]'`), which is left out without it. Unless a model is given, one with
random weights of Qwen2.5-0.5B's shape in F16 is made, for its speed is all that counts; for speculation it is nano, made larger. --quick is
for trying the script. `python docs/benchmark_page.py` makes docs/benchmarks.md and its pictures of docs/benchmarks.json.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import click

from benchmarks.comparison import Comparison, Figure, comparison_of
from benchmarks.deep_nano import write_deep_nano
from benchmarks.options import json_option, tools_option
from benchmarks.peers import Peer, llama_server, our_server, python_server
from benchmarks.report import Table, in_turn
from benchmarks.second_turn import Chat, measure_ours, measure_theirs, new_chat, their_wait
from benchmarks.speculation import speculate
from benchmarks.synthetic import SHAPES, write_model
from benchmarks.throughput import new_prompts
from qwq_local.engine import PrefixShelf

N_CTX: Final = 8192

Start = Callable[[], AbstractContextManager[Peer]]


@dataclass(frozen=True)
class Sizes:
    """How much is measured: tokens, rounds, requests at once, and the bytes of the model that is guessed for."""

    rounds: int
    widths: Sequence[int] = (1, 2, 4, 8)
    n_tokens: int = 64
    n_prefill: int = 1024
    n_first_turn: int = 2000
    deep_bytes: float = 0.2e9
    n_cases: int = 1


QUICK: Final = Sizes(rounds=1, widths=(1, 2), n_tokens=4, n_prefill=64, n_first_turn=64, deep_bytes=0.0, n_cases=1)


def starts(model: Path, tools: Path, server_python: str | None, n_parallel: int) -> dict[str, Start]:
    """How each system is started on a file."""
    found: dict[str, Start] = {
        "ours": partial(our_server, model, n_parallel, N_CTX),
        "llama-server": partial(llama_server, tools, model, n_parallel, N_CTX, "-ngl", 999),
    }
    if server_python:
        found["llama-cpp-python"] = partial(python_server, model, N_CTX, server_python)
    return found


def serving(systems: Mapping[str, Start], sizes: Sizes) -> Iterator[Figure]:
    """What running servers do: decode, prefill, and many requests at once."""
    rng = random.Random(1)

    def together(width: int, peer: Peer) -> float:
        return peer.tokens_per_second(new_prompts(rng, width), sizes.n_tokens)

    def prefill(peer: Peer) -> float:
        return peer.prefill_tokens_per_second([rng.randrange(1000, 100_000) for _ in range(sizes.n_prefill)])

    with ExitStack() as stack:
        peers = {name: stack.enter_context(start()) for name, start in systems.items()}
        in_turn(peers, 1, partial(together, 1))  # the first request is slower than any other
        for width in sizes.widths:
            what = "decode, one stream" if width == 1 else f"decode, {width} streams"
            yield Figure(what, "tokens/s", in_turn(peers, sizes.rounds, partial(together, width)))
        yield Figure(f"prefill, {sizes.n_prefill} tokens", "tokens/s", in_turn(peers, sizes.rounds, prefill))


def second_turns(model: Path, tools: Path, systems: Mapping[str, Start], sizes: Sizes) -> Iterator[Figure]:
    """The wait for the second turn of a chat, in the same life and after a restart."""
    rng = random.Random(5)
    lives: dict[str, list[float]] = {name: [] for name in systems}
    restarts: dict[str, list[float]] = {"ours": [], "llama-server": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with_slots = partial(llama_server, tools, model, 1, N_CTX, "-ngl", 999, "--slot-save-path", folder)
        for chat in [new_chat(rng, sizes.n_first_turn) for _ in range(sizes.rounds)]:
            ours = measure_ours(model, [chat], PrefixShelf(folder / "shelf", 2**32))
            theirs = measure_theirs(with_slots, [chat])
            for found, i in ((lives, 0), (restarts, 1)):
                found["ours"] += ours[i]
                found["llama-server"] += theirs[i]
            if other := systems.get("llama-cpp-python"):
                lives["llama-cpp-python"].append(life(other, chat))
    turn = f"second turn, first token after {sizes.n_first_turn} + 500 tokens"
    yield Figure(turn, "s", lives)
    yield Figure(f"{turn}, after a restart", "s", restarts)


def life(start: Start, chat: Chat) -> float:
    """The wait for the second turn in a server's life, which begins and ends here."""
    with start() as peer:
        return their_wait(peer, chat)


def seconds_to_start(start: Start) -> float:
    """From the command to the first token of a first answer; the file is in the page cache."""
    started_at = time.perf_counter()
    with start() as peer:
        return peer.first_token_seconds([1000], 1) and time.perf_counter() - started_at


def compare(model: Path, tools: Path, server_python: str | None, sizes: Sizes) -> Comparison:
    """Measure all of it."""
    systems = starts(model, tools, server_python, max(sizes.widths))
    figures = [
        *serving(systems, sizes),
        *second_turns(model, tools, systems, sizes),
        Figure("start, to the first token", "s", in_turn(systems, sizes.rounds, seconds_to_start)),
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "deep-nano.gguf"
        shape = write_deep_nano(path, sizes.deep_bytes)
        title = f"{shape.name}, Q4_K_M, {path.stat().st_size / 1e9:.2f} GB"
        speculation = speculate(path, tools, title, sizes.rounds, sizes.n_cases)
    speculation.show()
    return comparison_of(tools, model, figures, speculation)


def table_of(found: Comparison) -> Table:
    """A row for each figure: medians, and ours against llama.cpp's server."""
    systems = list(found.figures[0].systems)
    table = Table(found.model, ["what", "unit", *systems, "ours / llama-server", "least", "most"])
    for figure in found.figures:
        medians = [figure.median(system) if system in figure.systems else "" for system in systems]
        table.add(figure.what, figure.unit, *medians, *figure.ratios("ours", "llama-server"))
    return table


@click.command()
@tools_option
@click.option("--server-python", help="Interpreter that can run llama-cpp-python's server.")
@click.option("--model", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A GGUF file. [default: one is made]")
@click.option("--rounds", default=5, show_default=True)
@click.option("--quick", is_flag=True, help="As little as shows that all of it works.")
@json_option
def main(*, tools: Path, server_python: str | None, model: Path | None, rounds: int, quick: bool, json_path: Path | None) -> None:
    """Measure, print, and write."""
    with tempfile.TemporaryDirectory() as folder:
        if model is None:
            shape = "tiny" if quick else "0.5B"
            model = Path(folder) / f"{SHAPES[shape].name}-F16.gguf"
            write_model(model, SHAPES[shape], "F16")
        found = compare(model, tools, server_python, QUICK if quick else Sizes(rounds))
    table_of(found).show()
    if json_path:
        found.write(json_path)


if __name__ == "__main__":
    main()
