"""An answer in the making, as a terminal of so many columns is given it."""

from __future__ import annotations

import pytest

from qwq_local.cli.chatting.fragments import Line
from qwq_local.cli.chatting.view import AnswerView
from qwq_local.cli.terminal import CLOSED, SWITCHED
from qwq_local.engine import Answering, RopeSwitched, ThoughtClosed


def texts(lines: list[Line]) -> list[str]:
    """The lines without their styles."""
    return ["".join(text for _, text in line) for line in lines]


@pytest.mark.parametrize(
    ("event", "told"), [(ThoughtClosed("repetition"), CLOSED["repetition"]), (RopeSwitched("yarn"), SWITCHED)], ids=["closed", "switched"]
)
def test_what_happened_to_an_answer_is_told_whole_at_any_width(event: ThoughtClosed | RopeSwitched, told: str) -> None:
    view = AnswerView(0.0, "last lines")
    view.add(event, 1.0, 20)
    lines = texts(view.take_printable(20))
    assert " ".join(line for line in lines if line) == told
    assert max(map(len, lines)) <= 20


@pytest.mark.parametrize("columns", [20, 40, 80])
@pytest.mark.parametrize("n_cells", [2, 4, 16])
def test_a_table_wider_than_the_terminal_loses_nothing(columns: int, n_cells: int) -> None:
    cells = [f"incomprehensible{number}" for number in range(n_cells)]
    view = AnswerView(0.0, "last lines")
    row = f"| {' | '.join(cells)} |\n"
    view.add(Answering(row + "|-" * n_cells + "|\n" + row * 2 + "\nThe end."), 1.0, columns)
    view.close(2.0, columns)
    lines = texts(view.take_printable(columns))
    letters = sorted(letter for letter in "".join(lines[:-2]) if letter.isalnum())
    as_table, as_list = sorted("".join(cells * 3)), sorted("".join(cells * 4))  # there each cell has its heading
    assert letters in (as_table, as_list)
    assert lines[-2:] == ["The end.", ""]
    assert lines[-3] == ""
    assert max(map(len, lines)) <= columns
