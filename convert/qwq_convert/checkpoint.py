"""A checkpoint's folder, laid out as repositories on Hugging Face are: its documents, and the table of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qwq_convert.documents import Document, read_document, read_document_if_there
from qwq_convert.weights import SourceTensor, read_tensor_table
from qwq_local.errors import ConversionError

INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Checkpoint:
    """What a folder holds: documents as they stand there, and `tensors` by name, shard after shard, by name within each."""

    folder: Path
    config: Document
    tokenizer: Document
    tokenizer_config: Document
    chat_template: str
    tensors: Mapping[str, SourceTensor]

    @property
    def name(self) -> str:
        """The model's own name where config.json gives one (`_name_or_path`), else the folder's."""
        given = self.config.get("_name_or_path")
        if isinstance(given, str) and given.count("/") <= 1 and Path(given).name:
            return Path(given).name
        return self.folder.resolve().name


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read everything in `folder` but the weights themselves.

    Raises:
        ConversionError: no folder, something missing from it, or a file that is damaged.
    """
    if not folder.is_dir():
        raise ConversionError(f"{folder} is no folder.", hint="Give the folder with config.json and the safetensors files.")
    tokenizer_config = read_document_if_there(folder / "tokenizer_config.json")
    return Checkpoint(
        folder,
        read_document(folder / "config.json"),
        read_document(folder / "tokenizer.json"),
        tokenizer_config,
        _chat_template(folder, tokenizer_config),
        _tensors(folder),
    )


def _chat_template(folder: Path, tokenizer_config: Document) -> str:
    """From tokenizer_config.json, else chat_template.jinja, in the order of gguf-py/gguf/vocab.py; empty where there is none."""
    template = tokenizer_config.get("chat_template")
    if isinstance(template, str):
        return template
    if template is not None:
        raise ConversionError(
            f"{folder / 'tokenizer_config.json'} has a {type(template).__name__} for chat_template.",
            hint="Keep the one template that the model is to use, as a text.",
        )
    path = folder / "chat_template.jinja"
    try:
        return path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConversionError(f"{path} cannot be read: {error}.", hint="Download it again.") from error


def _tensors(folder: Path) -> dict[str, SourceTensor]:
    index = folder / INDEX
    shard_of = _weight_map(index) if index.exists() else None
    shards = sorted(set(shard_of.values())) if shard_of else sorted(path.name for path in folder.glob("model*.safetensors"))
    if not shards:
        raise ConversionError(f"{folder} holds no model*.safetensors.", hint="Only safetensors checkpoints can be converted.")
    if missing := [shard for shard in shards if not (folder / shard).is_file()]:
        raise ConversionError(f"{folder} lacks the shard {missing[0]}.", hint="Download the missing shards.")
    tensors: dict[str, SourceTensor] = {}
    for shard in shards:
        for name, tensor in read_tensor_table(folder / shard).items():
            if name in tensors:
                raise ConversionError(f"Tensor {name} is in {tensors[name].path.name} and in {shard}.", hint="Remove one.")
            tensors[name] = tensor
    if shard_of is not None:
        _require_agreement(index, shard_of, tensors)
    return tensors


def _weight_map(index: Path) -> dict[str, str]:
    weight_map = read_document(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ConversionError(f"{index} has no weight_map.", hint="Download it again.")
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise ConversionError(f"{index} puts {name} into {shard!r}, no file's name.", hint="Download it again.")
    return weight_map


def _require_agreement(index: Path, shard_of: Mapping[str, str], tensors: Mapping[str, SourceTensor]) -> None:
    for name in sorted(shard_of.keys() | tensors.keys()):
        found = tensors[name].path.name if name in tensors else "no shard"
        promised = shard_of.get(name, "no shard")
        if found != promised:
            raise ConversionError(f"{index} puts {name} into {promised}, and it is in {found}.", hint="Download the checkpoint again.")
