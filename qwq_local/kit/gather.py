"""A kit made: wheels, models, checksums and the installer in one folder, which is a kit only when its last file is written."""

from __future__ import annotations

import errno
import shutil
from importlib import resources
from pathlib import Path
from typing import Final

from qwq_local import __version__
from qwq_local.errors import InstallationError
from qwq_local.kit import model_files, starters_text
from qwq_local.kit.installer.files import flaws, sha256_of
from qwq_local.kit.installer.manifest import MANIFEST, MODELS, SUMS, WHEELS, KitFile, Manifest, read_manifest, sums_text, to_json
from qwq_local.kit.installer.trouble import InstallError, ReadingError
from qwq_local.kit.wheelhouse import LLAMA, Wheelhouse
from qwq_local.kit.wheels import glibc_of, macos_of, read_wheels
from qwq_local.kit.wish import KitListener, KitWish
from qwq_local.models.download import FAT32
from qwq_local.models.hub import Hub

UNFINISHED: Final = "kit.json.part"
"""Says with which options a kit that is not finished was begun."""
WHEELS_BYTES: Final = 300_000_000
"""What the wheels take, about: the disk must have as much room before anything is brought."""


def make_kit(wish: KitWish, folder: Path, kept: Path, listener: KitListener, hub: Hub | None = None) -> Manifest:
    """Make it, or go on with one that was begun, or mend one that is damaged; `kept` is where compiled wheels are kept.

    Raises:
        InstallationError: the folder is something else, or lacks room, or a wheel cannot be had.
        ModelFileError, HubError, StoreError: what `find_sources` and `bring` say of the models.
    """
    hub = hub or Hub()
    try:
        return _make(wish, folder, kept, listener, hub)
    except OSError as error:
        raise _told(error, folder) from error


def _make(wish: KitWish, folder: Path, kept: Path, listener: KitListener, hub: Hub) -> Manifest:
    _require_kit_or_empty(folder)
    listener.begin("looking for the models")
    sources = model_files.find_sources(wish, hub)
    _require_only(folder / MODELS, [name for source in sources for name in source.file_names])
    model_files.require_room(sources, folder, 0 if (folder / WHEELS).is_dir() else WHEELS_BYTES)
    (folder / WHEELS).mkdir(parents=True, exist_ok=True)
    _begin(wish, folder, listener)
    gathered = Wheelhouse(folder / WHEELS, wish, kept, listener).gather()
    brought = [model_files.bring(source, folder / MODELS, hub, listener) for source in sources]
    listener.begin("writing checksums")
    files = [_listed(folder, wheel.path) for wheel in gathered.wheels]
    files += [file for _, listed in brought for file in listed]
    files += [_listed(folder, path) for path in _write_installer(folder, wish)]
    manifest = Manifest(
        version=__version__,
        platform=wish.platform.name,
        pythons=wish.pythons,
        build=wish.chosen_build,
        requirement=gathered.requirement,
        models=tuple(model for model, _ in brought),
        glibc=glibc_of(gathered.wheels),
        macos=macos_of(gathered.wheels),
        cpu_flags=gathered.cpu_flags,
        unpacked_bytes=gathered.unpacked_bytes,
        made_with=wish.options(),
        files=tuple(sorted(files, key=lambda file: file.path)),
    )
    _finish(folder, manifest)
    return manifest


def _require_kit_or_empty(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InstallationError(f"{folder} is a file.", hint="Name a folder that the kit may have for itself.")
    is_kit = (folder / WHEELS).is_dir() and any((folder / name).exists() for name in (MANIFEST, UNFINISHED))
    if folder.is_dir() and not is_kit and any(folder.iterdir()):
        raise InstallationError(f"{folder} holds something else than a kit.", hint="Name a new folder, or an empty one.")


def _require_only(folder: Path, wanted: list[str]) -> None:
    """A model that is not asked for stays, and says so: it may have taken hours to come here."""
    for path in sorted(folder.glob("*.gguf")):
        if path.name not in wanted and not path.name.startswith("."):  # as what macOS keeps of files on a stick
            raise InstallationError(
                f"{path} is in the kit, and is not asked for now.", hint="Ask for it too (--quant, --model), or remove it from the folder."
            )


def _begin(wish: KitWish, folder: Path, listener: KitListener) -> None:
    """From now on it is no kit, until it is finished; what an earlier one has that is damaged, or compiled otherwise, goes."""
    said = "\n".join([__version__, *wish.options()])
    earlier = _text(folder / UNFINISHED)
    if (folder / MANIFEST).exists():
        earlier = _forget_damaged(folder, listener)
    if earlier != said:
        for wheel in read_wheels(folder / WHEELS):
            if wheel.name == LLAMA:
                wheel.path.unlink()
    (folder / UNFINISHED).write_text(said, "utf-8")
    (folder / MANIFEST).unlink(missing_ok=True)


def _forget_damaged(folder: Path, listener: KitListener) -> str:
    """Remove what is not what the finished kit says it is; how that was made."""
    try:
        manifest = read_manifest(folder)
    except InstallError as error:
        listener.notice(str(error))
        return ""
    for flaw in flaws(
        folder, manifest, manifest.files, lambda n_bytes: listener.on_bytes("checking what is there", n_bytes, manifest.total_bytes)
    ):
        listener.notice(f"{flaw}: {'remove it' if flaw.what == 'strange' else 'brought anew'}")
        if flaw.what == "damaged":
            (folder / flaw.path).unlink()
    return "\n".join([manifest.version, *manifest.made_with])


def _write_installer(folder: Path, wish: KitWish) -> list[Path]:
    """The installer's files, as they are in this package, and what starts it, for this kit's versions of Python."""
    target = folder / "installer"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    own = resources.files("qwq_local.kit")
    written = []
    for source in (own / "installer").iterdir():
        if source.name.endswith(".py"):
            written.append(target / source.name)
            written[-1].write_bytes(source.read_bytes())
    for name, text in starters_text.render(own / "starters", wish.pythons).items():
        written.append(folder / name)
        written[-1].write_text(text, "utf-8", newline="")
    (folder / starters_text.PROGRAM).chmod(0o755)
    return written


def _listed(folder: Path, path: Path) -> KitFile:
    return KitFile(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_of(path))


def _finish(folder: Path, manifest: Manifest) -> None:
    (folder / SUMS).write_text(sums_text(manifest), "utf-8", newline="")
    draft = folder / UNFINISHED
    draft.write_text(to_json(manifest), "utf-8", newline="")
    draft.replace(folder / MANIFEST)
    shutil.rmtree(folder / MODELS / ".partial", ignore_errors=True)


def _text(path: Path) -> str:
    return path.read_text("utf-8") if path.is_file() else ""


def _told(error: OSError, folder: Path) -> InstallationError:
    hints = {
        errno.EFBIG: FAT32,
        errno.ENOSPC: "Free some space; the same command goes on from here.",
    }
    if isinstance(error, ReadingError):
        return InstallationError(
            f"{error.filename} cannot be read: {error.strerror}.", hint="Check the disk that it is on, or pull it again."
        )
    what = f"{error.filename or folder} cannot be written: {error.strerror or error}."
    return InstallationError(what, hint=hints.get(error.errno or 0, "Make it writable, or name another folder."))
