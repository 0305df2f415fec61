"""What passes through the weights while a model reads, measured by llama.cpp's evaluation callback."""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from qwq_local.errors import DecodeError, LoadError
from qwq_local.gguf import read_header
from qwq_local.llama import ActivationCollector, ContextShape, _tensor
from qwq_local.models.store import find

RECORDED = Path(__file__).parents[1] / "data" / "imatrix"
"""What llama-imatrix makes of calibration.txt on the demo model, with -c 128 -b 128 --rope-scaling none."""
CHUNK_TOKENS = 128
TEXT = (RECORDED / "calibration.txt").read_text("utf-8")
DEMO = find("demo").path


def open_collector(path: Path = DEMO, n_batch: int = CHUNK_TOKENS, **options: Any) -> ActivationCollector:
    return ActivationCollector(path, ContextShape(CHUNK_TOKENS, n_batch, 1, 1, "f16", 4.0, 8192), "native", n_gpu_layers=0, **options)


def chunks(tokens: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(tokens) - CHUNK_TOKENS + 1, CHUNK_TOKENS):
        yield tokens[start : start + CHUNK_TOKENS]


def test_sums_equal_those_of_llama_imatrix() -> None:
    recorded = {tensor.name: tensor.data for tensor in gguf.GGUFReader(RECORDED / "nano.gguf").tensors}
    with closing(open_collector()) as collector:
        for chunk in chunks(collector.tokenize(TEXT)):
            collector.read(chunk)
    assert {f"{name}.{part}" for name in collector.sums for part in ("in_sum2", "counts")} == recorded.keys()
    for name, sums in collector.sums.items():
        assert sums.n_rows == recorded[f"{name}.counts"][0]
        np.testing.assert_allclose(sums.squares, recorded[f"{name}.in_sum2"], rtol=1e-3, err_msg=name)


@pytest.mark.parametrize("n_batch", [5, 100])
def test_every_token_counts_however_the_batches_fall(n_batch: int) -> None:
    found = []
    for size in (CHUNK_TOKENS, n_batch):
        with closing(open_collector(n_batch=size)) as collector:
            collector.read(next(chunks(collector.tokenize(TEXT))))
        found.append(collector.sums)
    whole, pieces = found
    for name, sums in whole.items():
        assert sums.n_rows == pieces[name].n_rows == CHUNK_TOKENS
        np.testing.assert_allclose(pieces[name].squares, sums.squares, rtol=0.05, err_msg=name)  # the demo's Q8_0 products round


def test_chunks_do_not_see_each_other() -> None:
    with closing(open_collector()) as collector:
        chunk = next(chunks(collector.tokenize(TEXT)))
        collector.read(chunk)
        once = dict(collector.sums)
        collector.read(chunk)
    for name, sums in collector.sums.items():
        np.testing.assert_array_equal(sums.squares, 2 * once[name].squares)
        assert sums.n_rows == 2 * CHUNK_TOKENS


def test_the_output_layer_is_measured_only_when_asked_for() -> None:
    with closing(open_collector(with_output=True)) as collector:
        collector.read(next(chunks(collector.tokenize(TEXT))))
    assert collector.sums["output.weight"].n_rows == CHUNK_TOKENS
    assert len(collector.sums) == 22


def test_control_tokens_in_a_text_are_ordinary_and_its_last_newline_is_dropped() -> None:
    with closing(open_collector()) as collector:
        assert len(collector.tokenize("<|im_end|>")) > 1
        assert len(collector.tokenize("<think>")) == 1  # a user-defined token, which llama.cpp always parses
        assert collector.tokenize("7\n") == collector.tokenize("7")
        assert len(collector.tokenize("7\n\n")) == 2


def damaged_demo(folder: Path, change: Callable[[bytearray], None]) -> Path:
    content = bytearray(DEMO.read_bytes())
    change(content)
    (folder / "damaged.gguf").write_bytes(content)
    return folder / "damaged.gguf"


def test_a_model_that_wants_a_first_token_gets_it_in_every_chunk(tmp_path: Path) -> None:
    def add_bos(content: bytearray) -> None:
        key = b"tokenizer.ggml.add_bos_token"
        content[content.index(key) + len(key) + 4] = 1

    with closing(open_collector()) as plain:
        tokens = plain.tokenize(TEXT)
        plain.read([503, *tokens[1:CHUNK_TOKENS]])
    with closing(open_collector(damaged_demo(tmp_path, add_bos))) as collector:
        assert collector.tokenize(TEXT) == [503, *tokens]
        collector.read(tokens[:CHUNK_TOKENS])
    for name, sums in plain.sums.items():
        np.testing.assert_array_equal(collector.sums[name].squares, sums.squares)


def test_numbers_that_are_none_end_the_reading_and_name_the_weight(tmp_path: Path) -> None:
    header = read_header(DEMO)
    (norm,) = (tensor for tensor in header.tensors if tensor.name == "blk.1.ffn_norm.weight")

    def put_nan(content: bytearray) -> None:
        content[norm.offset_bytes : norm.offset_bytes + 4] = struct.pack("<f", math.nan)

    with closing(open_collector(damaged_demo(tmp_path, put_nan))) as collector:
        chunk = next(chunks(collector.tokenize(TEXT)))
        with pytest.raises(DecodeError, match=r"blk\.1\.ffn_(gate|up)\.weight is NaN"):
            collector.read(chunk)


def test_a_failure_inside_the_callback_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(_tensor.Tensor, "rows", fail)
    with closing(open_collector()) as collector:
        chunk = next(chunks(collector.tokenize(TEXT)))
        with pytest.raises(MemoryError, match="no room"):
            collector.read(chunk)


def test_a_library_whose_tensors_are_laid_out_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shifted(ctypes.Structure):
        _fields_ = [("new", ctypes.c_int64), *_tensor.Tensor._fields_]

    monkeypatch.setattr(_tensor, "Tensor", Shifted)
    _tensor.mul_mat_op.cache_clear()
    try:
        with pytest.raises(LoadError, match="lays its tensors out"):
            open_collector()
    finally:
        _tensor.mul_mat_op.cache_clear()


def test_a_model_that_cannot_be_loaded_is_a_load_error(tmp_path: Path) -> None:
    (tmp_path / "no.gguf").write_bytes(b"GGUF")
    with pytest.raises(LoadError, match="could not load"):
        open_collector(tmp_path / "no.gguf")
