"""Kits on a terminal: how far one is, what came of it, and what is wrong with one."""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import click

from qwq_local.cli.activity import Activity
from qwq_local.cli.list import size
from qwq_local.cli.terminal import count, notice
from qwq_local.cli.transfer import TransferBar
from qwq_local.configuration import find_folders
from qwq_local.errors import InstallationError
from qwq_local.installation import find_installation
from qwq_local.kit.check import check_kit
from qwq_local.kit.gather import make_kit
from qwq_local.kit.installer.manifest import Manifest
from qwq_local.kit.wish import KitListener, KitWish

KEPT = "kit-wheels"


def here_python() -> str:
    """The version of this Python, as kits name it."""
    return ".".join(platform.python_version_tuple()[:2])


def split(text: str) -> tuple[str, ...]:
    """The words between commas, each once."""
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def make(wish: KitWish, folder: Path, *, as_json: bool) -> None:
    """Make a kit and say what is in it."""
    installed = find_installation()
    if not installed.has_pip:
        raise InstallationError(
            f"This qwq is the {installed.kind} package, which knows no wheels.",
            hint="Install it with pip (or from a kit), and make the kit with that.",
        )
    folder = folder.absolute()
    teller = _Teller()
    with teller.bar.resumable(), teller.activity:
        manifest = make_kit(wish, folder, find_folders().cache / KEPT, KitListener(teller.begin, teller.on_bytes, teller.say))
    if as_json:
        click.echo(json.dumps(_told(manifest, folder)))
        return
    for kind in ("wheels", "models"):
        files = manifest.under(kind)
        notice(f"{kind:9} {size(sum(file.size_bytes for file in files))} in {count(len(files), 'file')}")
    notice(f"for       {manifest.platform}, Python {', '.join(manifest.pythons)}, llama.cpp for {manifest.build}{_floor(manifest)}")
    if not manifest.models:
        notice("notice: no model but the demo's is in it; to add one, run this again with --quant or --model")
    notice(f"Carry {folder} over, and run ./install in it ({'install.cmd' if 'windows' in manifest.platform else 'sh ./install'}).")
    click.echo(str(folder))


def check(folder: Path, *, as_json: bool) -> int:
    """Check a kit and say what is wrong with it; the exit code."""
    bar = TransferBar(time.monotonic())
    try:
        checked = check_kit(folder, lambda done, total: bar.update("checking", done, total, time.monotonic()))
    finally:
        bar.clear()
    if as_json:
        flaws = [{"file": flaw.path, "problem": flaw.what, "detail": flaw.detail} for flaw in checked.flaws]
        click.echo(json.dumps(_told(checked.manifest, folder) | {"flaws": flaws}))
        return 1 if flaws else 0
    for flaw in checked.flaws:
        click.echo(str(flaw))
    if checked.flaws:
        notice(f"hint: Bring them anew: {checked.mending}")
        return 1
    click.echo(
        f"sound: {count(len(checked.manifest.files), 'file')}, {size(checked.manifest.total_bytes)}, for {checked.manifest.platform}"
    )
    return 0


class _Teller:
    """Stages as an activity, bytes as a transfer; never both at once."""

    def __init__(self) -> None:
        self.activity = Activity()
        self.bar = TransferBar(time.monotonic())

    def begin(self, stage: str) -> None:
        self.bar.clear()
        if not sys.stderr.isatty():
            notice(stage)
        self.activity.begin(stage)

    def on_bytes(self, stage: str, done_bytes: int, total_bytes: int) -> None:
        self.activity.begin("")
        self.bar.update(stage, done_bytes, total_bytes, time.monotonic())

    def say(self, text: str) -> None:
        self.activity.begin("")
        self.bar.say(text)


def _told(manifest: Manifest, folder: Path) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "version": manifest.version,
        "platform": manifest.platform,
        "pythons": list(manifest.pythons),
        "build": manifest.build,
        "models": [model.name for model in manifest.models],
        "files": len(manifest.files),
        "total_bytes": manifest.total_bytes,
    }


def _floor(manifest: Manifest) -> str:
    needs = [f"{name} {version}" for name, version in (("glibc", manifest.glibc), ("macOS", manifest.macos)) if version]
    needs += [flag.upper() for flag in manifest.cpu_flags[:1]]
    return f"; it needs {' and '.join(needs)} or newer" if needs else ""
