"""The shells whose TAB we answer: click finds what fits, the scripts beside this file ask for it and show it.

A script hands over the line up to the cursor (`_QWQ_LINE`), whose words Python takes apart alike for all shells; it reads a line for each
thing that fits: `plain`, `file` or `dir`, the whole word, and what it is, with tabs between. Files are for where nothing
plain fits. What cannot be printed is not offered. The first line, `typed`, is the word at the cursor without its quotes.
"""

from __future__ import annotations

import os
from importlib import resources
from typing import Any, Final

import click
from click.shell_completion import CompletionItem, PowerShellComplete, ShellComplete, add_completion_class, split_arg_string

SCRIPTS: Final = {"bash": "qwq.bash", "zsh": "_qwq", "fish": "qwq.fish"}
"""The file of each shell's script, beside this one."""
ASKED: Final = "_QWQ_COMPLETE"
LINE: Final = "_QWQ_LINE"
_CURSOR: Final = "\0"
HELP_CHARACTERS: Final = 100


def script(shell: str) -> str:
    """What a shell has to run, once, to complete `qwq`; PowerShell's is click's own."""
    if shell == "powershell":
        return PowerShellComplete(click.Command("qwq"), {}, "qwq", ASKED).source()
    return (resources.files("qwq_local.cli.completing") / SCRIPTS[shell]).read_text("utf-8")


class LineComplete(ShellComplete):
    """Completion of a line up to the cursor."""

    name = ""
    source_template = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one at the cursor, and what of that is typed."""
        *words, typed = split_arg_string(os.environ.get(LINE, "") + _CURSOR)
        return words[1:], typed.removesuffix(_CURSOR)

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """Whole words: what fits behind `--option=` begins with that."""
        found = [item for item in super().get_completions(args, incomplete) if item.value.isprintable()]
        option, joint, _ = incomplete.partition("=")
        if joint and option.startswith("--"):
            for item in found:
                item.value = option + joint + item.value
        return found

    def complete(self) -> str:
        """All lines."""
        return f"typed\t{' '.join(self.get_completion_args()[1].split())}\n{super().complete()}"

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """A line, whatever is in the help."""
        return f"{item.type}\t{item.value}\t{' '.join((item.help or '').split())[:HELP_CHARACTERS]}"


def register() -> None:
    """Have click ask this class, instead of its own for these shells."""
    for shell in SCRIPTS:
        add_completion_class(LineComplete, shell)
