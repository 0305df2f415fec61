from __future__ import annotations

import os
from pathlib import Path

import pytest

from qwq_local.desktop.trouble import tell, words_for
from qwq_local.errors import LoadError
from tests.programs import posix

TEXT = "The model <b>fell</b> over.\n\nPick it up."


def fake_dialog(folder: Path, name: str, status: int) -> None:
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$0" "$@" > {folder}/{name}.told\nexit {status}\n')
    program.chmod(0o755)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    pages: list[str] = []

    def note(address: str) -> bool:
        pages.append(address)
        return True

    monkeypatch.setattr("webbrowser.open", note)
    return pages


@posix
@pytest.mark.parametrize("name", ["zenity", "kdialog", "xmessage"])
def test_errors_are_told_in_the_dialog_that_is_here(tmp_path: Path, name: str, opened: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fake_dialog(tmp_path / "bin", name, 0)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    monkeypatch.setattr("sys.platform", "linux")
    tell(TEXT, tmp_path, os.environ | {"DISPLAY": ":0"})
    assert "Pick it up." in (tmp_path / f"bin/{name}.told").read_text()
    assert not opened


@posix
def test_where_no_dialog_can_be_shown_a_page_tells_it(tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fake_dialog(tmp_path / "bin", "zenity", 127)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    monkeypatch.setattr("sys.platform", "linux")
    tell(TEXT, tmp_path, os.environ | {"DISPLAY": ":0"})
    assert opened == [(tmp_path / "trouble.html").as_uri()]
    page = (tmp_path / "trouble.html").read_text()
    assert "The model &lt;b&gt;fell&lt;/b&gt; over." in page
    assert "Pick it up." in page


def test_the_page_is_kept_elsewhere_where_the_folder_has_no_room(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    tell(TEXT, tmp_path / "not there", {})
    assert opened == [(tmp_path / "trouble.html").as_uri()]


def test_what_is_told_has_the_hint_and_the_log(tmp_path: Path) -> None:
    told = words_for(LoadError("It does not load.", hint="Load another."), tmp_path / "desktop.log")
    assert told == f"It does not load.\n\nLoad another.\n\nMore stands in {tmp_path}/desktop.log"
    assert words_for(KeyError("x"), None) == "KeyError: 'x'\n\nThis is a fault of QwQ itself."
