"""Which small faults in the pure modules no test would notice: mutation testing with mutmut, in a temporary copy of the tree.

    pip install mutmut
    python -m benchmarks.mutants [MODULE ...] [--json FILE]

It prints what each mutant that nobody noticed would change, and a table; docs/mutants.md says why those that are known are left. The tests
are the fast ones of each module, with few and always the same examples of hypothesis, so that two runs agree: 2 to 6 minutes a module.

mutmut changes the bodies of functions only, and of those no decorated ones; what `@property`, `@classmethod` and `@lru_cache` decorate is
therefore decorated by an assignment in the copy. Constants and the defaults of fields are not changed.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from benchmarks.options import json_option
from benchmarks.report import Table

NEEDS: Final = ("mutmut",)
ROOT: Final = Path(__file__).parent.parent
TESTS: Final = {
    "qwq_local/plan/memory.py": ("plan/test_memory",),
    "qwq_local/plan/plan.py": ("plan/test_plan",),
    "qwq_local/prompt.py": ("test_prompt",),
    "qwq_local/engine/thinking.py": ("engine/test_thinking", "engine/test_engine", "engine/test_control"),
    "qwq_local/engine/scheduler.py": ("engine/test_scheduler", "engine/test_engine", "engine/test_control"),
}
MOST_EXAMPLES: Final = 20
"""Of hypothesis, for each property."""
NOTICED: Final = ("killed", "timeout")

_CONFTEST: Final = f"""
import sys
from hypothesis import Phase

settings.register_profile(
    "mutants",
    settings.get_profile("patient"),
    derandomize=True,
    database=None,
    max_examples={MOST_EXAMPLES},
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("mutants")

def pytest_sessionstart():
    for name, module in list(sys.modules.items()):
        if name.rpartition(".")[2].startswith("test_"):
            del sys.modules[name]
        elif name.startswith("qwq_local"):
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
"""
"""Each mutant's process is forked from one that ran the tests already: it must forget what these kept."""


def copy_tree(folder: Path, module: str) -> None:
    """The tree as mutmut wants it, set to change one module."""
    for name in ("qwq_local", "convert", "tests", "pyproject.toml"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    # mutmut changes packages that lie at the root only.
    (folder / "convert" / "qwq_convert").rename(folder / "qwq_convert")
    tests = [f"tests/{name}.py" for name in TESTS[module]]
    with (folder / "pyproject.toml").open("a") as settings:
        settings.write(
            f'\n[tool.mutmut]\nsource_paths = ["qwq_local"]\nonly_mutate = ["{module}"]\nalso_copy = ["qwq_convert"]\n'
            f'pytest_add_cli_args = ["-p", "no:cacheprovider"]\npytest_add_cli_args_test_selection = {tests}\n'
        )
    with (folder / "tests" / "conftest.py").open("a") as conftest:
        conftest.write(_CONFTEST)
    for path in (folder / test for test in tests):
        path.write_text(re.sub(r"max_examples=\d+", f"max_examples={MOST_EXAMPLES}", path.read_text("utf-8")), "utf-8")
    (folder / module).write_text(with_bare_functions((ROOT / module).read_text("utf-8")), "utf-8")


def with_bare_functions(source: str) -> str:
    """The same module, its decorators applied by assignments behind the functions."""
    lines = source.splitlines(keepends=True)
    decorated = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef) and len(node.decorator_list) == 1]
    for node in sorted(decorated, key=lambda node: node.lineno, reverse=True):
        decorator = node.decorator_list[0]
        assert node.end_lineno is not None, "it was parsed"
        lines.insert(node.end_lineno, f"{' ' * node.col_offset}{node.name} = {ast.unparse(decorator)}({node.name})\n")
        del lines[decorator.lineno - 1 : node.lineno - 1]
    return "".join(lines)


def mutmut(folder: Path, *arguments: str) -> str:
    """What it prints, which is told where it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", "from mutmut.__main__ import cli; cli()", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise click.ClickException(f"mutmut {' '.join(arguments)} failed:\n{done.stdout[-4000:]}")
    return done.stdout


def outcomes(folder: Path) -> Iterator[tuple[str, str]]:
    """Each mutant's name and what became of it."""
    for line in mutmut(folder, "results", "--all", "true").splitlines():
        if ": " in line:
            name, outcome = line.strip().split(": ")
            yield name, outcome


def changed_lines(folder: Path, mutant: str) -> str:
    """What a mutant changes, as the lines of a diff without its head."""
    lines = mutmut(folder, "show", mutant).splitlines()
    return "\n".join(line for line in lines if line[:1] in ("+", "-") and not line.startswith(("+++", "---")))


@click.command()
@click.argument("modules", nargs=-1, metavar="[MODULE ...]")
@json_option
def main(modules: tuple[str, ...], json_path: Path | None) -> None:
    """Change MODULEs in every way that mutmut knows, by default all."""
    table = Table("mutants", ["module", "mutants", "noticed", "unnoticed", "noticed, %"])
    for module in modules or TESTS:
        if module not in TESTS:
            raise click.BadParameter(f"{module} is none of {', '.join(TESTS)}.")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            copy_tree(folder, module)
            mutmut(folder, "run", "--max-children", "1")
            found = dict(outcomes(folder))
            unnoticed = [mutant for mutant, outcome in found.items() if outcome not in NOTICED]
            print(f"\n{module}: {dict(Counter(found.values()))}")
            for mutant in unnoticed:
                print(f"\n{mutant} ({found[mutant]})\n{changed_lines(folder, mutant)}", flush=True)
        table.add(module, len(found), len(found) - len(unnoticed), len(unnoticed), 100 * (1 - len(unnoticed) / len(found)))
    table.show(json_path)


if __name__ == "__main__":
    main()
