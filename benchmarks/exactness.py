"""Does speculation leave the answers' distribution, the greedy answers, and the answers of a seed as they are?

    python -m benchmarks.exactness [--samples 20000] [--answers 100] [--quant Q8_0] [--json FILE]

On qwq-nano, guessed for by n-grams, and by n-grams and a draft model (nano in Q2_K). The first tokens after a few prompts are drawn again
and again, with new seeds for each way of guessing, and counted; a chi-square test tells how probable it is that counts of one distribution
are as far apart. Then whole answers, greedy and with the same seeds: some may differ, since the width of a batch changes how sums are
rounded, and so where a draw falls (`benchmarks.company` counts the same without guesses).
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.deep_nano import problems_of
from benchmarks.guessing import Guesses, open_worker, prompts_of, raw_request, tokens_of, write_nano, written
from benchmarks.options import json_option
from benchmarks.report import Table
from qwq_local.settings import Sampling
from qwq_local.worker import Worker

N_CTX: Final = 512
N_PARALLEL: Final = 8
N_FIRST_TOKENS: Final = 6
N_ANSWER_TOKENS: Final = 200
TEMPERATURES: Final = (0.6, 1.0)
BEGINNINGS: Final = (
    "one, two, three, one, two, three, one, two,",
    "Use the tool to add 12 and 13. Use the tool to add 12 and",
    "7 + 5 + 0 = 12, write 2\n7 + 5 + 1 = 13, write 3\n7 + 5 +",
    "Spell it: b, a 1, n, a 2, n, a",
)
"""Unlike what nano was trained on, so that it is unsure; and repeating themselves, so that there is something to guess."""
LEAST_EXPECTED: Final = 5
"""Of each sample in each bin: rarer continuations share one (Cochran, Biometrics 10, 1954)."""
N_SHUFFLES: Final = 10_000

Counts: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class ChiSquare:
    """A test's statistic, its degrees of freedom, and the probability that it is as large or larger for one distribution."""

    statistic: float
    freedom: int
    p_value: float


