"""The one command for all benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import benchmarks, main
from benchmarks.grading import wilson


def test_every_benchmark_is_listed_with_what_it_measures_and_needs() -> None:
    told = CliRunner().invoke(main, ["--list"]).output
    assert len(benchmarks()) > 25
    for name, found in benchmarks().items():
        assert found.what.endswith((".", "?")), name
        assert f"{name}: {found.what}\n" in told
    assert "throughput: " in told
    assert told.partition("throughput: ")[2].splitlines()[1] == "    needs --tools FOLDER"


def test_what_was_not_given_leaves_a_benchmark_out_by_name(tmp_path: Path) -> None:
    ended = CliRunner().invoke(main, ["endpoint_start", "memory", "--out", str(tmp_path)])
    assert ended.exit_code == 0
    assert [row["exit status"] for row in json.loads((tmp_path / "summary.json").read_text("utf-8"))["rows"]] == [
        "left out: give --tools FOLDER",
        "left out: give --rpc FOLDER",
    ]


def test_a_name_that_no_benchmark_has_is_refused() -> None:
    ended = CliRunner().invoke(main, ["startups"])
    assert ended.exit_code == 2
    assert "There is no benchmark 'startups'" in ended.output


@pytest.mark.parametrize(("n_right", "n_all", "interval"), [(9, 10, (0.5958, 0.9821)), (0, 10, (0.0, 0.2775)), (50, 100, (0.4038, 0.5962))])
def test_an_interval_is_wilsons(n_right: int, n_all: int, interval: tuple[float, float]) -> None:
    assert wilson(n_right, n_all) == pytest.approx(interval, abs=1e-4)


@pytest.mark.slow
def test_a_benchmark_s_figures_and_its_end_are_kept(tmp_path: Path) -> None:
    ended = CliRunner().invoke(main, ["plan", "--out", str(tmp_path)])
    assert ended.exit_code == 0
    assert len(json.loads((tmp_path / "plan.json").read_text("utf-8"))["rows"]) > 10
    (row,) = json.loads((tmp_path / "summary.json").read_text("utf-8"))["rows"]
    assert (row["name"], row["exit status"]) == ("plan", 0)
