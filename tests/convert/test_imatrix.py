"""The two formats of importance matrices, read and written."""

from __future__ import annotations

import errno
import math
import os
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from qwq_convert.imatrix import Dataset, Importance, read_importance, require_writable, write_importance
from qwq_convert.measure import MeasuringChoices, MeasuringProgress, MeasuringReport, measure_importance
from qwq_convert.metadata import KeyValue
from qwq_local.errors import ConversionError, QwqError
from qwq_local.loading import context_shape
from qwq_local.models.store import find

RECORDED = Path(__file__).parents[1] / "data" / "imatrix"
"""What llama-imatrix makes of calibration.txt on the demo model, with -c 128 -b 128 --rope-scaling none."""
DATASET = Dataset("calibration.txt", 13, 128)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def recorded_arrays() -> dict[str, NDArray[np.float32]]:
    return {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(RECORDED / "nano.gguf").tensors}


def write_raw(path: Path, tensors: dict[str, NDArray[Any]], **metadata: int | list[str]) -> Path:
    """A GGUF file with just these tensors; the keys of an importance matrix can be replaced or, with None, left out."""
    values: dict[str, Any] = {"datasets": ["a.txt"], "chunk_count": 1, "chunk_size": 512} | metadata
    writer = gguf.GGUFWriter(path, "imatrix")
    for key, value in values.items():
        if isinstance(value, list):
            writer.add_array(f"imatrix.{key}", value)
        elif value is not None:
            writer.add_int64(f"imatrix.{key}", value)
    for name, array in tensors.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def dat(*entries: tuple[bytes, int, list[float]], trailer: bytes = b"") -> bytes:
    parts = [struct.pack("<i", len(entries))]
    parts += [struct.pack(f"<i{len(n)}sii{len(v)}f", len(n), n, calls, len(v), *v) for n, calls, v in entries]
    return b"".join(parts) + trailer


def floats(*values: float) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


# --- the formats


def test_the_recorded_file_reads_as_sums_over_counts() -> None:
    recorded, found = recorded_arrays(), read_importance(RECORDED / "nano.gguf")
    assert len(found) == 21
    for name, values in found.items():
        np.testing.assert_array_equal(values, recorded[f"{name}.in_sum2"] / recorded[f"{name}.counts"])
    assert (found.datasets, found.n_chunks) == (("calibration.txt",), 13)


def test_both_formats_of_one_matrix_read_alike() -> None:
    new, old = (read_importance(RECORDED / f"nano.{suffix}") for suffix in ("gguf", "dat"))
    assert new.keys() == old.keys()
    for name in new:
        np.testing.assert_allclose(new[name], old[name], rtol=1e-6)
    assert (old.datasets, old.n_chunks) == (new.datasets, new.n_chunks)


def test_the_file_written_has_the_bytes_that_llama_imatrix_writes(tmp_path: Path) -> None:
    recorded = recorded_arrays()
    weights = [name.removesuffix(".in_sum2") for name in recorded if name.endswith(".in_sum2")]
    sums = {name: (recorded[f"{name}.in_sum2"].astype(np.float64), int(recorded[f"{name}.counts"][0])) for name in reversed(weights)}
    write_importance(tmp_path / "made.gguf", sums, DATASET)
    assert (tmp_path / "made.gguf").read_bytes() == (RECORDED / "nano.gguf").read_bytes()
    assert names(tmp_path) == ["made.gguf"]


