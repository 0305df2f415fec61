"""From names to files: what is on the machine, what it is called, and that nothing else is deleted."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.errors import ModelFileError, ModelNotFoundError, NotGgufError, StoreError, WrongArchitectureError
from qwq_local.models import description, names, store
from qwq_local.models.download import PARTS_FOLDER
from qwq_local.models.inventory import local_models, unfinished_pulls
from qwq_local.models.names import FileName
from qwq_local.models.record import Record, read_record, record_path, write_record
from qwq_local.models.verify import verify
from tests.hub_server import sha256
from tests.shelves import write_model

RECORD = Record("Qwen/QwQ-32B-GGUF", "0" * 40, "qwq-32b-q8_0.gguf", 5, "ab" * 32)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QWQ_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("QWQ_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home/hf"))
    return tmp_path / "models"


@pytest.mark.parametrize(
    ("file_name", "parsed"),
    [
        ("QwQ-32B-Q4_K_M.gguf", FileName("QwQ-32B", "Q4_K_M", 1, 1)),
        ("qwq-32b-q4_k_m.gguf", FileName("QwQ-32B", "Q4_K_M", 1, 1)),
        ("Qwen_QwQ-32B-IQ3_XXS.gguf", FileName("QwQ-32B", "IQ3_XXS", 1, 1)),
        ("qwq-32b-fp16-00003-of-00017.gguf", FileName("QwQ-32B", "F16", 3, 17)),
        ("QwQ-32B-UD-Q4_K_XL.gguf", FileName("QwQ-32B", "UD-Q4_K_XL", 1, 1)),
        ("QwQ-32B.Q8_0.gguf", FileName("QwQ-32B", "Q8_0", 1, 1)),
        ("QwQ-32B-BF16.gguf", FileName("QwQ-32B", "BF16", 1, 1)),
        ("QwQ-32B-Preview-Q4_0.gguf", FileName("QwQ-32B-Preview", "Q4_0", 1, 1)),
        ("qwq-32b.gguf", FileName("QwQ-32B", "", 1, 1)),
        ("Q4.gguf", FileName("Q4", "", 1, 1)),
    ],
)
def test_a_files_name_is_taken_apart(file_name: str, parsed: FileName) -> None:
    assert names.parse(file_name) == parsed


@given(st.text())
def test_any_name_can_be_taken_apart(file_name: str) -> None:
    parsed = names.parse(file_name)
    assert parsed.shard >= 0


def test_the_parts_of_a_model_are_named_by_its_first() -> None:
    assert names.shards(PurePath("a-00001-of-00003.gguf"), 3) == [f"a-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert names.shards(PurePath("sha256-abc"), 1) == ["sha256-abc"]


def test_models_are_listed_best_first_and_found_by_name_in_any_case(shelf: Path) -> None:
    for file in ("QwQ-32B-Q4_K_M.gguf", "sub/qwq-32b-q8_0.gguf", "Other-7B-Q6_K.gguf"):
        write_model(shelf / file)
    assert [model.name for model in local_models()] == ["QwQ-32B:Q8_0", "QwQ-32B:Q4_K_M", "Other-7B:Q6_K"]
    assert store.find("qwq-32b:q4_k_m").path == shelf / "QwQ-32B-Q4_K_M.gguf"
    assert store.find("qwq-32b").name == "QwQ-32B:Q8_0"
    assert store.find("other-7b").name == "Other-7B:Q6_K"
    path = str(shelf / "QwQ-32B-Q4_K_M.gguf")
    assert store.find(path).name == path


def test_a_file_without_a_quantization_in_its_name_is_called_by_its_header(shelf: Path) -> None:
    write_model(shelf / "qwq-32b.gguf", "Q5_K_M")
    assert [model.name for model in local_models()] == ["QwQ-32B:Q5_K_M"]


def test_what_is_not_there_is_told_with_what_is(shelf: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="does not exist") as caught:
        store.find("qwq-32b")
    assert "qwq pull" in caught.value.hint
    write_model(shelf / "QwQ-32B-Q4_K_M.gguf")
    with pytest.raises(ModelNotFoundError, match="does not exist") as caught:
        store.find("qwq-32b:q4km")
    assert "Did you mean QwQ-32B:Q4_K_M?" in caught.value.hint
    for missing, says in ((str(shelf), "is a folder"), ("nowhere.gguf", "does not exist")):
        with pytest.raises(ModelNotFoundError, match=says):
            store.find(missing)


def test_a_model_in_parts_is_one_model_and_named_by_any_of_them(shelf: Path) -> None:
    for number in (1, 2):
        write_model(shelf / f"QwQ-32B-Q8_0-0000{number}-of-00002.gguf")
    (model,) = local_models()
    assert model.file_bytes == sum(path.stat().st_size for path in model.paths)
    assert len(model.paths) == 2
    assert store.find(str(model.paths[1])).path == model.path
    model.paths[1].unlink()
    assert "is missing" in local_models()[0].problem
    with pytest.raises(ModelNotFoundError, match="lacks"):
        store.find("QwQ-32B")


def test_files_that_cannot_be_used_are_listed_with_the_reason_and_refused(shelf: Path) -> None:
    write_model(shelf / "Llama-3-Q8_0.gguf", architecture="llama")
    (shelf / "text.gguf").write_text("no model")
    problems = {model.name: model.problem for model in local_models()}
    assert "architecture 'llama'" in problems["Llama-3:Q8_0"]
    assert "is no GGUF file" in problems["text"]
    with pytest.raises(WrongArchitectureError):
        store.find("llama-3")
    with pytest.raises(NotGgufError):
        store.find("text")


def test_a_sound_file_is_taken_before_a_damaged_better_one(shelf: Path) -> None:
    write_model(shelf / "QwQ-32B-Q4_K_M.gguf")
    (shelf / "QwQ-32B-Q8_0.gguf").write_bytes(b"GGUF")
    assert store.find("qwq-32b").name == "QwQ-32B:Q4_K_M"


def test_one_file_under_two_names_is_one_model_and_two_files_of_one_name_are_told_apart(shelf: Path) -> None:
    path = write_model(shelf / "QwQ-32B-Q8_0.gguf")
    (shelf / "link-Q8_0.gguf").symlink_to(path)
    second = write_model(shelf / "b" / "qwq-32b-q8_0.gguf")
    names_here = [model.name for model in local_models()]
    assert len(names_here) == 2
    assert sum(name == "QwQ-32B:Q8_0" for name in names_here) == 1
    assert str(second) in names_here or str(path) in names_here


def test_models_of_other_programs_are_used_in_place_and_never_removed(shelf: Path, tmp_path: Path) -> None:
    assert not shelf.exists()
    path = write_model(tmp_path / "home/.lmstudio/models/a/b/QwQ-32B-Q6_K.gguf")
    (model,) = local_models()
    assert (model.name, model.owner, model.path) == ("QwQ-32B:Q6_K", "LM Studio", path)
    assert store.find("qwq-32b").path == path
    for name in ("qwq-32b", str(path), "demo"):
        with pytest.raises(StoreError, match="is not in the folder of models"):
            store.remove(store.find_local(name))
    assert path.exists()


def test_removing_takes_the_files_with_their_records_and_no_others(shelf: Path) -> None:
    kept = write_model(shelf / "QwQ-32B-Q8_0.gguf")
    gone = write_model(shelf / "QwQ-32B-Q4_K_M.gguf")
    write_record(gone, RECORD)
    freed_bytes = gone.stat().st_size
    assert store.remove(store.find_local("qwq-32b:q4_k_m")) == freed_bytes
    assert list(shelf.iterdir()) == [kept]


def test_a_link_out_of_the_store_is_removed_and_what_it_leads_to_is_not(shelf: Path, tmp_path: Path) -> None:
    target = write_model(tmp_path / "elsewhere" / "QwQ-32B-Q8_0.gguf")
    shelf.mkdir()
    (shelf / "QwQ-32B-Q8_0.gguf").symlink_to(target)
    store.remove(store.find_local("qwq-32b"))
    assert target.exists()
    assert not list(shelf.iterdir())


def test_a_folder_that_leads_out_of_the_store_protects_its_files(shelf: Path, tmp_path: Path) -> None:
    target = write_model(tmp_path / "elsewhere" / "QwQ-32B-Q8_0.gguf")
    shelf.mkdir()
    (shelf / "sub").symlink_to(target.parent)
    with pytest.raises((StoreError, ModelFileError)):
        store.remove(store.find_local(str(shelf / "sub" / target.name)))
    assert target.exists()


def test_unfinished_pulls_are_listed_and_can_be_dropped(shelf: Path) -> None:
    part = shelf / PARTS_FOLDER / "QwQ-32B-Q8_0.gguf.abababababab.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"abc")
    write_record(part, RECORD)
    (pull,) = unfinished_pulls()
    assert (pull.file_name, pull.done_bytes, pull.total_bytes) == ("QwQ-32B-Q8_0.gguf", 3, 5)
    assert local_models() == []
    assert store.find_unfinished("qwq-32b:q8_0") == [pull]
    assert store.remove_unfinished(pull) == 3
    assert not list(part.parent.iterdir())


def test_a_header_is_read_once_until_the_file_changes(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    real = description.describe_file

    def describe(path: Path) -> description.Description:
        read.append(path)
        return real(path)

    monkeypatch.setattr(description, "describe_file", describe)
    path = write_model(shelf / "qwq-32b.gguf", "Q8_0")
    assert local_models() == local_models()
    assert read == [path]
    write_model(path, "Q4_0")
    os.utime(path, ns=(1, 1))
    assert local_models()[0].name == "QwQ-32B:Q4_0"
    assert len(read) == 2


@pytest.mark.parametrize(
    "kept", ["", "{", "[]", '{"x": 1}', '{"x": [1, 2, {}]}', '{"x": [1, 2, {"title": "", "quantization": "", "more": 1}]}']
)
def test_a_damaged_cache_is_thrown_away(shelf: Path, tmp_path: Path, kept: str) -> None:
    path = write_model(shelf / "QwQ-32B-Q8_0.gguf")
    cache = tmp_path / "data/cache/models.json"
    cache.parent.mkdir(parents=True)
    cache.write_text(kept.replace('"x"', json.dumps(str(path))))
    assert [model.name for model in local_models()] == ["QwQ-32B:Q8_0"]
    assert json.loads(cache.read_text())[str(path)][0] == path.stat().st_size


def test_a_cache_that_cannot_be_written_is_no_error(shelf: Path, tmp_path: Path) -> None:
    write_model(shelf / "QwQ-32B-Q8_0.gguf")
    (tmp_path / "data").write_text("a file where a folder should be")
    assert len(local_models()) == 1


def test_a_record_is_read_as_it_was_written_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    assert read_record(path) is None
    write_record(path, RECORD)
    assert read_record(path) == RECORD
    for text in ("", "{}", "[1]", '"x"', '{"repository": 1}'):
        record_path(path).write_text(text)
        assert read_record(path) is None


def test_verifying_tells_the_sound_the_unrecorded_and_the_damaged_apart(shelf: Path) -> None:
    path = write_model(shelf / "QwQ-32B-Q8_0.gguf")
    model = store.find_local("qwq-32b")
    told: list[int] = []
    assert [finding.verdict for finding in verify(model)] == ["unrecorded"]
    write_record(path, Record("a/b", "0" * 40, "x.gguf", path.stat().st_size, sha256(path.read_bytes())))
    assert [finding.verdict for finding in verify(model, told.append)] == ["sound"]
    assert told[-1] == path.stat().st_size
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (finding,) = verify(model)
    assert (finding.verdict, "its SHA-256 is" in finding.detail) == ("damaged", True)
    path.write_bytes(content[:-60])
    assert "ends" in verify(model)[0].detail
    path.unlink()
    assert verify(model)[0].verdict == "damaged"


def test_files_that_are_named_by_their_content_are_verified_by_that_name(shelf: Path, tmp_path: Path) -> None:
    content = write_model(tmp_path / "x.gguf").read_bytes()
    folder = tmp_path / "home/hf/hub/models--a--QwQ"
    blob = folder / "blobs" / sha256(content)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(content)
    link = folder / "snapshots/1/QwQ-32B-Q8_0.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    assert not shelf.exists()
    (model,) = local_models()
    assert [finding.verdict for finding in verify(model)] == ["sound"]
    blob.write_bytes(content[:-1] + b"\1")
    assert [finding.verdict for finding in verify(model)] == ["damaged"]
