"""Honest programs run as they would anywhere, within their limits; where they cannot be confined, they are not run."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qwq_local.errors import SettingsError
from qwq_local.sandbox import Limits, Outcome, capability, refusal, run, run_program
from qwq_local.sandbox.process import CannotConfineError
from tests.sandbox.traps import left_processes, sandboxed_processes
from tests.waiting import wait_until

NO_MEMORY_FOR_WORDS = "object type     : 0x7f3ddf4f4de0\nobject type name: MemoryError\nobject repr     : MemoryError()\nlost sys.stderr"
"""As Python 3.13 ends where no memory is left for a traceback."""
HONEST = {
    "stdin by lines": ("print(sum(int(line) for line in open(0)))", "1\n2\n3\n", "6\n"),
    "input": ("a, b = map(int, input().split())\nprint(a * b)", "6 7\n", "42\n"),
    "stdin at once": ("import sys\nprint(len(sys.stdin.buffer.read()))", "x" * 3_000_000, "3000000\n"),
    "recursion": ("import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return n and 1 + f(n - 1)\nprint(f(20000))", "", "20000\n"),
    "a deep stack in a thread": (
        (
            "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(2**27)\n"
            "def f(n): return 0 if n == 0 else 1 + f(n - 1)\nt = threading.Thread(target=lambda: print(f(50000)))\nt.start()\nt.join()"
        ),
        "",
        "50000\n",
    ),
    "a higher stack limit": (
        "import resource\nresource.setrlimit(resource.RLIMIT_STACK, (64 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))\nprint(1)",
        "",
        "1\n",
    ),
    "collections": ("from collections import Counter, deque\nprint(Counter('hello').most_common(1), deque([1, 2], 1))", "", None),
    "the standard library": (
        (
            "import bisect, decimal, fractions, functools, heapq, itertools, math, random, re, statistics, string, typing, datetime, "
            "zlib, hashlib, json, sqlite3, ssl, bz2, lzma, zoneinfo\nprint(math.comb(50, 25))"
        ),
        "",
        "126410606437752\n",
    ),
    "files of its own": (
        (
            "import os, shutil, tempfile\nopen('a', 'w').write('hi')\nshutil.copy2('a', 'b')\nos.makedirs('c/d')\n"
            "with tempfile.TemporaryFile() as f: f.write(b'x')\nprint(open('b').read(), sorted(os.listdir('.')))"
        ),
        "",
        "hi ['a', 'b', 'c']\n",
    ),
    "threads": (
        "from concurrent.futures import ThreadPoolExecutor as P\nwith P(8) as pool: print(sum(pool.map(lambda n: n * n, range(100))))",
        "",
        "328350\n",
    ),
    "asyncio": ("import asyncio\nasync def main():\n    await asyncio.sleep(0)\n    print('later')\nasyncio.run(main())", "", "later\n"),
    "an alarm": (
        "import signal as s\ns.signal(s.SIGALRM, lambda *_: print('rang'))\ns.setitimer(s.ITIMER_REAL, 0.01)\ns.pause()",
        "",
        "rang\n",
    ),
    "exit": ("print('before')\nexit()\nprint('after')", "", "before\n"),
    "a main guard": ("def main(): print(__name__, __file__)\nif __name__ == '__main__': main()", "", "__main__ /program.py\n"),
    "dataclasses with late annotations": (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nprint(P(1))",
        "",
        "P(x=1)\n",
    ),
    "other alphabets": ("print(input()[::-1], 'ä→😀')", "über\n", "rebü ä→😀\n"),
}


@pytest.mark.usefixtures("confinement")
@pytest.mark.parametrize("name", HONEST)
def test_an_honest_program_runs(name: str) -> None:
    source, stdin, stdout = HONEST[name]
    outcome = run_program(source, stdin)
    assert outcome.is_done, outcome
    assert outcome.stdout == (stdout or "[('l', 2)] deque([2], maxlen=1)\n")


@pytest.mark.usefixtures("confinement")
def test_a_set_is_printed_in_the_same_order_each_time() -> None:
    source = "print({'one', 'two', 'three', 'four'})"
    assert run_program(source).stdout == run_program(source).stdout


@pytest.mark.usefixtures("confinement")
@pytest.mark.parametrize(
    ("source", "end", "code", "last_words"),
    [
        ("raise ValueError('no')", "done", 1, "ValueError: no"),
        ("import sys; sys.exit(3)", "done", 3, ""),
        ("import sys; sys.exit('so')", "done", 1, "so"),
        ("import os; os._exit(0)", "done", 0, ""),
        ("def f(:", "done", 1, "SyntaxError: invalid syntax"),
        ("x = '\\ud800'\nprint(x)", "done", 1, None),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "signal", -15, ""),
        ("raise MemoryError", "too much memory", 1, "MemoryError"),
        ("x = bytes(2 << 30)", "too much memory", 1, "MemoryError"),
        (f"import sys; sys.exit({NO_MEMORY_FOR_WORDS!r})", "too much memory", 1, "lost sys.stderr"),
    ],
)
def test_what_a_program_came_to_is_told(source: str, end: str, code: int, last_words: str | None) -> None:
    outcome = run_program(source)
    assert (outcome.end, outcome.code) == (end, code)
    assert last_words is None or outcome.last_words == last_words


@pytest.mark.usefixtures("confinement")
def test_what_was_said_before_a_limit_is_kept_up_to_the_limit() -> None:
    limits = Limits(seconds=2.0, output_bytes=5000)
    slow = run_program("import time\nprint('first', flush=True)\ntime.sleep(99)", b"", limits)
    assert (slow.end, slow.stdout) == ("too slow", "first\n")
    loud = run_program("import sys\nsys.stderr.write('so\\n')\nwhile True: print('x' * 99)", b"", replace(limits, seconds=30.0))
    assert (loud.end, len(loud.stdout), loud.stderr[:2]) == ("too much output", 5000, "so")


@pytest.mark.usefixtures("confinement")
def test_what_it_used_is_told() -> None:
    outcome = run_program("x = bytearray(b'x' * (100 << 20))\nfor _ in range(3_000_000): pass")
    assert outcome.peak_bytes > 100 << 20
    assert 0 < outcome.cpu_seconds <= outcome.seconds + 0.5


@pytest.mark.usefixtures("confinement")
def test_nothing_is_left_when_listening_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise KeyboardInterrupt

    before = sandboxed_processes()
    monkeypatch.setattr("qwq_local.sandbox.process._Hearing.hear", broken)
    with pytest.raises(KeyboardInterrupt):
        run_program("while True: pass")
    assert left_processes(before) == set()


@pytest.mark.usefixtures("confinement")
def test_no_file_is_left_open() -> None:
    before = list(Path("/proc/self/fd").iterdir())
    run_program("print(1)")
    assert len(list(Path("/proc/self/fd").iterdir())) == len(before)


def test_a_limit_that_cannot_be_is_refused() -> None:
    with pytest.raises(SettingsError, match="memory_bytes is 0"):
        Limits(memory_bytes=0)


@pytest.fixture
def fresh() -> Any:
    refusal.cache_clear()
    yield
    refusal.cache_clear()


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        ("sys.platform", "darwin", "Linux's namespaces and seccomp"),
        ("platform.machine", lambda: "mips", "system calls of this machine"),
        ("sys.frozen", True, "without a Python interpreter"),
    ],
)
def test_a_machine_that_cannot_confine_runs_nothing(monkeypatch: pytest.MonkeyPatch, place: str, value: Any, reason: str) -> None:
    monkeypatch.setattr(f"qwq_local.sandbox.capability.{place}", value, raising=False)
    monkeypatch.setattr(run, "run_confined", never)
    monkeypatch.setattr(capability, "run_confined", never)
    with pytest.raises(SettingsError, match=f"Programs cannot be confined here: .*{reason}") as caught:
        run_program("print(1)")
    assert "Linux" in caught.value.hint


def never(*_: Any) -> Outcome:
    raise AssertionError("it was run")


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        (Outcome("done", 0, '{"start processes": true, "open sockets": false}', "", 0, 0, 0), "a confined program could start processes"),
        (Outcome("done", 1, "", "ImportError: no libz", 0, 0, 0), "a confined Python does not run: ImportError: no libz"),
        (CannotConfineError("unshare: Operation not permitted"), "unshare: Operation not permitted"),
    ],
)
def test_confinement_is_tried_and_what_it_lacks_is_told(monkeypatch: pytest.MonkeyPatch, probe: Any, reason: str) -> None:
    def pretend(*_: Any) -> Outcome:
        if isinstance(probe, Exception):
            raise probe
        assert isinstance(probe, Outcome)
        return probe

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(capability, "run_confined", pretend)
    assert refusal() == reason
    with pytest.raises(SettingsError, match="Programs cannot be confined here"):
        run_program("print(1)")


@pytest.mark.slow
@pytest.mark.usefixtures("confinement")
def test_a_program_does_not_outlive_who_runs_it() -> None:
    before = sandboxed_processes()
    source = "from qwq_local.sandbox import Limits, run_program; run_program('while True: pass', b'', Limits(seconds=99, cpu_seconds=99))"
    parent = subprocess.Popen([sys.executable, "-c", source])
    wait_until(lambda: len(sandboxed_processes() - before) == 3)
    parent.kill()
    parent.wait()
    wait_until(lambda: sandboxed_processes() <= before)
