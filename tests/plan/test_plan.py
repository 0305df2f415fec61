from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwq_local.errors import DoesNotFitError, ModelNotFoundError, SettingsError
from qwq_local.machine.bandwidth import (
    apple_bandwidth,
    card_bandwidth,
    nvidia_bandwidth,
    typical_unified_bandwidth,
    typical_vram_bandwidth,
)
from qwq_local.machine.machine import DEVICE_RESERVE_BYTES, GIB, RAM_RESERVE_BYTES, Gpu, Machine, described, working_set_bytes
from qwq_local.offers import LONGEST_CTX, offer_to_pull, wish_for
from qwq_local.plan.fit import choose, fit
from qwq_local.plan.gpu_kinds import CUDA_EFFICIENCY
from qwq_local.plan.memory import ContextWish, DeviceBytes, estimate, tensor_bytes_of, tensor_types_of
from qwq_local.plan.placement import Placement, Placer, last_true
from qwq_local.plan.plan import Candidate, Offer, PlanWish, Rank, consider, make_plan, rank
from qwq_local.plan.reasons import why
from qwq_local.plan.shape import QWQ_32B, ModelShape
from qwq_local.plan.speed import RAM_EFFICIENCY, TYPICAL_TOKENS, host_work, tokens_per_second
from qwq_local.quants import QUANTIZATIONS
from qwq_local.quants.quality import MEAN_KLD, OFFERED
from qwq_local.settings import KvType

# QwQ-32B with an eighth of its layers: the same rules, and every placement can be tried.
N_SEQUENCES = PlanWish().n_sequences
SMALL = replace(QWQ_32B, name="small", n_layers=8)
ALL_LAYERS = SMALL.n_layers + 1
QUANTS = ("Q8_0", "Q5_K_M", "Q4_K_M", "IQ4_XS", "IQ3_M", "Q2_K")
CONTEXTS = (8192, 12288, 16384, 24576, 32768)


@cache
def offer(quant: str, shape: ModelShape = SMALL) -> Offer:
    tensors = tensor_bytes_of(shape, quant)
    return Offer(quant, shape, tensors, tensor_types_of(shape, quant), sum(tensors.values()), quant, is_here=True)


OFFERS = [offer(quant) for quant in QUANTS]


@cache
def memory(quant: str, n_ctx: int, kv_type: KvType, shares: tuple[int, ...], kind: str) -> tuple[DeviceBytes, ...]:
    parts = shares if any(shares) else (1,) * len(shares)
    names = tuple(f"{kind}{i}" for i in range(len(shares)))
    return estimate(SMALL, offer(quant).tensors, ContextWish(n_ctx, kv_type, N_SEQUENCES, n_outputs=N_SEQUENCES), sum(shares), parts, names)


def machine_of(vram_gib: tuple[float, ...], ram_gib: float) -> Machine:
    gpus = [Gpu(f"CUDA{i}", "card", int(size * GIB), int(size * GIB), 900e9) for i, size in enumerate(vram_gib)]
    return Machine(tuple(gpus), int(ram_gib * GIB), int(ram_gib * GIB), 70e9)


def unified_machine(size_gib: float) -> Machine:
    share = working_set_bytes(int(size_gib * GIB))
    return Machine((Gpu("MTL0", "chip", share, share, 400e9, shares_ram=True),), int(size_gib * GIB), int(size_gib * GIB), 400e9)


sizes = st.floats(2.0, 16.0)
machines = st.one_of(
    st.builds(machine_of, st.lists(sizes, max_size=3).map(tuple), st.floats(0.0, 16.0)),
    st.builds(unified_machine, st.floats(1.0, 24.0)),
)


def holds(machine: Machine, parts: tuple[DeviceBytes, ...]) -> bool:
    host, *on_gpus = parts
    in_ram = host.total_bytes
    for gpu, part in zip(machine.gpus, on_gpus, strict=True):
        if part.total_bytes > gpu.free_bytes - DEVICE_RESERVE_BYTES:
            return False
        in_ram += part.total_bytes if gpu.shares_ram else 0
    return in_ram <= machine.ram_available_bytes - RAM_RESERVE_BYTES


