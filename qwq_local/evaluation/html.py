"""A report as one page of HTML that needs nothing else: tables, plots, and the answers that were not right."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Final

from qwq_local.errors import SettingsError
from qwq_local.evaluation.plots import draw
from qwq_local.evaluation.report import Report
from qwq_local.evaluation.tables import interval, percent, sentence_of, size_of

MOST_WRONG: Final = 200
"""Answers listed of each run."""
MOST_CHARACTERS: Final = 4000
"""Shown of each."""


def write_page(report: Report, path: Path) -> None:
    """Write it. Raises SettingsError where that cannot be done."""
    try:
        path.write_text(page_of(report, f"{datetime.now(UTC):%Y-%m-%d}"), "utf-8", "replace")
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}.", hint="Give another --html.") from error


def page_of(report: Report, date: str) -> str:
    """The page; whatever models wrote stands in it as text only."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"percent": percent, "interval": interval, "size": size_of}
    template = environment.from_string(resources.files("qwq_local.evaluation").joinpath("report.html.jinja").read_text("utf-8"))
    wrong = [[sample for sample in run.samples if not sample.is_right][:MOST_WRONG] for run in report.runs]
    return template.render(
        report=report,
        sentences=[sentence_of(report, comparison) for comparison in report.comparisons],
        plots=draw(report),
        wrong=wrong,
        most_characters=MOST_CHARACTERS,
        date=date,
    )
