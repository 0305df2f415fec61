"""A kit made: what is brought for which machine, what a second run keeps, and what is refused before anything is done."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from qwq_local.cli import kits
from qwq_local.errors import InstallationError, ModelFileError, ModelNotFoundError, WheelLackingError
from qwq_local.installation import KIT_MARK, Installation
from qwq_local.kit import earlier, gather, pip_runs
from qwq_local.kit.check import check_kit
from qwq_local.kit.gather import UNFINISHED, make_kit
from qwq_local.kit.installer.machine import this_platform
from qwq_local.kit.installer.manifest import MANIFEST, Manifest, read_manifest
from qwq_local.kit.platforms import PLATFORMS, Platform, find_platform
from qwq_local.kit.wish import KitListener, KitWish
from qwq_local.models.hub import Hub
from qwq_local.models.record import Record, read_record, write_record
from tests.hub_server import HubServer, serve, sha256
from tests.kit.shelf import Index, flip, wish, write_kit, write_wheel
from tests.programs import Qwq, assert_told
from tests.shelves import write_model


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWQ_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("QWQ_DATA", str(tmp_path / "data"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of this machine that `qwq list` calls QwQ-32B:Q8_0, as `qwq pull` would have brought it."""
    path = write_model(tmp_path / "models/QwQ-32B-Q8_0.gguf")
    content = path.read_bytes()
    write_record(path, Record("Qwen/QwQ-32B-GGUF", "0123456789", "qwq-32b-q8_0.gguf", len(content), sha256(content)))
    return path


def make(folder: Path, chosen: KitWish | None = None, hub: Hub | None = None) -> Manifest:
    return make_kit(chosen or wish(), folder, folder.parent / "kept", KitListener(), hub or Hub(is_offline=True))


def wheels(folder: Path) -> set[str]:
    return {path.name.split("-")[0] for path in (folder / "wheels").glob("*.whl")}


# Wheels


def test_a_kit_holds_the_versions_that_run_here_and_what_the_other_machine_needs_besides(tmp_path: Path, index: Index) -> None:
    common = {"qwq_local", "llama_cpp_python", "numpy", "click", "pip"}
    index.wheels["numpy"].insert(0, ("9.9.9", "py3-none-any", ()))
    for platform in PLATFORMS:
        folder = tmp_path / platform.name
        manifest = make(folder, wish(platform=platform, pythons=("3.11", "3.13")))
        assert wheels(folder) == common | ({"colorama"} if "windows" in platform.name else {"uvloop"})
        numpy = sorted(file.path for file in manifest.files if "numpy" in file.path)
        assert len(numpy) == 2
        assert all("2.4.6" in path for path in numpy)
        assert check_kit(folder).flaws == ()
        assert (manifest.build, manifest.platform) == (platform.default_build, platform.name)


def test_extras_are_taken_along(tmp_path: Path, index: Index) -> None:
    assert make(tmp_path / "kit", wish(extras=("mcp",))).requirement == "qwq-local[mcp]==0.1.0"
    assert "mcp" in wheels(tmp_path / "kit")
    assert "mcp" in [line.partition(">")[0] for line in index.asked]


def test_every_wheel_that_lacks_is_named_at_once(tmp_path: Path, index: Index) -> None:
    index.wheels["numpy"], index.wheels["uvloop"] = [], []
    with pytest.raises(InstallationError, match=r"no wheels for linux-x86_64 and Python 3\.12 of numpy==2\.4\.6, uvloop>=0\.2\."):
        make(tmp_path / "kit")
    assert not (tmp_path / "kit" / MANIFEST).exists()
    assert "click" in wheels(tmp_path / "kit")  # what there is was brought, and stays for the next try


def test_what_has_no_wheel_and_no_compiled_part_is_made_into_one(tmp_path: Path, index: Index) -> None:
    index.wheels["click"], index.sources["click"] = [], "py3-none-any"
    make(tmp_path / "kit")
    assert "click" in wheels(tmp_path / "kit")
    index.sources["click"] = "cp310-cp310-linux_x86_64"
    with pytest.raises(InstallationError, match=r"of click==8\.5\.1"):
        make(tmp_path / "other")