@settings(max_examples=40)
@given(
    machines, st.sampled_from([PlanWish(), PlanWish(n_ctx=4096), PlanWish(n_ctx=60_000), PlanWish(kv_type="f16"), PlanWish(n_gpu_layers=3)])
)
def test_nothing_that_fits_exceeds_its_device(machine: Machine, wish: PlanWish) -> None:
    kind = "MTL" if machine.gpus and machine.gpus[0].is_metal else "CUDA"
    for candidate in make_plan(machine, OFFERS, wish).candidates:
        placement = candidate.placement
        parts = memory(candidate.offer.quant, placement.n_ctx, placement.kv_type, placement.gpu_shares, kind)
        assert parts == placement.memory
        assert sum(placement.gpu_shares) == placement.gpu_layers
        assert candidate.fits == holds(machine, parts)
        assert wish.n_ctx in {None, placement.n_ctx}
        assert wish.kv_type in {None, placement.kv_type}
        assert candidate.fits == (candidate.tokens_per_second is not None)


@settings(max_examples=40)
@given(st.lists(sizes, max_size=3), st.floats(0.0, 16.0), st.data())
def test_more_memory_never_gives_a_worse_choice(vram: list[float], ram: float, data: st.DataObject) -> None:
    more_vram = [size + data.draw(st.one_of(st.just(0.0), st.floats(0.0, 8.0))) for size in vram]
    more_ram = ram + data.draw(st.one_of(st.just(0.0), st.floats(0.0, 8.0)))
    before = make_plan(machine_of(tuple(vram), ram), OFFERS, PlanWish()).chosen
    after = make_plan(machine_of(tuple(more_vram), more_ram), OFFERS, PlanWish()).chosen
    if before is not None:
        assert after is not None
        assert after.rank <= before.rank


@given(st.floats(1.0, 40.0), st.floats(0.0, 20.0))
def test_more_unified_memory_never_gives_a_worse_choice(size: float, more: float) -> None:
    before, after = (make_plan(unified_machine(gib), OFFERS, PlanWish()).chosen for gib in (size, size + more))
    if before is not None:
        assert after is not None
        assert after.rank <= before.rank


def every_placement(machine: Machine, quant: str) -> Iterator[tuple[int, KvType, int]]:
    """All that one GPU or none allows, with the contexts of this test: tokens, cache, layers on the GPU."""
    kind = "MTL" if machine.gpus and machine.gpus[0].is_metal else "CUDA"
    for n_ctx in CONTEXTS:
        for kv_type in ("f16", "q8_0"):
            for layers in range(ALL_LAYERS + 1) if machine.gpus else [0]:
                if holds(machine, memory(quant, n_ctx, kv_type, (layers,) if machine.gpus else (), kind)):
                    yield n_ctx, kv_type, layers


def stated_order(quant: str, n_ctx: int, kv_type: KvType, layers: int) -> tuple[object, ...]:
    """The rules as the plan's docstring states them, written once more."""
    loss, size, longer, cache = MEAN_KLD[quant], offer(quant).file_bytes, -n_ctx, ["f16", "q8_0"].index(kv_type)
    four_bits, three_bits, whole = loss <= MEAN_KLD["IQ4_XS"], loss <= MEAN_KLD["IQ3_M"], layers == ALL_LAYERS
    if not three_bits:
        return (8, not whole, loss, longer, cache, -layers)
    if whole and n_ctx == 32768:
        return (1 if four_bits else 3, loss, cache)
    if whole:
        return (2 if four_bits and n_ctx >= 16384 else 4, longer, loss, cache)
    if layers >= ALL_LAYERS / 2:
        return (5, size, n_ctx, -layers, kv_type == "f16")
    if loss >= MEAN_KLD["Q4_K_M"]:
        return (6, loss, longer, cache, -layers)
    return (7, True, size, loss, longer, cache, -layers)


