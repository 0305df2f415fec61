"""A kit made again: after an upgrade, after a run that was broken off, and beside what others left in the folder."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

import qwq_local
from qwq_local import installation
from qwq_local.errors import InstallationError, SettingsError
from qwq_local.kit import llama_wheel, model_files, own_wheel, pip_runs, wheelhouse
from qwq_local.kit.check import check_kit
from qwq_local.kit.gather import UNFINISHED, make_kit
from qwq_local.kit.installer.manifest import Manifest
from qwq_local.kit.installer.trouble import ReadingError
from qwq_local.kit.wish import KitListener, KitWish
from qwq_local.models.hub import Hub
from tests.kit.shelf import REQUIRES, VERSIONS, Index, wish, write_wheel
from tests.shelves import write_model


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWQ_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("QWQ_DATA", str(tmp_path / "data"))


def make(folder: Path, chosen: KitWish | None = None) -> Manifest:
    return make_kit(chosen or wish(), folder, folder.parent / "kept", KitListener(), Hub(is_offline=True))


def wheels(folder: Path) -> set[str]:
    return {"-".join(path.name.split("-")[:2]) for path in (folder / "wheels").glob("*.whl")}


def test_what_an_upgraded_program_needs_besides_comes_into_the_kit(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "kit")
    needs = [*REQUIRES["qwq-local"], "added>=1"]
    index.wheels["added"] = [("1.0", "py3-none-any", ())]
    monkeypatch.setattr(wheelhouse, "make_own_wheel", lambda folder: write_wheel(folder, "qwq-local", "0.2.0", requires=needs))
    monkeypatch.setitem(VERSIONS, "qwq-local", "0.2.0")
    make(tmp_path / "kit")
    assert {"qwq_local-0.2.0", "added-1.0"} <= wheels(tmp_path / "kit")
    assert "qwq_local-0.1.0" not in wheels(tmp_path / "kit")


def test_what_an_upgraded_package_needs_besides_comes_into_the_kit(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "kit")
    index.wheels |= {"added": [("1.0", "py3-none-any", ())], "click": [("8.9", "py3-none-any", ("added",))]}
    monkeypatch.setitem(VERSIONS, "click", "8.9")
    monkeypatch.setitem(REQUIRES, "click", ["added"])
    make(tmp_path / "kit")
    assert {"click-8.9", "added-1.0"} <= wheels(tmp_path / "kit")


@pytest.mark.usefixtures("index")
def test_a_wheel_that_was_cut_short_on_its_way_is_brought_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = write_wheel(tmp_path / "compiled", "llama-cpp-python", "0.3.36", "py3-none-linux_x86_64", ["numpy>=1.20"])
    incoming = tmp_path / "kit/wheels/.incoming"
    incoming.mkdir(parents=True)
    (tmp_path / "kit" / UNFINISHED).write_text("begun")
    (incoming / compiled.name).write_bytes(compiled.read_bytes()[:100])
    monkeypatch.setattr(llama_wheel, "compile_wheel", lambda _version, _build, folder, *_, **__: llama_wheel._put(compiled, folder))
    make(tmp_path / "kit")
    assert not check_kit(tmp_path / "kit").flaws


class Usage(NamedTuple):
    free: int


@pytest.mark.usefixtures("index")
def test_a_copy_that_was_broken_off_needs_no_room_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model(tmp_path / "models/QwQ-32B-Q8_0.gguf")
    size_bytes = model.stat().st_size
    part = tmp_path / "kit/models/QwQ-32B-Q8_0.gguf.part"
    for folder in (part.parent, tmp_path / "kit/wheels"):
        folder.mkdir(parents=True)
    part.write_bytes(model.read_bytes()[: size_bytes // 2])
    (tmp_path / "kit" / UNFINISHED).write_text("begun")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(size_bytes - size_bytes // 2 - 1))
    with pytest.raises(InstallationError, match="still needs about"):
        make(tmp_path / "kit", wish(quants=("Q8_0",)))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(size_bytes - size_bytes // 2))
    make(tmp_path / "kit", wish(quants=("Q8_0",)))
    assert not check_kit(tmp_path / "kit").flaws


@pytest.mark.usefixtures("index")
def test_two_models_of_one_name_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    models = [write_model(tmp_path / folder / "tuned-Q8_0.gguf") for folder in ("a", "b")]
    with pytest.raises(SettingsError, match=r"would both be tuned-Q8_0\.gguf"):
        make(tmp_path / "kit", wish(models=tuple(map(str, models))))
    assert not (tmp_path / "kit").exists()


@pytest.mark.usefixtures("index")
def test_a_model_that_is_named_twice_goes_into_the_kit_once(tmp_path: Path) -> None:
    write_model(tmp_path / "models/QwQ-32B-Q8_0.gguf")
    manifest = make(tmp_path / "kit", wish(quants=("Q8_0",), models=("QwQ-32B:Q8_0",)))
    assert [model.name for model in manifest.models] == ["QwQ-32B:Q8_0"]


@pytest.mark.usefixtures("index")
def test_what_a_mac_leaves_on_a_stick_is_in_nobodys_way(tmp_path: Path) -> None:
    write_model(tmp_path / "models/QwQ-32B-Q8_0.gguf")
    make(tmp_path / "kit", wish(quants=("Q8_0",)))
    (tmp_path / "kit/models/._QwQ-32B-Q8_0.gguf").write_bytes(bytes(4096))
    make(tmp_path / "kit", wish(quants=("Q8_0",)))
    assert not check_kit(tmp_path / "kit").flaws


@pytest.mark.usefixtures("index")
def test_a_folder_that_only_has_a_file_of_the_same_name_is_no_kit(tmp_path: Path) -> None:
    mine = tmp_path / "project/kit.json"
    mine.parent.mkdir()
    mine.write_text('{"name": "my own"}')
    with pytest.raises(InstallationError, match="holds something else than a kit"):
        make(mine.parent)
    assert mine.read_text() == '{"name": "my own"}'


@pytest.mark.parametrize("text", ['[project]\nname = "another"', "[tool.x]", "no TOML"])
def test_another_projects_source_is_not_taken_for_this_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    monkeypatch.setattr(qwq_local, "__file__", str(tmp_path / "qwq_local/__init__.py"))
    monkeypatch.setattr(installation, "DISTRIBUTION", "not-installed-at-all")
    monkeypatch.setattr(pip_runs, "build", lambda *_, **__: pytest.fail("another project is built"))
    with pytest.raises(InstallationError, match="not an installed package"):
        own_wheel.make_own_wheel(tmp_path)


@pytest.mark.usefixtures("index")
def test_what_does_not_belong_to_a_kit_is_named_and_stays(tmp_path: Path) -> None:
    make(tmp_path / "kit")
    stranger = tmp_path / "kit/wheels/click-9.0.tar.gz"
    stranger.write_bytes(b"somebody's")
    told: list[str] = []

    make_kit(wish(), tmp_path / "kit", tmp_path / "kept", KitListener(notice=told.append), Hub(is_offline=True))
    assert told == ["wheels/click-9.0.tar.gz does not belong to this kit: remove it"]
    assert stranger.read_bytes() == b"somebody's"


@pytest.mark.usefixtures("index")
def test_a_model_that_cannot_be_read_is_not_called_one_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model(tmp_path / "models/QwQ-32B-Q8_0.gguf")

    def fail(path: Path, *_: object) -> str:
        raise ReadingError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(model_files, "_link", lambda *_: "")
    monkeypatch.setattr(model_files, "copy", fail)
    with pytest.raises(InstallationError, match=rf"{model.name} cannot be read: Input/output error"):
        make(tmp_path / "kit", wish(quants=("Q8_0",)))
