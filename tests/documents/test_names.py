"""Commands, options and files that the documents speak of are there."""

from __future__ import annotations

import re

import click

from qwq_local.cli import qwq
from tests.documents.blocks import ROOT, pages, spoken_of
from tests.source import in_the_source_tree


def known_options(words: list[str]) -> set[str]:
    """The options of the command that the words after "qwq" name. Raises KeyError for one that there is not."""
    context = click.Context(qwq, info_name="qwq")
    command: click.Command = qwq
    for number, word in enumerate(words):
        if not isinstance(command, click.Group) or not re.fullmatch("[a-z]+", word):
            break
        found = command.get_command(context, word)
        if found is None:
            raise KeyError(" ".join(words[: number + 1]))
        command = found
    return {name for parameter in command.get_params(context) for name in (*parameter.opts, *parameter.secondary_opts)}


def test_every_command_and_option_that_is_spoken_of_exists() -> None:
    strange = []
    for command in spoken_of():
        for said in re.split(r"[|&]", command.text):
            words = said.split()
            if words[:1] != ["qwq"]:
                continue
            try:
                options = known_options(words[1:])
            except KeyError as error:
                strange.append(f"{command.place}: there is no {error}")
                continue
            strange += [
                f"{command.place}: {command.text} has no {word}"
                for word in re.findall(r"(?<!\S)--?[a-z][a-z-]*", said)
                if word not in options
            ]
    assert not strange, "\n".join(strange)


@in_the_source_tree
def test_every_file_of_the_project_that_is_spoken_of_exists() -> None:
    missing = []
    for page in pages():
        named = re.findall(r"`((?:tests|packaging|docs|benchmarks|convert|qwq_local)/[\w./-]+)`", (ROOT / page).read_text("utf-8"))
        missing += [f"{page}: {path}" for path in named if not (ROOT / path).exists()]
    assert not missing, "\n".join(missing)


def test_every_proof_that_covers_a_command_exists() -> None:
    from tests.documents import exceptions

    named = {path for reason in exceptions.NOT_RUN.values() for path in re.findall(r"(?:tests|packaging)/[\w./]+\w", reason)}
    assert named
    assert not [path for path in named if not (ROOT / path).exists()]
