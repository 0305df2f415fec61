"""Build the archives, compare and install them: python packaging/proofs/wheel.py (--help lists its options).

The wheel from the source archive must equal the wheel from the tree, byte for byte, and hold what it should and nothing else. It is then
installed into a new environment of every Python that is found (python3.10 to python3.14 on the PATH, and --python), where the demo model
must answer; a Python that is too old must be refused by name. --suite runs every test outside the source tree against the installed
wheel. Prints what was asked and seen, and ends with 1 where something is not as promised. Needs git and the package index; llama.cpp is
compiled once, unless --llama gives a wheel of llama-cpp-python.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
TOOLS: Final = ("build", "twine", "check-wheel-contents", "validate-pyproject[all]")
OLDEST: Final = (3, 11)
MAX_WHEEL_BYTES: Final = 8 * 2**20
QUESTION: Final = ("ask", "-m", "demo", "--seed", "1", "--no-thoughts", "What is 47 + 85?")
IMPORT: Final = "import qwq_local; from qwq_local import QwQ; print(qwq_local.__file__)"
ALLOWED: Final = re.compile(
    r"(qwq_local|qwq_convert)/(.+\.(py|js|css|svg|html|jinja|jsonl|gguf|woff2)|.*py\.typed|.+/LICENSE|.+/HASHES\.json)"
    r"|qwq_local/(cli/completing/(_qwq|qwq\.bash|qwq\.fish)|kit/starters/install(\.cmd)?)"
    r"|qwq_local-[\d.]+\.dist-info/(METADATA|WHEEL|RECORD|entry_points\.txt|licenses/.+)"
    r"|qwq_local-[\d.]+\.data/data/share/.+"
)
"""What a member of the wheel may be called: code, the page, the demo model, licences, a kit's starters, and what a shell looks for."""


@dataclass
class Proof:
    """What was asked and seen so far."""

    rows: list[tuple[bool, str, str]] = field(default_factory=list)

    def add(self, held: bool, asked: str, seen: str) -> None:
        """A row of the table, printed as it comes."""
        self.rows.append((held, asked, seen))
        print(f"{'ok  ' if held else 'FAIL'}  {asked}: {seen}", flush=True)


@dataclass(frozen=True)
class Ended:
    """A program that ended."""

    code: int
    out: str
    seconds: float


def run(*command: str | Path, cwd: Path, umask: int = 0o022) -> Ended:
    """Run it, with nothing of ours in its environment; standard error comes with standard output."""
    began = time.monotonic()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "QWQ_", "VIRTUAL_ENV"))}
    done = subprocess.run(
        command, cwd=cwd, env=environment, umask=umask, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return Ended(done.returncode, done.stdout.strip(), time.monotonic() - began)


def must(*command: str | Path, cwd: Path, umask: int = 0o022) -> Ended:
    """Run what nothing can go on without."""
    ended = run(*command, cwd=cwd, umask=umask)
    if ended.code:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {ended.code}:\n{ended.out}")
    return ended


def new_environment(python: str | Path, folder: Path) -> Path:
    """A virtual environment; its Python."""
    must(python, "-m", "venv", folder, cwd=folder.parent)
    return folder / "bin" / "python"


def copy_tracked(to: Path) -> None:
    """The files that git knows of, as they are in the working tree."""
    listed = must("git", "ls-files", "-z", cwd=ROOT).out
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, to / name)


def the_one(folder: Path, pattern: str) -> Path:
    """The only file of this pattern."""
    [found] = folder.glob(pattern)
    return found


def unpack(sdist: Path, to: Path) -> Path:
    """Unpack a source archive; its folder."""
    with tarfile.open(sdist) as archive:
        archive.extractall(to, filter="data")
    return the_one(to, "*")


