"""Where the commands of the documents are true: the files that they name, models in the place of the large one, chats, and hubs."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from qwq_convert.pipeline import ConversionChoices, convert
from qwq_local.history import CHATS_FILE, History
from qwq_local.models.inventory import demo_model
from tests import fake_hub, hub_server
from tests.checkpoints import NANO
from tests.documents.blocks import ROOT, of_language
from tests.documents.exceptions import IN_FILES
from tests.documents.quick import write_client
from tests.waiting import wait_until

CHAT_ID: Final = "3f9a0c27d1"
QUESTION: Final = "What is 47 + 85?"
TEXT: Final = "The sum of 47 and 85 is 132, and the word strawberry has three letters r in it. Paris has 18 degrees today.\n"
SCHEMA: Final = {"type": "object", "properties": {"sum": {"type": "integer", "maximum": 999}}, "required": ["sum"]}
PULLED_FROM: Final = "Qwen/QwQ-32B-GGUF"
CONVERTED_FROM: Final = "Qwen/QwQ-32B"
STANDING_IN: Final = ("Q4_K_M", "Q8_0", "Q2_K")
"""What the folder of models has."""


@dataclass(frozen=True)
class Hubs:
    """Two on this machine: one has files to pull, the other a checkpoint to convert."""

    of_files: str
    of_checkpoints: str


@dataclass(frozen=True)
class Place:
    """A folder for one page, and what its commands are told by the environment."""

    folder: Path
    environment: dict[str, str]


@contextmanager
def hubs() -> Iterator[Hubs]:
    """Both, as long as the tests run."""
    content = demo_model().path.read_bytes()
    files = {f"qwq-32b-{name}.gguf": content for name in ("q4_k_m", "q8_0", "q5_k_m", "iq3_m")}
    with ExitStack() as stack:
        pulled = stack.enter_context(hub_server.serve({PULLED_FROM: files, "bartowski/Qwen_QwQ-32B-GGUF": files}))
        converted = stack.enter_context(fake_hub.serve(NANO, repository=CONVERTED_FROM))
        yield Hubs(pulled.url, converted.url)


def make_models(folder: Path) -> None:
    """qwq-nano under the names of QwQ-32B's quantizations."""
    for file in convert(NANO, folder, [*STANDING_IN, "BF16"], ConversionChoices(name="QwQ-32B")).files:
        assert file.path.name.startswith("QwQ-32B-"), file.path


def make_runs(folder: Path, programs: Path) -> None:
    """Two runs of `qwq eval`, of the same questions."""
    for seed, name in enumerate(("before", "after")):
        asked: list[str | Path] = [
            programs / "qwq",
            "eval",
            "nano",
            "-m",
            "demo",
            "--limit",
            "2",
            "--seed",
            str(seed),
            "--out",
            folder / name,
        ]
        subprocess.run(asked, check=True, capture_output=True)
        [run] = (folder / name).glob("*.jsonl")
        run.rename(folder / f"{name}.jsonl")


@contextmanager
def quick_program(folder: Path) -> Iterator[Path]:
    """A folder for the PATH, in which `qwq` starts in a moment."""
    place, programs = folder / "quick", folder / "bin"
    programs.mkdir()
    write_client(programs / "qwq", place)
    for name in ("python", "python3"):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', "utf-8")  # a link would lose the virtual environment
        (programs / name).chmod(0o755)
    with subprocess.Popen([sys.executable, "-m", "tests.documents.quick", str(place)], cwd=ROOT, env=_with_sources()) as process:
        wait_until(lambda: place.exists() or process.poll() is not None)
        try:
            yield programs
        finally:
            process.kill()


def _with_sources() -> dict[str, str]:
    paths = [str(ROOT), str(ROOT / "convert"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def furnish(folder: Path, prepared: Path, programs: Path) -> Place:
    """All that the documents name, in a folder and in the environment."""
    for name in ("here", "models", "data"):
        (folder / name).mkdir()
    here = folder / "here"
    models = prepared / "models"
    for run in prepared.glob("*.jsonl"):
        os.link(run, here / run.name)
    for path in models.glob("*.gguf"):
        os.link(path, here / path.name)
        if path.stem.removeprefix("QwQ-32B-") in STANDING_IN:
            os.link(path, folder / "models" / path.name)
    os.link(models / "QwQ-32B-Q2_K.gguf", here / "draft.gguf")
    shutil.copytree(NANO, here / "QwQ-32B")
    _write_files(here)
    _keep_a_chat(folder / "data" / CHATS_FILE)
    environment = {
        **_with_sources(),
        "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
        "QWQ_MODELS": str(folder / "models"),
        "QWQ_DATA": str(folder / "data"),
        "QWQ_CONFIG": str(folder / "config.toml"),
        "HOME": str(folder),
        **{f"XDG_{kind}_HOME": str(folder / kind.lower()) for kind in ("DATA", "CONFIG", "CACHE", "STATE")},
        "HF_HOME": str(folder / "hub"),
        "BROWSER": "true",
    }
    return Place(here, environment)


def _write_files(here: Path) -> None:
    questions = [" ".join(block.text.split("\n")) for block in of_language("json") if block.page == "docs/evaluation.md"]
    sums = [{"problem": f"What is {number} + 5?", "answer": str(number + 5)} for number in range(10, 16)]
    servers = {"mcpServers": {"tasks": {"command": sys.executable, "args": ["server.py"]}}}
    written = {
        "notes.txt": TEXT,
        "calibration.txt": TEXT * 20,
        "wiki.test.raw": TEXT * 40,
        "questions.jsonl": "\n".join(questions),
        "aime24.jsonl": "\n".join(map(json.dumps, sums)),
        "schema.json": json.dumps(SCHEMA),
        "servers.json": json.dumps(servers),
        "keys.txt": "a-key\n",
    }
    for line, name in IN_FILES.items():
        [program] = [block.text for block in of_language("python") if line in block.text]
        written[name] = program
    for name, text in written.items():
        (here / name).write_text(text, "utf-8")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["add", "notes.txt"], ["commit", "-qm", "Notes"]):
        subprocess.run([*git, *arguments], cwd=here, check=True)
    (here / "notes.txt").write_text(TEXT.replace("18", "19"), "utf-8")


def _keep_a_chat(path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, History.open(path) as history:
        patch.setattr("secrets.token_hex", lambda _: CHAT_ID)
        chat = history.start()
        question = history.say(chat, "user", "What do prime numbers and the sum of 47 + 85 have in common?")
        history.say(chat, "assistant", "Nothing that I know of.", question)


def free_port() -> int:
    """One that nobody listens at now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
