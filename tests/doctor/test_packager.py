"""What exchanges packages in an environment, and what compiles them, is found; or what helps where nothing does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qwq_local.doctor import packager
from qwq_local.doctor.condition import Packager
from qwq_local.doctor.packager import find_packager, missing_tools, rocm_version, system_packager
from qwq_local.installation import Installation, Kind


def installed(kind: Kind = "pip") -> Installation:
    return Installation(kind, ("/venv/bin/qwq",), Path("/venv"))


@pytest.fixture
def lone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment without pip, uv and compilers; programs can be put into the folder."""
    monkeypatch.setattr(packager, "find_spec", lambda name: name == "ensurepip")
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("UV", "CXX", "CUDACXX", "VULKAN_SDK"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)


def test_pip_comes_first_then_uv_then_what_brings_pip(lone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_packager(installed(), lone) == Packager(
        problem=f"There is no pip in {sys.prefix}.", remedy=f"{sys.executable} -m ensurepip --upgrade"
    )
    put(lone, "uv")
    assert find_packager(installed("uv"), lone).command == (str(lone / "uv"), "pip", "install", "--python", sys.executable)
    monkeypatch.setattr(packager, "find_spec", lambda name: name == "pip")
    assert find_packager(installed(), lone).command == (sys.executable, "-m", "pip", "install")


def test_where_nothing_brings_pip_another_environment_does(lone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packager, "find_spec", lambda _: None)
    assert find_packager(installed(), lone).remedy == "pipx install qwq-local"


@pytest.mark.parametrize(("kind", "called"), [("app", "This app is a whole"), ("deb", "This Debian package is a whole")])
def test_a_whole_is_not_taken_apart(kind: Kind, called: str, tmp_path: Path) -> None:
    found = find_packager(installed(kind), tmp_path)
    assert found.problem.startswith(called)
    assert found.remedy == "pipx install qwq-local"


def test_a_python_of_the_systems_is_left_alone(lone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(lone))
    (lone / "EXTERNALLY-MANAGED").write_text("[externally-managed]\n")
    assert "PEP 668" not in find_packager(installed(), lone).problem  # this is an environment made from it
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert "PEP 668" in find_packager(installed(), lone).problem


def test_packages_that_may_not_be_written_are_told_before_anything_begins(lone: Path) -> None:
    found = find_packager(installed(), lone / "not there")
    assert found.problem == f"{lone / 'not there'} may not be written."
    assert found.remedy == "sudo /venv/bin/qwq doctor --fix"


def test_compilers_are_found_by_their_programs(lone: Path) -> None:
    assert "c++" in missing_tools()
    put(lone, "g++", "glslc", "dnf")
    assert not {"c++", "glslc"} & missing_tools()
    assert system_packager() == "dnf"


@pytest.mark.parametrize(("text", "version"), [("7.2.0-43\n", (7, 2)), ("7.10.1", (7, 10)), ("", None), ("x", None)])
def test_rocm_is_told_by_its_own_file(tmp_path: Path, text: str, version: tuple[int, int] | None) -> None:
    assert rocm_version(tmp_path / "version") is None
    (tmp_path / "version").write_text(text)
    assert rocm_version(tmp_path / "version") == version