def build(proof: Proof, tools: Path, temp: Path, dist: Path) -> tuple[Path, Path]:
    """Build both archives, and the wheel another time from the source archive, by another umask; they must be equal."""
    tree = temp / "tree"
    copy_tracked(tree)
    must(tools, "-m", "build", "--outdir", dist, "--sdist", "--wheel", tree, cwd=temp)
    sdist, wheel = the_one(dist, "*.tar.gz"), the_one(dist, "*.whl")
    unpacked = unpack(sdist, temp / "unpacked")
    must(tools, "-m", "build", "--outdir", temp / "again", "--sdist", "--wheel", unpacked, cwd=temp, umask=0o077)
    compare(proof, wheel, the_one(temp / "again", "*.whl"), "the wheel from the source archive equals the wheel from the tree")
    compare(proof, sdist, the_one(temp / "again", "*.tar.gz"), "the source archive from the source archive equals it")
    return sdist, wheel


def members(path: Path) -> dict[str, str]:
    """The SHA-256 of each member of an archive."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return {name: hashlib.sha256(wheel.read(name)).hexdigest() for name in wheel.namelist()}
    with tarfile.open(path) as archive:
        files = [(member.name, archive.extractfile(member)) for member in archive]
        return {name: hashlib.sha256(file.read()).hexdigest() for name, file in files if file}


def compare(proof: Proof, one: Path, other: Path, asked: str) -> None:
    """Byte for byte; where they differ, the members that do."""
    if one.read_bytes() == other.read_bytes():
        digest = hashlib.sha256(one.read_bytes()).hexdigest()
        proof.add(True, asked, f"{one.stat().st_size:,} bytes, SHA-256 {digest[:16]}…")
        return
    first, second = members(one), members(other)
    differ = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    proof.add(False, asked, ", ".join(differ) or "the same members, in another order, mode or time")


def audit(proof: Proof, tools: Path, tree: Path, sdist: Path, wheel: Path) -> None:
    """What the wheel holds, and what the tools of the trade say."""
    held = members(wheel)
    stray = sorted(name for name in held if not ALLOWED.fullmatch(name))
    proof.add(not stray, "the wheel holds nothing but the packages", ", ".join(stray[:9]) or f"{len(held)} files")
    libraries = sorted(path.name for path in (tree / "qwq_local/server/page/vendor").iterdir() if path.is_dir())
    licences = [name for name in held if "/licenses/" in name]
    proof.add(len(licences) == 1 + len(libraries), "a licence for the package and each library of its page", f"{len(licences)}")
    size = wheel.stat().st_size
    proof.add(size <= MAX_WHEEL_BYTES, f"the wheel has at most {MAX_WHEEL_BYTES:,} bytes", f"{size:,}")
    commands = {
        "twine": ("check", "--strict", sdist, wheel),
        # A licence lies beside its library too (W002); two packages are meant (W009).
        "check-wheel-contents": ("--ignore", "W002", "--toplevel", "qwq_local,qwq_convert", wheel),
        "validate-pyproject": (tree / "pyproject.toml",),
    }
    for tool, arguments in commands.items():
        ended = run(tools.with_name(tool), *arguments, cwd=tree)
        proof.add(ended.code == 0, f"{tool} has nothing to say against it", ended.out.splitlines()[-1] if ended.code == 0 else ended.out)


def find_pythons(given: Sequence[str]) -> Iterator[tuple[tuple[int, ...], str]]:
    """Version and path of each Python, one for each minor version."""
    names = [*given, *(f"python3.{minor}" for minor in range(10, 15))]
    seen = set()
    for python in filter(None, map(shutil.which, names)):
        ended = run(python, "-c", "import sys; print(*sys.version_info[:3])", cwd=ROOT)
        version = tuple(map(int, ended.out.split())) if ended.code == 0 else ()
        if version and version[:2] not in seen:
            seen.add(version[:2])
            yield version, python


def refuse(proof: Proof, name: str, python: Path, wheel: Path, temp: Path) -> None:
    """A Python that is too old: the source says so by any pip, the wheel by a new one."""
    source = run(python, "-m", "pip", "install", temp / "tree", cwd=temp)
    said = next((line.strip() for line in source.out.splitlines() if "needs Python" in line), source.out[-300:])
    proof.add(source.code != 0 and f"needs Python {OLDEST[0]}.{OLDEST[1]}" in said, f"{name}: the source is refused", said)
    must(python, "-m", "pip", "install", "--quiet", "--upgrade", "pip", cwd=temp)
    built = run(python, "-m", "pip", "install", wheel, cwd=temp)
    said = next((line for line in built.out.splitlines() if "requires a different Python" in line), built.out[-300:])
    proof.add(built.code != 0 and f">={OLDEST[0]}.{OLDEST[1]}" in said, f"{name}: the wheel is refused", said)


def use(proof: Proof, name: str, python: Path, temp: Path, installing: Ended) -> None:
    """What whoever installed it does first, outside of the source tree."""
    proof.add(
        installing.code == 0, f"{name}: pip installs the wheel", f"{installing.seconds:.0f} s" if not installing.code else installing.out
    )
    if installing.code:
        return
    qwq = python.with_name("qwq")
    wanted = re.search(r'"(.+)"', (temp / "tree/qwq_local/__init__.py").read_text("utf-8").partition("__version__")[2])
    for asked, command, seen in (
        ("no requirement is broken", (python, "-m", "pip", "check"), "No broken requirements"),
        ("qwq --version", (qwq, "--version"), wanted[1] if wanted else "?"),
        ("it is imported without a warning", (python, "-W", "error", "-c", IMPORT), str(python.parents[1])),
        ("the demo model answers 47 + 85", (qwq, *QUESTION), "132"),
    ):
        ended = run(*command, cwd=temp)
        proof.add(
            ended.code == 0 and seen in ended.out, f"{name}: {asked}", ended.out.splitlines()[-1] if ended.out else f"exit {ended.code}"
        )


def test(proof: Proof, name: str, python: Path, sdist: Path, temp: Path) -> None:
    """Every test, from a copy of the source archive without the packages."""
    folder = unpack(sdist, temp / f"tests-{name}")
    for package in ("qwq_local", "convert"):
        shutil.rmtree(folder / package)
    ended = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder)
    seen = ended.out.splitlines()[-1] if ended.code == 0 else "\n" + ended.out[ended.out.find("= FAILURES =") :]
    proof.add(ended.code == 0, f"{name}: the tests pass against the installed wheel", seen)


def try_python(
    proof: Proof, found: tuple[tuple[int, ...], str], asked: argparse.Namespace, archives: tuple[Path, Path], temp: Path
) -> None:
    """One Python: installed, or refused; with its tests where they are asked for."""
    version, path = found
    name, (sdist, wheel) = ".".join(map(str, version)), archives
    python = new_environment(path, temp / f"python-{name}")
    if version < OLDEST:
        refuse(proof, name, python, wheel, temp)
        return
    tested = f"{version[0]}.{version[1]}" in asked.suite
    llama = [asked.llama] if asked.llama else []
    use(proof, name, python, temp, run(python, "-m", "pip", "install", "--quiet", *llama, f"{wheel}[test]" if tested else wheel, cwd=temp))
    if tested:
        test(proof, name, python, sdist, temp)


def read_arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dist", type=Path, help="An empty or new folder for the archives; by default they are deleted.")
    parser.add_argument("--python", action="append", default=[], metavar="PATH", help="Another Python to install with. Repeatable.")
    parser.add_argument("--llama", type=Path, help="A wheel of llama-cpp-python, instead of compiling it.")
    parser.add_argument("--suite", action="append", default=[], metavar="3.11", help="Run the tests with this Python. Repeatable.")
    return parser.parse_args()


def main() -> int:
    """The whole proof; 0 where all is as promised."""
    asked, proof = read_arguments(), Proof()
    with tempfile.TemporaryDirectory(prefix="qwq-wheel-") as folder:
        temp = Path(folder)
        tools = new_environment(sys.executable, temp / "tools")
        must(tools, "-m", "pip", "install", "--quiet", *TOOLS, cwd=temp)
        dist = asked.dist.absolute() if asked.dist else temp / "dist"
        archives = build(proof, tools, temp, dist)
        audit(proof, tools, temp / "tree", *archives)
        if not asked.llama:
            must(tools, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", temp / "llama", "llama-cpp-python>=0.3.36", cwd=temp)
        asked.llama = asked.llama.absolute() if asked.llama else the_one(temp / "llama", "*.whl")
        for found in find_pythons(asked.python):
            try_python(proof, found, asked, archives, temp)
    failed = sum(not held for held, _, _ in proof.rows)
    print(f"{len(proof.rows) - failed} of {len(proof.rows)} as promised")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
