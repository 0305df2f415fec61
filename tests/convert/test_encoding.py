"""Tensors quantized in many threads: the bytes of a plain loop, whatever the threads, the pieces and the faults."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from qwq_convert.encoding import Encoder, in_order
from qwq_convert.quantize import encode
from qwq_convert.weights import Column, SourceTensor
from qwq_local.errors import ConversionError
from qwq_local.llama import quantize_rows
from qwq_local.quants import BF16, F16, F32, Q8_0, QUANTIZATIONS, TensorType
from qwq_local.quants.tensor_types import IQ2_XXS, IQ3_S, Q2_K, Q4_K, Q6_K

ROW = 256
TYPES = (F32, F16, BF16, Q8_0, Q6_K)
ALL_TYPES = [
    pytest.param(found, id=found.name, marks=[pytest.mark.slow] if found.name.startswith(("IQ1", "IQ2")) else [])
    for found in sorted({quantization.base for quantization in QUANTIZATIONS.values()}, key=lambda found: found.id)
]
"""ggml takes seconds to make the tables of the lowest."""


def write(path: Path, values: NDArray[np.generic], dtype: str) -> SourceTensor:
    """A file with only the tensor's bytes after a few others."""
    path.write_bytes(b"before" + values.tobytes())
    return SourceTensor("w", dtype, values.shape, path, 6)


def weights(n_rows: int, row_length: int = ROW) -> NDArray[np.float32]:
    return np.random.default_rng(n_rows).normal(0, 0.02, (n_rows, row_length)).astype(np.float32)


