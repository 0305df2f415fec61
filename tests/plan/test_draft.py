"""A draft model's place: taken first, and what is left to the model it guesses for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwq_local.errors import DoesNotFitError
from qwq_local.machine.machine import GIB, LEAST_HELP_BYTES, Machine
from qwq_local.plan.draft import DraftPlacer
from qwq_local.plan.fit import choose, fit, fit_draft
from qwq_local.plan.memory import ContextWish, estimate, tensor_bytes_of
from qwq_local.plan.plan import PlanWish, make_plan
from qwq_local.plan.reasons import gib, why
from tests.ghosts import QWEN_0_5B
from tests.plan.test_plan import OFFERS, machine_of, machines, offer, unified_machine

TENSORS = tensor_bytes_of(QWEN_0_5B, "Q8_0")
ALL_LAYERS = QWEN_0_5B.n_layers + 1
N_SEQUENCES = PlanWish().n_sequences
N_CTX = 8192


def placer(machine: Machine) -> DraftPlacer:
    return DraftPlacer("small", QWEN_0_5B, TENSORS, machine, N_SEQUENCES)


@pytest.mark.parametrize(
    ("vram", "shares"),
    [((), ()), ((8.0,), (ALL_LAYERS,)), ((8.0, 12.0), (0, ALL_LAYERS)), ((12.0, 8.0, 12.0), (ALL_LAYERS, 0, 0))],
)
def test_it_goes_whole_onto_the_gpu_with_most_room(vram: tuple[float, ...], shares: tuple[int, ...]) -> None:
    place = placer(machine_of(vram, 16)).place(N_CTX)
    assert place.placement.gpu_shares == shares
    assert (place.placement.n_ctx, place.placement.kv_type, place.shortage) == (N_CTX, "f16", None)


def test_it_stays_in_ram_where_the_user_wants_no_layer_on_a_gpu() -> None:
    machine = machine_of((8.0,), 16)
    assert fit_draft(placer(machine), N_CTX, PlanWish(n_gpu_layers=0)).placement.gpu_layers == 0
    assert fit_draft(placer(machine), N_CTX, PlanWish(n_gpu_layers=3)).placement.gpu_layers == ALL_LAYERS


def test_it_leaves_a_gpu_to_the_model_that_would_be_of_no_more_help() -> None:
    needed_bytes = placer(machine_of((24.0,), 16)).place(N_CTX).memory[1].total_bytes
    for spare_bytes, gpu_layers in ((0, 0), (LEAST_HELP_BYTES - 1, 0), (LEAST_HELP_BYTES, ALL_LAYERS)):
        machine = machine_of((1.0 + (needed_bytes + spare_bytes) / GIB,), 16)
        assert placer(machine).place(N_CTX).placement.gpu_layers == gpu_layers


@settings(max_examples=40)
@given(machines, st.sampled_from([512, 8192, 32_768]))
def test_what_is_left_is_the_machine_without_its_memory(machine: Machine, n_ctx: int) -> None:
    place = placer(machine).place(n_ctx)
    host, *on_gpus = place.memory
    shares = place.placement.gpu_shares
    parts = shares if any(shares) else (1,) * len(shares)
    context = ContextWish(n_ctx, "f16", N_SEQUENCES, n_outputs=N_SEQUENCES)
    assert place.memory == estimate(QWEN_0_5B, TENSORS, context, sum(shares), parts, [gpu.name for gpu in machine.gpus])
    if place.shortage is None:
        taken = [before.free_bytes - after.free_bytes for before, after in zip(machine.gpus, place.left.gpus, strict=True)]
        assert taken == [part.total_bytes for part in on_gpus]
        shared = sum(part.total_bytes for gpu, part in zip(machine.gpus, on_gpus, strict=True) if gpu.shares_ram)
        assert machine.ram_available_bytes - place.left.ram_available_bytes == host.total_bytes + shared
    assert replace(place.left, gpus=machine.gpus, ram_available_bytes=machine.ram_available_bytes) == machine


def test_model_and_draft_fill_a_machine_together_to_the_byte() -> None:
    """What both need of the RAM, and a byte less: the plan counts one beside the other."""
    wish = PlanWish(n_ctx=N_CTX, kv_type="f16")
    place = placer(machine_of((), 64)).place(N_CTX)
    needed_bytes = place.memory[0].total_bytes + fit(machine_of((), 64), offer("Q4_K_M"), wish).memory[0].total_bytes + GIB
    for ram_bytes, fits in ((needed_bytes, True), (needed_bytes - 1, False)):
        machine = replace(machine_of((), 64), ram_available_bytes=ram_bytes)
        candidate = fit(machine, offer("Q4_K_M"), wish, placer(machine).place(N_CTX), force=True)
        assert candidate.fits == fits


def test_it_can_cost_the_model_its_quantization_but_not_its_predicted_speed() -> None:
    machine = machine_of((6.5,), 64)
    place = placer(machine).place(N_CTX)
    alone, beside = make_plan(machine, OFFERS, PlanWish()), make_plan(machine, OFFERS, PlanWish(), place)
    assert alone.chosen is not None
    assert beside.chosen is not None
    assert alone.chosen.rank < beside.chosen.rank
    assert beside.left == place.left
    roomy = machine_of((24.0,), 64)
    speeds = [fit(roomy, offer("Q4_K_M"), PlanWish(), draft).tokens_per_second for draft in (None, placer(roomy).place(N_CTX))]
    assert speeds[0] == speeds[1]


def test_whoever_does_not_fit_beside_it_is_told_of_its_share() -> None:
    machine = machine_of((), 4.0)
    place = placer(machine).place(N_CTX)
    share = f"beside the {gib(place.memory[0].total_bytes)} of the draft model small."
    with pytest.raises(DoesNotFitError, match=share) as refused:
        fit(machine, offer("Q8_0"), PlanWish(n_ctx=N_CTX), place)
    assert "--draft-model" in refused.value.hint
    with pytest.raises(DoesNotFitError, match=share):
        choose(machine, [offer("Q8_0")], PlanWish(n_ctx=N_CTX), place)
    plan = make_plan(machine, [offer("Q8_0")], PlanWish(n_ctx=N_CTX), place)
    assert why(plan.candidates[0], plan).endswith(share)


def test_its_share_is_that_of_the_device_which_is_too_small() -> None:
    machine = machine_of((6.0,), 64)
    place = placer(machine).place(N_CTX)
    with pytest.raises(DoesNotFitError, match=rf"on CUDA0 .* beside the {gib(place.memory[1].total_bytes)} of the draft"):
        fit(machine, offer("Q8_0"), PlanWish(n_gpu_layers=99), place)


def test_one_that_does_not_fit_itself_is_refused_with_figures_and_loaded_by_force() -> None:
    tiny = machine_of((), 1.2)
    with pytest.raises(DoesNotFitError, match=r"The draft model small .* needs .* of RAM, and 0\.2 GiB can be used\.") as refused:
        fit_draft(placer(tiny), 32_768, PlanWish())
    assert "--force" in refused.value.hint
    assert fit_draft(placer(tiny), 32_768, PlanWish(), force=True).shortage is not None


def test_with_less_context_it_keeps_its_place_and_what_is_left_stays() -> None:
    for machine in (machine_of((8.0, 12.0), 16), machine_of((), 16), unified_machine(16.0)):
        place = placer(machine).place(32_768)
        shorter = placer(machine).shorten(place, 4096)
        assert (shorter.placement.gpu_shares, shorter.left) == (place.placement.gpu_shares, place.left)
        assert shorter.placement.n_ctx == 4096
        assert sum(part.kv_bytes for part in shorter.memory) * 8 == sum(part.kv_bytes for part in place.memory)
        assert placer(machine).shorten(place, 65_536) == place
