"""Every command of the documents does what they say, every program in them runs, and every file in them can be read."""

from __future__ import annotations

import configparser
import contextlib
import io
import json
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from qwq_local.configuration import read_configuration
from tests.documents import exceptions
from tests.documents.blocks import Block, Command, blocks, commands, of_language, pages
from tests.documents.place import Hubs, Place, furnish, hubs, make_models, make_runs, quick_program
from tests.documents.running import folder_of, run
from tests.programs import posix
from tests.serving import Endpoint

PLAIN = ("", "text")
"""Pictures of screens and of trees: nobody types them."""
PAGES = [page for page in pages() if commands(page)]
PROGRAMS = [block for block in of_language("python") if not any(line in block.text for line in exceptions.IN_FILES)]
pytestmark = pytest.mark.filterwarnings("ignore")  # the clients' are other people's


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, Hubs]]:
    """A folder with models and runs, one with the program, and the hubs."""
    folder = tmp_path_factory.mktemp("documents")
    with quick_program(folder) as programs, hubs() as found:
        make_models(folder / "models")
        make_runs(folder, programs)
        yield folder, programs, found


@pytest.fixture
def place(prepared: tuple[Path, Path, Hubs], tmp_path: Path) -> Place:
    folder, programs, _ = prepared
    return furnish(tmp_path, folder, programs)


@pytest.fixture(scope="module")
def done_before() -> set[str]:
    """The commands of earlier pages."""
    return set()


def _was_run(command: Command, done_before: set[str]) -> bool:
    """Whether another page has the same command, of those that leave nothing behind for the next."""
    if command.text in done_before and not command.shown and exceptions.HARMLESS.match(command.text):
        return True
    done_before.add(command.text)
    return False


@posix
@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=map(folder_of, PAGES))
def test_every_command_of_the_documents_does_what_they_say(
    page: str, place: Place, prepared: tuple[Path, Path, Hubs], endpoint: Endpoint, done_before: set[str]
) -> None:
    failures = []
    for command in commands(page):
        if command.text not in exceptions.NOT_RUN and not _was_run(command, done_before):
            try:
                run(command, place, prepared[2], endpoint.url.removeprefix("http://"))
            except (AssertionError, subprocess.TimeoutExpired) as error:
                failures.append(str(error))
    if failures:
        pytest.fail("\n\n".join(failures), pytrace=False)


def test_every_command_that_is_left_out_stands_in_the_documents_and_has_its_reason() -> None:
    typed = {command.text for page in pages() for command in commands(page)}
    assert not {*exceptions.NOT_RUN, *exceptions.ENDINGS} - typed
    assert all(len(reason) > 20 for reason in exceptions.NOT_RUN.values())
    for rewriting in exceptions.REWRITINGS:
        assert any(rewriting.pattern.search(text) for text in typed), rewriting.pattern.pattern


@pytest.mark.slow
@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.place)
def test_every_program_of_the_documents_runs(block: Block, place: Place, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QWQ_MODELS", "QWQ_DATA", "PATH"):
        monkeypatch.setenv(name, place.environment[name])
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or it asks the network for prices
    monkeypatch.chdir(place.folder)
    code = block.text.replace("http://127.0.0.1:8080", endpoint.url)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, block.place, "exec"), {"__name__": "__main__"})  # noqa: S102 - our own documents
    assert printed.getvalue().strip(), f"{block.place} shows nothing"


def test_every_file_in_the_documents_can_be_read(tmp_path: Path) -> None:
    readers: dict[str, Any] = {"json": json.loads, "yaml": yaml.safe_load, "toml": tomllib.loads, "ini": _read_ini}
    for block in blocks():
        assert block.language in {*readers, *PLAIN, "sh", "console", "python"}, f"{block.place} is of a language that no test reads"
        if block.language in readers:
            assert readers[block.language](block.text), block.place
        if block.language == "toml":
            (tmp_path / "config.toml").write_text(block.text, "utf-8")
            assert read_configuration({"QWQ_CONFIG": str(tmp_path / "config.toml")}).arguments, block.place


def _read_ini(text: str) -> list[tuple[str, str]]:
    parser = configparser.ConfigParser()
    parser.read_string(f"[environment]\n{text}")
    return parser.items("environment")


def test_no_command_hides_in_a_block_that_is_not_run() -> None:
    for block in blocks():
        if block.language in PLAIN:
            hidden = [line for line in block.text.splitlines() if line.lstrip().startswith(("$ ", "qwq ", "pip ", "docker "))]
            assert not hidden, f"{block.place}: {hidden[0]}"
