"""What TAB offers for a value that only the program knows. Nothing here asks the network, writes, opens a model, or fails.

Each function is click's `shell_complete`: it takes the context, the parameter and what is typed so far. Every command imports this
module, so that what a value needs is only imported once it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from qwq_local.errors import QwqError

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

MOST_CHATS = 40


def models(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Names of models; the path of a file where none fits, as the scripts see to."""
    return [*model_names(context, parameter, typed), *files(context, parameter, typed)]


def model_names(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """`demo`, and what `qwq list` shows."""
    from qwq_local.cli.list import size
    from qwq_local.models.inventory import DEMO, remembered_models

    named = {DEMO: "built in"}
    try:
        named |= {model.name: f"{size(model.file_bytes)}, {model.owner}" for model in remembered_models()}
    except (OSError, QwqError):  # a broken settings file is told by the command itself
        return _beginning(named.items(), typed)
    return _beginning(named.items(), typed)


def own_model_names(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """What `qwq rm` can delete: models of the store, and unfinished pulls."""
    from qwq_local.cli.list import size
    from qwq_local.models import names
    from qwq_local.models.inventory import remembered_models, unfinished_pulls

    try:
        named = {model.name: size(model.file_bytes) for model in remembered_models() if model.owner == "store"}
        for pull in unfinished_pulls():
            parsed = names.parse(pull.file_name)
            named.setdefault(names.model_name(parsed.base, parsed.quantization), f"{size(pull.done_bytes)}, unfinished")
    except (OSError, QwqError):
        return []
    return _beginning(named.items(), typed)


def published_quantizations(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Those that QwQ-32B's files were measured in, the best first."""
    from qwq_local.quants.quality import MEAN_KLD

    return _beginning(((name, "") for name in MEAN_KLD), typed.upper())


def quantizations(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Those that can be made."""
    from qwq_local.quants import QUANTIZATIONS

    return _beginning(((name, "") for name in QUANTIZATIONS), typed.upper())


def chats(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """The ids of the latest chats, with their titles."""
    from qwq_local.configuration import find_folders
    from qwq_local.history import CHATS_FILE
    from qwq_local.history.glance import latest_titles

    try:
        path = find_folders().data / CHATS_FILE
    except QwqError:
        return []
    return _beginning(latest_titles(path, typed, MOST_CHATS), typed)


def tasks(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """The built-in questions, or a file."""
    return [*_beginning([("nano", "the built-in questions")], typed), *files(context, parameter, typed)]


def task_formats(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """The formats of files with questions."""
    from qwq_local.evaluation.tasks import FORMATS

    return _beginning(FORMATS.items(), typed)


def kit_platforms(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """The platforms there are kits for."""
    from qwq_local.kit.platforms import PLATFORMS

    return _beginning(((platform.name, "") for platform in PLATFORMS), typed)


def builds(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """The builds of llama.cpp."""
    from qwq_local.builds import NAMES

    return _beginning(((name, "") for name in NAMES), typed)


def files(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Any file, which the shell itself completes."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(typed, type="file")]


def folders(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Any folder, likewise."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(typed, type="dir")]


def _beginning(named: Iterable[tuple[str, str]], typed: str) -> list[CompletionItem]:
    """Names that begin with what is typed; people don't type a model's capitals."""
    from click.shell_completion import CompletionItem

    start = typed.casefold()
    return [CompletionItem(name, help=told) for name, told in named if name.casefold().startswith(start)]