def test_versions_that_cannot_go_together_are_named(tmp_path: Path, index: Index) -> None:
    index.wheels["uvloop"] = [("0.23.0", "py3-none-any", ("click<8",))]
    with pytest.raises(InstallationError, match=r"of click|contradicts each other: click"):
        make(tmp_path / "kit")


def test_a_second_run_brings_nothing_anew(tmp_path: Path, index: Index) -> None:
    first = make(tmp_path / "kit")
    index.asked.clear()
    assert make(tmp_path / "kit") == first
    assert index.asked == []


def test_a_kit_that_was_cut_off_goes_on_and_is_a_kit_only_at_the_end(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*arguments: object) -> None:
        index.download(["click==8.5.1"], *arguments[1:])  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(pip_runs, "download", cut_off)
    folder = tmp_path / "kit"
    with pytest.raises(KeyboardInterrupt):
        make(folder)
    assert not (folder / MANIFEST).exists()
    assert (folder / UNFINISHED).exists()
    with pytest.raises(InstallationError, match=r"is no finished kit: it has no kit\.json"):
        check_kit(folder)
    monkeypatch.setattr(pip_runs, "download", index.download)
    manifest = make(folder)
    assert check_kit(folder).flaws == ()
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        *(file.path for file in manifest.files),
        MANIFEST,
        "SHA256SUMS",
    }


def test_a_damaged_kit_is_mended_by_the_same_command(tmp_path: Path, index: Index, model: Path) -> None:
    folder = tmp_path / "kit"
    chosen = wish(models=("QwQ-32B:Q8_0",))
    before = make(folder, chosen)
    [numpy] = (folder / "wheels").glob("numpy*")
    for path in (numpy, folder / "install", folder / "installer/run.py"):
        flip(path)
    (folder / "models" / model.name).unlink()
    (folder / "wheels/strange-1-py3-none-any.whl").write_bytes(b"")
    found = {flaw.path: flaw.what for flaw in check_kit(folder).flaws}
    assert found == {
        f"wheels/{numpy.name}": "damaged",
        "install": "damaged",
        "installer/run.py": "damaged",
        f"models/{model.name}": "missing",
        "wheels/strange-1-py3-none-any.whl": "strange",
    }
    assert check_kit(folder).mending == (f"qwq kit make {folder} --model QwQ-32B:Q8_0 --platform linux-x86_64 --python 3.12 --build cpu")
    index.asked.clear()
    assert make(folder, chosen).version == before.version
    assert index.asked == ["numpy==2.4.6"]
    assert check_kit(folder).flaws == ()


def test_a_kit_made_for_another_machine_has_none_of_the_wheels_before(tmp_path: Path, index: Index) -> None:
    make(tmp_path / "kit")
    make(tmp_path / "kit", wish(platform=find_platform("windows-x86_64"), build="cu124"))
    names = [path.name for path in (tmp_path / "kit/wheels").iterdir()]
    assert not [name for name in names if "linux" in name]
    assert "llama-cpp-python==0.3.36 (cu124)" in index.asked


def test_another_build_is_never_mistaken_for_the_one_before(tmp_path: Path, index: Index) -> None:
    make(tmp_path / "kit")
    make(tmp_path / "kit", wish(build="cu124"))
    assert [line for line in index.asked if "llama" in line] == ["llama-cpp-python==0.3.36 (cpu)", "llama-cpp-python==0.3.36 (cu124)"]


