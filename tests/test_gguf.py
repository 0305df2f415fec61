"""The reader of GGUF headers: right on whole files, quick and unharmed on damaged ones."""

from __future__ import annotations

import ctypes
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_cpp._ctypes_extensions import load_shared_library

from qwq_convert.pipeline import convert
from qwq_local.errors import DamagedFileError, ModelFileError, ModelNotFoundError, NotGgufError
from qwq_local.gguf import GgufArray, GgufHeader, ValueType, read_header
from qwq_local.quants import TENSOR_TYPES
from tests.checkpoints import NANO


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(NANO, tmp_path_factory.mktemp("gguf"), ["Q8_0"]).files[0].path


@pytest.fixture(scope="module")
def header(whole: Path) -> GgufHeader:
    return read_header(whole)


def test_tensor_types_are_those_of_ggml() -> None:
    library = load_shared_library("ggml-base", Path(llama_cpp.__file__).parent / "lib")
    library.ggml_type_name.restype = ctypes.c_char_p
    library.ggml_blck_size.restype = ctypes.c_int64
    library.ggml_type_size.restype = ctypes.c_size_t
    for number, ours in TENSOR_TYPES.items():
        theirs = library.ggml_type_name(number).decode().upper(), library.ggml_blck_size(number), library.ggml_type_size(number)
        assert (ours.name, ours.block_size, ours.block_bytes) == theirs
        assert ours.id == number