def rounded(rows: NDArray[np.float32], tensor_type: TensorType, importance: Column | None) -> NDArray[np.uint8]:
    """A quantizer that is quick, and tells rows and importance apart."""
    sums: NDArray[np.float64] = (rows * (1 if importance is None else importance)).sum(axis=1, dtype=np.float64) * tensor_type.id
    return sums.reshape(-1, 1).view(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encoding")


@given(
    n_rows=st.integers(1, 40),
    n_threads=st.integers(1, 5),
    piece_bytes=st.integers(1, 20 * 4 * ROW),
    types=st.sets(st.sampled_from(TYPES)),
    with_importance=st.booleans(),
)
def test_the_bytes_are_those_of_a_plain_loop(
    n_rows: int, n_threads: int, piece_bytes: int, types: set[TensorType], with_importance: bool, folder: Path
) -> None:
    rows = weights(n_rows)
    importance = np.arange(ROW, dtype=np.float32) if with_importance else None
    tensor = write(folder / "any", rows, "F32")
    with Encoder(n_threads, quantize=rounded, piece_bytes=piece_bytes) as encoder:
        pieces = list(encoder.encode(tensor, types, importance))
    assert len(pieces) == -(-n_rows // max(1, piece_bytes // (4 * ROW)))
    for each in types:
        assert np.concatenate([piece[each] for piece in pieces]).tobytes() == encode("w", rows, each, importance, rounded).tobytes()


@pytest.mark.parametrize("tensor_type", ALL_TYPES)
def test_ggml_makes_the_same_of_pieces_as_of_the_whole(tensor_type: TensorType, folder: Path) -> None:
    rows, importance = weights(9), np.linspace(0.5, 2, ROW, dtype=np.float32)
    tensor = write(folder / tensor_type.name, rows, "F32")
    with Encoder(3, piece_bytes=2 * 4 * ROW) as encoder:
        pieces = list(encoder.encode(tensor, {tensor_type}, importance))
    assert np.concatenate([piece[tensor_type] for piece in pieces]).tobytes() == quantize_rows(rows, tensor_type, importance).tobytes()


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_half_width_weights_are_widened_exactly(dtype: str, folder: Path) -> None:
    exact = (weights(5).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32) if dtype == "BF16" else weights(5).astype("<f2")
    stored = (exact.view(np.uint32) >> 16).astype("<u2") if dtype == "BF16" else exact
    with Encoder(2, piece_bytes=4 * ROW) as encoder:
        pieces = list(encoder.encode(write(folder / dtype, stored, dtype), {F32, BF16 if dtype == "BF16" else F16}))
    assert b"".join(piece[F32].tobytes() for piece in pieces) == exact.astype(np.float32).tobytes()
    assert b"".join(piece[BF16 if dtype == "BF16" else F16].tobytes() for piece in pieces) == stored.tobytes()


def test_a_vector_is_one_row(folder: Path) -> None:
    with Encoder(2) as encoder:
        (piece,) = encoder.encode(write(folder / "vector", weights(1)[0], "F32"), {F32})
    assert piece[F32].tobytes() == weights(1).tobytes()


@given(n_items=st.integers(0, 30), n_ahead=st.integers(1, 8), n_threads=st.integers(1, 4))
@settings(deadline=None)
def test_work_done_side_by_side_comes_out_in_order_and_never_far_ahead(n_items: int, n_ahead: int, n_threads: int) -> None:
    begun = 0

    def items() -> Iterator[int]:
        nonlocal begun
        for item in range(n_items):
            begun += 1
            yield item

    def work(item: int) -> int:
        time.sleep(0.0002 * (item % 3))
        return item * item

    with ThreadPoolExecutor(n_threads) as pool:
        for taken, result in enumerate(in_order(pool, work, items(), n_ahead)):
            assert result == taken * taken
            assert begun - taken <= n_ahead + 1
    assert begun == n_items


@given(failing=st.integers(0, 19), n_ahead=st.integers(1, 8), n_threads=st.integers(1, 4))
@settings(deadline=None)
def test_an_error_comes_out_at_its_turn_and_ends_the_rest(failing: int, n_ahead: int, n_threads: int) -> None:
    started: list[int] = []

    def work(item: int) -> int:
        started.append(item)
        if item == failing:
            raise ConversionError("torn")
        return item

    got: list[int] = []
    with ThreadPoolExecutor(n_threads) as pool, pytest.raises(ConversionError, match="torn"):
        got.extend(in_order(pool, work, range(20), n_ahead))
    assert len(started) <= failing + n_ahead


def test_leaving_in_the_middle_waits_for_nothing_more(folder: Path) -> None:
    tensor = write(folder / "left", weights(400), "F32")
    calls = 0
    lock = threading.Lock()

    def slow(rows: NDArray[np.float32], tensor_type: TensorType, importance: Column | None) -> NDArray[np.uint8]:
        nonlocal calls
        with lock:
            calls += 1
        time.sleep(0.005)
        return rounded(rows, tensor_type, importance)

    with Encoder(2, quantize=slow, piece_bytes=4 * ROW) as encoder:
        next(iter(encoder.encode(tensor, {Q6_K})))
    assert calls <= 8


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused_by_name(bad: float, folder: Path) -> None:
    rows = weights(20)
    rows[17, 3] = bad
    tensor = write(folder / "bad", rows, "F32")
    with Encoder(2, piece_bytes=4 * ROW) as encoder, pytest.raises(ConversionError, match="Tensor w holds a weight that is NaN"):
        list(encoder.encode(tensor, {F32}))
    with Encoder(2, allow_nonfinite=True) as encoder:
        (piece,) = encoder.encode(tensor, {F32, BF16, F16})
        for each in (F32, BF16, F16):
            found = gguf.dequantize(piece[each], gguf.GGMLQuantizationType[each.name])[17, 3]
            assert np.array_equal(found, bad, equal_nan=True)
        with pytest.raises(ConversionError, match="which Q4_K cannot express"):
            list(encoder.encode(tensor, {Q4_K}))


@pytest.mark.parametrize(("tensor_type", "large"), [(F16, 1e5), (BF16, 3.4e38), (Q8_0, 1e38), (Q4_K, 1e38)])
def test_a_weight_too_large_for_its_type_is_refused(tensor_type: TensorType, large: float, folder: Path) -> None:
    rows = weights(3)
    rows[1, 7] = large
    with (
        Encoder(1) as encoder,
        pytest.raises(ConversionError, match=f"w cannot be converted: a weight is too large for {tensor_type.name}"),
    ):
        list(encoder.encode(write(folder / "large", rows, "F32"), {tensor_type}))


def test_importance_beyond_all_measure_is_refused_where_ggml_would_end_the_process(folder: Path) -> None:
    importance = np.full(ROW, 1e38, np.float32)
    with Encoder(1) as encoder, pytest.raises(ConversionError, match="a column is too important for IQ3_S"):
        list(encoder.encode(write(folder / "important", weights(3), "F32"), {IQ3_S}, importance))


def test_a_file_that_became_shorter_is_an_error(folder: Path) -> None:
    tensor = write(folder / "torn", weights(30), "F32")
    with (folder / "torn").open("r+b") as file:
        file.truncate(6 + 4 * ROW * 20)
    with Encoder(2, piece_bytes=4 * ROW) as encoder, pytest.raises(ConversionError, match="ended within w"):
        list(encoder.encode(tensor, {Q8_0}))


def test_types_that_cannot_do_without_importance_say_so() -> None:
    with pytest.raises(ValueError, match="IQ2_XXS cannot be made without"):
        quantize_rows(weights(1), IQ2_XXS)
    with pytest.raises(ValueError, match="shape"):
        quantize_rows(weights(1), Q2_K, np.ones(8, np.float32))


def test_importance_makes_a_difference() -> None:
    importance = np.where(np.arange(ROW) % 2, 100, 0.01).astype(np.float32)
    for each in (Q2_K, Q4_K, IQ3_S):
        assert quantize_rows(weights(2), each, importance).tobytes() != quantize_rows(weights(2), each).tobytes()
    assert quantize_rows(weights(2), Q8_0, importance).tobytes() == quantize_rows(weights(2), Q8_0).tobytes()


@pytest.mark.parametrize("tensor_type", [F32, BF16, F16, Q8_0], ids=lambda found: found.name)
@given(data=st.data())
def test_any_weights_are_rounded_as_gguf_py_rounds_them(tensor_type: TensorType, data: st.DataObject) -> None:
    limit = 65504.0 if tensor_type is F16 else 2.0**127
    # gguf-py divides by the scale, which must not be so small that this overflows.
    elements = st.integers(-(2**24), 2**24).map(lambda n: n / 2**14) if tensor_type is Q8_0 else st.floats(-limit, limit, width=32)
    rows = data.draw(arrays.arrays(np.float32, (2, 64), elements=elements))
    due = gguf.quantize(rows, gguf.GGMLQuantizationType[tensor_type.name])
    assert encode("w", rows, tensor_type, None, quantize_rows).tobytes() == due.tobytes()
