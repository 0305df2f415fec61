"""An environment with qwq-local in it, worked on by a proof, and what was asked of it and seen."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

QUESTION: Final = ("ask", "-m", "demo", "--seed", "1", "--json", "What is 47 + 85?")
FIXING: Final = ("doctor", "--fix", "--yes", "--build")


@dataclass
class Proof:
    """The environment that is worked on, and what was seen so far."""

    folder: Path
    rows: list[tuple[bool, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.venv, self.mirror, self.data = self.folder / "venv", self.folder / "mirror", self.folder / "data"
        self.python, self.program = self.venv / "bin" / "python", self.venv / "bin" / "qwq"
        self.site = next(self.venv.glob("lib/*/site-packages"), self.venv)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("QWQ_", "PIP_", "PYTHON", "LD_"))}
        self.environment = {**kept, "QWQ_DATA": str(self.data), "QWQ_MODELS": str(self.folder / "models"), "PIP_CONFIG_FILE": os.devnull}

    def qwq(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the installed program."""
        return subprocess.run(
            [self.program, *arguments], env=self.environment | environment, cwd=self.folder, capture_output=True, text=True, check=False
        )  # fmt: skip

    def fix(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """`qwq doctor --fix` from the mirror, without questions, for one build."""
        return self.qwq(*FIXING, *arguments, "--index-url", self.mirror, **environment)

    def see(self, asked: str, seen: str, *, is_so: bool) -> None:
        """Keep a row, and print it."""
        self.rows.append((is_so, asked, seen))
        print(f"{'ok ' if is_so else 'NOT'} {asked:78} {seen}", flush=True)

    def files(self) -> dict[str, str]:
        """Every file of llama-cpp-python with its hash, every link with its target, and everything that lies beside it."""
        tops = [top for part in ("llama_cpp*", "include", "lib") for top in self.site.glob(part)]
        owned = [path for top in tops for path in top.rglob("*") if path.is_file()]
        found = {str(path.relative_to(self.site)): hashlib.sha256(path.read_bytes()).hexdigest() for path in owned}
        links = (path for top in tops for path in top.rglob("*") if path.is_symlink())
        found |= {str(path.relative_to(self.site)): f"link to {path.readlink()}" for path in links}
        return found | {path.name: "" for path in self.site.iterdir()}

    def version(self) -> str:
        """The version that pip says is installed."""
        shown = subprocess.run([self.python, "-m", "pip", "show", "llama-cpp-python"], capture_output=True, text=True, check=False)
        return next((line.split()[1] for line in shown.stdout.splitlines() if line.startswith("Version:")), "none")

    def answer(self) -> str:
        """What the built-in model answers with the llama.cpp that is installed."""
        asked = self.qwq(*QUESTION)
        return str(json.loads(asked.stdout)["content"]).strip() if asked.returncode == 0 else asked.stderr.strip()


def error(ended: subprocess.CompletedProcess[str]) -> str:
    """The two lines that a user is told in the end."""
    lines = [line for line in ended.stderr.splitlines() if line.startswith(("error:", "hint:"))]
    return " ".join(lines) or f"exit {ended.returncode}"


@contextlib.contextmanager
def without(package: Path) -> Iterator[None]:
    """A package taken out of the environment for a while."""
    aside = package.with_name(f"{package.name}-aside")
    shutil.move(package, aside)
    try:
        yield
    finally:
        shutil.move(aside, package)
