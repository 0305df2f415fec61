from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.errors import DamagedFileError, SettingsError
from qwq_local.gguf import read_header
from qwq_local.models.store import find
from qwq_local.plan.memory import ContextWish, DeviceBytes, estimate, layer_places, tensor_bytes_of
from qwq_local.plan.shape import QWQ_32B, ModelShape, shape_of
from qwq_local.quants import QUANTIZATIONS
from tests.ghosts import QWEN_0_5B, QWEN_1_5B, SHAPES, write_ghost

DATA = Path(__file__).parents[1] / "data"
FACTS: list[dict[str, Any]] = [
    fact for name in ("memory_rpc.json", "memory_cuda.json") for fact in json.loads((DATA / name).read_text("utf-8"))
]
Q4_K_M = tensor_bytes_of(QWQ_32B, "Q4_K_M")
MIB = 2**20

small = st.builds(
    lambda n_layers, n_kv_heads, group, head_size, n_ff, n_vocab, tied: ModelShape(
        "made up", n_layers, n_kv_heads * group * head_size, n_ff, n_kv_heads * group, n_kv_heads, head_size, n_vocab, tied
    ),
    st.integers(1, 12), st.integers(1, 4), st.integers(1, 5), st.sampled_from([32, 64, 96, 128]), st.integers(2, 40).map(lambda n: 256 * n),
    st.integers(100, 4000), st.booleans(),
)  # fmt: skip
wishes = st.builds(
    ContextWish,
    st.integers(512, 140_000),
    st.sampled_from(["f16", "q8_0", "q4_0"]),
    n_sequences=st.integers(1, 5),
    n_ubatch=st.sampled_from([32, 128, 512]),
)
names = st.sampled_from(["CUDA", "RPC", "MTL", "Vulkan"])
shares = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=3).filter(any)


@cache
def _tensors(name: str) -> dict[str, int]:
    return tensor_bytes_of(SHAPES[name], "Q4_K_M")


