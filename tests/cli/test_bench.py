"""`qwq bench`: the figures as people and programs get them, and what is stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from qwq_local.bench import BenchReport
from qwq_local.bench.report import Memory, decoding
from qwq_local.bench.rounds import Speeds
from qwq_local.cli import benching
from qwq_local.machine import measured
from qwq_local.models.store import ModelFile
from qwq_local.plan.plan import PlanWish, consider
from qwq_local.survey import Expectation
from tests.bench.test_bench import MACHINE, Q4
from tests.programs import PROGRAM, Qwq, posix
from tests.terminals import Terminal

FILE = ModelFile("QwQ-32B:Q4_K_M", Path("q.gguf"), 32768, 4)
RAM, CARD = Memory("RAM", 48e9, is_measured=True), Memory("CUDA0", 936e9)
QUICK = ("--prefill", "32", "--decode", "8", "--rounds", "1")


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BenchReport:
    """What the program finds: a model whose every layer is in RAM, and a GPU that holds none."""
    placement = consider(replace(MACHINE, gpus=()), Q4, PlanWish(n_ctx=8192)).placement
    speeds = Speeds(128, 0, (2.0, 2.1, 1.9), is_disturbed=False)
    found = BenchReport(
        file=FILE,
        placement=placement,
        load_seconds=3.0,
        memories=(RAM, CARD),
        prefill=Speeds(512, 0, (1234.5,), is_disturbed=False),
        decodings=tuple(decoding(replace(speeds, depth=depth), [19 * 10**9, 0], [RAM, CARD], predicted=2.5) for depth in (0, 8192)),
        is_small=False,
        correction=0.9,
        notes=("Something is odd.",),
        why_not_kept="",
        expectation=Expectation(tmp_path, "cpu", "cpu", lambda _: 1.0),
    )
    monkeypatch.setattr(benching, "run_bench", lambda *_: found)
    return found


@pytest.mark.usefixtures("report")
def test_the_table_fits_a_terminal_of_80_columns_and_explains_itself(qwq: Qwq) -> None:
    ended = qwq("bench")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert "QwQ-32B:Q4_K_M  all layers in RAM, 8,192 tokens of context in a f16 cache" in lines
    assert [line.split() for line in lines if line.startswith(("prefill", "decode"))] == [
        ["prefill", "of", "512", "1,234", "1,234", "1,234"],
        ["decode", "of", "128", "2", "1.9", "2.1", "2.53", "79%", "2.5", "0.80"],
        ["decode", "of", "128", "behind", "8,192", "2", "1.9", "2.1", "2.53", "79%", "2.5", "0.80"],
    ]
    assert all(len(line) < 80 for line in lines if line.startswith(("prefill", "decode", " ")))
    assert "To write a token reads 17.7 GiB of RAM." in lines
    assert "Something is odd." in lines
    assert "0.90" in ended.out


def test_json_is_one_object_and_asks_nothing(qwq: Qwq, report: BenchReport) -> None:
    ended = qwq("bench", "--json")
    assert (ended.code, ended.err) == (0, "")
    told = json.loads(ended.out)
    assert told["decode"][0] == {
        "n_tokens": 128,
        "depth": 0,
        "tokens_per_second": 2.0,
        "rounds": [2.0, 2.1, 1.9],
        "is_disturbed": False,
        "bytes_per_token": {"RAM": 19 * 10**9, "CUDA0": 0},
        "limit": report.decodings[0].limit,
        "share": report.decodings[0].share,
        "predicted": 2.5,
        "ratio": 0.8,
    }
    assert (told["is_stored"], told["why_not_stored"]) == (False, None)
    assert [memory["is_measured"] for memory in told["memory"]] == [True, False]


@pytest.mark.parametrize(("flags", "is_kept"), [(["--store"], True), (["--no-store"], False), ([], False), (["--store", "--json"], True)])
@pytest.mark.usefixtures("report")
def test_what_was_found_is_stored_where_that_is_said(qwq: Qwq, tmp_path: Path, flags: list[str], *, is_kept: bool) -> None:
    assert qwq("bench", *flags).code == 0
    assert measured.read(tmp_path, "cpu").corrections == ({"cpu": 0.8} if is_kept else {})


def test_what_may_not_be_stored_is_told(qwq: Qwq, report: BenchReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benching, "run_bench", lambda *_: replace(report, why_not_kept="other programs kept the CPU busy"))
    assert qwq("bench", "--store").err == "notice: not stored: other programs kept the CPU busy.\n"
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    unwritable = Expectation(tmp_path / "file" / "x", "cpu", "cpu", lambda _: 1.0)
    monkeypatch.setattr(benching, "run_bench", lambda *_: replace(report, expectation=unwritable))
    assert "cannot be written" in qwq("bench", "--store").err


def test_a_small_model_is_compared_with_nothing(qwq: Qwq, report: BenchReport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benching, "run_bench", lambda *_: replace(report, is_small=True))
    told = json.loads(qwq("bench", "--json").out)
    assert told["decode"][0]["share"] is told["decode"][0]["ratio"] is None
    shown = qwq("bench").out
    assert "too small to say anything about the memory" in " ".join(shown.split())
    assert "79%" not in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--decode", "0"], "decode is 0"), (["--depth", "4096"], "4,224 tokens of context"), (["--gpu-layers", "-1"], "gpu-layers is -1")],
)
def test_what_cannot_be_measured_is_wrong_usage(qwq: Qwq, arguments: list[str], says: str) -> None:
    ended = qwq("bench", "-m", "demo", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err


@posix
@pytest.mark.slow
def test_a_terminal_sees_what_is_done_and_is_left_clean(on_terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    terminal = on_terminal(*PROGRAM, "bench", "-m", "demo", *QUICK, QWQ_DATA=str(tmp_path))
    assert terminal.end() == 0
    shown = terminal.shown.decode()
    assert "looking at this machine" in shown
    assert shown.rpartition("\x1b[K")[2].lstrip().startswith("demo")
    assert "reckon" not in shown  # a demo teaches nothing
