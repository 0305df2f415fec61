"""Damaged checkpoints by the hundred: each damage is one that no honest copy of a checkpoint can have, drawn by a seed."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from pathlib import Path

from tests.checkpoints import FIRST, INDEX, SECOND, Damage, drop, edit, overwrite, put, read_shard, write_shard

JSON_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", INDEX)
SHARDS = (FIRST, SECOND)
SIZES = (
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "vocab_size",
)
NOT_SIZES: tuple[object, ...] = (None, 0, -1, 1.5, "256", [], {}, True, 2**40, float("nan"), 7)
NOT_NUMBERS: tuple[object, ...] = (None, 0, -1e-6, "1e-6", [], False, float("inf"))


def random_damages(seed: int, count: int) -> Iterator[tuple[str, Damage]]:
    """`count` damages and what they do."""
    rng = random.Random(seed)
    makers = (
        _cut,
        _broken_json,
        _not_text,
        _twice,
        _missing,
        _size,
        _number,
        _entry,
        _length,
        _weight,
        _lost,
        _renamed,
        _vocabulary,
        _index,
    )
    for number in range(count):
        yield makers[number % len(makers)](rng)


def _cut(rng: random.Random) -> tuple[str, Damage]:
    name, share = rng.choice((*JSON_FILES, *SHARDS)), rng.random()

    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes().rstrip() if name in JSON_FILES else (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])

    return f"{name} cut after {share:.3%}", damage


def _broken_json(rng: random.Random) -> tuple[str, Damage]:
    name, share, junk = rng.choice(JSON_FILES), rng.random(), rng.choice(("\x00", "\n}\n{", '"\n"', "\x01"))

    def damage(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8").rstrip()
        at = int(share * len(text))
        (folder / name).write_text(text[:at] + junk + text[at:], encoding="utf-8")

    return f"{name} with {junk!r} at {share:.3%}", damage


def _not_text(rng: random.Random) -> tuple[str, Damage]:
    name, share = rng.choice(JSON_FILES), rng.random()

    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        at = int(share * len(content))
        (folder / name).write_bytes(content[:at] + b"\xff" + content[at:])

    return f"{name} with a byte that is no UTF-8 at {share:.3%}", damage


def _twice(rng: random.Random) -> tuple[str, Damage]:
    name = rng.choice(JSON_FILES)

    def damage(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        key = json.dumps(rng.choice(list(json.loads(text))))
        (folder / name).write_text(text.replace("{", f"{{{key}: 1, ", 1), encoding="utf-8")

    return f"{name} with a key twice", damage


def _missing(rng: random.Random) -> tuple[str, Damage]:
    name = rng.choice(("config.json", "tokenizer.json", *SHARDS))
    content = rng.choice((None, b"", b"null", b"[1]"))
    return (f"{name} missing", drop(name)) if content is None else (f"{name} of {content!r}", overwrite(name, content))


def _size(rng: random.Random) -> tuple[str, Damage]:
    key, value = rng.choice(SIZES), rng.choice(NOT_SIZES)
    return f"{key} of {value!r}", put("config.json", **{key: value})


def _number(rng: random.Random) -> tuple[str, Damage]:
    key, value = rng.choice(("rms_norm_eps", "rope_theta")), rng.choice(NOT_NUMBERS)
    return f"{key} of {value!r}", put("config.json", **{key: value})


def _entry(rng: random.Random) -> tuple[str, Damage]:
    shard, field, pick = rng.choice(SHARDS), rng.choice(("dtype", "shape", "data_offsets", "all")), rng.random()
    value: object = {
        "dtype": rng.choice(("I8", "F64", "F8_E4M3", 7, None, "F32")),
        "shape": rng.choice(([], [0], [-1, 5], ["256"], [2**62, 4], None, 256, [3, 5], [1.0])),
        "data_offsets": rng.choice(([0], [5, 3], [-8, 0], [2**60, 2**61], None, ["0", "8"], [1, 3], [0.0, 8.0])),
        "all": rng.choice((None, 5, [], "weights", {})),
    }[field]

    def damage(folder: Path) -> None:
        header, data = read_shard(folder / shard)
        name = _pick(header, pick)
        if field == "all":
            header[name] = value
        else:
            header[name][field] = value
        write_shard(folder / shard, header, data)

    return f"{field} of a tensor in {shard} as {value!r}", damage


def _length(rng: random.Random) -> tuple[str, Damage]:
    shard, length = rng.choice(SHARDS), rng.choice((0, 1, 2**63, 2**64 - 1, 10**8, rng.randrange(2, 2000)))

    def damage(folder: Path) -> None:
        content = (folder / shard).read_bytes()
        (folder / shard).write_bytes(struct.pack("<Q", length) + content[8:])

    return f"{shard} claiming a header of {length}", damage


def _weight(rng: random.Random) -> tuple[str, Damage]:
    shard, pick, place, bits = rng.choice(SHARDS), rng.random(), rng.random(), rng.choice((0x7F80, 0xFF80, 0x7FC0, 0x7F81, 0xFFFF))

    def damage(folder: Path) -> None:
        header, data = read_shard(folder / shard)
        begin, end = header[_pick(header, pick)]["data_offsets"]
        struct.pack_into("<H", data, begin + int(place * (end - begin)) // 2 * 2, bits)
        write_shard(folder / shard, header, data)

    return f"a weight in {shard} of the bits {bits:04x}", damage


def _lost(rng: random.Random) -> tuple[str, Damage]:
    shard, pick = rng.choice(SHARDS), rng.random()

    def damage(folder: Path) -> None:
        header, data = read_shard(folder / shard)
        name = _pick(header, pick)
        begin, end = header.pop(name)["data_offsets"]
        for entry in header.values():
            if "data_offsets" in entry and entry["data_offsets"][0] >= end:
                entry["data_offsets"] = [offset - (end - begin) for offset in entry["data_offsets"]]
        write_shard(folder / shard, header, data[:begin] + data[end:])
        edit(INDEX, lambda index: index["weight_map"].pop(name))(folder)

    return f"a tensor lost from {shard}", damage


def _renamed(rng: random.Random) -> tuple[str, Damage]:
    shard, pick, ending = rng.choice(SHARDS), rng.random(), rng.choice((".lora_A", ".qweight", "x", ""))

    def damage(folder: Path) -> None:
        header, data = read_shard(folder / shard)
        name = _pick(header, pick)
        header[name + ending if ending else "weight"] = header.pop(name)
        write_shard(folder / shard, header, data)
        (folder / INDEX).unlink()

    return f"a tensor of {shard} renamed with {ending!r}", damage


def _vocabulary(rng: random.Random) -> tuple[str, Damage]:
    pick, token_id = rng.random(), rng.choice((-1, 2**31, "7", None, 1.5, 512, 3))

    def damage(folder: Path) -> None:
        def change(tokenizer: dict[str, dict[str, dict[str, object]]]) -> None:
            vocabulary = tokenizer["model"]["vocab"]
            assert isinstance(vocabulary, dict)
            names = [name for name, number in vocabulary.items() if number != token_id]
            vocabulary[names[int(pick * len(names))]] = token_id

        edit("tokenizer.json", change)(folder)

    return f"a token with the id {token_id!r}", damage


def _index(rng: random.Random) -> tuple[str, Damage]:
    pick, shard = rng.random(), rng.choice(("../" + FIRST, "/etc/passwd", "", 5, None, "model-00003-of-00002.safetensors", "other"))

    def damage(folder: Path) -> None:
        edit(INDEX, lambda index: index["weight_map"].update({_pick(index["weight_map"], pick): shard}))(folder)

    return f"a tensor put into {shard!r} by the index", damage


def _pick(table: dict[str, object], share: float) -> str:
    names = sorted(name for name in table if name != "__metadata__")
    return names[int(share * len(names))]
