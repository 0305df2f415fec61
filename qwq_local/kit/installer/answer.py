"""Does the program that was put in place work? It is asked, before anyone relies on it."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .environment import SCRIPTS, clean_variables, program_of
from .trouble import InstallError

QUESTION = "What is 47 + 85?"
WAIT_SECONDS = 600
TOLD_LINES = 6
NOEXEC = "Is its disk mounted with noexec? Name a folder on another: ./install --to FOLDER"
CAUSES = (
    (("failed to map segment",), NOEXEC),
    (("SIGILL", "0xc000001d", "llegal instruction"), "llama.cpp was compiled for another processor: make the kit without --native."),
    (
        ("cannot open shared object file",),
        "Install the library that is named; or make the kit with --build vulkan or cpu, which need neither CUDA nor OpenMP.",
    ),
    (("GLIBC_", "GLIBCXX_", "CXXABI_"), "The kit was made on a newer system: make it on one as old as this, or update this one."),
    (("SIGKILL", "emory"), "There is too little memory: end other programs and run ./install again."),
    (("No space left", "Errno 28"), "Free some space and run ./install again."),
)
"""What the program says when it fails, and what to do then."""


@dataclass(frozen=True)
class Answered:
    """What the demo model said."""

    question: str
    answer: str


def ask_demo(environment: Path) -> Answered:
    """Ask the model inside the package, with no settings or chats of the user's. Raises InstallError where it does not answer."""
    with tempfile.TemporaryDirectory(prefix="qwq-kit-") as folder:
        apart = {"QWQ_DATA": folder, "QWQ_CONFIG": str(Path(folder) / "none.toml"), "QWQ_MODELS": folder}
        said = _run(environment, apart, "ask", "-m", "demo", "--seed", "1", "--json", QUESTION)
    try:
        answer = str(json.loads(said)["content"]).strip()
    except (ValueError, KeyError, TypeError) as error:
        raise InstallError(f"The program answered what cannot be understood: {said[:200]!r}.", "Please report this.") from error
    if not answer:
        raise InstallError("The demo model gave an empty answer.", "Run ./install again; should it stay so, please report this.")
    return Answered(QUESTION, answer)


def models_folder(environment: Path) -> Path:
    """Where the program keeps models: what QWQ_MODELS or the user's settings say, or its default. Raises InstallError."""
    code = "from qwq_local.configuration import find_folders; print(find_folders().models)"
    done = _ended([program_of(environment)[0], "-I", "-c", code], {})
    if done.returncode:
        raise InstallError(
            f"The folder of models cannot be told: {_end(done.stderr)}", "Mend the settings file, or use ./install --no-model"
        )
    return Path(done.stdout.strip())


def require_model(environment: Path, path: Path) -> None:
    """Have the program read a model's header. Raises InstallError where it cannot."""
    _run(environment, {}, "show", str(path), "--json")


def require_program(environment: Path) -> None:
    """Have the program say its version, started as the user will start it. Raises InstallError where it cannot."""
    script = environment / SCRIPTS / "qwq"
    command = [*([str(script)] if script.exists() else program_of(environment)), "--version"]
    done = _ended(command, {})
    if done.returncode:
        raise InstallError(f"{script} does not run: {_end(done.stderr)}", "Run ./install again; should it stay so, please report this.")


def _run(environment: Path, variables: dict[str, str], *arguments: str) -> str:
    done = _ended([*program_of(environment), *arguments], variables)
    if done.returncode == 0:
        return done.stdout
    code = f"ended by signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode:#x}"
    said = f"{done.stderr}\n({'SIGILL, ' if done.returncode == -4 else ''}{code})"
    raise InstallError(f"The program was put in place and does not work: {_end(said)}", _hint(said))


def _ended(command: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A command that came to its end, however. Raises InstallError where it cannot be started, or does not end."""
    try:
        return subprocess.run(  # noqa: S603 - our own program
            command, capture_output=True, text=True, errors="replace", env=clean_variables() | variables, timeout=WAIT_SECONDS, check=False
        )
    except OSError as error:
        raise InstallError(f"{command[0]} cannot be run: {error.strerror}.", NOEXEC) from error
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"The program did not answer in {WAIT_SECONDS} seconds.", "Run ./install again while less else runs.") from error


def _hint(said: str) -> str:
    hints = [hint for signs, hint in CAUSES if any(sign in said for sign in signs)]
    return hints[0] if hints else "Nothing was changed. Make the kit again, or report this."


def _end(text: str) -> str:
    return "\n  ".join(text.strip().splitlines()[-TOLD_LINES:])
