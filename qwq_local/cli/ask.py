"""`qwq ask`: one question."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from qwq_local import card
from qwq_local.cli.completing import values
from qwq_local.cli.options import load_options, sampling_options, speculation_options, take_load, take_tools, tool_options
from qwq_local.errors import ConstraintError, EmptyPromptError, PromptError, SettingsError
from qwq_local.settings import LoadSettings, RaceSettings


@click.command("ask")
@click.argument("prompt", required=False)
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    metavar="FILE",
    shell_complete=values.files,
    help="Add a file's text; - is standard input. Repeatable.",
)
@click.option("--system", metavar="TEXT", help="A system message.")
@click.option("--math", is_flag=True, help="Add QwQ's standard instruction for mathematics (answer in \\boxed{}).")
@click.option("--choice", is_flag=True, help="Add QwQ's standard instruction for multiple choice (answer as JSON).")
@click.option(
    "--schema", metavar="FILE", shell_complete=values.files, help="A JSON schema that the answer follows; the thinking is left free."
)
@click.option(
    "--race", type=int, default=RaceSettings.race, metavar="K", help="Write K samples at once; the first that ends is the answer."
)
@click.option(
    "--vote",
    type=int,
    default=RaceSettings.vote,
    metavar="K",
    help="Write K samples at once; what most come to (\\boxed{} or choice) is the answer.",
)
@click.option("--no-thoughts", is_flag=True, help="Don't show the thinking.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: reasoning, answer, token counts, timings.")
@load_options
@speculation_options
@sampling_options
@tool_options
def command(prompt: str | None, files: tuple[str, ...], system: str | None, **options: Any) -> None:  # noqa: ANN401 - click's
    """Answer one question. The answer goes to stdout, the thinking to stderr.

    Without PROMPT the question is read from standard input.

    \b
    Examples:
        qwq ask -m demo "What is 47 + 85?"
        qwq ask -m QwQ-32B-Q4_K_M.gguf -f notes.txt "Summarise these notes."
        git diff | qwq ask -m QwQ-32B-Q4_K_M.gguf -f - "Review this change."
        qwq ask -m QwQ-32B-Q4_K_M.gguf --schema person.json -f letter.txt "Who wrote this?"
        qwq ask -m QwQ-32B-Q4_K_M.gguf --math --race 3 "How many primes are below 100?"
        qwq ask -m QwQ-32B-Q4_K_M.gguf --mcp "python server.py" "What is the weather in Paris?"
    """
    from qwq_local.cli.answer import answer

    instructions = [text for flag, text in (("math", card.MATH_INSTRUCTION), ("choice", card.CHOICE_INSTRUCTION)) if options.pop(flag)]
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": gather_prompt(prompt, files, instructions)})
    load, tools = take_load(options), take_tools(options)
    race = RaceSettings(options.pop("race"), options.pop("vote"))
    if race.n_samples > 1:
        if tools.servers:
            raise SettingsError(f"--{race.name} and --mcp are both given.", hint="A sample that calls a tool has not answered yet.")
        options[race.name] = race.n_samples
        load["n_parallel"] = max(LoadSettings.n_parallel, race.n_samples)
    if (schema := options.pop("schema")) is not None:
        if tools.servers:
            raise SettingsError("--schema and --mcp are both given.", hint="An answer that follows a schema calls no tools.")
        options["schema"] = parse_schema(_read(schema), schema)
    as_json, shows_thoughts = options.pop("as_json"), not options.pop("no_thoughts")
    answer(messages, load, options, tools=tools, as_json=as_json, shows_thoughts=shows_thoughts)


def gather_prompt(prompt: str | None, files: tuple[str, ...], instructions: list[str]) -> str:
    """The question with its files; raises EmptyPromptError where there is none, PromptError for a file that is not UTF-8."""
    if prompt is None and not files:
        if sys.stdin is None or sys.stdin.isatty():
            raise EmptyPromptError("Nothing was asked.", hint='Ask something: qwq ask -m demo "What is 47 + 85?"')
        files = ("-",)
    question = "\n\n".join([*([prompt] if prompt is not None else []), *map(_read, files)])
    if not question.strip():
        raise EmptyPromptError("The question is empty.", hint='Ask something: qwq ask -m demo "What is 47 + 85?"')
    return " ".join([question, *instructions])


def parse_schema(text: str, name: str) -> dict[str, Any]:
    """The JSON schema in a file; raises ConstraintError where it is none."""
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise ConstraintError(f"{name} is no JSON: {error}.", hint="Correct the file given with --schema.") from error
    if not isinstance(schema, dict):
        raise ConstraintError(f"{name} holds {json.dumps(schema)[:40]}, which is no JSON schema.", hint='Such as {"type": "object"}.')
    return schema


def _read(name: str) -> str:
    if name == "-" and sys.stdin is None:
        raise PromptError("Standard input is closed.", hint="Pipe the text in, or give a file with -f FILE.")
    try:
        return (sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()).decode("utf-8")
    except UnicodeDecodeError as error:
        raise PromptError(
            f"{name} is not UTF-8 text (byte {error.start:,}).",
            hint="Give a text file; convert it with iconv if it has another encoding.",
        ) from error
    except OSError as error:
        raise PromptError(f"{name} cannot be read: {error.strerror}.", hint="Check the path given with -f.") from error
