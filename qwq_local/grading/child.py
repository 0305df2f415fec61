"""The process that compares answers: a line of JSON for each that comes in, a line with the grade for each that goes out.

Time is limited by faulthandler's watchdog, a thread in C that ends the process while Python itself cannot run any other.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NoReturn

from qwq_local.grading.apart import FLAG, LIMIT_BYTES, READY
from qwq_local.grading.wanted import Grade


def run_if_asked() -> None:
    """Become this process where the program was started as one: the first act of a frozen app, which is its own Python."""
    if sys.argv[1:] == [FLAG]:
        main()


def main() -> NoReturn:
    """Compare until the parent has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches everyone at the terminal, and the parent decides what it means
    reading, writing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "r+b") as nothing:  # noqa: PTH123 - os.devnull is no path on Windows
        os.dup2(nothing.fileno(), 0)
        os.dup2(nothing.fileno(), 1)
        logging.disable()
        warnings.simplefilter("ignore")
        _limit_memory()
        writing.write(READY)
        writing.flush()
        for line in reading:
            request = json.loads(line)
            compare = _comparison(request["kind"])  # before the clock starts: libraries are loaded here
            faulthandler.dump_traceback_later(request["seconds"], exit=True, file=nothing)
            grade = _graded(compare, request["given"], request["wanted"])
            faulthandler.cancel_dump_traceback_later()
            writing.write(json.dumps(asdict(grade)).encode() + b"\n")
            writing.flush()
    os._exit(0)


def _graded(compare: Callable[..., Grade], given: str, wanted: dict[str, Any]) -> Grade:
    try:
        return compare(given, **wanted)
    except Exception as error:  # noqa: BLE001 - whatever a library cannot make of an answer is said of that answer
        return Grade(False, given, f"it cannot be compared: {type(error).__name__}: {error}"[:300])


def _comparison(kind: str) -> Callable[..., Grade]:
    if kind == "pattern":
        from qwq_local.grading.patterns import search

        return search
    assert kind == "maths", kind
    from qwq_local.grading.equality import compare

    return compare


def _limit_memory() -> None:
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
