"""`qwq perplexity` and `qwq divergence`, as users and programs meet them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from qwq_local.cli import likelihood
from qwq_local.errors import PromptError
from tests.programs import PROGRAM, Qwq, assert_told, posix

TEXT = Path(__file__).parents[1] / "data" / "imatrix" / "calibration.txt"
SHORT = ("--ctx", "64", "--chunks", "4")


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWQ_DATA", str(tmp_path / "data"))


def test_a_perplexity_is_told_with_its_error_and_what_it_means(qwq: Qwq) -> None:
    ended = qwq("perplexity", "demo", TEXT, *SHORT)
    assert (ended.code, ended.err) == (0, "")
    head, _, figure, surprise, _, *words = ended.out.splitlines()
    assert head == "demo  4 chunks of 64 tokens, 124 scored"
    assert figure.startswith("perplexity ")
    assert " ± " in figure
    assert surprise.startswith("surprise, nats a token ")
    assert "equally likely" in " ".join(words)
    assert max(map(len, words)) <= 100


def test_a_perplexity_is_one_json_object(qwq: Qwq) -> None:
    ended = qwq("perplexity", "demo", TEXT, *SHORT, "--json")
    assert (ended.code, ended.err, ended.out.count("\n")) == (0, "", 1)
    found = json.loads(ended.out)
    assert list(found) == ["model", "n_chunks", "n_ctx", "n_scored", "perplexity", "surprise", "notes"]
    assert (found["model"], found["n_chunks"], found["n_ctx"], found["n_scored"]) == ("demo", 4, 64, 124)
    assert found["perplexity"]["value"] > 1
    assert found["perplexity"]["uncertainty"] > 0


def test_a_divergence_is_told_in_figures_and_in_words(qwq: Qwq) -> None:
    ended = qwq("divergence", "demo", "demo", TEXT, *SHORT)
    assert ended.code == 0
    rounding, floor = ended.err.splitlines()
    assert rounding.startswith("notice: So small a divergence is rounding as much as difference")
    assert " of 124 places the text is less likely to the base than e^-16" in floor
    lines = ended.out.splitlines()
    assert lines[0] == "demo beside demo  4 chunks of 64 tokens, 124 scored"
    names = [line[:24].strip() for line in lines[2:11]]
    assert names == [
        *("perplexity", "of the base", "ratio", "KL divergence, nats", "", ""),
        *("same likeliest token", "change of probability", "root mean square"),
    ]
    assert "100.000 ± 0.000 %" in lines[8]
    assert "same next token likeliest in 100.0% of places" in " ".join(lines)


def test_a_divergence_is_one_json_object(qwq: Qwq, tmp_path: Path) -> None:
    ended = qwq("divergence", "demo", "demo", TEXT, *SHORT, "--kv-type", "q4_0", "--json", "--base-logits", tmp_path / "base.logits")
    assert (ended.code, ended.err, ended.out.count("\n")) == (0, "", 1)
    found = json.loads(ended.out)
    assert (found["model"], found["base"], found["n_scored"]) == ("demo", "demo", 124)
    quantiles = found["divergence"]["quantiles"]
    assert list(quantiles) == ["0", "0.001", "0.01", "0.05", "0.1", "0.25", "0.5", "0.75", "0.9", "0.95", "0.99", "0.999", "1"]
    assert quantiles["0.5"] == found["divergence"]["median"] < found["divergence"]["value"] < quantiles["1"]
    assert found["same_top"]["value"] > 0.5
    assert (tmp_path / "base.logits").exists()


def test_a_text_comes_from_standard_input_too(qwq: Qwq) -> None:
    from_file, piped = qwq("perplexity", "demo", TEXT, *SHORT), qwq("perplexity", "demo", "-", *SHORT, stdin=TEXT.read_bytes())
    assert piped == from_file
    assert_told(qwq("perplexity", "demo", "-", stdin=b""), 1, "- is empty")


def test_a_text_that_cannot_be_read_is_refused(qwq: Qwq, tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "blank.txt").write_bytes(b" \n")
    (tmp_path / "short.txt").write_text("7 + 8", encoding="utf-8")
    with (tmp_path / "large.txt").open("wb") as file:
        file.truncate(2**30 + 1)
    for command in (("perplexity", "demo"), ("divergence", "demo", "demo")):
        assert_told(qwq(*command, tmp_path / "none.txt"), 1, "none.txt cannot be read: No such file")
        assert_told(qwq(*command, tmp_path), 1, "cannot be read: Is a directory")
        assert_told(qwq(*command, tmp_path / "latin.txt"), 1, "latin.txt is not UTF-8 text (byte 3)")
        assert_told(qwq(*command, tmp_path / "blank.txt"), 1, "blank.txt is empty")
        assert_told(qwq(*command, tmp_path / "large.txt"), 1, "has 1,073,741,825 bytes")
        assert_told(qwq(*command, tmp_path / "short.txt"), 1, "is 4 tokens long, and chunks of 512 need 1,024")


def test_a_closed_standard_input_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(PromptError, match="is closed"):
        likelihood.read_text("-")


def test_wrong_use_is_told(qwq: Qwq, tmp_path: Path) -> None:
    assert_told(qwq("perplexity", "demo", TEXT, "--ctx", "8"), 2, "ctx is 8")
    assert_told(qwq("perplexity", "demo", TEXT, "--chunks", "0"), 2, "chunks is 0")
    assert_told(qwq("perplexity", "nothing-here", TEXT), 1, "nothing-here")
    assert_told(qwq("divergence", "demo", "nothing-here", TEXT), 1, "nothing-here")
    (tmp_path / "none.logits").write_bytes(b"something else")
    found = qwq("divergence", "demo", "demo", TEXT, *SHORT, "--base-logits", tmp_path / "none.logits")
    assert_told(found, 2, "none.logits holds no log-probabilities")
    assert_told(qwq("divergence", "demo", "demo", TEXT, *SHORT, "--base-logits", tmp_path), 1, "Is a directory")
    assert (tmp_path / "none.logits").read_bytes() == b"something else"


def test_help_has_examples(qwq: Qwq) -> None:
    for command in ("perplexity", "divergence"):
        ended = qwq(command, "--help")
        assert ended.code == 0
        assert f"qwq {command} QwQ-32B:Q4_K_M" in ended.out


@posix
@pytest.mark.slow
def test_an_interrupt_ends_it_soon_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text(TEXT.read_text("utf-8") * 400, encoding="utf-8")
    command = [*PROGRAM, "divergence", "demo", "demo", "long.txt", "--base-logits", "base.logits"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as running:
        while not (part := tmp_path / "base.logits.part").exists() or part.stat().st_size < 3_000_000:
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, b"")
    assert not any(tmp_path.glob("base*"))