@settings(max_examples=100)
@given(
    st.one_of(
        st.builds(machine_of, st.lists(sizes, max_size=1).map(tuple), st.floats(0.0, 16.0)),
        st.builds(unified_machine, st.floats(1.0, 24.0)),
    )
)
def test_the_chosen_is_the_best_of_all_placements_by_the_stated_rules(machine: Machine) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # The plan's longest contexts are then among those tried here.
        patch.setattr("qwq_local.plan.plan.CTX_STEP", 4096)
        chosen = make_plan(machine, OFFERS, PlanWish()).chosen
    tried = [(stated_order(quant, *placement), quant, placement) for quant in QUANTS for placement in every_placement(machine, quant)]
    if not tried:
        assert chosen is None or chosen.placement.n_ctx not in CONTEXTS
        return
    assert chosen is not None
    found = chosen.placement
    if found.n_ctx in CONTEXTS:
        assert (chosen.offer.quant, (found.n_ctx, found.kv_type, found.gpu_layers)) == min(tried)[1:]
    else:
        assert stated_order(chosen.offer.quant, found.n_ctx, found.kv_type, found.gpu_layers) < min(tried)[0]


def standing(quant: str, n_ctx: int = 32_768, kv_type: KvType = "f16", gpu_layers: int = 10) -> Rank:
    """Where a placement of ten layers in all stands, if 32,768 tokens are wanted."""
    return rank(offer(quant), Placement(n_ctx, kv_type, 10, gpu_layers, (gpu_layers,), ()), 32_768)


def test_placements_stand_in_the_order_of_the_rules() -> None:
    rules = [
        [standing("Q8_0"), standing("Q8_0", kv_type="q8_0"), standing("Q4_K_M"), standing("IQ4_XS", 40_000), standing("IQ4_XS")],
        [standing("IQ4_XS", 32_767), standing("Q8_0", 16_384), standing("IQ4_XS", 16_384), standing("IQ4_XS", 16_384, "q8_0")],
        [standing("IQ3_M"), standing("IQ3_M", kv_type="q8_0")],
        [standing("IQ3_M", 32_767), standing("Q8_0", 16_383), standing("Q8_0", 8192), standing("IQ3_M", 8192)],
        [
            *(standing("IQ3_M", 8192, "q8_0", 9), standing("IQ3_M", 8192, "q8_0", 5), standing("IQ3_M", 9216, "q8_0", 9)),
            *(standing("IQ4_XS", 8192, "q8_0", 9), standing("Q8_0", 8192, "q8_0", 5)),
        ],
        [
            *(standing("Q4_K_M", gpu_layers=4), standing("Q4_K_M", kv_type="q8_0", gpu_layers=4), standing("Q4_K_M", 8192, gpu_layers=4)),
            *(standing("IQ4_XS", gpu_layers=0), standing("IQ3_M", gpu_layers=0)),
        ],
        [
            *(standing("BF16"), standing("BF16", 8192), standing("Q5_K_M", gpu_layers=4), standing("Q5_K_M", 8192, gpu_layers=4)),
            *(standing("Q8_0", gpu_layers=0), standing("BF16", gpu_layers=9)),
        ],
        [standing("Q2_K"), standing("Q2_K", 8192), standing("Q2_K", 8192, "q8_0"), standing("Q2_K", gpu_layers=9)],
    ]
    assert [[rule + 1] * len(found) for rule, found in enumerate(rules)] == [[int(each[0]) for each in found] for found in rules]
    assert all(better < worse for better, worse in pairwise(each for found in rules for each in found))


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
@pytest.mark.parametrize("n_ctx", [8192, 9216, 20_480, 31_744, 32_768])
def test_the_context_is_the_longest_that_fits(n_ctx: int, kv_type: KvType) -> None:
    needed = memory("Q4_K_M", n_ctx, kv_type, (ALL_LAYERS,), "CUDA")[1].total_bytes + DEVICE_RESERVE_BYTES
    machine = Machine((Gpu("CUDA0", "card", needed, needed, 900e9),), 64 * GIB, 64 * GIB, 70e9)
    for wish in (PlanWish(kv_type=kv_type, n_gpu_layers=ALL_LAYERS), PlanWish(kv_type=kv_type)):
        candidate = consider(machine, offer("Q4_K_M"), wish)
        assert candidate.fits
        assert (candidate.placement.n_ctx, candidate.placement.gpu_layers) == (n_ctx, ALL_LAYERS)


