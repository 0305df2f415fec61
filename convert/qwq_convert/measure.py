"""Measure an importance matrix: a model reads a text, and what passed through each of its weights becomes a file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from qwq_convert.imatrix import Dataset, require_writable, write_importance
from qwq_local.errors import ConversionError
from qwq_local.llama import ActivationCollector, ContextShape

MAX_TEXT_BYTES: Final = 2**30
"""llama.cpp counts a text's bytes and its tokens with int32."""


@dataclass(frozen=True)
class MeasuringChoices:
    """What may be chosen.

    How many chunks are read at most (by default all that the text has), whether the output layer is measured too, how many layers a GPU
    takes (by default all that go), and whether an existing file is replaced.
    """

    max_chunks: int | None = None
    with_output: bool = False
    n_gpu_layers: int | None = None
    force: bool = False


@dataclass(frozen=True)
class MeasuringProgress:
    """How far a stage is: "loading" the model, in shares of 1, or "reading" the text, in chunks."""

    stage: Literal["loading", "reading"]
    done: float
    total: float


@dataclass(frozen=True)
class MeasuringReport:
    """How many weights were measured, and on how many chunks of the text."""

    n_tensors: int
    n_chunks: int


Listener = Callable[[MeasuringProgress], object]
DEFAULTS: Final = MeasuringChoices()


def measure_importance(
    model: Path, shape: ContextShape, text: Path, out: Path, choices: MeasuringChoices = DEFAULTS, progress: Listener = lambda _: None
) -> MeasuringReport:
    """Write at `out` what passes through the weights of the GGUF file `model` while it reads `text`, a context's worth at a time.

    Raises:
        ConversionError: the text cannot be read or fills no chunk, or `out` cannot be written.
        LoadError: llama.cpp refuses the model.
        DecodeError: what passed through a weight is NaN or infinite, or llama.cpp failed.
    """
    content = _read_text(text)
    require_writable(out, force=choices.force)

    def on_load(share: float) -> None:
        progress(MeasuringProgress("loading", share, 1.0))

    collector = ActivationCollector(
        model,
        shape,
        "native" if shape.n_ctx <= shape.native_ctx else "yarn",
        n_gpu_layers=choices.n_gpu_layers,
        with_output=choices.with_output,
        on_progress=on_load,
    )
    with closing(collector):
        tokens = collector.tokenize(content)
        n_chunks = _count_chunks(len(tokens), shape.n_ctx, choices.max_chunks)
        for index in range(n_chunks):
            progress(MeasuringProgress("reading", index, n_chunks))
            collector.read(tokens[index * shape.n_ctx : (index + 1) * shape.n_ctx])
        write_importance(out, collector.sums, Dataset(str(text), n_chunks, shape.n_ctx))
    return MeasuringReport(len(collector.sums), n_chunks)


def _read_text(path: Path) -> str:
    try:
        if (text_bytes := path.stat().st_size) > MAX_TEXT_BYTES:
            raise ConversionError(f"{path} has {text_bytes:,} bytes, and {MAX_TEXT_BYTES:,} can be read.", hint="Give a part of it.")
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConversionError(f"{path} is not UTF-8 text (byte {error.start:,}).", hint="Convert it with iconv.") from error
    except OSError as error:
        raise ConversionError(f"{path} cannot be read: {error.strerror}.", hint="Check the path.") from error


def _count_chunks(n_tokens: int, chunk_tokens: int, max_chunks: int | None) -> int:
    """All whole chunks, or the first of them."""
    n_chunks = n_tokens // chunk_tokens
    if n_chunks == 0:
        raise ConversionError(
            f"The text is {n_tokens:,} tokens long, and one chunk takes {chunk_tokens:,}.",
            hint="Give a longer text, or read it in shorter chunks: --ctx N",
        )
    return min(n_chunks, max_chunks or n_chunks)
