"""`qwq bench`: the bench run, its figures printed, and what it teaches offered to the plan."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from qwq_local.bench import BenchListener, BenchReport, BenchSettings, Decoding, Speeds, run_bench
from qwq_local.cli.activity import Activity
from qwq_local.cli.keeping import keep_or_tell
from qwq_local.plan.reasons import gib
from qwq_local.settings import LoadSettings

COLUMNS: Final = (("", 27), ("tokens/s", 8), ("from", 8), ("to", 8), ("limit", 7), ("share", 7), ("plan", 7), ("ratio", 7))
"""The figures of a line, and how wide each is: 79 columns together."""


def bench(load: dict[str, Any], settings: Mapping[str, Any], *, stores: bool | None, as_json: bool) -> None:
    """Measure, print, and let the plan learn from it where that is wanted. Raises what `run_bench` does."""
    wanted, model = BenchSettings(**settings), load.pop("model")
    with Activity() as activity:
        report = run_bench(model, LoadSettings(**load), wanted, BenchListener(activity.begin, activity.update))
    if as_json:
        is_kept = keep_or_tell(report) if stores else False
        click.echo(json.dumps(report_json(report, is_kept=is_kept), ensure_ascii=False))
        return
    click.echo("\n".join(_page(report)))
    if _wants_to_keep(report, stores=stores):
        keep_or_tell(report)


def _wants_to_keep(report: BenchReport, *, stores: bool | None) -> bool:
    if stores is not None or report.why_not_kept or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return bool(stores)
    return click.confirm("Let qwq plan reckon with this from now on?", default=True, err=True)


def _page(report: BenchReport) -> Iterator[str]:
    """For people, as wide as the terminal."""
    placement = report.placement
    layers = f"{placement.gpu_layers} of {placement.all_layers} layers on the GPU" if placement.gpu_layers else "all layers in RAM"
    yield f"{report.file.name}  {layers}, {placement.n_ctx:,} tokens of context in a {placement.kv_type} cache"
    yield from (f"{memory.name:8} {memory.bandwidth / 1e9:,.1f} GB/s, {_source(memory.is_measured)}" for memory in report.memories)
    yield ""
    yield _row(*(name for name, _ in COLUMNS))
    yield _row(f"prefill of {report.prefill.n_tokens:,}", *_speeds(report.prefill))
    yield from (_decoding_row(decoding, report) for decoding in report.decodings)
    yield ""
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    for text in (*_explained(report), *report.notes):
        yield from textwrap.wrap(text, width)


def _explained(report: BenchReport) -> Iterator[str]:
    """What the figures mean."""
    first = report.decodings[0]
    read = ", ".join(
        f"{gib(n_bytes)} of {memory.name}" for n_bytes, memory in zip(first.read_bytes, report.memories, strict=True) if n_bytes
    )
    yield f"To write a token reads {read}."
    if report.is_small:
        yield (
            f"{report.file.name} is too small to say anything about the memory: a part of it sits in the processor's caches. "
            "A model of a few GiB or more does."
        )
    elif report.correction != 1:
        yield f"qwq plan multiplies what it predicts ({_figure(first.predicted)}) with {report.correction:.2f}, as answers here taught."


def _decoding_row(decoding: Decoding, report: BenchReport) -> str:
    speeds = decoding.speeds
    name = f"decode of {speeds.n_tokens:,}" + (f" behind {speeds.depth:,}" if speeds.depth else "")
    compared = ["-"] * 4
    if not report.is_small:
        compared = [_figure(decoding.limit), f"{decoding.share:.0%}", _figure(decoding.predicted), f"{decoding.ratio:.2f}"]
    return _row(name, *_speeds(speeds), *compared)


def _row(*cells: str) -> str:
    first, *others = [f"{cell:>{width}}" for cell, (_, width) in zip(cells, COLUMNS, strict=False)]
    return f"{first.strip():{COLUMNS[0][1]}}" + "".join(others)


def _speeds(speeds: Speeds) -> tuple[str, ...]:
    return tuple(map(_figure, (speeds.median, min(speeds.rounds), max(speeds.rounds))))


def _figure(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _source(is_measured: bool) -> str:
    return "as fast as it was read here" if is_measured else "as its maker says"


def report_json(report: BenchReport, *, is_kept: bool) -> dict[str, Any]:
    """The object that `--json` prints: tokens a second, bytes, seconds; what a small model says nothing about is null."""
    placement = report.placement
    return {
        "model": report.file.name,
        "gpu_layers": placement.gpu_layers,
        "n_ctx": placement.n_ctx,
        "kv_type": placement.kv_type,
        "load_seconds": report.load_seconds,
        "memory": [
            {"name": memory.name, "bytes_per_second": memory.bandwidth, "is_measured": memory.is_measured} for memory in report.memories
        ],
        "prefill": _speeds_json(report.prefill),
        "decode": [_decoding_json(decoding, report) for decoding in report.decodings],
        "is_too_small": report.is_small,
        "correction": report.correction,
        "is_stored": is_kept,
        "why_not_stored": report.why_not_kept or None,
        "notes": list(report.notes),
    }


def _speeds_json(speeds: Speeds) -> dict[str, Any]:
    return {
        "n_tokens": speeds.n_tokens,
        "depth": speeds.depth,
        "tokens_per_second": speeds.median,
        "rounds": list(speeds.rounds),
        "is_disturbed": speeds.is_disturbed,
    }


def _decoding_json(decoding: Decoding, report: BenchReport) -> dict[str, Any]:
    read_bytes = {memory.name: n_bytes for memory, n_bytes in zip(report.memories, decoding.read_bytes, strict=True)}
    compared = {"limit": decoding.limit, "share": decoding.share, "predicted": decoding.predicted, "ratio": decoding.ratio}
    return {
        **_speeds_json(decoding.speeds),
        "bytes_per_token": read_bytes,
        **(dict.fromkeys(compared) if report.is_small else compared),
    }
