"""The built-in model's perplexity and divergence, from its name to the figures."""

from __future__ import annotations

import errno
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qwq_convert.pipeline import convert
from qwq_local.errors import PromptError, SettingsError, StoreError
from qwq_local.likelihood import ScoringListener, ScoringSettings, divergence, run_divergence, run_perplexity
from qwq_local.likelihood.divergence import require_same_tokens
from qwq_local.likelihood.perplexity import surprises_of
from qwq_local.likelihood.reading import cut_text
from qwq_local.llama import LlamaBackend
from qwq_local.loading import context_shape
from qwq_local.models.store import find
from qwq_local.models.tokens import read_tokens
from tests.checkpoints import NANO

TEXT = (Path(__file__).parents[1] / "data" / "imatrix" / "calibration.txt").read_text("utf-8")
SHORT = ScoringSettings(64, 6)
SILENT = ScoringListener()


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QWQ_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in model with 4 bits for each weight."""
    return convert(NANO, tmp_path_factory.mktemp("worse"), ["Q4_0"]).files[0].path


def test_what_is_read_at_once_does_not_change_the_perplexity(nano_f32: Path) -> None:
    file = find(str(nano_f32))
    chunks, n_vocab = cut_text(file, TEXT, ScoringSettings(128, 2))
    assert n_vocab == len(read_tokens(nano_f32).texts)
    found = []
    for n_batch, n_outputs in ((128, 0), (128, 5), (50, 20), (7, 3)):
        shape = replace(context_shape(file, 128, "f32"), n_batch=n_batch, n_outputs=n_outputs)
        with closing(LlamaBackend(nano_f32, shape, "native", 0)) as backend, ThreadPoolExecutor(2) as threads:
            found.append(surprises_of(backend, chunks, threads, SILENT))
    assert all(len(each) == 2 * 63 for each in found)
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-4)


def test_the_demo_knows_its_own_kind_of_text_better_than_noise() -> None:
    told: list[tuple[str, int, int]] = []
    listener = ScoringListener(on_progress=lambda *progress: told.append(progress))
    known = run_perplexity("demo", TEXT, SHORT, listener)
    noise = run_perplexity("demo", "".join(map(chr, np.random.default_rng(0).integers(32, 127, 3000))), SHORT, SILENT)
    assert 1 < known.perplexity.value < noise.perplexity.value / 2
    assert (known.extent.n_chunks, known.extent.n_ctx, known.extent.n_scored) == (6, 64, 6 * 31)
    assert 0 < known.perplexity.uncertainty < known.perplexity.value
    assert [progress for progress in told if progress[0] == "reading"] == [("reading", index, 6) for index in range(6)]


def test_a_model_beside_itself_shows_nothing_but_rounding(data: Path) -> None:
    found = run_divergence("demo", "demo", TEXT, SHORT, SILENT)
    assert found.divergence.value == pytest.approx(0, abs=1e-5)
    assert found.divergences.by_share[1.0] < 2e-4
    assert found.same_top.value == 1
    assert found.base_perplexity.value < found.perplexity.value, "some of the text is less likely than 16 bits tell"
    assert found.n_at_floor > 0
    assert any(f"At {found.n_at_floor} of 186 places" in note for note in found.notes)
    assert found.change_rms.value < 1e-4
    assert any("16 bits" in note for note in found.notes)
    assert [path for path in (data / "cache").iterdir() if path.suffix != ".json"] == []


def test_what_four_bits_cost_is_seen(worse: Path) -> None:
    found = run_divergence(str(worse), "demo", TEXT, SHORT, SILENT)
    assert 1e-3 < found.divergences.median < found.divergence.value < found.divergences.by_share[0.99]
    assert 0.5 < found.same_top.value < 1
    assert found.perplexity.value == pytest.approx(run_perplexity(str(worse), TEXT, SHORT, SILENT).perplexity.value, rel=1e-5)


def test_a_cache_of_four_bits_is_the_model_s_alone() -> None:
    same, found = (run_divergence("demo", "demo", TEXT, replace(SHORT, kv_type=kv_type), SILENT) for kv_type in (None, "q4_0"))
    assert found.divergence.value > 1e-4
    assert found.base_surprise == same.base_surprise


def test_what_the_base_found_likely_is_kept_and_used_again(worse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "new" / "base.logits"
    first = run_divergence(str(worse), "demo", TEXT, SHORT, SILENT, kept)
    assert [path.name for path in kept.parent.iterdir()] == ["base.logits"]
    monkeypatch.setattr(divergence, "_write", None)
    again = run_divergence(str(worse), "demo", TEXT, SHORT, SILENT, kept)
    assert again == first
    fewer = run_divergence(str(worse), "demo", TEXT, replace(SHORT, max_chunks=2), SILENT, kept)
    assert fewer.extent.n_chunks == 2


def test_what_another_base_found_likely_is_refused(worse: Path, tmp_path: Path) -> None:
    kept = tmp_path / "base.logits"
    run_divergence("demo", str(worse), TEXT, SHORT, SILENT, kept)
    with pytest.raises(SettingsError, match=rf"was made by {worse.name} \([\d,]+ bytes\), not by qwq-nano"):
        run_divergence("demo", "demo", TEXT, SHORT, SILENT, kept)
    with pytest.raises(SettingsError, match="made of another text"):
        run_divergence("demo", str(worse), TEXT[100:], SHORT, SILENT, kept)


def test_a_file_of_llama_perplexity_s_is_used_and_told_of(tmp_path: Path) -> None:
    kept = tmp_path / "base.logits"
    ours = run_divergence("demo", "demo", TEXT, SHORT, SILENT, kept)
    content = kept.read_bytes()
    kept.write_bytes(content[: content.rindex(b'{"name"')])
    found = run_divergence("demo", "demo", TEXT, SHORT, SILENT, kept)
    assert found.divergence == ours.divergence
    assert any("does not say which model made it" in note for note in found.notes)


def test_models_of_other_tokens_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.gguf"
    content = find("demo").path.read_bytes()
    at = content.index(b"<|im_end|>")
    path.write_bytes(content[:at] + b"<|im_END|>" + content[at + 10 :])
    with pytest.raises(SettingsError, match=r"cannot be compared with demo, since its token \d+ is '<\|im_END\|>' \(control\)"):
        require_same_tokens(find(str(path)), find("demo"))
    require_same_tokens(find("demo"), find("demo"))


def test_a_text_that_is_too_short_is_refused_before_anything_is_loaded() -> None:
    told: list[str] = []
    with pytest.raises(PromptError, match="chunks of 512 need 1,024"):
        run_perplexity("demo", TEXT[:300], ScoringSettings(), ScoringListener(told.append))
    assert told == ["cutting the text into tokens"]


def test_a_disk_without_room_is_told_before_the_base_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    told: list[str] = []
    with pytest.raises(StoreError, match=r"take \d+ MiB of disk, and .* has 0 MiB free"):
        run_divergence("demo", "demo", TEXT, SHORT, ScoringListener(told.append))
    assert "loading demo" not in told


def test_much_disk_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergence, "NOTEWORTHY_BYTES", 1000)
    told: list[str] = []
    run_divergence("demo", "demo", TEXT, replace(SHORT, max_chunks=2), ScoringListener(notice=told.append), tmp_path / "base.logits")
    assert told == [f"The base's log-probabilities take 0 MiB in {tmp_path}."]


def test_a_disk_that_refuses_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(divergence, "write_maker", refuse)
    with pytest.raises(StoreError, match=r"base\.logits: No space left on device"):
        run_divergence("demo", "demo", TEXT, SHORT, SILENT, tmp_path / "base.logits")
    assert not any(tmp_path.glob("base*"))
