"""What a live chat looks like: lines that change, the line to type into with its completions, and the state below."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.data_structures import Point
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition, has_completions
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import History as TypedHistory
from prompt_toolkit.history import ThreadedHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.layout import BufferControl, ConditionalContainer, FormattedTextControl, HSplit, Layout, VerticalAlign, Window
from prompt_toolkit.layout.dimension import Dimension
from prompt_toolkit.layout.menus import CompletionsMenu
from prompt_toolkit.layout.screen import Screen as Cells
from prompt_toolkit.output import Output, create_output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import Renderer
from prompt_toolkit.styles import Style, default_ui_style, merge_styles

from qwq_local.cli.chatting.commands import COMMANDS
from qwq_local.cli.chatting.fragments import DIM, Line, wrapped
from qwq_local.cli.chatting.pastes import LONG_CHARACTERS
from qwq_local.cli.terminal import plain_text
from qwq_local.history import History

PROMPT: Final = "> "
MOST_INPUT_LINES: Final = 8
MOST_ECHOED_LINES: Final = 20
"""Of a question, in the scrollback."""
N_REMEMBERED_CHATS: Final = 20
ESCAPE_SECONDS: Final = 0.05
"""How long an Esc may be the beginning of another key."""

STYLE: Final = Style.from_dict(
    {
        "prompt": "bold",
        "completion-menu": "bg:default fg:default noreverse",
        "completion-menu.completion": "bg:default fg:default",
        "completion-menu.completion.current": "reverse",
        "completion-menu.meta.completion": "bg:default fg:default dim",
        "completion-menu.meta.completion.current": "bg:default fg:default",
    }
)


class Screen:
    """The application. `changing` and `status` give its lines, at so many columns and at most so many rows."""

    def __init__(
        self,
        changing: Callable[[int, int], list[Line]],
        status: Callable[[int], list[Line]],
        keys: KeyBindings,
        history: History,
    ) -> None:
        self.output = quiet_output()
        self.buffer = Buffer(
            completer=CommandCompleter(),
            complete_while_typing=Condition(lambda: self.buffer.text.startswith("/") and "\n" not in self.buffer.text),
            history=ThreadedHistory(EarlierQuestions(history)),
            multiline=True,
        )
        entry = Window(
            BufferControl(self.buffer),
            height=Dimension(min=1, max=MOST_INPUT_LINES),
            wrap_lines=True,
            dont_extend_height=True,
            get_line_prefix=lambda line, wrap: [("class:prompt", "  " if line or wrap else PROMPT)],
        )
        rows = [
            _lines_window(lambda: changing(self.width, max(self.rows - MOST_INPUT_LINES, 1))),
            entry,
            ConditionalContainer(CompletionsMenu(max_height=len(COMMANDS)), has_completions),
            _lines_window(lambda: status(self.width)),
        ]
        self.application: Application[None] = Application(
            Layout(HSplit(rows, align=VerticalAlign.TOP), focused_element=entry),
            key_bindings=keys,
            output=self.output,
            erase_when_done=True,
        )
        self.application.renderer = _Reflowed(merge_styles([default_ui_style(), STYLE]), self.output)
        self.application.ttimeoutlen = ESCAPE_SECONDS

    @property
    def width(self) -> int:
        """Columns."""
        return self.output.get_size().columns

    @property
    def rows(self) -> int:
        """Rows of the terminal."""
        return self.output.get_size().rows


class _Reflowed(Renderer):
    """Erases all that it has drawn also after the terminal got narrower, and wrapped the lines that stood there.

    A terminal's size is looked at whenever something is erased or drawn, since the signal of its change may come after that.
    """

    _columns: int | None = None
    """Of what was drawn last."""

    def render(self, app: Application[Any], layout: Layout, is_done: bool = False) -> None:
        """Draw the difference to what stands there; all of it, where that is of another width."""
        columns = self.output.get_size().columns
        if self.last_rendered_screen and columns != self._columns:
            self.erase(leave_alternate_screen=False)
        self._columns, self._layout = columns, layout
        super().render(app, layout, is_done)

    def erase(self, leave_alternate_screen: bool = True) -> None:
        """Nothing of what was drawn is left, and the cursor is where it began."""
        drawn, columns = self.last_rendered_screen, self.output.get_size().columns
        if drawn and columns != self._columns and wraps_anew(os.environ):
            self._erase_wrapped(drawn, columns)
        super().erase(leave_alternate_screen)

    def _erase_wrapped(self, drawn: Cells, columns: int) -> None:
        """Row by row, since tmux keeps what is erased with one command from its first row on. Ends as far below the top as before."""
        output, cursor = self.output, drawn.get_cursor_position(self._layout.current_window)
        n_above, n_below = rows_around(drawn, cursor, columns)
        output.cursor_down(n_below)
        output.write_raw("\r")
        for _ in range(n_above + n_below):
            output.erase_end_of_line()
            output.cursor_up(1)
        output.erase_end_of_line()
        output.cursor_down(cursor.y)


def wraps_anew(environment: Mapping[str, str]) -> bool:
    """Whether the terminal wraps what stands there when it gets narrower, as most do; xterm, screen and Linux's console cut it off."""
    if "TMUX" in environment:  # whatever it runs in itself
        return True
    return environment.get("TERM") != "linux" and not {"XTERM_VERSION", "STY"} & set(environment)


