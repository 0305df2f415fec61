from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qwq_local.gguf import read_header
from qwq_local.llama import ContextShape
from qwq_local.llama._context import context_params
from qwq_local.models.store import find
from qwq_local.plan.memory import ContextWish, DeviceBytes, estimate, tensor_bytes_of
from qwq_local.plan.shape import QWQ_32B, ModelShape, shape_of
from tests.ghosts import QWEN_0_5B, QWEN_1_5B, write_ghost
from tests.memory_probe import MemoryProbe, probe_memory

ROUNDING_BYTES = 3 * 2**20 // 100
"""llama.cpp logs hundredths of a MiB; the host has two buffers."""


def context(n_ctx: int, kv_type: Any, n_sequences: int = 1) -> ContextShape:
    return ContextShape(n_ctx, 512, n_sequences, n_threads=1, kv_type=kv_type, yarn_factor=4.0, native_ctx=32_768)


def assert_close(said: tuple[DeviceBytes, ...], shape: ModelShape, tensors: dict[str, int], wish: ContextWish) -> None:
    (host,), (ours,) = said, estimate(shape, tensors, wish, 0, ())
    assert host.device == ours.device
    assert host.weights_bytes == ours.weights_bytes
    assert abs(host.kv_bytes - ours.kv_bytes) <= ROUNDING_BYTES
    assert abs(host.compute_bytes - ours.compute_bytes) <= ROUNDING_BYTES
    assert host.total_bytes == host.weights_bytes + host.kv_bytes + host.compute_bytes


@pytest.mark.parametrize(
    ("shape", "quantization"), [(QWQ_32B, "Q4_K_M"), (QWEN_1_5B, "IQ4_XS"), (QWEN_0_5B, "Q8_0")], ids=lambda each: str(each)[:30]
)
def test_llama_cpp_says_of_a_file_without_weights_what_we_estimate(shape: ModelShape, quantization: str, tmp_path: Path) -> None:
    path = write_ghost(tmp_path / "ghost.gguf", shape, quantization)
    tensors = tensor_bytes_of(shape, quantization)
    for n_ctx, kv_type, n_sequences in ((2048, "f16", 4), (32_768, "q8_0", 1), (4096, "f32", 1)):
        said = probe_memory(path, context(n_ctx, kv_type, n_sequences), "native", 0)
        flash_attention = kv_type != "f32"
        assert_close(said, shape, tensors, ContextWish(n_ctx, kv_type, n_sequences, flash_attention=flash_attention))  # type: ignore[arg-type]


def test_llama_cpp_says_of_the_built_in_model_what_we_estimate() -> None:
    header = read_header(find("demo").path)
    tensors = {tensor.name: tensor.size_bytes for tensor in header.tensors}
    said = probe_memory(header.path, context(2048, "f16"), "yarn")
    assert_close(said, shape_of(header), tensors, ContextWish(2048))


def test_several_contexts_can_be_tried_on_one_probe(tmp_path: Path) -> None:
    path = write_ghost(tmp_path / "ghost.gguf", QWEN_0_5B, "Q8_0")
    with MemoryProbe(path, 5, (1.0,)) as probe:
        first, second = (probe.measure(context_params(context(n_ctx, "f16"), "native")) for n_ctx in (1024, 8192))
    assert second[0].kv_bytes == 8 * first[0].kv_bytes
