"""`qwq divergence`: how far a model's next tokens are from those of the model it was made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from qwq_local.cli.completing import values
from qwq_local.cli.options import scoring_options


@click.command("divergence")
@click.argument("model", shell_complete=values.models)
@click.argument("base", shell_complete=values.models)
@click.argument("text_file", metavar="TEXTFILE", shell_complete=values.files)
@scoring_options
@click.option(
    "--base-logits",
    "kept",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep what BASE computes in FILE, or take it from there; llama-perplexity's --kl-divergence-base. [default: kept until the end]",
)
def command(model: str, base: str, text_file: str, *, as_json: bool, kept: Path | None, **options: Any) -> None:  # noqa: ANN401 - click's
    """Measure what is lost from BASE to MODEL, such as by quantizing: how far their next tokens diverge over the text in TEXTFILE.

    MODEL and BASE are 'demo', names from qwq list, or paths of .gguf files with the same tokens; TEXTFILE is a file of UTF-8 text, or - for
    standard input. The figures are those of llama.cpp's llama-perplexity: KL divergence, the share of places with the same likeliest token,
    perplexities. BASE is read first, and what it finds likely takes 2 bytes of disk for each token of the vocabulary and each place that is
    scored: for QwQ-32B 74 MiB a chunk. With --kv-type, MODEL's cache is of that type, so that a model beside itself shows what that costs.

    \b
    Examples:
        qwq divergence QwQ-32B:Q4_K_M QwQ-32B:Q8_0 wiki.test.raw --chunks 50 --base-logits q8_0.logits
        qwq divergence QwQ-32B:Q3_K_M QwQ-32B:Q8_0 wiki.test.raw --chunks 50 --base-logits q8_0.logits
        qwq divergence demo demo notes.txt --ctx 128 --kv-type q4_0
    """
    from qwq_local.cli.likelihood import divergence

    divergence((model, base), text_file, options, kept, as_json=as_json)
