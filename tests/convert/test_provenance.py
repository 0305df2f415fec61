"""Where a checkpoint comes from, and what is published with what was made of it."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from qwq_convert.pipeline import ConversionChoices, convert
from qwq_convert.provenance import DOCUMENTS, Provenance, trace
from qwq_local.errors import ConversionError
from qwq_local.gguf import read_header
from tests.checkpoints import FIRST, NANO, SECOND, copy_nano, make_odd

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def sum_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def found(folder: Path) -> Provenance:
    return trace(folder, sorted(folder.glob("*.safetensors")))


def content_hash(folder: Path) -> str:
    """By its definition: the SHA-256 of what `sha256sum` prints of the files that a conversion reads."""
    names = sorted(path.name for path in folder.iterdir() if path.name in DOCUMENTS or path.suffix == ".safetensors")
    listing = "".join(f"{sum_of(folder / name)}  {name}\n" for name in names)
    return hashlib.sha256(listing.encode()).hexdigest()


def in_cache(tmp_path: Path) -> Path:
    """Nano's checkpoint as it lies in the hub's cache."""
    blobs = tmp_path / "models--someone--nano-1B" / "blobs"
    snapshot = blobs.parent / "snapshots" / COMMIT
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for path in NANO.iterdir():
        blob = blobs / sum_of(path)
        shutil.copy(path, blob)
        (snapshot / path.name).symlink_to(Path("../../blobs") / blob.name)
    return snapshot


def test_a_snapshot_in_the_hubs_cache_tells_all(tmp_path: Path) -> None:
    snapshot = in_cache(tmp_path)
    provenance = found(snapshot)
    assert (provenance.repository, provenance.revision) == ("someone/nano-1B", COMMIT)
    assert provenance.sha256 == content_hash(snapshot)
    (file,) = convert(snapshot, tmp_path, ["F16"]).files
    header = read_header(file.path)
    assert header.text("general.source.repo_url") == "https://huggingface.co/someone/nano-1B"
    assert header.text("qwq_local.source.revision") == COMMIT
    assert header.text("qwq_local.source.sha256") == provenance.sha256
    card = (tmp_path / "README.md").read_text()
    assert 'base_model: "someone/nano-1B"\nbase_model_relation: "quantized"' in card
    assert COMMIT in card


def test_a_download_to_a_folder_tells_revision_and_content(tmp_path: Path) -> None:
    folder = copy_nano(tmp_path / "checkpoint")
    records = folder / ".cache" / "huggingface" / "download"
    records.mkdir(parents=True)
    for name in (FIRST, SECOND):
        (records / f"{name}.metadata").write_text(f"{COMMIT}\n{sum_of(folder / name)}\n1700000000.0\n")
    provenance = found(folder)
    assert (provenance.repository, provenance.revision, provenance.sha256) == (None, COMMIT, content_hash(folder))
    later = (records / f"{FIRST}.metadata").stat().st_mtime + 60
    os.utime(folder / FIRST, (later, later))  # it was changed since
    provenance = found(folder)
    assert (provenance.revision, provenance.sha256) == (None, None)


def test_a_list_of_sums_tells_the_content(tmp_path: Path) -> None:
    folder = copy_nano(tmp_path / "checkpoint")
    listing = folder / "SHA256SUMS"
    listing.write_text(f"# weights\n{sum_of(folder / FIRST)}  {FIRST}\n{sum_of(folder / SECOND)} *{SECOND}\n")
    assert found(folder).sha256 == content_hash(folder)
    os.utime(listing, (1, 1))  # older than the weights
    assert found(folder).sha256 is None


def test_of_any_other_folder_no_content_hash_is_claimed(tmp_path: Path) -> None:
    provenance = found(NANO)
    assert (provenance.repository, provenance.revision, provenance.sha256) == (None, None, None)
    (file,) = convert(NANO, tmp_path, ["F16"], ConversionChoices(name="nano")).files
    assert not [key for key in read_header(file.path).metadata if key.startswith("qwq_local.source")]


def test_the_sums_are_what_sha256sum_checks(tmp_path: Path) -> None:
    report = convert(NANO, tmp_path, ["Q8_0", "BF16"], ConversionChoices(name="nano"))
    assert [file.sha256 for file in report.files] == [sum_of(file.path) for file in report.files]
    names = ["nano-BF16.gguf", "nano-Q8_0.gguf"]
    assert (tmp_path / "SHA256SUMS").read_text() == "".join(f"{sum_of(tmp_path / name)}  {name}\n" for name in names)


def test_files_of_former_runs_keep_their_places(tmp_path: Path) -> None:
    for quantization in ("Q8_0", "BF16", "F16"):
        convert(NANO, tmp_path, [quantization], ConversionChoices(name="nano"))
        (tmp_path / "nano-BF16.gguf").unlink(missing_ok=True)
    assert [line.split()[1] for line in (tmp_path / "SHA256SUMS").read_text().splitlines()] == ["nano-F16.gguf", "nano-Q8_0.gguf"]
    card = (tmp_path / "README.md").read_text()
    assert "| nano-Q8_0.gguf | 2.8 MB | 8.5" in card
    assert "| nano-F16.gguf | 5.3 MB | 16." in card
    assert "nano-BF16" not in card


def test_the_card_says_what_the_source_says(tmp_path: Path) -> None:
    convert(make_odd(tmp_path / "checkpoint"), tmp_path / "out", ["F16"])
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith('---\nlicense: "apache-2.0"\n')
    assert "qwq ask -m odd-1B-F16.gguf" in card
    assert "--temp 0.6 --top-p 0.95 --top-k 40 --min-p 0 " in card
    assert "(factor 4, over 512 tokens)" in card


def test_somebody_elses_readme_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    notices: list[str] = []
    convert(NANO, tmp_path, ["F16"], ConversionChoices(name="nano"), notice=notices.append)
    assert (tmp_path / "README.md").read_text() == "mine"
    assert "was left as it is" in notices[0]


def test_a_readme_that_is_a_folder_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "README.md").mkdir()
    with pytest.raises(ConversionError, match=r"README\.md cannot be written"):
        convert(NANO, tmp_path, ["F16"], ConversionChoices(name="nano"))
