"""Answers that call tools, the tools' results, and answers to these: the loop, and MCP servers as what it calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qwq_local.agent.loop import MAX_ROUNDS, AgentEvent, RoundsSpent, ToolAnswered, ToolCalled, run_agent
from qwq_local.agent.record import AgentReply, Record
from qwq_local.agent.servers import ServerSpec, read_servers
from qwq_local.agent.toolbox import NoTools, Toolbox, ToolResult
from qwq_local.errors import ToolServerError

if TYPE_CHECKING:
    from qwq_local.agent.mcp import McpToolbox

__all__ = [
    "MAX_ROUNDS",
    "AgentEvent",
    "AgentReply",
    "NoTools",
    "Record",
    "RoundsSpent",
    "ServerSpec",
    "ToolAnswered",
    "ToolCalled",
    "ToolResult",
    "Toolbox",
    "open_mcp",
    "read_servers",
    "run_agent",
]


def open_mcp(servers: Sequence[str]) -> McpToolbox:
    """The tools of MCP servers, each given as a command, a URL, or a JSON file of the form {"mcpServers": …}.

    Raises ToolServerError for what cannot be read, started or understood, and where the library for MCP is not installed.
    """
    specs = read_servers(servers)
    try:
        from qwq_local.agent.mcp import McpToolbox
    except ModuleNotFoundError as error:
        raise ToolServerError(f"MCP servers need a library: {error}.", hint="pip install 'qwq-local[mcp]'") from error
    return McpToolbox(specs)
