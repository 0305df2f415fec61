from __future__ import annotations

from pathlib import Path

import pytest

from qwq_local.desktop import browsers
from qwq_local.desktop.browsers import app_command, find_browser, profile_folder


def a_program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def no_flatpaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browsers, "FLATPAKS", ())


def on(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", system)


@pytest.mark.usefixtures("no_flatpaks")
def test_on_linux_the_first_known_browser_of_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on("linux", monkeypatch)
    monkeypatch.setattr(browsers, "PROGRAMS", ("chrome-here", "chromium-here"))
    chromium = a_program(tmp_path / "bin/chromium-here")
    assert find_browser({"PATH": str(tmp_path / "bin")}) == chromium
    chrome = a_program(tmp_path / "bin/chrome-here")
    assert find_browser({"PATH": str(tmp_path / "bin")}) == chrome
    assert find_browser({"PATH": str(tmp_path / "nothing")}) is None


def test_a_flatpak_is_found_and_keeps_its_profile_where_it_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on("linux", monkeypatch)
    monkeypatch.setattr(browsers, "PROGRAMS", ())
    packed = a_program(tmp_path / "flatpak/exports/bin/com.google.Chrome")
    assert find_browser({"XDG_DATA_HOME": str(tmp_path)}) == packed
    assert profile_folder(packed, tmp_path / "data", tmp_path) == tmp_path / ".var/app/com.google.Chrome/qwq-local"


@pytest.mark.parametrize(
    ("text", "is_snap"),
    [("#!/bin/sh\nexec /snap/bin/chromium\n", True), ("#!/bin/sh\nexec /usr/lib/chromium\n", False), ("\x7fELF", False)],
)
def test_ubuntus_chromium_keeps_its_profile_below_snap(tmp_path: Path, text: str, is_snap: bool) -> None:
    browser = a_program(tmp_path / "chromium-browser", text)
    expected = tmp_path / "snap/chromium/common/qwq-local" if is_snap else tmp_path / "data/browser"
    assert profile_folder(browser, tmp_path / "data", tmp_path) == expected


def test_on_macos_browsers_are_found_in_the_users_applications_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on("darwin", monkeypatch)
    monkeypatch.setattr(browsers, "MAC_APPS", ("Edge of a test",))
    program = a_program(tmp_path / "Applications/Edge of a test.app/Contents/MacOS/Edge of a test")
    assert find_browser({"HOME": str(tmp_path)}) == program


def test_on_windows_browsers_are_found_where_they_registered_and_in_the_folders_of_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsers, "_registered", lambda name: str(tmp_path / "elsewhere/brave.exe") if name == "brave.exe" else "")
    on("win32", monkeypatch)
    brave = a_program(tmp_path / "elsewhere/brave.exe")
    assert find_browser({"ProgramFiles": str(tmp_path)}) == brave
    edge = a_program(tmp_path / "Microsoft/Edge/Application/msedge.exe")
    assert find_browser({"ProgramFiles": str(tmp_path)}) == edge


def test_only_root_goes_without_the_browsers_sandbox(tmp_path: Path) -> None:
    browser = a_program(tmp_path / "chromium")
    address = "http://127.0.0.1:17327"
    users = app_command(browser, address, tmp_path, is_root=False)
    assert users[:3] == [str(browser), f"--app={address}", f"--user-data-dir={tmp_path / 'browser'}"]
    assert "--no-sandbox" not in users
    assert "--no-sandbox" in app_command(browser, address, tmp_path, is_root=True)
