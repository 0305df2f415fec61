"""`qwq convert`, as a user meets it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path

import pytest

from qwq_local.cli import _run, conversion
from qwq_local.cli.transfer import TransferBar
from qwq_local.gguf import read_header
from tests.checkpoints import NANO, copy_nano, make_odd, put_weight
from tests.fake_hub import COMMIT, serve
from tests.programs import program

IMATRIX = Path(__file__).parents[1] / "data" / "imatrix" / "nano.gguf"


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    status = _run(["convert", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_it_prints_a_table_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, NANO, "--out", tmp_path, "--quant", "q8_0", "--quant", "BF16", "--name", "nano")
    assert (status, err) == (0, "")
    head, first, second, total = out.splitlines()
    assert head.split() == ["file", "type", "bytes", "tensors", "sha256"]
    assert first.split()[:2] == ["nano-Q8_0.gguf", "Q8_0"]
    assert second.split()[:2] == ["nano-BF16.gguf", "BF16"]
    assert "16 F32, 23 Q8_0" in first
    assert total.startswith(f"{sum(path.stat().st_size for path in tmp_path.glob('*.gguf')):,} bytes in ")


def test_json_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, NANO, "--out", tmp_path, "--quant", "Q8_0", "--name", "nano", "--json")
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert report["name"] == "nano"
    assert report["source_sha256"] is None
    assert report["files"][0]["tensor_types"] == {"F32": 16, "Q8_0": 23}
    assert report["files"][0]["sha256"] == (tmp_path / "SHA256SUMS").read_text()[:64]


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (["--quant", "Q4_K_N"], "There is no quantization 'Q4_K_N'", "Did you mean Q4_K_"),
        (["--quant", "F16", "--split", "40GB"], "'40GB' is no size", "--split 40G"),
        (["--quant", "F16", "--split", "1M", "--name", "a/b"], "can be no file's name", "--name"),
        (["--quant", "F16", "--no-yarn", "--yarn-factor", "2"], "--yarn-factor 2 contradicts --no-yarn", "Leave one"),
        (["--quant", "Q8_0", "--tensor-type", "ffn_down"], "is no REGEX=TYPE", "ffn_down=Q6_K"),
        (["--quant", "Q8_0", "--tensor-type", "(=Q6_K"], "is no regular expression", "Correct"),
        (["--quant", "Q8_0", "--tensor-type", "ffn_down=Q6K"], "There is no type 'Q6K'", "Did you mean Q6_K?"),
        (["--quant", "Q8_0", "--tensor-type", "ffn_dawn=Q6_K"], "'ffn_dawn' fits no tensor", "Names are like"),
    ],
)
def test_wrong_options_are_told_before_anything_is_made(
    options: list[str], message: str, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, NANO, "--out", tmp_path / "out", *options)
    assert (status, out) == (2, "")
    assert message in err.splitlines()[0]
    assert hint in err.splitlines()[1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [[], ["--quant", "F16", "--threads", "0"], ["--quant", "F16", "--yarn-factor", "1"]])
def test_what_click_refuses_is_wrong_usage(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, NANO, "--out", tmp_path, *options)[0] == 2


def test_a_quantization_that_needs_an_importance_matrix_is_refused_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, NANO, "--out", tmp_path / "out", "--quant", "Q8_0", "--quant", "IQ2_XS")
    assert status == 1
    assert err.startswith("error: IQ2_XS needs an importance matrix, since blk.")
    assert "--imatrix FILE" in err
    assert not (tmp_path / "out").exists()


def test_with_an_importance_matrix_it_is_made_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--quant", "Q2_K_S", "--quant", "Q8_0", "--name", "nano", "--imatrix", IMATRIX)
    status, _, err = run(capsys, NANO, "--out", tmp_path, *options)
    assert (status, err) == (0, "")
    header = read_header(tmp_path / "nano-Q2_K_S.gguf")
    assert list(header.metadata)[-4:] == [f"quantize.imatrix.{key}" for key in ("file", "dataset", "entries_count", "chunks_count")]
    assert header.metadata == {**read_header(tmp_path / "nano-Q8_0.gguf").metadata, "general.file_type": 21}
    assert "Q2_K" in {tensor.type.name for tensor in header.tensors}


def test_another_models_importance_matrix_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_odd(tmp_path / "checkpoint")
    status, _, err = run(capsys, source, "--out", tmp_path / "out", "--quant", "Q8_0", "--imatrix", IMATRIX)
    assert status == 1
    assert "values for blk.0." in err
    assert "whose rows are 3" in err
    assert not (tmp_path / "out").exists()


def test_types_of_single_tensors_are_as_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--tensor-type", r"blk\.1\.ffn_down=q6_k", "--tensor-type", "ffn_down=Q4_0"]
    assert run(capsys, NANO, "--out", tmp_path, "--quant", "Q8_0", "--name", "nano", *options)[0] == 0
    types = {tensor.name: tensor.type.name for tensor in read_header(tmp_path / "nano-Q8_0.gguf").tensors}
    assert [types[f"blk.{layer}.ffn_down.weight"] for layer in range(3)] == ["Q4_0", "Q6_K", "Q4_0"]
    assert types["blk.0.ffn_up.weight"] == "Q8_0"


def test_weights_that_are_no_numbers_pass_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = copy_nano(tmp_path / "checkpoint")
    put_weight(0x7FC0)(source)
    arguments = (source, "--out", tmp_path / "out", "--quant", "BF16", "--name", "nano")
    status, _, err = run(capsys, *arguments)
    assert status == 1
    assert "k_proj.weight holds a weight that is NaN or infinite" in err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["nano-BF16.gguf.part", "nano.journal.part"]
    status, out, _ = run(capsys, *arguments, "--allow-nonfinite")
    assert status == 0
    assert "of them by a former run" in out


def test_a_source_that_is_neither_folder_nor_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, tmp_path / "nowhere", "--out", tmp_path, "--quant", "F16")
    assert status == 1
    assert "nowhere is no folder" in err
    assert "Qwen/QwQ-32B" in err


def test_a_folder_has_no_revision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, NANO, "--out", tmp_path, "--quant", "F16", "--revision", "main")
    assert status == 1
    assert "no revision 'main'" in err


def test_interrupted_it_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(conversion, "convert", interrupted)
    status, out, err = run(capsys, NANO, "--out", tmp_path, "--quant", "F16")
    assert (status, out) == (130, "")
    assert err.rstrip() == "interrupted: the same command goes on from here"


@pytest.mark.slow
def test_a_disk_that_fills_up_leaves_what_the_next_run_goes_on_with(tmp_path: Path) -> None:
    arguments = [str(NANO), "--out", str(tmp_path / "out"), "--quant", "F32", "--name", "nano"]
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6));"
        f"import sys; sys.argv = ['qwq', 'convert', *{arguments!r}]; from qwq_local.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "nano-F32.gguf.part cannot be written: File too large" in done.stderr
    assert "the same command goes on" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["nano-F32.gguf.part", "nano.journal.part"]
    went_on = program("convert", *arguments)
    assert went_on.code == 0
    assert "of them by a former run" in went_on.out
    program("convert", *arguments[:2], str(tmp_path / "fresh"), *arguments[3:])
    assert (tmp_path / "out" / "nano-F32.gguf").read_bytes() == (tmp_path / "fresh" / "nano-F32.gguf").read_bytes()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = TransferBar(0.0)
    for second in (1, 11, 21):
        bar.update("converting", second * 100_000_000, 10_000_000_000, float(second))
    shown = terminal.getvalue()
    assert shown.endswith("\r\x1b[Kconverting 2.1 of 10.0 GB at 100 MB/s, 79 s left")
    bar.clear()
    bar.clear()
    assert terminal.getvalue() == f"{shown}\r\x1b[K"


@pytest.mark.slow
def test_a_repository_is_downloaded_pinned_and_named(tmp_path: Path) -> None:
    with serve(NANO) as hub:
        online = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "cache")}
        done = program("convert", "someone/nano", "--out", tmp_path / "out", "--quant", "F16", **online)
        assert (done.code, done.err) == (0, "")
        header = read_header(tmp_path / "out" / "nano-F16.gguf")
        assert header.text("qwq_local.source.revision") == COMMIT
        assert header.text("general.name") == "nano"
        assert not [path for path in hub.asked if path.endswith(("vocab.json", "merges.txt"))]
        n_asked = len(hub.asked)
        done = program("convert", "someone/nano", "--out", tmp_path / "again", "--quant", "F16", **{**online, "HF_HUB_OFFLINE": "1"})
        assert done.code == 0
        assert len(hub.asked) == n_asked
    assert (tmp_path / "again" / "nano-F16.gguf").read_bytes() == (tmp_path / "out" / "nano-F16.gguf").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("refusal", "code", "message"),
    [
        (HTTPStatus.UNAUTHORIZED, "RepoNotFound", "has no repository someone/nano, or it is private"),
        (HTTPStatus.FORBIDDEN, "GatedRepo", "open only to those its owners admit"),
    ],
)
def test_what_the_hub_refuses_is_told(refusal: HTTPStatus, code: str, message: str, tmp_path: Path) -> None:
    with serve(NANO, refusal, code) as hub:
        environment = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "cache")}
        done = program("convert", "someone/nano", "--out", tmp_path / "out", "--quant", "F16", **environment)
    assert done.code == 1
    assert message in done.err
    assert done.err.count("\n") == 2
    assert not (tmp_path / "out").exists()


def test_offline_without_a_cache_is_told(tmp_path: Path) -> None:
    done = program(
        "convert", "someone/nano", "--out", tmp_path / "out", "--quant", "F16", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "cache")
    )
    assert done.code == 1
    assert "not wholly in the hub's cache" in done.err
    assert not (tmp_path / "out").exists()
