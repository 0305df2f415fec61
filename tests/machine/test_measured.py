"""What is measured of a machine is measured some times, kept, and believed for as long as it is the same machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.errors import LoadError
from qwq_local.machine import measured
from qwq_local.machine.machine import Shared
from qwq_local.machine.measured import Measurements, OpenMeter, measure, with_rate
from qwq_local.quants import F32, Q8_0
from tests.meters import FakeMeter


def through(meter: FakeMeter) -> OpenMeter:
    return lambda: meter


def test_a_rate_is_the_median_of_the_first_measurements(tmp_path: Path) -> None:
    meters = [FakeMeter({"F32": rate}) for rate in (3e9, 1e9, 7e9, 5e9, 5e9, 9e9, 9e9)]
    found = [measure(tmp_path / "new", "cpu", [F32], through(meter)).cpu_rates["F32"] for meter in meters]
    assert found == [3e9, 2e9, 3e9, 4e9, 5e9, 5e9, 5e9]
    assert [len(meter.asked) for meter in meters] == [1] * 5 + [0] * 2


def test_only_what_is_wanted_and_not_known_is_measured(tmp_path: Path) -> None:
    measured.write(tmp_path, Measurements("cpu", {"F32": (5e9,) * measured.ENOUGH_ROUNDS, "Q8_0": (1e9,)}, {"gpu": (0.9,)}))
    meter = FakeMeter({"Q8_0": 1.1e9, "f16 cache": 3e9})
    found = measure(tmp_path, "cpu", [F32, Q8_0, "f16"], through(meter))
    assert sorted(meter.asked) == ["Q8_0", "f16 cache"]
    assert found.cpu_rates == {"F32": 5e9, "Q8_0": 1.05e9, "f16 cache": 3e9}
    assert found == measured.read(tmp_path, "cpu")
    assert found.corrections == {"gpu": 0.9}


@pytest.mark.parametrize("n_undisturbed", [0, 1])
def test_what_is_measured_beside_other_programs_is_not_kept(tmp_path: Path, n_undisturbed: int) -> None:
    meter = FakeMeter(n_undisturbed=n_undisturbed)
    assert measure(tmp_path, "cpu", [F32, Q8_0, "f16"], through(meter)) == Measurements("cpu")
    assert len(meter.asked) == n_undisturbed + 1, "it gives up at once"
    assert measured.read(tmp_path, "cpu") == Measurements("cpu")
    assert meter.n_open == 0


def test_a_meter_that_cannot_be_opened_is_the_callers_to_mend(tmp_path: Path) -> None:
    def fail() -> FakeMeter:
        raise LoadError("no ggml", hint="none")

    with pytest.raises(LoadError):
        measure(tmp_path, "cpu", [F32], fail)


def test_ratios_to_predictions_that_were_wrong_are_forgotten() -> None:
    before = with_rate(Measurements("c", ratios={"cpu": (3.0,)}), "Q4_K", 1e9)
    assert with_rate(before, "Q4_K", 1.19e9).ratios == {"cpu": (3.0,)}
    assert with_rate(before, "Q4_K", 0.81e9).ratios == {"cpu": (3.0,)}
    assert with_rate(before, "Q4_K", 1.21e9).ratios == {}
    assert with_rate(before, "Q4_K", 0.79e9).ratios == {}
    assert with_rate(before, "Q8_0", 9e9).ratios == {"cpu": (3.0,)}


def test_the_rates_of_several_streams_are_kept_beside_and_spoil_no_prediction(tmp_path: Path) -> None:
    measured.write(tmp_path, Measurements("cpu", {"Q8_0 for 3 streams": (9e9,)}, {"cpu": (0.9,)}))
    meter = FakeMeter({"Q8_0": 5e9, "Q8_0 for 3 streams": 2e9})
    found = measure(tmp_path, "cpu", [Shared(Q8_0, 3), Q8_0, Shared(Q8_0, 1)], through(meter))
    assert sorted(meter.asked) == ["Q8_0", "Q8_0", "Q8_0 for 3 streams"]
    assert found.cpu_rates == {"Q8_0": 5e9, "Q8_0 for 3 streams": 5.5e9}
    assert found.corrections == {"cpu": 0.9}


def test_what_was_measured_elsewhere_does_not_count(tmp_path: Path) -> None:
    measured.write(tmp_path, Measurements("one", {"F32": (5e9,)}, {"cpu": (0.9,)}))
    assert measured.read(tmp_path, "one").cpu_rates == {"F32": 5e9}
    assert measured.read(tmp_path, "other") == Measurements("other")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"cpu": "c", "ram_bandwidth": 1e10, "ram_rounds": 1, "ratios": {}}',
        '{"cpu": "c", "rates": {"F32": "fast"}, "ratios": {}}',
        '{"cpu": "c", "rates": {"F32": 1e10}, "ratios": {}}',
        '{"cpu": "c", "rates": {"F32": [null]}, "ratios": {}}',
        '{"cpu": "c", "rates": {"F32": [NaN]}, "ratios": {}}',
        '{"cpu": "c", "rates": {"F32": [0]}, "ratios": {}}',
        '{"cpu": "c", "rates": {"F32": [1e10, Infinity]}, "ratios": {}}',
        '{"cpu": "c", "rates": {}, "ratios": []}',
        '{"cpu": "c", "rates": {}, "ratios": {"cpu": [1e9]}}',
        '{"cpu": "c", "rates": {}, "ratios": {"cpu": [null]}}',
    ],
)
def test_a_damaged_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / measured.FILE_NAME).write_text(text)
    assert measured.read(tmp_path, "c") == Measurements("c")


def test_a_folder_that_cannot_be_written_costs_only_the_record(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not measured.write(tmp_path / "file" / "folder", Measurements("c"))
    assert measure(tmp_path / "file" / "folder", "c", [F32], FakeMeter).cpu_rates == {"F32": 1e10}


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30))
def test_predictions_are_corrected_by_the_median_of_the_last_that_can_be(ratios: list[float]) -> None:
    found = Measurements("c")
    for ratio in ratios:
        found = measured.with_ratio(found, "cpu", ratio)
    kept = [ratio for ratio in ratios if measured.LEAST_RATIO <= ratio <= measured.MOST_RATIO][-measured.KEPT_RATIOS :]
    assert list(found.ratios.get("cpu", ())) == kept
    assert found.corrections.keys() == ({"cpu"} if kept else set())
    if kept:
        assert min(kept) <= found.corrections["cpu"] <= max(kept)


def test_ratios_are_kept_in_the_file(tmp_path: Path) -> None:
    found = measured.with_ratio(Measurements("c", {"F32": (2e10, 3e10)}), "gpu", 0.8)
    assert measured.write(tmp_path, found)
    assert measured.read(tmp_path, "c").corrections == {"gpu": 0.8}
    assert json.loads((tmp_path / measured.FILE_NAME).read_text())["rates"] == {"F32": [2e10, 3e10]}
