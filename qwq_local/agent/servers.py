"""Which MCP servers to use: what is given with --mcp, read."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from qwq_local.errors import ToolServerError

_EXAMPLE: Final = '{"mcpServers": {"files": {"command": "python", "args": ["server.py"]}, "web": {"url": "http://127.0.0.1:9000/mcp"}}}'
_FORM: Final = f"Such a file looks like {_EXAMPLE}"


@dataclass(frozen=True)
class ServerSpec:
    """A server to start by its command, or to reach at its URL; files give it a name too."""

    name: str = ""
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What a user knows it by."""
        return self.name or self.url or shlex.join(self.command)

    @property
    def hint(self) -> str:
        """Where to look when it fails."""
        return f"Check that it can be reached: {self.url}" if self.url else f"See what it says by itself: {shlex.join(self.command)}"


def read_servers(given: Sequence[str]) -> list[ServerSpec]:
    """The servers of commands, URLs and files of the form {"mcpServers": …}. Raises ToolServerError for what is none of these."""
    return [spec for text in given for spec in _read(text)]


def _read(text: str) -> Iterator[ServerSpec]:
    if text.startswith(("http://", "https://")):
        yield ServerSpec(url=text)
        return
    command = _split(text)
    if not command:
        raise ToolServerError("An MCP server is given as nothing.", hint='Give a command, a URL or a JSON file: --mcp "python server.py"')
    if text.endswith(".json") and (len(command) == 1 or Path(text).is_file()):
        yield from _read_file(Path(text))
    else:
        yield ServerSpec(command=command)


def _split(text: str) -> tuple[str, ...]:
    is_posix = os.name == "posix"
    try:
        words = shlex.split(text, posix=is_posix)
    except ValueError as error:
        raise ToolServerError(f"The command {text!r} cannot be read: {error}.", hint="Close its quotes.") from error
    return tuple(words if is_posix else (word.strip('"') for word in words))


def _read_file(path: Path) -> Iterator[ServerSpec]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ToolServerError(f"{path} cannot be read: {error.strerror}.", hint="Check the path given with --mcp.") from error
    except (ValueError, RecursionError) as error:
        raise ToolServerError(f"{path} is no JSON: {error}.", hint=_FORM) from error
    servers = content.get("mcpServers") if isinstance(content, dict) else None
    if not isinstance(servers, dict):
        raise ToolServerError(f'{path} has no "mcpServers".', hint=_FORM)
    for name, entry in servers.items():
        if not isinstance(entry, dict):
            raise ToolServerError(f"{path} describes the server {name!r} by {json.dumps(entry)[:40]}.", hint=_FORM)
        if not entry.get("disabled"):
            yield _entry(name, entry, f"{path}: the server {name!r}")


def _entry(name: str, entry: dict[str, Any], label: str) -> ServerSpec:
    """One server of a file; what other programs note beside it is passed over."""
    if entry.get("type") == "sse":
        raise ToolServerError(f"{label} speaks the old SSE transport.", hint="Give the URL of its streamable HTTP transport.")
    match entry:
        case {"command": str(command)} if command:
            arguments = entry.get("args", [])
            if not isinstance(arguments, list) or not all(isinstance(word, str) for word in arguments):
                raise ToolServerError(f'{label} has "args" that are no list of texts.', hint=_FORM)
            cwd = entry.get("cwd")
            if not isinstance(cwd, str | None):
                raise ToolServerError(f'{label} has a "cwd" that is no text.', hint=_FORM)
            return ServerSpec(name, command=(command, *arguments), env=_texts(entry, "env", label), cwd=cwd)
        case {"url": str(url)} if url.startswith(("http://", "https://")):
            return ServerSpec(name, url=url, headers=_texts(entry, "headers", label))
        case _:
            raise ToolServerError(f'{label} has neither a "command" nor a "url" of http or https.', hint=_FORM)


def _texts(entry: dict[str, Any], key: str, label: str) -> dict[str, str]:
    value = entry.get(key) or {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ToolServerError(f'{label} has "{key}" that are no texts by name.', hint=_FORM)
    return value
