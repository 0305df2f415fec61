"""One conversion, from the source's name to the report."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from qwq_convert.hub import find_source
from qwq_convert.metadata import YarnChoice
from qwq_convert.pipeline import Progress, convert
from qwq_convert.plan import Choices
from qwq_convert.report import to_json, to_lines
from qwq_convert.split import parse_size
from qwq_local.cli.terminal import duration, notice
from qwq_local.errors import SettingsError
from qwq_local.quants import find_quantization


def run(source: str, out_dir: Path, quantizations: tuple[str, ...], *, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - click's
    """Convert, and print the report. `options` are those of `qwq convert`. Raises what finding the source and converting raise."""
    revision = options.pop("revision")
    choices = _choices(**options)
    for quantization in quantizations:
        find_quantization(quantization)  # so that a wrong name is told before a download
    bar = ConversionBar(time.perf_counter())

    def tell(text: str) -> None:
        bar.clear()
        notice(f"notice: {text}")

    try:
        found = find_source(source, revision)
        report = convert(
            found, out_dir, quantizations, choices, progress=lambda progress: bar.update(progress, time.perf_counter()), notice=tell
        )
    except KeyboardInterrupt:
        bar.clear()
        notice("interrupted: the same command goes on from here")
        raise
    finally:
        bar.clear()
    click.echo(json.dumps(to_json(report), ensure_ascii=False) if as_json else "\n".join(to_lines(report)))


def _choices(*, yarn: bool, yarn_factor: float | None, split: str | None, **others: Any) -> Choices:  # noqa: ANN401 - fields of Choices
    if yarn_factor is not None and not yarn:
        raise SettingsError(f"--yarn-factor {yarn_factor:g} contradicts --no-yarn.", hint="Leave one of them out.")
    return Choices(yarn=YarnChoice(yarn, yarn_factor), split_bytes=None if split is None else parse_size(split), **others)


class ConversionBar:
    """One line on a terminal: how far, how fast, and how long still; times are in seconds."""

    PERIOD_SECONDS = 0.2

    def __init__(self, clock: float) -> None:
        self._shown_at = clock
        self._stage = ""
        self._began_at = clock
        self._began_bytes = 0
        self._is_shown = False

    def update(self, progress: Progress, clock: float) -> None:
        """Show it, where standard error is a terminal and the last time is long enough ago."""
        if progress.stage != self._stage:
            self._stage, self._began_at, self._began_bytes = progress.stage, clock, progress.done_bytes
        if clock - self._shown_at < self.PERIOD_SECONDS or not sys.stderr.isatty():
            return
        self._shown_at = clock
        self._is_shown = True
        seconds = clock - self._began_at
        rate = (progress.done_bytes - self._began_bytes) / seconds if seconds > 0 else 0.0
        left = f", {duration((progress.total_bytes - progress.done_bytes) / rate)} left" if rate > 0 else ""
        share = f"{progress.done_bytes / 1e9:.1f} of {progress.total_bytes / 1e9:.1f} GB"
        click.echo(f"\r\x1b[K{progress.stage} {share} at {rate / 1e6:,.0f} MB/s{left}", nl=False, err=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._is_shown:
            click.echo("\r\x1b[K", nl=False, err=True)
            self._is_shown = False
