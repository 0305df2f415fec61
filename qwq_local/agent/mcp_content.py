"""A tool's result in words: QwQ reads text only, so everything else is told of."""

from __future__ import annotations

import json

from mcp_types import (
    AudioContent,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from qwq_local.agent.toolbox import ToolResult


def result_of(result: CallToolResult) -> ToolResult:
    """The text of a result; where it has none, its structured content as JSON."""
    text = "\n".join(_words(block) for block in result.content)
    if not text and result.structured_content is not None:
        text = json.dumps(result.structured_content, ensure_ascii=False)
    return ToolResult(text or "[nothing]", is_error=result.is_error)


def _words(block: ContentBlock) -> str:
    match block:
        case TextContent():
            return block.text
        case ImageContent():
            return _unread("an image", block.mime_type, block.data)
        case AudioContent():
            return _unread("a sound", block.mime_type, block.data)
        case ResourceLink():
            return f"[a link to {block.name}: {block.uri}]"
        case EmbeddedResource():
            found = block.resource
            return found.text if isinstance(found, TextResourceContents) else _unread(f"the file {found.uri}", found.mime_type, found.blob)


def _unread(what: str, mime_type: str | None, base64_text: str) -> str:
    kind = f" of type {mime_type}" if mime_type else ""
    return f"[{what}{kind}, {len(base64_text) * 3 // 4:,} bytes, which you cannot read]"
