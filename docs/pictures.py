"""Draw the README's pictures from what the program really prints: python docs/pictures.py (needs the extra `docs`)."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyte
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
    save(console, "ask.svg")


def draw_plan() -> None:
    """`qwq plan` for a machine with 24 GB of VRAM, in the colours that a terminal gets."""
    arguments = ["plan", "--vram", "24", "--ram", "64"]
    console = Console(record=True, width=108, file=io.StringIO())
    console.print(Text(f"$ qwq {' '.join(arguments)}", style="bold"))
    console.print(Text.from_ansi(on_terminal([QWQ, *arguments], columns=108)))
    save(console, "plan.svg")


def draw_chat() -> None:
    """`qwq chat` on the built-in model: a question while it is thought about, and then answered, its thought looked at."""
    columns, questions = 84, ('How many r\'s are in the word "strawberry"?', "/thoughts")
    with tempfile.TemporaryDirectory() as data:
        shown = talk([QWQ, "chat", "-m", "demo", "--seed", "1"], questions, columns, {"QWQ_DATA": data})
    screen = pyte.Screen(columns, 40)
    stream = pyte.ByteStream(screen)
    thinking: list[Text] = []
    for piece in shown:
        stream.feed(piece)
        lines = list(styled_lines(screen))
        if lines[-1].plain.startswith("Esc stop") and any(line.plain.startswith("thinking") for line in lines):
            thinking = lines
    console = Console(record=True, width=columns, file=io.StringIO())
    console.print(Text("$ qwq chat -m demo", style="bold"))
    for line in (*thinking, Text("\n" + "─" * columns + "\n", style="dim"), *styled_lines(screen)):
        console.print(line)
    save(console, "chat.svg")


def talk(command: list[str], questions: Sequence[str], columns: int, environment: dict[str, str]) -> list[bytes]:
    """What a chat sends its terminal until it waits for what follows these questions, piece by piece."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    shown: list[bytes] = []
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, env={**os.environ, **environment, "TERM": "xterm-256color"}) as process:
        os.close(theirs)
        for keys in ("", *(f"{question}\r" for question in questions)):
            os.write(ours, keys.encode())
            while select.select([ours], [], [], 2)[0]:
                shown.append(read_some(ours))
        process.terminate()
    os.close(ours)
    return shown


def styled_lines(screen: pyte.Screen) -> Iterator[Text]:
    """The lines of a screen down to the last that has something in it; those that are dimmed, which pyte does not tell, by their words."""
    lines = "\n".join(line.rstrip() for line in screen.display).rstrip().split("\n")
    thinks_at = next((number for number, line in enumerate(lines) if line.startswith("thinking")), len(lines))
    for number, line in enumerate(lines):
        is_thought = thinks_at < number < len(lines) - 3
        is_dim = is_thought or line.startswith(("thought for", "thinking", "demo", "/help", "Esc stop"))
        text = Text(line, style="dim" if is_dim else "")
        if bold := [column for column in range(len(line)) if screen.buffer[number][column].bold]:
            text.stylize("bold", bold[0], bold[-1] + 1)
        yield text


def on_terminal(command: list[str], columns: int) -> str:
    """What a command prints on a terminal so wide."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"}
    with subprocess.Popen(command, stdout=theirs, env=environment) as process:
        os.close(theirs)
        printed = b"".join(iter(lambda: read_some(ours), b""))
    os.close(ours)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return printed.decode("utf-8").replace("\r\n", "\n").rstrip("\n")


def read_some(terminal: int) -> bytes:
    """What comes next; nothing at the end, which Linux tells as an error."""
    try:
        return os.read(terminal, 65_536)
    except OSError:
        return b""


def save(console: Console, name: str) -> None:
    """Write the picture, without the fonts that rich would fetch from the web: the page that shows it has a monospaced one of its own."""
    svg = console.export_svg(title="qwq-local")
    (HERE / name).write_text(re.sub(r"@font-face \{.*?\}|<!--.*?-->", "", svg, flags=re.DOTALL), "utf-8")


if __name__ == "__main__":
    draw_ask()
    draw_plan()
    draw_chat()