@pytest.mark.usefixtures("index")
def test_only_what_is_compiled_for_this_processor_asks_for_all_that_it_can(tmp_path: Path) -> None:
    if this_platform() != "linux-x86_64":
        pytest.skip("what is compiled here is for another kind of machine")
    assert make(tmp_path / "portable").cpu_flags == ("avx2", "bmi2", "f16c", "fma")
    assert set(make(tmp_path / "native", wish(is_native=True)).cpu_flags) >= {"avx2", "fma"}
    assert make(tmp_path / "other", wish(platform=find_platform("windows-x86_64"))).cpu_flags == ()


def test_a_program_that_came_from_a_kit_makes_kits_of_its_wheels(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "kit")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / KIT_MARK).write_text(json.dumps({"kit": str(tmp_path / "kit")}))
    monkeypatch.setattr(earlier, "find_installation", lambda: Installation("kit", ("qwq",), tmp_path / "app"))
    index.asked.clear()
    make(tmp_path / "second")
    assert [line for line in index.asked if not line.startswith("uvloop")] == []
    assert read_manifest(tmp_path / "second").cpu_flags == read_manifest(tmp_path / "kit").cpu_flags
    assert wheels(tmp_path / "second") == wheels(tmp_path / "kit")
    make(tmp_path / "third", wish(build="vulkan"))
    assert "llama-cpp-python==0.3.36 (vulkan)" in index.asked


# Models


@pytest.mark.usefixtures("index")
def test_a_model_of_this_machine_is_linked_with_its_record(tmp_path: Path, model: Path) -> None:
    manifest = make(tmp_path / "kit", wish(quants=("q8_0",)))
    copy = tmp_path / "kit/models" / model.name
    assert copy.samefile(model)
    assert read_record(copy) == read_record(model)
    assert [(each.name, each.files) for each in manifest.models] == [("QwQ-32B:Q8_0", (f"models/{model.name}",))]


@pytest.mark.usefixtures("index")
def test_on_another_disk_a_model_is_copied(
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def other_disk(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_disk)
    make(tmp_path / "kit", wish(models=(str(model),)))
    copy = tmp_path / "kit/models" / model.name
    assert not copy.samefile(model)
    assert copy.read_bytes() == model.read_bytes()


@pytest.mark.usefixtures("index")
def test_a_model_without_a_record_gets_one_that_verify_reads(tmp_path: Path) -> None:
    path = write_model(tmp_path / "mine/My-QwQ-Q8_0.gguf")
    manifest = make(tmp_path / "kit", wish(models=(str(path),)))
    record = read_record(tmp_path / "kit/models/My-QwQ-Q8_0.gguf")
    assert record is not None
    assert record.sha256 == sha256(path.read_bytes())
    assert [each.name for each in manifest.models] == ["My-QwQ:Q8_0"]


@pytest.mark.usefixtures("index")
def test_a_model_in_parts_goes_with_all_its_parts(tmp_path: Path) -> None:
    first = write_model(tmp_path / "models/QwQ-32B-Q6_K-00001-of-00002.gguf")
    shutil.copy(first, first.with_name("QwQ-32B-Q6_K-00002-of-00002.gguf"))
    manifest = make(tmp_path / "kit", wish(quants=("Q6_K",)))
    assert manifest.models[0].files == tuple(f"models/QwQ-32B-Q6_K-0000{n}-of-00002.gguf" for n in (1, 2))
    assert check_kit(tmp_path / "kit").flaws == ()


@pytest.mark.usefixtures("index")
def test_a_damaged_model_of_this_machine_is_named_and_not_taken(tmp_path: Path, model: Path) -> None:
    with model.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    with pytest.raises(ModelFileError, match=rf"{model} is damaged: its SHA-256 is"):
        make(tmp_path / "kit", wish(models=("QwQ-32B:Q8_0",)))
    assert not list((tmp_path / "kit/models").iterdir())
    assert model.exists()


def test_a_model_that_there_is_not_is_told_before_anything_is_done(tmp_path: Path, index: Index) -> None:
    with pytest.raises(ModelNotFoundError, match="'QwQ-32B:Q9' does not exist"):
        make(tmp_path / "kit", wish(models=("QwQ-32B:Q9",)))
    assert index.asked == []
    assert not (tmp_path / "kit").exists()


@pytest.mark.usefixtures("index")
def test_the_demo_is_in_the_program_and_no_file_of_its_own(tmp_path: Path) -> None:
    assert make(tmp_path / "kit", wish(models=("demo",))).models == ()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HubServer]:
    content = write_model(tmp_path / "origin.gguf").read_bytes()
    with serve({"Qwen/QwQ-32B-GGUF": {"qwq-32b-q4_k_m.gguf": content}}) as hub:
        yield hub


