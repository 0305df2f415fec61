"""Every command of the app's `qwq`, run in an empty home: python packaging/proofs/app_commands.py FOLDER (what build.py made)."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
LIMIT_SECONDS: Final = 300
QUESTION: Final = "What is 47 + 85?"
ANSWER: Final = "132"
PORT: Final = 18127
PAGES: Final = (
    "/",
    "/static/js/main.js",
    "/static/vendor/marked-18.2.1/lib/marked.esm.js",
    "/docs",
    "/swagger/swagger-ui-bundle.js",
    "/metrics",
)


def main() -> None:
    """Run all, print a line for each, and end with the number of those that were not as promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="what build.py made")
    program = parser.parse_args().folder.resolve() / "qwq"
    with tempfile.TemporaryDirectory(prefix="qwq-proof-") as home:
        failed = run_all(program, Path(home))
    sys.exit(f"{failed} not as promised" if failed else 0)


def run_all(program: Path, home: Path) -> int:
    """How many were not as promised."""
    text = home / "text.txt"
    text.write_text((ROOT / "LICENSE").read_text("utf-8")[:8000], "utf-8")
    made = home / "made/checkpoint-Q8_0.gguf"
    seeded = ["-m", "demo", "--seed", "1"]
    rows = [
        (["--version"], "qwq, version"),
        (["--help"], "verify"),
        (["ask", *seeded, QUESTION], ANSWER),
        (["chat", *seeded], ANSWER),
        (["plan"], "RAM"),
        (["list"], "demo"),
        (["show", "demo"], "qwen2"),
        (["verify", "demo"], "all there"),
        (["doctor"], "llama.cpp  fine"),
        (["history", "list"], "47 + 85"),
        (["history", "search", "85"], "47 + 85"),
        (["convert", str(ROOT / "tests/nano/checkpoint"), "--out", str(made.parent), "--quant", "Q8_0"], "bytes in"),
        (["ask", "-m", str(made), "--seed", "1", QUESTION], ANSWER),
        (["eval", "nano", "-m", "demo", "--limit", "3"], "Kept:"),
        (["bench", "-m", "demo"], "tokens/s"),
        (["tune", "--help"], "qwq tune"),
        (["perplexity", "demo", str(text), "--chunks", "2"], "perplexity"),
        (["divergence", str(made), "demo", str(text), "--chunks", "2"], "divergence"),
        (["imatrix", "demo", str(text), "--out", str(home / "im.gguf")], "tensors"),
    ]
    failed = sum(not ran(program, home, arguments, says) for arguments, says in rows)
    refused = [(["pull", "Q4_K_M"], "hub"), (["rm", "demo"], "It stays"), (["desktop"], "no screen")]
    failed += sum(not ran(program, home, arguments, says, fails=True) for arguments, says in refused)
    return failed + (not serves(program, home))


def ran(program: Path, home: Path, arguments: list[str], says: str, *, fails: bool = False) -> bool:
    """Whether a command ended as it should and said this."""
    started_at = time.monotonic()
    stdin = f"{QUESTION}\n/quit\n" if arguments[0] == "chat" else ""
    done = subprocess.run(
        [program, *arguments], input=stdin, capture_output=True, text=True, timeout=LIMIT_SECONDS, env=environment(home), check=False
    )
    is_right = bool(done.returncode) is fails and says.casefold() in (done.stdout + done.stderr).casefold()
    show(" ".join(arguments), is_right, f"exit {done.returncode}, {time.monotonic() - started_at:.1f} s")
    if not is_right:
        sys.stderr.write(done.stdout[-500:] + done.stderr[-2000:])
    return is_right


def serves(program: Path, home: Path) -> bool:
    """Whether the endpoint and all that the page needs is there, and Ctrl-C ends it."""
    command = [str(program), "serve", "-m", "demo", "--port", str(PORT)]
    with subprocess.Popen(command, env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        try:
            found = [fetched(page) for page in PAGES]
        finally:
            server.send_signal(2)
        told = server.communicate(timeout=LIMIT_SECONDS)[1]
    is_right = found == [200] * len(PAGES) and server.returncode in {0, 130}
    show("serve, and Ctrl-C", is_right, f"{len(PAGES)} addresses: {found}, exit {server.returncode}")
    if not is_right:
        sys.stderr.write(told[-2000:])
    return is_right


def fetched(page: str) -> int:
    """The status of a page, waited for while the server starts."""
    ends_at = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{page}", timeout=10) as answer:
                return int(answer.status)
        except OSError:
            if time.monotonic() > ends_at:
                return 0
            time.sleep(0.1)


def environment(home: Path) -> dict[str, str]:
    """A user's who has just got this machine: no Python, no settings, no screen."""
    return {"HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TMPDIR": os.environ.get("TMPDIR", "/tmp")}  # noqa: S108


def show(asked: str, is_right: bool, seen: str) -> None:
    """One row."""
    sys.stdout.write(f"{'ok    ' if is_right else 'FAILED'}  {asked[:70]:70}  {seen}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
