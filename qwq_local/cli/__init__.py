"""The `qwq` command. Options only: each command's body imports what it needs, so that `qwq --help` imports click and nothing else."""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from qwq_local import __version__
from qwq_local.errors import QwqError, SettingsError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMPLETION_ASKED = "_QWQ_COMPLETE"
"""The variable that a shell's script sets when TAB is pressed; click looks for it under this name."""
EXIT_ERROR, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

_COMMANDS = {
    "ask": "Answer one question.",
    "bench": "Measure how fast a model runs here, and what it could reach.",
    "chat": "Talk with the model in the terminal.",
    "completion": "Let the shell complete qwq's commands, options and models.",
    "convert": "Make GGUF files of a Hugging Face checkpoint.",
    "desktop": "Open the page in a window of its own.",
    "divergence": "Measure how far a model is from the one it was made of.",
    "doctor": "Find what is wrong here, and the command that mends it.",
    "eval": "Find out what a model gets right.",
    "history": "List, search, show, continue, export and remove chats.",
    "imatrix": "Measure what matters in a model's weights, before quantizing.",
    "kit": "Gather what a machine without network needs.",
    "list": "List the models on this machine.",
    "perplexity": "Measure how likely a model finds a text.",
    "plan": "Say what to run on this machine, and why.",
    "pull": "Download QwQ-32B as GGUF.",
    "rm": "Delete a model.",
    "serve": "Answer over HTTP, as OpenAI, Anthropic and Ollama do.",
    "service": "Start the endpoint at login, and keep it alive.",
    "show": "Show what is in a model file.",
    "tune": "Find what makes a model faster here, and keep it.",
    "uninstall": "Remove qwq; chats and models stay unless they are named.",
    "verify": "Compare a model file with its recorded hash.",
}
"""Each command's line in `qwq --help`; its module is only imported to run it."""

_CONFIGURED = ("ask", "bench", "chat", "eval", "history", "serve", "tune")
"""The commands whose options take their defaults from the settings file and the environment."""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [*_COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - likewise
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"qwq_local.cli.{cmd_name}").command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=line) for name, line in _COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]  # a group's own would import every command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - likewise
        with formatter.section("Commands"):
            formatter.write_dl([*_COMMANDS.items()])  # `list` is a command here, once it is imported


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="qwq")
@click.pass_context
def qwq(ctx: click.Context) -> None:
    """QwQ-32B on your own machine. Without a command, on a terminal: qwq chat.

    \b
    Try it without a download:
        qwq ask -m demo 'How many r are in "strawberry"?'
    """
    if ctx.invoked_subcommand in _CONFIGURED:
        from qwq_local.configuration import read_configuration

        said = dict(read_configuration().arguments)
        ctx.default_map = {ctx.invoked_subcommand: said | {"continue": said}}


def main() -> NoReturn:
    """Run the command line; errors become one or two lines on stderr and an exit code."""
    if getattr(sys, "frozen", False):
        _become_what_is_asked()
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open until the process ends
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a letter shows another for it
    try:
        sys.exit(_run())
    except KeyboardInterrupt:  # that came while another ending was being told
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # whoever read our output has gone, and knows it
            _tell(f"The output cannot be written: {error.strerror}.", "Free some space, or send it elsewhere.")
        sys.stdout = None  # so that Python does not try once more to write what is left
        sys.exit(EXIT_ERROR)


def _become_what_is_asked() -> None:
    """An app is its own Python: where this program starts another of its processes, it starts itself."""
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    if first.startswith("--qwq-"):
        from qwq_local.grading import child
        from qwq_local.worker import process

        process.run_if_asked()
        child.run_if_asked()
    if first == "-m" and sys.argv[2:] and sys.argv[2].startswith("qwq_local."):
        import runpy

        runpy.run_module(sys.argv[2], run_name="__main__")
        sys.exit()


def _run(arguments: list[str] | None = None) -> int:
    if COMPLETION_ASKED in os.environ:
        from qwq_local.cli.completing.shells import register

        register()
    if arguments is None and len(sys.argv) == 1 and _is_watched():
        arguments = ["chat"]
    try:
        status: Any = qwq.main(arguments, prog_name="qwq", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return EXIT_USAGE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except QwqError as error:
        _tell(str(error), error.hint)
        return EXIT_USAGE if isinstance(error, SettingsError) else EXIT_ERROR
    return status if isinstance(status, int) else 0


def _is_watched() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))


def _tell(error: str, hint: str) -> None:
    from qwq_local.cli.terminal import tell_error

    tell_error(error, hint)
