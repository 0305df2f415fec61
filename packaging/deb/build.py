"""Build the Debian package: python packaging/deb/build.py APP OUT writes OUT/qwq-local_VERSION_ARCH.deb.

APP is what `python packaging/app/build.py` made on Debian or a relative of it: the folder qwq-local, with the environment that it was
built in beside it, whose packages' licences are gathered. Libraries that the system has from packages of its own are left out of the app
and become dependencies, found by dpkg-shlibdeps: they get the system's security updates. Man page, completions, desktop
entry and icons (packaging/app) are taken where they are. The same input and SOURCE_DATE_EPOCH (by default the last commit's time) give
the same bytes. Needs dpkg-dev. Who maintains it is read from DEBFULLNAME and DEBEMAIL. Rules: debian.org/doc/debian-policy.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
TREE: Final = HERE.parents[1]
sys.path[:0] = [str(HERE), str(TREE)]
from licences import copyright_file  # noqa: E402 - found by the line above

from qwq_local import __version__  # noqa: E402 - likewise
from qwq_local.service.order import Order  # noqa: E402 - likewise
from qwq_local.service.systemd_unit import PACKAGED_FOLDERS, UNIT, render  # noqa: E402 - likewise

PACKAGE: Final = "qwq-local"
REVISION: Final = 1
HOME: Final = Path("usr/lib") / PACKAGE
PROGRAMS: Final = ("qwq", "qwq-desktop")
PYTHON: Final = "libpython"
"""The interpreter's library stays in the app: it belongs to the modules beside it."""
TAKEN: Final = {
    "qwq_local/cli/completing/qwq.bash": "usr/share/bash-completion/completions/qwq",
    "qwq_local/cli/completing/_qwq": "usr/share/zsh/vendor-completions/_qwq",
    "qwq_local/cli/completing/qwq.fish": "usr/share/fish/vendor_completions.d/qwq.fish",
}
DESCRIPTION: Final = """QwQ-32B on your own machine
 Runs the reasoning model QwQ-32B with llama.cpp: on the command line (qwq),
 in a window (qwq-desktop), and as a REST endpoint for clients of OpenAI's,
 Anthropic's and Ollama's APIs, also as a systemd service of each user
 (qwq service install). A small demo model comes along; QwQ-32B itself is
 pulled by qwq pull, in the quantization that suits the machine."""


def main() -> int:
    """Build; what is missing is said in a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("app", type=Path, metavar="APP", help="the app's folder, qwq-local")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the package")
    parser.add_argument(
        "--environment", type=Path, metavar="DIR", help="environment that the app was built in [default: APP/../environment]"
    )
    asked = parser.parse_args()
    environment = asked.environment or asked.app / "../environment"
    if lacking := [tool for tool in ("dpkg-deb", "dpkg-shlibdeps", "dpkg-query") if not shutil.which(tool)]:
        sys.exit(f"{lacking[0]} is missing: apt-get install dpkg-dev")
    for path in (*(asked.app / name for name in PROGRAMS), environment):
        if not path.exists():
            sys.exit(f"{path} is missing: python packaging/app/build.py {asked.app.parent}")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        fill(root, asked.app, environment)
        depends = needed_packages(root)
        control(root, depends)
        asked.out.mkdir(parents=True, exist_ok=True)
        package = asked.out / f"{PACKAGE}_{version()}_{architecture()}.deb"
        settle(root)
        run("dpkg-deb", "--build", "--root-owner-group", str(root), str(package))
    sys.stdout.write(f"{package}  {package.stat().st_size / 1e6:.1f} MB  Depends: {depends}\n")
    return 0


def version() -> str:
    """As Debian writes it: PEP 440's pre-releases come before the release."""
    return re.sub(r"(\d)(a|b|rc|\.dev)(\d)", r"\1~\2\3", __version__) + f"-{REVISION}"


def architecture() -> str:
    """This machine's."""
    return run("dpkg", "--print-architecture").strip()


def epoch() -> int:
    """The time that everything in the package has."""
    said = os.environ.get("SOURCE_DATE_EPOCH")
    return int(said or run("git", "-C", str(TREE), "log", "-1", "--format=%ct"))


def maintainer() -> str:
    """Who answers for the package."""
    return f"{os.environ.get('DEBFULLNAME', 'qwq-local developers')} <{os.environ.get('DEBEMAIL', 'qwq-local@example.org')}>"


def fill(root: Path, app: Path, environment: Path) -> None:
    """All files that it installs."""
    shutil.copytree(app, root / HOME, symlinks=True)
    for path in system_libraries(root / HOME / "_internal"):
        path.unlink()
    for name in PROGRAMS:
        link = root / "usr/bin" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"../lib/{PACKAGE}/{name}")
    unit = render(Order((f"/{HOME}/qwq",), writable=PACKAGED_FOLDERS))
    put(root / "usr/lib/systemd/user" / UNIT, unit.encode())
    document(root, environment)
    take_along(root)


def system_libraries(folder: Path) -> Iterator[Path]:
    """The app's libraries that packages of this system have, too."""
    multiarch = run("dpkg-architecture", "-qDEB_HOST_MULTIARCH").strip()
    for path in sorted(folder.glob("*.so*")):
        places = [f"{base}/{multiarch}/{path.name}" for base in ("/usr/lib", "/lib")]
        if any(map(is_packaged, places)) and not path.name.startswith(PYTHON):
            yield path


