"""`qwq eval`: what a model gets right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from qwq_local.cli.completing import values
from qwq_local.cli.options import given_options, place_options, sampling_options, speculation_options, take_load
from qwq_local.settings import N_PARALLEL

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("eval")
@click.argument("tasks", nargs=-1, metavar="[TASKFILE]...", shell_complete=values.tasks)
@click.option(
    "-m", "--model", "models", multiple=True, metavar="NAME", shell_complete=values.models, help="Repeatable. [default: the plan's choice]"
)
@click.option("--url", metavar="URL", help="Ask a REST endpoint of OpenAI's format instead: http://127.0.0.1:8080/v1")
@click.option("--api-key", envvar="QWQ_API_KEY", metavar="KEY", help="For the endpoint. [environment: QWQ_API_KEY]")
@click.option("--samples", "n_samples", type=int, default=1, show_default=True, metavar="K", help="Answers to each question.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N questions of each file.")
@click.option("--parallel", "n_parallel", type=int, default=N_PARALLEL, show_default=True, metavar="N", help="Answers at once.")
@click.option(
    "--format",
    "format_name",
    metavar="NAME",
    shell_complete=values.task_formats,
    help="How the file is written, where it is not told by itself: --formats",
)
@click.option("--formats", "shows_formats", is_flag=True, help="List the formats that are read.")
@click.option(
    "--answers",
    metavar="FILE",
    shell_complete=values.files,
    help="The right answers, where they are in a file of their own, as BFCL's are.",
)
@click.option("--strict", is_flag=True, help="Refuse a file with a malformed line; by default such lines are named and left out.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Where runs are kept.")
@click.option("--again", is_flag=True, help="Begin anew, also where such a run is kept; by default that one is gone on with.")
@click.option("--run", "kept", multiple=True, type=FILE, metavar="FILE", help="Show a run that is kept, beside the others. Repeatable.")
@click.option("--divergence", "divergences", multiple=True, type=FILE, metavar="FILE", help="For --html: what qwq divergence --json said.")
@click.option("--html", "html_path", type=FILE, metavar="FILE", help="Write a page with tables and plots.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@place_options
@speculation_options
@sampling_options
@click.pass_context
def command(context: click.Context, /, **options: Any) -> None:  # noqa: ANN401 - click's
    """Ask questions whose answers are known, grade what comes, and say how sure the result is.

    TASKFILE is a JSON Lines file of your own, one of the public formats (--formats), hub:OWNER/DATASET/FILE, or nano: questions for the
    demo model. Answers are written by the model's guidelines. Each is kept as soon as it is graded, so that a run that was stopped is gone
    on with when the same command is given again. Programs that a model writes run in a sandbox.

    \b
    Examples:
        qwq eval nano -m demo
        qwq eval aime24.jsonl -m QwQ-32B:Q4_K_M --samples 4
        qwq eval aime24.jsonl -m QwQ-32B:Q4_K_M -m QwQ-32B:Q2_K --html report.html
        qwq eval questions.jsonl --url http://127.0.0.1:8080/v1
        qwq eval --run before.jsonl --run after.jsonl
    """
    from qwq_local.cli.evaluating import Asked, evaluate, show_formats

    if options.pop("shows_formats"):
        show_formats()
        return
    asked = Asked(**{name: options.pop(name) for name in Asked.__dataclass_fields__})
    load = take_load(options)
    given = {name: value for name, value in options.items() if name in given_options(context)}
    evaluate(asked, load, options, given)
