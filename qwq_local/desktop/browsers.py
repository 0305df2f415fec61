"""The browsers here that show a page in a window of its own: those of Chromium's family, by their option `--app`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

PROGRAMS: Final = (
    "google-chrome-stable", "google-chrome", "chromium", "chromium-browser", "microsoft-edge-stable", "microsoft-edge", "brave-browser",
    "brave", "vivaldi-stable", "vivaldi",
)  # fmt: skip
"""As Linux's packages call them, the first that is there is taken."""
FLATPAKS: Final = ("com.google.Chrome", "org.chromium.Chromium", "com.microsoft.Edge", "com.brave.Browser")
MAC_APPS: Final = ("Google Chrome", "Chromium", "Microsoft Edge", "Brave Browser", "Vivaldi")
WINDOWS_PROGRAMS: Final = {
    "chrome.exe": "Google/Chrome/Application",
    "msedge.exe": "Microsoft/Edge/Application",
    "brave.exe": "BraveSoftware/Brave-Browser/Application",
}
"""Where their installers put them, below the folders of programs."""
WINDOW_CLASS: Final = "qwq-local"
"""Of the desktop entry too (StartupWMClass), so that the window is shown with the app's icon."""
_OPTIONS: Final = (
    "--no-first-run", "--no-default-browser-check", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--password-store=basic", f"--class={WINDOW_CLASS}", "--window-size=1180,820",
)  # fmt: skip
"""No questions, nothing fetched from elsewhere, no keyring to unlock."""


def find_browser(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The first of these browsers that is installed, or None."""
    candidates = {"darwin": _on_mac, "win32": _on_windows}.get(sys.platform, _on_linux)(environment)
    return next((path for path in candidates if path.is_file()), None)


def app_command(browser: Path, address: str, folder: Path, *, is_root: bool) -> list[str]:
    """What opens the page in a window of its own, with a profile in the folder or, for a packed browser, where it may write one."""
    without_sandbox = ["--no-sandbox"] if is_root else []  # Chromium refuses to run as root with it
    return [str(browser), f"--app={address}", f"--user-data-dir={profile_folder(browser, folder)}", *_OPTIONS, *without_sandbox]


def profile_folder(browser: Path, folder: Path, home: Path | None = None) -> Path:
    """Where a browser keeps this window's profile: snaps and flatpaks may not write into hidden folders of others."""
    home = home or Path.home()
    if browser.name in FLATPAKS:
        return home / ".var/app" / browser.name / "qwq-local"
    if _is_snap(browser):
        return home / "snap/chromium/common/qwq-local"
    return folder / "browser"


def _is_snap(browser: Path) -> bool:
    """A link to it, or the script that Ubuntu's package is."""
    if "snap" in browser.resolve().parts[:2] or "snap" in browser.parts[:2]:
        return True
    with browser.open("rb") as file:
        head = file.read(4096)
    return head.startswith(b"#!") and b"/snap/bin/" in head


def _on_linux(environment: Mapping[str, str]) -> Iterator[Path]:
    path = os.pathsep.join([environment.get("PATH", os.defpath), "/usr/bin", "/usr/local/bin", "/snap/bin"])
    for name in PROGRAMS:
        if found := shutil.which(name, path=path):
            yield Path(found)
    data = environment.get("XDG_DATA_HOME") or f"{environment.get('HOME', '/')}/.local/share"
    for folder in ("/var/lib", data):
        for name in FLATPAKS:
            yield Path(folder) / "flatpak/exports/bin" / name


def _on_mac(environment: Mapping[str, str]) -> Iterator[Path]:
    for name in MAC_APPS:
        for folder in (Path("/"), Path(environment.get("HOME", "/"))):
            yield folder / f"Applications/{name}.app/Contents/MacOS/{name}"


def _on_windows(environment: Mapping[str, str]) -> Iterator[Path]:
    for name, below in WINDOWS_PROGRAMS.items():
        if found := _registered(name):
            yield Path(found)
        for variable in ("ProgramFiles", "ProgramFiles(x86)", "LocalAppData"):
            if folder := environment.get(variable):
                yield Path(folder) / below / name


def _registered(name: str) -> str:
    """Where a program says it is (learn.microsoft.com, "Application Registration": App Paths); nothing where it does not."""
    if sys.platform != "win32":
        return ""
    import winreg

    for root in (winreg.HKEY_CURRENT_USER, winreg.HKEY_LOCAL_MACHINE):
        try:
            return winreg.QueryValue(root, rf"SOFTWARE\Microsoft\Windows\CurrentVersion\App Paths\{name}").strip('"')
        except OSError:
            continue
    return ""