def is_packaged(path: str) -> bool:
    """Whether a package of this system has that file."""
    found = subprocess.run(["dpkg-query", "--search", path], capture_output=True, check=False)  # noqa: S603, S607 - a fixed command
    return not found.returncode


def document(root: Path, environment: Path) -> None:
    """Copyright, changelogs and man pages."""
    documents = root / "usr/share/doc" / PACKAGE
    put(documents / "copyright", copyright_file(TREE, environment, root / HOME).encode())
    entry = f"{PACKAGE} ({version()}) unstable; urgency=medium\n\n  * Release {__version__}.\n\n -- {maintainer()}  {formatdate(epoch())}\n"
    put(documents / "changelog.Debian.gz", gzip.compress(entry.encode(), 9, mtime=0))
    changes, page = TREE / "CHANGELOG.md", TREE / "packaging/shell/qwq.1"
    if changes.is_file():
        put(documents / "changelog.gz", gzip.compress(changes.read_bytes(), 9, mtime=0))
    put(root / "usr/share/man/man1/qwq.1.gz", gzip.compress(page.read_bytes(), 9, mtime=0))
    (root / "usr/share/man/man1/qwq-desktop.1.gz").symlink_to("qwq.1.gz")
    put(root / "usr/share/lintian/overrides" / PACKAGE, (HERE / "lintian-overrides").read_bytes())


def take_along(root: Path) -> None:
    """What other parts of the tree have for a system: completions, a desktop entry, icons."""
    for source, target in TAKEN.items():
        put(root / target, (TREE / source).read_bytes())
    for entry in sorted((TREE / "packaging/app").glob("*.desktop")):
        put(root / "usr/share/applications" / entry.name, entry.read_bytes())
        take_icons(root / "usr/share/icons/hicolor", re.search(r"^Icon=(.+)$", entry.read_text("utf-8"), re.MULTILINE))


def take_icons(theme: Path, named: re.Match[str] | None) -> None:
    """The icons under the name that the desktop entry has for them (specifications.freedesktop.org/icon-theme-spec)."""
    if named is None:
        return
    for icon in sorted((TREE / "packaging/app/icons").glob("*.svg")):
        put(theme / f"scalable/apps/{named[1]}.svg", icon.read_bytes())
    for icon in sorted((TREE / "packaging/app/icons").glob("*.png")):
        size = png_size(icon.read_bytes())
        put(theme / f"{size}x{size}/apps/{named[1]}.png", icon.read_bytes())


def png_size(content: bytes) -> int:
    """Its width in pixels (w3.org/TR/png, IHDR)."""
    return int.from_bytes(content[16:20], "big")


def put(path: Path, content: bytes) -> None:
    """A file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def is_elf(path: Path) -> bool:
    """Whether it is a program or a library."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def needed_packages(root: Path) -> str:
    """The packages whose libraries its programs and libraries need, with the least versions: Depends."""
    private = root / HOME / "_internal"
    binaries = [path for path in sorted((root / HOME).rglob("*")) if path.is_file() and not path.is_symlink() and is_elf(path)]
    folders = {private, *(path.parent for path in binaries)}
    (root / "DEBIAN").mkdir()  # by which dpkg-shlibdeps knows that libraries of the package need no package
    with tempfile.TemporaryDirectory() as folder:
        put(Path(folder) / "debian/control", f"Source: {PACKAGE}\n\nPackage: {PACKAGE}\nArchitecture: any\n".encode())
        options = [f"-l{place}" for place in sorted(folders)]
        told = run("dpkg-shlibdeps", "-O", "--warnings=0", *options, *(f"-e{path}" for path in binaries), cwd=Path(folder))
    return told.strip().removeprefix("shlibs:Depends=")


def control(root: Path, depends: str) -> None:
    """The package's own files: control, md5sums, and what runs before it is removed."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink()]
    size_kib = sum(-(-path.stat().st_size // 1024) if path.is_file() and not path.is_symlink() else 1 for path in root.rglob("*"))
    fields = {
        "Package": PACKAGE,
        "Version": version(),
        "Architecture": architecture(),
        "Maintainer": maintainer(),
        "Installed-Size": str(size_kib),
        "Depends": depends,
        "Recommends": "dbus-user-session",
        "Section": "science",
        "Priority": "optional",
        "Description": DESCRIPTION,
    }
    sums = "".join(f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in files)  # noqa: S324 - dpkg's format
    put(root / "DEBIAN/control", "".join(f"{name}: {text}\n" for name, text in fields.items()).encode())
    put(root / "DEBIAN/md5sums", sums.encode())
    put(root / "DEBIAN/prerm", (HERE / "prerm").read_bytes())
    put(root / "DEBIAN/postinst", (HERE / "postinst").read_bytes())


def settle(root: Path) -> None:
    """Modes and times, whatever they were."""
    programs = {*(root / HOME / name for name in PROGRAMS), root / "DEBIAN/prerm", root / "DEBIAN/postinst"}
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path in programs else 0o644)
        os.utime(path, (epoch(), epoch()), follow_symlinks=False)


def run(*command: str, cwd: Path | None = None) -> str:
    """What a command prints; ends this program where it fails."""
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch())} if command[0] == "dpkg-deb" else None
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environment)  # noqa: S603 - the commands above
    if done.returncode:
        sys.exit(f"{' '.join(command[:2])} failed: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
