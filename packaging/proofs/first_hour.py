"""A newcomer's hour: python packaging/proofs/first_hour.py [--compile].

Needs Linux, git, PyPI, and a C++ compiler or a wheel of llama.cpp in pip's cache. In a fresh clone of what is committed, in a home of its
own and with an environment that knows nothing of this one, everything that docs/first_hour.md says to type is typed in its order, with the
README's first line after the first. What a page shows must be printed. A hub on this machine gives the demo model for the large one: 20 GB
would be more than an hour here. `--compile` compiles llama.cpp anew, as it is for whoever has no wheel of it yet. Prints each command, the
seconds it took and the last it said; ends with 1 where something is not as the pages say.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
BASH: Final = shutil.which("bash") or "/bin/bash"
GIT: Final = shutil.which("git") or "git"
README_LINE: Final = re.compile(r"^pip install \. && .*?(?=\s+#|$)", re.MULTILINE)
FENCED: Final = re.compile(r"^```(sh|console|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TYPED: Final = {
    "qwq chat -m demo": 'How many r\'s are in the word "strawberry"?\n/thoughts\n/help\n',
    "qwq chat": "What is 47 + 85?\n",
}
"""What a newcomer types into a chat, before Ctrl-D."""
HUB: Final = """
import sys
from importlib import resources
from qwq_local.quants.quantizations import QUANTIZATIONS
from tests.hub_server import serve
demo = resources.files("qwq_local").joinpath("demo", "qwq-nano-Q8_0.gguf").read_bytes()
files = {f"qwq-32b-{name.lower()}.gguf": demo for name in QUANTIZATIONS}
with serve({"Qwen/QwQ-32B-GGUF": files, "bartowski/Qwen_QwQ-32B-GGUF": files}) as hub:
    print(hub.url, flush=True)
    sys.stdin.read()
"""
LONGEST_SECONDS: Final = 1800


@dataclass
class Step:
    """A command or a program of the pages, what they show of it, and what was seen."""

    text: str
    shown: list[str] = field(default_factory=list)
    seconds: float = 0.0
    last: str = ""
    fault: str = ""


def steps(page: str) -> Iterator[Step]:
    """What a page says to type, in its order; a program is typed into Python."""
    for language, block in FENCED.findall(page):
        if language == "python":
            yield Step(f"python - <<'EOF'\n{block}EOF")
            continue
        step: Step | None = None
        for line in block.splitlines():
            if language == "sh" or line.startswith("$ "):
                if step:
                    yield step
                step = Step(re.sub(r"\s+# .*", "", line.removeprefix("$ ")))
            elif step:
                step.shown.append(line)
        if step:
            yield step


class Newcomer:
    """Somebody in a clone, with a shell that remembers nothing but that the virtual environment was activated."""

    def __init__(self, folder: Path, compiles: bool) -> None:
        self.clone, home = folder / "qwq-local", folder / "home"
        home.mkdir()
        subprocess.run([GIT, "clone", "-q", "--no-local", str(ROOT), str(self.clone)], check=True)
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        cache = {"PIP_NO_CACHE_DIR": "1"} if compiles else {"PIP_CACHE_DIR": os.environ.get("PIP_CACHE_DIR", f"{Path.home()}/.cache/pip")}
        programs = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        self.environment = {"HOME": str(home), "PATH": programs, "TERM": "dumb", "LANG": "C.UTF-8", "BROWSER": "true", **pip, **cache}
        self.server: subprocess.Popen[str] | None = None
        self.hub: subprocess.Popen[str] | None = None

    def do(self, step: Step) -> None:
        """Type it, and note what came of it."""
        started = time.monotonic()
        try:
            printed, code = self._serve(step.text) if step.text.startswith("qwq serve") else self._run(step.text)
        except (subprocess.TimeoutExpired, TimeoutError) as error:
            printed, code = str(error), 1
        step.seconds = time.monotonic() - started
        lines = [" ".join(line.split()) for line in printed.splitlines() if line.strip()]
        step.last = lines[-1] if lines else ""
        if code:
            step.fault = f"ended with {code}: " + " / ".join(lines[-5:])
        for shown in step.shown:
            if " ".join(shown.split()) not in lines:
                step.fault = step.fault or f"the page shows {shown!r}"

    def _run(self, text: str) -> tuple[str, int]:
        active = ". .venv/bin/activate && " if (self.clone / ".venv/bin/qwq").exists() or text.startswith("pip") else ""
        done = subprocess.run(
            [BASH, "-o", "pipefail", "-c", active + text],
            cwd=self.clone,
            env=self.environment,
            input=TYPED.get(text, ""),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=LONGEST_SECONDS,
        )
        return done.stdout, done.returncode

    def _serve(self, text: str) -> tuple[str, int]:
        """In a second terminal, until the hour is over."""
        self.server = subprocess.Popen(
            [BASH, "-c", f". .venv/bin/activate && exec {text}"], cwd=self.clone, env=self.environment, text=True, stderr=subprocess.DEVNULL
        )
        ends_at = time.monotonic() + 60
        while time.monotonic() < ends_at and self.server.poll() is None:
            with suppress(OSError), urllib.request.urlopen("http://127.0.0.1:8080/health") as answer:
                return f"/health: {answer.status}", 0
            time.sleep(0.05)
        raise TimeoutError("the server does not answer")

    def find_hub(self) -> None:
        """From now on huggingface.co is on this machine."""
        python = self.clone / ".venv/bin/python"
        self.hub = subprocess.Popen([python, "-c", HUB], cwd=self.clone, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.hub.stdout
        self.environment["HF_ENDPOINT"] = self.hub.stdout.readline().strip()

    def leave(self) -> None:
        """Ctrl-C in the second terminal; the hub ends with its input."""
        if self.hub:
            self.hub.communicate()
        if self.server:
            self.server.send_signal(signal.SIGINT)
            self.server.wait(30)


def main() -> int:
    """Do it all, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--compile", action="store_true", help="compile llama.cpp anew")
    parser.add_argument("--keep", type=Path, help="do it in this new folder, and leave that")
    chosen = parser.parse_args()
    folder = chosen.keep or Path(tempfile.mkdtemp(prefix="qwq-first-hour-"))
    folder.mkdir(exist_ok=True)
    done: list[Step] = []
    newcomer = Newcomer(folder, chosen.compile)
    try:
        page = [*steps((newcomer.clone / "docs/first_hour.md").read_text("utf-8"))]
        [readme] = README_LINE.findall((newcomer.clone / "README.md").read_text("utf-8"))
        for step in [*page[:1], Step(readme), *page[1:]]:
            if step.text == "qwq pull":
                newcomer.find_hub()
            newcomer.do(step)
            done.append(step)
            _tell(step)
    finally:
        newcomer.leave()
        if not chosen.keep:
            shutil.rmtree(folder, ignore_errors=True)
    faults = [step for step in done if step.fault]
    print(f"{len(done)} steps, {sum(step.seconds for step in done):.0f} s, {len(faults)} not as the pages say")
    return int(bool(faults))


def _tell(step: Step) -> None:
    text = step.text.splitlines()[0] + (" …" if "\n" in step.text else "")
    print(
        f"{step.seconds:7.1f} s  {text[:110]}\n           {'NOT AS THE PAGE SAYS: ' + step.fault if step.fault else step.last[:140]}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