def gpus(prefix: str, n_gpus: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{index}" for index in range(n_gpus))


@pytest.mark.parametrize(
    "fact", FACTS, ids=lambda fact: f"{fact['shape']}-{fact['gpu_layers']}-{','.join(fact['gpus'])}-{fact['wish']['n_ctx']}"
)
def test_every_buffer_is_what_llama_cpp_said_to_the_byte(fact: dict[str, Any]) -> None:
    shape = SHAPES[fact["shape"]]
    tensors = tensor_bytes_of(shape, fact["quantization"])
    found = estimate(shape, tensors, ContextWish(**fact["wish"]), fact["gpu_layers"], fact["shares"], fact["gpus"])
    assert [[each.weights_bytes, each.kv_bytes, each.compute_bytes] for each in found] == fact["bytes"]


def test_the_facts_are_of_every_kind() -> None:
    assert len(FACTS) >= 80
    assert {fact["shape"] for fact in FACTS} == set(SHAPES)
    assert {len(fact["gpus"]) for fact in FACTS} == {0, 1, 2, 3}
    assert {fact["wish"]["kv_type"] for fact in FACTS} == {"f32", "f16", "q8_0", "q4_0"}
    assert {fact["wish"]["flash_attention"] for fact in FACTS} == {True, False}


@pytest.mark.parametrize(("kv_type", "kib_a_token"), [("f16", 256), ("q8_0", 136), ("q4_0", 72)])
def test_a_token_of_qwq_takes_so_much_of_the_kv_cache(kv_type: Any, kib_a_token: int) -> None:
    (host,) = estimate(QWQ_32B, Q4_K_M, ContextWish(32_768, kv_type), 0, ())
    assert host.kv_bytes == 32_768 * kib_a_token * 1024


@pytest.mark.parametrize(
    ("quantization", "total_bytes"),
    [("Q2_K", 12_307_120_128), ("Q4_K_M", 19_845_357_568), ("Q8_0", 34_814_906_368), ("BF16", 65_529_991_168)],
)
def test_weights_of_qwq_sum_up_to_the_size_of_its_files(quantization: str, total_bytes: int) -> None:
    assert sum(tensor_bytes_of(QWQ_32B, quantization).values()) == total_bytes


def test_the_embeddings_stay_on_the_host_and_are_doubled_where_they_are_the_output() -> None:
    host, gpu = estimate(QWQ_32B, Q4_K_M, ContextWish(4096), 65)
    assert host.weights_bytes == Q4_K_M["token_embd.weight"]
    assert gpu.weights_bytes == sum(Q4_K_M.values()) - host.weights_bytes
    tensors = tensor_bytes_of(QWEN_1_5B, "Q8_0")
    host, gpu = estimate(QWEN_1_5B, tensors, ContextWish(4096), 99)
    assert host.weights_bytes == tensors["token_embd.weight"]
    assert gpu.weights_bytes == sum(tensors.values())


def test_the_output_is_the_first_to_be_offloaded_and_the_first_layer_the_last() -> None:
    assert layer_places(4, 0, (1.0,)) == (0, 0, 0, 0, 0)
    assert layer_places(4, 2, (1.0,)) == (0, 0, 0, 1, 1)
    assert layer_places(4, 99, (1.0,)) == (1, 1, 1, 1, 1)
    assert layer_places(4, 99, (1.0, 3.0)) == layer_places(4, 5, (1.0, 3.0)) == (1, 1, 2, 2, 2)
    assert layer_places(4, 4, (3.0, 1.0)) == (0, 1, 1, 1, 2)
    assert layer_places(4, 5, (0.0, 1.0)) == (2, 2, 2, 2, 2)
    assert layer_places(4, 5, ()) == (0, 0, 0, 0, 0)


def test_only_what_wants_logits_takes_memory_for_them() -> None:
    _, many = estimate(QWQ_32B, Q4_K_M, ContextWish(32_768), 65)
    _, one = estimate(QWQ_32B, Q4_K_M, ContextWish(32_768, n_outputs=1), 65)
    assert many.compute_bytes - one.compute_bytes > 64 * MIB


def test_a_quantized_cache_is_copied_by_cuda_before_flash_attention() -> None:
    _, cuda = estimate(QWQ_32B, Q4_K_M, ContextWish(131_072, "q8_0"), 65, (1.0,), ("CUDA0",))
    _, rpc = estimate(QWQ_32B, Q4_K_M, ContextWish(131_072, "q8_0"), 65, (1.0,), ("RPC0",))
    assert cuda.compute_bytes - rpc.compute_bytes > 300 * MIB


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_metal_copies_every_cache_before_flash_attention_and_vulkan_none(kv_type: Any) -> None:
    _, metal = estimate(QWQ_32B, Q4_K_M, ContextWish(131_072, kv_type), 65, (1.0,), ("MTL0",))
    _, vulkan = estimate(QWQ_32B, Q4_K_M, ContextWish(131_072, kv_type), 65, (1.0,), ("Vulkan0",))
    assert metal.compute_bytes - vulkan.compute_bytes > 300 * MIB


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
@pytest.mark.parametrize("n_gpu_layers", [30, 65])
def test_a_gpu_of_an_unknown_kind_is_taken_for_cuda(kv_type: Any, n_gpu_layers: int) -> None:
    unknown, cuda = (estimate(QWQ_32B, Q4_K_M, ContextWish(32_768, kv_type), n_gpu_layers, (1.0,), (name,)) for name in ("SYCL0", "CUDA0"))
    assert [replace(each, device="") for each in unknown] == [replace(each, device="") for each in cuda]


def test_a_gpu_takes_over_work_on_the_hosts_layers_from_32_tokens_at_once() -> None:
    few, enough = (estimate(QWQ_32B, Q4_K_M, ContextWish(4096, n_ubatch=n_ubatch), 30) for n_ubatch in (31, 32))
    assert enough[1].compute_bytes - few[1].compute_bytes > 100 * MIB
    assert few[0].compute_bytes - enough[0].compute_bytes > 10 * MIB
    wishes = (ContextWish(4096, n_ubatch=n_ubatch, flash_attention=False) for n_ubatch in (32, 33, 34))
    first, second, third = (estimate(QWEN_0_5B, _tensors(QWEN_0_5B.name), wish, 0)[0].compute_bytes for wish in wishes)
    assert second - first == pytest.approx(third - second, abs=1024)


@given(small, st.sampled_from(sorted(QUANTIZATIONS)), shares, st.integers(0, 14), names)
def test_weights_of_all_devices_are_those_of_the_tensor_table(
    shape: ModelShape, quantization: str, parts: list[float], n_gpu_layers: int, name: str
) -> None:
    tensors = tensor_bytes_of(shape, quantization)
    found = estimate(shape, tensors, ContextWish(512), n_gpu_layers, parts, gpus(name, len(parts)))
    doubled = tensors["token_embd.weight"] if shape.tied and n_gpu_layers else 0
    assert sum(each.weights_bytes for each in found) == sum(tensors.values()) + doubled
    assert len(found) == 1 + len(parts)
    assert [each.device for each in found] == ["CPU", *gpus(name, len(parts))]


@given(st.sampled_from(list(SHAPES.values())), wishes, st.integers(0, 1000), st.integers(0, 2), names)
def test_a_longer_context_never_takes_less(shape: ModelShape, wish: ContextWish, more: int, n_gpus: int, name: str) -> None:
    # With layers on the host and GPUs that take over their work this is not so: gaps between copied weights come and go.
    tensors = _tensors(shape.name)
    split = ((2.0, 1.0)[:n_gpus], gpus(name, n_gpus))
    longer = replace(wish, n_ctx=wish.n_ctx + more)
    before, after = (estimate(shape, tensors, each, shape.n_layers + 1, *split) for each in (wish, longer))
    assert all(old.total_bytes <= new.total_bytes for old, new in zip(before, after, strict=True))


@given(small, wishes, st.integers(1, 5))
def test_a_deeper_model_takes_more(shape: ModelShape, wish: ContextWish, more: int) -> None:
    deeper = replace(shape, n_layers=shape.n_layers + more)
    (before,), (after,) = (estimate(each, tensor_bytes_of(each, "Q8_0"), wish, 0, ()) for each in (shape, deeper))
    assert before.weights_bytes < after.weights_bytes
    assert before.kv_bytes < after.kv_bytes


@given(small, wishes, st.integers(1, 3), st.booleans(), st.data())
def test_three_layers_in_a_row_tell_the_compute_buffers_of_all(
    shape: ModelShape, wish: ContextWish, n_gpus: int, is_full: bool, data: st.DataObject
) -> None:
    n_gpu_layers = shape.n_layers + 1 if is_full else data.draw(st.integers(0, shape.n_layers))
    asked = (shape, tensor_bytes_of(shape, "Q8_0"), wish, n_gpu_layers, (1.0,) * n_gpus, gpus("RPC", n_gpus))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qwq_local.plan.memory.ENOUGH_LAYERS", shape.n_layers)
        every_layer = estimate(*asked)
    assert estimate(*asked) == every_layer


@given(small, wishes, st.integers(0, 13), names)
def test_another_layer_on_the_gpu_never_costs_the_host_memory(shape: ModelShape, wish: ContextWish, n_gpu_layers: int, name: str) -> None:
    tensors = tensor_bytes_of(shape, "Q4_K_M")
    before, after = (estimate(shape, tensors, wish, count, (1.0,), gpus(name, 1))[0] for count in (n_gpu_layers, n_gpu_layers + 1))
    assert after.weights_bytes <= before.weights_bytes
    assert after.kv_bytes <= before.kv_bytes
    assert after.total_bytes <= before.total_bytes


def test_a_total_is_the_sum_of_its_parts() -> None:
    assert DeviceBytes("CPU", 1, 2, 4).total_bytes == 7


COUNT = "It is a count"


@pytest.mark.parametrize(
    ("change", "says", "hint"),
    [
        ({"n_ctx": 0}, "ctx is 0, but must lie between 1 and 2147483647", COUNT),
        ({"n_ctx": 2**31}, "ctx is 2147483648, but must", COUNT),
        ({"n_sequences": 0}, "sequences is 0, but must lie between 1 and 256", COUNT),
        ({"n_sequences": 257}, "sequences is 257, but must", COUNT),
        ({"n_batch": 0}, "batch is 0, but must", COUNT),
        ({"n_batch": 2**31}, "batch is 2147483648, but must", COUNT),
        ({"n_ubatch": -1}, "ubatch is -1, but must", COUNT),
        ({"n_ubatch": 2**31}, "ubatch is 2147483648, but must", COUNT),
        ({"n_outputs": 0}, "outputs is 0, but must", COUNT),
        ({"n_outputs": 2**31}, "outputs is 2147483648, but must", COUNT),
        ({"kv_type": "q5_0"}, "kv-type is 'q5_0', which is unknown", "Choose one of f32, f16, q8_0, q4_0"),
        ({"kv_type": "q8_0", "flash_attention": False}, "A KV cache of q8_0 needs flash attention", "Switch it on"),
    ],
)
def test_a_context_that_llama_cpp_would_refuse_is_refused(change: dict[str, Any], says: str, hint: str) -> None:
    with pytest.raises(SettingsError) as raised:
        ContextWish(**({"n_ctx": 4096} | change))
    assert str(raised.value).startswith(says)
    assert raised.value.hint.startswith(hint)


@pytest.mark.parametrize("count", [1, 2**31 - 1])
def test_the_least_and_the_most_that_llama_cpp_takes_are_taken(count: int) -> None:
    wish = ContextWish(count, n_sequences=min(count, 256), n_batch=count, n_ubatch=count, n_outputs=count)
    assert wish.n_cells - 256 < count <= wish.n_cells
    assert wish.n_cells % 256 == 0


@pytest.mark.parametrize(
    ("n_gpu_layers", "parts", "gpu_names", "says", "hint"),
    [
        (-1, (1.0,), (), "gpu-layers is -1, but must be at least 0", "0 keeps everything on the CPU"),
        (1, (0.0, 0.0), (), "The GPUs' shares are [0.0, 0.0]", "Give each a share of 0 or more"),
        (1, (-1.0, 2.0), (), "The GPUs' shares are [-1.0, 2.0]", "Give each a share of 0 or more"),
        (1, (float("nan"),), (), "The GPUs' shares are [nan]", "Give each a share of 0 or more"),
        (1, (float("inf"),), (), "The GPUs' shares are [inf]", "Give each a share of 0 or more"),
        (1, (1.0, 1.0), ("CUDA0",), "2 shares were given for 1 GPUs", "Give one for each"),
    ],
)
def test_a_split_that_cannot_be_is_refused(
    n_gpu_layers: int, parts: tuple[float, ...], gpu_names: tuple[str, ...], says: str, hint: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        estimate(QWQ_32B, Q4_K_M, ContextWish(4096), n_gpu_layers, parts, gpu_names)
    assert str(raised.value).startswith(says)
    assert raised.value.hint.startswith(hint)


def test_an_unknown_quantization_is_refused() -> None:
    with pytest.raises(SettingsError, match="Q4_K_X"):
        tensor_bytes_of(QWQ_32B, "Q4_K_X")


@pytest.mark.parametrize("change", [{"n_layers": 0}, {"n_heads": 0}, {"n_kv_heads": 3}, {"head_size": 64}, {"n_vocab": 0}])
def test_a_shape_that_cannot_be_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match="QwQ-32B"):
        replace(QWQ_32B, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_shape_is_read_back_from_the_file_that_has_it(shape: ModelShape, tmp_path: Path) -> None:
    header = read_header(write_ghost(tmp_path / "ghost.gguf", shape, "Q5_K_M"))
    assert shape_of(header) == shape
    assert {tensor.name: tensor.size_bytes for tensor in header.tensors} == tensor_bytes_of(shape, "Q5_K_M")


def test_the_shape_of_the_built_in_model_is_read() -> None:
    shape = shape_of(read_header(find("demo").path))
    assert (shape.n_layers, shape.n_embd, shape.head_size, shape.tied) == (3, 256, 64, False)


def test_a_cache_whose_blocks_do_not_divide_a_head_is_refused() -> None:
    odd = replace(QWEN_0_5B, n_embd=14 * 48, head_size=48)
    with pytest.raises(SettingsError, match=r"^Heads of 48 are no whole number of blocks of 32, as a KV cache of q8_0 needs") as raised:
        estimate(odd, tensor_bytes_of(odd, "Q8_0"), ContextWish(4096, "q8_0"), 0)
    assert raised.value.hint.startswith("Keep keys and values in f16")


@pytest.mark.parametrize(
    ("key", "value"), [("attention.head_count", 15), ("attention.head_count", 0), ("block_count", 23), ("block_count", 0)]
)
def test_a_file_whose_counts_contradict_each_other_is_damaged(key: str, value: int, tmp_path: Path) -> None:
    header = read_header(write_ghost(tmp_path / "ghost.gguf", QWEN_0_5B, "Q8_0"))
    wrong = replace(header, metadata={**header.metadata, f"qwen2.{key}": value})
    with pytest.raises(DamagedFileError, match=r"contradicts itself|layers, and has") as raised:
        shape_of(wrong)
    assert raised.value.hint
