"""`python -m qwq_convert SOURCE --out DIR --quant Q8_0`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from qwq_convert.metadata import YarnChoice
from qwq_convert.pipeline import Choices, convert
from qwq_local.errors import QwqError
from qwq_local.quants import QUANTIZATIONS


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", "out_dir", type=click.Path(path_type=Path), required=True, help="Folder for the files.")
@click.option("--quant", "quantizations", multiple=True, required=True, help=f"Of {', '.join(QUANTIZATIONS)}; repeatable.")
@click.option("--name", help="The model's name; by default the checkpoint's own.")
@click.option("--yarn/--no-yarn", default=True, help="Write YaRN's scaling for long context into the file (default: yes).")
@click.option("--yarn-factor", type=click.FloatRange(min=1, min_open=True), help="By default the checkpoint's own, or 4.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
def main(  # noqa: PLR0913 - one for each option
    *,
    source: Path,
    out_dir: Path,
    quantizations: tuple[str, ...],
    name: str | None,
    yarn: bool,
    yarn_factor: float | None,
    force: bool,
) -> None:
    """Convert the checkpoint in the folder SOURCE to GGUF."""
    try:
        report = convert(source, out_dir, quantizations, Choices(name, YarnChoice(yarn, yarn_factor), force))
    except QwqError as error:
        click.echo(f"error: {error}", err=True)
        click.echo(f"hint: {error.hint}", err=True)
        sys.exit(1)
    for file in report.files:
        click.echo(f"{file.path}  {file.file_bytes:,} bytes")


if __name__ == "__main__":
    main()
