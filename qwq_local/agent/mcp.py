"""MCP servers as a toolbox, by the protocol's own client library; its asyncio lives in one thread, whoever calls waits in theirs."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, wait
from contextlib import ExitStack
from itertools import count
from typing import Any, Final, Self

from anyio.from_thread import start_blocking_portal

from qwq_local.agent.mcp_content import result_of
from qwq_local.agent.mcp_server import McpServer
from qwq_local.agent.servers import ServerSpec
from qwq_local.agent.toolbox import ToolResult
from qwq_local.asking import Tools

START_SECONDS: Final = 60.0
"""How long a server may take until it has told its tools; some are downloaded first."""
CALL_SECONDS: Final = 120.0
"""How long a call may take."""

logging.getLogger("mcp").addHandler(logging.NullHandler())  # what the library notes is for whoever asks Python's logging for it


class McpToolbox:
    """The tools of some MCP servers, which live as long as this does. Use it as a context manager, so that they are ended.

    A tool whose name several servers use gets the server's before its own. Raises ToolServerError for a server that cannot be used.
    """

    def __init__(self, specs: Sequence[ServerSpec], *, start_seconds: float = START_SECONDS, call_seconds: float = CALL_SECONDS) -> None:
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal())
            self._servers = [McpServer(spec, start_seconds, call_seconds) for spec in specs]
            lives = [self._portal.start_task_soon(server.live) for server in self._servers]
            stack.callback(wait, lives)
            for server, life in zip(self._servers, lives, strict=True):
                stack.callback(server.end, self._portal, life)
            settled, _ = wait([server.started for server in self._servers], return_when=FIRST_EXCEPTION)
            for started in settled:
                started.result()
            self._close = stack.pop_all().close
        self._routes = _routes(self._servers)
        self.tools: Tools = [_description(name, *route) for name, route in self._routes.items()]

    def call(self, name: str, arguments: str) -> ToolResult:
        """Call a tool. Raises ToolServerError where its server has ended, or answers with what is no result."""
        server, own_name = self._routes[name]
        try:
            values = json.loads(arguments)
        except (ValueError, RecursionError) as error:
            return ToolResult(f"The arguments of {name} are no JSON: {error}.", is_error=True)
        if not isinstance(values, dict):
            return ToolResult(f"The arguments of {name} are no JSON object.", is_error=True)
        return result_of(server.call(self._portal, own_name, values))

    def close(self) -> None:
        """End the servers. Closing again does nothing."""
        self._close()

    def __enter__(self) -> Self:
        """Nothing to open: the servers run already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def _routes(servers: Sequence[McpServer]) -> dict[str, tuple[McpServer, str]]:
    """Each tool's name for the model -> its server, and its name there."""
    names = [name for server in servers for name in server.tools]
    prefixes = _distinct(re.sub(r"\W+", "_", server.title).strip("_") or "server" for server in servers)
    return {
        f"{prefix}__{name}" if names.count(name) > 1 else name: (server, name)
        for server, prefix in zip(servers, prefixes, strict=True)
        for name in server.tools
    }


def _distinct(names: Iterable[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        found.append(next(new for n in count(1) if (new := name if n == 1 else f"{name}_{n}") not in found))
    return found


def _description(name: str, server: McpServer, own_name: str) -> dict[str, Any]:
    tool = server.tools[own_name]
    parameters = _without_titles(tool.input_schema)
    return {"type": "function", "function": {"name": name, "description": tool.description or "", "parameters": parameters}}


def _without_titles(schema: dict[str, Any]) -> dict[str, Any]:
    """Python's servers write every name once more as a title: tokens that tell a model nothing."""
    plain = {key: value for key, value in schema.items() if key != "title"}
    if isinstance(fields := plain.get("properties"), dict):
        plain["properties"] = {name: _without_own_title(name, field) for name, field in fields.items()}
    return plain


def _without_own_title(name: str, field: object) -> object:
    if isinstance(field, dict) and field.get("title") == name.replace("_", " ").title():
        return {key: value for key, value in field.items() if key != "title"}
    return field
