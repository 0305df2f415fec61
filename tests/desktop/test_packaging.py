"""What the app is packed with, as far as it can be read without building it."""

from __future__ import annotations

import plistlib
import re
import runpy
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwq_local.desktop.browsers import WINDOW_CLASS

APP = Path(__file__).parents[2] / "packaging/app"


def script(name: str) -> dict[str, Any]:
    return runpy.run_path(str(APP / name))


def test_the_menus_entry_is_valid() -> None:
    validate = shutil.which("desktop-file-validate")
    if not validate:
        pytest.skip("desktop-file-validate is not installed")
    told = subprocess.run([validate, APP / "qwq-local.desktop"], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, "")


def test_the_menus_entry_knows_the_window_by_its_class() -> None:
    assert f"StartupWMClass={WINDOW_CLASS}\n" in (APP / "qwq-local.desktop").read_text()


def test_the_icons_are_the_drawing() -> None:
    image = pytest.importorskip("PIL.Image")
    icons = script("icons.py")
    assert (APP / "icons/qwq.svg").read_text() == icons["as_svg"]()
    assert ET.parse(APP / "icons/qwq.svg").getroot().get("viewBox") == "0 0 32 32"  # noqa: S314 - ours
    for size in icons["PNG_SIZES"]:
        with image.open(APP / f"icons/qwq-{size}.png") as picture:
            assert picture.size == (size, size)
    with image.open(APP / "icons/qwq.ico") as picture:
        assert {(16, 16), (32, 32), (256, 256)} <= picture.info["sizes"]
    with image.open(APP / "icons/qwq.icns") as picture:
        assert {width * scale for width, _, scale in picture.info["sizes"]} == set(icons["MAC_SIZES"].values())


def test_the_installer_for_windows_names_files_that_are_here() -> None:
    text = (APP / "windows.iss").read_text()
    for path in re.findall(r"^(?:SetupIconFile|LicenseFile)=(.+)$", text, re.MULTILINE):
        assert (APP / path.replace("\\", "/")).resolve().is_file(), path
    sections = re.findall(r"^\[(\w+)\]$", text, re.MULTILINE)
    assert sections == ["Setup", "Tasks", "Files", "Icons", "Registry", "Run", "Code"]
    assert text.count("begin\n") == len(re.findall(r"^\s*end;$", text, re.MULTILINE))


def test_the_entitlements_for_macos_are_a_property_list() -> None:
    assert set(plistlib.loads((APP / "macos.entitlements").read_bytes()).values()) == {True}


def test_the_recipes_name_files_that_are_here() -> None:
    named = re.findall(r"`([\w./-]+\.(?:py|spec|desktop|iss))`", (APP / "README.md").read_text())
    assert len(named) >= 6
    assert [name for name in named if not (APP / name).exists()] == []


@pytest.mark.skipif(sys.platform == "win32", reason="links are Linux's here")
def test_libraries_that_are_there_twice_become_links_and_vendored_ones_are_not_stripped(tmp_path: Path) -> None:
    for name, content in {
        "lib/libx.so": "x",
        "lib/libx.so.0": "x",
        "lib/liby.so": "y",
        "lib/liby.so.1": "z",
        "n.libs/libo.so": "o",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    build = script("build.py")
    build["link_twins"](tmp_path)
    assert (tmp_path / "lib/libx.so").readlink() == Path("libx.so.0")
    assert not (tmp_path / "lib/liby.so").is_symlink()
    assert [path.name for path in build["strippable"](tmp_path)] == ["libx.so.0", "liby.so", "liby.so.1"]


def test_a_python_without_a_shared_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    require: Callable[[], None] = script("build.py")["require_shared_python"]
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("sysconfig.get_config_var", lambda _: 0)
    with pytest.raises(SystemExit, match="has no shared library to pack"):
        require()
