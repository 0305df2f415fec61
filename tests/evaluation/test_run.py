"""Runs: every question asked, graded, and kept whatever ends it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.errors import DecodeError, PromptError, SettingsError
from qwq_local.evaluation.journal import Journal, read_run
from qwq_local.evaluation.question import Question
from qwq_local.evaluation.run import run
from qwq_local.evaluation.sample import RunSettings, Sample, seed_of
from tests.evaluation.samples import PLAIN, FakeAnswerer, head, question

QUESTIONS = [question(f"q{i}", "ab"[i % 2]) for i in range(6)]


def ran(answerer: FakeAnswerer, path: Path, n_samples: int = 1, n_parallel: int = 2) -> list[Sample]:
    """Of all questions."""
    return run(QUESTIONS, answerer, head(len(QUESTIONS), n_samples), path, n_parallel, lambda *_: None)


def test_every_question_is_asked_as_often_as_wanted_with_seeds_of_its_own(tmp_path: Path) -> None:
    answerer = FakeAnswerer()
    samples = ran(answerer, tmp_path / "run.jsonl", 3)
    assert [(sample.question, sample.index) for sample in samples] == [(each.name, i) for each in QUESTIONS for i in range(3)]
    assert [sample.is_right for sample in samples[:6]] == [True] * 3 + [False] * 3
    assert len(set(answerer.asked)) == len({seed for _, seed in answerer.asked}) == 18


@pytest.mark.parametrize("n_kept", [0, 1, 4, 6])
def test_a_run_that_was_cut_short_is_gone_on_with_and_nothing_asked_twice(tmp_path: Path, n_kept: int) -> None:
    path = tmp_path / "run.jsonl"
    whole = FakeAnswerer()
    samples = ran(whole, path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: 1 + n_kept]) + (lines[1 + n_kept][:-7] if n_kept < 6 else b""))
    again = FakeAnswerer()
    resumed = ran(again, path)
    assert len(again.asked) == 6 - n_kept
    assert set(again.asked) < set(whole.asked) or n_kept == 0
    assert [asdict(sample) | {"seconds": 0} for sample in resumed] == [asdict(sample) | {"seconds": 0} for sample in samples]
    assert len(path.read_bytes().splitlines()) == 7


@given(st.floats(0, 1))
def test_a_file_cut_anywhere_loses_the_answer_that_was_cut_only(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    path = tmp_path_factory.mktemp("cut") / "run.jsonl"
    ran(FakeAnswerer(), path)
    text = path.read_bytes()
    cut = text[: round(share * len(text))]
    path.write_bytes(cut)
    with Journal(path, head(6)) as journal:
        assert len(journal.samples) == max(0, cut.count(b"\n") - 1)


def test_what_cannot_be_asked_is_told_and_does_not_end_the_run(tmp_path: Path) -> None:
    def says(asked: Question, _: int) -> str:
        if asked.name == "q2":
            raise PromptError("The prompt is too long.")
        return "a"

    samples = ran(FakeAnswerer(says), tmp_path / "run.jsonl")
    assert [(sample.question, sample.why) for sample in samples if sample.ending == "error"] == [("q2", "The prompt is too long.")]


def test_an_error_of_the_model_ends_what_else_is_written_and_keeps_what_was_graded(tmp_path: Path) -> None:
    answerer = FakeAnswerer()

    def says(asked: Question, _: int) -> str:
        match asked.name:
            case "q0":
                return "a"
            case "q1":
                return answerer.wait_until_closed()
            case _:
                raise DecodeError("The device is gone.")

    answerer.says = says
    with pytest.raises(DecodeError, match="gone"):
        ran(answerer, tmp_path / "run.jsonl")
    assert [sample.question for sample in read_run(tmp_path / "run.jsonl")[1]] == ["q0"]


def test_another_run_is_never_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    ran(FakeAnswerer(), path)
    before = path.read_bytes()
    with pytest.raises(SettingsError, match="other settings"):
        ran(FakeAnswerer(), path, n_samples=2)
    assert path.read_bytes() == before


def test_a_run_is_written_by_one_program_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path / "run.jsonl", head(6)), pytest.raises(SettingsError, match="being written"):
        ran(FakeAnswerer(), tmp_path / "run.jsonl")


@pytest.mark.parametrize("text", [b"", b"{}\n", b"[]\n", b"\xff\n", b'{"kind": "qwq-eval-1"}\n', b"{\n"])
def test_a_file_that_is_no_run_is_refused_by_its_name(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "other.jsonl"
    path.write_bytes(text)
    with pytest.raises(SettingsError, match=r"other\.jsonl is no run"):
        read_run(path)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    ran(FakeAnswerer(), path)
    lines = path.read_text().splitlines()
    lines[3] = json.dumps(asdict(PLAIN) | {"unknown": 1})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(SettingsError, match="line 4"):
        read_run(path)


@given(st.integers(0, 2**32), st.text(), st.integers(0, 1000))
def test_a_seed_depends_on_the_question_only(seed: int, name: str, index: int) -> None:
    assert seed_of(seed, name, index) == seed_of(seed, name, index)
    assert 0 <= seed_of(seed, name, index) <= 2**32 - 2


def test_no_answers_or_too_many_are_refused() -> None:
    for n_samples in (0, 1025):
        with pytest.raises(SettingsError, match=str(n_samples)):
            RunSettings(n_samples)
