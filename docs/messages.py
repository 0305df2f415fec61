"""What the program can say when something is wrong, read out of its source: each message with what varies in it as …, and its hint.

`docs/pages.py` writes docs/messages.md by it, and a test compares docs/troubleshooting.md with it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = (ROOT / "qwq_local", ROOT / "convert/qwq_convert")
GAP: Final = "…"
HEAD: Final = """# Every message

What the program says when something is wrong, with … for what varies, and the hint that comes with it; `make docs` writes this page from
the source. [Troubleshooting](troubleshooting.md) explains the commonest.
"""
AREAS: Final[Mapping[str, tuple[str, ...]]] = {
    "Settings and the command line": ("cli", "configuration", "settings", "asking", "race", "tuning", "tune", "bench"),
    "Models, downloads and the plan": ("models", "plan", "machine", "offers", "drafts", "gguf", "quants", "loading"),
    "Loading and answering": ("llama", "engine", "worker", "runtime", "prompt", "speculation", "errors"),
    "Serving": ("server",),
    "Chats": ("history",),
    "Tools": ("agent",),
    "Installing, services, kits, the desktop app": ("doctor", "service", "kit", "desktop", "installation", "builds"),
    "Conversion": ("qwq_convert",),
    "Evaluation": ("evaluation", "grading", "likelihood", "sandbox"),
}
"""Where a room's messages are listed."""


@dataclass(frozen=True)
class Message:
    """What an error says, what its hint says, its class, and the room that raises it."""

    text: str
    hint: str
    kind: str
    room: str


@cache
def messages() -> list[Message]:
    """Every message of an error that users can meet, in the order of the source."""
    sources = {path: ast.parse(path.read_text("utf-8")) for package in PACKAGES for path in sorted(package.rglob("*.py"))}
    constants = {name: value for tree in sources.values() for name, value in _constants(tree)}
    kinds = _kinds(sources[ROOT / "qwq_local/errors.py"])
    found = [message for path, tree in sources.items() for message in _of(tree, _room(path), kinds, constants)]
    return list(dict.fromkeys(found))


def _kinds(errors: ast.Module) -> frozenset[str]:
    """The error tree's classes, and the server's own, whose messages come as JSON."""
    return frozenset(node.name for node in errors.body if isinstance(node, ast.ClassDef)) | {"ApiError"}


def _room(path: Path) -> str:
    """The first folder or file below the package; the converter is one room."""
    base = next(package for package in PACKAGES if path.is_relative_to(package))
    return "qwq_convert" if base.name == "qwq_convert" else path.relative_to(base).parts[0].removesuffix(".py")


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and (text := told(node.value, {})).strip(GAP):
                yield target.id, text


def _of(tree: ast.Module, room: str, kinds: frozenset[str], constants: Mapping[str, str]) -> Iterator[Message]:
    for scope in ast.walk(tree):
        if isinstance(scope, ast.ClassDef) and scope.name in kinds and room == "errors":
            calls = [(scope.name, call) for call in ast.walk(scope) if isinstance(call, ast.Call) and _is_super(call)]
        elif isinstance(scope, ast.Call) and (name := _name(scope)) in kinds:
            calls = [(name, scope)]
        else:
            continue
        for kind, call in calls:
            text = next((text for part in call.args if " " in (text := told(part, constants))), "")
            hint = next((told(given.value, constants) for given in call.keywords if given.arg == "hint"), "")
            if re.search(r"[a-z]{2} [a-z]", text):
                yield Message(text, hint.strip(GAP + " ") and hint, kind, room)


def _is_super(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr == "__init__"


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def told(node: ast.expr, constants: Mapping[str, str]) -> str:
    """The text that an expression gives, with … for what is only known when it runs."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            text = "".join(told(part, constants) for part in parts)
        case ast.FormattedValue(value=value):
            text = told(value, constants) if isinstance(value, ast.Name) else GAP
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            text = told(left, constants) + told(right, constants)
        case ast.IfExp(body=body):
            text = told(body, constants)
        case ast.Call(func=ast.Attribute(value=value, attr="rstrip")):
            text = told(value, constants)
        case ast.Name(id=name):
            text = constants.get(name, GAP)
        case _:
            text = GAP
    return text.replace(GAP * 2, GAP)


def strings() -> Iterator[str]:
    """Every other text in the source that has a blank, with … for what varies."""
    for package in PACKAGES:
        for path in sorted(package.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.JoinedStr | ast.Constant) and " " in (text := told(node, {})):
                    yield text


def page() -> str:
    """docs/messages.md."""
    found = messages()
    parts = [HEAD]
    for area, rooms in AREAS.items():
        rows = sorted({(_cell(one.text), _cell(one.hint)) for one in found if one.room in rooms}, key=_order)
        if rows:
            parts.append(f"\n## {area}\n\n| message | hint |\n|---|---|\n" + "".join(f"| {text} | {hint} |\n" for text, hint in rows))
    return "".join(parts)


def _order(row: tuple[str, str]) -> tuple[str, ...]:
    """By the first word that does not vary."""
    return re.sub(r"^[^a-z]+", "", row[0].casefold()), *row


def _cell(text: str) -> str:
    """As code, in a table."""
    line = " ".join(text.replace("|", "\\|").split())
    fence = "``" if "`" in line else "`"
    pad = " " if fence == "``" else ""
    return f"{fence}{pad}{line}{pad}{fence}" if line else ""
