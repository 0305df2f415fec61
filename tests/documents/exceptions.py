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
    _rewriting(r"^qwq eval nano", "qwq eval nano --limit 4", "200 answers take half a minute"),
    _rewriting(r"--chunks \d+", "--chunks 1", "the texts here are short"),
    _rewriting(r"--ctx (16384|32768|65536|131072)", "--ctx 1024", "the demo model reads 2,048 tokens at most"),
    _rewriting(r"^qwq uninstall(?! --dry-run)", "qwq uninstall --keep-program --yes", "the program itself is needed for the other tests"),
    _rewriting(r"--split 40G", "--split 2M", "the demo model has 5 MB"),
)
"""Done to every command that has such a part."""

_FIRST_HOUR: Final = "packaging/proofs/first_hour.py does it in a fresh clone; a virtual environment and a compiler take minutes"
_CI: Final = "the tests run in an environment that .ci/run made in this way"
_WHEEL: Final = "it asks an index on the network; packaging/proofs/wheel.py installs so, interrupts it, and refuses an old Python"
_DOCTOR: Final = "it would exchange what the tests run with; packaging/proofs/doctor.py does it, and tests/doctor"
_SERVICE: Final = (
    "it wants systemd, and a user who has logged in; packaging/proofs/deb.py does it in a Debian of its own, and tests/service"
)
_DEB: Final = "it wants root and a package that was built; packaging/proofs/deb.py does it in a Debian of its own"
_CONTAINER: Final = (
    "it wants a container engine and a registry; packaging/proofs/container.py does it, and tests/test_containers.py reads the recipes"
)
_KIT: Final = "it asks an index on the network; packaging/proofs/kit.py makes one and installs it without network, and tests/kit"
_APP: Final = "PyInstaller takes minutes; packaging/proofs/deb.py builds it so"
_DESKTOP: Final = "it wants a screen and goes on until its window is closed; tests/desktop open it"
_MAN: Final = "the page is found when it is installed; tests/cli/test_man_page.py reads it with man"
_APART: Final = "a program of its own, which this project does not need; the endpoint that it asks has tests in tests/server"
_RUN: Final = "docker run --rm -e QWQ_API_KEY=choose-a-long-one -p 127.0.0.1:8080:8080 -v qwq-models:/models -v qwq-data:/data qwq-local"

