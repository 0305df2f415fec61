"""Record what a terminal shows: python docs/sessions.py writes docs/sessions.md (needs the extra `test`, and a POSIX system).

Every screen is that of a real terminal with the program on it, as pyte sees it. Where an answer has to be long, or to hold more than the
demo model knows, a script stands in for the model, and the page says so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.cli.test_first_run import DEMO, ON_24_GIB, REPOSITORY
from tests.hub_server import serve
from tests.panes import Pane

HERE = Path(__file__).parent
QWQ = (sys.executable, "-m", "qwq_local.cli")
GLANCES = 40
HEAD = """# What the terminal shows

Screens of real sessions, recorded by `make docs`. Those marked with * have a script in the place of the model, which says what is long, or
what the demo model does not know; in the one marked with ** the card is described, and a hub on this machine gives the demo model for the
32B one.
"""
THOUGHT = "\n".join(f"Let me look at it from side {number}: {'so far nothing contradicts that. ' * 2}" for number in range(1, 40))
ANSWER = r"""## A geometric series

Each term is half of the one before, so with \(r = \frac{1}{2}\) the sum is \[\sum_{k=0}^{\infty} r^k = \frac{1}{1 - r} = \boxed{2}\]

| n | sum | missing |
|--:|----:|--------:|
| 4 | 1.875 | 0.125 |
| 8 | 1.992 | 0.008 |

```python
def total(n: int) -> float:
    return sum(0.5**k for k in range(n))
```

1. 東京 and 🙂 take two columns each.
2. `code` and **bold** are told apart.
"""


def scripted(folder: Path, said: str, token_seconds: float) -> tuple[str, ...]:
    """The program with a script in the place of its model."""
    script = folder / f"script{len(list(folder.iterdir()))}"
    script.write_text(said, "utf-8")
    return (sys.executable, "-m", "tests.scripted_chat", f"{script}@{token_seconds}")


def screen(command: Sequence[str], *steps: Callable[[Pane], object], columns: int = 80, rows: int = 24, **environment: str) -> str:
    """What is on a terminal once all steps are done."""
    pane = Pane(*command, columns=columns, rows=rows, **environment)
    try:
        for step in steps:
            step(pane)
        if not steps:
            pane.end()
        for _ in range(GLANCES):
            pane.glance()
        return "\n".join(pane.rows)
    finally:
        pane.close()


def first_run() -> str:
    """`qwq` with no model here: one question, then it pulls, loads and answers."""
    with serve({REPOSITORY: {"qwq-32b-q4_k_m.gguf": DEMO}}) as hub:
        command = (sys.executable, "-c", ON_24_GIB)
        steps = (until("Pull it"), ask("y"), until(r"Ctrl-D ends\s*$"), ask("What is 47 + 85?"), until("= 132"))
        return screen(command, *steps, rows=40, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="0")


def ask(text: str) -> Callable[[Pane], object]:
    """Type a line and send it."""
    return lambda pane: pane.ask(text)


def press(keys: str) -> Callable[[Pane], object]:
    """Press keys."""
    return lambda pane: pane.type(keys)


def until(pattern: str) -> Callable[[Pane], object]:
    """Wait for a text."""
    return lambda pane: pane.await_text(pattern)


def sessions(folder: Path) -> dict[str, str]:
    """All screens by their titles."""
    ready, chat = until(r"Ctrl-D ends\s*$"), (*QWQ, "chat", "-m", "demo", "--seed", "1")
    slow, quick = scripted(folder, f"{THOUGHT}</think>", 0.004), scripted(folder, f"{THOUGHT}</think>{ANSWER}", 0)
    sums = [ready, ask("What is 47 + 85?"), until("= 132")]
    thinking = [ready, ask("Why?"), until("side 3")]
    found = {
        "The first run: `qwq` on a machine with a card of 24 GiB **": first_run(),
        "`qwq chat -m demo`": screen(chat, *sums),
        "While it thinks *": screen(slow, *thinking),
        "Ctrl-T twice: the thought in one line *": screen(slow, *thinking, press("\x14\x14"), until(r"thinking \d+ s · [\d,]+ tokens\n+>")),
        "Stopped by Esc *": screen(slow, *thinking, press("\x1b"), until("stopped")),
        "Ctrl-N: answer now *": screen(slow, *thinking, press("\x0e"), until(r"asked for\][^>]*side")),
        "The answer, 80 columns *": screen(quick, ready, ask("Why?"), until("told apart"), rows=44),
        "The same, 200 columns *": screen(quick, ready, ask("Why?"), until("told apart"), columns=200, rows=44),
        "The same, 40 columns *": screen(quick, ready, ask("Why?"), until("told apart"), columns=40, rows=54),
        "`qwq chat --continue`": screen((*QWQ, "chat", "--continue"), ready),
        "NO_COLOR=1": screen(chat, *sums, NO_COLOR="1"),
        "`qwq history search sum`": screen((*QWQ, "history", "search", "sum")),
    }
    piped = subprocess.run(
        [*QWQ, "chat", "-m", "demo", "--seed", "1"], input="What is 47 + 85?\n", capture_output=True, text=True, check=True
    )
    found["`echo 'What is 47 + 85?' | qwq chat -m demo --seed 1 2> /dev/null`"] = piped.stdout
    return found


def main() -> None:
    """Record them."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "HOME": folder,
            "QWQ_DATA": f"{folder}/data",
            "QWQ_MODELS": f"{folder}/models",
            "HF_HOME": f"{folder}/hub",
            "TERM": "xterm",
        }
        found = sessions(Path(folder))
    parts = [f"## {title}\n\n```text\n{shown.rstrip()}\n```\n" for title, shown in found.items()]
    (HERE / "sessions.md").write_text("\n".join([HEAD, *parts]), "utf-8")


if __name__ == "__main__":
    main()
