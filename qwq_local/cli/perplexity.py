"""`qwq perplexity`: how likely a model finds a text."""

from __future__ import annotations

from typing import Any

import click

from qwq_local.cli.completing import values
from qwq_local.cli.options import scoring_options


@click.command("perplexity")
@click.argument("model", shell_complete=values.models)
@click.argument("text_file", metavar="TEXTFILE", shell_complete=values.files)
@scoring_options
def command(model: str, text_file: str, *, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - click's
    """Measure how likely MODEL finds the text in TEXTFILE: its perplexity, as llama.cpp's llama-perplexity defines it.

    MODEL is 'demo', a name from qwq list, or the path of a .gguf; TEXTFILE is a file of UTF-8 text, or - for standard input. Figures of
    models can be compared where they have the same tokens and read the same text in the same chunks.

    \b
    Examples:
        qwq perplexity QwQ-32B:Q4_K_M wiki.test.raw --chunks 100
        qwq perplexity demo notes.txt --ctx 128 --json
    """
    from qwq_local.cli.likelihood import perplexity

    perplexity(model, text_file, options, as_json=as_json)