@given(
    sums=arrays.arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1e30)),
    count=st.integers(0, 2**24),
    dataset=st.text(min_size=1, max_size=200),
    n_chunks=st.integers(0, 2**31 - 1),
)
def test_what_is_written_is_read(
    sums: NDArray[np.float64], count: int, dataset: str, n_chunks: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("written") / "a.gguf"
    write_importance(path, {"blk.0.attn_q.weight": (sums, count)}, Dataset(dataset, n_chunks, 512))
    found = read_importance(path)
    due = sums.astype(np.float32) / np.float32(count) if count else np.ones(len(sums), np.float32)
    np.testing.assert_array_equal(found["blk.0.attn_q.weight"], due)
    assert (found.datasets, found.n_chunks) == ((dataset,), n_chunks)


def test_each_matrix_has_its_count_and_one_without_any_gets_ones(tmp_path: Path) -> None:
    experts = {"e.in_sum2": np.arange(6, dtype=np.float32).reshape(3, 2), "e.counts": floats(2, 0, 2.6).reshape(3, 1)}
    found = read_importance(write_raw(tmp_path / "a.gguf", experts))
    np.testing.assert_array_equal(found["e"], floats(0, 0.5, 1, 1, 4, 5) / floats(1, 1, 1, 1, 3, 3))


def test_an_old_file_is_divided_by_its_calls_if_it_has_any(tmp_path: Path) -> None:
    path = tmp_path / "a.dat"
    path.write_bytes(dat((b"a", 4, [2.0, 6.0]), (b"b", 0, [2.0, 6.0])))
    found = read_importance(path)
    assert (found["a"].tolist(), found["b"].tolist()) == ([0.5, 1.5], [2.0, 6.0])
    assert (found.datasets, found.n_chunks) == ((), 0)


def test_metadata_says_what_llama_quantize_says() -> None:
    long = "é" * 70
    assert Importance(Path("i.gguf"), {"a": floats(1)}, (long, "b"), 7).metadata() == (
        KeyValue("quantize.imatrix.file", "string", "i.gguf"),
        KeyValue("quantize.imatrix.dataset", "string", "é" * 63),
        KeyValue("quantize.imatrix.entries_count", "uint32", 1),
        KeyValue("quantize.imatrix.chunks_count", "uint32", 7),
    )
    assert [value.key for value in Importance(Path("i.gguf"), {}, (), 0).metadata()] == [
        "quantize.imatrix.file",
        "quantize.imatrix.entries_count",
    ]


# --- bad files

GOOD = {"a.in_sum2": floats(1, 2), "a.counts": floats(1)}
BAD_GGUF: dict[str, tuple[dict[str, NDArray[Any]], dict[str, Any], str]] = {
    "a_model": ({"a.weight": floats(1)}, {}, "holds no importance matrix"),
    "counts_missing": ({"a.in_sum2": floats(1)}, {}, r"it lacks 'a\.counts'"),
    "sums_missing": ({"a.counts": floats(1)}, {}, r"it lacks 'a\.in_sum2'"),
    "half_sums": ({**GOOD, "a.in_sum2": np.ones(2, np.float16)}, {}, r"'a\.in_sum2' is F16"),
    "more_counts_than_sums": ({**GOOD, "a.counts": floats(1, 2, 3)}, {}, "2 sums for 3 counts"),
    "count_negative": ({**GOOD, "a.counts": floats(-1)}, {}, "negative or no number"),
    "count_infinite": ({**GOOD, "a.counts": floats(math.inf)}, {}, "negative or no number"),
    "sum_nan": ({**GOOD, "a.in_sum2": floats(1, math.nan)}, {}, "'a' holds nan"),
    "sum_infinite": ({**GOOD, "a.in_sum2": floats(math.inf, 1)}, {}, "'a' holds inf"),
    "sum_negative": ({**GOOD, "a.in_sum2": floats(1, -2)}, {}, r"'a' holds -2\.0"),
    "no_datasets": (GOOD, {"datasets": None}, "for imatrix.datasets"),
    "datasets_a_number": (GOOD, {"datasets": 3}, "for imatrix.datasets"),
    "no_chunk_count": (GOOD, {"chunk_count": None}, "lacks the metadata 'imatrix.chunk_count'"),
    "no_chunk_size": (GOOD, {"chunk_size": None}, "lacks the metadata 'imatrix.chunk_size'"),
    "chunks_negative": (GOOD, {"chunk_count": -1}, "counts -1 chunks"),
    "chunks_beyond_reason": (GOOD, {"chunk_count": 2**31}, "counts 2,147,483,648 chunks"),
}
TRAILER = struct.pack("<ii", 3, 0)
BAD_DAT: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "would take 4 bytes, and 0 are left"),
    "text": (b"hello, this is a text\n", "would take"),
    "no_entries": (struct.pack("<i", 0), "the number of its entries is 0"),
    "entries_negative": (struct.pack("<i", -1), "the number of its entries is -1"),
    "more_entries_than_file": (struct.pack("<i", 2**31 - 1) + dat((b"a", 1, [1.0]))[4:], "left"),
    "name_beyond_the_file": (struct.pack("<ii", 1, 2**31 - 1), "would take 2,147,483,647 bytes"),
    "name_empty": (dat((b"", 1, [1.0])), "the length of a weight's name is 0"),
    "name_no_utf8": (dat((b"\xff", 1, [1.0])), "no UTF-8"),
    "values_beyond_the_file": (struct.pack("<iicii", 1, 1, b"a", 1, 2**31 - 1), "would take"),
    "values_none": (dat((b"a", 1, [])), "the number of the values of 'a' is 0"),
    "twice": (dat((b"a", 1, [1.0]), (b"a", 1, [1.0])), "'a' stands there twice"),
    "nan": (dat((b"a", 1, [math.nan])), "'a' holds nan"),
    "negative": (dat((b"a", 1, [-1.0])), r"'a' holds -1\.0"),
    "dataset_beyond_the_file": (dat((b"a", 1, [1.0]), trailer=struct.pack("<ii", 3, 9)), "the dataset's name would take"),
    "chunks_negative": (dat((b"a", 1, [1.0]), trailer=struct.pack("<i", -3)), "the number of chunks is -3"),
    "longer": (dat((b"a", 1, [1.0]), trailer=TRAILER + b"\0"), "1 bytes follow its end"),
}


