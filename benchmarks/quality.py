"""What each quantization costs a trained model: divergence from BF16, and right answers, on qwq-nano.

    python -m benchmarks.quality [--problems 150] [--json FILE] [--plot docs/quality.svg]

Mean KL divergence over every position of prompts and their greedy BF16 replies, in nats, as llama-perplexity --kl-divergence takes it.
The quantizations that gain from an importance matrix are made with one, of the tests' calibration text.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.grading import is_right
from benchmarks.logits import log_softmax, logits_of
from benchmarks.options import json_option
from benchmarks.report import Table
from qwq_convert.pipeline import ConversionChoices, convert
from qwq_local.llama import LlamaBackend
from qwq_local.loading import context_shape
from qwq_local.models.store import find
from qwq_local.quants import QUANTIZATIONS
from qwq_local.runtime import QwQ
from tests.checkpoints import NANO
from tests.nano.tasks import Problem, draw

IMATRIX = NANO.parent.parent / "data" / "imatrix" / "nano.gguf"
N_TEXTS = 40
TASKS_LEARNED = ("addition", "choice", "compare", "letters", "tool")


@dataclass(frozen=True)
class Result:
    """One quantization: bytes of its file, mean divergence in nats, share of right answers."""

    name: str
    file_bytes: int
    divergence: float
    accuracy: float


def log_probabilities(path: Path, texts: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
    """For every text, the logarithm of the probability of each next token after each of its tokens."""
    backend = LlamaBackend(path, context_shape(find(str(path))), "native", 0)
    with closing(backend):
        return [log_softmax(logits_of(backend, tokens)) for tokens in texts]


def divergence(base: Sequence[NDArray[np.float64]], other: Sequence[NDArray[np.float64]]) -> float:
    """Mean over all positions of KL(base || other), in nats."""
    per_position = [(np.exp(p) * (p - q)).sum(1) for p, q in zip(base, other, strict=True)]
    return float(np.concatenate(per_position).mean())


def texts_of(path: Path, problems: Sequence[Problem]) -> list[tuple[int, ...]]:
    """Prompts with the worked answers that belong to them."""
    with QwQ.load(str(path)) as qwq:
        vocabulary = qwq._vocabulary  # noqa: SLF001 - a benchmark may look inside
        return [
            (
                *qwq.tokenize(qwq.render(problem.messages, problem.tools)),
                *vocabulary.tokenize(problem.reasoning + "\n"),
                vocabulary.markers["</think>"],
                *vocabulary.tokenize("\n\n" + problem.answer),
            )
            for problem in problems
        ]


def accuracy(path: Path, problems: Sequence[Problem]) -> float:
    """Share of problems answered exactly, at the default sampling."""
    with QwQ.load(str(path)) as qwq:
        right = [is_right(qwq.chat(p.messages, tools=p.tools, seed=i, max_tokens=300), p) for i, p in enumerate(problems)]
    return sum(right) / len(right)


def drawn(count: int, seed: int) -> list[Problem]:
    """Problems of the tasks that nano has learned."""
    rng = random.Random(seed)
    return [draw(rng, dict.fromkeys(TASKS_LEARNED, 1.0)) for _ in range(count)]


def measure(folder: Path, n_problems: int) -> list[Result]:
    """Every quantization, the largest first."""
    report = convert(NANO, folder, list(QUANTIZATIONS), ConversionChoices(name="nano", imatrix=IMATRIX))
    paths = {made.quantization: made.path for made in report.files}
    texts, problems = texts_of(paths["BF16"], drawn(N_TEXTS, 1)), drawn(n_problems, 2)
    base = log_probabilities(paths["BF16"], texts)
    results = [
        Result(name, path.stat().st_size, divergence(base, log_probabilities(path, texts)), accuracy(path, problems))
        for name, path in paths.items()
    ]
    return sorted(results, key=lambda result: -result.file_bytes)


def plot(results: Sequence[Result], path: Path) -> None:
    """Size against divergence and accuracy, as SVG."""
    import matplotlib.pyplot as plt

    plt.rcParams["svg.fonttype"] = "none"
    figure, axes = plt.subplots(2, 1, sharex=True, figsize=(10, 11))
    shown = [result for result in results if result.name not in {"F32", "BF16", "F16"}]
    sizes = [result.file_bytes / 1e6 for result in shown]
    for axis, values in zip(axes, ([r.divergence for r in shown], [r.accuracy for r in shown]), strict=True):
        axis.plot(sizes, values, "o", color="#2a6f97")
        axis.grid(alpha=0.3)
        for i, (result, size, value) in enumerate(zip(shown, sizes, values, strict=True)):
            offset, side = ((3, 6), "left") if i % 2 else ((-3, -6), "right")  # neighbours on either side
            axis.annotate(
                result.name,
                (size, value),
                textcoords="offset points",
                xytext=offset,
                ha=side,
                fontsize=7,
                rotation=38,
                rotation_mode="anchor",
            )
    axes[0].set_yscale("log")
    axes[1].set_xscale("log")
    axes[1].set_xticks([0.7, 0.8, 1, 1.2, 1.5, 2, 2.5, 3], ["0.7", "0.8", "1", "1.2", "1.5", "2", "2.5", "3"])
    axes[1].minorticks_off()
    axes[0].set_ylabel("mean KL divergence from BF16, nats")
    axes[1].set_ylabel("right answers")
    axes[1].set_xlabel("file, MB (qwq-nano, 2.6 M parameters)")
    figure.tight_layout()
    figure.savefig(path)


@click.command()
@click.option("--problems", "n_problems", default=150, show_default=True)
@json_option
@click.option("--plot", "plot_path", type=click.Path(dir_okay=False, path_type=Path))
def main(n_problems: int, json_path: Path | None, plot_path: Path | None) -> None:
    """Measure all quantizations."""
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder), n_problems)
    table = Table(f"quantizations of qwq-nano, {n_problems} problems", ["quantization", "MB", "mean KLD", "right answers"])
    for result in results:
        table.add(result.name, result.file_bytes / 1e6, result.divergence, result.accuracy)
    table.show(json_path)
    if plot_path:
        plot(results, plot_path)


if __name__ == "__main__":
    main()
