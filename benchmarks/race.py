"""A race of 3 against one sample, and a vote of 5 against one: time to the answer, right answers, and tokens spent.

    python -m benchmarks.race [--model demo] [--problems 200] [--temperature 1] [--json FILE]

The problems are nano's, drawn anew; --model takes any file that behaves as nano does, such as a heavier one. Each problem is asked in every
way, one way after the other, in an order that is drawn for each, so that what the machine does beside slows all of them alike. Ratios are
to one sample at the same temperature: of the medians, and of the means. Intervals are those of 95 %.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from benchmarks.grading import is_right, wilson
from benchmarks.options import json_option
from benchmarks.report import Table
from qwq_local import QwQ, card
from tests.nano.tasks import Problem, draw

TASKS: Final = dict.fromkeys(("addition", "choice", "compare", "letters"), 1.0)
"""Those without tools, which are not raced for."""
N_SAMPLES: Final = {"race": 3, "vote": 5}
MAX_TOKENS: Final = 400


@dataclass
class Way:
    """A way to ask, and what came of it, an entry for each problem."""

    name: str
    temperature: float
    options: dict[str, Any]
    seconds: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    answer_tokens: list[int] = field(default_factory=list)
    spent_tokens: list[int] = field(default_factory=list)

    def ask(self, qwq: QwQ, problem: Problem, seed: int) -> None:
        """Ask it once."""
        started_at = time.perf_counter()
        reply = qwq.chat(problem.messages, seed=seed, temperature=self.temperature, max_tokens=MAX_TOKENS, **self.options)
        self.seconds.append(time.perf_counter() - started_at)
        self.right.append(is_right(reply, problem))
        self.answer_tokens.append(reply.usage.completion_tokens)
        self.spent_tokens.append(reply.race.completion_tokens if reply.race else reply.usage.completion_tokens)


def ask_all(qwq: QwQ, ways: Sequence[Way], n_problems: int) -> None:
    """Ask every problem in every way."""
    rng = random.Random(41)
    for way in ways:
        qwq.chat("What is 47 + 85?", seed=0, max_tokens=5, **way.options)  # the first batch of a width is slower
    for number in range(n_problems):
        problem = draw(rng, TASKS)
        for way in rng.sample(ways, len(ways)):
            way.ask(qwq, problem, seed=100 * number)


def tell(ways: Sequence[Way], json_path: Path | None) -> None:
    """Print what came of them."""
    columns = ["way", "answers", "right", "from", "to", "median s", "mean s", "ratio, medians", "ratio, means", "tokens", "tokens spent"]
    table = Table("race and vote", columns)
    for way in ways:
        alone = next(each for each in ways if each.temperature == way.temperature and not each.options)
        median, mean = statistics.median(way.seconds), statistics.fmean(way.seconds)
        ratios = median / statistics.median(alone.seconds), mean / statistics.fmean(alone.seconds)
        n_right, n_all = sum(way.right), len(way.right)
        tokens = statistics.fmean(way.answer_tokens), statistics.fmean(way.spent_tokens)
        name = f"{way.name}, temperature {way.temperature:g}"
        table.add(name, n_all, n_right / n_all, *wilson(n_right, n_all), median, mean, *ratios, *tokens)
    table.show(json_path)


@click.command()
@click.option("--model", default="demo", show_default=True, help="A model that answers nano's problems.")
@click.option("--problems", "n_problems", default=200, show_default=True)
@click.option("--temperature", default=1.0, show_default=True, help="For the vote, and for the one sample that it is compared with.")
@json_option
def main(model: str, n_problems: int, temperature: float, json_path: Path | None) -> None:
    """Ask and tell."""
    ways = [
        Way("one", card.TEMPERATURE, {}),
        Way("race of 3", card.TEMPERATURE, {"race": N_SAMPLES["race"]}),
        Way("one", temperature, {}),
        Way("vote of 5", temperature, {"vote": N_SAMPLES["vote"]}),
    ]
    with QwQ.load(model, n_parallel=max(N_SAMPLES.values()), reads_ahead=False) as qwq:
        ask_all(qwq, ways, n_problems)
    tell(ways, json_path)


if __name__ == "__main__":
    main()
