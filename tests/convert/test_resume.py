"""A conversion that was ended, at whatever moment, goes on and makes the same bytes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from qwq_convert import journal, writer
from qwq_convert.metadata import YarnChoice
from qwq_convert.pipeline import ConversionChoices, convert
from qwq_local.errors import ConversionError
from tests.checkpoints import NANO, copy_nano

QUANTIZATIONS = ("Q8_0", "BF16")
SPLIT = ConversionChoices(name="nano", split_bytes=2_000_000)


class Killed(BaseException):
    """Passes through every handler, as SIGKILL does."""


class Ender:
    """Ends a run at its n-th step to the disk, in the middle of it where it writes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 10**9
        self.steps = 0
        write_all = journal.write_all

        def write(file: FileIO, content: bytes | memoryview) -> None:
            view = memoryview(content)
            self._step(lambda: write_all(file, view[: len(view) // 2]))
            write_all(file, view)

        monkeypatch.setattr(journal, "write_all", write)
        monkeypatch.setattr(writer, "write_all", write)
        for owner, name in ((Path, "replace"), (Path, "touch"), (Path, "unlink"), (os, "fsync")):
            self._wrap(monkeypatch, owner, name)

    def _wrap(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
        original: Callable[..., object] = getattr(owner, name)

        def wrapped(*arguments: object, **options: object) -> object:
            self._step()
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, wrapped)

    def _step(self, last: Callable[[], object] = lambda: None) -> None:
        self.steps += 1
        if self.steps > self.left:
            last()
            raise Killed

    def run(self, out: Path, left: int) -> bool:
        """Convert with that many steps left; whether it came to its end."""
        self.left, self.steps = left, 0
        try:
            convert(NANO, out, QUANTIZATIONS, SPLIT)
        except Killed:
            return False
        finally:
            self.left = 10**9
        return True


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def due(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("due")
    convert(NANO, out, QUANTIZATIONS, SPLIT)
    return contents(out)


def finals(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.suffix == ".gguf"]


@pytest.mark.slow
def test_ended_at_any_step_the_next_run_makes_the_same_files(
    due: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ender = Ender(monkeypatch)
    assert ender.run(tmp_path / "whole", 10**9)
    n_steps = ender.steps
    assert n_steps > 150
    for left in [*range(12), *range(12, n_steps - 25, 13), *range(n_steps - 25, n_steps)]:
        out = tmp_path / str(left)
        assert not ender.run(out, left)
        if left < n_steps - 1:
            convert(NANO, out, QUANTIZATIONS, SPLIT)
        else:  # all that was left to do was to remove the journal
            with pytest.raises(ConversionError, match="exists already"):
                convert(NANO, out, QUANTIZATIONS, SPLIT)
        assert contents(out) == due, f"ended at step {left} of {n_steps}"


def test_ended_again_and_again_it_comes_to_its_end(due: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ender = Ender(monkeypatch)
    n_runs = 1
    while not ender.run(tmp_path, 40):
        n_runs += 1
        assert n_runs < 30
    assert n_runs > 3
    assert contents(tmp_path) == due


@pytest.fixture
def half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with monkeypatch.context() as patched:
        assert not Ender(patched).run(tmp_path, 120)
    assert finals(tmp_path) == []
    return tmp_path


def again(out: Path, choices: ConversionChoices = SPLIT, source: Path = NANO) -> tuple[int, list[str]]:
    """Bytes of the former run that were kept, and the notices."""
    notices: list[str] = []
    return convert(source, out, QUANTIZATIONS, choices, notice=notices.append).resumed_bytes, notices


def test_what_was_written_is_not_written_again(half_made: Path, due: dict[str, bytes]) -> None:
    parts = sum(path.stat().st_size for path in half_made.glob("*.gguf.part"))
    kept, notices = again(half_made)
    assert notices == []
    assert 0.5 * parts < kept <= parts
    assert contents(half_made) == due


def test_bytes_that_a_power_failure_took_are_written_again(half_made: Path, due: dict[str, bytes]) -> None:
    part = max(half_made.glob("*.gguf.part"), key=lambda path: path.stat().st_size)
    size = part.stat().st_size
    with part.open("r+b") as file:
        file.truncate(size // 2)
        file.truncate(size + 5000)
    kept, _ = again(half_made)
    assert kept > 0
    assert contents(half_made) == due


@pytest.mark.parametrize("junk", [b"", b"junk\n", b'{"file": "nano-Q8_0', b'{"file": 7}\n[]\n{"closed": ["other"]}\n'])
def test_a_journal_with_junk_in_it_does_no_harm(junk: bytes, half_made: Path, due: dict[str, bytes]) -> None:
    with (half_made / "nano.journal.part").open("ab") as file:
        file.write(junk)
    kept, _ = again(half_made)
    assert kept > 0
    assert contents(half_made) == due


def test_without_its_journal_a_run_starts_anew_and_says_so(half_made: Path, due: dict[str, bytes]) -> None:
    (half_made / "nano.journal.part").unlink()
    kept, notices = again(half_made)
    assert kept == 0
    assert "starts anew: nothing tells how it was begun" in notices[0]
    assert contents(half_made) == due


def test_another_choice_of_options_starts_anew(half_made: Path) -> None:
    kept, notices = again(half_made, ConversionChoices(name="nano", split_bytes=2_000_000, yarn=YarnChoice(enabled=False)))
    assert kept > 0  # the later files of a split model do not depend on it
    assert "begun with another choice of options" in notices[0]


def test_another_source_starts_anew(half_made: Path, due: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    source = copy_nano(tmp_path_factory.mktemp("copied") / "checkpoint")
    os.utime(source / "config.json", (1, 1))
    kept, notices = again(half_made, source=source)
    assert kept == 0
    assert "begun with another source" in notices[0]
    assert contents(half_made) == due


def test_a_source_may_have_moved(half_made: Path, due: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    source = copy_nano(tmp_path_factory.mktemp("copied") / "checkpoint")
    kept, notices = again(half_made, source=source)
    assert kept > 0
    assert notices == []
    assert contents(half_made) == due


def test_some_of_the_files_go_on_and_the_others_wait(half_made: Path, due: dict[str, bytes]) -> None:
    report = convert(NANO, half_made, ["BF16"], SPLIT)
    assert report.resumed_bytes > 0
    assert (half_made / "nano.journal.part").exists()
    report = convert(NANO, half_made, ["Q8_0"], SPLIT)
    assert report.resumed_bytes > 0
    made = contents(half_made)
    assert {name: made[name] for name in due if name != "README.md"} == {name: due[name] for name in due if name != "README.md"}
    assert made.keys() == due.keys()


def test_force_replaces_what_is_finished_and_resumes_what_is_not(half_made: Path, due: dict[str, bytes]) -> None:
    name = next(name for name in due if name.endswith(".gguf"))
    (half_made / name).write_text("mine")
    with pytest.raises(ConversionError, match="exists already"):
        again(half_made)
    assert (half_made / name).read_text() == "mine"
    kept, _ = again(half_made, ConversionChoices(name="nano", split_bytes=2_000_000, force=True))
    assert kept > 0
    assert contents(half_made) == due


def test_a_finished_file_that_was_changed_is_not_taken_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ender = Ender(monkeypatch)
    ender.run(tmp_path / "whole", 10**9)
    ender.run(tmp_path, ender.steps - 2)
    path = tmp_path / finals(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(ConversionError, match="was finished, and changed since"):
        convert(NANO, tmp_path, QUANTIZATIONS, SPLIT)


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    with journal.Journal(tmp_path / "nano.journal.part"), pytest.raises(ConversionError, match="Another run is at work"):
        convert(NANO, tmp_path, QUANTIZATIONS, SPLIT)


def test_the_disk_must_hold_only_what_is_missing(half_made: Path, due: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sum(len(content) for name, content in due.items() if name.endswith(".gguf"))
    there = sum(path.stat().st_size for path in half_made.glob("*.gguf.part"))
    free = SimpleNamespace(free=whole - there - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(ConversionError, match="bytes free"):
        again(half_made)
    free.free += 1
    again(half_made)
    assert contents(half_made) == due
