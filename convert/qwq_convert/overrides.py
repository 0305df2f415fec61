"""Types of single tensors that a user chose: "REGEX=TYPE", as llama-quantize's --tensor-type has them (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from qwq_local.errors import SettingsError
from qwq_local.quants import TENSOR_TYPES, WEIGHT_TYPES, Override, TensorType

MAKEABLE: Mapping[str, TensorType] = {found.name: found for found in TENSOR_TYPES.values() if found in WEIGHT_TYPES}
"""The types that ggml_quantize_chunk makes (ggml/src/ggml.c), by name."""


def parse_overrides(texts: Sequence[str], names: Iterable[str]) -> tuple[Override, ...]:
    """The overrides, in their order; `names` are all tensors' names in GGUF.

    Raises:
        SettingsError: no "=", no regular expression, an unknown type, or an expression that is found in no tensor's name.
    """
    known = tuple(names)
    return tuple(_parse(text, known) for text in texts)


def _parse(text: str, names: Sequence[str]) -> Override:
    expression, separator, type_name = text.rpartition("=")
    if not separator or not expression:
        raise SettingsError(f"--tensor-type {text!r} is no REGEX=TYPE.", hint="For example: --tensor-type 'ffn_down=Q6_K'")
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise SettingsError(f"--tensor-type {expression!r} is no regular expression: {error}.", hint="Correct it.") from error
    tensor_type = MAKEABLE.get(type_name.upper())
    if tensor_type is None:
        near = get_close_matches(type_name.upper(), MAKEABLE, n=1)
        suggestion = f"Did you mean {near[0]}? " if near else ""
        raise SettingsError(f"There is no type {type_name!r} to make.", hint=f"{suggestion}Known: {', '.join(MAKEABLE)}.")
    if not any(pattern.search(name) for name in names):
        raise SettingsError(f"--tensor-type {expression!r} fits no tensor.", hint=f"Names are like {names[-1]}.")
    return pattern, tensor_type
