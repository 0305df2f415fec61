"""An answer's markdown, in blocks: which of them are finished while it is written, and how each looks on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import dropwhile
from typing import TYPE_CHECKING, Any, ClassVar, Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.texmath import texmath_plugin
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, TableElement
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from qwq_local.cli.chatting.fragments import WIDEST, Line, render_lines
from qwq_local.cli.chatting.maths import readable
from qwq_local.cli.terminal import plain_text

if TYPE_CHECKING:
    from markdown_it.rules_inline import StateInline

CODE_THEME: Final = "ansi_dark"
"""The terminal's own sixteen colours, on its own background."""

NARROWEST_COLUMN: Final = 6
"""Of a table, with the space beside it; text in narrower ones cannot be read."""


def finished_length(text: str) -> int:
    """How many characters from the start are blocks that nothing can change any more: all but the last one."""
    starts = [token.map[0] for token in _parser().parse(text) if token.level == 0 and token.map and token.nesting >= 0]
    if len(starts) < 2:
        return 0
    lines = text.split("\n")
    return sum(len(line) + 1 for line in lines[: starts[-1]])


def rendered(text: str, width: int) -> list[Line]:
    """Markdown as lines of a terminal; formulas as Unicode, HTML as it was written, links with their address."""
    lines = render_lines(_Answer(plain_text(text)), min(width, WIDEST))
    while lines and not lines[-1]:
        lines.pop()
    return list(dropwhile(lambda line: not line, lines))


class _Code(CodeBlock):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Highlighted, and set in by two columns."""
        syntax = Syntax(str(self.text).rstrip(), self.lexer_name, theme=self.theme, word_wrap=True)
        yield Padding(syntax, (0, 0, 0, 2))


class _Heading(Heading):
    LEVEL_ALIGN: ClassVar = {}  # every level at the left


class _Table(TableElement):
    new_line = False  # its frame has an empty line of its own

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Nothing is cut off: too long a word goes on in the next line, and what has too many columns becomes a list."""
        headings = [cell.content for cell in self.header.row.cells] if self.header and self.header.row else []
        if len(headings) * NARROWEST_COLUMN > options.max_width:
            yield from (self._as_list(headings), Text(""))
            return
        for table in super().__rich_console__(console, options):
            if isinstance(table, Table):
                for column in table.columns:
                    column.overflow = "fold"
            yield table

    def _as_list(self, headings: Sequence[Text]) -> Text:
        """A line for each cell, with the heading before it; rows have an empty line between them."""
        rows = [row.cells for row in self.body.rows] if self.body else []
        told = [[Text.assemble(heading, ": ", cell.content) for heading, cell in zip(headings, row, strict=False)] for row in rows]
        return Text("\n\n").join(Text("\n").join(row) for row in told or [list(headings)])


class _Answer(Markdown):
    elements: ClassVar = {**Markdown.elements, "fence": _Code, "code_block": _Code, "heading_open": _Heading, "table_open": _Table}

    def __init__(self, text: str) -> None:
        super().__init__("", code_theme=CODE_THEME, hyperlinks=False)
        self.parsed = list(_with_formulas(_parser().parse(text)))


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"]).disable(["image", "html_block", "html_inline"])
    parser.use(texmath_plugin, delimiters="brackets")
    parser.use(dollarmath_plugin, allow_space=False, allow_digits=False, double_inline=True)
    parser.inline.ruler.before("escape", "display_math", _display_math)
    parser.inline.ruler.before("escape", "boxed", _boxed)
    return parser


def _display_math(state: StateInline, silent: bool) -> bool:
    r"""`\[ … \]` within a paragraph."""
    if not state.src.startswith(r"\[", state.pos):
        return False
    end = state.src.find(r"\]", state.pos + 2)
    if end < 0:
        return False
    if not silent:
        state.push("math_inline", "math", 0).content = state.src[state.pos + 2 : end]
    state.pos = end + 2
    return True


def _boxed(state: StateInline, silent: bool) -> bool:
    r"""`\boxed{ … }` that stands in no formula, as QwQ writes its last answer at times."""
    if not state.src.startswith(r"\boxed{", state.pos):
        return False
    depth = 0
    for index in range(state.pos + len(r"\boxed"), len(state.src)):
        depth += {"{": 1, "}": -1}.get(state.src[index], 0)
        if depth == 0:
            if not silent:
                state.push("math_inline", "math", 0).content = state.src[state.pos : index + 1]
            state.pos = index + 1
            return True
    return False


def _with_formulas(tokens: list[Token]) -> Iterator[Token]:
    """The tokens with formulas as paragraphs and as text, which rich knows."""
    for token in tokens:
        if token.type.startswith("math_block"):
            inline = Token("inline", "", 0, children=list(_formula(token.content)))
            yield from (Token("paragraph_open", "p", 1), inline, Token("paragraph_close", "p", -1))
        else:
            if token.children:
                token.children = [new for child in token.children for new in _as_text(child)]
            yield token


def _as_text(token: Token) -> Iterator[Token]:
    if token.type.startswith("math_"):
        yield from _formula(token.content)
    else:
        yield token


def _formula(latex: str) -> Iterator[Token]:
    for text, is_boxed in readable(latex):
        texts: list[Any] = [Token("text", "", 0, content=text)]
        yield from [Token("strong_open", "strong", 1), *texts, Token("strong_close", "strong", -1)] if is_boxed else texts