def rows_around(drawn: Cells, cursor: Point, columns: int) -> tuple[int, int]:
    """How many rows what was drawn takes above the cursor's and below it, once each line is wrapped at so many columns."""
    ends = [max((x for x, cell in drawn.data_buffer[y].items() if cell.char.strip()), default=0) for y in range(drawn.height)]
    ends[cursor.y] = max(ends[cursor.y], cursor.x)
    n_rows = [end // columns + 1 for end in ends]
    n_above = sum(n_rows[: cursor.y]) + cursor.x // columns
    return n_above, sum(n_rows) - n_above - 1


class CommandCompleter(Completer):
    """The commands that begin with what is typed, and what each does."""

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:  # noqa: ARG002 - the protocol's
        """Those of the first word only."""
        typed = document.text_before_cursor
        if typed.startswith("/") and " " not in typed and typed == document.text:
            for name, command in COMMANDS.items():
                if name.startswith(typed):
                    yield Completion(name, -len(typed), display=f"{name} {command.arguments}", display_meta=command.description)


class EarlierQuestions(TypedHistory):
    """The questions of the latest chats, for the arrow keys; they are kept where the chats are, and nowhere else."""

    def __init__(self, history: History) -> None:
        super().__init__()
        self._history = history

    def load_history_strings(self) -> Iterable[str]:
        """The newest first."""
        for summary in self._history.latest(limit=N_REMEMBERED_CHATS):
            asked = [message.content for message in self._history.get(summary.id).path() if message.role == "user"]
            yield from (plain_text(text) for text in reversed(asked) if len(text) <= LONG_CHARACTERS)

    def store_string(self, string: str) -> None:
        """Nothing to do: a question is kept when it is asked."""


def echo(typed: str, width: int) -> list[Line]:
    """A question in the scrollback, as it was typed; of a long one its beginning."""
    lines = wrapped(typed, width - len(PROMPT), "bold")
    if len(lines) > MOST_ECHOED_LINES:
        lines = [*lines[: MOST_ECHOED_LINES - 1], [(DIM, f"… {len(lines) - MOST_ECHOED_LINES + 1:,} more lines")]]
    return [[("bold", "  " if number else PROMPT), *line] for number, line in enumerate(lines)]


def quiet_output() -> Output:
    """The terminal, without questions to it: the answers of one that is slow, or gone, would be taken for keys."""
    output = create_output()
    if isinstance(output, Vt100_Output):
        output.enable_cpr = False
    return output


def _lines_window(lines: Callable[[], list[Line]]) -> Window:
    def fragments() -> StyleAndTextTuples:
        text: StyleAndTextTuples = []
        for number, line in enumerate(lines()):
            if number:
                text.append(("", "\n"))
            text.extend(line)
        return text

    control = FormattedTextControl(fragments)
    return Window(control, height=lambda: Dimension.exact(len(lines())), dont_extend_height=True)
