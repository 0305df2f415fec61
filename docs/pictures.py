"""Draw the README's pictures from what the program really prints: python docs/pictures.py (needs the extra `docs`)."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
QWQ = str(Path(sys.executable).with_name("qwq"))


def draw_ask() -> None:
    """`qwq ask` on the built-in model: the thought dimmed, the answer plain."""
    question = 'How many r\'s are in the word "strawberry"?'
    done = subprocess.run([QWQ, "ask", "-m", "demo", "--seed", "1", question], check=True, capture_output=True, text=True)
    console = Console(record=True, width=72, file=io.StringIO())
    console.print(Text(f"$ qwq ask -m demo '{question}'", style="bold"))
    console.print(Text(done.stderr.rstrip("\n") + "\n", style="dim"))
    console.print(Text(done.stdout.rstrip("\n")))
    svg = console.export_svg(title="qwq-local")
    # The fonts that rich would fetch from the web are left out: the page that shows the picture has a monospaced one of its own.
    (HERE / "ask.svg").write_text(re.sub(r"@font-face \{.*?\}|<!--.*?-->", "", svg, flags=re.DOTALL), "utf-8")


if __name__ == "__main__":
    draw_ask()
