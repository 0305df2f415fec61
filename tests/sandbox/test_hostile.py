"""Hostile programs: none escapes, none outlives its limits."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from qwq_local.sandbox import Outcome, run_program
from tests.sandbox.hostile import HOSTILE, Hostile
from tests.sandbox.traps import Trap, left_processes, trap

pytestmark = pytest.mark.usefixtures("confinement")


@pytest.fixture
def armed() -> Iterator[Trap]:
    with trap() as found:
        yield found


def run(armed: Trap, hostile: Hostile) -> Outcome:
    return run_program(armed.set_up(hostile.source), b"some input", hostile.limits)


@pytest.mark.slow
@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_a_hostile_program_reaches_nothing_and_ends(armed: Trap, hostile: Hostile) -> None:
    outcome = run(armed, hostile)
    assert armed.escapes(outcome) == []
    assert "SyntaxError" not in outcome.stderr or "eval" in hostile.body, "it tried"
    if hostile.end:
        assert outcome.end == hostile.end, outcome


def test_there_are_more_than_fifty_of_them() -> None:
    assert len({hostile.name for hostile in HOSTILE}) == len(HOSTILE) > 50


@pytest.mark.slow
def test_many_at_once_are_ended_each_by_itself(armed: Trap) -> None:
    named = {hostile.name: hostile for hostile in HOSTILE}
    several = [
        named[name]
        for name in ("fork bomb", "memory flood", "output flood", "sleep", "read a canary", "kill everyone", "UDP", "stop itself")
    ]
    with ThreadPoolExecutor(len(several)) as pool:
        outcomes = list(pool.map(lambda hostile: run(armed, hostile), several))
    assert [armed.escapes(outcome) for outcome in outcomes] == [[]] * len(several)
    for hostile, outcome in zip(several, outcomes, strict=True):
        assert hostile.end in {None, outcome.end}, hostile.name
    assert left_processes(armed.pids_before) == set()


def test_a_trap_tells_what_was_touched(armed: Trap) -> None:
    """So that nothing above passes for want of looking."""
    mine = Outcome("done", 0, f"ESCAPED {armed.mark[::-1]}", "", 0.0, 0.0, 0)
    (armed.home / "canary").unlink()
    (armed.home / "planted").touch()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as speaker:
        speaker.sendto(b"x", ("127.0.0.1", armed.port))
    assert armed.escapes(mine) == [
        "it says so",
        "a canary is gone",
        "a secret was read",
        "files were written",
        "a listener was spoken to",
    ]


HARMLESS = ("read a canary", "TCP", "UDP", "Unix socket", "abstract socket", "abstract socket from a pair", "the environment", "memfd")


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_not_confined_is_caught_by_its_trap(armed: Trap, name: str) -> None:
    """Of the programs that do no harm on a machine either; so that none above passes because it could do nothing anyway."""
    (hostile,) = (each for each in HOSTILE if each.name == name)
    done = subprocess.run([sys.executable, "-c", armed.set_up(hostile.source)], capture_output=True, text=True, check=False)
    assert armed.escapes(Outcome("done", done.returncode, done.stdout, done.stderr, 0.0, 0.0, 0)) != []
