"""A report for the terminal (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from qwq_local.evaluation.report import Comparison, Report, RunReport
from qwq_local.evaluation.statistics import Share, Summary

NAME_WIDTH: Final = 20
HEADS: Final = ("right", "95 % interval", "cons@k", "thought", "answer", "cut off", "repeats", "no answer")
WIDTHS: Final = (9, 16, 9, 9, 9, 9, 9, 11)
LEAST_P: Final = 1e-4


def page_of(report: Report) -> Iterator[str]:
    """Lines, without an end of line: a table for each set of questions, then each comparison in a sentence.

    The table has a row for each model, or for each group where there is one model only.
    """
    by_digest: dict[str, list[RunReport]] = {}
    for run in report.runs:
        by_digest.setdefault(run.head.digest, []).append(run)
    for runs in by_digest.values():
        yield from _alone(runs[0]) if len(runs) == 1 else _together(runs)
        yield ""
    for comparison in report.comparisons:
        yield sentence_of(report, comparison)
    for run in report.runs:
        yield f"Kept: {run.path}"


def _alone(run: RunReport) -> Iterator[str]:
    yield _printable(f"{run.head.model}{_size(run)} on {run.head.tasks}: {_questions(run)}")
    yield _columns()
    yield _row("all", run.summary)
    for name, group in run.groups.items():
        yield _row(_printable(name) or "(no group)", group)
    yield from _warnings(run)


def _together(runs: Sequence[RunReport]) -> Iterator[str]:
    yield _printable(f"{runs[0].head.tasks}: {_questions(runs[0])}")
    yield _columns()
    for run in runs:
        yield _row(_printable(run.head.model), run.summary)
    for run in runs:
        yield from _warnings(run)


def _warnings(run: RunReport) -> Iterator[str]:
    if run.n_missing:
        yield _printable(f"{run.head.model} was stopped: {run.n_missing} answers are missing. The same command goes on with it.")
    if failed := run.summary.failed:
        why = next(sample.why for sample in run.samples if sample.ending == "error")
        yield _printable(f"{run.head.model}: {failed:.1%} could not be asked: {why}")


def _questions(run: RunReport) -> str:
    n_samples = run.head.settings.n_samples
    return f"{run.summary.n_questions} questions" + (f", {n_samples} answers each" if n_samples > 1 else "")


def _size(run: RunReport) -> str:
    return f", {size_of(run.head.model_bytes)}" if run.head.model_bytes else ""


def _columns() -> str:
    return f"{'':{NAME_WIDTH}}" + "".join(f"{head:>{width}}" for head, width in zip(HEADS, WIDTHS, strict=True))


def _row(name: str, summary: Summary) -> str:
    cells = (
        percent(summary.pass_at_1.value),
        interval(summary.pass_at_1),
        percent(summary.consensus.value),
        f"{summary.reasoning_tokens:,.0f}",
        f"{summary.completion_tokens - summary.reasoning_tokens:,.0f}",
        percent(summary.truncated),
        percent(summary.repeated),
        percent(summary.without_answer),
    )
    shown = name if len(name) < NAME_WIDTH else name[: NAME_WIDTH - 2] + "…"
    return f"{shown:{NAME_WIDTH}}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))


def sentence_of(report: Report, comparison: Comparison) -> str:
    """Two runs, question by question, in words."""
    first, second = report.runs[comparison.first].head, report.runs[comparison.second].head
    paired = comparison.paired
    points, low, high = (100 * value for value in (paired.difference.value, paired.difference.low, paired.difference.high))
    chance = f"p = {paired.p_value:.2g}" if paired.p_value >= LEAST_P else f"p < {LEAST_P:g}"
    verdict = "a difference beyond chance" if paired.p_value < 0.05 else "no difference beyond chance"
    return _printable(
        f"{second.model} against {first.model} on {first.tasks}: {points:+.1f} points ({low:+.1f} to {high:+.1f}), "
        f"better at {paired.n_better} and worse at {paired.n_worse} of {paired.n_questions} questions, {chance}: {verdict}."
    )


def size_of(n_bytes: int) -> str:
    """In gigabytes, or in megabytes where it is less than one."""
    return f"{n_bytes / 1e9:.3g} GB" if n_bytes >= 10**9 else f"{n_bytes / 1e6:.3g} MB"


def percent(share: float) -> str:
    """One digit behind the point."""
    return f"{100 * share:.1f} %"


def interval(share: Share) -> str:
    """Its ends."""
    return f"{100 * share.low:.1f} - {100 * share.high:.1f}"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
