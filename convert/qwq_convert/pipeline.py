"""Convert a checkpoint: its weights are read once, chunk by chunk, and written to every wanted file at once."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from qwq_convert import writer
from qwq_convert.about import describe
from qwq_convert.checkpoint import Checkpoint, open_checkpoint
from qwq_convert.config import ModelConfig, parse_config
from qwq_convert.mapping import MappedTensor, map_tensors
from qwq_convert.metadata import KeyValue, Model, YarnChoice, assemble
from qwq_convert.quantize import BlockQuantizer, encode, require_finite
from qwq_convert.vocab import build_vocabulary
from qwq_local.errors import ConversionError, SettingsError
from qwq_local.llama._quantize import quantize_rows
from qwq_local.quants import Quantization, TensorType, choose_types, find_quantization

CHUNK_BYTES = 2**23
"""Rows are held as float32 in pieces of this size; it bounds the memory, and larger ones are not faster."""

HEADER_ALLOWANCE_BYTES = 2**24
"""Room for one file's metadata, for the check of the disk: that of QwQ-32B takes 6 MB."""


@dataclass(frozen=True)
class Choices:
    """What may be chosen: the model's name (by default the checkpoint's own), YaRN, and whether existing files are replaced."""

    name: str | None = None
    yarn: YarnChoice = field(default_factory=YarnChoice)
    force: bool = False


DEFAULTS = Choices()


@dataclass(frozen=True)
class Progress:
    """How far a conversion is: bytes of the checkpoint's tensors read, and the tensor at hand."""

    done_bytes: int
    total_bytes: int
    tensor: str


@dataclass(frozen=True)
class ConvertedFile:
    """A file that was made; `tensor_types` counts its tensors by type."""

    path: Path
    quantization: str
    file_bytes: int
    tensor_types: Mapping[str, int]


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion made of which checkpoint."""

    name: str
    n_parameters: int
    files: tuple[ConvertedFile, ...]


@dataclass(frozen=True)
class _Output:
    path: Path
    quantization: Quantization
    types: Mapping[str, TensorType]


def convert(
    source: Path,
    out_dir: Path,
    quantizations: Sequence[str],
    choices: Choices = DEFAULTS,
    *,
    progress: Callable[[Progress], None] | None = None,
    quantize_blocks: BlockQuantizer = quantize_rows,
) -> ConversionReport:
    """Convert the checkpoint in the folder `source` to `out_dir`/NAME-QUANTIZATION.gguf for each of `quantizations`.

    Raises:
        SettingsError: an unknown quantization, or a name that no file can have.
        ConversionError: the checkpoint, the disk or an existing file stands in the way. A file that has its final name is whole.
    """
    wanted = dict.fromkeys(find_quantization(quantization) for quantization in quantizations)
    checkpoint = open_checkpoint(source)
    name = _checked_name(checkpoint.name if choices.name is None else choices.name)
    config = parse_config(checkpoint.config)
    tensors = map_tensors(config, {key: tensor.shape for key, tensor in checkpoint.tensors.items()})
    shapes = {tensor.target: tensor.shape for tensor in tensors}
    n_parameters = sum(math.prod(shape) for shape in shapes.values())
    model = _model(checkpoint, config, describe(source, name, n_parameters), choices.yarn)
    outputs = [
        _Output(out_dir / f"{name}-{quantization.name}.gguf", quantization, choose_types(quantization, shapes)) for quantization in wanted
    ]
    _require_free(outputs, force=choices.force)
    _require_space(out_dir, sum(writer.data_bytes(shapes, output.types) + HEADER_ALLOWANCE_BYTES for output in outputs))
    with ExitStack() as stack:
        files = [
            stack.enter_context(writer.create(output.path, assemble(model, output.quantization), shapes, output.types))
            for output in outputs
        ]
        _stream(checkpoint, tensors, files, quantize_blocks, progress)
    return ConversionReport(name, n_parameters, tuple(map(_made, outputs)))


def _model(checkpoint: Checkpoint, config: ModelConfig, about: Sequence[KeyValue], yarn: YarnChoice) -> Model:
    documents = (checkpoint.tokenizer, checkpoint.tokenizer_config, checkpoint.config)
    return Model(about, config, yarn, build_vocabulary(*documents, config.vocabulary), checkpoint.chat_template)


def _stream(
    checkpoint: Checkpoint,
    tensors: Sequence[MappedTensor],
    files: Sequence[writer.GgufFile],
    quantize_blocks: BlockQuantizer,
    progress: Callable[[Progress], None] | None,
) -> None:
    total_bytes = sum(checkpoint.tensors[tensor.source].size_bytes for tensor in tensors)
    done_bytes = 0
    for tensor in tensors:
        source = checkpoint.tensors[tensor.source]
        for rows in source.chunks(CHUNK_BYTES):
            require_finite(tensor.source, rows)
            encoded = {
                tensor_type: encode(tensor.source, rows, tensor_type, quantize_blocks)
                for tensor_type in {file.types[tensor.target] for file in files}
            }
            for file in files:
                file.append(tensor.target, encoded[file.types[tensor.target]])
        done_bytes += source.size_bytes
        if progress is not None:
            progress(Progress(done_bytes, total_bytes, tensor.source))


def _checked_name(name: str) -> str:
    if not name or name.startswith(".") or any(character in name for character in '/\\:*?"<>|\0'):
        raise SettingsError(f"{name!r} can be no file's name.", hint="Give another: --name NAME")
    return name


def _require_free(outputs: Sequence[_Output], *, force: bool) -> None:
    if taken := [output.path for output in outputs if output.path.exists() and not force]:
        raise ConversionError(f"{taken[0]} exists already.", hint="Keep it, or replace it with --force.")


def _require_space(out_dir: Path, needed_bytes: int) -> None:
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        free_bytes = shutil.disk_usage(out_dir).free
    except OSError as error:
        raise ConversionError(f"{out_dir} cannot be written to: {error.strerror}.", hint="Choose another --out.") from error
    if free_bytes < needed_bytes:
        raise ConversionError(
            f"{out_dir} has {free_bytes:,} bytes free, and {needed_bytes:,} are needed.",
            hint="Free some, or ask for fewer quantizations at once.",
        )


def _made(output: _Output) -> ConvertedFile:
    counts = Counter(tensor_type.name for tensor_type in output.types.values())
    return ConvertedFile(output.path, output.quantization.name, output.path.stat().st_size, counts)
