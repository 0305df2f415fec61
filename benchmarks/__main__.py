"""All benchmarks, one after the other: python -m benchmarks [NAME ...] [--tools FOLDER] [--llama-cpp SOURCE] [--list] [--out FOLDER].

Each runs in a process of its own, prints its tables and, with --out, leaves them there (NAME.json, or NAME-TABLE.json for each of several).
Those that need what was not given are left out by name. Exits with 1 where one failed. All of them need the extra `test`.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click

from benchmarks.report import Table

HERE: Final = Path(__file__).parent
FOLDER: Final = click.Path(exists=True, file_okay=False, resolve_path=True)
OPTIONS: Final = {"tools_option": "tools", "llama_cpp_option": "llama-cpp", "rpc_option": "rpc", "python_option": "python"}
"""What benchmarks/options.py has, as the command line has it."""


@dataclass(frozen=True)
class Benchmark:
    """A script with a `main`: what it measures, which options it takes, and the packages that it imports or names as its `NEEDS`."""

    name: str
    what: str
    options: tuple[str, ...]
    packages: frozenset[str]

    def needs(self, given: Mapping[str, str]) -> list[str]:
        """What is still to be given for it."""
        lacking = [f"--{option} FOLDER" for option in self.options if option != "python" and option not in given]
        wanted = self.packages | (
            {"sentencepiece", "torch", "transformers"} if "python" in self.options and "python" not in given else set()
        )
        return lacking + [f"pip install {package}" for package in sorted(wanted) if find_spec(package) is None]

    def run(self, given: Mapping[str, str], out: Path | None) -> tuple[float, int]:
        """Run it; seconds and exit status."""
        options = [word for option in self.options if option in given for word in (f"--{option}", given[option])]
        record = ["--json", str(out / f"{self.name}.json")] if out else []
        started_at = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{self.name}", *options, *record], cwd=HERE.parent, check=False)
        return time.perf_counter() - started_at, done.returncode


def read(path: Path) -> Benchmark | None:
    """The benchmark in a file, not imported; None where it is what others stand on."""
    tree = ast.parse(path.read_text("utf-8"))
    main = next((each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name == "main"), None)
    if main is None or path == Path(__file__):
        return None
    words = {each.id for each in main.decorator_list if isinstance(each, ast.Name)}
    options = tuple(option for name, option in OPTIONS.items() if name in words)
    return Benchmark(path.stem, (ast.get_docstring(tree) or "").splitlines()[0], options, packages(tree))


def packages(tree: ast.Module) -> frozenset[str]:
    """What stands after `import` and `from` at the top, and in `NEEDS`."""
    found: set[str] = set()
    for each in tree.body:
        match each:
            case ast.Import(names=names):
                found |= {name.name.partition(".")[0] for name in names}
            case ast.ImportFrom(module=str(module)):
                found.add(module.partition(".")[0])
            case ast.AnnAssign(target=ast.Name(id="NEEDS"), value=ast.Tuple() as value):
                found |= set(ast.literal_eval(value))
    return frozenset(found)


def benchmarks() -> dict[str, Benchmark]:
    """All by name, in order."""
    return {found.name: found for path in sorted(HERE.glob("*.py")) if (found := read(path))}


def choose(names: Sequence[str]) -> list[Benchmark]:
    """Those of these names, or all. Raises BadParameter for a name that none has."""
    known = benchmarks()
    if unknown := [name for name in names if name not in known]:
        raise click.BadParameter(f"There is no benchmark {unknown[0]!r}. Known: {', '.join(known)}.")
    return [known[name] for name in names or known]


@click.command(help=__doc__)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--tools", type=FOLDER, help="Where llama.cpp's programs are.")
@click.option("--llama-cpp", type=FOLDER, help="llama.cpp's source tree.")
@click.option("--rpc", type=FOLDER, help="A llama.cpp built with GGML_RPC=ON: its libraries, and ggml-rpc-server.")
@click.option("--python", help="An interpreter with the extra `reference`, for llama.cpp's converter.")
@click.option("--list", "lists", is_flag=True, help="Only tell what there is, and what each needs.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path, resolve_path=True), help="Folder for the figures as JSON.")
def main(*, names: Sequence[str], lists: bool, out: Path | None, **options: str | None) -> None:
    """Run them."""
    chosen = choose(names)
    given = {option.replace("_", "-"): value for option, value in options.items() if value}
    if lists:
        for each in chosen:
            print(f"{each.name}: {each.what}" + "".join(f"\n    needs {need}" for need in each.needs(given)))
        return
    if out:
        out.mkdir(parents=True, exist_ok=True)
    table = Table("benchmarks", ["name", "seconds", "exit status"])
    has_failed = False
    for each in chosen:
        if needs := each.needs(given):
            table.add(each.name, "", f"left out: give {', '.join(needs)}")
            continue
        print(f"\n# {each.name}: {each.what}", flush=True)
        seconds, status = each.run(given, out)
        has_failed |= status != 0
        table.add(each.name, round(seconds, 1), status)
    table.show(out / "summary.json" if out else None)
    sys.exit(has_failed)


if __name__ == "__main__":
    main()
