"""What every benchmark prints and writes, one table with the date and the machine; and how systems are measured side by side."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

System = TypeVar("System")


def in_turn(systems: Mapping[str, System], rounds: int, measure: Callable[[System], float]) -> dict[str, list[float]]:
    """What each system comes to in each round; they take turns, so that a slow moment of the machine meets all alike."""
    found: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, system in systems.items():
            found[name].append(measure(system))
    return found


class Table:
    """Rows of figures under named columns."""

    def __init__(self, title: str, columns: list[str]) -> None:
        self.title = title
        self.columns = columns
        self.rows: list[list[str | int | float]] = []

    def add(self, *cells: str | float) -> None:
        """One more row, a cell for each column."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        self.rows.append(list(cells))

    def show(self, json_path: Path | None = None, part: str = "") -> None:
        """Print it in Markdown, and write it as JSON where a path is given; of several tables, `part` tells the files' names apart."""
        print(f"\n{self.title} ({datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores)\n")
        print("| " + " | ".join(self.columns) + " |")
        print("|" + "---|" * len(self.columns))
        for row in self.rows:
            print("| " + " | ".join(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row) + " |")
        if json_path:
            record = {
                "title": self.title,
                "date": f"{datetime.now(UTC):%Y-%m-%d}",
                "machine": {"arch": platform.machine(), "cores": os.cpu_count()},
                "rows": [dict(zip(self.columns, row, strict=True)) for row in self.rows],
            }
            path = json_path.with_stem(f"{json_path.stem}-{part}") if part else json_path
            path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