@pytest.mark.parametrize("fault", BAD_GGUF)
def test_a_bad_gguf_file_is_refused_by_name(fault: str, tmp_path: Path) -> None:
    tensors, metadata, message = BAD_GGUF[fault]
    path = write_raw(tmp_path / "bad.gguf", tensors, **metadata)
    with pytest.raises(ConversionError, match=message) as caught:
        read_importance(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("fault", BAD_DAT)
def test_a_bad_old_file_is_refused_by_name(fault: str, tmp_path: Path) -> None:
    content, message = BAD_DAT[fault]
    path = tmp_path / "bad.dat"
    path.write_bytes(content)
    with pytest.raises(ConversionError, match=message) as caught:
        read_importance(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint


def test_a_missing_file_and_a_folder_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none.gguf", tmp_path):
        with pytest.raises(ConversionError, match="cannot be read"):
            read_importance(path)


def small_file(suffix: str, folder: Path) -> bytes:
    if suffix == "dat":
        return dat((b"blk.0.attn_q.weight", 2, [1.0, 2.0]), (b"blk.1.ffn_up.weight", 2, [0.5]), trailer=TRAILER)
    write_importance(folder / "good.gguf", {"blk.0.attn_q.weight": (np.ones(8), 2), "blk.1.ffn_up.weight": (np.ones(3), 2)}, DATASET)
    return (folder / "good.gguf").read_bytes()


@pytest.mark.parametrize("suffix", ["gguf", "dat"])
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    suffix: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    content = bytearray(small_file(suffix, folder))
    for _ in range(data.draw(st.integers(0, 3), "flips")):
        content[data.draw(st.integers(0, len(content) - 1), "place")] ^= 1 << data.draw(st.integers(0, 7), "bit")
    path = folder / "damaged"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)), "length")])
    match outcome(path):
        case str(error):
            assert str(path) in error
        case found:
            assert all(values.size and np.isfinite(values).all() and (values >= 0).all() for values in found.values())


def outcome(path: Path) -> Importance | str:
    try:
        return read_importance(path)
    except QwqError as error:
        return str(error)


# --- the disk


def refuse_to_write(_: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_keeps_the_file_that_was_there_and_leaves_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"before")
    monkeypatch.setattr(os, "fsync", refuse_to_write)
    with pytest.raises(ConversionError, match="cannot be written: No space left"):
        write_importance(path, {"a": (np.ones(3), 1)}, DATASET)
    assert names(tmp_path) == ["a.gguf"]
    assert path.read_bytes() == b"before"


def test_sums_beyond_float32_are_refused(tmp_path: Path) -> None:
    for value in (1e39, math.nan):
        with pytest.raises(ConversionError, match="too large for float32"):
            write_importance(tmp_path / "a.gguf", {"a": (np.array([value]), 1)}, DATASET)
    assert names(tmp_path) == []


def test_a_file_is_kept_unless_replacing_it_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.gguf"
    require_writable(path, force=False)
    path.write_bytes(b"")
    require_writable(path, force=True)
    with pytest.raises(ConversionError, match="exists already"):
        require_writable(path, force=False)
    with pytest.raises(ConversionError, match="exists already"):
        require_writable(tmp_path, force=True)
    with pytest.raises(ConversionError, match="cannot be written"):
        require_writable(path / "b.gguf", force=True)


# --- the whole of it, called from Python


def test_a_text_is_measured_chunk_by_chunk_and_told_of_while_it_is(tmp_path: Path) -> None:
    model, heard = find("demo"), list[MeasuringProgress]()
    choices = MeasuringChoices(max_chunks=3, n_gpu_layers=0)
    report = measure_importance(
        model.path, context_shape(model, 128), RECORDED / "calibration.txt", tmp_path / "a.gguf", choices, heard.append
    )
    assert report == MeasuringReport(n_tensors=21, n_chunks=3)
    assert [(each.done, each.total) for each in heard if each.stage == "reading"] == [(0, 3), (1, 3), (2, 3)]
    assert [each.done for each in heard if each.stage == "loading"][-1] == 1.0
    assert read_importance(tmp_path / "a.gguf").n_chunks == 3
