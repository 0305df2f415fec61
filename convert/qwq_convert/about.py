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

_SAMPLING = {
    "sequence": "sampling_sequence",
    "top_k": "sampling_top_k",
    "top_p": "sampling_top_p",
    "min_p": "sampling_min_p",
    "xtc_probability": "sampling_xtc_probability",
    "xtc_threshold": "sampling_xtc_threshold",
    "temperature": "sampling_temp",
    "penalty_last_n": "sampling_penalty_last_n",
    "repetition_penalty": "sampling_penalty_repeat",
    "penalty_repeat": "sampling_penalty_repeat",
    "mirostat": "sampling_mirostat",
    "mirostat_tau": "sampling_mirostat_tau",
    "mirostat_eta": "sampling_mirostat_eta",
}
"""What generation_config.json calls the fields of gguf-py's metadata; "repetition_penalty" is transformers' own name, which it lacks."""


def describe(folder: Path, folder_name: str, name: str, n_parameters: int) -> tuple[KeyValue, ...]:
    """From the front matter of README.md, generation_config.json, and the model's and the folder's names.

    `folder_name` is what the folder of such a model is called; that of a snapshot in the hub's cache is called otherwise.

    Raises:
        ConversionError: one of these files says something that no metadata can hold.
    """
    generation = read_document_if_there(folder / "generation_config.json")
    collector = gguf.GGUFWriter(None, card.ARCHITECTURE)
    try:
        documents = gguf.Metadata.load_model_card(folder), gguf.Metadata.load_hf_parameters(folder)
        found = gguf.Metadata.apply_metadata_heuristic(gguf.Metadata(), *documents, Path(folder_name), n_parameters)
        found.name = name
        for key, field in _SAMPLING.items():
            setattr(found, field, generation.get(key, getattr(found, field)))
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
