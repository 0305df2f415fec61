"""`qwq tune`: the figures as people and programs get them, what is stored, listed and taken back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from qwq_local.cli import tuning
from qwq_local.loading import plan_load
from qwq_local.machine import tuned
from qwq_local.machine.tuned import Kept, TunedFor
from qwq_local.settings import LoadSettings
from qwq_local.survey import what_computes
from qwq_local.tune import Comparison, Sizes, Tried, TuneReport
from qwq_local.tuning import UNTUNED, Tuning
from tests.programs import PROGRAM, Qwq, assert_told, posix

KEY = TunedFor("qwq-nano-Q8_0.gguf", 10**9, "cpu", "a CPU")
BEST = Tuning(n_threads=1, layout="repacked")
LAST = Comparison(
    {"decode": (1.1, 1.12, 1.11), "together": (1.4, 1.4, 1.4), "prefill": (0.9, 0.91, 0.9)},
    {"decode": (10.0, 11.1), "together": (20.0, 28.0), "prefill": (1000.0, 900.0)},
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QWQ_DATA", str(tmp_path))
    return tmp_path / "cache"


@pytest.fixture
def report(cache: Path, monkeypatch: pytest.MonkeyPatch) -> TuneReport:
    """What the program finds, of a model that is large enough."""
    assert not cache.exists()
    found = TuneReport(
        plan=plan_load("demo", LoadSettings()),
        key=KEY,
        best=BEST,
        tried=(
            Tried("n_threads", 1, "taken", {"decode": 1.1}),
            Tried("layout", "repacked", "taken", {"decode": 1.0, "together": 1.4, "prefill": 0.9}),
            Tried("n_ubatch", 1024, "refused", why="it takes memory that the context needs"),
            Tried("is_mapped", False, "not reached", why="there was no time left for it"),
        ),
        last=LAST,
        rates={"decode": 10.0, "together": 20.0, "prefill": 1000.0},
        cache_types={"q8_0": {"decode": 9.0, "together": 18.0, "prefill": 800.0}},
        sizes=Sizes(512, 8),
        seconds=60.0,
        is_small=False,
        why_not_kept="",
        notes=("Something is odd.",),
    )
    use(monkeypatch, found)
    return found


def use(monkeypatch: pytest.MonkeyPatch, report: TuneReport) -> None:
    monkeypatch.setattr(tuning, "run_tune", lambda *_: report)


@pytest.mark.usefixtures("report")
def test_the_tables_fit_a_terminal_of_80_columns_and_say_what_came_of_it(qwq: Qwq) -> None:
    ended = qwq("tune")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    rows = [line.split() for line in lines if line.startswith(("untuned", "tuned", "threads", "weights", "all that", "  with"))]
    assert rows == [
        ["untuned", "10", "20", "1,000"],
        ["tuned", "11.1", "28", "900"],
        ["with", "a", "cache", "of", "q8_0", "9", "18", "800"],
        ["threads", "1", "1.10", "-", "-", "taken"],
        ["weights", "repacked", "1.00", "1.40", "0.90", "taken"],
        ["all", "that", "was", "taken,", "again", "1.11", "1.40", "0.90"],
    ]
    assert all(len(line) < 80 for line in lines if line.startswith(("untuned", "tuned", "threads", "weights", "all that", "  with")))
    text = " ".join(lines)
    assert "Best here: threads 1 instead of all cores, weights repacked instead of auto. Every later load of this file uses it." in text
    assert "Not tried: micro-batch 1024, since it takes memory that the context needs." in text
    assert "There was no time for: file mapped off. More --seconds get to more, with longer prompts." in text
    assert "Something is odd." in lines


def test_json_is_one_object(qwq: Qwq, report: TuneReport) -> None:
    ended = qwq("tune", "--json")
    assert (ended.code, ended.err) == (0, "")
    told = json.loads(ended.out)
    assert told["best"] == {"n_threads": 1, "layout": "repacked"}
    assert told["gains"] == {"decode": 1.11, "together": 1.4, "prefill": 0.9}
    assert told["pairs"]["decode"] == [1.1, 1.12, 1.11]
    assert [tried["verdict"] for tried in told["tried"]] == [tried.verdict for tried in report.tried]
    assert (told["is_stored"], told["why_not_stored"], told["is_too_small"]) == (True, None, False)


@pytest.mark.usefixtures("report")
def test_what_was_found_is_stored_unless_that_is_not_wanted(qwq: Qwq, cache: Path) -> None:
    qwq("tune", "--no-store")
    assert tuned.read(cache).entries == ()
    qwq("tune")
    (kept,) = tuned.read(cache).entries
    assert (kept.key, kept.tuning, kept.gains) == (KEY, BEST, LAST.gains)


def test_that_nothing_helps_is_stored_as_well(qwq: Qwq, report: TuneReport, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, replace(report, best=UNTUNED))
    assert "did not stand the last comparison" in qwq("tune").out
    use(monkeypatch, replace(report, best=UNTUNED, last=None))
    assert "Nothing makes it faster" in qwq("tune").out
    (kept,) = tuned.read(cache).entries
    assert (kept.tuning, kept.gains) == (UNTUNED, {})


def test_what_may_not_be_stored_is_told_and_what_was_stored_stays(
    qwq: Qwq, report: TuneReport, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qwq("tune")
    use(monkeypatch, replace(report, best=UNTUNED, why_not_kept="other programs kept the CPU busy", is_small=True))
    ended = qwq("tune")
    assert ended.err == "notice: not stored: other programs kept the CPU busy.\n"
    assert "too small" in ended.out
    (kept,) = tuned.read(cache).entries
    assert kept.tuning == BEST


@pytest.mark.usefixtures("report")
def test_a_folder_that_cannot_be_written_is_told(qwq: Qwq, cache: Path) -> None:
    cache.write_text("")
    assert "cannot be written" in qwq("tune").err


def test_what_was_tuned_is_listed_and_taken_back(qwq: Qwq, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Nothing was tuned" in qwq("tune", "--show").err
    other = replace(KEY, file_name="other.gguf")
    for key in (KEY, other):
        tuned.keep(cache, Kept(key, BEST, {"decode": 1.11}, "2026-11-30"))
    listed = qwq("tune", "--show")
    assert "qwq-nano-Q8_0.gguf  2026-11-30  threads 1, weights repacked  (for another machine, or another llama.cpp)" in listed.out
    assert "times as fast: decode 1.11" in listed.out
    (first, _) = json.loads(qwq("tune", "--show", "--json").out)["tuned"]
    assert (first["file_name"], first["is_for_this_machine"], first["tuning"]) == (KEY.file_name, False, BEST.changes)
    assert qwq("tune", "--forget", "-m", "demo").err == "1 taken back.\n"
    assert [kept.key for kept in tuned.read(cache).entries] == [other]
    monkeypatch.setenv("QWQ_MODEL", "demo")
    assert json.loads(qwq("tune", "--forget", "--json").out) == {"n_forgotten": 1}, "what is set once for all means no one model here"
    assert qwq("tune", "--forget").err == "There was nothing to take back.\n"


def test_a_damaged_file_is_told_when_it_is_listed(qwq: Qwq, cache: Path) -> None:
    cache.mkdir()
    (cache / tuned.FILE_NAME).write_text("{")
    ended = qwq("tune", "--show")
    assert (ended.code, str(cache / tuned.FILE_NAME) in ended.err) == (0, True)


def test_wrong_use_is_told(qwq: Qwq, cache: Path) -> None:
    assert qwq("tune", "--show", "--forget").code == 2
    assert_told(qwq("tune", "-m", "demo", "--seconds", "0"), 2, "seconds is 0")
    assert_told(qwq("tune", "--forget", "-m", "nothing-here"), 1, "nothing-here")
    assert not cache.exists()


@posix
@pytest.mark.slow
def test_an_interrupt_ends_it_soon_and_leaves_what_was_stored(cache: Path) -> None:
    tuned.keep(cache, Kept(KEY, BEST, {}, "2026-11-30"))
    before = (cache / tuned.FILE_NAME).read_bytes()
    command = [*PROGRAM, "tune", "-m", "demo", "--seconds", "600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as running:
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(6)
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, b"")
    assert (cache / tuned.FILE_NAME).read_bytes() == before


def test_a_tuned_model_says_so_where_it_is_asked(qwq: Qwq, cache: Path) -> None:
    plan = plan_load("demo", LoadSettings())
    key = TunedFor(plan.file.path.name, plan.file.path.stat().st_size, "cpu", what_computes(plan.machine))
    tuned.keep(cache, Kept(key, Tuning(n_threads=1), {}, "2026-11-30"))
    ended = qwq("ask", "-m", "demo", "--seed", "1", "What is 47 + 85?")
    assert "132" in ended.out
    assert "notice: It runs as qwq tune found best here: threads 1." in ended.err