def test_the_steps_of_the_context_begin_at_the_least() -> None:
    needed = memory("Q4_K_M", 8192 + 11 * 1024, "f16", (ALL_LAYERS,), "CUDA")[1].total_bytes + DEVICE_RESERVE_BYTES
    machine = Machine((Gpu("CUDA0", "card", needed, needed, 900e9),), 64 * GIB, 64 * GIB, 70e9)
    candidate = consider(machine, replace(offer("Q4_K_M"), native_ctx=20_000), PlanWish(kv_type="f16", n_gpu_layers=ALL_LAYERS))
    assert candidate.placement.n_ctx == 8192 + 11 * 1024


@pytest.mark.parametrize("quant", ["Q8_0", "Q4_K_M", "IQ3_M"])
@pytest.mark.parametrize(("n_held", "form"), [(5, (8192, "q8_0", True)), (4, (32_768, "f16", False))])
def test_with_half_of_the_layers_on_the_gpu_the_context_is_the_least_and_with_fewer_the_longest(
    quant: str, n_held: int, form: tuple[int, KvType, bool]
) -> None:
    ten = offer(quant, replace(SMALL, name="ten", n_layers=9))
    context = ContextWish(8192, "q8_0", N_SEQUENCES, n_outputs=N_SEQUENCES)
    needed = estimate(ten.shape, ten.tensors, context, n_held)[1].total_bytes + DEVICE_RESERVE_BYTES
    placement = consider(Machine((Gpu("CUDA0", "card", needed, needed, 900e9),), 64 * GIB, 64 * GIB, 70e9), ten, PlanWish()).placement
    assert (placement.n_ctx, placement.kv_type, placement.gpu_layers == n_held) == form


def test_where_there_is_no_gpu_no_layers_go_there() -> None:
    assert consider(machine_of((), 64), offer("Q4_K_M"), PlanWish(n_gpu_layers=3)).placement.gpu_layers == 0


def test_where_not_even_the_least_context_fits_its_figures_are_told() -> None:
    candidate = consider(machine_of((1.0,), 64), offer("Q4_K_M"), PlanWish(n_gpu_layers=ALL_LAYERS))
    assert not candidate.fits
    assert (candidate.placement.n_ctx, candidate.placement.kv_type) == (8192, "q8_0")
    assert candidate.tokens_per_second is None


def test_a_plan_keeps_what_it_was_made_for() -> None:
    machine, wish = machine_of((8.0,), 64), PlanWish(n_ctx=4096)
    plan = make_plan(machine, OFFERS, wish)
    assert (plan.machine, plan.wish) == (machine, wish)
    assert {candidate.offer.quant for candidate in plan.candidates} == set(QUANTS)


@settings(max_examples=30)
@given(st.lists(st.floats(2.0, 6.0), min_size=2, max_size=2), st.sampled_from(QUANTS))
def test_two_gpus_take_the_most_layers_that_any_division_lets_them(vram: list[float], quant: str) -> None:
    machine = machine_of(tuple(vram), 64.0)
    most = Placer(SMALL, offer(quant).tensors, machine).most_layers(8192, "q8_0")
    fitting = [
        first + second
        for first in range(ALL_LAYERS + 1)
        for second in range(ALL_LAYERS + 1 - first)
        if holds(machine, memory(quant, 8192, "q8_0", (first, second), "CUDA"))
    ]
    assert most.gpu_layers == max(fitting, default=0)


