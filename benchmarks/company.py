"""64 requests at once, each with its seed, against the same requests alone: do they get the same tokens?

    python -m benchmarks.company [--requests 64] [--json FILE]

qwq-nano in F32 with an f32 KV cache, where only the order of sums can differ; and the demo model, whose Q8_0 weights are multiplied by
other kernels for one token than for many. Where an answer differs, it parts at a draw whose threshold lay between two roundings.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click

from benchmarks.options import json_option
from benchmarks.report import Table
from qwq_convert.pipeline import ConversionChoices, convert
from qwq_local.engine import Answering, Engine, EngineSettings, Event, Finished, Request, Thinking
from qwq_local.llama import ContextShape, LlamaBackend
from qwq_local.models.store import find
from qwq_local.runtime import QwQ
from qwq_local.settings import KvType
from tests.checkpoints import NANO
from tests.nano.tasks import draw

N_CTX = 512


def prompts(model: str, n_requests: int) -> list[tuple[int, ...]]:
    """Token ids of problems of all tasks."""
    rng = random.Random(23)
    with QwQ.load(model) as qwq:
        return [qwq.tokenize(qwq.render(problem.messages, problem.tools)) for problem in (draw(rng) for _ in range(n_requests))]


def answers(path: Path, asked: Sequence[tuple[int, ...]], kv_type: KvType, n_parallel: int) -> tuple[list[tuple[str, str]], int]:
    """Thought and answer of each, and how many tokens they have."""
    shape = ContextShape(N_CTX, 512, len(asked), 2, kv_type, 4.0, N_CTX, N_CTX * len(asked))
    with closing(LlamaBackend(path, shape, "native", 0)) as backend:
        engine = Engine(backend, EngineSettings(n_parallel=n_parallel))
        events: dict[int, list[Event]] = {
            engine.submit(Request(prompt, N_CTX, seed=seed, max_tokens=300)): [] for seed, prompt in enumerate(asked)
        }
        while not engine.is_idle:
            for job_id, event in engine.step():
                events[job_id].append(event)
    ends = [found[-1] for found in events.values()]
    return [texts(found) for found in events.values()], sum(end.usage.completion_tokens for end in ends if isinstance(end, Finished))


def texts(events: Sequence[Event]) -> tuple[str, str]:
    """Thought and answer."""
    thought = "".join(event.text for event in events if isinstance(event, Thinking))
    return thought, "".join(event.text for event in events if isinstance(event, Answering))


@click.command()
@click.option("--requests", "n_requests", default=64, show_default=True)
@json_option
def main(n_requests: int, json_path: Path | None) -> None:
    """Compare both models."""
    table = Table("together against alone", ["weights, KV cache", "requests", "tokens", "same answers"])
    with tempfile.TemporaryDirectory() as folder:
        exact = convert(NANO, Path(folder), ["F32"], ConversionChoices(name="nano")).files[0].path
        models: list[tuple[str, Path, KvType]] = [("F32, f32", exact, "f32"), ("Q8_0, f16", find("demo").path, "f16")]
        for name, path, kv_type in models:
            asked = prompts(str(path), n_requests)
            alone, n_tokens = answers(path, asked, kv_type, 1)
            together, _ = answers(path, asked, kv_type, n_requests)
            table.add(name, n_requests, n_tokens, sum(a == b for a, b in zip(alone, together, strict=True)))
    table.show(json_path)


if __name__ == "__main__":
    main()
