"""Checkpoints of any shape with random weights, written piece by piece, with the tokenizer of qwq-nano."""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qwq_convert.config import parse_config
from qwq_convert.mapping import expected_tensors
from tests.checkpoints import NANO

STANDARD_DEVIATION = 0.02
PIECE = 2**22
Dtype = Literal["BF16", "F16"]


def write_checkpoint(
    folder: Path, config: Mapping[str, Any], dtype: Dtype, n_shards: int = 1, deviation: float = STANDARD_DEVIATION
) -> Path:
    """Make `folder` with weights drawn from a normal distribution, by default as those of a model before its training; returns it."""
    folder.mkdir(parents=True)
    torch_dtype = {"BF16": "bfloat16", "F16": "float16"}[dtype]
    (folder / "config.json").write_text(json.dumps({**config, "torch_dtype": torch_dtype}), encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(NANO / name, folder / name)
    shapes = {name: tensor.shape for name, tensor in expected_tensors(parse_config(dict(config))).items()}
    names = list(shapes)
    shards = [names[number::n_shards] for number in range(n_shards)]
    files = [f"model-{number + 1:05}-of-{n_shards:05}.safetensors" for number in range(n_shards)]
    rng = np.random.default_rng(7)
    for file, held in zip(files, shards, strict=True):
        _write_shard(folder / file, {name: shapes[name] for name in held}, dtype, rng, np.float32(deviation))
    weight_map = {name: file for file, held in zip(files, shards, strict=True) for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    return folder


def _write_shard(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: Dtype, rng: np.random.Generator, deviation: np.float32) -> None:
    header: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    encoded = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for values in _draw(shapes.values(), rng, deviation):
            file.write(values.astype("<f2").tobytes() if dtype == "F16" else (values.view(np.uint32) >> 16).astype("<u2").tobytes())


def _draw(shapes: Iterable[tuple[int, ...]], rng: np.random.Generator, deviation: np.float32) -> Iterator[NDArray[np.float32]]:
    for shape in shapes:
        left = math.prod(shape)
        while left:
            drawn = rng.standard_normal(min(left, PIECE), dtype=np.float32)
            yield drawn * deviation
            left -= len(drawn)
