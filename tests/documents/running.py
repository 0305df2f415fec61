"""Run one command of the documents as a shell would, and say what became of it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final

import httpx

from tests.documents import exceptions
from tests.documents.blocks import Command
from tests.documents.place import Hubs, Place, free_port
from tests.serving import TRUST
from tests.waiting import wait_until

BASH: Final = shutil.which("bash") or "/bin/bash"
SECONDS: Final = 120
_DOWNLOADS: Final = re.compile(r"\bqwq (pull|convert [A-Z]\w*/)")


def run(command: Command, place: Place, hubs: Hubs, server: str) -> None:
    """Raise AssertionError with all that was printed where the command does not end as its page says, or prints something else."""
    environment = dict(place.environment)
    if found := _DOWNLOADS.search(command.text):
        hub = hubs.of_files if found[1] == "pull" else hubs.of_checkpoints
        environment |= {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0"}
    text = exceptions.rewritten(command.text, server)
    assert not exceptions.DANGEROUS.search(text), f"{command.place}: {text} is not run; say in exceptions.NOT_RUN what covers it"
    if exceptions.LISTENING.match(text):
        _listen(command, text.removesuffix("&"), place, environment)
        return
    typed = next((keys for beginning, keys in exceptions.TYPED.items() if text.startswith(beginning)), "")
    done = subprocess.run(
        [BASH, "-o", "pipefail", "-c", text],
        cwd=place.folder,
        env=environment,
        input=typed,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    told = f"{command.place}: {text}\nended with {done.returncode}\n{done.stdout}{done.stderr}"
    assert done.returncode in exceptions.ENDINGS.get(command.text, {0}), told
    assert "Traceback" not in done.stderr, told
    _compare(command, done.stdout + done.stderr, told)


def _compare(command: Command, printed: str, told: str) -> None:
    """Every line that the page shows was printed; … in it stands for anything, and for lines left out."""
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    for shown in command.shown:
        pattern = re.compile(".*".join(map(re.escape, " ".join(shown.split()).split("…"))))
        assert any(pattern.fullmatch(line) for line in lines), f"{told}\nbut the page shows: {shown}"


def _listen(command: Command, text: str, place: Place, environment: dict[str, str]) -> None:
    """Start a server, wait until it answers, and interrupt it."""
    port, log = free_port(), place.folder.parent / "log"
    with (
        log.open("w") as written,
        subprocess.Popen(
            [BASH, "-c", text],
            cwd=place.folder,
            env=environment | {"QWQ_PORT": str(port)},
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            wait_until(lambda: process.poll() is not None or _is_well(port))
            assert process.poll() is None, f"{command.place}: {text}\nended with {process.returncode}\n{log.read_text()}"
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) in {0, 130}, f"{command.place}: {text}\n{log.read_text()}"
        finally:
            process.kill()
    assert "Traceback" not in log.read_text(), log.read_text()


def _is_well(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", verify=TRUST).is_success
    except httpx.TransportError:
        return False


def folder_of(page: str) -> str:
    """A page's name as a folder's."""
    return Path(page).stem