@pytest.mark.parametrize(
    ("machine", "quant", "n_ctx", "kv_type", "is_whole"),
    [
        (described([24], 64), "Q4_K_M", 32768, "q8_0", True),
        (described([48], 64), "Q8_0", 32768, "f16", True),
        (described([24, 24], 64), "Q8_0", 32768, "f16", True),
        (described(ram_gib=32), "Q4_K_M", 32768, "f16", False),
        (described([12], 32), "IQ3_M", 8192, "q8_0", False),
    ],
)
def test_machines_that_many_have(machine: Machine, quant: str, n_ctx: int, kv_type: str, is_whole: bool) -> None:
    offers = [offer_to_pull(quant) for quant in OFFERED]
    chosen = make_plan(machine, offers, PlanWish()).chosen
    assert chosen is not None
    assert (chosen.offer.quant, chosen.placement.n_ctx, chosen.placement.kv_type) == (quant, n_ctx, kv_type)
    assert (chosen.placement.gpu_layers == 65) == is_whole


def test_no_gpu_and_no_memory_chooses_nothing_and_says_why() -> None:
    plan = make_plan(machine_of((), 0.5), OFFERS, PlanWish())
    assert plan.chosen is None
    assert all("can be used" in why(candidate, plan) for candidate in plan.candidates)


@given(machines)
@settings(max_examples=20)
def test_every_candidate_says_why_in_one_sentence_with_figures(machine: Machine) -> None:
    plan = make_plan(machine, OFFERS, PlanWish())
    for candidate in plan.candidates:
        sentence = why(candidate, plan)
        assert sentence.endswith(".")
        assert any(letter.isdigit() for letter in sentence)
        assert "inf" not in sentence.split()
        assert "nan" not in sentence


def test_an_unknown_quantization_comes_last_and_is_still_loaded() -> None:
    odd = replace(offer("Q4_K_M"), quant="ODD")
    plan = make_plan(machine_of((), 64), [odd, offer("Q2_K")], PlanWish())
    assert plan.chosen is not None
    assert plan.chosen.offer.quant == "Q2_K"
    assert "unknown" in why(plan.candidates[1], plan)
    assert fit(machine_of((), 64), odd, PlanWish()).fits


def test_speed_is_bytes_by_bandwidth_device_after_device() -> None:
    machine = machine_of((4.0,), 64)
    candidate = consider(machine, offer("Q4_K_M"), PlanWish(n_ctx=TYPICAL_TOKENS))
    host, gpu = candidate.memory
    embeddings = offer("Q4_K_M").tensors["token_embd.weight"]
    seconds = (host.weights_bytes - embeddings + host.kv_bytes) / (70e9 * RAM_EFFICIENCY)
    seconds += (gpu.weights_bytes + gpu.kv_bytes) / (900e9 * CUDA_EFFICIENCY)
    assert candidate.tokens_per_second == pytest.approx(1 / seconds)
    taught = replace(machine, corrections={"both": 0.5, "cpu": 9.0})
    corrected = consider(taught, offer("Q4_K_M"), PlanWish(n_ctx=TYPICAL_TOKENS))
    assert corrected.tokens_per_second == pytest.approx(0.5 / seconds)


def test_a_cpu_that_was_measured_takes_its_own_time_for_each_type_and_for_the_cache() -> None:
    q4, rates = offer("Q4_K_M"), {"F32": 30e9, "Q4_K": 10e9, "Q6_K": 20e9, "f16 cache": 3e9, "q8_0 cache": 1e9}
    machine = replace(machine_of((), 64), cpu_rates=rates)
    candidate = consider(machine, q4, PlanWish(n_ctx=2 * TYPICAL_TOKENS, kv_type="f16"))
    work = host_work(candidate.placement, q4.tensors, q4.types)
    assert work.keys() == {"F32", "Q4_K", "Q6_K"}
    assert sum(work.values()) == sum(q4.tensors.values()) - q4.tensors["token_embd.weight"]
    seconds = sum(n_bytes / rates[name] for name, n_bytes in work.items())
    assert candidate.tokens_per_second == pytest.approx(1 / (seconds + candidate.memory[0].kv_bytes / 2 / 3e9))
    empty = tokens_per_second(candidate.placement, q4.tensors, q4.types, machine, n_filled=0)
    assert empty == pytest.approx(1 / seconds)
    unknown = replace(machine, cpu_rates={name: rate for name, rate in rates.items() if name != "Q6_K"})
    slower = seconds + work["Q6_K"] / (70e9 * RAM_EFFICIENCY) - work["Q6_K"] / 20e9
    assert tokens_per_second(candidate.placement, q4.tensors, q4.types, unknown, n_filled=0) == pytest.approx(1 / slower)


