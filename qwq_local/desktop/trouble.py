"""What went wrong, told to somebody who has no terminal to read it in: in a dialog of the system, or as a page."""

from __future__ import annotations

import html
import os
import shutil
import subprocess
import sys
import tempfile
import webbrowser
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from qwq_local.errors import QwqError

TITLE: Final = "QwQ"
DIALOG_SECONDS: Final = 600
"""Then nobody sits there."""
_OSASCRIPT: Final = 'on run argv\ndisplay dialog (item 1 of argv) with title (item 2 of argv) buttons {"OK"} with icon stop\nend run'
_PAGE: Final = """<!doctype html>
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>QwQ</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1.05rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 15vh auto; padding: 0 1.5rem }}
p {{ white-space: pre-wrap; overflow-wrap: anywhere }}
</style>
<h1>QwQ could not go on</h1>
<p>{text}</p>
"""


def words_for(error: BaseException, log: Path | None) -> str:
    """What is told: what happened, what to do, and where more stands."""
    hint = error.hint if isinstance(error, QwqError) else "This is a fault of QwQ itself."
    told = str(error) if isinstance(error, QwqError) else f"{type(error).__name__}: {error}"
    return "\n\n".join(part for part in (told, hint, f"More stands in {log}" if log else "") if part)


def tell(text: str, folder: Path, environment: Mapping[str, str] = os.environ) -> None:
    """Show it until it is closed: in a dialog, or else as a page in the browser, kept in the folder or where there is room."""
    if sys.platform == "win32":
        import ctypes

        ctypes.windll.user32.MessageBoxW(None, text, TITLE, 0x10)  # MB_ICONERROR (winuser.h)
    elif not any(_was_shown(command) for command in _dialogs(text, environment)) and (page := _page(text, folder)):
        webbrowser.open(page.as_uri())


def _dialogs(text: str, environment: Mapping[str, str]) -> Iterator[list[str]]:
    """Commands that show a dialog, those that are here."""
    if sys.platform == "darwin":
        yield ["/usr/bin/osascript", "-e", _OSASCRIPT, text, TITLE]
    elif environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"):
        commands = [
            ["zenity", "--error", "--no-markup", f"--title={TITLE}", "--width=480", f"--text={text}"],
            ["kdialog", "--title", TITLE, "--error", text],
            ["xmessage", "-center", "-title", TITLE, text],
        ]
        yield from (command for command in commands if shutil.which(command[0], path=environment.get("PATH")))


def _was_shown(command: list[str]) -> bool:
    """Whether somebody closed it, by its button or by its frame (1)."""
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=DIALOG_SECONDS).returncode in {0, 1}  # noqa: S603 - fixed
    except (OSError, subprocess.TimeoutExpired):
        return False


def _page(text: str, folder: Path) -> Path | None:
    """The page's file; None where there is room for none."""
    page = _PAGE.format(text=html.escape(text))
    for place in (folder, Path(tempfile.gettempdir())):
        path = place / "trouble.html"
        try:
            path.write_text(page, "utf-8")
        except OSError:
            continue
        return path
    return None
