"""What several runs say, together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from qwq_local.errors import SettingsError
from qwq_local.evaluation.sample import RunHead, Sample
from qwq_local.evaluation.statistics import Paired, Summary, compare, summarize, summarize_groups
from qwq_local.models import names


@dataclass(frozen=True)
class RunReport:
    """A run with its answers; `seconds` is what it took just now, nothing where it was kept."""

    path: Path
    head: RunHead
    samples: tuple[Sample, ...]
    seconds: float = 0.0

    @classmethod
    def of(cls, path: Path, head: RunHead, samples: Iterable[Sample]) -> Self:
        """A run that is kept. Raises SettingsError where it has no answers yet."""
        found = tuple(samples)
        if not found:
            raise SettingsError(f"{path} holds no answers yet.", hint="Go on with it: give the command that began it again.")
        return cls(path, head, found)

    @property
    def summary(self) -> Summary:
        """All of it."""
        return summarize(self.samples)

    @property
    def groups(self) -> dict[str, Summary]:
        """Its groups, where there are several."""
        return summarize_groups(self.samples)

    @property
    def n_missing(self) -> int:
        """Answers that are still to come, in a run that was stopped."""
        return self.head.n_questions * self.head.settings.n_samples - len(self.samples)


@dataclass(frozen=True)
class Comparison:
    """Two runs of one set of questions, by their places in the report."""

    first: int
    second: int
    paired: Paired


@dataclass(frozen=True)
class Divergence:
    """From a base model, in nats (`qwq divergence`)."""

    mean: float
    median: float
    percentile_99: float


@dataclass(frozen=True)
class Report:
    """Runs, each against the first of the same questions, and divergences by the model's name, as `qwq divergence --json` tells them."""

    runs: tuple[RunReport, ...]
    comparisons: tuple[Comparison, ...]
    divergences: Mapping[str, Divergence]

    def as_json(self) -> dict[str, Any]:
        """The object that `qwq eval --json` prints."""
        return {
            "runs": [
                {
                    **each.head.as_json(),
                    "file": str(each.path),
                    "seconds": each.seconds,
                    "n_missing": each.n_missing,
                    "summary": asdict(each.summary),
                    "groups": {name: asdict(summary) for name, summary in each.groups.items()},
                }
                for each in self.runs
            ],
            "comparisons": [asdict(each) for each in self.comparisons],
        }


def report_of(runs: Sequence[RunReport], divergences: Iterable[Path] = ()) -> Report:
    """Compare what can be compared. Raises SettingsError for a file that `qwq divergence --json` has not written."""
    comparisons = []
    for second, run in enumerate(runs):
        first = next(i for i, other in enumerate(runs) if other.head.digest == run.head.digest)
        if first != second and (paired := compare(runs[first].samples, run.samples)):
            comparisons.append(Comparison(first, second, paired))
    return Report(tuple(runs), tuple(comparisons), dict(map(_read_divergence, divergences)))


def shown_name(name: str) -> str:
    """The name of a model that was given as a file, as `qwq list` would show it; every other as it is."""
    if not name.endswith(".gguf"):
        return name
    file_name = names.parse(Path(name).name)
    return names.model_name(file_name.base, file_name.quantization)


def _read_divergence(path: Path) -> tuple[str, Divergence]:
    try:
        told = json.loads(path.read_text("utf-8"))
        found = told["divergence"]
        figures = Divergence(float(found["value"]), float(found["median"]), float(found["quantiles"]["0.99"]))
        return shown_name(str(told["model"])), figures
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} is not what qwq divergence --json writes.", hint="Write it: qwq divergence … --json > FILE") from error
