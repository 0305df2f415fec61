"""What a kit says of itself, what it needs for another machine, and what starts it."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import resources
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.version import Version

from qwq_local.errors import InstallationError, SettingsError
from qwq_local.kit import own_wheel, starters_text
from qwq_local.kit.installer.files import flaws
from qwq_local.kit.installer.manifest import MANIFEST, SUMS, read_manifest
from qwq_local.kit.installer.trouble import InstallError
from qwq_local.kit.platforms import PLATFORMS, PYTHONS, find_platform
from qwq_local.kit.requirements import needs, pinned
from qwq_local.kit.wheels import glibc_of, macos_of, preferred, read_wheel, read_wheels
from tests.kit.shelf import LINUX, REQUIRES, flip, wish, write_kit, write_wheel

FILES = {"wheels/a-1-py3-none-any.whl": b"a wheel", "models/m.gguf": bytes(range(256)) * 40, "install.py": b"pass\n"}


# The manifest


def test_a_kit_reads_what_it_wrote(tmp_path: Path) -> None:
    manifest = write_kit(tmp_path, FILES, ["m.gguf"])
    assert read_manifest(tmp_path) == manifest
    assert list(flaws(tmp_path, manifest, manifest.files)) == []


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="there is no sha256sum here")
def test_the_checksums_are_those_that_sha256sum_checks(tmp_path: Path) -> None:
    write_kit(tmp_path, FILES)
    command = ["sha256sum", "--check", "--strict", SUMS]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    flip(tmp_path / "models/m.gguf")
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (told.returncode, "models/m.gguf: FAILED" in told.stdout) == (1, True)


@pytest.mark.parametrize("name", [*FILES, MANIFEST, SUMS])
def test_one_wrong_bit_in_any_file_is_found_and_the_file_named(tmp_path: Path, name: str) -> None:
    write_kit(tmp_path, FILES)
    flip(tmp_path / name)
    try:
        manifest = read_manifest(tmp_path)
        named = [flaw.path for flaw in flaws(tmp_path, manifest, manifest.files)]
    except InstallError as error:
        named = [str(error)]
    assert any(name in each or (name == MANIFEST and each == SUMS) for each in named), named


STRANGE = ("wheels/a-9.tar.gz", "wheels/a.html", "wheels/evil-9-py3-none-any.whl")


def test_what_is_missing_cut_short_or_strange_is_told_apart(tmp_path: Path) -> None:
    manifest = write_kit(tmp_path, FILES)
    (tmp_path / "install.py").unlink()
    (tmp_path / "models/m.gguf").write_bytes(b"short")
    (tmp_path / "wheels/evil-9-py3-none-any.whl").write_bytes(b"")
    (tmp_path / "wheels/._a-1-py3-none-any.whl").write_bytes(b"what a Mac leaves on a stick")
    (tmp_path / "wheels/Thumbs.db").write_bytes(b"what Windows leaves there")
    for name in ("a-9.tar.gz", "a.html"):
        (tmp_path / "wheels" / name).write_bytes(b"")
    found = {flaw.path: flaw.what for flaw in flaws(tmp_path, manifest, manifest.files)}
    assert found == {"install.py": "missing", "models/m.gguf": "damaged", **dict.fromkeys(STRANGE, "strange")}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "files": [{"path": "../../etc/passwd"}], "models": []}'])
def test_a_manifest_that_cannot_be_understood_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(InstallError, match=r"The kit is damaged: .*kit\.json"):
        read_manifest(tmp_path)


def test_a_file_outside_the_kit_is_never_read(tmp_path: Path) -> None:
    write_kit(tmp_path / "kit", {"a": b"a"})
    text = (tmp_path / "kit" / MANIFEST).read_text()
    (tmp_path / "kit" / MANIFEST).write_text(text.replace('"path": "a"', '"path": "../secret"'))
    with pytest.raises(InstallError, match="damaged"):
        read_manifest(tmp_path / "kit")


def test_a_kit_of_a_later_format_says_so(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"format": 2}')
    with pytest.raises(InstallError, match="is of format 2, and this program reads 1"):
        read_manifest(tmp_path)


# Platforms and requirements


def names_of(platform: str, python: str = "3.12", root: str = "qwq-local") -> set[str]:
    return set(needs([root], find_platform(platform).environments(python), REQUIRES.get))


def test_markers_are_those_of_the_machine_that_the_kit_is_for() -> None:
    common = {"qwq-local", "llama-cpp-python", "click", "numpy"}
    assert names_of("linux-x86_64") == names_of("macos-arm64") == common | {"uvloop"}
    assert names_of("windows-x86_64") == common | {"colorama"}
    assert names_of("linux-aarch64", root="qwq-local[mcp]") == common | {"uvloop", "mcp"}


def test_what_only_some_patches_of_a_python_need_is_taken_along() -> None:
    requires = {"a": ["old; python_full_version < '3.11.3'", "new; python_full_version >= '3.11.3'", "other; python_version < '3.11'"]}
    assert set(needs(["a"], LINUX.environments("3.11"), requires.get)) == {"a", "old", "new"}


def test_an_extra_that_is_wanted_later_is_followed_too() -> None:
    requires = {"a": ["b", "c"], "b": ["deep; extra == 'x'"], "c": ["b[x]>=2"]}
    found = needs(["a"], LINUX.environments("3.12"), requires.get)
    assert set(found) == {"a", "b", "c", "deep"}
    assert str(found["b"].specifier) == ">=2"  # type: ignore[index]


def test_the_version_that_runs_here_is_the_one_that_is_brought() -> None:
    [need] = needs(["numpy>=1.20"], LINUX.environments("3.12"), REQUIRES.get).values()
    assert pinned("numpy", need, Version("2.4.6")) == "numpy==2.4.6"
    assert pinned("numpy", need, None) == "numpy>=1.20"
    assert pinned("numpy", need, Version("1.0")) == "numpy>=1.20"


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
@pytest.mark.parametrize("python", PYTHONS)
def test_wheels_of_this_machine_and_of_no_other_run_on_a_platform(tmp_path: Path, platform: object, python: str) -> None:
    tags = {"linux-x86_64": "manylinux_2_28_x86_64", "linux-aarch64": "manylinux2014_aarch64", "macos-arm64": "macosx_11_0_arm64"}
    digits = python.replace(".", "")
    for name, tag in (tags | {"windows-x86_64": "win_amd64"}).items():
        for abi in (f"cp{digits}-cp{digits}", "cp38-abi3", "py3-none"):
            wheel = read_wheel(write_wheel(tmp_path, "a", "1", f"{abi}-{tag}"))
            assert wheel is not None
            assert wheel.runs_on(frozenset(platform.tags(python))) == (name == platform.name)  # type: ignore[attr-defined]
    other = read_wheel(write_wheel(tmp_path, "a", "1", "cp310-cp310-manylinux_2_28_x86_64"))
    assert other is not None
    assert not other.runs_on(frozenset(LINUX.tags(python)))


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"pythons": ("3.9",)}, "There is no Python '3.9' for kits."),
        ({"extras": ("all",)}, "There is no extra 'all' for kits."),
        ({"build": "metal"}, "There is no build for linux-x86_64 'metal' for kits."),
        ({"build": "cu121", "platform": find_platform("windows-x86_64")}, "'cu121'"),
        ({"build": "cu124", "platform": find_platform("linux-aarch64")}, "'cu124'"),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(chosen: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        wish(**chosen)
    assert "There are: " in caught.value.hint


def test_an_unknown_platform_gets_a_suggestion() -> None:
    with pytest.raises(SettingsError, match="There are no kits for 'windows'") as caught:
        find_platform("windows")
    assert "Did you mean windows-x86_64?" in caught.value.hint or "windows-x86_64" in caught.value.hint


# Wheels


def test_a_damaged_wheel_is_deleted_so_that_it_is_brought_anew(tmp_path: Path) -> None:
    whole = write_wheel(tmp_path, "whole", "1", files={"module.py": b"x" * 4000})
    cut = write_wheel(tmp_path, "cut", "1", files={"module.py": b"x" * 4000})
    flipped = write_wheel(tmp_path, "flipped", "1", files={"module.py": b"x" * 4000})
    cut.write_bytes(cut.read_bytes()[:-30])
    flip(flipped)
    assert [wheel.name for wheel in read_wheels(tmp_path)] == ["whole"]
    assert list(tmp_path.iterdir()) == [whole]


def test_the_glibc_that_a_kit_needs_is_the_newest_of_its_wheels(tmp_path: Path) -> None:
    write_wheel(tmp_path, "pure", "1")
    assert glibc_of(read_wheels(tmp_path)) == ""
    write_wheel(tmp_path, "both", "1", "cp312-cp312-manylinux_2_28_x86_64.manylinux_2_17_x86_64")
    assert glibc_of(read_wheels(tmp_path)) == "2.17"
    write_wheel(tmp_path, "legacy", "1", "cp312-cp312-manylinux2014_x86_64")
    libraries = {"lib/liba.so.0": b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.4\0", "a.py": b"GLIBC_2.99"}
    write_wheel(tmp_path, "compiled", "1", "py3-none-linux_x86_64", files=libraries)
    assert glibc_of(read_wheels(tmp_path)) == "2.34"


def test_the_macos_that_a_kit_needs_is_the_newest_of_its_wheels(tmp_path: Path) -> None:
    write_wheel(tmp_path, "a", "1", "cp312-cp312-macosx_10_13_universal2")
    write_wheel(tmp_path, "b", "1", "cp312-abi3-macosx_12_0_arm64")
    assert macos_of(read_wheels(tmp_path)) == "12.0"


def test_of_several_wheels_the_one_that_pip_takes_counts(tmp_path: Path) -> None:
    for version, tag in (("1", "py3-none-any"), ("2", "py3-none-any"), ("2", "cp312-cp312-manylinux_2_17_x86_64")):
        write_wheel(tmp_path, "a", version, tag)
    assert preferred(read_wheels(tmp_path), LINUX, "3.12").path.name == "a-2-cp312-cp312-manylinux_2_17_x86_64.whl"


def test_an_installed_package_is_packed_into_the_wheel_that_it_came_from(tmp_path: Path) -> None:
    path = own_wheel.repack(distribution("click"), tmp_path)
    code = "import sys; sys.path[:0] = [sys.argv[1]]; import click; print(click.__file__, click.style('x', fg='red') != 'x')"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{path / 'click' / '__init__.py'} True\n"
    wheel = read_wheel(path)
    assert wheel is not None
    assert (wheel.name, str(wheel.version)) == ("click", distribution("click").version)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        record = archive.read(f"click-{wheel.version}.dist-info/RECORD").decode()
    assert not [name for name in names if name.endswith((".pyc", "INSTALLER", "direct_url.json"))]
    assert {line.split(",")[0] for line in record.splitlines()} == set(names)
    first = path.read_bytes()
    assert own_wheel.repack(distribution("click"), tmp_path).read_bytes() == first


def test_an_installed_package_that_was_changed_is_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(own_wheel.repack(distribution("click"), tmp_path)) as archive:
        archive.extractall(tmp_path / "site")
    flip(tmp_path / "site/click/core.py")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(InstallationError, match=r"click is damaged: click/core\.py"):
        own_wheel.repack(distribution("click"), tmp_path)


def test_what_was_installed_beside_the_packages_is_packed_too_and_scripts_are_not(tmp_path: Path) -> None:
    site = tmp_path / "env/lib/python3.11/site-packages"
    files = {"../../../share/man/man1/q.1": b".TH", "../../../bin/q": b"#!", "q.py": b"", "__pycache__/q.cpython-311.pyc": b""}
    for name, content in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).resolve().write_bytes(content)
    info = site / "q-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: q\nVersion: 1\n")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nTag: py2-none-any\nTag: py3-none-any\n")
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in [*files, "q-1.dist-info/METADATA", "q-1.dist-info/WHEEL"]))
    path = own_wheel.repack(Distribution.at(info), tmp_path)
    assert path.name == "q-1-py2.py3-none-any.whl"
    with zipfile.ZipFile(path) as archive:
        assert {name for name in archive.namelist() if "dist-info" not in name} == {"q.py", "q-1.data/data/share/man/man1/q.1"}


# What starts the installer


def start(kit: Path, *arguments: str, path: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": path}
    return subprocess.run(["/bin/sh", str(kit / "install"), *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """A kit for this Python, whose installer says which Python it runs under."""
    folder = tmp_path / "kit"
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    texts = starters_text.render(resources.files("qwq_local.kit") / "starters", [here])
    said = b"import sys\ndef main(kit, arguments):\n    print(sys.executable, kit, arguments)\n    return 7\n"
    write_kit(
        folder,
        {"installer/__init__.py": b"", "installer/run.py": said, **{name: text.encode() for name, text in texts.items()}},
        pythons=(here,),
    )
    return folder


def tools(tmp_path: Path, **pythons: str) -> str:
    """A PATH with what a shell needs and these Pythons, each a line of shell."""
    folder = tmp_path / "bin"
    folder.mkdir(parents=True)
    for name in ("dirname", "sh", "pwd"):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    for name, line in pythons.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    return str(folder)


posix = pytest.mark.skipif(os.name != "posix", reason="there is no sh")


@posix
def test_the_installer_is_run_by_a_python_that_the_kit_is_for(tmp_path: Path, kit: Path) -> None:
    path = tools(tmp_path, python3="exit 1", python=f'exec {sys.executable} "$@"')
    done = start(kit, "--to", "a b", path=path)
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout.endswith(f"{kit} ['--to', 'a b']\n")


@posix
def test_the_python_that_is_named_is_the_one_that_is_run(tmp_path: Path, kit: Path) -> None:
    path = tools(tmp_path)
    for arguments in (["--python", sys.executable, "--no-model"], [f"--python={sys.executable}", "--no-model"]):
        done = start(kit, *arguments, path=path)
        assert done.stdout == f"{sys.executable} {kit} ['--no-model']\n"
    for arguments in (["--python"], ["--python="], ["--python", ""]):
        done = start(kit, *arguments, path=path)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", "error: --python names no FILE.\n")
    assert "error: nowhere/python cannot be run." in start(kit, "--python", "nowhere/python", path=path).stderr


@posix
def test_a_python_that_the_kit_is_not_for_is_told_which_is_needed(tmp_path: Path, kit: Path) -> None:
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    (kit / MANIFEST).write_text((kit / MANIFEST).read_text().replace(f'"{here}"', '"3.98",\n  "3.99"'))
    done = start(kit, path=tools(tmp_path, python3=f'exec {sys.executable} "$@"'))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: This kit needs Python 3.98 or 3.99; {sys.executable} is {here}.\nhint: ")


@posix
def test_where_no_python_is_the_needed_one_is_named(tmp_path: Path, kit: Path) -> None:
    done = start(kit, path=tools(tmp_path))
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: This kit needs Python {here}; there is no Python here." in done.stderr


@posix
def test_a_kit_that_is_not_finished_cannot_be_installed(tmp_path: Path, kit: Path) -> None:
    (kit / MANIFEST).rename(kit / "kit.json.part")
    done = start(kit, path=tools(tmp_path, python3=f'exec {sys.executable} "$@"'))
    assert (done.returncode, "is no finished kit" in done.stderr) == (1, True)


@posix
@pytest.mark.parametrize("isolated", [["-I"], []])
def test_no_file_of_the_kits_folder_is_run_but_those_whose_hash_is_known(tmp_path: Path, isolated: list[str]) -> None:
    kit, here = tmp_path / "kit", f"{sys.version_info[0]}.{sys.version_info[1]}"
    texts = starters_text.render(resources.files("qwq_local.kit") / "starters", [here])
    said = b"import argparse, shlex\nfrom . import words\ndef main(*_):\n    print(words.SAID, __name__)\n    return 0\n"
    sources = {"installer/__init__.py": b"", "installer/run.py": said, "installer/words.py": b"SAID = 'ours'\n"}
    write_kit(kit, {**sources, "install.py": texts["install.py"].encode()}, pythons=(here,))
    strays = ("argparse.py", "shlex.py", "hashlib.py", "json.py", "installer.py", "installer/words/__init__.py", "installer/argparse.py")
    for stray in strays:
        (kit / stray).parent.mkdir(exist_ok=True)
        (kit / stray).write_text("raise SystemExit('a stray file was run')\n")
    done = subprocess.run([sys.executable, *isolated, str(kit / "install.py")], capture_output=True, text=True, check=False, cwd=kit)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ours installer.run\n", "")


@posix
@pytest.mark.parametrize("name", ["installer/run.py", "kit.json"])
def test_an_installer_that_is_damaged_itself_says_so_in_plain_words(tmp_path: Path, kit: Path, name: str) -> None:
    (kit / name).write_text((kit / name).read_text().replace("def main", "def ma(n").replace('"pythons"', '"pyth\0ns"'))
    done = start(kit, "--python", sys.executable, path=tools(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: The kit is damaged: {name} ")
    assert "Traceback" not in done.stderr
    (kit / name).unlink()
    missing = start(kit, "--python", sys.executable, path=tools(tmp_path / "second"))
    assert (missing.returncode, "Traceback" in missing.stderr, name in missing.stderr) == (1, False, True)


def test_an_old_python_understands_the_file_that_tells_it_so() -> None:
    source = (resources.files("qwq_local.kit") / "starters" / "install.py").read_text("utf-8")
    ast.parse(source, feature_version=(3, 7))
    assert 'f"' not in source


def test_the_versions_that_are_tried_go_from_the_newest() -> None:
    texts = starters_text.render(resources.files("qwq_local.kit") / "starters", ["3.11", "3.9", "3.12"])
    assert "in python3.12 python3.11 python3.9 python3 python;" in texts["install"]
    assert "in (3.12 3.11 3.9)" in texts["install.cmd"]
    assert "\r\n" in texts["install.cmd"]
    assert "\n" not in texts["install.cmd"].replace("\r\n", "")
    assert not [name for name, text in texts.items() if "@PYTHONS@" in text or "@VERSIONS@" in text or "@CANDIDATES@" in text]
    assert starters_text.spoken(["3.11", "3.12", "3.13"]) == "3.11, 3.12 or 3.13"
