"""Make checkpoints, and damage them in ways that happen."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwq_convert.config import parse_config
from qwq_convert.mapping import expected_tensors

NANO = Path(__file__).parent / "nano" / "checkpoint"
INDEX = "model.safetensors.index.json"
FIRST = "model-00001-of-00002.safetensors"
SECOND = "model-00002-of-00002.safetensors"
ATTENTION = "model.layers.0.self_attn.k_proj.weight"
"""A tensor of the first shard: 128 rows of 256 in BF16."""

Header = dict[str, Any]
Damage = Callable[[Path], object]


def copy_nano(folder: Path) -> Path:
    """A copy of nano's checkpoint, to be damaged."""
    return Path(shutil.copytree(NANO, folder))


def read_shard(path: Path) -> tuple[Header, bytearray]:
    encoded = path.read_bytes()
    (size,) = struct.unpack_from("<Q", encoded)
    header: Header = json.loads(encoded[8 : 8 + size])
    return header, bytearray(encoded[8 + size :])


def write_shard(path: Path, header: Header, data: bytes | bytearray) -> None:
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data)


def in_turn(*damages: Damage) -> Damage:
    """Several damages to one checkpoint."""

    def damage(folder: Path) -> None:
        for each in damages:
            each(folder)

    return damage


def edit(name: str, change: Callable[[dict[str, Any]], object]) -> Damage:
    """Change the JSON document `name`."""

    def damage(folder: Path) -> None:
        document = json.loads((folder / name).read_text(encoding="utf-8"))
        change(document)
        (folder / name).write_text(json.dumps(document), encoding="utf-8")

    return damage


def put(name: str, **values: object) -> Damage:
    """Put `values` into the JSON document `name`."""
    return edit(name, lambda document: document.update(values))


def drop(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def overwrite(name: str, content: str | bytes) -> Damage:
    encoded = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(encoded)


def edit_header(change: Callable[[Header], object]) -> Damage:
    """Change the first shard's header and leave its data."""

    def damage(folder: Path) -> None:
        header, data = read_shard(folder / FIRST)
        change(header)
        write_shard(folder / FIRST, header, data)

    return damage


def put_weight(bits: int) -> Damage:
    """Make one weight of ATTENTION the bfloat16 with these bits."""

    def damage(folder: Path) -> None:
        header, data = read_shard(folder / FIRST)
        begin, _ = header[ATTENTION]["data_offsets"]
        struct.pack_into("<H", data, begin + 2 * 300, bits)
        write_shard(folder / FIRST, header, data)

    return damage


def remove_tensor(folder: Path) -> None:
    """Take a tensor out of the shard and out of the index, as an honest tool would that forgot one."""
    header, data = read_shard(folder / FIRST)
    begin, end = header.pop(ATTENTION)["data_offsets"]
    for entry in header.values():
        if "data_offsets" in entry and entry["data_offsets"][0] >= end:
            entry["data_offsets"] = [offset - (end - begin) for offset in entry["data_offsets"]]
    write_shard(folder / FIRST, header, data[:begin] + data[end:])
    edit(INDEX, lambda index: index["weight_map"].pop(ATTENTION))(folder)


def rename_tensor(folder: Path) -> None:
    """Call a tensor as an adapter does."""
    header, data = read_shard(folder / SECOND)
    header["model.norm.lora_A.weight"] = header.pop("model.norm.weight")
    write_shard(folder / SECOND, header, data)
    (folder / INDEX).unlink()
    put("config.json", tie_word_embeddings=True)(folder)
    edit_header(lambda first: first.update({"model.norm.weight": first.pop("model.layers.0.input_layernorm.weight")}))(folder)


def make_odd(folder: Path) -> Path:
    """A checkpoint that differs from nano where it can.

    Tied embeddings, float16, one file, transformers 5's keys, rows of 336 that are no whole number of blocks of 32, more rows of
    embeddings than tokens, a template in a file of its own, merges as texts, other sampling, and a model card.
    """
    folder.mkdir()
    config = json.loads((NANO / "config.json").read_text(encoding="utf-8"))
    del config["rope_theta"], config["torch_dtype"]
    config |= {"dtype": "float16", "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}, "tie_word_embeddings": True}
    config |= {"hidden_size": 320, "intermediate_size": 336, "num_hidden_layers": 2, "vocab_size": 520, "_name_or_path": "someone/odd-1B"}
    config |= {"num_attention_heads": 5, "num_key_value_heads": 1}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = json.loads((NANO / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["merges"] = [" ".join(merge) for merge in tokenizer["model"]["merges"]]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    tokenizer_config = json.loads((NANO / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "chat_template.jinja").write_text(tokenizer_config.pop("chat_template"), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config), encoding="utf-8")
    (folder / "generation_config.json").write_text('{"repetition_penalty": 1.25, "min_p": 0.25}', encoding="utf-8")
    (folder / "README.md").write_text(
        "---\nlicense: apache-2.0\ntags:\n- chat\nbase_model: Qwen/Qwen2.5-32B\n---\n# Odd\n", encoding="utf-8"
    )
    rng = np.random.default_rng(7)
    shapes = {name: tensor.shape for name, tensor in expected_tensors(parse_config(config)).items()}
    write_float16(folder / "model.safetensors", {name: rng.normal(0, 0.05, shape) for name, shape in shapes.items()})
    return folder


def write_float16(path: Path, tensors: dict[str, NDArray[np.float64]]) -> None:
    header: Header = {}
    data = bytearray()
    for name, values in tensors.items():
        encoded = values.astype("<f2").tobytes()
        header[name] = {"dtype": "F16", "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(encoded)]}
        data += encoded
    write_shard(path, header, data)
