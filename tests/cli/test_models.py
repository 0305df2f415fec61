"""pull, list, show, verify and rm as a user types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qwq_local.cli import _run
from qwq_local.models.record import Record, write_record
from tests.hub_server import COMMIT, Fault, HubServer, serve, sha256
from tests.programs import PROGRAM
from tests.shelves import write_model
from tests.waiting import wait_until

REPOSITORY = "Qwen/QwQ-32B-GGUF"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QWQ_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("QWQ_DATA", str(tmp_path / "data"))
    return tmp_path / "models"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HubServer]:
    content = write_model(tmp_path / "origin.gguf").read_bytes()
    with serve({REPOSITORY: {"qwq-32b-q8_0.gguf": content, "qwq-32b-q4_k_m.gguf": bytes(3_000_000)}}) as hub:
        yield hub


def pull(server: HubServer, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0", "PYTHONUNBUFFERED": "1"}
    command = [*PROGRAM, "pull", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_pull_brings_a_model_that_list_shows_and_verify_finds_sound(
    shelf: Path, server: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    process = pull(server, "qwq-32b:q8_0", "--json")
    printed, told = process.communicate()
    assert process.returncode == 0, told
    path = shelf / "QwQ-32B-Q8_0.gguf"
    assert json.loads(printed) == {"name": "QwQ-32B:Q8_0", "files": [str(path)], "file_bytes": path.stat().st_size}
    assert f"{REPOSITORY} at {COMMIT[:7]}" in told
    assert "\x1b" not in told
    assert run(capsys, "list").startswith("NAME")
    assert run(capsys, "verify", "qwq-32b").startswith("sound")
    assert run(capsys, "pull", "Q8_0").strip() == str(path)  # here already: nobody is asked


def test_pull_that_is_interrupted_says_so_and_goes_on_later(shelf: Path, server: HubServer) -> None:
    server.pace_seconds = 0.02
    process = pull(server, "Q4_K_M")
    parts = shelf / ".partial"
    wait_until(lambda: any(part.stat().st_size for part in parts.glob("*.part")))
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130
    assert "the same command goes on" in told
    assert "Traceback" not in told
    server.pace_seconds = 0
    process = pull(server, "Q4_K_M")
    _, told = process.communicate()
    assert process.returncode == 0, told
    assert (shelf / "QwQ-32B-Q4_K_M.gguf").read_bytes() == bytes(3_000_000)


def test_pull_tells_an_error_in_two_lines(shelf: Path, server: HubServer) -> None:
    server.next_fault = lambda place: Fault("status", 403) if place == "resolve" else None
    process = pull(server, "Q8_0")
    printed, told = process.communicate()
    assert process.returncode == 1
    assert printed == ""
    assert told.splitlines()[-2:] == [
        f"error: The hub refuses {REPOSITORY} (HTTP 403).",
        "hint: Log in with an account that may read it: hf auth login",
    ]
    assert not list(shelf.glob("*.gguf"))


def run(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert _run(list(arguments)) == status
    return capsys.readouterr().out


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    return json.loads(run(capsys, *arguments, "--json", status=status))


def test_pull_offline_is_refused_with_a_hint(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["pull", "Q4_K_M", "--offline"]) == 1
    assert "--offline or HF_HUB_OFFLINE" in capsys.readouterr().err
    assert not shelf.exists()


def test_list_shows_every_model_and_what_is_half_here(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["list"]) == 0
    assert "No QwQ-32B here yet: qwq pull" in capsys.readouterr().err
    write_model(shelf / "QwQ-32B-Q4_K_M.gguf")
    part = shelf / ".partial" / "QwQ-32B-Q8_0.gguf.0123456789ab.part"
    part.parent.mkdir()
    part.write_bytes(b"abc")
    assert _run(["list"]) == 0
    shown = capsys.readouterr()
    assert [line.split()[0] for line in shown.out.splitlines()] == ["NAME", "QwQ-32B:Q4_K_M", "demo"]
    assert "unfinished: QwQ-32B-Q8_0.gguf" in shown.err
    table = run_json(capsys, "list")
    assert table["models"][0]["name"] == "QwQ-32B:Q4_K_M"
    assert table["unfinished"] == [{"file": "QwQ-32B-Q8_0.gguf", "path": str(part), "done_bytes": 3, "total_bytes": None}]


def test_show_tells_what_is_in_a_file_and_what_it_takes_here(capsys: pytest.CaptureFixture[str]) -> None:
    facts = run_json(capsys, "show", "demo")
    assert facts["metadata"]["general.architecture"] == "qwen2"
    assert facts["metadata"]["tokenizer.ggml.tokens"] == "512 items of STRING"
    assert facts["tensors"]["Q8_0"]["tensors"] == 23
    assert facts["here"]["fits"] is True
    shown = run(capsys, "show", "demo")
    assert "general.architecture = qwen2" in shown
    assert "of memory with" in shown


def test_show_tells_of_other_architectures_too(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_model(shelf / "Llama-3-Q8_0.gguf", architecture="llama")
    write_record(path, Record("a/b", COMMIT, "x.gguf", 5, "0" * 64))
    facts = run_json(capsys, "show", "llama-3")
    assert facts["here"] is None
    assert facts["record"]["repository"] == "a/b"
    assert f"from a/b at {COMMIT}" in run(capsys, "show", "llama-3")


def test_verify_ends_with_1_where_a_file_is_damaged(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_model(shelf / "QwQ-32B-Q8_0.gguf")
    write_record(path, Record("a/b", COMMIT, "x.gguf", path.stat().st_size, sha256(b"another")))
    assert _run(["verify"]) == 1
    shown = capsys.readouterr()
    assert "damaged     QwQ-32B:Q8_0" in shown.out
    assert "qwq rm QwQ-32B:Q8_0" in shown.err
    verdicts = {row["name"]: row["verdict"] for row in run_json(capsys, "verify", status=1)["files"]}
    assert verdicts == {"QwQ-32B:Q8_0": "damaged", "demo": "unrecorded"}


def test_rm_asks_and_takes_no_silence_for_a_yes(shelf: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_model(shelf / "QwQ-32B-Q8_0.gguf")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    assert _run(["rm", "qwq-32b"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert path.exists()
    assert _run(["rm", "qwq-32b", "--yes"]) == 0
    assert not path.exists()
    assert _run(["rm", "qwq-32b", "--yes"]) == 1
    assert _run(["rm", "demo", "--yes"]) == 1
    assert "is not in the folder of models" in capsys.readouterr().err


def test_rm_drops_what_an_unfinished_pull_left(shelf: Path) -> None:
    part = shelf / ".partial" / "QwQ-32B-Q8_0.gguf.0123456789ab.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"abc")
    assert _run(["rm", "QwQ-32B:Q8_0", "--yes"]) == 0
    assert not part.exists()