LM_EVAL: Final = (
    "OPENAI_API_KEY=none HF_DATASETS_OFFLINE=1 lm_eval run --model local-chat-completions --apply_chat_template --include_path ."
    " --tasks nano_sums     --model_args"
    " model=qwq-32b,base_url=http://127.0.0.1:8080/v1/chat/completions,num_concurrent=4,tokenized_requests=False"
)
NOT_RUN: Final[dict[str, str]] = {
    """pip install . && qwq ask -m demo 'How many r'\\''s are in the word "strawberry"?'""": _FIRST_HOUR,
    "python3 -m venv .venv && . .venv/bin/activate": _FIRST_HOUR,
    "pip install .": _FIRST_HOUR,
    "git pull && pip install .": _FIRST_HOUR,
    "pip install '.[test]' && pytest": _CI,
    "pip install '.[mcp]'": _CI,
    "pip install '.[eval]'": _CI,
    "make setup": _CI,
    "make": "tests/test_docs.py compares what it lists with CONTRIBUTING.md",
    "pip install . --prefer-binary --extra-index-url https://abetlen.github.io/llama-cpp-python/whl/cpu": _WHEEL,
    "qwq doctor --fix": _DOCTOR,
    "qwq doctor --fix --yes": _DOCTOR,
    "qwq doctor --fix --build vulkan": _DOCTOR,
    "qwq doctor --fix --index-url https://mirror.example/whl": _DOCTOR,
    "qwq doctor --undo": _DOCTOR,
    "man qwq": _MAN,
    "qwq desktop": _DESKTOP,
    "qwq desktop -m demo": _DESKTOP,
    "qwq desktop --browser default": _DESKTOP,
    "python packaging/app/build.py OUT": _APP,
    "/usr/bin/python3 packaging/app/build.py OUT": _APP,
    "python packaging/app/build.py OUT --llama cpu": _APP,
    "python packaging/deb/build.py OUT/qwq-local OUT/deb": _DEB,
    "qwq service install": _SERVICE,
    "qwq service install -m demo --port 9000": _SERVICE,
    "qwq service status": _SERVICE,
    "qwq service status --json": _SERVICE,
    "qwq service install --port 9001 --replace": _SERVICE,
    "qwq service remove": _SERVICE,
    "sudo apt install ./qwq-local_0.1.0_amd64.deb": _DEB,
    "sudo apt purge qwq-local": _DEB,
    "docker build -f packaging/container/Containerfile -t qwq-local .": _CONTAINER,
    "docker build -f packaging/container/Containerfile.cuda -t qwq-local:cuda .": _CONTAINER,
    "docker run --rm -e QWQ_MODEL=demo -e QWQ_API_KEY=choose-a-long-one -p 127.0.0.1:8080:8080 qwq-local": _CONTAINER,
    "docker run --rm -v qwq-models:/models qwq-local pull Q4_K_M": _CONTAINER,
    _RUN: _CONTAINER,
    _RUN.replace("--rm", "--rm --gpus all") + ":cuda": _CONTAINER,
    "cd packaging/container": _CONTAINER,
    "openssl rand -hex 32 > api_key.txt": _CONTAINER,
    "docker compose --profile cpu build": _CONTAINER,
    "docker compose --profile cpu run --rm cpu pull Q4_K_M": _CONTAINER,
    "docker compose --profile cpu up --detach": _CONTAINER,
    "docker compose --profile cpu down": _CONTAINER,
    "qwq kit make kit": _KIT,
    "qwq kit make /media/stick/qwq --quant Q4_K_M": _KIT,
    "qwq kit make kit --quant Q4_K_M --platform windows-x86_64 --python 3.11,3.12,3.13": _KIT,
    "qwq kit make kit --quant Q4_K_M --build cu124": _KIT,
    "qwq kit check kit": _KIT,
    "./install": _KIT,
    "./install --to ~/qwq": _KIT,
    "./install --no-model": _KIT,
    "./install --python /opt/python3.12/bin/python3": _KIT,
    "pip install '.[docs]' && mkdocs build": ".ci/run builds the site so",
    "pip install 'lm_eval[api]'": _APART,
    LM_EVAL: _APART,
}
"""Commands that cannot be run here: why, and what covers them."""

DANGEROUS: Final = re.compile(r"\b(sudo|pip|docker|apt|rm -r|qwq service|qwq doctor --(fix|undo)(?!.*--dry-run))\b")
"""What must never be run by a slip: a command that has this is refused unless it stands above."""

IN_FILES: Final = {"server.run()": "server.py"}
"""Programs that go on until they are ended, by a line of theirs: `place` writes them into a file, and commands run that."""

TYPED: Final = {"qwq chat": "What is 47 + 85?\n"}
"""What is typed into commands that begin so, and wait for it."""

LISTENING: Final = re.compile(r"^(?:[A-Z_]+=\S+ )*qwq serve\b(?!.*--help)")
"""Commands that go on until they are interrupted: they are, once they answer."""

HARMLESS: Final = re.compile(r"qwq (ask|plan|bench|doctor|list|perplexity|serve|chat -m)\b|curl ")
"""Commands that one page's test is enough for, where several pages have them."""

ENDINGS: Final = {"qwq doctor": {0, 1}, "qwq doctor --fix --dry-run": {0, 1}}
"""The exit codes of commands that may have another than 0: something may be wrong with the machine that runs the tests."""


def rewritten(text: str, server: str) -> str:
    """The command as it is run; `server` is where one listens, as HOST:PORT."""
    for rewriting in REWRITINGS:
        text = rewriting.pattern.sub(rewriting.replacement.replace("{server}", server), text)
    return text
