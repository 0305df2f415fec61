"""No answer hangs a run or eats its memory: what compares them is a process with limits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from qwq_local.errors import QwqError
from qwq_local.grading import Given, WantsPattern, apart
from qwq_local.grading.apart import compare_apart
from qwq_local.grading.patterns import grade_pattern

ENDLESS = {"given": "a" * 60 + "!", "pattern": "^(a+)+$"}


@pytest.mark.slow
def test_a_comparison_without_end_is_cut_off_and_the_next_one_is_made_as_ever() -> None:
    cut_off = compare_apart("pattern", seconds=0.3, **ENDLESS)
    assert (cut_off.is_right, cut_off.why) == (False, "comparing it took longer than 0.3 s")
    assert compare_apart("pattern", "abc", pattern="b").is_right


@pytest.mark.slow
@pytest.mark.parametrize(
    "tower", ["9^{9^{9^9}}", r"(10^{9})!\cdot\frac{1}{3}", "{" * 20_000 + "}" * 20_000], ids=["power", "factorial", "braces"]
)
def test_what_no_machine_can_work_out_is_wrong(tower: str) -> None:
    assert not compare_apart("maths", tower, seconds=0.5, pairs=[("5", tower)]).is_right
    assert compare_apart("maths", "1/2", pairs=[("0.5", "1/2")]).is_right


@pytest.mark.slow
def test_answers_are_compared_in_threads_that_no_signal_reaches() -> None:
    def compare(number: int) -> tuple[bool, bool]:
        assert threading.current_thread() is not threading.main_thread()
        return (
            compare_apart(
                "maths", rf"\frac{{{number}}}{{7}}", pairs=[(rf"\frac{{{2 * number}}}{{14}}", rf"\frac{{{number}}}{{7}}")]
            ).is_right,
            compare_apart("pattern", f"it is {number}", pattern=rf"\b{number}$").is_right,
        )

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(compare, range(1, 41))) == [(True, True)] * 40
    assert len(apart._idle) <= apart.N_PROCESSES


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="it has no SIGKILL")
def test_a_process_that_was_killed_while_idle_is_replaced() -> None:
    assert compare_apart("pattern", "abc", pattern="b").is_right
    for process in apart._idle:
        os.kill(process._process.pid, signal.SIGKILL)
        process._process.wait()
    assert compare_apart("pattern", "abc", pattern="b").is_right


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere address space is not limited")
def test_a_comparison_gets_no_more_memory_than_its_limit() -> None:
    code = "from qwq_local.grading.child import _limit_memory, LIMIT_BYTES; _limit_memory(); bytearray(1 << 20); bytearray(LIMIT_BYTES)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MemoryError" in done.stderr


def test_a_frozen_app_becomes_the_process_where_it_is_started_as_one() -> None:
    code = f"import sys; sys.argv[1:] = [{apart.FLAG!r}]; from qwq_local.grading.child import run_if_asked; run_if_asked(); print('on')"
    request = b'{"kind": "pattern", "given": "abc", "wanted": {"pattern": "b"}, "seconds": 9}\n'
    done = subprocess.run([sys.executable, "-c", code], input=request, capture_output=True, check=True)
    assert done.stdout == b'ready\n{"is_right": true, "found": "b", "why": ""}\n'


def test_a_process_that_cannot_start_is_said_with_what_shows_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_idle", [])
    monkeypatch.setattr(apart, "_command", lambda: [sys.executable, "-S", "-c", "raise SystemExit(3)"])
    with pytest.raises(QwqError, match="ended as it started, with exit status 3") as caught:
        grade_pattern(WantsPattern("a"), Given("a"))
    assert "qwq_local.grading.child" in caught.value.hint
