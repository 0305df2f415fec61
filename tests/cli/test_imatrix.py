"""`qwq imatrix`, as a user meets it."""

from __future__ import annotations

import errno
import os
import pty
import shutil
import signal
import subprocess
from pathlib import Path

import gguf
import numpy as np
import pytest

from qwq_convert.imatrix import read_importance
from qwq_local.cli import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_USAGE, _run
from qwq_local.cli.terminal import duration
from qwq_local.llama import ActivationCollector
from tests.programs import PROGRAM, Ended, assert_told

RECORDED = Path(__file__).parents[1] / "data" / "imatrix"
TEXT = RECORDED / "calibration.txt"


def run(*arguments: str | Path) -> int:
    return _run(["imatrix", *map(str, arguments)])


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def failed(capsys: pytest.CaptureFixture[str], status: int, message: str) -> None:
    """It said what is wrong and what to do, in two lines."""
    assert_told(Ended(status, *capsys.readouterr()), EXIT_ERROR, message)


def test_a_text_becomes_llama_imatrix_s_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made" / "nano.gguf"
    assert run("demo", TEXT, "--out", out, "--ctx", "128", "--gpu-layers", "0") == 0
    assert capsys.readouterr() == (f"{out}  21 tensors, 13 chunks of 128 tokens\n", "")
    found, due = read_importance(out), read_importance(RECORDED / "nano.gguf")
    assert found.keys() == due.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values, due[name], rtol=1e-3, err_msg=name)
    assert (found.datasets, found.n_chunks) == ((str(TEXT),), 13)


def test_chunks_and_their_length_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("demo", TEXT, "--out", tmp_path / "a.gguf", "--ctx", "64", "--chunks", "2", "--process-output") == 0
    assert capsys.readouterr().out.endswith("  22 tensors, 2 chunks of 64 tokens\n")
    assert read_importance(tmp_path / "a.gguf").n_chunks == 2


def test_a_text_too_short_for_one_chunk_is_refused_with_both_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "short.txt").write_text("7 + 8", encoding="utf-8")
    failed(capsys, run("demo", tmp_path / "short.txt", "--out", tmp_path / "a.gguf"), "is 4 tokens long, and one chunk takes 512")
    (tmp_path / "short.txt").write_text("", encoding="utf-8")
    failed(capsys, run("demo", tmp_path / "short.txt", "--out", tmp_path / "a.gguf"), "is 0 tokens long, and one chunk takes 512")
    assert names(tmp_path) == ["short.txt"]


def test_a_text_that_cannot_be_read_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.gguf"
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    failed(capsys, run("demo", tmp_path / "latin.txt", "--out", out), "latin.txt is not UTF-8 text (byte 3)")
    failed(capsys, run("demo", tmp_path / "none.txt", "--out", out), "none.txt cannot be read: No such file")
    failed(capsys, run("demo", tmp_path, "--out", out), "cannot be read: Is a directory")
    with (tmp_path / "large.txt").open("wb") as file:
        file.truncate(2**30 + 1)
    failed(capsys, run("demo", tmp_path / "large.txt", "--out", out), "has 1,073,741,825 bytes")
    assert not out.exists()


def test_a_model_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed(capsys, run(tmp_path / "none.gguf", TEXT, "--out", tmp_path / "a.gguf"), "does not exist")
    failed(capsys, run(TEXT, TEXT, "--out", tmp_path / "a.gguf"), "is no GGUF file")
    writer = gguf.GGUFWriter(tmp_path / "llama.gguf", "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    failed(capsys, run(tmp_path / "llama.gguf", TEXT, "--out", tmp_path / "a.gguf"), "of the architecture 'llama'")


def test_a_file_that_exists_is_kept_unless_replacing_it_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.gguf"
    out.write_bytes(b"before")
    failed(capsys, run("demo", TEXT, "--out", out, "--chunks", "1", "--ctx", "64"), "a.gguf exists already")
    assert out.read_bytes() == b"before"
    assert run("demo", TEXT, "--out", out, "--chunks", "1", "--ctx", "64", "--force") == 0
    assert len(read_importance(out)) == 21


def test_a_disk_that_refuses_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    failed(capsys, run("demo", TEXT, "--out", TEXT / "a.gguf"), "a.gguf cannot be written")

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    failed(capsys, run("demo", TEXT, "--out", tmp_path / "a.gguf", "--chunks", "1"), "cannot be written: No space left on device")
    assert names(tmp_path) == []


@pytest.mark.parametrize("option", [("--ctx", "8"), ("--ctx", "1000000"), ("--chunks", "0"), ("--gpu-layers", "-1")])
def test_an_option_out_of_its_range_is_a_usage_error(option: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("demo", TEXT, "--out", tmp_path / "a.gguf", *option) == EXIT_USAGE
    assert option[0].strip("-") in capsys.readouterr().err


def test_an_interrupt_between_chunks_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ActivationCollector, "_read", interrupt)
    assert run("demo", TEXT, "--out", tmp_path / "a.gguf") == EXIT_INTERRUPTED
    assert names(tmp_path) == []


def test_a_text_whose_name_is_no_utf8_can_be_read(tmp_path: Path) -> None:
    text = tmp_path / os.fsdecode(b"caf\xe9.txt")
    shutil.copyfile(TEXT, text)
    assert run("demo", text, "--out", tmp_path / "a.gguf", "--chunks", "1") == 0
    assert read_importance(tmp_path / "a.gguf").datasets[0].endswith("caf?.txt")


@pytest.mark.slow
def test_a_terminal_sees_the_progress_and_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text(TEXT.read_text("utf-8") * 60, encoding="utf-8")
    ours, theirs = pty.openpty()
    command = [*PROGRAM, "imatrix", "demo", "long.txt", "--out", "a.gguf"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        while b"chunk 3 of " not in seen:
            seen += os.read(ours, 1024)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == EXIT_INTERRUPTED
    os.close(ours)
    assert b" left" in seen
    assert names(tmp_path) == ["long.txt"]


def test_times_are_said_as_one_would_say_them() -> None:
    assert [duration(seconds) for seconds in (0.2, 119, 121, 3_000, 12_000)] == ["0 s", "119 s", "2 min", "50 min", "3 h 20 min"]
