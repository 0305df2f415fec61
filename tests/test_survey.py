"""This machine as the plan sees it, and what answers teach about predictions of speed."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from qwq_local import survey
from qwq_local.errors import LoadError
from qwq_local.machine import measured
from qwq_local.machine.bandwidth import TYPICAL_RAM_BANDWIDTH
from qwq_local.machine.device import DeviceMemory
from qwq_local.machine.machine import GIB, Machine
from qwq_local.machine.measured import Measurements
from qwq_local.offers import offer_to_pull
from qwq_local.plan.plan import Candidate, PlanWish, consider, make_plan
from qwq_local.plan.race import RACES, cost_of_race
from qwq_local.quants import TENSOR_TYPES
from qwq_local.survey import Expectation, expect, known_machine, this_machine, with_race_rates
from tests.meters import FakeMeter

Q4 = offer_to_pull("Q4_K_M")
RATES = {"F32": 30e9, "Q4_K": 12e9, "Q6_K": 16e9, "f16 cache": 3e9, "q8_0 cache": 1e9}
SERVER = Machine((), 64 * GIB, 64 * GIB, 30e9, RATES)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QWQ_DATA", str(tmp_path))
    monkeypatch.setattr(survey, "cpu_build", lambda: "build")
    return tmp_path / "cache"


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeMeter], FakeMeter]:
    def install(meter: FakeMeter) -> FakeMeter:
        monkeypatch.setattr(survey, "CpuMeter", lambda _: meter)
        return meter

    return install


def test_the_cpu_is_measured_for_what_the_offers_read(use: Callable[[FakeMeter], FakeMeter], cache: Path) -> None:
    meter = use(FakeMeter(RATES))
    machine = this_machine([Q4, offer_to_pull("Q3_K_M")], PlanWish(), with_gpus=False)
    assert sorted(meter.asked) == ["F32", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "f16 cache", "q8_0 cache"]
    assert machine.cpu_rates == {**RATES, "Q3_K": 1e10, "Q5_K": 1e10}
    assert machine.ram_bandwidth == 30e9
    assert machine.notes == ()
    assert machine.corrections == {}
    assert (cache / measured.FILE_NAME).exists()
    assert known_machine([])[0].cpu_rates == machine.cpu_rates


def test_a_wished_cache_is_measured_and_no_other(use: Callable[[FakeMeter], FakeMeter]) -> None:
    meter = use(FakeMeter())
    this_machine([], PlanWish(kv_type="q4_0"), with_gpus=False)
    assert meter.asked == ["F32", "q4_0 cache"]


def test_types_that_no_weights_have_are_not_measured(use: Callable[[FakeMeter], FakeMeter]) -> None:
    meter = use(FakeMeter())
    odd = replace(Q4, types=dict.fromkeys(Q4.types, TENSOR_TYPES[24]))
    assert this_machine([odd], PlanWish(), with_gpus=False).notes == ()
    assert "I8" not in meter.asked


def test_a_busy_cpu_is_noted_and_its_speed_a_guess(use: Callable[[FakeMeter], FakeMeter], cache: Path) -> None:
    use(FakeMeter(n_undisturbed=2))
    machine = this_machine([Q4], PlanWish(), with_gpus=False)
    assert machine.cpu_rates == {}
    assert machine.ram_bandwidth == TYPICAL_RAM_BANDWIDTH
    assert machine.notes == ("Other programs keep the CPU busy, so that its speed is a guess.",)
    assert not (cache / measured.FILE_NAME).exists()


@pytest.mark.parametrize("failing", ["cpu_build", "CpuMeter"])
def test_a_llama_cpp_that_cannot_measure_is_noted(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    def fail(*_: object) -> None:
        raise LoadError("no ggml", hint="none")

    monkeypatch.setattr(survey, failing, fail)
    assert this_machine([Q4], PlanWish(), with_gpus=False).notes == ("The CPU's speed cannot be measured: no ggml",)


def test_devices_are_llama_cpps_and_what_hides_them_is_noted(
    use: Callable[[FakeMeter], FakeMeter], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(FakeMeter())
    monkeypatch.setattr(survey, "list_devices", lambda: (DeviceMemory("CUDA0", "a card", "gpu", 48 * GIB, 48 * GIB),))
    assert [gpu.name for gpu in this_machine([], PlanWish()).gpus] == ["CUDA0"]

    def fail() -> None:
        raise OSError("no library")

    monkeypatch.setattr(survey, "list_devices", fail)
    assert this_machine([], PlanWish()).notes == ("llama.cpp cannot say which devices it has: no library",)


# What a race costs


def test_the_cpu_is_measured_for_several_streams_of_the_chosen_model_only(use: Callable[[FakeMeter], FakeMeter]) -> None:
    use(FakeMeter(RATES))
    machine = replace(this_machine([Q4], PlanWish(), with_gpus=False), ram_available_bytes=64 * GIB)
    plan = make_plan(machine, [Q4, offer_to_pull("Q3_K_M")], PlanWish())
    assert plan.chosen is not None
    assert plan.chosen.offer is Q4
    meter = use(FakeMeter(others=5e9))
    found = with_race_rates(plan)
    assert set(meter.asked) == {f"{name} for {n} streams" for name in ("F32", "Q4_K", "Q6_K") for n in RACES}
    assert found == replace(plan, machine=found.machine)
    assert found.machine.cpu_rates == {**machine.cpu_rates, **dict.fromkeys(meter.asked, 5e9)}
    cost = cost_of_race(plan.chosen, found.machine, 3)
    assert cost.slowdown is not None
    assert cost.slowdown > 1


def test_nothing_is_measured_for_a_race_on_a_machine_that_is_described_or_where_nothing_fits(use: Callable[[FakeMeter], FakeMeter]) -> None:
    meter = use(FakeMeter())
    for machine in (replace(SERVER, cpu_rates={}), replace(SERVER, ram_available_bytes=GIB)):
        plan = make_plan(machine, [Q4], PlanWish())
        assert with_race_rates(plan) is plan
    assert meter.asked == []


# What answers teach


def candidate(machine: Machine = SERVER, **wish: object) -> Candidate:
    return consider(machine, Q4, PlanWish(n_ctx=8192, **wish))  # type: ignore[arg-type]


def test_measured_by_predicted_is_kept_for_the_next_plan(use: Callable[[FakeMeter], FakeMeter]) -> None:
    use(FakeMeter(RATES))
    before = this_machine([Q4], PlanWish(), with_gpus=False)
    machine, cpu = known_machine([])
    expected = expect(candidate(replace(machine, ram_available_bytes=64 * GIB)), machine, cpu)
    assert expected is not None
    expected.learn(100, 200 / expected.predict(3000), 3000)
    after = this_machine([Q4], PlanWish(), with_gpus=False)
    assert after.corrections == {"cpu": pytest.approx(0.5)}
    assert after.cpu_rates == before.cpu_rates


def test_an_expectation_crosses_from_process_to_process() -> None:
    expected = expect(candidate(), SERVER, "cpu")
    assert expected is not None
    crossed = pickle.loads(pickle.dumps(expected))  # noqa: S301 - our own bytes
    assert crossed.predict(100) == expected.predict(100)


def test_a_longer_context_is_expected_to_be_slower() -> None:
    expected = expect(candidate(), SERVER, "cpu")
    assert expected is not None
    assert expected.kind == "cpu"
    assert expected.predict(8000) < expected.predict(100)


@pytest.mark.parametrize(
    ("found", "machine"),
    [
        (candidate(replace(SERVER, ram_available_bytes=8 * GIB)), SERVER),
        (candidate(), replace(SERVER, cpu_rates={name: rate for name, rate in RATES.items() if name != "Q6_K"})),
        (candidate(kv_type="f32"), SERVER),
        (replace(candidate(), offer=replace(Q4, tensors={name: size // 20 for name, size in Q4.tensors.items()})), SERVER),
    ],
    ids=["loaded by force", "weights not measured", "cache not measured", "too small"],
)
def test_an_answer_that_would_teach_nothing_is_not_learnt_from(found: Candidate, machine: Machine) -> None:
    assert expect(found, machine, "cpu") is None


@pytest.mark.parametrize(("n_tokens", "seconds"), [(31, 10.0), (0, 1.0), (100, 0.0), (100, -1.0), (100, 1e9), (100, 1e-9)])
def test_too_short_an_answer_or_too_odd_a_speed_teaches_nothing(cache: Path, n_tokens: int, seconds: float) -> None:
    kept = Measurements("cpu", {"F32": (30e9,)}, {"cpu": (0.9,)})
    measured.write(cache, kept)
    Expectation(cache, "cpu", "cpu", lambda _: 2.0).learn(n_tokens, seconds, 100)
    assert measured.read(cache, "cpu") == kept


def test_a_folder_that_cannot_be_written_spoils_no_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    Expectation(tmp_path / "file" / "cache", "cpu", "cpu", lambda _: 2.0).learn(100, 10.0, 100)
