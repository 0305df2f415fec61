"""The one command for all benchmarks."""

from __future__ import annotations

import json
import random
from collections import Counter
from difflib import SequenceMatcher
from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.__main__ import benchmarks, main
from benchmarks.comparison import Comparison, Figure, read_comparison
from benchmarks.copying import GIVEN
from benchmarks.deep_nano import greedy_answers, problems_of, write_deep_nano
from benchmarks.exactness import binned, compare
from benchmarks.grading import wilson
from benchmarks.guessing import Guesses
from benchmarks.report import in_turn


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
    problems = problems_of(20)
    deep, own = (greedy_answers(model, problems)[0] for model in (str(path), "demo"))
    assert [answer for _, answer in deep] == [answer for _, answer in own]
    differing = [mine for (mine, _), (theirs, _) in zip(deep, own, strict=True) if mine != theirs]
    assert len(differing) <= 1  # "bosparfevin" has a letter that is hardly likelier than another (p 0.50 and 0.48)
    assert all(thought.startswith("Spell it: b, o, s, p, a 1, r, f,") for thought in differing)


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


@given(st.sampled_from(sorted(GIVEN)), st.integers(0, 1000))
def test_texts_to_copy_are_other_ones_for_each_seed_and_stand_in_the_prompt_where_they_are_copied(task: str, seed: int) -> None:
    prompt, answer = GIVEN[task](random.Random(seed))
    assert (prompt, answer) == GIVEN[task](random.Random(seed))
    assert answer != GIVEN[task](random.Random(seed + 1))[1]
    longest = SequenceMatcher(None, prompt, answer, autojunk=False).find_longest_match().size
    assert longest > 20 if task != "random words" else longest < 10


def test_a_figure_tells_ratios_of_rounds_not_of_medians() -> None:
    figure = Figure("decode", "tokens/s", {"ours": [10.0, 40.0, 30.0], "llama-server": [20.0, 20.0, 40.0]})
    assert figure.median("ours") == 30
    assert figure.ratios("ours", "llama-server") == (0.75, 0.5, 2.0)


def test_a_comparison_is_read_as_it_was_written(tmp_path: Path) -> None:
    figure = Figure("decode", "tokens/s", {"ours": [1.5], "llama-server": [2.0]})
    found = Comparison("2026-11-30", "two cores", {"Python": "3.11"}, "tiny", [figure], "deep", [{"task": "quoting", "of none": 1.5}])
    found.write(tmp_path / "found.json")
    assert read_comparison(tmp_path / "found.json") == found


def test_systems_take_turns() -> None:
    moments = count(1)
    assert in_turn({"one": 10, "other": 20}, 2, lambda system: system + next(moments)) == {"one": [11, 13], "other": [22, 24]}


def test_what_was_guessed_of_several_answers_is_added_up() -> None:
    both = Guesses(10, 6, 3, 1.0) + Guesses(10, 2, 1, 3.0)
    assert (both.speed, both.acceptance, both.width) == (5, 0.5, 1.5)
    assert Guesses(10, 0, 0, 1.0).acceptance == 0
