"""A kit is put in place: checked, installed beside what is there, asked a question, and only then what `qwq` means.

This file and those beside it use nothing but the standard library.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import models
from .answer import ask_demo, models_folder, require_model, require_program
from .command import link_program, removal
from .environment import make_environment
from .files import flaws, sha256_of
from .machine import require_machine
from .manifest import AGAIN, MANIFEST, MODELS, Manifest, read_manifest
from .place import Place, chosen_root, default_root
from .trouble import InstallError, from_os, reading

SPARE_BYTES = 64 * 2**20
TOLD_FLAWS = 10


def main(kit: str, arguments: Sequence[str]) -> int:
    """Install; the exit code. What is done is told on standard output, errors on standard error."""
    root: object = kit
    try:
        options = _options(arguments)
        root = chosen_root(options.to) if options.to else default_root()
        _install(Path(kit), root, with_model=not options.no_model)
    except InstallError as error:
        return _tell_error(str(error), error.hint)
    except OSError as error:
        told = from_os(error, root)
        return _tell_error(str(told), told.hint)
    except KeyboardInterrupt:
        return _tell_error("Interrupted.", "Run ./install again: it begins anew where it must, and goes on where it can.", 130)
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "./install", description="Install QwQ from this kit, for this user, without network.", allow_abbrev=False
    )
    parser.add_argument("--to", metavar="FOLDER", help=f"where the program goes [default: {_told_default()}]")
    parser.add_argument("--no-model", action="store_true", help="install the program alone; the demo model is in it")
    parser.add_argument("--python", metavar="FILE", help="the Python to use; it must be the first option")
    options = parser.parse_args(arguments)
    if options.python is not None:
        raise InstallError(
            f"--python {options.python} has no effect here: it must be the first option, and Windows has none.",
            f"./install --python FILE …, or start it yourself: {options.python or 'FILE'} -I install.py …",
        )
    return options


def _told_default() -> str:
    try:
        return str(default_root()).replace("%", "%%")
    except InstallError:
        return "none, without a home folder"


def _install(kit: Path, root: Path, *, with_model: bool) -> None:
    began = time.monotonic()
    manifest = read_manifest(kit)
    _say(f"qwq {manifest.version} for {manifest.platform}, from {kit}")
    require_machine(manifest)
    _check(kit, manifest)
    place = Place(root)
    with place.alone():
        if told := place.recover():
            _say(told)
        with reading(kit / MANIFEST):
            kit_id = sha256_of(kit / MANIFEST)
        if place.installed().get("kit_id") == kit_id and _still_answers(place):
            _say(f"This kit's program is installed already, and answers: {place.app}")
            if with_model:
                _put_models(kit, manifest, place.app)
        else:
            _renew(kit, manifest, place, kit_id, with_model=with_model)
        program, told = link_program(place)
    _say(f'\nDone in {time.monotonic() - began:.0f} s. Start it: {program.name} ask -m demo "What is 47 + 85?"')
    _say(f"  program   {program}, in {place.app}")
    _say(f"  to remove it: {removal(place, program)}")
    if told:
        _say(f"  note: {told}")


def _check(kit: Path, manifest: Manifest) -> None:
    """Compare all but the models, which are compared while they are copied."""
    small = [file for file in manifest.files if not file.path.startswith(MODELS + "/") or file.path.endswith(models.RECORD)]
    found = [*map(str, flaws(kit, manifest, small)), *_lengths(kit, manifest)]
    if found:
        more = f"\n  and {len(found) - TOLD_FLAWS} more" if len(found) > TOLD_FLAWS else ""
        raise InstallError("The kit is damaged:\n  " + "\n  ".join(found[:TOLD_FLAWS]) + more, AGAIN)
    _say(f"  {len(small)} files are what they should be")


def _lengths(kit: Path, manifest: Manifest) -> list[str]:
    """What can be told of the models without reading them."""
    told = []
    for file in manifest.under(MODELS):
        if file.path.endswith(models.RECORD):
            continue
        path = kit / file.path
        with reading(path):
            size_bytes = path.stat().st_size if path.is_file() else None
        if size_bytes is None:
            told.append(f"{file.path} is missing")
        elif size_bytes != file.size_bytes:
            told.append(f"{file.path} has {size_bytes:,} bytes instead of {file.size_bytes:,}")
    return told


def _still_answers(place: Place) -> bool:
    """Whether the program does, asked as the user starts it: in a folder that was moved, or without its Python, it does not."""
    try:
        require_program(place.app)
        ask_demo(place.app)
    except InstallError:
        return False
    return True


def _renew(kit: Path, manifest: Manifest, place: Place, kit_id: str, *, with_model: bool) -> None:
    _require_room(place.root, manifest.unpacked_bytes, "the program")
    _say("  unpacking the program, which takes a minute …")
    make_environment(place.new, kit, manifest)
    _say(f"  program unpacked, {_size(_bytes_below(place.new))}")
    if with_model:
        _put_models(kit, manifest, place.new)
    answered = ask_demo(place.new)
    _say(f"  asked the demo model: {answered.question} It says: {answered.answer}")
    mark = {"kit_id": kit_id, "kit": str(kit), "version": manifest.version, "build": manifest.build, "root": str(place.root)}
    place.take(mark, lambda: require_program(place.app))


def _put_models(kit: Path, manifest: Manifest, environment: Path) -> None:
    if not manifest.models:
        return
    folder = models_folder(environment)
    lacking = models.wanted(manifest, folder)
    _require_room(folder, models.needed_bytes(kit, lacking, folder, _existing(folder)), "the model")
    for file in lacking:
        how = "linked" if models.put_model(kit, file, folder, _progress(file.path, file.size_bytes)) else "copied"
        _say(f"  {how} {Path(file.path).name}, {_size(file.size_bytes)}, to {folder}")
    for model in manifest.models:
        require_model(environment, folder / Path(model.files[0]).name)
        _say(f"  model {model.name} is in {folder}")


def _require_room(folder: Path, needed_bytes: int, what: str) -> None:
    free_bytes = shutil.disk_usage(_existing(folder)).free
    if needed_bytes and needed_bytes + SPARE_BYTES > free_bytes:
        raise InstallError(
            f"{folder} has {_size(free_bytes)} free, and {what} needs {_size(needed_bytes)}.",
            "Free some space, or name another place: --to FOLDER for the program, QWQ_MODELS for the model.",
        )


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.parents) if parent.exists())


def _bytes_below(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))


def _progress(name: str, total_bytes: int) -> Callable[[int], None]:
    """A line on a terminal, at most ten times a second."""
    shown_at = 0.0

    def show(n_bytes: int) -> None:
        nonlocal shown_at
        if sys.stdout.isatty() and (time.monotonic() - shown_at > 0.1 or n_bytes == total_bytes):
            shown_at = time.monotonic()
            sys.stdout.write(f"\r  {name} {n_bytes / max(1, total_bytes):4.0%}" + ("\r\x1b[K" if n_bytes == total_bytes else ""))
            sys.stdout.flush()

    return show


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def _say(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")  # names of folders may be any bytes
    sys.stdout.flush()


def _tell_error(text: str, hint: str, code: int = 1) -> int:
    sys.stderr.write(f"error: {text}\nhint: {hint}\n")
    return code
