"""One MCP server: its life in the thread of asyncio, and calls from other threads."""

from __future__ import annotations

import math
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeVar

import anyio
import httpx2
from anyio.from_thread import BlockingPortal
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT, CallToolResult, Implementation, TextContent, Tool

from qwq_local import __version__
from qwq_local.agent.servers import ServerSpec
from qwq_local.errors import ToolServerError

Streams = TypeVar("Streams")

CONNECT_SECONDS: Final = 30.0
MAX_PAGES: Final = 100
"""Lists of tools longer than that do not end."""


class McpServer:
    """A server, started or reached by `live`; `started` tells when it has told its `tools`, or raises ToolServerError."""

    def __init__(self, spec: ServerSpec, start_seconds: float, call_seconds: float) -> None:
        self.started: Future[None] = Future()
        self._opened: Future[None] = Future()
        self.tools: dict[str, Tool] = {}
        self.title = spec.name
        self._spec = spec
        self._start_seconds = start_seconds
        self._call_seconds = call_seconds
        self._stderr = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - as long as it lives
        self._closing = anyio.Event()
        self._client: Client | None = None
        self._failure: ToolServerError | None = None
        self._speaks_nonsense = False

    async def live(self) -> None:
        """Be connected from now until `end`."""
        with self._stderr:
            try:
                await self._live()
            except Exception as error:  # noqa: BLE001 - whatever the library raises is told with the server's name
                self._failure = self._error("has failed" if self.started.done() else "cannot be used", error)
                if not self.started.done():
                    self.started.set_exception(self._failure)

    def end(self, portal: BlockingPortal, life: Future[None]) -> None:
        """Let its life end, without waiting for that."""
        wait([self._opened, life], return_when=FIRST_COMPLETED)  # asyncio loses sight of a process whose start is cancelled
        if self.started.done():
            portal.start_task_soon(self._closing.set)
        else:
            life.cancel()

    def call(self, portal: BlockingPortal, name: str, arguments: dict[str, Any]) -> CallToolResult:
        """Call a tool; what interrupts the caller cancels the call. Raises ToolServerError where the server fails, not the tool."""
        call: Future[CallToolResult] = portal.start_task_soon(self._call, name, arguments)
        try:
            return call.result()
        except BaseException:
            call.cancel()
            raise

    async def _live(self) -> None:
        with anyio.CancelScope(deadline=anyio.current_time() + self._start_seconds) as starting:
            async with self._connected() as client:
                self.tools = await _all_tools(client)
                if not self.title and client.server_info:
                    self.title = client.server_info.name
                self._client = client
                starting.deadline = math.inf
                self.started.set_result(None)
                await self._closing.wait()
        if starting.cancelled_caught:
            raise TimeoutError(self._lateness(self._start_seconds))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        spec = self._spec
        async with AsyncExitStack() as stack:
            if spec.url:
                timeout = httpx2.Timeout(CONNECT_SECONDS, read=self._call_seconds + CONNECT_SECONDS)
                http = await stack.enter_async_context(httpx2.AsyncClient(headers=dict(spec.headers), timeout=timeout))
                transport = streamable_http_client(spec.url, http_client=http)
            else:
                command, *arguments = spec.command
                parameters = StdioServerParameters(
                    command=command, args=arguments, env=dict(spec.env), cwd=spec.cwd, encoding_error_handler="replace"
                )
                transport = stdio_client(parameters, errlog=self._stderr)
            us = Implementation(name="qwq-local", version=__version__)
            client = Client(self._noting(transport), client_info=us, message_handler=self._hear)
            yield await stack.enter_async_context(client)

    @asynccontextmanager
    async def _noting(self, transport: AbstractAsyncContextManager[Streams]) -> AsyncIterator[Streams]:
        async with transport as streams:
            self._opened.set_result(None)
            yield streams

    async def _hear(self, message: object) -> None:
        self._speaks_nonsense |= isinstance(message, Exception)

    async def _call(self, name: str, arguments: dict[str, Any]) -> CallToolResult:
        if self._failure is not None:
            raise self._failure
        assert self._client is not None, "a server is called once it has started"
        try:
            return await self._client.call_tool(name, arguments, self._call_seconds)
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                raise self._error(f"has failed in the call of {name}", error) from error
            text = f"{name}: {self._lateness(self._call_seconds)}" if error.code == REQUEST_TIMEOUT else error.message
            return CallToolResult(content=[TextContent(text=text)], is_error=True)
        except Exception as error:  # as above
            raise self._error(f"answers the call of {name} with what is no result", error) from error

    def _lateness(self, seconds: float) -> str:
        return f"it did not answer within {seconds:g} s" + (", and wrote what is no MCP" if self._speaks_nonsense else "")

    def _error(self, what: str, error: BaseException) -> ToolServerError:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, OSError) and error.strerror:
            why = f"{error.strerror} ({error.filename})" if error.filename else error.strerror
        else:
            why = str(error).partition("\n")[0] or type(error).__name__
        last_line = self._last_line()
        words = f" Its last words: {last_line}" if last_line else ""
        return ToolServerError(f"The MCP server {self._spec.label} {what}: {why.rstrip('.')}.{words}", hint=self._spec.hint)

    def _last_line(self) -> str:
        if self._stderr.closed:
            return ""
        self._stderr.seek(0)
        lines = self._stderr.read().strip().splitlines()
        return lines[-1][:200] if lines else ""


async def _all_tools(client: Client) -> dict[str, Tool]:
    tools: dict[str, Tool] = {}
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools |= {tool.name: tool for tool in page.tools}
        cursor = page.next_cursor
        if cursor is None:
            return tools
    raise ValueError(f"its list of tools has more than {MAX_PAGES} pages")
