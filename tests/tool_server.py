"""An MCP server to be run as a program: over its standard streams, or over HTTP at the port given as its argument.

Beside the two tools that the demo model has learned to call it has some that go wrong, each in its own way. It needs nothing but the
library, so that it runs in the bare environment that servers are given.
"""

from __future__ import annotations

import base64
import os
import sys
import time
from typing import Any

import anyio
from mcp.server import MCPServer
from mcp_types import AudioContent, EmbeddedResource, ImageContent, ResourceLink, TextContent, TextResourceContents

server = MCPServer("tasks", log_level="CRITICAL")


@server.tool()
def get_weather(city: str) -> str:
    """Current weather of a city"""
    return "18C" if city == "Paris" else "7C"


@server.tool()
def add(a: int, b: int) -> str:
    """Add two integers"""
    return str(a + b)


trouble = MCPServer("trouble", log_level="CRITICAL")


@trouble.tool()
def fail() -> str:
    """Raise an error"""
    raise ValueError("no luck")


@trouble.tool()
def die() -> str:
    """End the server in mid-call"""
    sys.stderr.write("out of tools\n")
    sys.stderr.flush()
    os._exit(3)


@trouble.tool()
async def sleep() -> str:
    """Never answer"""
    await anyio.sleep_forever()
    return ""


@trouble.tool()
def block() -> str:
    """Never answer, and leave no way to be told to stop"""
    time.sleep(1000)
    return ""


@trouble.tool(structured_output=False)
def show() -> list[Any]:
    """Give one of every kind"""
    data = base64.b64encode(bytes(300)).decode()
    return [
        TextContent(text="one"),
        ImageContent(data=data, mime_type="image/png"),
        AudioContent(data=data, mime_type="audio/wav"),
        ResourceLink(name="notes", uri="file:///notes.txt"),
        EmbeddedResource(resource=TextResourceContents(uri="file:///a.txt", text="two")),
    ]


@trouble.tool(structured_output=False)
def nothing() -> None:
    """Give nothing"""


@trouble.tool()
def environment() -> str:
    """Tell the environment and the folder"""
    return f"{sorted(os.environ)} {os.environ.get('SECRET')} in {os.getcwd()}"  # noqa: PTH109 - as text


@trouble.tool()
def long(n_chars: int) -> str:
    """Give a long text"""
    return "a" * n_chars


def main(name: str = "tasks", port: str = "") -> None:
    chosen = {"tasks": server, "trouble": trouble}[name]
    if port:
        chosen.run("streamable-http", host="127.0.0.1", port=int(port))
    else:
        chosen.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
