"""Whether other programs needed the CPU while something was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwq_local.machine import contention
from qwq_local.machine.contention import Contention


def test_waiting_threads_are_told_by_linux_and_elsewhere_by_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(contention, "THREADS", tmp_path)
    assert contention.waiting_seconds() == 0
    for thread, said in (("1", "900 1500000000 3\n"), ("2", "7 500000000 1\n")):
        (tmp_path / thread).mkdir()
        (tmp_path / thread / "schedstat").write_text(said)
    (tmp_path / "3" / "schedstat").mkdir(parents=True)
    assert contention.waiting_seconds() == 2.0


@pytest.mark.parametrize(("waited", "disturbs"), [(0.0, False), (0.04, False), (0.06, True)])
def test_threads_that_wait_for_a_core_disturb_what_is_measured(monkeypatch: pytest.MonkeyPatch, waited: float, *, disturbs: bool) -> None:
    waits, moments = iter([5.0, 5.0 + waited]), iter([9.0, 10.0])
    monkeypatch.setattr(contention, "waiting_seconds", lambda: next(waits))
    monkeypatch.setattr("time.perf_counter", lambda: next(moments))
    assert Contention().is_disturbing is disturbs