@pytest.mark.usefixtures("index")
def test_a_model_that_is_not_here_is_pulled_into_the_kit(
    tmp_path: Path,
    server: HubServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    manifest = make(tmp_path / "kit", wish(quants=("Q4_K_M",)), Hub(server.url))
    assert (tmp_path / "kit/models/QwQ-32B-Q4_K_M.gguf").read_bytes() == (tmp_path / "origin.gguf").read_bytes()
    assert [each.name for each in manifest.models] == ["QwQ-32B:Q4_K_M"]
    assert not (tmp_path / "models").exists()
    assert check_kit(tmp_path / "kit").flaws == ()


# What is refused


@pytest.mark.usefixtures("index")
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/a.txt").write_text("a")
    with pytest.raises(InstallationError, match="holds something else than a kit"):
        make(tmp_path / "letters")
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["a.txt"]
    with pytest.raises(InstallationError, match="is a file"):
        make(tmp_path / "letters/a.txt")


@pytest.mark.usefixtures("index")
def test_a_model_that_is_not_asked_for_any_more_is_not_deleted(tmp_path: Path, model: Path) -> None:
    make(tmp_path / "kit", wish(quants=("Q8_0",)))
    with pytest.raises(InstallationError, match=rf"models/{model.name} is in the kit, and is not asked for now"):
        make(tmp_path / "kit")
    assert read_manifest(tmp_path / "kit").models


@pytest.mark.usefixtures("model")
def test_too_little_room_is_told_before_anything_is_brought(
    tmp_path: Path,
    index: Index,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1_000_000))
    with pytest.raises(InstallationError, match=r"still needs about 0\.3 GB, and .*kit has 0\.0 GB free"):
        make(tmp_path / "kit", wish(quants=("Q8_0",)))
    assert index.asked == []


@pytest.mark.parametrize(("number", "hint"), [(errno.EFBIG, "FAT32"), (errno.ENOSPC, "Free some space"), (errno.EROFS, "Make it writable")])
@pytest.mark.usefixtures("index")
def test_a_disk_that_refuses_is_told_with_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    hint: str,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path / "kit/models/big.gguf"))

    monkeypatch.setattr(gather, "_write_installer", refuse)
    with pytest.raises(InstallationError, match=rf"big\.gguf cannot be written: {os.strerror(number)}") as caught:
        make(tmp_path / "kit")
    assert hint in caught.value.hint


# pip


@pytest.mark.parametrize(
    ("says", "told", "kind"),
    [
        ("ERROR: No matching distribution found for numpy==2.4.6", "There is no wheel of numpy", WheelLackingError),
        ("WARNING: x\nNewConnectionError: Failed to establish a new connection", "pip cannot reach its index", InstallationError),
        ("ERROR: Could not install: [Errno 28] No space left on device", "The disk is full", InstallationError),
        ("ERROR: CMAKE_CXX_COMPILER not set", "pip failed: ERROR: CMAKE_CXX_COMPILER not set", InstallationError),
    ],
)
def test_what_pip_says_is_told_in_our_words(monkeypatch: pytest.MonkeyPatch, says: str, told: str, kind: type[InstallationError]) -> None:
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", says))
    with pytest.raises(InstallationError, match=told) as caught:
        pip_runs.run_pip(["download", "x"])
    assert type(caught.value) is kind


