"""A report for the terminal (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from qwq_local.evaluation.report import Comparison, Report, RunReport
from qwq_local.evaluation.statistics import Share, Summary

NAME_WIDTH: Final = 20
HEADS: Final = ("right", "95 % interval", "cons@k", "thought", "answer", "cut off", "repeats", "no answer")
WIDTHS: Final = (9, 16, 9, 9, 9, 9, 9, 11)
LEAST_P: Final = 1e-4


def page_of(report: Report) -> Iterator[str]:
    """Lines, without an end of line: a table for each run, then each comparison in a sentence."""
    for run in report.runs:
        yield from _table(run)
        yield ""
    for comparison in report.comparisons:
        yield sentence_of(report, comparison)
    for run in report.runs:
        yield f"Kept: {run.path}"


def _table(run: RunReport) -> Iterator[str]:
    summary, head = run.summary, run.head
    size = f", {head.model_bytes / 1e9:.3g} GB" if head.model_bytes else ""
    each = f", {head.settings.n_samples} answers each" if head.settings.n_samples > 1 else ""
    yield _printable(f"{head.model}{size} on {head.tasks}: {summary.n_questions} questions{each}")
    if run.n_missing:
        yield f"It was stopped: {run.n_missing} answers are missing. The same command goes on with it."
    yield f"{'':{NAME_WIDTH}}" + "".join(f"{head:>{width}}" for head, width in zip(HEADS, WIDTHS, strict=True))
    yield _row("all", summary)
    for name, group in run.groups.items():
        yield _row(_printable(name) or "(no group)", group)
    if summary.failed:
        why = next(sample.why for sample in run.samples if sample.ending == "error")
        yield _printable(f"{summary.failed:.1%} could not be asked: {why}")


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


def percent(share: float) -> str:
    """One digit behind the point."""
    return f"{100 * share:.1f} %"


def interval(share: Share) -> str:
    """Its ends."""
    return f"{100 * share.low:.1f} - {100 * share.high:.1f}"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
