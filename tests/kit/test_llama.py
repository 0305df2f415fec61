"""llama.cpp for a kit: compiled for any machine of a kind, kept for the next kit, or taken from the index of its builds."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from packaging.version import Version

import qwq_local
from qwq_local.errors import InstallationError
from qwq_local.kit import llama_wheel, own_wheel, pip_runs
from qwq_local.kit.installer.machine import this_platform
from qwq_local.kit.platforms import PLATFORMS, find_platform
from tests.kit.shelf import write_wheel

VERSION = Version("0.3.36")
linux_here = pytest.mark.skipif(this_platform() != "linux-x86_64", reason="names the flags of an x86 processor")


class Builds:
    """In place of pip: what was built, and with which variables."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.said: list[tuple[str, str, bool]] = []
        patch.setattr(pip_runs, "build", self.build)

    def build(self, requirement: str, folder: Path, *, variables: Mapping[str, str] | None = None, is_cached: bool = True) -> None:
        self.said.append((requirement, (variables or {}).get("CMAKE_ARGS", ""), is_cached))
        write_wheel(folder, "llama-cpp-python", "0.3.36", "py3-none-linux_x86_64")


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Builds:
    return Builds(monkeypatch)


@linux_here
def test_it_is_compiled_for_any_processor_of_the_last_ten_years_and_past_pips_cache(tmp_path: Path, builds: Builds) -> None:
    llama_wheel.compile_wheel(VERSION, "cpu", tmp_path, tmp_path / "kept", is_native=False)
    [(requirement, flags, is_cached)] = builds.said
    assert requirement == "llama-cpp-python==0.3.36"
    assert not is_cached
    for flag in ("-DGGML_NATIVE=OFF", "-DGGML_AVX2=ON", "-DGGML_FMA=ON", "-DGGML_OPENMP=OFF"):
        assert flag in flags
    assert list(tmp_path.glob("*.whl"))


def test_what_was_compiled_once_is_kept_for_the_next_kit_each_kind_apart(tmp_path: Path, builds: Builds) -> None:
    (tmp_path / "second").mkdir()
    for folder, is_native in ((tmp_path, False), (tmp_path / "second", False), (tmp_path, True)):
        llama_wheel.compile_wheel(VERSION, "cpu", folder, tmp_path / "kept", is_native=is_native)
    assert ["-DGGML_NATIVE=ON" in flags for _, flags, _ in builds.said] == [False, True]
    assert list((tmp_path / "second").glob("*.whl"))


@pytest.mark.usefixtures("builds")
def test_a_kept_wheel_that_was_cut_short_is_compiled_again(tmp_path: Path, builds: Builds) -> None:
    first = llama_wheel.compile_wheel(VERSION, "cpu", tmp_path, tmp_path / "kept", is_native=False)
    [kept] = (tmp_path / "kept").rglob("*.whl")
    kept.write_bytes(kept.read_bytes()[:-40])
    first.path.unlink()
    llama_wheel.compile_wheel(VERSION, "cpu", tmp_path, tmp_path / "kept", is_native=False)
    assert len(builds.said) == 2


def test_another_machines_build_is_asked_of_the_index_and_its_lack_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def unreachable(*arguments: object) -> None:
        asked.append(arguments)
        raise InstallationError("pip cannot reach its index: Name or service not known", hint="…")

    monkeypatch.setattr(pip_runs, "download", unreachable)
    windows = find_platform("windows-x86_64")
    with pytest.raises(
        InstallationError, match=r"The wheel of llama-cpp-python 0\.3\.36 \(cu124\) for windows-x86_64 is lacking"
    ) as caught:
        llama_wheel.fetch_wheel(VERSION, "cu124", windows, "3.12", tmp_path)
    assert "pip cannot reach its index" in str(caught.value)
    assert "take another build: cpu, cu118" in caught.value.hint
    assert any("/cu124" in str(word) for word in asked[0][4])  # type: ignore[attr-defined]


def test_without_a_compiler_the_index_is_asked_and_the_lack_of_both_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = next((platform for platform in PLATFORMS if platform.name == this_platform()), None)
    if here is None or here.os_name == "nt":
        pytest.skip("there are no kits for this kind of machine, or its compiler is not looked for")
    assert llama_wheel.compiles_here(here, here.default_build) == bool(
        shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    )
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not llama_wheel.compiles_here(here, here.default_build)

    def unreachable(*_: object) -> None:
        raise InstallationError("pip cannot reach its index.", hint="…")

    monkeypatch.setattr(pip_runs, "download", unreachable)
    with pytest.raises(InstallationError, match=r"There is no C\+\+ compiler here to make it with") as caught:
        llama_wheel.fetch_wheel(VERSION, here.default_build, here, "3.12", tmp_path)
    assert "with a C++ compiler" in caught.value.hint
    assert ("apt install g++" in caught.value.hint) == (here.system == "Linux")


def test_no_machine_compiles_for_another_kind() -> None:
    for platform in PLATFORMS:
        if platform.name != this_platform():
            assert not llama_wheel.compiles_here(platform, platform.default_build)
        assert not llama_wheel.compiles_here(platform, "cu124")


# This program


def test_a_program_that_runs_from_its_source_is_built_from_it(tmp_path: Path, builds: Builds) -> None:
    if not (Path(qwq_local.__file__).resolve().parents[1] / "pyproject.toml").is_file():
        pytest.skip("it does not run from its source")
    assert own_wheel.make_own_wheel(tmp_path).exists()
    assert (Path(builds.said[0][0]) / "pyproject.toml").is_file()


def test_a_program_that_is_neither_installed_nor_source_makes_no_kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(qwq_local, "__file__", str(tmp_path / "site/qwq_local/__init__.py"))
    monkeypatch.setattr(own_wheel, "distribution", lost)
    with pytest.raises(InstallationError, match="is not an installed package"):
        own_wheel.make_own_wheel(tmp_path)
