"""What graded answers say, and how sure that is (pure)."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from qwq_local.evaluation.sample import Sample

Z: float = statistics.NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Share:
    """A share of something, 0 to 1, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """What a run, or a group of its questions, came to.

    `pass_at_1` is the chance that one answer is right, `consensus` the share of questions whose most frequent answer is right (cons@k).
    Tokens are means of an answer's; `truncated`, `repeated`, `without_answer` and `failed` are shares of all answers.
    """

    n_questions: int
    n_answers: int
    pass_at_1: Share
    consensus: Share
    completion_tokens: float
    reasoning_tokens: float
    truncated: float
    repeated: float
    without_answer: float
    failed: float
    seconds: float


@dataclass(frozen=True)
class Paired:
    """Two runs, question by question.

    `difference` is the second's pass@1 less the first's on the questions of both, with its 95 % interval. `p_value` is that of such a
    difference, or a greater one, where each question's two results might as well be exchanged.
    """

    n_questions: int
    n_better: int
    n_worse: int
    difference: Share
    p_value: float


def wilson(share: float, n: float) -> Share:
    """A share of `n` independent trials with its 95 % interval (Wilson, J. Am. Stat. Assoc. 22, 1927)."""
    weight = 1 + Z * Z / n
    middle = (share + Z * Z / (2 * n)) / weight
    half = Z / weight * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return Share(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def clustered(means: Sequence[float]) -> Share:
    """The mean over questions of each one's share of right answers.

    Answers to one question are alike, so that questions are what counts: Wilson's interval for as many independent answers as would have
    the variance that the questions' means show (their design effect; Kish, Survey Sampling, 1965). With one answer each it is Wilson's own.
    """
    share, n = statistics.fmean(means), len(means)
    variance = statistics.pvariance(means) / n
    return wilson(share, share * (1 - share) / variance if variance else n)


def by_question(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """The answers to each question."""
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.question, []).append(sample)
    return found


def shares_right(samples: Iterable[Sample]) -> dict[str, float]:
    """Of each question the share of its answers that are right."""
    return {name: _share(sample.is_right for sample in answers) for name, answers in by_question(samples).items()}


def consensus_of(answers: Sequence[Sample]) -> float:
    """Whether the answer found most often is right; where several are most frequent, the share of these that are. None found is wrong."""
    counts = Counter(sample.found for sample in answers if sample.found)
    if not counts:
        return 0.0
    most = max(counts.values())
    first = {sample.found: sample.is_right for sample in reversed(answers)}
    return _share(first[found] for found, n in counts.items() if n == most)


def summarize(samples: Sequence[Sample]) -> Summary:
    """Of one answer at least."""
    questions = by_question(samples)
    return Summary(
        n_questions=len(questions),
        n_answers=len(samples),
        pass_at_1=clustered([*shares_right(samples).values()]),
        consensus=clustered([consensus_of(answers) for answers in questions.values()]),
        completion_tokens=statistics.fmean(sample.completion_tokens for sample in samples),
        reasoning_tokens=statistics.fmean(sample.reasoning_tokens for sample in samples),
        truncated=_share(sample.ending == "length" for sample in samples),
        repeated=_share(sample.ending == "repetition" for sample in samples),
        without_answer=_share(not sample.found for sample in samples),
        failed=_share(sample.ending == "error" for sample in samples),
        seconds=statistics.fmean(sample.seconds for sample in samples),
    )


def summarize_groups(samples: Sequence[Sample]) -> dict[str, Summary]:
    """Of each group, by name; none where all questions are of one."""
    groups = sorted({sample.group for sample in samples})
    return {group: summarize([each for each in samples if each.group == group]) for group in groups} if len(groups) > 1 else {}


def compare(first: Sequence[Sample], second: Sequence[Sample]) -> Paired | None:
    """Two runs of the same questions; None where they have none in common."""
    before, after = shares_right(first), shares_right(second)
    differences = [Fraction(after[name] - before[name]).limit_denominator(10**6) for name in before if name in after]
    if not differences:
        return None
    mean = float(sum(differences)) / len(differences)
    spread = statistics.pstdev(map(float, differences))
    half = Z * spread / math.sqrt(len(differences))
    return Paired(
        len(differences),
        sum(each > 0 for each in differences),
        sum(each < 0 for each in differences),
        Share(mean, max(-1.0, mean - half), min(1.0, mean + half)),
        exchange_test(differences),
    )


def exchange_test(differences: Sequence[Fraction]) -> float:
    """The two-sided p-value of a sum of differences whose signs might as well all be others (Fisher's exact test of paired data).

    All 2^n ways are counted, by the sums they come to. With one answer to each question it is McNemar's exact test.
    """
    unit = math.lcm(*(each.denominator for each in differences))
    steps = [int(abs(each) * unit) for each in differences if each]
    ways: Mapping[int, int] = {0: 1}
    for step in steps:
        following: Counter[int] = Counter()
        for total, n in ways.items():
            following[total + step] += n
            following[total - step] += n
        ways = following
    seen = abs(int(sum(differences) * unit))
    return float(Fraction(sum(n for total, n in ways.items() if abs(total) >= seen), 2 ** len(steps)))


def _share(truths: Iterable[float]) -> float:
    return statistics.fmean(map(float, truths))
