"""Write the benchmark page of what was measured: python docs/benchmark_page.py (with --check it only says whether the page is out of date).

docs/benchmarks.json is what `python -m benchmarks.side_by_side --json docs/benchmarks.json` has written. Of it come the tables in
docs/benchmarks.md, between its two `figures` marks, and the picture docs/benchmarks.svg, which needs the extra `docs`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.comparison import Comparison, Figure, read_comparison

HERE: Final = Path(__file__).parent
FIGURES: Final = re.compile(r"(?<=<!-- figures: written by docs/benchmark_page.py -->\n).*(?=<!-- end of the figures -->)", re.DOTALL)
COLOURS: Final = {"ours": "#2f81f7", "llama-server": "#e3872d", "llama-cpp-python": "#8c959f"}
SHOWN_WAYS: Final = (
    ("ours", "n-grams", 1),
    ("ours", "n-grams, draft", 0.6),
    ("llama-server", "ngram-mod", 1),
    ("llama-server", "draft", 0.6),
)
"""Program, guesses, and how opaque: what is on by itself, or what llama.cpp calls its default, and a draft model."""
INK: Final = "#848d97"
"""Seen on a white page and on a dark one."""


def tables(found: Comparison) -> str:
    """The page's generated part."""
    about = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    systems = list(found.figures[0].systems)
    parts = [
        f"{found.date}, {found.machine}; {about}. The model: {found.model}.\n",
        *rows(["", *systems, "ours / llama-server", "least, most"], [figure_row(figure, systems) for figure in found.figures]),
        f"\nSpeculation: {found.speculation_model}\n",
        *rows(
            ["task", "program", "guesses", "tokens/s", "of none", "least, most", "right", "tokens a step"],
            map(speculation_row, found.speculation),
        ),
    ]
    return "\n".join(parts) + "\n"


def rows(columns: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    return [f"| {' | '.join(line)} |" for line in (columns, ["---"] * len(columns), *cells)]


def figure_row(figure: Figure, systems: Iterable[str]) -> list[str]:
    """Medians, and the ratio of ours to llama.cpp's server with its spread."""
    medians = [number(figure.median(system)) if system in figure.systems else "" for system in systems]
    ratio, least, most = figure.ratios("ours", "llama-server")
    return [f"{figure.what}, {figure.unit}", *medians, f"{ratio:.2f}", f"{least:.2f}, {most:.2f}"]


def number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def speculation_row(row: Any) -> list[str]:  # noqa: ANN401 - of JSON
    """One way of guessing at one task."""
    spread, right = f"{row['least']:.2f}, {row['most']:.2f}", f"{row['right']:.0%}" if row["width"] > 1 else ""
    return [
        row["task"],
        row["program"],
        row["guesses"],
        number(row["tokens/s"]),
        f"{row['of none']:.2f}",
        spread,
        right,
        f"{row['width']:.1f}",
    ]


def draw(found: Comparison, path: Path) -> None:
    """Tokens a second by requests at once, waits, and what guesses are worth, as SVG that is read on white and on black."""
    import matplotlib.pyplot as plt

    names = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "benchmarks", "font.size": 9, **dict.fromkeys(names, INK)})
    figure, (decoding, waiting, guessing) = plt.subplots(1, 3, figsize=(12, 4.2))
    draw_decoding(decoding, [each for each in found.figures if each.what.startswith("decode")])
    draw_waiting(waiting, [each for each in found.figures if each.unit == "s"])
    draw_guessing(guessing, found)
    for axes in (decoding, waiting, guessing):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, transparent=True, metadata={"Date": None})


def draw_decoding(axes: Any, figures: Sequence[Figure]) -> None:  # noqa: ANN401 - matplotlib ships no types
    """A line for each system."""
    widths = [re.sub(r"\D", "", figure.what) or "1" for figure in figures]
    for system in figures[0].systems:
        axes.plot(widths, [figure.median(system) for figure in figures], "o-", color=COLOURS[system], label=system)
    axes.set(title="tokens/s, requests at once", ylim=(0, None))
    axes.legend(frameon=False)


def draw_waiting(axes: Any, figures: Sequence[Figure]) -> None:  # noqa: ANN401 - as above
    """A group of bars for each wait."""
    for i, system in enumerate(COLOURS):
        shown = [(j + (i - 1) * 0.27, figure.median(system)) for j, figure in enumerate(figures) if system in figure.systems]
        bars = axes.barh([at for at, _ in shown], [seconds for _, seconds in shown], 0.25, color=COLOURS[system])
        axes.bar_label(bars, fmt="%.2g s", padding=2, fontsize=7)
    axes.set(title="seconds to the first token", yticks=range(len(figures)))
    axes.set_yticklabels(["second turn", "after a restart", "start"][: len(figures)])
    axes.invert_yaxis()


def draw_guessing(axes: Any, found: Comparison) -> None:  # noqa: ANN401 - as above
    """For each task what each program's own way, and a draft model, make of its speed without guesses."""
    tasks = list(dict.fromkeys(row["task"] for row in found.speculation))
    ratios = {(row["program"], row["guesses"], row["task"]): row["of none"] for row in found.speculation}
    for i, (program, guesses, alpha) in enumerate(SHOWN_WAYS):
        places = [j + (i - 1.5) * 0.2 for j in range(len(tasks))]
        values = [ratios[program, guesses, task] for task in tasks]
        bars = axes.barh(places, values, 0.18, color=COLOURS[program], alpha=alpha, label=f"{program}, {guesses}")
        axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=7)
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.set(title="speed with guesses, of that without", yticks=range(len(tasks)))
    axes.set_yticklabels(tasks)
    axes.invert_yaxis()
    axes.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.4, -0.07), ncols=2)


def main() -> int:
    """Write both, or compare the page."""
    found = read_comparison(HERE / "benchmarks.json")
    page = HERE / "benchmarks.md"
    before = page.read_text("utf-8")
    due = FIGURES.sub(lambda _: tables(found), before)
    if "--check" in sys.argv[1:]:
        if due != before:
            print("docs/benchmarks.md is not what was measured: run `make docs`.", file=sys.stderr)
        return int(due != before)
    page.write_text(due, "utf-8")
    draw(found, HERE / "benchmarks.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
