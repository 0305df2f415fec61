"""`qwq ask --race` and `--vote`, and what a terminal shows meanwhile."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qwq_local.cli.chatting.view import AnswerView
from qwq_local.cli.terminal import ending
from qwq_local.cli.tools import AgentPrinter
from qwq_local.engine import Answering, Finished, FinishReason, RaceReport, Racing, Thinking, Timings, Usage
from tests.programs import PROGRAM, Qwq, assert_told
from tests.terminals import Terminal

QUESTION = "What is 47 + 85?"


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def finished(race: RaceReport | None, reason: FinishReason = "stop") -> Finished:
    return Finished(reason, Usage(1, 10, 5), Timings(0, 0, 1), "native", 1, race=race)


def test_a_race_answers_and_tells_what_it_cost(qwq: Qwq) -> None:
    ended = qwq("ask", "-m", "demo", "--seed", "1", "--race", "3", QUESTION)
    assert (ended.code, ended.out) == (0, "47 + 85 = \\boxed{132}\n")
    assert "[race of 3: sample " in ended.err
    assert " was the first to end; all of them wrote " in ended.err


def test_more_samples_than_usual_get_slots_of_their_own_and_are_told_as_json(qwq: Qwq) -> None:
    ended = qwq("ask", "-m", "demo", "--seed", "1", "--vote", "5", "--json", QUESTION)
    assert ended.code == 0
    told = json.loads(ended.out)
    race = told["race"]
    assert race.keys() == {"kind", "n_samples", "winner", "completion_tokens", "votes", "n_failed"}
    assert (race["kind"], race["n_samples"], race["n_failed"]) == ("vote", 5, 0)
    assert race["votes"]["132"] >= 3
    assert race["completion_tokens"] > told["usage"]["completion_tokens"]


def test_without_one_nothing_is_told_of_it(qwq: Qwq) -> None:
    ended = qwq("ask", "-m", "demo", "--seed", "1", "--race", "1", "--json", QUESTION)
    assert "race" not in json.loads(ended.out)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--race", "0"], "race is 0"),
        (["--vote", "-3"], "vote is -3"),
        (["--race", "1000"], "race is 1000"),
        (["--race", "2", "--vote", "2"], "race and vote are both given"),
        (["--race", "2", "--mcp", "server"], "--race and --mcp are both given"),
        (["--race", "100"], "fit"),
    ],
)
def test_what_cannot_be_raced_is_told(qwq: Qwq, arguments: list[str], told: str) -> None:
    assert_told(qwq("ask", "-m", "demo", *arguments, QUESTION), 2, told)


def test_a_race_under_a_schema_is_told(qwq: Qwq, tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text("{}")
    assert_told(qwq("ask", "-m", "demo", "--race", "2", "--schema", tmp_path / "schema.json", QUESTION), 2, "race is 2", "schema")


@pytest.mark.parametrize(
    ("report", "told"),
    [
        (RaceReport("race", 3, 1, 1234), "[race of 3: sample 2 was the first to end; all of them wrote 1,234 tokens]"),
        (RaceReport("race", 2, 0, 1, n_failed=1), "[race of 2: sample 1 was the first to end, 1 failed; all of them wrote 1 token]"),
        (RaceReport("vote", 4, 0, 99, {"131": 1, "132": 3}), "[vote of 4: 1 for 131, 3 for 132; all of them wrote 99 tokens]"),
        (
            RaceReport("vote", 2, 0, 9),
            "[vote of 2: none had a result to count, and the first to end was taken; all of them wrote 9 tokens]",
        ),
    ],
)
def test_the_end_tells_what_the_samples_came_to(report: RaceReport, told: str) -> None:
    assert ending(finished(report)) == told
    assert ending(finished(report, "length")).endswith(told)
    assert ending(finished(None)) == ""


def test_no_control_character_of_a_result_reaches_a_terminal() -> None:
    told = ending(finished(RaceReport("vote", 2, 0, 9, {"\x1b[2J" + "x" * 100: 2})))
    assert "\x1b" not in told
    assert "2 for [2Jxxx" in told
    assert "x" * 40 not in told


def test_a_line_tells_how_far_the_samples_are_and_goes_before_the_answer_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, out = Screen(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", out)
    printer = AgentPrinter(shows_thoughts=False)
    printer.show(Racing(3, 0, 412))
    printer.show(Racing(3, 1, 1000))
    assert screen.getvalue().endswith("3 samples, 1 ended, about 1,000 tokens so far")
    printer.show(Answering("132"))
    assert screen.getvalue().endswith("\r\x1b[K")
    printer.finish()
    assert out.getvalue() == "132\n"


def test_a_live_chat_shows_how_far_the_samples_are_and_how_long_it_all_took() -> None:
    view = AnswerView(0.0, "one line")
    view.add(Racing(3, 0, 12), 5.0, 80)
    assert "3 samples, about 12 tokens so far … 6 s" in str(view.changing(6.0, 80, 10))
    view.add(Thinking("hm"), 9.0, 80)
    view.add(Answering("so"), 9.0, 80)
    view.add(finished(RaceReport("race", 3, 0, 30)), 9.0, 80)
    printed = str(view.take_printable(80))
    assert "thought for 9 s" in printed
    assert "race of 3" in printed


def test_a_chat_can_be_told_to_race(qwq: Qwq) -> None:
    lines = f"/set race 3\n{QUESTION}\n/set vote 9\n".encode()
    ended = qwq("chat", "-m", "demo", "--seed", "1", "--no-history", stdin=lines)
    assert r"\boxed{132}" in ended.out
    assert "race is 3" in ended.err
    assert "[race of 3: " in ended.err
    assert (ended.code, "race and vote are both given" in ended.err) == (2, True)


@pytest.mark.slow
def test_a_race_on_a_terminal(on_terminal: Callable[..., Terminal]) -> None:
    terminal = on_terminal(*PROGRAM, "ask", "-m", "demo", "--seed", "1", "--race", "3", QUESTION)
    terminal.await_text("3 samples, about ")
    terminal.await_text("boxed{132}")
    assert terminal.end() == 0
