"""The one command for all benchmarks."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import benchmarks, main
from benchmarks.deep_nano import greedy_answers, problems_of, write_deep_nano
from benchmarks.exactness import binned, compare
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


@pytest.mark.slow
def test_nano_made_larger_answers_as_nano_does(tmp_path: Path) -> None:
    path = tmp_path / "deep.gguf"
    shape = write_deep_nano(path, target_bytes=20e6, width=512)
    assert (shape.n_layers, shape.n_embd, shape.n_ff) == (6, 512, 2048)
    assert abs(path.stat().st_size - 20e6) < 2e6
    problems = problems_of(50)
    assert greedy_answers(str(path), problems)[0] == greedy_answers("demo", problems)[0]


def test_samples_of_one_distribution_and_of_two_are_told_apart() -> None:
    rng = random.Random(4)

    def sample(weights: tuple[int, ...]) -> list[str]:
        return rng.choices("abcd", weights, k=2000)

    fair, unfair = (10, 10, 10, 1), (10, 10, 12, 1)
    same = compare([(sample(fair), sample(fair)), (sample(fair), sample(fair))])
    assert same.freedom == 6
    assert same.p_value > 0.01
    assert compare([(sample(fair), sample(unfair)), (sample(fair), sample(fair))]).p_value < 0.01


def test_the_p_value_is_that_of_the_chi_square_table() -> None:
    # Two samples of 1,000 of a coin: 3.841 is what one degree of freedom exceeds with probability 0.05.
    found = compare([(["head"] * 522 + ["tail"] * 478, ["head"] * 478 + ["tail"] * 522)])
    assert (round(found.statistic, 2), found.freedom) == (3.87, 1)
    assert 0.04 < found.p_value < 0.06


def test_rare_continuations_share_a_bin() -> None:
    assert binned(Counter(a=90, b=8, c=2), Counter(a=95, b=2, d=3)).tolist() == [[90, 8, 2], [95, 2, 3]]
    assert binned(Counter(a=5, b=5), Counter(a=5, b=5)).tolist() == [[5, 5], [5, 5]]
