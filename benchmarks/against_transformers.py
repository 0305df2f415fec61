"""qwq-nano here and in transformers: the same logits, the same greedy tokens, the same accuracy at the default sampling.

    pip install '.[test,reference]'
    python -m benchmarks.against_transformers [--json FILE]
    python -m benchmarks.against_transformers --record tests/data/transformers.json

The checkpoint is converted to F32 first; transformers runs it in float32. torch.manual_seed and our seeds are fixed.
"""

from __future__ import annotations

import json
import random
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM

from benchmarks.grading import answer_text
from benchmarks.logits import logits_of
from benchmarks.options import json_option
from benchmarks.report import Table
from qwq_convert.pipeline import ConversionChoices, convert
from qwq_local import card
from qwq_local.backend import BatchToken
from qwq_local.llama import LlamaBackend
from qwq_local.loading import context_shape
from qwq_local.models.store import find
from qwq_local.runtime import QwQ
from qwq_local.settings import KvType
from tests.checkpoints import NANO
from tests.nano.tasks import Problem, draw

MAX_NEW_TOKENS = 220
RECORDED_CASES = 12


class Reference:
    """transformers on the checkpoint; it only ever sees token ids, so that tokenization is not what is compared."""

    def __init__(self) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(NANO, dtype=torch.float32).eval()
        self.ends = self.model.generation_config.eos_token_id

    def reply(self, prompt: Sequence[int], **options: object) -> list[int]:
        """The tokens that follow a prompt, the end token among them."""
        ids = torch.tensor([list(prompt)])
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of sampling settings that greedy decoding ignores
            out = self.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=MAX_NEW_TOKENS, **options)
        return [int(token) for token in out[0, ids.shape[1] :]]

    def logits(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Logits after every token, one row each."""
        with torch.no_grad():
            result: NDArray[np.float32] = self.model(torch.tensor([list(tokens)])).logits[0].numpy()
        return result


@dataclass(frozen=True)
class Case:
    """A prompt with transformers' greedy reply."""

    prompt: tuple[int, ...]
    reply: list[int]


def recorded(case: Case, reference: Reference) -> dict[str, list[int] | list[float]]:
    """A case as the tests read it; the logits are those after the prompt."""
    logits = [round(float(logit), 5) for logit in reference.logits(case.prompt)[-1]]
    return {"prompt": list(case.prompt), "reply": case.reply, "logits": logits}


def compare_logits(path: Path, cases: Sequence[Case], reference: Reference, kv_type: KvType) -> tuple[float, float, int]:
    """Largest and mean difference over all positions of prompts and replies, and how many next tokens would differ."""
    backend = LlamaBackend(path, context_shape(find(str(path)), kv_type=kv_type), "native", 0)
    largest, total, count, differing = 0.0, 0.0, 0, 0
    for case in cases:
        tokens = [*case.prompt, *case.reply]
        mine, other = logits_of(backend, tokens), reference.logits(tokens)
        difference = np.abs(mine - other)
        largest, total, count = max(largest, float(difference.max())), total + float(difference.sum()), count + difference.size
        differing += int((mine.argmax(1) != other.argmax(1)).sum())
    backend.close()
    return largest, total / count, differing


def greedy_replies(path: Path, cases: Sequence[Case], kv_type: KvType) -> int:
    """How many of our greedy replies have transformers' tokens, all of them."""
    backend = LlamaBackend(path, context_shape(find(str(path)), kv_type=kv_type), "native", 0)
    equal = 0
    for case in cases:
        tokens = list(case.prompt)
        while len(tokens) - len(case.prompt) < MAX_NEW_TOKENS:
            start = 0 if len(tokens) == len(case.prompt) else len(tokens) - 1
            if start == 0:
                backend.truncate(0, 0)
            backend.decode([BatchToken(tokens[i], i, 0, wants_logits=i == len(tokens) - 1) for i in range(start, len(tokens))])
            tokens.append(int(np.argmax(backend.logits(len(tokens) - 1 - start))))
            if tokens[-1] in backend.vocabulary.end_tokens:
                break
        equal += tokens[len(case.prompt) :] == case.reply
    backend.close()
    return equal


def accuracy(problems: Sequence[Problem], answer: Callable[[int, Problem], str]) -> tuple[Counter[str], list[str]]:
    """Problems answered exactly, by task."""
    answers = [answer(i, problem) for i, problem in enumerate(problems)]
    right = [problem.task for problem, given in zip(problems, answers, strict=True) if given.strip() == problem.answer]
    return Counter(right), answers


def reference_answer(reference: Reference, qwq: QwQ, problem: Problem) -> str:
    """What transformers answers at QwQ's sampling, thoughts left out."""
    reply = reference.reply(
        qwq.tokenize(qwq.render(problem.messages, problem.tools)),
        do_sample=True,
        temperature=card.TEMPERATURE,
        top_p=card.TOP_P,
        top_k=card.TOP_K,
    )
    vocabulary = qwq._vocabulary  # noqa: SLF001 - a benchmark may look inside
    end = vocabulary.markers[card.END_THINK]
    answer = reply[reply.index(end) + 1 :] if end in reply else []
    return b"".join(map(vocabulary.piece, answer)).decode("utf-8", "replace")


@click.command()
@click.option("--prompts", default=50, show_default=True, help="Prompts whose logits are compared.")
@click.option("--problems", "n_problems", default=300, show_default=True, help="Problems answered at the default sampling.")
@json_option
@click.option("--record", type=click.Path(dir_okay=False, path_type=Path), help="Only write what the tests compare with.")
def main(prompts: int, n_problems: int, json_path: Path | None, record: Path | None) -> None:
    """Compare with transformers."""
    torch.manual_seed(1)
    reference = Reference()
    rng = random.Random(20_261_124)
    with tempfile.TemporaryDirectory() as folder:
        convert(NANO, Path(folder), ["F32"], ConversionChoices(name="qwq-nano"))
        path = Path(folder) / "qwq-nano-F32.gguf"
        with QwQ.load(str(path), kv_type="f32") as exact, QwQ.load("demo") as demo:
            drawn = [draw(rng) for _ in range(prompts)]
            cases = [Case(p := exact.tokenize(exact.render(d.messages, d.tools)), reference.reply(p, do_sample=False)) for d in drawn]
            if record:
                record.write_text(json.dumps([recorded(case, reference) for case in cases[:RECORDED_CASES]]) + "\n", "utf-8")
                return
            show_logits(path, cases, reference).show(json_path, "logits")
            show_accuracy([draw(rng) for _ in range(n_problems)], reference, exact, demo).show(json_path, "accuracy")


def show_logits(path: Path, cases: Sequence[Case], reference: Reference) -> Table:
    """The table of logits and greedy replies."""
    columns = ["KV cache", "prompts", "same greedy replies", "positions", "other next token", "largest difference", "mean difference"]
    table = Table("F32 weights against transformers float32", columns)
    positions = sum(len(case.prompt) + len(case.reply) for case in cases)
    kv_types: list[KvType] = ["f32", "f16", "q8_0"]
    for kv_type in kv_types:
        largest, mean, differing = compare_logits(path, cases, reference, kv_type)
        table.add(kv_type, len(cases), greedy_replies(path, cases, kv_type), positions, differing, largest, mean)
    return table


def show_accuracy(problems: Sequence[Problem], reference: Reference, exact: QwQ, demo: QwQ) -> Table:
    """The table of right answers by task."""
    systems: dict[str, Callable[[int, Problem], str]] = {
        "demo (Q8_0)": lambda i, p: answer_text(demo.chat(p.messages, tools=p.tools, seed=i)),
        "F32": lambda i, p: answer_text(exact.chat(p.messages, tools=p.tools, seed=i)),
        "transformers": lambda _, p: reference_answer(reference, exact, p),
    }
    right = {name: accuracy(problems, answer)[0] for name, answer in systems.items()}
    table = Table("right answers at temperature 0.6, top_p 0.95, top_k 40", ["task", "problems", *systems])
    for task, count in sorted(Counter(problem.task for problem in problems).items()):
        table.add(task, count, *(right[name][task] / count for name in systems))
    table.add("all", len(problems), *(right[name].total() / len(problems) for name in systems))
    return table


if __name__ == "__main__":
    main()
