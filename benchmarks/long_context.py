"""YaRN on demand against transformers with the same rope_scaling, at positions up to four times qwq-nano's native length.

    pip install '.[test,reference]'
    python -m benchmarks.long_context [--texts 20] [--json FILE] [--plot docs/long_context.svg]

Logits in float32 on both sides, native and YaRN. Then the loss of the next token by position, on documents of the `recall` task, under the
native scaling, under YaRN, and as we choose by length. And the tokens of short questions with and without YaRN within reach.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.logits import log_softmax, logits_of
from benchmarks.options import json_option
from benchmarks.report import Table
from qwq_convert.pipeline import ConversionChoices, convert
from qwq_local.asking import Reach
from qwq_local.backend import Rope
from qwq_local.llama import LlamaBackend
from qwq_local.loading import context_shape
from qwq_local.models.store import find
from qwq_local.runtime import QwQ
from tests.checkpoints import NANO
from tests.nano.tasks import draw, recall

NATIVE: Final = 512
FACTOR: Final = 4.0
ROPES: Final[tuple[Rope, ...]] = ("native", "yarn")
BORDERS: Final = (0, 256, 512, 768, 1024, 1280, 1536, 1792, 2048)

Logits = NDArray[np.float32]


def reference(rope: Rope) -> Any:  # noqa: ANN401 - a transformers model
    """Transformers in float32, with rope_scaling as QwQ's authors give it, or without."""
    config = AutoConfig.from_pretrained(NANO)
    if rope == "yarn":
        scaling = {
            "rope_type": "yarn",
            "factor": FACTOR,
            "original_max_position_embeddings": NATIVE,
            "rope_theta": config.rope_parameters["rope_theta"],
        }
        config.rope_parameters = scaling
        config.max_position_embeddings = int(NATIVE * FACTOR)
    return AutoModelForCausalLM.from_pretrained(NANO, config=config, dtype=torch.float32).eval()


def their_logits(model: Any, tokens: Sequence[int]) -> Logits:  # noqa: ANN401 - as above
    """After every token, one row each."""
    with torch.no_grad():
        found: Logits = model(torch.tensor([list(tokens)])).logits[0].numpy()
    return found


def losses(logits: Logits, tokens: Sequence[int]) -> NDArray[np.float64]:
    """-log p of each token after the first, in nats."""
    return -log_softmax(logits[:-1])[np.arange(len(tokens) - 1), tokens[1:]]


def documents(qwq: QwQ, n_texts: int) -> list[tuple[int, ...]]:
    """Prompts of the `recall` task, whose documents are made as long as four times the native length."""
    rng = random.Random(7)
    length = int(NATIVE * FACTOR)
    texts: list[tuple[int, ...]] = []
    while len(texts) < n_texts:
        tokens = qwq.tokenize(qwq.render(recall(rng, filler=20).messages))
        if len(tokens) >= length:
            texts.append(tokens[:length])
    return texts


def compare(path: Path, texts: Sequence[tuple[int, ...]]) -> tuple[Table, dict[Rope, NDArray[np.float64]]]:
    """Largest and mean difference of logits by stretch of positions, and our losses by position (texts, positions)."""
    table = Table(
        "our logits against transformers float32, f32 KV cache", ["scaling", "positions", "largest difference", "mean difference"]
    )
    found: dict[Rope, NDArray[np.float64]] = {}
    for rope in ROPES:
        model = reference(rope)
        backend = LlamaBackend(path, context_shape(find(str(path)), int(NATIVE * FACTOR), "f32"), rope, 0)
        pairs = [(logits_of(backend, tokens), their_logits(model, tokens)) for tokens in texts]
        backend.close()
        for low, high in pairwise(BORDERS):
            differences = [np.abs(ours[low:high] - theirs[low:high]) for ours, theirs in pairs]
            table.add(rope, f"{low} to {high}", max(float(d.max()) for d in differences), float(np.mean([d.mean() for d in differences])))
        found[rope] = np.array([losses(ours, tokens) for (ours, _), tokens in zip(pairs, texts, strict=True)])
    return table, found


def loss_table(found: dict[Rope, NDArray[np.float64]]) -> Table:
    """Mean loss by stretch of positions; ours takes the scaling that a text of that length gets."""
    table = Table("loss of the next token, nats", ["positions", "native", "YaRN", "ours"])
    for low, high in pairwise(BORDERS):
        means = {rope: float(found[rope][:, low:high].mean()) for rope in ROPES}
        chosen = Reach(NATIVE, int(NATIVE * FACTOR), int(NATIVE * FACTOR), "auto").rope(high - 1)
        table.add(f"{low} to {high}", means["native"], means["yarn"], means[chosen])
    return table


def plot(found: dict[Rope, NDArray[np.float64]], path: Path) -> None:
    """Loss by position, smoothed over 64 positions, as SVG."""
    import matplotlib.pyplot as plt

    plt.rcParams["svg.fonttype"] = "none"
    figure, axis = plt.subplots(figsize=(9, 4.5))
    for rope, colour in zip(ROPES, ("#b23a48", "#2a6f97"), strict=True):
        mean = found[rope].mean(0)
        smooth = np.convolve(mean, np.ones(64) / 64, "valid")
        axis.plot(np.arange(len(smooth)) + 32, smooth, color=colour, label={"native": "native scaling", "yarn": "YaRN"}[rope])
    axis.axvline(NATIVE, color="#777777", linestyle="--", label="where ours switches")
    axis.set_xlabel("position (qwq-nano, 512 tokens native)")
    axis.set_ylabel("loss of the next token, nats")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.tight_layout()
    figure.savefig(path)


def same_short_answers(path: Path, n_questions: int) -> Table:
    """Tokens of short questions where YaRN is within reach, against where it never is."""
    rng = random.Random(11)
    problems = [draw(rng) for _ in range(n_questions)]
    with QwQ.load(str(path), n_ctx=int(NATIVE * FACTOR)) as ours, QwQ.load(str(path), n_ctx=NATIVE, rope="native") as native:
        pairs = [[qwq.chat(p.messages, tools=p.tools, seed=i, max_tokens=200) for qwq in (ours, native)] for i, p in enumerate(problems)]
    equal = sum((a.reasoning, a.content) == (b.reasoning, b.content) for a, b in pairs)
    table = Table("short questions with YaRN within reach, against native only", ["questions", "same answers", "under native scaling"])
    table.add(n_questions, equal, sum(a.rope == "native" for a, _ in pairs))
    return table


@click.command()
@click.option("--texts", "n_texts", default=20, show_default=True)
@click.option("--questions", "n_questions", default=50, show_default=True)
@json_option
@click.option("--plot", "plot_path", type=click.Path(dir_okay=False, path_type=Path))
def main(n_texts: int, n_questions: int, json_path: Path | None, plot_path: Path | None) -> None:
    """All three tables."""
    with tempfile.TemporaryDirectory() as folder:
        path = convert(NANO, Path(folder), ["F32"], ConversionChoices(name="nano")).files[0].path
        with QwQ.load(str(path)) as qwq:
            texts = documents(qwq, n_texts)
        table, found = compare(path, texts)
        table.show(json_path, "logits")
        loss_table(found).show(json_path, "loss")
        same_short_answers(path, n_questions).show(json_path, "short_questions")
    if plot_path:
        plot(found, plot_path)


if __name__ == "__main__":
    main()