@pytest.mark.parametrize("tied", [False, True])
def test_the_host_reads_its_own_layers_and_the_embeddings_only_where_they_are_the_output(tied: bool) -> None:
    q8 = offer("Q8_0", replace(SMALL, tied=tied))
    placer = Placer(q8.shape, q8.tensors, machine_of((16.0,), 64))

    def read(gpu_layers: int) -> int:
        return sum(host_work(placer.place(8192, "f16", gpu_layers), q8.tensors, q8.types).values())

    embeddings = q8.tensors["token_embd.weight"]
    assert read(0) == sum(q8.tensors.values()) - (0 if tied else embeddings)
    assert read(ALL_LAYERS) == 0
    assert read(ALL_LAYERS - 1) == sum(size for name, size in q8.tensors.items() if name.startswith("blk.0."))


def test_a_placement_is_on_the_cpu_on_the_gpu_or_on_both_by_its_layers() -> None:
    placer = Placer(SMALL, offer("Q4_K_M").tensors, machine_of((16.0,), 64))
    assert [placer.place(8192, "f16", n).kind for n in (0, ALL_LAYERS - 1, ALL_LAYERS)] == ["cpu", "both", "gpu"]


def test_what_is_published_of_speed_is_met_within_a_quarter() -> None:
    """FACTS: tokens/s of Q4_K_M on an RTX 3090, an M4 Max, an M3 Ultra, and two channels of DDR5."""
    q4 = offer_to_pull("Q4_K_M")
    for machine, published in (
        (described([24], 64, bandwidth_gb=936), 35),
        (described(unified_gib=128, bandwidth_gb=546), 25),
        (described(unified_gib=512, bandwidth_gb=819), 34),
        (described(ram_gib=64, bandwidth_gb=89.6), 4.2),
    ):
        speed = consider(machine, q4, PlanWish()).tokens_per_second
        assert speed == pytest.approx(published, rel=0.25)


def test_a_file_that_does_not_fit_is_refused_with_figures_and_loaded_by_force() -> None:
    machine = machine_of((), 2.0)
    with pytest.raises(DoesNotFitError, match=r"needs .* GiB of RAM, and 1\.0 GiB can be used") as refused:
        fit(machine, offer("Q4_K_M"), PlanWish(n_ctx=32768, kv_type="f16"))
    assert "--force" in refused.value.hint
    assert "--ctx" in refused.value.hint
    assert "--kv-type q8_0" in refused.value.hint
    forced = fit(machine, offer("Q4_K_M"), PlanWish(n_ctx=32768), force=True)
    assert not forced.fits
    assert forced.placement.n_ctx == 32768


def test_too_many_layers_asked_for_are_refused_naming_the_gpu() -> None:
    with pytest.raises(DoesNotFitError, match=r"on CUDA0 for 9 of 9 layers") as refused:
        fit(machine_of((2.5,), 64), offer("Q8_0"), PlanWish(n_gpu_layers=99))
    assert "--gpu-layers" in refused.value.hint


def test_choosing_looks_only_at_files_here() -> None:
    machine = machine_of((), 64)
    away = replace(offer("Q4_K_M"), is_here=False)
    assert choose(machine, [away, offer("IQ3_M")], PlanWish()).offer.quant == "IQ3_M"
    with pytest.raises(ModelNotFoundError, match="no model") as missing:
        choose(machine, [away], PlanWish())
    assert "qwq pull" in missing.value.hint
    with pytest.raises(DoesNotFitError, match="Q2_K"):
        choose(machine_of((), 1.5), OFFERS, PlanWish())
    assert choose(machine_of((), 1.5), OFFERS, PlanWish(), force=True).offer.quant == "Q2_K"


def test_wishes_that_no_machine_could_meet_are_refused() -> None:
    with pytest.raises(SettingsError, match="500,000") as refused:
        wish_for(500_000, None, None)
    assert str(LONGEST_CTX) in refused.value.hint
    with pytest.raises(SettingsError, match="gpu-layers"):
        wish_for(None, None, -1)
    with pytest.raises(SettingsError, match="ctx"):
        wish_for(0, None, None)


