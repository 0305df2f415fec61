"""The house in figures: files, lines, functions, branches, imports. What a redesign changed can be read from two runs of it.

    python -m benchmarks.house [ROOT] [--json FILE]

ROOT is a checkout (this one where none is given). A function's complexity is McCabe's, as ruff counts it; an import edge is one module that
imports another of this project's, as grimp (on which import-linter stands) sees it.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import click

from benchmarks.options import json_option
from benchmarks.report import Table

PACKAGES = ("qwq_local", "convert/qwq_convert")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
EDGES = """
import json, sys
sys.path[:0] = [".", "convert"]
import grimp
graph = grimp.build_graph("qwq_local", "qwq_convert", cache_dir=None)
edges = [(one, other) for one in graph.modules for other in graph.find_modules_directly_imported_by(one)]
room = lambda name: ".".join(name.split(".")[:2])
print(json.dumps([len(edges), len({(room(a), room(b)) for a, b in edges if room(a) != room(b)})]))
"""


def sources(root: Path, *folders: str) -> Iterator[Path]:
    """Every Python file below some folders."""
    for folder in folders:
        yield from sorted((root / folder).rglob("*.py"))


def functions(path: Path) -> Iterator[tuple[int, str]]:
    """Each function's lines, and where it stands."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, FUNCTIONS):
            yield (node.end_lineno or node.lineno) - node.lineno + 1, f"{path.name}:{node.name}"


def complexities(root: Path) -> list[tuple[int, str]]:
    """McCabe's number of each function, by ruff."""
    options = ["--isolated", "--select", "C901", "--config", "lint.mccabe.max-complexity=0", "--output-format", "json"]
    command = [sys.executable, "-m", "ruff", "check", *options, *PACKAGES]
    said = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    found = ((re.match(r"`(.+)` is too complex \((\d+) > 0\)", one["message"]), one["filename"]) for one in json.loads(said.stdout))
    return [(int(match[2]), f"{Path(name).name}:{match[1]}") for match, name in found if match]


def imports(root: Path) -> tuple[int, int]:
    """Edges between modules, and between rooms (the packages and modules right below qwq_local)."""
    said = subprocess.run([sys.executable, "-c", EDGES], cwd=root, capture_output=True, text=True, check=True)
    modules, rooms = json.loads(said.stdout)
    return modules, rooms


def layers_broken(root: Path) -> int:
    """How many of the contracts in pyproject.toml are broken."""
    command = [str(Path(sysconfig.get_path("scripts")) / "lint-imports"), "--no-cache"]
    said = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    found = re.search(r"(\d+) broken", said.stdout)
    if not found:
        raise RuntimeError(f"lint-imports said: {said.stdout}{said.stderr}")
    return int(found[1])


def largest(found: list[tuple[int, str]]) -> str:
    """The largest figure, and whose it is."""
    figure, where = max(found)
    return f"{figure} ({where})"


def house(root: Path) -> Iterator[tuple[str, str | int | float]]:
    """Every figure with its name."""
    lines = [(len(path.read_text("utf-8").splitlines()), path.name) for path in sources(root, *PACKAGES)]
    long = [one for path in sources(root, *PACKAGES) for one in functions(path)]
    complexity = complexities(root)
    modules, rooms = imports(root)
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    yield "files", len(lines)
    yield "lines", sum(count for count, _ in lines)
    yield "lines of tests", sum(len(path.read_text("utf-8").splitlines()) for path in sources(root, "tests"))
    yield "lines of benchmarks", sum(len(path.read_text("utf-8").splitlines()) for path in sources(root, "benchmarks"))
    yield "median file", median(count for count, _ in lines)
    yield "largest file", largest(lines)
    yield "functions", len(long)
    yield "median function", median(count for count, _ in long)
    yield "largest function", largest(long)
    yield "functions over 40 lines", sum(count > 40 for count, _ in long)
    yield "mean complexity", sum(count for count, _ in complexity) / len(complexity)
    yield "largest complexity", largest(complexity)
    yield "import edges between modules", modules
    yield "import edges between rooms", rooms
    yield "import contracts broken", layers_broken(root)
    yield "dependencies", len(project["dependencies"])
    yield "dependencies of the tests", len(project["optional-dependencies"]["test"])


@click.command()
@click.argument("root", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path(__file__).parents[1])
@json_option
def main(root: Path, json_path: Path | None) -> None:
    """Print the table."""
    table = Table("the house", ["figure", "here"])
    for name, figure in house(root):
        table.add(name, figure)
    table.show(json_path)


if __name__ == "__main__":
    main()
