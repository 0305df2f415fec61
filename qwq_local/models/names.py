"""From the names of files to the names of models (pure): `qwq-32b-q4_k_m-00001-of-00005.gguf` is a part of `QwQ-32B:Q4_K_M`."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Final, NamedTuple

from qwq_local import card
from qwq_local.quants.quality import MEAN_KLD

SUFFIX: Final = ".gguf"

_SHARD: Final = re.compile(r"-(\d{5})-of-(\d{5})$")
"""`llama_split_path` (src/llama.cpp) names the parts of a model so, counting from 1."""
_QUANTIZATION: Final = re.compile(r"[-._]((?:UD-)?(?:BF16|F?P?16|F?P?32|(?:I?Q|TQ)\d(?:_\w+)?|MXFP4\w*))$", re.IGNORECASE)
_SPELLINGS: Final = {"FP16": "F16", "FP32": "F32"}
_QUALITY: Final = {name: place for place, name in enumerate(MEAN_KLD)}


class FileName(NamedTuple):
    """What a file's name says; `shard` counts from 1, and a model in one file is shard 1 of 1. `quantization` may be empty."""

    base: str
    quantization: str
    shard: int
    n_shards: int


def parse(file_name: str) -> FileName:
    """Take a file's name apart."""
    stem = file_name.removesuffix(SUFFIX)
    shard = _SHARD.search(stem)
    stem = _SHARD.sub("", stem)
    quantization = _QUANTIZATION.search(stem)
    spelled = quantization[1].upper() if quantization else ""
    base = _QUANTIZATION.sub("", stem)
    return FileName(_canonical(base), _SPELLINGS.get(spelled, spelled), int(shard[1]) if shard else 1, int(shard[2]) if shard else 1)


def shards(first: PurePath, n_shards: int) -> list[str]:
    """The file names of all the parts of the model whose first part is `first`."""
    stem = _SHARD.sub("", first.name.removesuffix(SUFFIX))
    return [first.name] if n_shards == 1 else [f"{stem}-{number:05}-of-{n_shards:05}{SUFFIX}" for number in range(1, n_shards + 1)]


def model_name(base: str, quantization: str) -> str:
    """`QwQ-32B:Q4_K_M`."""
    return f"{base}:{quantization}" if quantization else base


def quality(quantization: str) -> int:
    """A place in the order of what a quantization keeps: 0 keeps most, the unknown come last."""
    return _QUALITY.get(quantization.removeprefix("UD-"), len(_QUALITY))


def _canonical(base: str) -> str:
    """QwQ-32B as its authors spell it, however the file does; other names stay."""
    spelled = re.sub(r"^qwen[-_]", "", base.casefold())
    return card.NAME if spelled == card.NAME.casefold() else base