@pytest.mark.parametrize("size", [float("nan"), float("inf"), -1.0, 0.0, 1e9])
def test_sizes_that_cannot_be_are_refused(size: float) -> None:
    for arguments in (
        {"ram_gib": size},
        {"ram_gib": 8.0, "vram_gib": [size]},
        {"unified_gib": size},
        {"ram_gib": 8.0, "bandwidth_gb": size},
    ):
        with pytest.raises(SettingsError, match="must lie between"):
            described(**arguments)


def test_machines_that_cannot_be_are_refused() -> None:
    with pytest.raises(SettingsError, match="unified"):
        described([8], None, 16)
    with pytest.raises(SettingsError, match="RAM is missing"):
        described([8])


def test_a_described_gpu_too_small_to_help_is_left_out() -> None:
    assert described([1.5], 32).gpus == ()
    assert len(described([2.0, 1.0, 8.0], 32).gpus) == 2


@given(st.integers(0, 2**40), st.integers(0, 2**36))
def test_what_a_mac_gives_its_gpu_grows_with_its_memory(size: int, more: int) -> None:
    assert working_set_bytes(size) <= working_set_bytes(size + more)


def test_working_sets_that_were_reported() -> None:
    assert working_set_bytes(16 * GIB) // 2**20 == 10_922
    assert working_set_bytes(64 * GIB) // 2**20 == 49_152


def test_bandwidths_that_are_known() -> None:
    assert nvidia_bandwidth(9751e6, 384) == pytest.approx(936e9, rel=0.001)
    assert nvidia_bandwidth(10501e6, 384) == pytest.approx(1008e9, rel=0.001)
    assert apple_bandwidth("Apple M1", 8) == 68e9
    assert apple_bandwidth("Apple M4 Pro", 12) == 273e9
    assert apple_bandwidth("Apple M3 Max", 14) == 300e9
    assert apple_bandwidth("Apple M3 Max", 16) == 400e9
    assert apple_bandwidth("Apple M99", 16) is None
    assert apple_bandwidth("Intel(R) Core(TM) i9", 8) is None
    assert card_bandwidth("AMD Radeon RX 7900 XTX (RADV NAVI31)") == 960e9
    assert card_bandwidth("AMD Radeon RX 7900 XT") == 800e9
    assert card_bandwidth("a card of tomorrow") is None
    assert typical_vram_bandwidth(24 * GIB)[1] == "an RTX 3090"
    assert typical_vram_bandwidth(141 * GIB)[1] == "an H200"
    assert typical_unified_bandwidth(512 * GIB)[1] == "an M3 Ultra"


def test_every_quantization_has_its_quality_and_more_bits_lose_less() -> None:
    assert MEAN_KLD.keys() == QUANTIZATIONS.keys()
    assert list(MEAN_KLD.values()) == sorted(MEAN_KLD.values())
    losses = [MEAN_KLD[quant] for quant in OFFERED]
    assert losses == sorted(losses)
    sizes = [offer_to_pull(quant).file_bytes for quant in OFFERED]
    assert sizes[0] == max(sizes)
    assert sizes[-1] == min(sizes)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(-1, 51))
def test_last_true_finds_the_border(low: int, length: int, border: int) -> None:
    found = last_true(low, low + length, lambda n: n == low or n <= border)
    assert found == max(low, min(low + length, border))


def test_conversations_share_a_cache_and_cost_only_their_logits() -> None:
    machine = machine_of((), 64)
    some: Candidate = consider(machine, offer("Q4_K_M"), PlanWish(n_ctx=8192, n_sequences=4))
    more = consider(machine, offer("Q4_K_M"), PlanWish(n_ctx=8192, n_sequences=8))
    assert more.memory[0].kv_bytes == some.memory[0].kv_bytes
    assert 0 < more.memory[0].compute_bytes - some.memory[0].compute_bytes <= 4 * 2 * 4 * QWQ_32B.n_vocab
