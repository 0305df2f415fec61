"""`qwq doctor --fix` as a user types it: the right build for each machine, told before it is done, done after asking, and undone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from qwq_local.cli import _run, doctoring
from qwq_local.doctor import facts as asked
from qwq_local.doctor.condition import Build, Facts, Unfinished
from qwq_local.doctor.diagnosis import Trouble
from qwq_local.doctor.swap import Swapper
from tests.doctor.installs import NEW, OLD, ON_GPU, FakePrograms, contents, old_site
from tests.doctor.test_diagnosis import CPU_BUILD, CROWDED, FAULTS, HEALTHY, M4, MAC, NO_GPU, RADEON, RTX, STORE, SYSTEM, WINDOWS, on
from tests.programs import Qwq, assert_told

Questions: TypeAlias = Callable[[str | type[BaseException]], list[str]]
PRETENDING = """
from dataclasses import replace
from qwq_local.cli import main
from qwq_local.doctor import facts
from qwq_local.doctor.condition import BadFile
from tests.doctor.test_diagnosis import HEALTHY, stored
facts.gather = lambda: stored(HEALTHY, bad_files=(BadFile("m", "It is damaged.", "echo repaired"),))
main()
"""
"""The program on a machine whose one trouble is mended by a command that prints."""
IDLE = replace(HEALTHY, build=CPU_BUILD)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages, whose llama.cpp leaves an RTX 3090 idle until pip, which is a fake, has put another there."""
    site = old_site(tmp_path)
    programs = FakePrograms(site, {**ON_GPU, "version": NEW})
    monkeypatch.setenv("QWQ_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(asked, "gather", lambda: IDLE)
    monkeypatch.setattr(asked, "system_facts", lambda _: SYSTEM)
    monkeypatch.setattr(asked, "build_facts", lambda: HEALTHY.build)
    monkeypatch.setattr(doctoring, "Swapper", lambda system, data, tell: Swapper(system, data, tell, programs, site))
    return site


@pytest.mark.parametrize(
    ("facts", "build"),
    [
        (IDLE, "cu124"),
        (on(IDLE, driver_cuda=(11, 8)), "cu118"),
        (on(IDLE, driver_cuda=None), "vulkan"),
        (replace(IDLE, gpus=(RADEON,)), "vulkan"),
        (on(replace(IDLE, gpus=(RADEON,)), rocm=(7, 2)), "rocm72"),
        (Facts(MAC, Build(), STORE, (M4,)), "metal"),
        (Facts(WINDOWS, CPU_BUILD, STORE, (RTX,)), "cu124"),
        (replace(NO_GPU, build=Build(failure="No module named 'llama_cpp'")), "cpu"),
    ],
)
def test_a_dry_run_tells_every_step_for_the_machines_build_and_does_nothing(
    site: Path, qwq: Qwq, monkeypatch: pytest.MonkeyPatch, facts: Facts, build: str
) -> None:
    before = contents(site.parent)
    monkeypatch.setattr(asked, "gather", lambda: facts)
    ended = qwq("doctor", "--fix", "--dry-run")
    steps = [line for line in ended.out.splitlines() if line[:2] in {"1.", "2.", "3.", "4.", "5."}]
    assert len(steps) == 5
    assert f"/whl/{build} 'llama-cpp-python>=0.3.36'" in steps[0]
    assert json.loads(qwq("doctor", "--fix", "--dry-run", "--json").out)["steps"][:5] == [step[3:] for step in steps]
    assert ended.code == 1
    assert contents(site.parent) == before


def test_fix_exchanges_the_build_and_undo_puts_the_old_one_back(site: Path, qwq: Qwq) -> None:
    before = contents(site)
    fixed = qwq("doctor", "--fix", "--yes")
    assert fixed.code == 0
    assert f"llama-cpp-python {NEW} (cu124) is in place of {OLD}." in fixed.out
    assert "21 on CUDA0 (NVIDIA GeForce RTX 3090)" in fixed.out
    assert f"{OLD}" in qwq("doctor", "--undo", "--dry-run").out
    assert qwq("doctor", "--undo") == (
        0,
        f"llama-cpp-python {NEW} is back in place of {NEW}.\n",
        f"putting llama-cpp-python {OLD} back ...\n",
    )
    assert contents(site) == before
    again = qwq("doctor", "--undo")
    assert again.code == 1
    assert "There is nothing to undo" in again.err


def test_fix_and_undo_print_one_json_object(site: Path, qwq: Qwq) -> None:
    assert site.is_dir()
    fixed = json.loads(qwq("doctor", "--fix", "--yes", "--json").out)
    assert fixed["checks"]["gpu"][0]["choice"]["name"] == "cu124"
    assert fixed["mended"][0]["build"] == "cu124"
    assert json.loads(qwq("doctor", "--undo", "--json").out)["undone"]["before"] == NEW


def test_what_a_command_prints_that_mends_something_is_no_part_of_the_json() -> None:
    asked_for = [sys.executable, "-c", PRETENDING, "doctor", "--fix", "--yes", "--json"]
    ended = subprocess.run(asked_for, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert json.loads(ended.stdout)["mended"] == [{"check": "models", "command": "echo repaired"}]
    assert "repaired" in ended.stderr
    without_json = subprocess.run(asked_for[:-1], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert "repaired" in without_json.stdout


def test_a_build_can_be_named_by_those_who_know_better(site: Path, qwq: Qwq, tmp_path: Path) -> None:
    assert site.is_dir()
    ended = qwq("doctor", "--fix", "--build", "vulkan", "--index-url", tmp_path, "--dry-run")
    assert ended.code == 0
    assert f"--index-url {tmp_path.as_uri()}/vulkan" in ended.out
    for name in ("cuda", "metal"):
        refused = qwq("doctor", "--fix", "--build", name)
        assert refused.code == 2
        assert f"build is '{name}'" in refused.err


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | type[BaseException]], list[str]]:
    """Lets a user on a terminal give one answer to every question, or press a key that is none; gives the questions that were asked."""

    def answering(answer: str | type[BaseException]) -> list[str]:
        asked_for: list[str] = []

        def prompt(question: str) -> str:
            asked_for.append(question)
            if not isinstance(answer, str):
                raise answer
            return answer

        monkeypatch.setattr("sys.stdin.isatty", lambda: True)
        monkeypatch.setattr("click.termui.visible_prompt_func", prompt)
        return asked_for

    return answering


TWO_TROUBLES = replace(IDLE, gpus=(CROWDED,))


@pytest.mark.parametrize("key", [KeyboardInterrupt, EOFError])
def test_ctrl_c_and_the_end_of_input_at_a_question_end_the_command(
    site: Path, questions: Questions, monkeypatch: pytest.MonkeyPatch, key: type[BaseException]
) -> None:
    before = contents(site)
    monkeypatch.setattr(asked, "gather", lambda: TWO_TROUBLES)
    asked_for = questions(key)
    assert _run(["doctor", "--fix"]) == 130
    assert len(asked_for) == 1
    assert contents(site) == before


def test_a_no_goes_on_with_the_next_question(site: Path, questions: Questions, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(site)
    monkeypatch.setattr(asked, "gather", lambda: TWO_TROUBLES)
    asked_for = questions("n")
    assert _run(["doctor", "--fix"]) == 1
    assert len(asked_for) == 2
    assert contents(site) == before


def test_nothing_is_exchanged_where_nobody_is_there_to_say_yes(site: Path, qwq: Qwq) -> None:
    before = contents(site)
    ended = qwq("doctor", "--fix")
    assert ended.code == 2
    assert "Nobody is here to answer" in ended.err
    assert contents(site) == before


def break_off(site: Path) -> None:
    """As if the exchange had been killed just before it was done."""
    done = next(site.parent.rglob("done.json"))
    done.rename(done.with_name("going.json"))


@pytest.mark.parametrize("option", ["--fix", "--undo"])
def test_an_exchange_that_was_broken_off_is_mended_before_anything_else(
    site: Path, qwq: Qwq, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    before = contents(site)
    qwq("doctor", "--fix", "--yes")
    break_off(site)
    monkeypatch.setattr(asked, "gather", lambda: replace(HEALTHY, unfinished=Unfinished("cu124", has_begun=True)))
    assert "Put back what was before" in qwq("doctor", "--fix", "--dry-run").out
    ended = qwq("doctor", option)
    assert ended.code == 0
    assert f"The exchange for cu124 was broken off: llama-cpp-python {OLD} is back in its place." in ended.out + ended.err
    assert contents(site) == before


@pytest.mark.parametrize("option", ["--fix", "--undo"])
def test_a_dry_run_tells_what_mends_an_exchange_that_was_broken_off(
    site: Path, qwq: Qwq, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    qwq("doctor", "--fix", "--yes")
    break_off(site)
    after = contents(site.parent)
    monkeypatch.setattr(asked, "gather", lambda: replace(HEALTHY, unfinished=Unfinished("cu124", has_begun=True)))
    ended = qwq("doctor", option, "--dry-run")
    step = f"Put back what was before the exchange for cu124 that was broken off: llama-cpp-python {OLD}"
    assert ended.out.splitlines()[-1] == f"1. {step}"
    assert json.loads(qwq("doctor", option, "--dry-run", "--json").out)["steps"] == [step]
    assert ended.code == 0
    assert contents(site.parent) == after


def test_a_mirror_of_builds_for_one_that_is_compiled_is_refused(site: Path, qwq: Qwq) -> None:
    assert site.is_dir()
    ended = qwq("doctor", "--fix", "--build", "source", "--index-url", "https://mirror.example/whl")
    assert ended.code == 2
    assert "--index-url" in ended.err
    assert "--build source" in ended.err


def test_a_record_that_may_not_be_read_is_named_with_what_to_do(site: Path, qwq: Qwq, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "find_site", lambda: site)
    monkeypatch.setattr(asked, "gather", lambda: replace(HEALTHY, unfinished=asked.unfinished()))
    read, stat = Path.read_text, Path.stat

    def refuse(path: Path, *arguments: Any, **named: Any) -> Any:  # as for a folder of another user's, whose rights root ignores
        if path.name == "going.json":
            raise PermissionError(13, "Permission denied", str(path))
        return (stat if not arguments else read)(path, *arguments, **named)

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(Path, "stat", refuse)
    for arguments in (["doctor"], ["doctor", "--fix", "--yes"], ["doctor", "--undo"], ["doctor", "--undo", "--dry-run"]):
        assert_told(qwq(*arguments), 1, "going.json cannot be read: Permission denied.")


@pytest.mark.parametrize(
    "arguments", [["--build", "cpu"], ["--yes"], ["--index-url", "x"], ["--dry-run"], ["--fix", "--undo"], ["--undo", "--build", "cpu"]]
)
def test_options_that_say_nothing_together_are_refused(qwq: Qwq, arguments: list[str]) -> None:
    ended = qwq("doctor", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "hint: " in ended.err


def test_commands_that_only_the_user_can_run_are_left_to_them_in_a_dry_run(site: Path, qwq: Qwq, monkeypatch: pytest.MonkeyPatch) -> None:
    assert site.is_dir()
    monkeypatch.setattr(asked, "gather", lambda: FAULTS["few files"][0])
    assert "1. Left to you: ulimit -n 4096" in qwq("doctor", "--fix", "--dry-run").out
    monkeypatch.setattr(asked, "gather", lambda: FAULTS["VRAM held by others"][0])
    assert "1. Run kill 7 9" in qwq("doctor", "--fix", "--dry-run").out
    monkeypatch.setattr(asked, "gather", lambda: HEALTHY)
    assert "Nothing is to be done." in qwq("doctor", "--fix", "--dry-run").out


def test_the_help_has_every_option_with_an_example(qwq: Qwq) -> None:
    shown = qwq("doctor", "--help").out
    for option in ("--fix", "--dry-run", "--yes", "--undo", "--build", "--index-url", "--json", "qwq doctor --fix --build vulkan"):
        assert option in shown


def test_doctor_says_of_each_check_whether_it_is_fine(qwq: Qwq, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Trouble("files", "A process may open 5 files.", "ulimit -n 4096", can_run=False)]
    monkeypatch.setattr(asked, "gather", lambda: HEALTHY)
    monkeypatch.setattr(doctoring, "diagnose", lambda _: {"gpu": [], "files": found})
    ended = qwq("doctor")
    assert ended.code == 1
    assert ended.out.splitlines() == ["gpu        fine", "files      A process may open 5 files.", "           ulimit -n 4096"]
    assert json.loads(qwq("doctor", "--json").out)["checks"]["files"][0]["command"] == "ulimit -n 4096"
    monkeypatch.setattr(doctoring, "diagnose", lambda _: {"gpu": []})
    assert qwq("doctor") == (0, "gpu        fine\n", "")


@pytest.mark.parametrize(("answer", "is_mended"), [("y", True), ("n", False)])
def test_doctor_mends_after_asking(tmp_path: Path, questions: Questions, answer: str, *, is_mended: bool) -> None:
    made = tmp_path / "mended"
    trouble = Trouble("models", "It is damaged.", f"echo yes > {made}")
    questions(answer)
    assert doctoring.mend(trouble) is is_mended
    assert made.exists() is is_mended
    assert doctoring.mend(Trouble("files", "Few.", "exit 0", can_run=False)) is False
    assert doctoring.mend(Trouble("models", "It stays broken.", "exit 3")) is False
