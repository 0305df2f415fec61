"""One conversion, from the source's name to the report."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from qwq_convert.hub import find_source
from qwq_convert.metadata import YarnChoice
from qwq_convert.pipeline import ConversionChoices, ConversionProgress, convert
from qwq_convert.report import to_json, to_lines
from qwq_convert.split import parse_size
from qwq_local.cli.transfer import TransferBar
from qwq_local.errors import SettingsError
from qwq_local.quants import find_quantization


def run(source: str, out_dir: Path, quantizations: tuple[str, ...], *, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - click's
    """Convert, and print the report. `options` are those of `qwq convert`. Raises what finding the source and converting raise."""
    revision = options.pop("revision")
    choices = _choices(**options)
    for quantization in quantizations:
        find_quantization(quantization)  # so that a wrong name is told before a download
    bar = TransferBar(time.perf_counter())

    def show(progress: ConversionProgress) -> None:
        bar.update(progress.stage, progress.done_bytes, progress.total_bytes, time.perf_counter())

    with bar.resumable():
        found = find_source(source, revision)
        report = convert(found, out_dir, quantizations, choices, progress=show, notice=bar.say)
    click.echo(json.dumps(to_json(report), ensure_ascii=False) if as_json else "\n".join(to_lines(report)))


def _choices(*, yarn: bool, yarn_factor: float | None, split: str | None, **others: Any) -> ConversionChoices:  # noqa: ANN401 - fields of ConversionChoices
    if yarn_factor is not None and not yarn:
        raise SettingsError(f"--yarn-factor {yarn_factor:g} contradicts --no-yarn.", hint="Leave one of them out.")
    return ConversionChoices(yarn=YarnChoice(yarn, yarn_factor), split_bytes=None if split is None else parse_size(split), **others)
