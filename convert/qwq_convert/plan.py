"""All that a conversion will do, settled before the first file is opened."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from qwq_convert.about import describe
from qwq_convert.checkpoint import Checkpoint, open_checkpoint
from qwq_convert.config import ModelConfig, parse_config
from qwq_convert.header import encode_header
from qwq_convert.imatrix import Importance, read_importance
from qwq_convert.journal import Binding
from qwq_convert.mapping import MappedTensor, Shape, map_tensors
from qwq_convert.metadata import KeyValue, Model, YarnChoice, assemble
from qwq_convert.overrides import parse_overrides
from qwq_convert.provenance import Provenance, hash_file, trace
from qwq_convert.split import distribute, split_path, split_values
from qwq_convert.vocab import build_vocabulary
from qwq_convert.writer import PlannedFile
from qwq_local.errors import ConversionError, SettingsError
from qwq_local.gguf import padded
from qwq_local.quants import ModelTraits, Quantization, TensorType, choose_types, find_quantization, needs_imatrix, tensor_bytes


@dataclass(frozen=True)
class ConversionChoices:
    """What may be chosen.

    The model's name (by default the checkpoint's own), YaRN, whether existing files are replaced, the largest file's tensors in bytes, a
    file with an importance matrix, types of single tensors as "REGEX=TYPE", threads (by default one for each core), and whether weights
    may be NaN or infinite.
    """

    name: str | None = None
    yarn: YarnChoice = field(default_factory=YarnChoice)
    force: bool = False
    split_bytes: int | None = None
    imatrix: Path | None = None
    tensor_types: tuple[str, ...] = ()
    threads: int | None = None
    allow_nonfinite: bool = False


@dataclass(frozen=True)
class Output:
    """One quantization of the model, in one file or several."""

    quantization: Quantization
    files: tuple[PlannedFile, ...]


@dataclass(frozen=True)
class ConversionPlan:
    """What is to be made of which checkpoint; `metadata` is that of the first output."""

    name: str
    n_parameters: int
    checkpoint: Checkpoint
    provenance: Provenance
    tensors: tuple[MappedTensor, ...]
    importance: Importance | None
    importance_sha256: str
    metadata: tuple[KeyValue, ...]
    outputs: tuple[Output, ...]

    @property
    def files(self) -> tuple[PlannedFile, ...]:
        """Those of all outputs."""
        return tuple(file for output in self.outputs for file in output.files)

    def binding(self, file: PlannedFile) -> Binding:
        """All that the bytes of `file` depend on."""
        return {
            "version": f"{version('qwq-local')}, llama-cpp-python {version('llama-cpp-python')}",
            "source": self.provenance.stamp,
            "importance matrix": self.importance_sha256,
            "choice of options": file.header_sha256,
        }


def plan_conversion(source: Path, out_dir: Path, quantizations: Sequence[str], choices: ConversionChoices) -> ConversionPlan:
    """Settle what converting the checkpoint in the folder `source` will make of it in `out_dir`.

    Raises:
        SettingsError: an unknown quantization or type, or a name, a size or an override that cannot be.
        ConversionError: the checkpoint cannot be converted, or not so.
    """
    wanted = tuple(dict.fromkeys(find_quantization(quantization) for quantization in quantizations))
    if not wanted:
        raise SettingsError("No quantization was asked for.", hint="Name at least one, such as Q4_K_M.")
    checkpoint = open_checkpoint(source)
    provenance = trace(source, sorted({tensor.path for tensor in checkpoint.tensors.values()}))
    name = _checked_name((provenance.name or checkpoint.name) if choices.name is None else choices.name)
    config = parse_config(checkpoint.config)
    tensors = map_tensors(config, {key: tensor.shape for key, tensor in checkpoint.tensors.items()})
    shapes = {tensor.target: tensor.shape for tensor in tensors}
    n_parameters = sum(math.prod(shape) for shape in shapes.values())
    importance = _read_importance(choices.imatrix, shapes) if choices.imatrix else None
    importance_sha256 = hash_file(choices.imatrix) if choices.imatrix else "none"
    vocabulary = build_vocabulary(checkpoint.tokenizer, checkpoint.tokenizer_config, checkpoint.config, config.vocabulary)
    about = describe(source, provenance.name or source.resolve().name, name, n_parameters)
    further = (*provenance.beyond(about), *(importance.metadata() if importance else ()))
    model = Model(about, config, choices.yarn, vocabulary, checkpoint.chat_template, further)
    types = _types(wanted, config, shapes, importance, choices.tensor_types)
    outputs = tuple(
        Output(
            quantization,
            _files(out_dir / f"{name}-{quantization.name}.gguf", assemble(model, quantization), shapes, types[quantization], choices),
        )
        for quantization in wanted
    )
    return ConversionPlan(
        name, n_parameters, checkpoint, provenance, tensors, importance, importance_sha256, assemble(model, wanted[0]), outputs
    )


def _types(
    wanted: Sequence[Quantization], config: ModelConfig, shapes: Mapping[str, Shape], importance: Importance | None, texts: Sequence[str]
) -> dict[Quantization, dict[str, TensorType]]:
    traits = ModelTraits(config.layers, config.heads, config.key_value_heads)
    overrides = parse_overrides(texts, shapes)
    found: dict[Quantization, dict[str, TensorType]] = {}
    for quantization in wanted:
        types = choose_types(quantization, shapes, traits, has_imatrix=importance is not None, overrides=overrides)
        if (name := needs_imatrix(quantization, types, importance or ())) is not None:
            lack = f"{importance.path} has none for it" if importance else "there is none"
            raise ConversionError(
                f"{quantization.name} needs an importance matrix, since {name} becomes {types[name].name}, and {lack}.",
                hint="Measure one with qwq imatrix and give it with --imatrix FILE, or choose a larger quantization.",
            )
        found[quantization] = types
    return found


def _read_importance(path: Path, shapes: Mapping[str, Shape]) -> Importance:
    importance = read_importance(path)
    for name in shapes:
        if name in importance and importance[name].shape != shapes[name][-1:]:
            raise ConversionError(
                f"{path} has {importance[name].size:,} values for {name}, whose rows are {shapes[name][-1]:,} long.",
                hint="It was made with another model: make one with this.",
            )
    if importance.keys().isdisjoint(shapes):
        raise ConversionError(f"{path} knows none of this model's tensors.", hint="It was made with another model: make one with this.")
    return importance


def _files(
    path: Path, metadata: Sequence[KeyValue], shapes: Mapping[str, Shape], types: Mapping[str, TensorType], choices: ConversionChoices
) -> tuple[PlannedFile, ...]:
    sizes = {name: tensor_bytes(types[name], shape) for name, shape in shapes.items()}
    groups = distribute({name: padded(size) for name, size in sizes.items()}, choices.split_bytes) if choices.split_bytes else ()
    if len(groups) < 2:
        return (_file(path, metadata, shapes, types),)
    return tuple(
        _file(
            split_path(path, number, len(groups)),
            (*(metadata if number == 0 else ()), *split_values(number, len(groups), len(shapes))),
            {name: shapes[name] for name in group},
            types,
        )
        for number, group in enumerate(groups)
    )


def _file(path: Path, metadata: Sequence[KeyValue], shapes: Mapping[str, Shape], types: Mapping[str, TensorType]) -> PlannedFile:
    return PlannedFile(
        path,
        encode_header(metadata, shapes, types),
        {name: types[name] for name in shapes},
        {name: tensor_bytes(types[name], shape) for name, shape in shapes.items()},
    )


def _checked_name(name: str) -> str:
    if not name or name.startswith(".") or any(character in name for character in '/\\:*?"<>|\0'):
        raise SettingsError(f"{name!r} can be no file's name.", hint="Give another: --name NAME")
    return name
