"""`qwq imatrix`: what matters in a model's weights, for the quantizations that need to know."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qwq_local.cli.terminal import LoadingBar, duration
from qwq_local.errors import ConversionError

if TYPE_CHECKING:
    from qwq_local.llama import ActivationCollector


MAX_TEXT_BYTES = 2**30
"""llama.cpp counts a text's bytes and its tokens with int32."""


@click.command("imatrix")
@click.argument("model")
@click.argument("text_path", metavar="TEXTFILE", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The file to make, usually NAME.gguf.")
@click.option("--ctx", "n_ctx", type=int, default=512, show_default=True, metavar="N", help="Tokens of one chunk.")
@click.option("--chunks", "max_chunks", type=click.IntRange(min=1), metavar="N", help="Read only the first N chunks. [default: all]")
@click.option("--process-output", "with_output", is_flag=True, help="Measure the output layer too.")
@click.option("--gpu-layers", "n_gpu_layers", type=int, metavar="N", help="Layers to put on the GPU. [default: all that go]")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
def command(  # noqa: PLR0913 - one for each option
    *,
    model: str,
    text_path: Path,
    out: Path,
    n_ctx: int,
    max_chunks: int | None,
    with_output: bool,
    n_gpu_layers: int | None,
    force: bool,
) -> None:
    """Measure an importance matrix: what passes through each weight of MODEL while it reads TEXTFILE.

    MODEL is 'demo' or the path of a .gguf file, best an unquantized one. The file made is llama.cpp's own format.

    \b
    Example:
        qwq imatrix QwQ-32B-BF16.gguf calibration.txt --out QwQ-32B-imatrix.gguf
    """
    from qwq_convert.imatrix import Dataset, require_writable, write_importance
    from qwq_local.llama import ActivationCollector
    from qwq_local.loading import context_shape, require_context
    from qwq_local.models.store import find
    from qwq_local.settings import LoadSettings

    settings = LoadSettings(n_ctx, n_gpu_layers)
    file = find(model)
    require_context(file, settings)
    shape = context_shape(file, n_ctx)
    text = read_text(text_path)
    require_writable(out, force=force)
    bar = LoadingBar(time.perf_counter())
    try:
        collector = ActivationCollector(
            file.path,
            shape,
            "native" if n_ctx <= file.native_ctx else "yarn",
            n_gpu_layers=n_gpu_layers,
            with_output=with_output,
            on_progress=lambda share: bar.update(share, time.perf_counter()),
        )
    finally:
        bar.clear()
    with closing(collector):
        n_chunks = read_chunks(collector, collector.tokenize(text), n_ctx, max_chunks)
        write_importance(out, collector.sums, Dataset(str(text_path), n_chunks, n_ctx))
    click.echo(f"{out}  {len(collector.sums)} tensors, {n_chunks} chunks of {n_ctx} tokens")


def read_text(path: Path) -> str:
    """The text of a file, as it stands there; raises ConversionError where it is missing, too large or not UTF-8."""
    try:
        if (text_bytes := path.stat().st_size) > MAX_TEXT_BYTES:
            raise ConversionError(f"{path} has {text_bytes:,} bytes, and {MAX_TEXT_BYTES:,} can be read.", hint="Give a part of it.")
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConversionError(f"{path} is not UTF-8 text (byte {error.start:,}).", hint="Convert it with iconv.") from error
    except OSError as error:
        raise ConversionError(f"{path} cannot be read: {error.strerror}.", hint="Check the path.") from error


def read_chunks(collector: ActivationCollector, tokens: list[int], n_ctx: int, max_chunks: int | None) -> int:
    """Read all whole chunks, or the first of them, and return their number; raises ConversionError where there is none."""
    n_chunks = len(tokens) // n_ctx
    if n_chunks == 0:
        raise ConversionError(
            f"The text is {len(tokens):,} tokens long, and one chunk takes {n_ctx:,}.",
            hint="Give a longer text, or read it in shorter chunks: --ctx N",
        )
    n_chunks = min(n_chunks, max_chunks or n_chunks)
    bar = ChunkBar(n_chunks, time.perf_counter())
    try:
        for index in range(n_chunks):
            bar.update(index, time.perf_counter())
            collector.read(tokens[index * n_ctx : (index + 1) * n_ctx])
    finally:
        bar.clear()
    return n_chunks


class ChunkBar:
    """One line on a terminal that says how many chunks are read, and how long the others will take."""

    def __init__(self, n_chunks: int, clock: float) -> None:
        self._n_chunks = n_chunks
        self._started_at = clock
        self._is_shown = sys.stderr.isatty()

    def update(self, n_done: int, clock: float) -> None:
        """Show how many are done; `clock` reads seconds."""
        if self._is_shown:
            seconds_left = (clock - self._started_at) / n_done * (self._n_chunks - n_done) if n_done else None
            left = "" if seconds_left is None else f", {duration(seconds_left)} left"
            click.echo(f"\r\x1b[Kchunk {n_done + 1:,} of {self._n_chunks:,}{left}", nl=False, err=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._is_shown:
            click.echo("\r\x1b[K", nl=False, err=True)
