"""What of the documents is not done to the letter, and why. Nothing else is left out: a command that is new is run, or the test fails.

A command stands here as it stands in the documents; one that no longer stands there fails the test as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Rewriting:
    """What is put in the place of a part of a command, and why."""

    pattern: re.Pattern[str]
    replacement: str
    reason: str


def _rewriting(pattern: str, replacement: str, reason: str) -> Rewriting:
    return Rewriting(re.compile(pattern), replacement, reason)


REWRITINGS: Final = (
    _rewriting(r"127\.0\.0\.1:8080", "{server}", "a server of the demo model listens already, at a port that is free"),
    _rewriting(
        r"--host 0\.0\.0\.0", "--host 127.0.0.1", "a test listens to nobody else; tests/cli/test_serve.py has the refusal without a key"
    ),
    _rewriting(r"--port \d+", "", "a port that is free is given in QWQ_PORT"),
    _rewriting(
        r"^qwq bench\b", "qwq bench --rounds 1 --decode 8 --prefill 32 --no-store", "three rounds of 512 and 128 tokens take seconds"
    ),
    _rewriting(r"^qwq tune(?= -m|$)", "qwq tune --seconds 3 --no-store", "it measures for two minutes"),
    _rewriting(r"--seconds 600", "", "likewise: the last one given counts"),
    _rewriting(r"^qwq eval nano", "qwq eval nano --limit 4", "200 answers take half a minute"),
    _rewriting(r"--chunks \d+", "--chunks 1", "the texts here are short"),
    _rewriting(r"--ctx (16384|32768|65536|131072)", "--ctx 1024", "the demo model reads 2,048 tokens at most"),
    _rewriting(r"--split 40G", "--split 2M", "the demo model has 5 MB"),
)
"""Done to every command that has such a part."""

_FIRST_HOUR: Final = "packaging/proofs/first_hour.py does it in a fresh clone; a virtual environment and a compiler take minutes"
_CI: Final = "the tests run in an environment that .ci/run made in this way"
_INDEX: Final = "it asks an index on the network; packaging/proofs/wheel.py and tests/doctor have it"
_ROOT: Final = "it wants root and changes the system; packaging/proofs/deb.py does it in a root of its own"
_CONTAINER: Final = "there is no container engine here; packaging/proofs/containers.py lints the recipes and runs their steps"
_PAGE_APART: Final = "a program of its own that this project does not need"

NOT_RUN: Final[dict[str, str]] = {
    "python3 -m venv .venv && . .venv/bin/activate": _FIRST_HOUR,
    "pip install .": _FIRST_HOUR,
    """pip install . && qwq ask -m demo 'How many r'\\''s are in the word "strawberry"?'""": _FIRST_HOUR,
    "pip install '.[test]' && pytest": _CI,
    "pip install '.[mcp]' '.[eval]'": _CI,
    "pip install '.[eval]'": _CI,
    "git pull && pip install .": _FIRST_HOUR,
    "pip install . --prefer-binary --extra-index-url https://abetlen.github.io/llama-cpp-python/whl/cpu": _INDEX,
    "pip install 'lm_eval[api]'": _PAGE_APART,
    "make setup": _CI,
    "make": "tests/test_docs.py compares what it lists with CONTRIBUTING.md",
}
"""Commands that cannot be run here: why, and what covers them."""

IN_FILES: Final = {"server.run()": "server.py"}
"""Programs that go on until they are ended, by a line of theirs: `place` writes them into a file, and commands run that."""

TYPED: Final = {"qwq chat": "What is 47 + 85?\n"}
"""What is typed into commands that begin so, and wait for it."""

LISTENING: Final = re.compile(r"^(?:[A-Z_]+=\S+ )*qwq serve\b(?!.*--help)")
"""Commands that go on until they are interrupted: they are, once they answer."""

HARMLESS: Final = re.compile(r"qwq (ask|plan|bench|doctor|list|perplexity|serve|chat -m)\b|curl ")
"""Commands that one page's test is enough for, where several pages have them."""

FAILING: Final[dict[str, int]] = {}
"""Commands whose exit code is another than 0, as the page says."""


def rewritten(text: str, server: str) -> str:
    """The command as it is run; `server` is where one listens, as HOST:PORT."""
    for rewriting in REWRITINGS:
        text = rewriting.pattern.sub(rewriting.replacement.replace("{server}", server), text)
    return text
