"""`qwq tune`: the tuning run, its figures printed, and what was found kept; what was kept listed, and taken back."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from qwq_local.cli.activity import Activity
from qwq_local.cli.keeping import keep_or_tell
from qwq_local.cli.terminal import notice, one_line
from qwq_local.configuration import find_folders
from qwq_local.errors import StoreError
from qwq_local.machine import tuned
from qwq_local.machine.tuned import Kept
from qwq_local.models.store import find_local
from qwq_local.settings import LoadSettings
from qwq_local.survey import known_machine, see_devices, what_computes
from qwq_local.tune import ASPECTS, MOST_PREFILL, N_TOGETHER, Aspect, Tried, TuneListener, TuneReport, run_tune
from qwq_local.tuning import NAMES, UNTUNED, shown, told

NAME_WIDTH, FIGURE_WIDTH = 30, 11
HEADS: Final[Mapping[Aspect, str]] = {"decode": "decode", "together": f"{N_TOGETHER} at once", "prefill": "prefill"}


def tune(load: dict[str, Any], seconds: float, *, stores: bool, as_json: bool) -> None:
    """Measure, print, and keep what was found where that is wanted. Raises what `run_tune` does."""
    model = load.pop("model")
    with Activity() as activity:
        report = run_tune(model, LoadSettings(**load), seconds, TuneListener(activity.begin, activity.update))
    is_kept = keep_or_tell(report) if stores else False
    if as_json:
        click.echo(json.dumps(report_json(report, is_kept=is_kept), ensure_ascii=False))
    else:
        click.echo("\n".join(_page(report, is_kept=is_kept)))


def show(*, as_json: bool) -> None:
    """List what was tuned; what is kept for another machine, or another build of llama.cpp, is marked."""
    kept = tuned.read(find_folders().cache)
    if kept.problem:
        notice(f"notice: {kept.problem}")
    here = what_computes(known_machine(see_devices()[0])[0]) if kept.entries else ""
    if as_json:
        click.echo(json.dumps({"tuned": [_kept_json(each, here) for each in kept.entries]}, ensure_ascii=False))
        return
    for each in kept.entries:
        where = "" if each.key.machine == here else "  (for another machine, or another llama.cpp)"
        gains = ", ".join(f"{HEADS[name]} {gain:.2f}" for name, gain in each.gains.items() if name in HEADS)  # type: ignore[index]
        click.echo(f"{one_line(each.key.file_name)}  {one_line(each.date)}  {told(each.tuning) or 'as by default'}{where}")
        if gains:
            click.echo(f"    times as fast: {gains}")
    if not kept.entries:
        click.echo("Nothing was tuned on this machine yet: qwq tune", err=True)


def forget(model: str | None, *, as_json: bool) -> None:
    """Take back what was tuned of one model, or of all. Raises ModelNotFoundError, and StoreError where the folder cannot be written."""
    name = None if model is None else find_local(model).path.name
    folder = find_folders().cache
    try:
        n_forgotten = tuned.forget(folder, lambda kept: name in {None, kept.key.file_name})
    except OSError as error:
        raise StoreError(f"{folder / tuned.FILE_NAME} cannot be written: {error.strerror}.", hint="Check the folder: qwq doctor") from error
    if as_json:
        click.echo(json.dumps({"n_forgotten": n_forgotten}))
    else:
        click.echo(f"{n_forgotten} taken back." if n_forgotten else "There was nothing to take back.", err=True)


def _page(report: TuneReport, *, is_kept: bool) -> Iterator[str]:
    """For people, as wide as the terminal."""
    placement, sizes = report.plan.placement, report.sizes
    layers = f"{placement.gpu_layers} of {placement.all_layers} layers on the GPU" if placement.gpu_layers else "all layers in RAM"
    yield f"{report.plan.file.name}  {layers}, {placement.kv_type} cache, {sizes.n_decode} tokens written behind {sizes.n_prefill} read"
    yield ""
    yield _row("tokens/s", *HEADS.values())
    yield _row("untuned", *(_figure(report.rates[aspect]) for aspect in ASPECTS))
    if report.last:
        yield _row("tuned", *(_figure(report.last.rates[aspect][1]) for aspect in ASPECTS))
    for kv_type, rates in report.cache_types.items():
        yield _row(f"  with a cache of {kv_type}", *(_figure(rates[aspect]) for aspect in ASPECTS))
    yield ""
    yield _row("times as fast", *HEADS.values())
    for tried in report.tried:
        if tried.gains:
            yield _row(_name(tried), *_gains(tried.gains), tried.verdict)
    if report.last:
        yield _row("all that was taken, again", *_gains(report.last.gains))
    yield ""
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    for text in _explained(report, is_kept=is_kept):
        yield from textwrap.wrap(text, width)


def _explained(report: TuneReport, *, is_kept: bool) -> Iterator[str]:
    """What came of it, and what was not tried."""
    if report.best != UNTUNED:
        changed = report.best.changes.items()
        changes = ", ".join(f"{NAMES[name]} {shown(value)} instead of {shown(getattr(UNTUNED, name))}" for name, value in changed)
        yield f"Best here: {changes}." + (" Every later load of this file uses it." if is_kept else "")
    elif report.last:
        yield "What was taken did not stand the last comparison: it runs best as it is."
    else:
        yield "Nothing makes it faster beyond doubt: it runs best as it is."
    if report.is_small:
        yield f"{report.plan.file.name} is too small to say anything about larger ones: a part of it sits in the processor's caches."
    yield from (f"Not tried: {_name(tried)}, since {tried.why}." for tried in report.tried if tried.verdict == "refused")
    if late := [_name(tried) for tried in report.tried if tried.verdict == "not reached"]:
        yield f"There was no time for: {', '.join(late)}."
    if late or report.sizes.n_prefill < MOST_PREFILL:
        yield "More --seconds get to more, with longer prompts."
    if report.cache_types:
        yield "Another number format of the cache changes what is computed, and is yours to choose: --kv-type."
    yield from report.notes


def _name(tried: Tried) -> str:
    """What was changed, and to what, where that is known."""
    return NAMES[tried.setting] + ("" if tried.value is None else f" {shown(tried.value)}")


def _row(*cells: str) -> str:
    first, *others = cells
    return f"{first:{NAME_WIDTH}}" + "".join(f"{cell:>{FIGURE_WIDTH}}" for cell in others)


def _gains(gains: Mapping[Aspect, float]) -> tuple[str, ...]:
    return tuple(f"{gains[aspect]:.2f}" if aspect in gains else "-" for aspect in ASPECTS)


def _figure(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def report_json(report: TuneReport, *, is_kept: bool) -> dict[str, Any]:
    """The object that `--json` prints: tokens a second, times as fast, seconds; `best` holds what differs from the defaults."""
    return {
        "model": report.plan.file.name,
        "gpu_layers": report.plan.placement.gpu_layers,
        "kv_type": report.plan.placement.kv_type,
        "n_prefill": report.sizes.n_prefill,
        "n_decode": report.sizes.n_decode,
        "seconds": report.seconds,
        "tokens_per_second": dict(report.rates),
        "best": report.best.changes,
        "gains": report.last.gains if report.last else None,
        "pairs": {aspect: list(ratios) for aspect, ratios in report.last.ratios.items()} if report.last else None,
        "cache_types": {kv_type: dict(rates) for kv_type, rates in report.cache_types.items()},
        "tried": [
            {"setting": tried.setting, "value": tried.value, "verdict": tried.verdict, "gains": dict(tried.gains), "why": tried.why or None}
            for tried in report.tried
        ],
        "is_too_small": report.is_small,
        "is_stored": is_kept,
        "why_not_stored": report.why_not_kept or None,
        "notes": list(report.notes),
    }


def _kept_json(kept: Kept, here: str) -> dict[str, Any]:
    key = kept.key
    return {
        "file_name": key.file_name,
        "file_bytes": key.file_bytes,
        "kind": key.kind,
        "is_for_this_machine": key.machine == here,
        "tuning": kept.tuning.changes,
        "gains": dict(kept.gains),
        "date": kept.date,
    }