def test_pip_is_asked_for_wheels_of_the_other_machine_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Sequence[str]] = []

    def run(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    windows: Platform = find_platform("windows-x86_64")
    pip_runs.download(["a==1", "b"], windows, "3.13", tmp_path)
    said = " ".join(asked[0])
    assert "--platform win_amd64 --python-version 3.13 --implementation cp --abi cp313" in said
    assert "--no-deps --only-binary=:all:" in said
    assert said.endswith("a==1 b")


def test_the_pip_that_python_brings_is_taken_where_none_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    whole = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else whole(name))
    if whole("ensurepip") is None:
        pytest.skip("this Python brings no pip")
    assert pip_runs.find_pip()[-1].endswith(f".whl{os.sep}pip")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InstallationError, match="has none"):
        pip_runs.find_pip()


# On the command line


@pytest.mark.usefixtures("index")
def test_make_and_check_as_they_are_typed(tmp_path: Path, model: Path, qwq: Qwq) -> None:
    kit = tmp_path / "kit"
    made = qwq("kit", "make", kit, "--quant", "Q8_0", "--platform", "linux-x86_64", "--python", "3.11, 3.12", "--json")
    assert made.code == 0, made.err
    told = json.loads(made.out)
    assert (told["models"], told["pythons"], told["platform"]) == (["QwQ-32B:Q8_0"], ["3.11", "3.12"], "linux-x86_64")
    checked = qwq("kit", "check", kit)
    assert (checked.code, checked.out.startswith("sound: ")) == (0, True)
    flip(kit / "models" / model.name)
    checked = qwq("kit", "check", kit)
    assert (checked.code, checked.out.split()[0]) == (1, f"models/{model.name}")
    assert f"qwq kit make {kit} --quant Q8_0" in checked.err
    [flaw] = json.loads(qwq("kit", "check", kit, "--json").out)["flaws"]
    assert (flaw["file"], flaw["problem"]) == (f"models/{model.name}", "damaged")


@pytest.mark.usefixtures("index")
def test_a_kit_without_a_model_says_so(tmp_path: Path, qwq: Qwq) -> None:
    made = qwq("kit", "make", tmp_path / "kit", "--platform", "linux-aarch64")
    assert (made.code, made.out) == (0, f"{tmp_path / 'kit'}\n")
    assert "no model but the demo's is in it" in made.err


def test_what_cannot_be_asked_for_is_wrong_usage(tmp_path: Path, qwq: Qwq) -> None:
    assert_told(qwq("kit", "make", tmp_path / "kit", "--platform", "linux-riscv"), 2, "'linux-riscv'")
    assert_told(qwq("kit", "make", tmp_path / "kit", "--python", "3.10"), 2, "'3.10'")
    assert_told(qwq("kit", "check", tmp_path), 1, "is no finished kit")


def test_an_app_makes_no_kits(tmp_path: Path, qwq: Qwq, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kits, "find_installation", lambda: Installation("deb", ("/usr/lib/qwq-local/qwq",), tmp_path))
    assert_told(qwq("kit", "make", tmp_path / "kit"), 1, "This qwq is the deb package")


def test_a_wheel_of_an_earlier_kit_that_is_gone_is_brought_from_the_index(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / KIT_MARK).write_text(json.dumps({"kit": str(tmp_path / "unplugged")}))
    monkeypatch.setattr(earlier, "find_installation", lambda: Installation("kit", ("qwq",), tmp_path / "app"))
    make(tmp_path / "kit")
    assert "numpy==2.4.6" in index.asked


def test_checking_reads_every_byte_once(tmp_path: Path) -> None:
    write_wheel(tmp_path / "kit/wheels", "a", "1")
    manifest = write_kit(tmp_path / "kit", {"models/m.gguf": bytes(9_000_000), "install": b"#!"})
    told: list[tuple[int, int]] = []
    check_kit(tmp_path / "kit", lambda done, total: told.append((done, total)))
    assert told[-1] == (manifest.total_bytes, manifest.total_bytes)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
