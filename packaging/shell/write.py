"""Write the man page from what the program says: python packaging/shell/write.py (with --check it only says whether it is stale).

qwq.1 is one page of all commands in the man macros (man(7)). There is no date in it, so that the same program gives the same bytes.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import click

from qwq_local import __version__
from qwq_local.cli import qwq
from qwq_local.configuration import KEYS

FOLDER: Final = Path(__file__).parent
SHARED_BY: Final = 4
"""An option that so many commands have in the same words is told once."""
SOURCE_COLUMNS: Final = 70
EXAMPLE_COLUMNS: Final = 66
WORD: Final = re.compile(r"""-[\w-]+ [^-\s"']\S*|(?:"[^"]*"|'[^']*'|\S)+""")
"""An option with its value, or a word with what is quoted in it."""
KEPT: Final = "\b"
"""What click takes for the beginning of lines that are kept as they are."""
ESCAPES: Final = str.maketrans({"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"})


class Told(NamedTuple):
    """A command: its words, its usage, what its help says, and its options with what they do."""

    name: str
    usage: str
    help: str
    options: tuple[tuple[str, str], ...]


def commands(context: click.Context, name: str = "qwq") -> Iterator[Told]:
    """A command, and all that are in it."""
    command = context.command
    asked = [each for each in command.get_params(context) if isinstance(each, click.Option) and "--help" not in each.opts]
    records = [record for each in asked if (record := each.get_help_record(context))]
    usage = " ".join(command.collect_usage_pieces(context)).replace("[OPTIONS] COMMAND [ARGS]...", "COMMAND ...")
    yield Told(name, usage, inspect.cleandoc(command.help or ""), tuple(records))
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            child = command.get_command(context, inner)
            assert child, inner
            yield from commands(click.Context(child, parent=context, info_name=inner), f"{name} {inner}")


def roff(text: str) -> str:
    """Text that is shown as it is; a line of it is no request."""
    plain = "".join(letter if letter.isascii() else f"\\[u{ord(letter):04X}]" for letter in text.translate(ESCAPES))
    return "\n".join(f"\\&{line}" if line.startswith((".", "\\(aq")) else line for line in plain.splitlines())


def flowing(text: str) -> str:
    """Text that man fills lines with; those of its source are short, as they should be."""
    return roff(textwrap.fill(" ".join(text.split()), SOURCE_COLUMNS, break_long_words=False, break_on_hyphens=False))


def folded(line: str) -> str:
    """A command that has room on a terminal of 80 columns, gone on with behind a backslash where it is longer."""
    lines = [line[: len(line) - len(line.lstrip())]]
    for word in WORD.findall(line):
        if len(lines[-1]) + len(word) > EXAMPLE_COLUMNS and lines[-1].strip():
            lines[-1] += "\\"
            lines.append("    ")
        lines[-1] += f"{word} "
    return "\n".join(each.rstrip() for each in lines)


def paragraphs(text: str) -> Iterator[str]:
    """A help text: what is to be kept as it is stands indented, all else flows."""
    for place, paragraph in enumerate(text.split("\n\n")):
        begin = ".PP\n" if place else ""
        head, _, lines = paragraph.partition("\n")
        if head != KEPT:
            yield begin + flowing(paragraph)
            continue
        title, _, kept = lines.partition("\n")
        shown = "\n".join(map(folded, inspect.cleandoc(kept).splitlines()))
        yield f"{begin}{roff(title)}\n.PP\n.RS 4\n.nf\n{roff(shown)}\n.fi\n.RE"


def options(records: tuple[tuple[str, str], ...]) -> Iterator[str]:
    """Tagged paragraphs."""
    for names, told in records:
        assert told, f"{names} has no help"
        yield f".TP\n.B {roff(names)}\n{flowing(told)}"


def page() -> str:
    """The whole page."""
    top, *others = commands(click.Context(qwq, info_name="qwq"))
    counts = Counter(record for command in others for record in command.options)
    shared = {record for record, n_commands in counts.items() if n_commands >= SHARED_BY and record[0] != "--json"}
    lines = [
        '.\\" Written by packaging/shell/write.py from what the program says of itself.',
        f'.TH QWQ 1 "" "qwq {__version__}" "User Commands"',
        ".nh\n.ad l",
        ".SH NAME",
        "qwq \\- QwQ\\-32B on your own machine",
        ".SH SYNOPSIS",
        ".B qwq\n.I COMMAND\n[\n.I OPTIONS\n]",
        ".SH DESCRIPTION",
        *paragraphs(top.help),
        ".SH OPTIONS",
        *options((*top.options, ("-h, --help", "Show the help of qwq, or of a command, and exit."))),
        ".SH COMMANDS",
    ]
    for command in others:
        own = tuple(record for record in command.options if record not in shared)
        told_below = [record[0].split(" ")[0].strip(",") for record in command.options if record in shared]
        lines += [f'.SS "{roff(command.name)} {roff(command.usage)}"', *paragraphs(command.help), *options(own)]
        if told_below:
            lines.append(f".PP\n{flowing('Of the shared options (see below): ' + ', '.join(told_below))}.")
    ordered = tuple(dict.fromkeys(record for command in others for record in command.options if record in shared))
    lines += [".SH SHARED OPTIONS", *options(ordered), (FOLDER / "ending.man").read_text("utf-8").rstrip()]
    keys = flowing("Every key of the settings file can be set: " + ", ".join(f"QWQ_{key.upper()}" for key in KEYS) + ".")
    return "\n".join(lines).replace("@KEYS@", keys) + "\n"


def main() -> int:
    """Write the page, or compare it."""
    path, due = FOLDER / "qwq.1", page()
    if "--check" not in sys.argv[1:]:
        path.write_text(due, "utf-8")
    elif not path.exists() or path.read_text("utf-8") != due:
        print("qwq.1 is not what the program says: run python packaging/shell/write.py", file=sys.stderr)  # noqa: T201 - it says what to do
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
