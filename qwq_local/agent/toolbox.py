"""What a loop may call: tools with their descriptions, and the results of calls (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from qwq_local.asking import Tools


@dataclass(frozen=True)
class ToolResult:
    """What a call came to, in words for the model; `is_error` where it failed."""

    text: str
    is_error: bool = False

    def shortened(self, most_chars: int) -> ToolResult:
        """The same in at most about so many characters: its beginning and its end, and how much is left out between them."""
        if len(self.text) <= most_chars:
            return self
        n_first = most_chars * 2 // 3
        n_last = most_chars - n_first
        note = f"\n[… {len(self.text) - most_chars:,} of {len(self.text):,} characters left out …]\n"
        return ToolResult(self.text[:n_first] + note + self.text[len(self.text) - n_last :], self.is_error)


class Toolbox(Protocol):
    """Tools that a model may call."""

    @property
    def tools(self) -> Tools:
        """Their descriptions, as OpenAI has them."""
        ...

    def call(self, name: str, arguments: str) -> ToolResult:
        """Call a tool; `arguments` are a JSON object as text.

        A tool that fails says so in its result. Raises ToolServerError where whoever offers the tool fails.
        """
        ...


class NoTools:
    """A toolbox with nothing in it."""

    tools: Tools = ()

    def call(self, name: str, arguments: str) -> ToolResult:
        """Never: there is no name to call."""
        raise AssertionError(f"there is no tool {name} to call with {arguments}")
