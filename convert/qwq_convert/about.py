"""What a file says of the model's origin: name, size, licence, base model, sampling (`general.*`), by gguf-py's own rules."""

from __future__ import annotations

import math
from pathlib import Path

import gguf

from qwq_convert.documents import read_document_if_there
from qwq_convert.metadata import KeyValue, Kind
from qwq_local import card
from qwq_local.errors import ConversionError

_KINDS: dict[gguf.GGUFValueType, tuple[Kind, type | tuple[type, ...]]] = {
    gguf.GGUFValueType.UINT32: ("uint32", int),
    gguf.GGUFValueType.INT32: ("int32", int),
    gguf.GGUFValueType.FLOAT32: ("float32", (int, float)),
    gguf.GGUFValueType.STRING: ("string", str),
    gguf.GGUFValueType.ARRAY: ("strings", list),
}


def describe(folder: Path, name: str, n_parameters: int) -> tuple[KeyValue, ...]:
    """From the front matter of README.md, generation_config.json, and the model's and the folder's names.

    Raises:
        ConversionError: one of these files says something that no metadata can hold.
    """
    generation = read_document_if_there(folder / "generation_config.json")  # gguf-py passes over one that is no JSON
    collector = gguf.GGUFWriter(None, card.ARCHITECTURE)
    try:
        found = gguf.Metadata.load(None, folder, name, n_parameters)
        if found.sampling_penalty_repeat is None:  # gguf-py up to 0.19 does not know transformers' name of it
            found.sampling_penalty_repeat = generation.get("repetition_penalty")
        found.size_label = found.size_label or gguf.size_label(n_parameters, n_parameters, 0, 0)
        found.set_gguf_meta_model(collector)
    except Exception as error:  # whatever gguf-py meets in a stranger's README.md
        raise ConversionError(f"{folder / 'README.md'} has unreadable front matter: {error}.", hint="Correct it.") from error
    values = dict(collector.kv_data[0])
    del values["general.architecture"]
    return tuple(_checked(key, entry) for key, entry in values.items())


def _checked(key: str, entry: gguf.GGUFValue) -> KeyValue:
    kind, python_types = _KINDS[entry.type]
    value = entry.value
    fits = isinstance(value, python_types) and not isinstance(value, bool)
    if kind == "float32":
        fits = fits and math.isfinite(value)
    if not fits or (kind == "strings" and not all(isinstance(item, str) for item in value)):
        raise ConversionError(f"{key} cannot be {value!r}.", hint="Correct generation_config.json, or the front matter of README.md.")
    return KeyValue(key, kind, value)
