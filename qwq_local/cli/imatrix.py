"""`qwq imatrix`: what matters in a model's weights, for the quantizations that need to know."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qwq_local.cli.completing import values

if TYPE_CHECKING:
    from qwq_convert.measure import MeasuringProgress


@click.command("imatrix")
@click.argument("model", shell_complete=values.models)
@click.argument("text_path", metavar="TEXTFILE", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The file to make, usually NAME.gguf.")
@click.option("--ctx", "n_ctx", type=int, default=512, show_default=True, metavar="N", help="Tokens of one chunk.")
@click.option("--chunks", "max_chunks", type=click.IntRange(min=1), metavar="N", help="Read only the first N chunks. [default: all]")
@click.option("--process-output", "with_output", is_flag=True, help="Measure the output layer too.")
@click.option("--gpu-layers", "n_gpu_layers", type=int, metavar="N", help="Layers to put on the GPU. [default: all that go]")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
def command(model: str, text_path: Path, out: Path, n_ctx: int, **choices: Any) -> None:  # noqa: ANN401 - click's
    """Measure an importance matrix: what passes through each weight of MODEL while it reads TEXTFILE.

    MODEL is 'demo' or the path of a .gguf file, best an unquantized one. The file made is llama.cpp's own format.

    \b
    Example:
        qwq imatrix QwQ-32B-BF16.gguf calibration.txt --out QwQ-32B-imatrix.gguf
    """
    from qwq_convert.measure import MeasuringChoices, measure_importance
    from qwq_local.loading import context_shape, require_context
    from qwq_local.models.store import find
    from qwq_local.settings import LoadSettings

    settings = LoadSettings(n_ctx, choices["n_gpu_layers"])
    file = find(model)
    require_context(file, settings)
    bar = MeasuringBar(time.perf_counter())
    try:
        report = measure_importance(file.path, context_shape(file, n_ctx), text_path, out, MeasuringChoices(**choices), bar.update)
    finally:
        bar.clear()
    click.echo(f"{out}  {report.n_tensors} tensors, {report.n_chunks} chunks of {n_ctx} tokens")


class MeasuringBar:
    """One line on a terminal: how much of the model is loaded, then how many chunks are read and how long the others will take."""

    def __init__(self, clock: float) -> None:
        from qwq_local.cli.activity import StatusLine
        from qwq_local.cli.terminal import LoadingBar

        self._loading = LoadingBar(clock)
        self._line = StatusLine()
        self._started_at: float | None = None

    def update(self, progress: MeasuringProgress) -> None:
        """Show it."""
        from qwq_local.cli.terminal import duration

        clock = time.perf_counter()
        if progress.stage == "loading":
            self._loading.update(progress.done, clock)
            return
        if self._started_at is None:
            self._loading.clear()
            self._started_at = clock
        n_left = progress.total - progress.done
        left = f", {duration((clock - self._started_at) / progress.done * n_left)} left" if progress.done else ""
        self._line.show(f"chunk {progress.done + 1:,.0f} of {progress.total:,.0f}{left}")

    def clear(self) -> None:
        """Take the line away."""
        self._loading.clear()
        self._line.clear()
