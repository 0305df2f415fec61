"""The pictures of a report, as SVG that is read on white and on black; matplotlib draws them (the extra `eval`)."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, Final

from qwq_local.errors import SettingsError
from qwq_local.evaluation.report import Divergence, Report, RunReport

INK: Final = "#848d97"
COLOUR: Final = "#2f81f7"
DIVERGENCES: Final = (("mean", "o-", "mean"), ("median", "s:", "median"), ("percentile_99", "^--", "99 %"))
"""Figures of a divergence with their marks and names."""
LEAST_APART: Final = 1.15
"""Sizes that are nearer to each other share a mark."""
MARKS: Final = "osD^vP*X"
"""One for each set of questions."""


def draw(report: Report) -> dict[str, str]:
    """SVG by its title: what there are figures for. Raises SettingsError without matplotlib."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise SettingsError("Plots need matplotlib, which is not installed.", hint="pip install 'qwq-local[eval]'") from error
    names = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "evaluation", "font.size": 9, **dict.fromkeys(names, INK)}):
        found = {}
        sized = [run for run in report.runs if run.head.model_bytes]
        if len({run.head.model_bytes for run in sized}) > 1:
            found["Right answers, by the size of the file"] = _drawn(plt, lambda axes: _accuracy(axes, sized))
        found["Length of the thought, in tokens"] = _drawn(plt, lambda axes: _thoughts(axes, report.runs))
        diverging = [(run, report.divergences[run.head.model]) for run in sized if run.head.model in report.divergences]
        if diverging:
            found["Divergence, by the size of the file"] = _drawn(plt, lambda axes: _divergence(axes, diverging))
        return found


def _drawn(plt: Any, fill: Callable[[Any], None]) -> str:  # noqa: ANN401 - matplotlib ships no types
    figure, axes = plt.subplots(figsize=(8, 3.6))
    try:
        fill(axes)
        axes.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    finally:
        plt.close(figure)
    return text.getvalue()[text.getvalue().index("<svg") :]


def _size(run: RunReport) -> float:
    return run.head.model_bytes / 1e6


def _label(axes: Any, run: RunReport, height: float) -> None:  # noqa: ANN401 - as above
    name = run.head.quantization or run.head.model
    axes.annotate(name, (_size(run), height), textcoords="offset points", xytext=(2, 7), fontsize=7, rotation=50)


def _by_size(axes: Any, runs: Sequence[RunReport]) -> None:  # noqa: ANN401 - as above
    """Sizes as a scale of doublings, its marks where the files are."""
    shown: list[float] = []
    for size in sorted({_size(run) for run in runs}):
        if not shown or size > shown[-1] * LEAST_APART:
            shown.append(size)
    axes.set_xscale("log")
    axes.set_xticks(shown)
    axes.xaxis.set_major_formatter("{x:.3g}")
    axes.minorticks_off()
    axes.set_xlabel("MB")


def _accuracy(axes: Any, runs: Sequence[RunReport]) -> None:  # noqa: ANN401 - as above
    tasks = list(dict.fromkeys(run.head.tasks for run in runs))
    for i, name in enumerate(tasks):
        shown = sorted((run for run in runs if run.head.tasks == name), key=_size)
        shares = [run.summary.pass_at_1 for run in shown]
        values = [100 * share.value for share in shares]
        spans = [[100 * (share.value - share.low) for share in shares], [100 * (share.high - share.value) for share in shares]]
        axes.errorbar([*map(_size, shown)], values, spans, fmt=MARKS[i % len(MARKS)] + "-", capsize=3, label=name, lw=1)
        for run, value in zip(shown, values, strict=True):
            _label(axes, run, value)
    _by_size(axes, runs)
    axes.set(ylabel="% right, 95 % interval", ylim=(0, 118), yticks=range(0, 101, 20))
    axes.legend(frameon=False, loc="lower right")


def _thoughts(axes: Any, runs: Sequence[RunReport]) -> None:  # noqa: ANN401 - as above
    lengths = [[sample.reasoning_tokens for sample in run.samples if sample.ending != "error"] or [0] for run in runs]
    ink, marks = {"color": INK}, {"markersize": 3, "markerfacecolor": COLOUR, "markeredgecolor": COLOUR}
    lines = {"boxprops": ink, "whiskerprops": ink, "capprops": ink, "medianprops": {"color": COLOUR}}
    axes.boxplot(lengths, orientation="horizontal", showmeans=True, meanprops=marks, flierprops=marks, **lines)
    axes.set_yticks(range(1, len(runs) + 1))
    several = len({run.head.tasks for run in runs}) > 1
    axes.set_yticklabels([f"{run.head.model}, {run.head.tasks}" if several else run.head.model for run in runs])
    axes.set(xlabel="tokens: quartiles, median, mean (triangle)", xlim=(0, None))
    axes.invert_yaxis()
    axes.figure.set_figheight(1.2 + 0.35 * len(runs))


def _divergence(axes: Any, runs: Sequence[tuple[RunReport, Divergence]]) -> None:  # noqa: ANN401 - as above
    shown = sorted(runs, key=lambda each: _size(each[0]))
    for key, mark, label in DIVERGENCES:
        axes.plot([_size(run) for run, _ in shown], [getattr(found, key) for _, found in shown], mark, label=label, lw=1)
    for run, found in shown:
        _label(axes, run, found.mean)
    _by_size(axes, [run for run, _ in runs])
    axes.set(ylabel="KL divergence, nats", yscale="log")
    axes.legend(frameon=False)
