"""Write what the documents take from the program: python docs/pages.py (with --check it only says what is out of date).

docs/commands.md is every command's help, docs/messages.md every error's message (messages.py). In ARCHITECTURE.md, what stands between
the `tree` marks is each file's docstring, its first sentence, and each room's number is its place among the layers of pyproject.toml,
counted from below.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import messages  # beside this file

from qwq_local.cli import qwq

ROOT = Path(__file__).parents[1]
WIDTH = 110
HEAD = "# Every command\n\nWhat `qwq --help` and each command's `--help` say; `make docs` writes this page.\n"
TREE = re.compile(r"(?<=<!-- tree: written by `make docs` -->\n).*(?=<!-- end of the tree -->)", re.DOTALL)


def commands() -> str:
    """The page of all commands' help."""
    top = click.Context(qwq, info_name="qwq", terminal_width=WIDTH, max_content_width=WIDTH, **qwq.context_settings)
    helps = dict(all_helps(top, "qwq"))
    return HEAD + "".join(f"\n## {name}\n\n```\n{told}\n```\n" for name, told in helps.items())


def all_helps(context: click.Context, name: str) -> Iterator[tuple[str, str]]:
    """A command's help, and that of each command in it."""
    yield name, context.get_help()
    if isinstance(group := context.command, click.Group):
        for inner in group.list_commands(context):
            command = group.get_command(context, inner)
            assert command, inner
            inside = click.Context(command, parent=context, info_name=inner, terminal_width=WIDTH, max_content_width=WIDTH)
            yield from all_helps(inside, f"{name} {inner}")


def layers() -> dict[str, int]:
    """Each room's number: what is below it has a lower one."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (rows,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    return {room: number for number, row in enumerate(reversed(rows)) for room in row.split(" | ")}


def purpose(path: Path) -> str:
    """A file's docstring up to its first full stop, or a room's."""
    first = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return re.split(r"\.(?:\s|$)", " ".join(first.split("\n\n")[0].split()), maxsplit=1)[0]


def branch(path: Path, indent: str, number: str = "") -> Iterator[str]:
    """The lines of a file, or of a room and all that is in it."""
    room = path / "__init__.py"
    name = f"{indent}{path.name}{'/' if path.is_dir() else ''}"
    yield f"{name:<24}{number:>3}  {purpose(room if path.is_dir() else path)}"
    if path.is_dir():
        inside = [one for one in path.iterdir() if one.suffix == ".py" or (one / "__init__.py").exists()]
        for one in sorted(inside, key=lambda one: (one.is_dir(), one.name)):
            if not one.name.startswith("__"):
                yield from branch(one, indent + "  ")


def tree() -> str:
    """The house, a line for each room and file, from the lowest room up."""
    rooms = sorted(layers().items(), key=lambda room: room[1])
    lines = [f"{'qwq_local/':<24}     {purpose(ROOT / 'qwq_local/__init__.py')}"]
    for room, number in rooms:
        path = ROOT / "qwq_local" / room
        lines += branch(path if path.is_dir() else path.with_suffix(".py"), "  ", str(number))
    lines += [*branch(ROOT / "convert/qwq_convert", "")]
    return "```\n" + "\n".join(lines) + "\n```\n"


def main() -> int:
    """Write the documents, or compare them."""
    architecture = ROOT / "ARCHITECTURE.md"
    due = {
        ROOT / "docs/commands.md": commands(),
        ROOT / "docs/messages.md": messages.page(),
        architecture: TREE.sub(lambda _: tree(), architecture.read_text("utf-8")),
    }
    stale = [path for path, text in due.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        if "--check" in sys.argv[1:]:
            print(f"{path.relative_to(ROOT)} is not what the program says: run `make docs`.", file=sys.stderr)
        else:
            path.write_text(due[path], "utf-8")
    return int(bool(stale) and "--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
