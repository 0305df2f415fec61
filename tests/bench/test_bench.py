"""A bench from the model's name to the report, and what the plan learns from it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from qwq_local.bench import BenchListener, BenchReport, BenchSettings, bench, run_bench
from qwq_local.bench.bench import ram_first
from qwq_local.bench.report import Memory, decoding
from qwq_local.bench.rounds import Speeds
from qwq_local.errors import ModelNotFoundError, SettingsError
from qwq_local.loading import LoadPlan
from qwq_local.machine import measured
from qwq_local.machine.machine import GIB, Gpu, Machine
from qwq_local.machine.measured import Measurements
from qwq_local.offers import offer_to_pull
from qwq_local.plan.plan import PlanWish, consider
from qwq_local.plan.speed import bytes_per_token
from qwq_local.settings import LoadSettings
from qwq_local.survey import Expectation

SPEEDS = Speeds(128, 0, (4.0, 5.0, 3.0), is_disturbed=False)
RAM = Memory("RAM", 20e9, is_measured=True)
CARD = Memory("CUDA0", 900e9)
MACHINE = Machine((Gpu("CUDA0", "a card", 24 * GIB, 24 * GIB, 900e9),), 64 * GIB, 64 * GIB, 76.8e9)
Q4 = offer_to_pull("Q4_K_M")


@pytest.fixture(scope="module")
def report() -> BenchReport:
    """Of the demo, with the CPU's speed not measured and a RAM that is quick to read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "call_apart", lambda work: work())
        patch.setattr(bench, "with_measured_cpu", lambda machine, *_: (machine, ("not measured",)))
        patch.setattr(bench, "read_bandwidth", lambda _: 50e9)
        return run_bench("demo", LoadSettings(), BenchSettings(n_prefill=64, n_decode=8, depth=32, n_rounds=2), BenchListener())


def test_the_demo_is_read_and_written_and_too_small_to_say_more(report: BenchReport) -> None:
    assert report.prefill.n_tokens == 64
    assert [(each.speeds.n_tokens, each.speeds.depth, len(each.speeds.rounds)) for each in report.decodings] == [(8, 0, 2), (8, 32, 2)]
    assert all(rate > 1 for each in report.decodings for rate in each.speeds.rounds)
    assert report.memories[0] == Memory("RAM", 50e9, is_measured=True)
    assert report.decodings[0].read_bytes[0] < report.decodings[1].read_bytes[0] < 10e6
    assert report.is_small
    assert "less than 1 GiB" in report.why_not_kept
    assert "not measured" in report.notes


def test_a_token_waits_for_one_memory_after_the_other() -> None:
    found = decoding(SPEEDS, [4 * 10**9, 9 * 10**9], [RAM, CARD], predicted=8.0)
    assert found.limit == pytest.approx(1 / (0.2 + 0.01))
    assert found.share == pytest.approx(4.0 * 0.21)
    assert found.ratio == 0.5


def test_what_a_token_reads_are_weights_and_the_filled_part_of_the_cache_of_each_memory() -> None:
    whole = consider(MACHINE, Q4, PlanWish(n_ctx=8192)).placement
    half = consider(MACHINE, Q4, PlanWish(n_ctx=8192, n_gpu_layers=32)).placement
    read = partial(bytes_per_token, tensors=Q4.tensors, types=Q4.types)
    weights_bytes = sum(Q4.tensors.values()) - Q4.tensors["token_embd.weight"]
    assert read(whole, n_filled=0) == (0, whole.memory[1].weights_bytes)
    assert sum(read(whole, n_filled=0)) == pytest.approx(weights_bytes, rel=0.001)
    assert sum(read(half, n_filled=0)) == pytest.approx(weights_bytes, rel=0.001)
    assert read(whole, n_filled=4096)[1] - read(whole, n_filled=0)[1] == whole.memory[1].kv_bytes // 2
    assert read(whole, n_filled=99_999) == read(whole, n_filled=8192)


def test_the_better_reading_of_the_ram_counts_and_one_that_differs_is_noted() -> None:
    assert ram_first(MACHINE, 50e9, 49e9) == ((Memory("RAM", 50e9, is_measured=True), CARD), ())
    memories, (note,) = ram_first(MACHINE, 40e9, 50e9)
    assert memories[0].bandwidth == 50e9
    assert "40 and 50 GB/s" in note
    memories, (note,) = ram_first(MACHINE, None, None)
    assert memories[0] == Memory("RAM", 76.8e9)
    assert "guess" in note


def test_a_ram_that_cannot_be_measured_ends_no_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> float:
        raise OSError("no")

    monkeypatch.setattr(bench, "read_bandwidth", fail)
    assert bench._ram_bandwidth() is None


def test_every_depth_teaches_the_plan(report: BenchReport, tmp_path: Path) -> None:
    found = [decoding(replace(SPEEDS, depth=depth), [10**10], [RAM], predicted=4.0 / ratio) for depth, ratio in ((0, 0.5), (512, 0.7))]
    taught = replace(report, decodings=tuple(found), why_not_kept="", expectation=Expectation(tmp_path, "cpu", "cpu", lambda _: 1.0))
    assert taught.keep()
    assert measured.read(tmp_path, "cpu") == Measurements("cpu", {}, {"cpu": (pytest.approx(0.5), pytest.approx(0.7))})  # type: ignore[dict-item]
    (tmp_path / "file").write_text("")
    assert not replace(taught, expectation=Expectation(tmp_path / "file" / "x", "cpu", "cpu", lambda _: 1.0)).keep()


@pytest.mark.parametrize(
    ("shortage", "disturbed", "expects", "says"),
    [
        (True, False, True, "does not fit"),
        (False, True, True, "other programs"),
        (False, False, False, "could not be measured"),
        (False, False, True, ""),
    ],
)
def test_what_says_nothing_of_the_machine_is_not_kept(
    report: BenchReport, *, shortage: bool, disturbed: bool, expects: bool, says: str
) -> None:
    machine = replace(MACHINE, gpus=(), ram_available_bytes=(8 if shortage else 64) * GIB)
    candidate = consider(machine, Q4, PlanWish(n_ctx=8192))
    expectation = Expectation(Path(), "cpu", "cpu", lambda _: 1.0) if expects else None
    plan = LoadPlan(report.file, "Q4_K_M", machine, None, candidate.placement, (), 16, expectation=expectation)
    prepared = bench.Prepared(plan, candidate, machine, ())
    found = bench._report(prepared, (RAM,), 1.0, SPEEDS, [replace(SPEEDS, is_disturbed=disturbed)])
    assert says in found.why_not_kept
    assert bool(found.why_not_kept) is bool(says)
    assert any("needs" in note for note in found.notes) is shortage
    assert any("decode" in note for note in found.notes) is disturbed


def test_a_context_too_short_is_told_before_anything_is_measured() -> None:
    with pytest.raises(SettingsError, match="4,224 tokens of context, and demo is loaded with 512"):
        bench.prepare("demo", LoadSettings(), BenchSettings(depth=4096))
    with pytest.raises(ModelNotFoundError):
        bench.prepare("nothing", LoadSettings(), BenchSettings())