def test_a_whole_file_reads_as_with_gguf_py(whole: Path) -> None:
    theirs, ours = gguf.GGUFReader(whole), read_header(whole, arrays=True)
    assert [(t.name, t.shape, t.type.id, t.offset_bytes, t.size_bytes) for t in ours.tensors] == [
        (t.name, tuple(t.shape.tolist()), t.tensor_type, t.data_offset, t.n_bytes) for t in theirs.tensors
    ]
    fields = {key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
    assert {key: list(v.items or ()) if isinstance(v, GgufArray) else v for key, v in ours.metadata.items()} == fields
    assert ours.data_offset_bytes == theirs.data_offset
    assert ours.file_bytes == whole.stat().st_size


def test_arrays_are_only_read_where_wanted(header: GgufHeader) -> None:
    assert header.metadata["tokenizer.ggml.tokens"] == GgufArray(ValueType.STRING, 512, None)
    assert header.metadata["tokenizer.ggml.token_type"] == GgufArray(ValueType.INT32, 512, None)


def test_values_are_read_by_key_and_kind_or_are_the_default(header: GgufHeader) -> None:
    assert header.text("general.architecture") == "qwen2"
    assert header.integer("qwen2.block_count") == 3
    assert header.number("qwen2.rope.freq_base") == 10_000
    assert header.number("qwen2.block_count") == 3
    assert (header.text("none", ""), header.integer("none", 1), header.number("none", 0.5)) == ("", 1, 0.5)


@pytest.mark.parametrize(
    "read",
    [
        lambda header: header.text("none"),
        lambda header: header.integer("none"),
        lambda header: header.number("none"),
        lambda header: header.text("qwen2.block_count"),
        lambda header: header.integer("general.name"),
        lambda header: header.integer("tokenizer.ggml.add_bos_token"),
        lambda header: header.number("tokenizer.ggml.tokens"),
    ],
)
def test_accessors_refuse_what_is_missing_or_of_another_type(read: Callable[[GgufHeader], object], header: GgufHeader) -> None:
    with pytest.raises(DamagedFileError) as caught:
        read(header)
    assert caught.value.hint


def test_a_truncated_file_says_how_much_is_missing(whole: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.gguf"
    short.write_bytes(whole.read_bytes()[:-1000])
    with pytest.raises(DamagedFileError, match="it ends 1,000 bytes before its last tensor does"):
        read_header(short)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", NotGgufError),
        (b"GG", NotGgufError),
        (b"PK\x03\x04" + bytes(100), NotGgufError),
        (b"GGUF", DamagedFileError),
        (struct.pack("<4sIQQ", b"GGUF", 1, 0, 0), NotGgufError),
        (struct.pack(">4sIQQ", b"GGUF", 3, 0, 0), NotGgufError),
        (struct.pack("<4sIQQ", b"GGUF", 3, 2**60, 0), DamagedFileError),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 2**60), DamagedFileError),
    ],
)
def test_what_is_no_gguf_is_refused_by_what_it_is(content: bytes, error: type[ModelFileError], tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(error):
        read_header(path)


def test_a_missing_file_and_a_folder_are_no_model(tmp_path: Path) -> None:
    for path in (tmp_path / "none.gguf", tmp_path):
        with pytest.raises(ModelNotFoundError):
            read_header(path)


def text(value: str | bytes) -> bytes:
    encoded = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def tensor(name: str, shape: tuple[int, ...], type_id: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, type_id, offset)


def build(path: Path, tensors: tuple[bytes, ...] = (), values: tuple[bytes, ...] = (), version: int = 3) -> Path:
    start = struct.pack("<4sIQQ", b"GGUF", version, len(tensors), len(values))
    path.write_bytes(start + b"".join((*values, *tensors)) + bytes(4096))
    return path


def test_version_2_reads_as_version_3_does(tmp_path: Path) -> None:
    header = read_header(build(tmp_path / "two.gguf", (tensor("a", (8, 2)), tensor("b", (8,), 0, 64)), version=2))
    assert [(t.name, t.shape, t.offset_bytes - header.data_offset_bytes) for t in header.tensors] == [("a", (8, 2), 0), ("b", (8,), 64)]


UINT32, STRING, ARRAY = (struct.pack("<I", number) for number in (4, 8, 9))
CONTRADICTIONS: dict[str, tuple[tuple[bytes, ...], tuple[bytes, ...], str]] = {
    "overlap": ((tensor("a", (8, 8)), tensor("b", (8,), 0, 32)), (), "begins at 32 where 256 is due"),
    "gap": ((tensor("a", (8,)), tensor("b", (8,), 0, 64)), (), "begins at 64 where 32 is due"),
    "misaligned": ((tensor("a", (8,)), tensor("b", (8,), 0, 33)), (), "begins at 33"),
    "beyond": ((tensor("a", (10**6,)),), (), "it ends 3,9"),
    "unknown_type": ((tensor("a", (8,), 31),), (), "type 31"),
    "no_dimension": ((tensor("a", ()),), (), "0 dimensions"),
    "five_dimensions": ((tensor("a", (1, 1, 1, 1, 1)),), (), "5 dimensions"),
    "dimension_zero": ((tensor("a", (0, 8)),), (), "the shape (0, 8)"),
    "dimensions_overflow": ((tensor("a", (2**62, 2**62)),), (), "the shape"),
    "broken_block": ((tensor("a", (33, 8), 8),), (), "no whole number of Q8_0 blocks"),
    "tensor_twice": ((tensor("a", (8,)), tensor("a", (8,), 0, 32)), (), "'a' stands there twice"),
    "tensor_name_too_long": ((tensor("a" * 64, (8,)),), (), "64 bytes"),
    "tensor_name_not_utf8": ((text(b"\xff") + bytes(60),), (), "no UTF-8"),
    "key_twice": ((), 2 * (text("k") + UINT32 + bytes(4),), "'k' stands there twice"),
    "key_not_utf8": ((), (text(b"\xc3") + UINT32 + bytes(4),), "no UTF-8"),
    "value_not_utf8": ((), (text("k") + STRING + text(b"\xff"),), "'k' is no UTF-8"),
    "value_of_unknown_type": ((), (text("k") + struct.pack("<I", 13),), "the type 13"),
    "string_of_exabytes": ((), (text("k") + STRING + struct.pack("<Q", 2**63),), "counts 9,223"),
    "string_beyond_the_file": ((), (text("k") + STRING + struct.pack("<Q", 10**6),), "ends within the metadata 'k'"),
    "array_of_arrays": ((), (text("k") + ARRAY + ARRAY + struct.pack("<Q", 1),), "items of ARRAY"),
    "array_of_exabytes": ((), (text("k") + ARRAY + UINT32 + struct.pack("<Q", 2**61),), "items of UINT32"),
    "array_beyond_the_file": ((), (text("k") + ARRAY + UINT32 + struct.pack("<Q", 5000),), "5,000 items"),
    "item_of_exabytes": ((), (text("k") + ARRAY + STRING + struct.pack("<QQ", 2, 2**64 - 1),), "of 'k'"),
    "alignment_zero": ((), (text("general.alignment") + UINT32 + bytes(4),), "general.alignment is 0"),
    "alignment_a_text": ((), (text("general.alignment") + STRING + text("32"),), "general.alignment is '32'"),
}


@pytest.mark.parametrize("fault", CONTRADICTIONS)
@pytest.mark.parametrize("arrays", [False, True])
def test_contradictions_are_named_and_cost_no_memory(fault: str, arrays: bool, tmp_path: Path) -> None:
    tensors, values, named = CONTRADICTIONS[fault]
    path = build(tmp_path / "x.gguf", tensors, values)
    tracemalloc.start()
    with pytest.raises(DamagedFileError) as caught:
        read_header(path, arrays=arrays)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert named in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.hint
    assert peak_bytes < 200_000


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_random_damage_is_either_harmless_or_an_error_of_ours(data: st.DataObject, whole: Path, header: GgufHeader) -> None:
    damaged = np.fromfile(whole, np.uint8, header.data_offset_bytes)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position] ^= np.uint8(1 << data.draw(st.integers(0, 7)))
    path = whole.with_name("damaged.gguf")
    kept_bytes = data.draw(st.one_of(st.just(header.file_bytes), st.integers(0, header.file_bytes)))
    with path.open("wb") as file:
        file.write(damaged.tobytes())
        file.truncate(kept_bytes)
    with suppress(ModelFileError):
        found = read_header(path, arrays=data.draw(st.booleans()))
        assert all(tensor.offset_bytes + tensor.size_bytes <= kept_bytes for tensor in found.tensors)
