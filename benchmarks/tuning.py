"""What `qwq tune` finds on this machine for a synthetic model, and what of llama.cpp's surroundings it leaves alone.

    python -m benchmarks.tuning [--shape 1.5B] [--quant Q4_K_M] [--seconds 120] [--rounds 3] [--json FILE]

The first table is the tuning. The second compares how a process is started, each way in processes of its own and by turns, alone and beside
a second one that does the same: OpenMP's waiting threads spin more or less often before they sleep (by itself 300,000 times), are bound to
cores, and weights lie in huge pages. Nothing else may run meanwhile. "times" are medians of a round's speed / that of the first line in the
same round.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final, TypeAlias

import click

from benchmarks.options import json_option
from benchmarks.report import Table
from benchmarks.synthetic import SHAPES, write_model
from qwq_local.llama import InterruptSwitch, LlamaModel
from qwq_local.loading import context_shape
from qwq_local.models.store import find
from qwq_local.settings import LoadSettings
from qwq_local.tune import ASPECTS, Aspect, TuneListener, run_tune
from qwq_local.tune.trials import Trials
from qwq_local.tuning import UNTUNED, Tuning, told

ANY_TOKENS: Final = 400
TRIAL_SECONDS: Final = 30.0
"""Whose shares one trial takes (`trials.WRITING_SHARE`)."""
N_TRIALS: Final = 3

Rates: TypeAlias = dict[Aspect, float]
START: Final[dict[str, tuple[dict[str, str], Tuning]]] = {
    "as it is": ({}, UNTUNED),
    "once more": ({}, UNTUNED),
    **{f"threads spin {n:,} times": ({"GOMP_SPINCOUNT": str(n)}, UNTUNED) for n in (0, 10_000, 100_000, 300_000)},
    "threads bound to cores": ({"OMP_PROC_BIND": "true"}, UNTUNED),
    "weights copied": ({}, Tuning(is_mapped=False)),
    "weights copied, huge pages": ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}, Tuning(is_mapped=False)),
}
"""Environment and tuning of each way to start."""


def time_trials(path: Path, tuning: Tuning) -> Rates:
    """Tokens a second by the median of some trials, in this process."""
    file = find(str(path))

    def load(wanted: Tuning) -> LlamaModel:
        return LlamaModel(path, 0, tuning=wanted)

    with closing(Trials(load, context_shape(file, 4096), InterruptSwitch(), ANY_TOKENS)) as trials:
        trials.fit_into(TRIAL_SECONDS)
        rounds = [{aspect: trials.measure(tuning, aspect) for aspect in ASPECTS} for _ in range(N_TRIALS)]
    return {aspect: statistics.median(each[aspect] for each in rounds) for aspect in ASPECTS}


def time_apart(path: Path, environment: Mapping[str, str], tuning: Tuning, n_processes: int) -> Rates:
    """The mean of so many processes that do so at once."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        with ProcessPoolExecutor(n_processes, get_context("spawn")) as apart:
            found = list(apart.map(partial(time_trials, tuning=tuning), [path] * n_processes))
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
    return {aspect: statistics.mean(each[aspect] for each in found) for aspect in ASPECTS}


def show_tuning(path: Path, seconds: float, json_path: Path | None) -> None:
    """What was tried, and what came of it."""
    report = run_tune(str(path), LoadSettings(n_ctx=4096), seconds, TuneListener())
    table = Table(f"times as fast as before, best: {told(report.best) or 'as it is'}", ["change", *ASPECTS, "verdict"])
    for tried in report.tried:
        table.add(f"{tried.setting} {tried.value}", *(tried.gains.get(aspect, "") for aspect in ASPECTS), tried.verdict)
    if report.last:
        table.add("all that was taken", *(report.last.gains[aspect] for aspect in ASPECTS), "")
    table.add("tokens/s untuned", *(report.rates[aspect] for aspect in ASPECTS), report.why_not_kept)
    for kv_type, rates in report.cache_types.items():
        table.add(f"tokens/s with a cache of {kv_type}", *(rates[aspect] for aspect in ASPECTS), "")
    table.show(json_path, "tuning")


def show_starts(path: Path, rounds: int, json_path: Path | None) -> None:
    """Each way to start, alone and in company."""
    columns = [f"{aspect}, {company}" for company in ("alone", "beside another") for aspect in ASPECTS]
    table = Table("times as fast as it is", ["start", *columns])
    found: dict[str, list[list[float]]] = {name: [] for name in START}
    for _ in range(rounds):
        for name, (environment, tuning) in START.items():
            both = [time_apart(path, environment, tuning, n_processes) for n_processes in (1, 2)]
            found[name].append([rates[aspect] for rates in both for aspect in ASPECTS])
    first = next(iter(START))
    for name, rates in found.items():
        pairs = [[after / before for before, after in zip(*each, strict=True)] for each in zip(found[first], rates, strict=True)]
        table.add(name, *(statistics.median(ratios) for ratios in zip(*pairs, strict=True)))
    table.add("tokens/s as it is", *(statistics.median(column) for column in zip(*found[first], strict=True)))
    table.show(json_path, "starts")


@click.command()
@click.option("--shape", type=click.Choice(sorted(SHAPES)), default="1.5B", show_default=True)
@click.option("--quant", "quantization", default="Q4_K_M", show_default=True)
@click.option("--seconds", default=120.0, show_default=True, help="For the tuning.")
@click.option("--rounds", default=3, show_default=True, help="Of the second table; 0 leaves it out.")
@json_option
def main(shape: str, quantization: str, seconds: float, rounds: int, json_path: Path | None) -> None:
    """Make the model, tune it, start it in several ways."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["QWQ_DATA"] = folder  # what is found here is not for the loads of whoever runs this
        path = Path(folder) / f"{shape}-{quantization}.gguf"
        write_model(path, SHAPES[shape], quantization)
        show_tuning(path, seconds, json_path)
        if rounds:
            show_starts(path, rounds, json_path)


if __name__ == "__main__":
    main()
