from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from qwq_local.errors import LoadError, ModelNotFoundError, NotGgufError
from qwq_local.gguf import read_header
from qwq_local.llama import ContextShape, MemoryProbe, ProbedMemory, probe_memory
from qwq_local.llama._context import context_params
from qwq_local.models.store import find
from qwq_local.plan.memory import ContextWish, estimate, tensor_bytes_of
from qwq_local.plan.shape import QWQ_32B, ModelShape, shape_of
from qwq_local.runtime import QwQ
from tests.ghosts import QWEN_0_5B, QWEN_1_5B, write_ghost

ROUNDING_BYTES = 3 * 2**20 // 100
"""llama.cpp logs hundredths of a MiB; the host has two buffers."""


def context(n_ctx: int, kv_type: Any, n_sequences: int = 1) -> ContextShape:
    return ContextShape(n_ctx, 512, n_sequences, n_threads=1, kv_type=kv_type, yarn_factor=4.0, native_ctx=32_768)


def assert_close(said: tuple[ProbedMemory, ...], shape: ModelShape, tensors: dict[str, int], wish: ContextWish) -> None:
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


def test_a_file_that_llama_cpp_refuses_is_refused_with_its_words(tmp_path: Path) -> None:
    path = write_ghost(tmp_path / "ghost.gguf", QWEN_0_5B, "Q8_0")
    with path.open("r+b") as file:
        header = file.read(8192)
        file.seek(0)
        file.write(header.replace(b"blk.0.attn_norm.weight", b"blk.0.attn_wrong.weigh"))
    with pytest.raises(LoadError, match=r"would not load .*ghost\.gguf\. It said: ") as raised:
        probe_memory(path, context(1024, "f16"), "native")
    assert raised.value.hint


def test_a_context_that_llama_cpp_refuses_is_refused_with_its_words(tmp_path: Path) -> None:
    path = write_ghost(tmp_path / "ghost.gguf", QWEN_0_5B, "Q8_0")
    with pytest.raises(LoadError, match=r"would not make the context\. It said: .*n_seq_max"):
        probe_memory(path, context(1024, "f16", n_sequences=257), "native")


def test_what_is_no_model_never_reaches_llama_cpp(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("no model")
    with pytest.raises(NotGgufError):
        probe_memory(tmp_path / "text.gguf", context(1024, "f16"), "native")
    with pytest.raises(ModelNotFoundError):
        probe_memory(tmp_path / "missing.gguf", context(1024, "f16"), "native")


def test_a_log_without_sizes_is_an_error_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_ghost(tmp_path / "ghost.gguf", QWEN_0_5B, "Q8_0")
    monkeypatch.setattr("qwq_local.llama._probe._CACHE", re.compile("never"))
    with pytest.raises(LoadError, match="did not say"):
        probe_memory(path, context(1024, "f16"), "native")


def test_a_probe_beside_a_loaded_model_harms_neither(demo: QwQ, tmp_path: Path) -> None:
    path = write_ghost(tmp_path / "ghost.gguf", QWEN_0_5B, "Q8_0")
    before = demo.chat("What is 2 + 3?", seed=1, max_tokens=8)
    probe_memory(path, context(1024, "f16"), "native")
    assert demo.chat("What is 2 + 3?", seed=1, max_tokens=8).reasoning == before.reasoning
