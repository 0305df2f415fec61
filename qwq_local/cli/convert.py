"""`qwq convert`: from a checkpoint to GGUF files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from qwq_local.cli.completing import values


@click.command("convert")
@click.argument("source", shell_complete=values.folders)
@click.option("--out", "out_dir", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder for the files.")
@click.option(
    "--quant",
    "quantizations",
    multiple=True,
    required=True,
    metavar="TYPE",
    shell_complete=values.quantizations,
    help="Such as Q4_K_M, Q8_0 or BF16. Repeatable.",
)
@click.option("--revision", metavar="NAME", help="Branch, tag or commit of a hub repository. [default: main]")
@click.option("--name", metavar="NAME", help="The model's name. [default: the checkpoint's own]")
@click.option("--imatrix", type=click.Path(path_type=Path), metavar="FILE", help="An importance matrix, made by qwq imatrix or llama.cpp.")
@click.option("--tensor-type", "tensor_types", multiple=True, metavar="REGEX=TYPE", help="Another type for some tensors. Repeatable.")
@click.option("--yarn/--no-yarn", default=True, show_default=True, help="Write YaRN's scaling for long context into the files.")
@click.option("--yarn-factor", type=click.FloatRange(min=1, min_open=True), metavar="X", help="[default: the checkpoint's own, or 4]")
@click.option("--split", metavar="SIZE", help="Start a new file where one would hold more than, say, 40G of tensors.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="[default: one for each core]")
@click.option("--allow-nonfinite", is_flag=True, help="Go on where a weight is NaN or infinite.")
@click.option("--force", is_flag=True, help="Replace finished files that exist.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def command(source: str, out_dir: Path, quantizations: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401 - click's
    """Convert the checkpoint SOURCE to GGUF, all quantizations in one pass over its weights.

    SOURCE is a folder with config.json and safetensors, or a repository on the hub. A run that was ended, however that came, goes on where
    it was when the same command is given again.

    \b
    Examples:
        qwq convert Qwen/QwQ-32B --out models --quant Q4_K_M --quant Q8_0
        qwq convert ./QwQ-32B --out models --quant IQ3_M --imatrix QwQ-32B-imatrix.gguf
        qwq convert ./QwQ-32B --out models --quant BF16 --split 40G
    """
    from qwq_local.cli.conversion import run

    run(source, out_dir, quantizations, **options)
