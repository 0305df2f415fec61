"""What starts a kit's installer (pure): the files of `starters/` with the kit's versions of Python put in."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources.abc import Traversable
from typing import Final

PROGRAM: Final = "install"
_README: Final = """QwQ for a machine without network
=================================

As an ordinary user, from this folder:

    sh ./install        (Windows: install.cmd)

It needs Python {pythons} and nothing else. It checks every file, installs, asks the demo model a question,
and says where everything is and how to remove it. `sh ./install --help` names its options.
To compare the files with their checksums by hand: sha256sum -c SHA256SUMS
"""


def render(folder: Traversable, pythons: Sequence[str]) -> dict[str, str]:
    """The text of each file by its name."""
    newest_first = sorted(pythons, key=lambda version: [int(part) for part in version.split(".")], reverse=True)
    words = {
        "@CANDIDATES@": " ".join(f"python{version}" for version in newest_first),
        "@VERSIONS@": " ".join(newest_first),
        "@PYTHONS@": spoken(pythons),
    }
    texts = {name: (folder / name).read_text("utf-8") for name in (PROGRAM, "install.cmd", "install.py")}
    for mark, word in words.items():
        texts = {name: text.replace(mark, word) for name, text in texts.items()}
    texts["install.cmd"] = texts["install.cmd"].replace("\r\n", "\n").replace("\n", "\r\n")  # cmd misreads labels after bare newlines
    return {**texts, "README.txt": _README.format(pythons=spoken(pythons))}


def spoken(pythons: Sequence[str]) -> str:
    """3.11, 3.12 or 3.13."""
    *most, last = pythons
    return f"{', '.join(most)} or {last}" if most else last