def compare(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> ChiSquare:
    """Pearson's test for the samples of each pair, which are as large as each other, and all pairs together.

    The p-value is found by permutation: how often samples dealt at random from both together are as far apart.
    """
    rng = np.random.default_rng(0)
    statistic, shuffled, freedom = 0.0, np.zeros(N_SHUFFLES), 0
    for one, other in pairs:
        counts = binned(Counter(one), Counter(other))
        both = counts.sum(0)
        statistic += float(distances(counts[:1], both)[0])
        shuffled += distances(rng.multivariate_hypergeometric(both, len(one), N_SHUFFLES), both)
        freedom += len(both) - 1
    n_as_far = int((shuffled >= statistic * (1 - 1e-9)).sum())  # the last bits of two equal sums may differ
    return ChiSquare(statistic, freedom, (1 + n_as_far) / (1 + N_SHUFFLES))


def binned(one: Counter[str], other: Counter[str]) -> Counts:
    """Counts, (samples, bins): what is too rare to be compared shares a bin."""
    both = one + other
    frequent = [text for text, count in both.items() if count >= 2 * LEAST_EXPECTED]
    rows = [[sample[text] for text in frequent] for sample in (one, other)]
    rest = [sample.total() - sum(row) for sample, row in zip((one, other), rows, strict=True)]
    return np.array([[*row, left] for row, left in zip(rows, rest, strict=True)] if any(rest) else rows)


def distances(counts: Counts, both: Counts) -> NDArray[np.float64]:
    """Pearson's statistic for each row of `counts`, (rows, bins), of one sample; the other has what is left of `both`, (bins,)."""
    expected = both / 2
    return np.asarray(2 * ((counts - expected) ** 2 / expected).sum(1))


def draw(
    worker: Worker, prompts: Sequence[tuple[int, ...]], seeds: range, sampling: Sampling, n_tokens: int
) -> tuple[list[list[str]], Guesses]:
    """For each prompt its continuations with all seeds, N_PARALLEL of them at once; and what was guessed of them."""
    texts, guesses = [], Guesses(0, 0, 0, 0.0)
    for prompt in prompts:
        found = []
        for start in range(seeds.start, seeds.stop, N_PARALLEL):
            some = range(start, min(start + N_PARALLEL, seeds.stop))
            streams = [worker.submit(raw_request(prompt, N_CTX, n_tokens, seed, sampling)) for seed in some]
            for text, guessed in map(written, streams):
                found.append(text)
                guesses += guessed
        texts.append(found)
    return texts, guesses


def distributions(workers: dict[str, Worker], n_samples: int) -> Table:
    """A row for each temperature and way of guessing, compared with none; none is compared with itself, under other seeds."""
    columns = ["temperature", "guesses", "samples", "continuations", "chi-square", "degrees", "p", "guessed", "right"]
    table = Table(f"the first {N_FIRST_TOKENS} tokens after {len(BEGINNINGS)} prompts, against those without guesses", columns)
    prompts, n_seeds = tokens_of(BEGINNINGS), n_samples // len(BEGINNINGS)
    for temperature in TEMPERATURES:
        sampling = Sampling(temperature=temperature)
        base, _ = draw(workers["none"], prompts, range(n_seeds), sampling, N_FIRST_TOKENS)
        for number, (name, worker) in enumerate(workers.items(), start=1):
            texts, guesses = draw(worker, prompts, range(number * n_seeds, (number + 1) * n_seeds), sampling, N_FIRST_TOKENS)
            found = compare(list(zip(base, texts, strict=True)))
            n_kinds = sum(len(set(each)) for each in texts)
            table.add(
                temperature, name, n_seeds * len(prompts), n_kinds, found.statistic, found.freedom, found.p_value, guesses.n_drafted,
                guesses.acceptance,
            )  # fmt: skip
    return table


def same_answers(workers: dict[str, Worker], n_answers: int) -> Table:
    """How many answers to nano's problems are the same as without guesses: greedy, and by seed at QwQ's own sampling."""
    table = Table(f"answers of up to {N_ANSWER_TOKENS} tokens, the same as without guesses", ["drawn", "guesses", "same", "of", "right"])
    prompts = prompts_of(problems_of(n_answers))
    for drawn, sampling in (("greedy", Sampling(temperature=0.0)), ("with the same seed", Sampling())):
        base, _ = draw(workers["none"], prompts, range(1), sampling, N_ANSWER_TOKENS)
        for name, worker in list(workers.items())[1:]:
            texts, guesses = draw(worker, prompts, range(1), sampling, N_ANSWER_TOKENS)
            n_same = sum(a == b for a, b in zip(base, texts, strict=True))
            table.add(drawn, name, n_same, n_answers, guesses.acceptance)
    return table


@click.command()
@click.option("--samples", "n_samples", default=20_000, show_default=True, help="Continuations for each temperature and way of guessing.")
@click.option("--answers", "n_answers", default=100, show_default=True)
@click.option("--quant", "quantization", default="Q8_0", show_default=True, help="Of the model that is guessed for.")
@json_option
def main(n_samples: int, n_answers: int, quantization: str, json_path: Path | None) -> None:
    """Draw with each way of guessing, and compare."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path, draft = write_nano(folder, quantization), write_nano(folder, "Q2_K")
        ways = {"none": (False, None), "n-grams": (True, None), "n-grams, draft model": (True, draft)}
        workers = {
            name: stack.enter_context(closing(open_worker(path, N_CTX, with_draft, speculates=speculates, n_parallel=N_PARALLEL)))
            for name, (speculates, with_draft) in ways.items()
        }
        distributions(workers, n_samples).show(json_path, "distributions")
        same_answers(workers, n_answers).show(json_path, "answers")


if __name__ == "__main__":
    main()
