"""What several samples at once cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.machine.machine import GIB, Machine, described, shared_rate_name
from qwq_local.offers import offer_to_pull
from qwq_local.plan.gpu_kinds import CUDA_EFFICIENCY
from qwq_local.plan.plan import Candidate, PlanWish, consider
from qwq_local.plan.race import RACES, cost_of_race
from qwq_local.plan.speed import TYPICAL_TOKENS, host_work, tokens_per_second

Q4 = offer_to_pull("Q4_K_M")
ALONE = {"F32": 30e9, "Q4_K": 10e9, "Q6_K": 20e9, "f16 cache": 3e9}


def on_cpu(rates: dict[str, float]) -> tuple[Candidate, Machine]:
    machine = replace(described(ram_gib=64), cpu_rates=rates)
    return consider(machine, Q4, PlanWish(n_ctx=8 * TYPICAL_TOKENS, kv_type="f16")), machine


def shared(rates: dict[str, float], n_streams: int) -> dict[str, float]:
    return {shared_rate_name(name, n_streams): rate for name, rate in rates.items() if not name.endswith("cache")}


def test_on_a_cpu_it_is_what_was_measured_of_the_weights_and_the_cache_for_each() -> None:
    slower = {name: rate / 2 for name, rate in ALONE.items()}
    candidate, machine = on_cpu(ALONE | shared(slower, 3))
    cost = cost_of_race(candidate, machine, 3)
    weights = sum(n_bytes / ALONE[name] for name, n_bytes in host_work(candidate.placement, Q4.tensors, Q4.types).items())
    cache = candidate.memory[0].kv_bytes / 8 / 3e9
    assert cost.slowdown == pytest.approx((2 * weights + 3 * cache) / (weights + cache))
    assert (cost.n_samples, cost.is_least, cost.tokens_each) == (3, False, 8 * TYPICAL_TOKENS // 3)


def test_on_a_gpu_it_is_what_is_read_and_that_is_the_least() -> None:
    machine = described([80], 64)
    candidate = consider(machine, Q4, PlanWish(n_ctx=4 * TYPICAL_TOKENS))
    gpu = candidate.memory[1]
    cost = cost_of_race(candidate, machine, 4)
    assert cost.is_least
    assert cost.slowdown == pytest.approx((gpu.weights_bytes + gpu.kv_bytes) / (gpu.weights_bytes + gpu.kv_bytes / 4))
    alone = tokens_per_second(candidate.placement, Q4.tensors, Q4.types, machine)
    assert alone == pytest.approx(machine.gpus[0].bandwidth * CUDA_EFFICIENCY / (gpu.weights_bytes + gpu.kv_bytes / 4))


def test_what_was_not_measured_is_not_told() -> None:
    for rates in ({}, ALONE, shared(ALONE, 3), ALONE | shared({"Q4_K": 1e9}, 3)):
        assert cost_of_race(*on_cpu(rates), 3).slowdown is None


def test_samples_with_less_room_than_a_typical_answer_are_compared_with_what_they_have() -> None:
    machine = described([80], 64)
    candidate = consider(machine, Q4, PlanWish(n_ctx=TYPICAL_TOKENS))
    gpu = candidate.memory[1]
    cost = cost_of_race(candidate, machine, 2)
    assert cost.tokens_each == TYPICAL_TOKENS // 2
    assert cost.slowdown == pytest.approx((gpu.weights_bytes + gpu.kv_bytes) / (gpu.weights_bytes + gpu.kv_bytes / 2))


@given(st.floats(20, 400), st.sampled_from(RACES), st.integers(1024, 32_768))
def test_more_samples_are_never_faster_a_token_and_never_have_more_than_there_is(vram: float, n_samples: int, n_ctx: int) -> None:
    machine = described([vram], 64)
    candidate = consider(machine, Q4, PlanWish(n_ctx=n_ctx))
    cost, alone = (cost_of_race(candidate, machine, n) for n in (n_samples, 1))
    assert cost.tokens_each * n_samples <= n_ctx
    if candidate.placement.kind == "gpu":
        assert alone.slowdown == pytest.approx(1)
        assert cost.slowdown is not None
        assert 1 < cost.slowdown < n_samples
    else:
        assert cost.slowdown is None, "the CPU of a described machine was not measured"
    assert machine.ram_total_bytes == 64 * GIB
